"""RandAugment on whole batches; see :mod:`convscope.data.augment`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from convscope import devices
from convscope.data.colour import recoloured
from convscope.data.warp import as_before, sample

# RandAugment's operations; the i-th has two keys, 2i for weaker or leftwards, 2i + 1 for the other.
OPERATIONS = (
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


def randaugment(
    images: Tensor,
    operations: int,
    magnitude: int,
    generator: torch.Generator,
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
    from torchvision.transforms.v2 import functional as vision

    if images.is_floating_point():
        pixels = (images * 255).round_().to(torch.uint8)
        return randaugment(pixels, operations, magnitude, generator, padding).to(images.dtype) / 255
    strength = magnitude / 30
    groups: tuple[tuple[int, Callable[[Tensor, Tensor], Tensor]], ...] = (  # first key, operation
        (0, lambda images, keys: images),
        (2, partial(_slanted, strength=strength, padding=padding)),
        (12, partial(_tinted, strength=strength)),
        (18, lambda images, keys: vision.adjust_sharpness(images, 1 - 0.9 * strength)),
        (19, lambda images, keys: vision.adjust_sharpness(images, 1 + 0.9 * strength)),
        (20, lambda images, keys: vision.posterize(images, round(8 - 4 * strength))),
        (22, lambda images, keys: vision.solarize(images, 255 * (1 - strength))),
        (24, lambda images, keys: vision.autocontrast(images)),
        (26, lambda images, keys: vision.equalize(images)),
    )
    firsts = torch.tensor([first for first, _ in groups[1:]])
    for _ in range(operations):
        drawn = torch.randint(2 * len(OPERATIONS), (len(images),), generator=generator)
        keys, order = drawn.sort(stable=True)
        members = order.tensor_split(torch.searchsorted(keys, firsts))
        done = [
            operation(images.index_select(0, devices.sent(those, images.device)), drawn[those])
            for those, (_, operation) in zip(members, groups, strict=True)
            if len(those)
        ]
        images = torch.cat(done).index_select(0, devices.sent(order.argsort(), images.device))
    return images


def _signed(keys: Tensor, operation: str, strength: float) -> Tensor:
    """+-strength where the key [B] is the operation's, else 0."""
    sign = torch.where(keys % 2 == 1, strength, -strength)
    return torch.where(keys // 2 == OPERATIONS.index(operation), sign, 0)


def _slanted(images: Tensor, keys: Tensor, *, strength: float, padding: str) -> Tensor:
    """Shear by up to 0.3 from the top left corner, translate by up to 150/331 of the size in whole
    pixels, rotate by up to 30 degrees."""
    _, _, height, width = images.shape
    lean_x, lean_y, right, down, turn = (_signed(keys, name, strength) for name in OPERATIONS[1:6])
    lean_x, lean_y, turn = 0.3 * lean_x, 0.3 * lean_y, turn * (torch.pi / 6)
    right = (150 / 331 * width * right).trunc_() + lean_x * height / 2
    down = (150 / 331 * height * down).trunc_() + lean_y * width / 2
    rows = [turn.cos(), lean_x - turn.sin(), right, lean_y + turn.sin(), turn.cos(), down]
    return sample(images, torch.stack(rows, 1).view(-1, 2, 3), padding)


def _tinted(images: Tensor, keys: Tensor, *, strength: float) -> Tensor:
    """Brightness, contrast or saturation by a factor of up to 1 +- 0.9."""
    factors = (1 + 0.9 * _signed(keys, name, strength) for name in OPERATIONS[6:9])
    return as_before(recoloured(images, *factors), images)
