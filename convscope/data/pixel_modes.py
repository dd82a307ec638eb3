"""Pillow's pixel modes, of any depth -> 8 bits, grey or RGB, opaque on white."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from convscope.errors import ImageError

_SAVE_AGAIN = "save it again as 8-bit PNG or JPEG"


def opaque(image: Image.Image, name: str) -> Image.Image:
    """An opened image, which is loaded, as one of mode L or RGB, not turned upright: 16 bits become
    8 by v / 257, rounded; what is transparent becomes white.

    ``name`` stands for it in errors. Raises ImageError where its numbers have no known white, and
    what Pillow raises for pixels that cannot be read.
    """
    # How the file stores a sample is forgotten once the pixels are loaded.
    tiles = getattr(image, "tile", None)
    arguments = tiles[0].args if tiles else None
    stored = arguments[0] if isinstance(arguments, tuple) else arguments
    white_is_zero = getattr(image, "tag_v2", {}).get(262) == 0  # TIFF's PhotometricInterpretation
    image.load()
    clear = _transparent_colour(image, stored)
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if stored == "I;12":
            values = values.astype(np.uint32) * 65535 // 4095
        if image.mode != "I" and white_is_zero:  # Pillow inverts these up to 8 bits only
            values = 65535 - values
        if values.min() < 0 or values.max() > 65535:
            problem = f"holds values from {values.min()} to {values.max()}, not 16 bits"
            raise ImageError(name, problem, _SAVE_AGAIN)
        eight = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
        return Image.fromarray(np.where(values == clear, np.uint8(255), eight))
    if image.mode in ("F", "LAB"):
        kind = "numbers without a known white" if image.mode == "F" else "Lab colours"
        raise ImageError(name, f"holds {kind} (mode {image.mode})", _SAVE_AGAIN)
    if clear is not None and image.mode in ("1", "L", "RGB"):
        image = image.copy()
        image.info["transparency"] = clear
    if image.has_transparency_data:
        layer = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return as_mode(image, "L" if image.mode in ("1", "L") else "RGB")


def as_mode(image: Image.Image, mode: str) -> Image.Image:
    """The image in this mode; itself, where it is in it: ``convert`` would copy it."""
    return image if image.mode == mode else image.convert(mode)


def _transparent_colour(image: Image.Image, stored: object) -> Any:
    """The colour that counts as transparent, in the depth of the loaded pixels, or None.

    PNG names it in the file's depth, and Pillow hands that on while it brings the pixels to 8 bits.
    """
    clear = image.info.get("transparency")
    if image.format == "PNG" and isinstance(clear, int):
        return clear * {"L;2": 85, "L;4": 17}.get(str(stored), 1)
    if image.format == "PNG" and isinstance(clear, tuple) and stored == "RGB;16B":
        return tuple(value >> 8 for value in clear)
    return clear
