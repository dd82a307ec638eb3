"""Brightness, contrast, saturation and hue of whole batches; see :mod:`convscope.data.augment`."""

from __future__ import annotations

import torch
from torch import Tensor

from convscope import devices
from convscope.data.draws import Draws
from convscope.data.warp import as_before, uniform
from convscope.recipe import Augment

LUMA = (0.299, 0.587, 0.114)  # what red, green and blue weigh in grey (ITU-R BT.601, 2.5.1)


def colour(images: Tensor, spec: Augment, generator: Draws) -> Tensor:
    """Each image brighter or darker, with more or less contrast, more or less colourful, each by a
    factor of its own between 1 - v and 1 + v; then its hues turned by up to +-v of the circle.

    >>> grey = torch.full((1, 3, 2, 2), 100, dtype=torch.uint8)
    >>> spec = Augment(contrast=0.5, saturation=0.5, hue=0.5)
    >>> torch.equal(colour(grey, spec, torch.Generator().manual_seed(0)), grey)
    True
    """
    batch = len(images)
    brightness, contrast, saturation = (
        uniform(1 - v, 1 + v, batch, generator) if v else torch.ones(batch)
        for v in (spec.brightness, spec.contrast, spec.saturation)
    )
    pixels = recoloured(images, brightness, contrast, saturation)
    if spec.hue:
        pixels = _turned(pixels, uniform(-spec.hue, spec.hue, batch, generator))
    return as_before(pixels, images)


def recoloured(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Float pixels x of each image, blended with black by its ``brightness`` b [B], with its mean
    grey by its ``contrast`` c, and with their own grey by its ``saturation`` s:

    c b (s x + (1 - s) grey(x)) + (1 - c) b grey(mean), cut off at black and white once, at the end.
    """
    channels = images.shape[1]
    luma = LUMA if channels == 3 else (1 / channels,) * channels
    greyer, flatter = bool((saturation != 1).any()), bool((contrast != 1).any())
    brightness, contrast, saturation = (
        devices.sent(factor, images.device) for factor in (brightness, contrast, saturation)
    )
    scale, added = contrast * brightness * saturation, images.new_zeros(1, dtype=torch.float32)
    pixels = images.to(torch.float32)
    if greyer:
        share = contrast * brightness * (1 - saturation)
        grey = sum(weight * pixels[:, c, None] for c, weight in enumerate(luma))
        added = share[:, None, None, None] * grey  # [B,1,H,W]
    if flatter:
        kind = torch.int64 if images.dtype == torch.uint8 else torch.float64
        means = images.sum((2, 3), dtype=kind) / images[0, 0].numel()  # [B,C]
        mean = sum(weight * means[:, c] for c, weight in enumerate(luma))
        added = added + ((1 - contrast) * brightness * mean)[:, None, None, None].to(torch.float32)
    return (pixels * scale[:, None, None, None]).add_(added).clamp_(0, _white(images))


def _white(images: Tensor) -> int:
    return 1 if images.is_floating_point() else 255


def _turned(pixels: Tensor, turn: Tensor) -> Tensor:
    """Float pixels [B,3,H,W] with their hues turned by ``turn`` [B] (1 is the whole circle), value
    and saturation as they were (HSV: Smith 1978)."""
    value, chroma = pixels.amax(1), pixels.amax(1) - pixels.amin(1)  # [B,H,W]
    red, green, blue = pixels.unbind(1)
    hue = torch.where(
        value == red,
        green - blue,
        torch.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma),
    )
    turn = devices.sent(turn, pixels.device)[:, None, None]
    hue = hue / torch.where(chroma == 0, 1, chroma) + 6 * turn  # red 0, green 2
    sectors = [(hue + n).remainder_(6) for n in (5, 3, 1)]  # of 6
    darker = torch.stack([torch.minimum(n, 4 - n).clamp_(0, 1) for n in sectors], 1)
    return value[:, None] - chroma[:, None] * darker
