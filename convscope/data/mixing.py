"""Images covered in part, or blended with others of their batch: random erasing, mixup, cutmix; see
:mod:`convscope.data.augment`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from convscope import devices
from convscope.data.draws import Draws, among, drawn, kept, rand, source
from convscope.data.warp import as_before, uniform
from convscope.errors import BadArgument
from convscope.recipe import Augment


def erase(images: Tensor, probability: float, generator: Draws) -> Tensor:
    """A rectangle of noise over some of the images (random erasing: Zhong et al. 2017, arXiv
    1708.04896, algorithm 1).

    Its area is 0.02 to 0.33 of the image's, its aspect 0.3 to 3.3, each value as likely; what would
    be longer than the image is as long as the image. Noise is any value of 256 for each pixel and
    channel.

    >>> images = torch.zeros(1, 1, 32, 32)
    >>> share = (erase(images, 1.0, torch.Generator().manual_seed(0)) > 0).float().mean()
    >>> 0.01 < float(share) < 0.34
    True
    """
    batch, channels, height, width = images.shape
    everyone = drawn(batch, generator)
    hits = torch.rand(everyone, generator=source(generator)) < probability  # [whole batch]
    hit = kept(hits, generator)
    area = uniform(0.02, 0.33, batch, generator) * (height * width)
    aspect = uniform(0.3, 3.3, batch, generator)
    spans = []
    for length, n in ((area * aspect).sqrt(), height), ((area / aspect).sqrt(), width):
        length = length.round().clamp(1, n)  # noqa: PLW2901
        first = (rand(batch, generator) * (n - length + 1)).floor()
        offset = torch.arange(n) - first[hit, None]
        spans.append((offset >= 0) & (offset < length[hit, None]))  # [hit,n]
    rows, columns = spans
    inside = rows[:, None, :, None] & columns[:, None, None, :]  # [hit,1,H,W]
    values = channels * height * width
    count, mine = among(hits, generator)
    words = torch.empty(count, -(-values // 8), dtype=torch.int64)
    words.random_(-(2**63), None, generator=source(generator))
    noise = words[mine].view(torch.uint8)[:, :values].view(len(rows), channels, height, width)
    if images.is_floating_point():
        noise = noise.to(images.dtype) / 255
    (which,) = hit.nonzero(as_tuple=True)
    which, inside, noise = (devices.sent(one, images.device) for one in (which, inside, noise))
    out = images.clone(memory_format=torch.contiguous_format)
    out[which] = torch.where(inside, noise, images[which])
    return out


def mixup(images: Tensor, alpha: float, generator: Draws) -> tuple[Tensor, float]:
    """Each image blended with the one before it in the batch, and the share that is its own: one
    draw a batch from Beta(alpha, alpha) (Zhang et al. 2018, arXiv 1710.09412, section 2).

    >>> images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    >>> blended, own = mixup(images, 1.0, torch.Generator().manual_seed(0))
    >>> torch.allclose(blended.flatten(), torch.tensor([1 - own, own]))
    True
    """
    own = _beta(alpha, generator)
    pixels = images.to(torch.float32)
    return as_before(pixels.roll(1, 0).lerp_(pixels, own), images), own


def cutmix(images: Tensor, alpha: float, generator: Draws) -> tuple[Tensor, float]:
    """A rectangle of each image taken from the one before it in the batch, and the share of pixels
    that is its own (Yun et al. 2019, arXiv 1905.04899, section 3.1 and equation 2).

    The rectangle has the image's aspect and 1 - Beta(alpha, alpha) of its area, and its middle
    anywhere; the share counts the pixels that are left once it is cut off at the edge.

    >>> images = torch.tensor([0, 1]).view(2, 1, 1, 1).expand(2, 1, 10, 10)
    >>> cut, own = cutmix(images, 1.0, torch.Generator().manual_seed(0))
    >>> round(own * 100) == int((cut[1] == 1).sum())
    True
    """
    _, _, height, width = images.shape
    side = (1 - _beta(alpha, generator)) ** 0.5
    edges = []
    for n in (height, width):
        middle, half = int(torch.randint(n, (), generator=source(generator))), int(n * side) // 2
        edges.append(slice(max(middle - half, 0), min(middle + half, n)))
    rows, columns = edges
    out = images.clone(memory_format=torch.contiguous_format)
    out[:, :, rows, columns] = images[:, :, rows, columns].roll(1, 0)
    taken = (rows.stop - rows.start) * (columns.stop - columns.start)
    return out, 1 - taken / (height * width)


def _beta(alpha: float, generator: Draws) -> float:
    """One draw from Beta(alpha, alpha); PyTorch's own takes no generator."""
    seed = int(torch.randint(2**63 - 1, (), generator=source(generator)))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def mixed(
    images: Tensor,
    targets: tuple[Tensor, ...],
    spec: Augment,
    generator: Draws,
    classes: int | None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Mixup or cutmix, each half of the time where both are on, of images and targets alike."""
    both = bool(spec.mixup and spec.cutmix)
    cut = bool(torch.rand((), generator=source(generator)) < 0.5) if both else bool(spec.cutmix)
    mix, alpha = (cutmix, spec.cutmix) if cut else (mixup, spec.mixup)
    images, own = mix(images, alpha, generator)
    if targets and classes is None:
        raise BadArgument("classes", None, "must be given with mixup and cutmix", "say how many")
    sure = [functional.one_hot(target, classes or -1).to(torch.float32) for target in targets]
    return images, tuple(target.roll(1, 0).lerp_(target, own) for target in sure)
