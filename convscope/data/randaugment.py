"""RandAugment and TrivialAugment on whole batches; see :mod:`convscope.data.augment`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope import devices
from convscope.data.colour import recoloured
from convscope.data.draws import Draws, randint
from convscope.data.warp import as_before, sample

OPERATIONS = (  # the last four take the size of a strength, whatever its sign
    "identity",
    "shear-x",
    "shear-y",
    "translate-x",
    "translate-y",
    "rotate",
    "brightness",
    "contrast",
    "saturation",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
STRENGTHS = 31  # of TrivialAugment, from 0 to 1


@dataclass(frozen=True)
class Reach:
    """What the operations do at strength 1: shear, translate by pixels of so many, rotate by
    radians, change colours and sharpness by a factor of 1 +- ``factor``, drop ``bits``."""

    shear: float
    translate: Callable[[int], float]
    rotate: float
    factor: float
    bits: int


RAND = Reach(0.3, lambda pixels: 150 / 331 * pixels, math.pi / 6, 0.9, 4)
TRIVIAL = Reach(0.99, lambda pixels: 32.0, 0.75 * math.pi, 0.99, 6)


def randaugment(
    images: Tensor,
    operations: int,
    magnitude: int,
    generator: Draws,
    padding: str = "black",
) -> Tensor:
    """On each image, one after the other, ``operations`` of the fourteen :data:`OPERATIONS`, drawn
    with repetition, of strength ``magnitude``, 0 to 30 (RandAugment: Cubuk et al. 2019, arXiv
    1909.13719, section 3).

    The strengths are torchvision's, the interpolation is bilinear. Images that are drawn alike go
    through an operation together. Floats are rounded to steps of 1/255.

    >>> images = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8)
    >>> randaugment(images, 2, 9, torch.Generator().manual_seed(0)).shape
    torch.Size([8, 3, 32, 32])
    """
    pixels = _bytes(images)
    for _ in range(operations):
        drawn = randint(2 * len(OPERATIONS), len(images), generator)
        strengths = torch.where(drawn % 2 == 1, magnitude / 30, -magnitude / 30)
        pixels = operated(pixels, drawn // 2, strengths, RAND, padding)
    return pixels if pixels.dtype is images.dtype else pixels.to(images.dtype) / 255


def trivialaugment(images: Tensor, generator: Draws, padding: str = "black") -> Tensor:
    """On each image one of the fourteen :data:`OPERATIONS`, of one of 31 strengths, each as likely
    (TrivialAugment, its wide space: Mueller & Hutter 2021, arXiv 2103.10158, algorithm 1 and table
    1).

    The strengths are torchvision's, so that translation is by up to 32 pixels of any image; else
    as :func:`randaugment`.

    >>> images = torch.randint(256, (8, 3, 64, 64), dtype=torch.uint8)
    >>> trivialaugment(images, torch.Generator().manual_seed(0)).shape
    torch.Size([8, 3, 64, 64])
    """
    pixels, each = _bytes(images), 2 * STRENGTHS
    drawn = randint(len(OPERATIONS) * each, len(images), generator)
    strengths = (drawn % each // 2) / (STRENGTHS - 1)
    strengths = torch.where(drawn % 2 == 1, strengths, -strengths)
    pixels = operated(pixels, drawn // each, strengths, TRIVIAL, padding)
    return pixels if pixels.dtype is images.dtype else pixels.to(images.dtype) / 255


def _bytes(images: Tensor) -> Tensor:
    return (images * 255).round_().to(torch.uint8) if images.is_floating_point() else images


def operated(
    images: Tensor, operations: Tensor, strengths: Tensor, reach: Reach, padding: str
) -> Tensor:
    """Each image, uint8, after the operation [B] and the strength [B], -1 to 1, of its own."""
    from torchvision.transforms.v2 import functional as vision

    groups: tuple[tuple[int, Callable[..., Tensor]], ...] = (  # first operation, what it does
        (0, lambda images, *_: images),
        (1, _slanted),
        (6, _tinted),
        (9, _sharpened),
        (10, _posterized),
        (11, _solarized),
        (12, lambda images, *_: vision.autocontrast(images)),
        (13, lambda images, *_: vision.equalize(images)),
    )
    numbers, order = operations.sort(stable=True)
    members = order.tensor_split(
        torch.searchsorted(numbers, torch.tensor([first for first, _ in groups[1:]]))
    )
    done = []
    for those, (_, operation) in zip(members, groups, strict=True):
        if len(those):
            some = images.index_select(0, devices.sent(those, images.device))
            done.append(operation(some, operations[those], strengths[those], reach, padding))
    return torch.cat(done).index_select(0, devices.sent(order.argsort(), images.device))


def _only(strengths: Tensor, operations: Tensor, name: str) -> Tensor:
    """The strengths [B] of one operation, else 0."""
    return torch.where(operations == OPERATIONS.index(name), strengths, 0)


def _along(values: Tensor, images: Tensor) -> Tensor:
    """One value [B] for all pixels of an image, where these are."""
    return devices.sent(values, images.device)[:, None, None, None]


def _slanted(
    images: Tensor, operations: Tensor, strengths: Tensor, reach: Reach, padding: str
) -> Tensor:
    """Shear from the top left corner, translate by whole pixels, or rotate."""
    _, _, height, width = images.shape
    lean_x, lean_y, right, down, turn = (
        _only(strengths, operations, name) for name in OPERATIONS[1:6]
    )
    lean_x, lean_y, turn = reach.shear * lean_x, reach.shear * lean_y, reach.rotate * turn
    right = (reach.translate(width) * right).trunc_() + lean_x * height / 2
    down = (reach.translate(height) * down).trunc_() + lean_y * width / 2
    rows = [turn.cos(), lean_x - turn.sin(), right, lean_y + turn.sin(), turn.cos(), down]
    return sample(images, torch.stack(rows, 1).view(-1, 2, 3), padding)


def _tinted(
    images: Tensor, operations: Tensor, strengths: Tensor, reach: Reach, padding: str
) -> Tensor:
    """Brightness, contrast or saturation by a factor."""
    factors = (1 + reach.factor * _only(strengths, operations, name) for name in OPERATIONS[6:9])
    return as_before(recoloured(images, *factors), images)


def _sharpened(
    images: Tensor, operations: Tensor, strengths: Tensor, reach: Reach, padding: str
) -> Tensor:
    """Away from, or towards, the image smoothed by a 3x3 kernel; cut off, not rounded."""
    from torchvision.transforms.v2 import functional as vision

    smooth = vision.adjust_sharpness(images, 0.0).to(torch.float32)
    sharper = smooth.lerp(images.to(torch.float32), _along(1 + reach.factor * strengths, images))
    return torch.clamp(sharper, 0, 255).to(torch.uint8)


def _posterized(
    images: Tensor, operations: Tensor, strengths: Tensor, reach: Reach, padding: str
) -> Tensor:
    """The lowest bits of each pixel off."""
    off = (reach.bits * strengths.abs()).round().to(torch.int64)
    return torch.bitwise_and(images, _along((0xFF << off & 0xFF).to(torch.uint8), images))


def _solarized(
    images: Tensor, operations: Tensor, strengths: Tensor, reach: Reach, padding: str
) -> Tensor:
    """Pixels from a threshold on inverted, 8.5 of 255 lower for each thirtieth of strength."""
    threshold = 255 - 8.5 * (30 * strengths.abs()).round()
    return torch.where(images >= _along(threshold, images), 255 - images, images)
