"""Images and maps as small pictures inside a page."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from convscope import webpage

FOR, AGAINST = (26, 128, 196), (224, 115, 29)  # blue and orange that stand out on light and dark
LEVELS = 16  # of either
CRISP = 64  # pixels of the longer side up to which an image is kept to the bit


def png(pixels: np.ndarray) -> str:
    """Pixels uint8 [h,w], [h,w,3] or [h,w,4] as the data URI of a PNG."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return webpage.png(file.getvalue())


def jpeg(pixels: np.ndarray) -> str:
    """Pixels uint8 [h,w] or [h,w,3] as the data URI of a JPEG."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=82, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def data(pixels: np.ndarray) -> str:
    """Pixels uint8 [h,w] or [h,w,3] as a data URI: a PNG of a small image, a JPEG of a photo."""
    return png(pixels) if max(pixels.shape[:2]) <= CRISP else jpeg(pixels)


def shown(image: np.ndarray, longest: int) -> np.ndarray:
    """An image uint8 [C,h,w] as [h,w] or [h,w,3], scaled down where it is larger than ``longest``
    pixels; of other than 3 channels the first is shown.

    >>> shown(np.zeros((3, 128, 64), np.uint8), 64).shape
    (64, 32, 3)
    """
    pixels = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
    high, wide = pixels.shape[:2]
    if max(high, wide) <= longest:
        return pixels
    scale = longest / max(high, wide)
    size = (max(1, round(wide * scale)), max(1, round(high * scale)))
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize(size, Image.Resampling.BOX))


def signed(values: np.ndarray, longest: int = CRISP) -> str:
    """Numbers [h,w] as the data URI of a PNG: the largest magnitude is solid, blue where it is
    positive and orange where it is negative; zero is clear, so that the page shows through.

    >>> signed(np.eye(5))[:22], len(signed(np.eye(5))) < 400
    ('data:image/png;base64,', True)
    """
    step = -(-max(values.shape) // longest)
    values = values[::step, ::step] if step > 1 else values
    most = float(np.abs(values).max()) or 1.0
    picture = Image.fromarray(np.rint(LEVELS + LEVELS * values / most).astype(np.uint8), "P")
    picture.putpalette(bytes(AGAINST * LEVELS + FOR * (LEVELS + 1)))
    alpha = bytes(round(255 * abs(k) / LEVELS) for k in range(-LEVELS, LEVELS + 1))
    file = io.BytesIO()
    picture.save(file, "PNG", transparency=alpha, optimize=True)
    return webpage.png(file.getvalue())


def heated(image: np.ndarray, heat: np.ndarray, longest: int) -> np.ndarray:
    """An image uint8 [C,h,w] in grey below its heat [h,w] of -1 to 1: blue is for, orange against.
    Pixels uint8 [h,w,3].

    >>> heated(np.zeros((1, 4, 4), np.uint8), np.eye(4), 9)[0, 0].tolist()
    [26, 113, 170]
    """
    pixels = shown(image, longest).astype(np.float32)
    grey = pixels[..., None] if pixels.ndim == 2 else pixels.mean(axis=2, keepdims=True)
    picture = Image.fromarray(np.ascontiguousarray(heat, np.float32))
    size = (grey.shape[1], grey.shape[0])
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BOX)
    warm = np.asarray(picture)[..., None]
    share = 0.85 * np.abs(warm).clip(0, 1) ** 0.7
    colour = np.where(warm > 0, np.array(FOR), np.array(AGAINST))
    mixed = (1 - share) * (0.7 * grey + 25) + share * colour
    found: np.ndarray = np.rint(mixed).clip(0, 255).astype(np.uint8)
    return found
