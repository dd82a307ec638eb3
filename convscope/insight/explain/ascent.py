"""Input that maximises a class or a unit, from noise alone: plain gradient ascent on pixels, and
one that keeps to images which could be some.

The regularised one moves the coefficients of a Fourier transform, weighted so that low frequencies
have most of the power, as in natural images, and of decorrelated colours (Olah et al. 2017,
"Feature Visualization", doi 10.23915/distill.00007); each step sees the images shifted, turned and
scaled at random; neighbouring pixels are kept alike (total variation, Mahendran & Vedaldi 2015,
arXiv 1412.0035, section 4), and mean and contrast near those of the training pixels, which the
network's own first layer knows. No image of the data is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from convscope.evaluation.predictions import evaluating
from convscope.events import Emit, Progress, silent
from convscope.insight.explain.map_layers import Stage, opened
from convscope.models.parts import Classifier

STEPS = 150
MARGIN = 15.0  # nats by which the class is to lead all others together
SMOOTH = 4.0  # weight of the total variation
BRIGHT, CONTRAST = 3.0, 0.3  # weights of both, against those of the training pixels
FALL = 1.5  # amplitudes go with 1 / frequency to this power: a little smoother than nature
UNKNOWN = 0.3  # mean and deviation of pixels where the network does not know them
TURN, SCALE, SHIFT = 15.0, 0.15, 0.1  # degrees, share, share of the side

# Brightness, red against blue, green against both (Ohta et al. 1980): uncorrelated to within 0.1 in
# CIFAR-10, with 1 : 0.28 : 0.13 as standard deviations.
COLOURS = np.array([[1.0, 1, 1], [1, 0, -1], [-0.5, 1, -0.5]])
COLOURS /= np.linalg.norm(COLOURS, axis=1, keepdims=True)
SPREAD = np.array([1.0, 0.28, 0.13])

Loss = Callable[[Tensor], Tensor]  # images float 0..1 [n,C,H,W], n a multiple of N -> a scalar


def of_classes(network: nn.Module, classes: Sequence[int]) -> Loss:
    """The loss that falls as each image of a batch leaves no doubt about its class."""
    wanted = torch.tensor(list(classes))[:, None]  # [K,1]

    def loss(images: Tensor) -> Tensor:
        logits = network(images)  # [K,classes]
        own = logits.gather(1, wanted)[:, 0]
        others = logits.scatter(1, wanted, -torch.inf).logsumexp(1)
        return functional.softplus(MARGIN - (own - others)).mean()

    return loss


def logits_of_classes(network: nn.Module, classes: Sequence[int]) -> Loss:
    """The negative logit of each image's class, and nothing else."""
    wanted = torch.tensor(list(classes))[:, None]
    return lambda images: -network(images).gather(1, wanted).mean()


def of_units(network: nn.Module, stage: Stage, units: Sequence[int], best: np.ndarray) -> Loss:
    """The loss that falls as the units ``units`` [N] of a stage answer to an image each, wherever
    on their maps, twice as strongly as ``best`` [N], what they give to the images of the data that
    they like best. Of a ReLU it is what goes in that is raised: a silent unit has no gradient
    behind it."""
    made, layer = opened(network, stage.name)
    taken: list[Tensor] = []
    if isinstance(layer, nn.ReLU):
        layer.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0].clone()))
    else:
        layer.register_forward_hook(lambda _, inputs, given: taken.append(given))
    wanted = torch.tensor(list(units))
    much = 2 * torch.as_tensor(best, dtype=torch.float32).clamp_min(1e-6)

    def loss(images: Tensor) -> Tensor:
        taken.clear()
        made(images)
        answer = taken[0][torch.arange(len(images)), wanted].amax((1, 2))  # [N]
        return functional.softplus(MARGIN * (1 - answer / much)).mean()

    return loss


def passes_back(network: nn.Module, shape: tuple[int, int, int]) -> bool:
    """Whether a gradient goes back from the logits to an image [C,H,W].

    >>> passes_back(nn.Flatten(), (1, 2, 2))
    True
    """
    image = torch.full((1, *shape), 0.5, requires_grad=True)
    with torch.enable_grad():
        logits: Tensor = network(image)
        if not logits.requires_grad:
            return False
        (found,) = torch.autograd.grad(logits.sum(), image, allow_unused=True)
    return found is not None


def raw(
    loss: Loss, shape: tuple[int, int, int, int], *, steps: int = STEPS, seed: int = 0
) -> np.ndarray:
    """Images uint8 [N,C,H,W] by gradient ascent on the pixels, from grey noise, kept within 0 to 1
    and otherwise free: each step goes along the gradient, scaled to a length of its own.

    >>> towards = lambda images: (images - 0.75).square().sum()
    >>> int(raw(towards, (1, 1, 4, 4)).mean().round())
    191
    """
    random = torch.Generator().manual_seed(seed)
    images = (0.5 + 0.05 * torch.randn(shape, generator=random)).clamp(0, 1)
    for step in range(steps):
        images.requires_grad_()
        (slope,) = torch.autograd.grad(loss(images), images)
        length = slope.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
        rate = 0.05 * (1 - step / steps)
        images = (images.detach() - rate * slope / length).clamp(0, 1)
    return _bytes(images)


def regularised(
    network: Classifier,
    loss: Loss,
    shape: tuple[int, int, int, int],
    *,
    steps: int = STEPS,
    seed: int = 0,
    emit: Emit = silent,
    stage: str = "class images",
) -> np.ndarray:
    """Images uint8 [N,C,H,W] by ascent that keeps to images which could be some; see the module.

    ``network`` gives the mean and the deviation of the training pixels; where it leaves pixels as
    they are, values between those of drawings and of photographs stand in.
    """
    random = torch.Generator().manual_seed(seed)
    count, channels, height, width = shape
    mean, spread = network.normalise.mean.flatten(), network.normalise.std.flatten()
    if not mean.any() and (spread == 1).all():
        mean, spread = torch.full_like(mean, UNKNOWN), torch.full_like(spread, UNKNOWN)
    bias = torch.logit(mean.clamp(0.02, 0.98))[:, None, None]  # [C,1,1]
    weights = _spectrum(height, width)
    mixing = torch.eye(channels)
    if channels == 3:
        mixing = torch.tensor((COLOURS.T * SPREAD).T, dtype=torch.float32)

    def image(values: Tensor) -> Tensor:
        planes = torch.fft.irfft2(
            torch.view_as_complex(values) * weights, s=(height, width), norm="ortho"
        )
        return torch.sigmoid(torch.einsum("nchw,cd->ndhw", planes, mixing) + bias)

    values = 0.1 * torch.randn(count, channels, *weights.shape, 2, generator=random)
    moved = _Adam(values)
    for step in range(steps):
        values.requires_grad_()
        images = image(values)
        total = loss(_moved(images, random))
        total = total + SMOOTH * _variation(images) + _unlike(images, mean, spread)
        (slope,) = torch.autograd.grad(total, values)
        values = moved.step(values.detach(), slope)
        emit(Progress(stage, step + 1, steps, "rounds"))
    return _bytes(image(values))


@contextmanager
def still(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no gradient at any weight, within the block."""
    wanting = [p for p in network.parameters() if p.requires_grad]
    for parameter in wanting:
        parameter.requires_grad_(False)
    try:
        with evaluating(network):
            yield
    finally:
        for parameter in wanting:
            parameter.requires_grad_()


class _Adam:
    """Adam (Kingma & Ba 2015, algorithm 1) for one tensor: `torch.optim` takes a second to
    import."""

    def __init__(self, values: Tensor, rate: float = 0.05) -> None:
        self.first, self.second = torch.zeros_like(values), torch.zeros_like(values)
        self.rate, self.count = rate, 0

    def step(self, values: Tensor, slope: Tensor) -> Tensor:
        """The values after one step against the slope."""
        self.count += 1
        self.first.lerp_(slope, 0.1)
        self.second.lerp_(slope.square(), 0.001)
        first = self.first / (1 - 0.9**self.count)
        second = self.second / (1 - 0.999**self.count)
        return values - self.rate * first / (second.sqrt() + 1e-8)


def _spectrum(height: int, width: int) -> Tensor:
    """The amplitude of each frequency [H,W//2+1], of mean power 1; in natural images it goes with 1
    / frequency (Field 1987)."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    amplitude = np.maximum(frequency, 1 / max(height, width)) ** -FALL
    return torch.tensor(amplitude / np.sqrt((amplitude**2).mean()), dtype=torch.float32)


def _moved(images: Tensor, random: torch.Generator) -> Tensor:
    """Each image turned, scaled and shifted at random; its edge is repeated."""
    n = len(images)

    def drawn(most: float, *shape: int) -> Tensor:
        return (torch.rand(n, *shape, generator=random) * 2 - 1) * most

    angle, scale = drawn(math.radians(TURN)), 1 + drawn(SCALE)
    shift = drawn(2 * SHIFT, 2)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _variation(images: Tensor) -> Tensor:
    """The mean difference of neighbouring pixels, along rows and columns."""
    return images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()


def _unlike(images: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    """How far mean and contrast of the images are from those of the training pixels."""
    means = (images.mean((2, 3)) - mean) / spread
    contrasts = torch.log((images.std((2, 3)) + 1e-3) / spread)
    return BRIGHT * means.square().mean() + CONTRAST * contrasts.square().mean()


def _bytes(images: Tensor) -> np.ndarray:
    pixels: np.ndarray = (images.detach() * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    return pixels
