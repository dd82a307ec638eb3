"""Whole batches of uint8 images, changed as training images may be: pure functions of a generator.

Each takes images [B,C,H,W] and gives images of the same shape and type; :func:`augment` applies a
recipe's.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from convscope.errors import BadArgument
from convscope.recipe import Augment


def augment(
    images: Tensor, targets: tuple[Tensor, ...], spec: Augment, generator: torch.Generator
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The recipe's transformations, in a fixed order; nothing at all where every one is off."""
    if spec.rotate:
        images = rotate(images, spec.rotate, generator)
    if spec.shift:
        images = shift(images, spec.shift, generator)
    if spec.flip:
        images = flip(images, generator)
    if spec.cutout:
        images = cutout(images, spec.cutout, generator)
    return images, targets


def check(spec: Augment, image_size: tuple[int, int]) -> None:
    """Refuse what the image size cannot bear. Raises BadArgument.

    >>> check(Augment(shift=2), (28, 28))
    """
    smallest = min(image_size)
    for name, value in (("shift", spec.shift), ("cutout", spec.cutout)):
        if value >= smallest:
            raise BadArgument(
                name,
                value,
                f"must be smaller than the image, {image_size[0]}x{image_size[1]}",
                f"try {max(1, smallest // 8)}",
            )


def shift(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Each image moved by up to ``pixels`` each way; black comes in at the edge."""
    batch, _, height, width = images.shape
    padded = functional.pad(images, (pixels,) * 4)  # [B,C,H+2p,W+2p]
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # [B,C,2p+1,2p+1,H,W], a view
    down, right = torch.randint(2 * pixels + 1, (2, batch), generator=generator)
    return windows[torch.arange(batch), :, down, right]  # [B,C,H,W]


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mirrored left to right, half of the time."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def cutout(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """A square of ``pixels`` blacked out in each image, its centre anywhere (DeVries & Taylor
    2017)."""
    batch, _, height, width = images.shape
    middle_y = torch.randint(height, (batch, 1), generator=generator)
    middle_x = torch.randint(width, (batch, 1), generator=generator)
    above, left = middle_y - pixels // 2, middle_x - pixels // 2
    y, x = torch.arange(height), torch.arange(width)
    rows = (y >= above) & (y < above + pixels)  # [B,H]
    columns = (x >= left) & (x < left + pixels)  # [B,W]
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def rotate(images: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Each image turned by up to ``degrees`` about its centre, bilinear; black comes in at the
    corners."""
    batch, _, height, width = images.shape
    turn = (torch.rand(batch, generator=generator) * 2 - 1) * (degrees * torch.pi / 180)
    cosine, sine, none = turn.cos(), turn.sin(), torch.zeros(batch)
    # Coordinates run from -1 to 1 on both axes, so an oblong image needs its aspect in the mixed
    # terms.
    rows = torch.stack([cosine, -sine * height / width, none, sine * width / height, cosine, none])
    grid = functional.affine_grid(
        rows.T.reshape(batch, 2, 3), list(images.shape), align_corners=False
    )
    turned = functional.grid_sample(images.float(), grid, align_corners=False)
    return turned.round_().to(torch.uint8)
