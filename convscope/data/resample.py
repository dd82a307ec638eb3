"""Pillow's resize by compiled loops: the same pixels in a third of the time."""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any

import numpy as np
from PIL import Image

from convscope.data.resize import Pixels
from convscope.data.resize import resized as resized_by_pillow
from convscope.kernels import compiled
from convscope.kernels.resize import resize


def resized(image: Image.Image, size: tuple[int, int]) -> Pixels:
    """What Pillow gives, and from Pillow itself where the image is grey or very large."""
    pixels = _compiled(image, size) if available() else None
    return resized_by_pillow(image, size) if pixels is None else pixels


@functools.cache
def available() -> bool:
    """Whether the loops can be compiled and run here and give Pillow's pixels; some are compared.

    They do not where Pillow is a version that resizes in another way.
    """
    if os.environ.get("CONVSCOPE_KERNELS") == "off" or not compiled.READY:
        return False
    random = np.random.default_rng(0)
    try:
        for width, height, size in (
            (67, 41, (24, 16)),
            (31, 90, (40, 90)),
            (64, 23, (17, 29)),
            (50, 60, (40, 40)),  # a row more would begin with the columns
        ):
            image = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
            pixels = _compiled(image, size)
            if pixels is None or not np.array_equal(pixels, resized_by_pillow(image, size)):
                return False
    except Exception:  # whatever a foreign compiler or loader may raise
        if os.environ.get("CONVSCOPE_KERNELS") == "strict":
            raise
        return False
    return True


def _compiled(image: Image.Image, size: tuple[int, int]) -> Pixels | None:
    """The resized image, or None where it is left to Pillow."""
    narrower, lower = image.width - size[0], image.height - size[1]
    if image.mode != "RGB" or lower > max(0, 2 * narrower):  # Pillow begins with the columns then
        return None
    if (place := _place(image)) is None:
        return None
    pixels: Pixels = resize(place[0], image.size, size)
    return pixels


class _Array(ctypes.Structure):
    """An ArrowArray of Arrow's C data interface, as far as it is read here."""


_Array._fields_ = [
    *((name, ctypes.c_int64) for name in ("length", "nulls", "offset", "buffer_count", "children")),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("parts", ctypes.POINTER(ctypes.POINTER(_Array))),
]


def _place(image: Image.Image) -> tuple[int, Any] | None:
    """The address of an RGB image's pixels, four bytes each, and what keeps them there; None where
    they are not in one piece."""
    try:
        _, capsule = image.__arrow_c_array__()
    except ValueError:  # a large image, which Pillow keeps in several
        return None
    pixels = _Array.from_address(_pointer()(capsule, b"arrow_array"))
    values = pixels.parts[0].contents
    if pixels.offset or values.offset or values.length != 4 * image.width * image.height:
        return None
    return values.buffers[1], capsule


@functools.cache
def _pointer() -> Any:
    """Python's PyCapsule_GetPointer."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return pointer
