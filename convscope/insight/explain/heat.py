"""Heat maps: which pixels an answer rests on, by Grad-CAM here, by occlusion and integrated
gradients through captum; and how far to trust them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from convscope.errors import BadArgument, nearest
from convscope.evaluation.hooks import hooked
from convscope.evaluation.metrics import wilson_interval
from convscope.events import Emit, Progress, silent
from convscope.insight.canvas import matplotlib
from convscope.insight.explain.map_layers import Stage, opened

METHODS = {"occlusion": "occlusion", "gradcam": "Grad-CAM", "ig": "integrated gradients"}
BEST = "occlusion"  # of these, the furthest from random weights: see benchmarks/explain.py
STEPS = 12  # of a deletion curve
PATH = 16  # points of a path of integrated gradients

Curve = np.ndarray  # probabilities [N,STEPS+1]


def captum() -> Any:
    """captum's attribution methods. Raises BadArgument that names the extra where it is not
    installed."""
    matplotlib()  # which captum imports, too
    try:
        import captum.attr as found
    except ImportError as why:
        rule = f"needs a package that is not installed ({why.name or why})"
        remedy = "install it: pip install 'convscope[explain]'"
        raise BadArgument("explain", "heat maps", rule, remedy) from None
    return found


def check(method: str) -> None:
    """Refuse a method that is not known. Raises BadArgument."""
    if method not in METHODS:
        raise BadArgument("method", method, "is no kind of heat map", nearest(method, METHODS))


def needed(method: str) -> None:
    """Refuse a method whose package is not installed: all but Grad-CAM, which is here. Raises
    BadArgument."""
    if method != "gradcam":
        captum()


def heat_maps(
    network: nn.Module, images: Tensor, targets: Tensor, method: str, stage: Stage | None = None
) -> Tensor:
    """Heat maps [N,H,W] of images float 0..1 [N,C,H,W] for target classes [N], by method; positive
    is what speaks for the target.

    ``gradcam`` is taken at ``stage`` and enlarged, ``ig`` and ``occlusion`` against the blurred
    image; these two are captum's. Raises BadArgument for an unknown method, where captum is needed
    and not installed, and for Grad-CAM without a stage.
    """
    check(method)
    if method == "gradcam":
        if stage is None:
            rule = "needs feature maps, and no layer of this network gives any"
            raise BadArgument("method", method, rule, "try occlusion or ig")
        return enlarged(gradcam(network, images, targets, stage), images.shape[2:])
    if method == "ig":
        return integrated(network, images, targets)
    return occlusion(network, images, targets)


def gradcam(network: nn.Module, images: Tensor, targets: Tensor, stage: Stage) -> Tensor:
    """Grad-CAM at a stage, [N,h,w], at that stage's own resolution: what speaks for the target is
    positive, the rest is zero.

    The gradient of each target's logit with respect to the stage's maps, its mean over places as
    the weight of each map (Selvaraju et al. 2017, arXiv 1610.02391, eq. 1), and of the sum so
    weighted what is above zero (eq. 2). Raises BadArgument where no gradient reaches that stage.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    >>> at = Stage("1", "ReLU", (4, 6, 6))
    >>> gradcam(net, torch.rand(5, 1, 8, 8), torch.tensor([0, 1, 0, 1, 1]), at).shape
    torch.Size([5, 6, 6])
    """
    made, layer = opened(network, stage.name)
    maps: list[Tensor] = []

    def seen(name: str, module: nn.Module, given: object, output: Tensor) -> None:
        maps.append(output)

    with torch.enable_grad(), hooked({stage.name: layer}, seen):
        logits = made(images.detach().clone().requires_grad_())
        asked = logits.gather(1, targets[:, None]).sum()  # images do not meet: each has its own
    last = maps[-1]
    slopes = None
    if last.requires_grad and asked.requires_grad:
        (slopes,) = torch.autograd.grad(asked, last, allow_unused=True)
    if slopes is None:
        rule = f"needs gradients, and none reaches {stage.name} from the logits"
        raise BadArgument("method", "gradcam", rule, "try occlusion, which needs none")
    weights = slopes.mean((2, 3), keepdim=True)
    return (weights * last.detach()).sum(1).relu()


def integrated(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365, eq. 1) from the blurred
    image to the image, summed over channels."""
    method, base = captum().IntegratedGradients(network), blurred(images)
    parts = []
    for start in range(0, len(images), 16):
        some = slice(start, start + 16)
        inputs = images[some].clone().requires_grad_()
        parts.append(method.attribute(inputs, base[some], targets[some], n_steps=PATH).detach())
    summed: Tensor = torch.cat(parts).sum(1)
    return summed


def window_of(size: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width of what occlusion covers, a quarter of each side, and its steps.

    >>> window_of((28, 32))
    ((7, 8), (3, 4))
    """
    height, width = (max(1, side // 4) for side in size)
    return (height, width), (max(1, height // 2), max(1, width // 2))


def occlusion(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """By how much the target's logit falls where a window of the image is blurred (after Zeiler &
    Fergus 2014, arXiv 1311.2901, section 4.2), the mean over the windows that cover a pixel."""
    window, step = window_of(images.shape[2:])
    channels = images.shape[1]
    sizes = (channels, *window), (channels, *step)
    with torch.no_grad():
        method = captum().Occlusion(network)
        found = method.attribute(images, *sizes, baselines=blurred(images), target=targets)
    maps: Tensor = found.mean(1)
    return maps


def resolution(method: str, size: tuple[int, int], stage: Stage | None) -> str:
    """What a method can tell apart, in words."""
    pixels = f"{size[0]}x{size[1]} pixels"
    if method == "gradcam" and stage is not None:
        return f"at {stage.name}, {stage.size[0]}x{stage.size[1]} units for {pixels}, enlarged"
    if method == "occlusion":
        (height, width), (down, along) = window_of(size)
        return f"windows of {height}x{width}, moved by {down}x{along}, over {pixels}"
    return f"every one of {pixels}"


def enlarged(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps [N,h,w] brought to the size of the image, bilinear."""
    if tuple(maps.shape[1:]) == tuple(size):
        return maps
    return functional.interpolate(maps[:, None], tuple(size), mode="bilinear")[:, 0]


def unit_range(maps: Tensor) -> Tensor:
    """Each map [H,W] divided by its largest magnitude: 1 is its hottest place, zeros stay."""
    most = maps.abs().flatten(1).amax(1).clamp_min(torch.finfo(maps.dtype).tiny)
    return maps / most[:, None, None]


def blurred(images: Tensor) -> Tensor:
    """Images [N,C,H,W] without their detail: a Gaussian of an eighth of each side."""
    from scipy.ndimage import gaussian_filter

    height, width = images.shape[2:]
    sigma = (0, 0, height / 8, width / 8)
    return torch.from_numpy(gaussian_filter(images.detach().numpy(), sigma, mode="nearest"))


# how far to trust them


def randomised(network: nn.Module, seed: int) -> nn.Module:
    """A copy whose weights were drawn anew, as if it had never been trained (Adebayo et al. 2018,
    arXiv 1810.03292); mean and deviation of the pixels are no weights, and stay.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    >>> bool((randomised(net, 0)[0].weight == net[0].weight).any())
    False
    """
    made = copy.deepcopy(network).eval().requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in made.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
                continue
            for parameter in module.parameters(recurse=False):
                spread = float(parameter.std()) if parameter.numel() > 1 else 0.0
                parameter.normal_(0, spread if spread > 0 else 0.02)
    return made


def deletion(network: nn.Module, images: Tensor, targets: Tensor, maps: Tensor) -> Curve:
    """The target's probability [N,STEPS+1] while the image is blurred, its hottest pixels first
    (Petsiuk et al. 2018, arXiv 1806.07421, section 3.2): a map that names the right pixels makes
    it fall at once."""
    return _curve(network, images, blurred(images), targets, maps)


def insertion(network: nn.Module, images: Tensor, targets: Tensor, maps: Tensor) -> Curve:
    """The same the other way round: the blurred image gets back its hottest pixels first, and the
    probability should rise at once."""
    return _curve(network, blurred(images), images, targets, maps)


def area(curve: Curve) -> np.ndarray:
    """The area below each curve [N,steps+1], by trapezia: of deletion low is good, of insertion
    high.

    >>> area(np.array([[1.0, 0.5, 0.0]])).tolist()
    [0.5]
    """
    found: np.ndarray = ((curve[:, 1:] + curve[:, :-1]) / 2).mean(axis=1)
    return found


def _curve(network: nn.Module, begin: Tensor, end: Tensor, targets: Tensor, maps: Tensor) -> Curve:
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1]).expand_as(order))
    rank = rank.view(len(maps), 1, *maps.shape[1:])
    found = []
    with torch.no_grad():
        for step in range(STEPS + 1):
            changed = rank < round(order.shape[1] * step / STEPS)
            logits = network(torch.where(changed, end, begin))
            found.append(logits.double().softmax(1).gather(1, targets[:, None])[:, 0])
    probabilities: np.ndarray = torch.stack(found, 1).numpy()
    return probabilities


@dataclass(frozen=True)
class Doubt:
    """A method held against itself with random weights, on the same images.

    ``deletion`` and ``insertion`` [N] are the areas of the trained network's maps, ``random_*``
    [R,N] those of the maps of R networks that were never trained, judged by the trained one.
    """

    deletion: np.ndarray
    insertion: np.ndarray
    random_deletion: np.ndarray
    random_insertion: np.ndarray

    def better(self) -> dict[str, Any]:
        """On how many images the deletion is better (lower) than the mean of the random networks'
        on the same image, with the 95 % interval of the share (Wilson); likewise of each single
        comparison, and of those with the best of them."""
        mean = self.deletion < self.random_deletion.mean(axis=0)
        low, high = wilson_interval(int(mean.sum()), len(mean))
        return {
            "images": len(mean),
            "random_networks": len(self.random_deletion),
            "deletion": float(self.deletion.mean()),
            "deletion_random": float(self.random_deletion.mean()),
            "insertion": float(self.insertion.mean()),
            "insertion_random": float(self.random_insertion.mean()),
            "deletion_better": float(mean.mean()),
            "deletion_better_ci95": [low, high],
            "deletion_better_pairs": float((self.deletion < self.random_deletion).mean()),
            "deletion_better_than_all": float(
                (self.deletion < self.random_deletion.min(axis=0)).mean()
            ),
            "insertion_better": float((self.insertion > self.random_insertion.mean(axis=0)).mean()),
        }


def doubt(
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    mapped: Callable[[nn.Module], Tensor],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    emit: Emit = silent,
) -> Doubt:
    """The deletion and insertion of ``mapped(network)``, and of ``mapped`` of networks with random
    weights, all judged by the trained network."""
    areas = []
    for done, each in enumerate([network, *(randomised(network, seed) for seed in seeds)]):
        maps = mapped(each)
        found = [area(f(network, images, targets, maps)) for f in (deletion, insertion)]
        areas.append(np.stack(found))  # [2,N]
        emit(Progress("heat maps in doubt", done + 1, len(seeds) + 1, "networks"))
    every = np.stack(areas)  # [1+R,2,N]
    return Doubt(every[0, 0], every[0, 1], every[1:, 0], every[1:, 1])
