"""Whole batches of images turned, stretched, sheared and cropped: one affine map an image, one
reading of the pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from convscope import devices
from convscope.data.draws import Draws, pairs, rand
from convscope.recipe import Augment

BEYOND = {"black": "zeros", "edge": "border", "reflect": "reflection"}  # grid_sample's words


def uniform(low: float, high: float, count: int, generator: Draws) -> Tensor:
    """``count`` numbers between ``low`` and ``high``, float [count]."""
    return rand(count, generator).mul_(high - low).add_(low)


def warp(images: Tensor, spec: Augment, generator: Draws) -> Tensor:
    """Crop, rotate, scale and shear, each image by its own draw of each, in one step.

    The crop comes first: what rotation brings in at the corners is the picture around the crop, as
    long as there is one.

    >>> images = torch.rand(2, 3, 32, 32)
    >>> warp(images, Augment(crop=0.5, rotate=10), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 32, 32])
    """
    batch, _, height, width = images.shape
    maps = turns(
        batch,
        math.radians(spec.rotate),
        spec.scale,
        math.radians(spec.shear),
        generator,
    )
    if spec.crop:
        crop, middle = crops(batch, spec.crop, (height, width), generator)
        maps = crop[:, :, None] * maps
        maps[:, :, 2] += middle
    return sample(images, maps, spec.padding)


def turns(batch: int, rotate: float, scale: float, shear: float, generator: Draws) -> Tensor:
    """Maps [batch,2,3], see :func:`sample`, that turn by up to ``rotate`` (radians), scale by up to
    1 +- ``scale`` and lean by up to ``shear`` (radians)."""
    turn = uniform(-rotate, rotate, batch, generator)
    size = uniform(1 - scale, 1 + scale, batch, generator)
    lean = uniform(-shear, shear, batch, generator).tan()
    cosine, sine, still = turn.cos() / size, turn.sin() / size, torch.zeros(batch)
    across = [cosine + lean * sine, lean * cosine - sine, still]
    return torch.stack([*across, sine, cosine, still], 1).view(batch, 2, 3)


def crops(
    batch: int, least: float, image_size: tuple[int, int], generator: Draws
) -> tuple[Tensor, Tensor]:
    """Random parts of an image: their share of its width and height, and how far their middle is
    from its own, in pixels; both [batch,2], x first.

    The area is a share between ``least`` and 1, the aspect between 3/4 and 4/3 of the image's, on a
    logarithmic scale (random resized crop: Szegedy et al. 2015, section 6). A part that would be
    longer than the image is as long as the image, of the same area.
    """
    area = uniform(least, 1, batch, generator)
    aspect = uniform(math.log(3 / 4), math.log(4 / 3), batch, generator).exp_()
    wide = (area * aspect).sqrt_()
    wide = torch.minimum(torch.maximum(wide, area), torch.ones(()))
    shares = torch.stack([wide, area / wide], 1)  # [B,2]
    height, width = image_size
    room = (1 - shares) * torch.tensor([width - 1, height - 1]) / 2
    return shares, pairs(batch, generator).mul_(2).sub_(1) * room


def sample(images: Tensor, maps: Tensor, padding: str = "black") -> Tensor:
    """Each image [C,H,W] read where its map [2,3] says, bilinear.

    A map takes a place of the result to the place in the image whose colour it gets: (x, y, 1),
    in pixels to the right of and below the image's middle, to (x, y). ``padding`` is what lies
    beyond the outer pixels' middles: black, their colour (edge) or the mirror image (reflect).

    >>> quarter_turn = torch.tensor([[[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]])
    >>> sample(torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8), quarter_turn).tolist()
    [[[[3, 1], [4, 2]]]]
    """
    _, _, height, width = images.shape
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    maps = devices.sent(maps, images.device)
    x = torch.arange(width, device=images.device) - middle_x  # [W]
    y = (torch.arange(height, device=images.device) - middle_y)[:, None]  # [H,1]
    grid = torch.stack(
        [
            (m[:, 0, None, None] * x + (m[:, 1, None, None] * y + m[:, 2, None, None]))
            / max(middle, 0.5)
            for m, middle in ((maps[:, 0, :], middle_x), (maps[:, 1, :], middle_y))
        ],
        dim=3,
    )  # [B,H,W,2], from -1 to 1
    read = functional.grid_sample(
        images.to(grid.dtype), grid, padding_mode=BEYOND[padding], align_corners=True
    )
    return as_before(read, images)


def as_before(pixels: Tensor, images: Tensor) -> Tensor:
    """Float pixels in the type of ``images`` again, rounded where that is uint8, and in rows; may
    work in place.

    >>> as_before(torch.tensor([1.5, 254.6]), torch.zeros(2, dtype=torch.uint8)).tolist()
    [2, 255]
    """
    if images.dtype == torch.uint8:
        pixels = pixels.round_()
    return pixels.to(images.dtype).contiguous()
