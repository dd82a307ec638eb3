"""The only resize: bilinear with antialiasing; pad, crop and stretch to a size of another shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
FITS = ("pad", "crop", "stretch")
Resize = Callable[[Image.Image, tuple[int, int]], Pixels]


def resized(image: Image.Image, size: tuple[int, int]) -> Pixels:
    """An image of mode L or RGB as uint8 ``[C,H,W]`` of ``size`` (width, height): bilinear with
    antialiasing."""
    return _planes(image.resize(size, Image.Resampling.BILINEAR))


def _planes(image: Image.Image) -> Pixels:
    """The pixels of an image of mode L or RGB as ``[C,H,W]``."""
    pixels = np.asarray(image)  # [H,W] or [H,W,3]
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def fitted(image: Image.Image, size: tuple[int, int], fit: str, resize: Resize) -> Pixels:
    """Bring an image of mode L or RGB to ``size`` (width, height), as ``[C,H,W]``."""
    if image.size == size:
        return _planes(image)
    (width, height), (to_width, to_height) = image.size, size
    inner = size
    if fit == "pad":
        scale = min(to_width / width, to_height / height)
        inner = max(1, round(width * scale)), max(1, round(height * scale))
    elif fit == "crop":  # at whole pixels, so that nothing beyond them is seen
        scale = max(to_width / width, to_height / height)
        shown = max(1, round(to_width / scale)), max(1, round(to_height / scale))
        left, top = (width - shown[0]) // 2, (height - shown[1]) // 2
        image = image.crop((left, top, left + shown[0], top + shown[1]))
    pixels = resize(image, inner)
    if inner == size:
        return pixels
    left, top = (to_width - inner[0]) // 2, (to_height - inner[1]) // 2
    canvas = np.empty((len(pixels), to_height, to_width), np.uint8)
    canvas[:] = _edge_colour(pixels)[:, None, None]
    canvas[:, top : top + inner[1], left : left + inner[0]] = pixels
    return canvas


def _edge_colour(pixels: Pixels) -> Pixels:
    """The median colour ``[C]`` of the outermost pixels."""
    sides = pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]
    colour: npt.NDArray[np.float64] = np.median(np.concatenate(sides, axis=1), axis=1)
    return colour.round().astype(np.uint8)
