"""Image files to uint8 ``[C,H,W]``: the only decoder.

Training, prediction and the server all come through :func:`decode`, so they cannot disagree about a
pixel. What it does not do is decided here too: colour profiles are not applied, and nothing is
inverted unless the caller says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin, UnidentifiedImageError, _imaging

from convscope.data.pixel_modes import as_mode, opaque
from convscope.data.resize import FITS, Pixels, Resize, fitted, resized
from convscope.errors import BadArgument, ImageError, nearest
from convscope.formatting import decimal_size

# JPEG's reader takes MPO too; never EPS, which would run a program.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "AVIF")
SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".gif", ".pbm", ".pgm",
    ".ppm", ".pnm", ".tif", ".tiff", ".webp", ".avif",
})  # fmt: skip
MAX_PIXELS = 89_478_485  # Pillow's own limit: 256 MiB of RGB
KEPT = 3  # a JPEG that is halved while it is decoded stays so many times as large as it will be

_UPRIGHT = {  # EXIF 2.3, tag 0x0112: what undoes each orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = {turn for orientation, turn in _UPRIGHT.items() if orientation >= 5}  # sides change
_GREY = ("1", "L", "LA", "La", "I", "F")
_COPY_AGAIN = "copy it again from where it came, or leave it out"

ImageSource = Path | str | bytes | Image.Image | npt.NDArray[Any]


def decode(
    source: ImageSource,
    *,
    channels: int,
    size: tuple[int, int],
    fit: str = "pad",
    invert: bool = False,
    name: str | None = None,
    resize: Resize = resized,
) -> Pixels:
    """One image as uint8 ``[channels,H,W]`` for ``size=(H, W)``: upright, and opaque on white.

    ``source`` is a path, a file's bytes, a Pillow image, or an array: ``[H,W]`` of uint8 or uint16,
    ``[H,W,3]`` or ``[H,W,4]`` of uint8. ``channels`` is 1 (ITU-R 601 luma) or 3 (RGB). An image
    that already has the size keeps its pixels bit for bit; any other is resized once, bilinear with
    antialiasing (a large JPEG file after its own decoder has halved it, see :func:`_halved`):

    - ``fit="pad"`` keeps all of it and its aspect; the border has the median colour of its edge.
    - ``fit="crop"`` keeps its aspect and fills the size; what stands over is cut off evenly.
    - ``fit="stretch"`` keeps all of it and not its aspect.

    16 bits become 8 by v / 257, rounded. Of an animation the first frame is taken. ``invert=True``
    turns black into white. ``name`` stands for the image in errors; it is the path where there is
    one. ``resize`` is for callers with a faster way to the pixels that :func:`resized` gives.

    Raises ImageError for whatever cannot be read, and BadArgument for a value of the others that
    makes no sense.

    >>> decode(np.array([[0, 255]], np.uint8), channels=1, size=(2, 2), fit="stretch").tolist()
    [[[0, 255], [0, 255]]]
    """
    pixels, _ = decode_sized(
        source, channels=channels, size=size, fit=fit, invert=invert, name=name, resize=resize
    )
    return pixels


def decode_sized(
    source: ImageSource,
    *,
    channels: int,
    size: tuple[int, int],
    fit: str = "pad",
    invert: bool = False,
    name: str | None = None,
    resize: Resize = resized,
) -> tuple[Pixels, int]:
    """What :func:`decode` gives, and how many pixels the shorter side of the image itself has."""
    check(channels, size, fit)
    height, width = size
    name = name or (str(source) if isinstance(source, Path | str) else "the image")
    with _explaining(name), quiet():
        flat, shorter = _flat(source, name, (width, height), fit)
        image = as_mode(flat, "L" if channels == 1 else "RGB")
        pixels = fitted(image, (width, height), fit, resize)  # [C,H,W]
    return ~pixels if invert else pixels, shorter


def check(channels: int, size: tuple[int, int], fit: str) -> None:
    """Raise BadArgument for what :func:`decode` cannot bring an image to."""
    height, width = size
    if channels not in (1, 3):
        raise BadArgument("channels", channels, "must be 1 (grey) or 3 (RGB)", "take one of these")
    if height < 1 or width < 1:
        raise BadArgument("size", size, "must be (height, width), at least 1 each", "try (32, 32)")
    if height * width > MAX_PIXELS:
        takes = f"{height * width:,} pixels an image, {decimal_size(channels * height * width)}"
        rule = f"would be {takes}; at most {MAX_PIXELS:,} are decoded"
        raise BadArgument("size", size, rule, "try 224")
    if fit not in FITS:
        raise BadArgument("fit", fit, "is not a way to fit an image", nearest(fit, FITS))


def whole(
    source: ImageSource, *, channels: int, longest: int, name: str | None = None
) -> tuple[Pixels, float]:
    """An image in its own shape as uint8 ``[channels,H,W]``, its longer side at most ``longest``:
    upright, opaque on white, made smaller by the one resize where it has to be. Also how many of
    the image's own pixels one of these is long. Takes and raises what :func:`decode` does.

    >>> pixels, scale = whole(np.zeros((30, 60), np.uint8), channels=1, longest=20)
    >>> pixels.shape, scale
    ((1, 10, 20), 3.0)
    """
    name = name or (str(source) if isinstance(source, Path | str) else "the image")
    with _explaining(name), quiet():
        own = (MAX_PIXELS, MAX_PIXELS)  # no JPEG is halved on the way
        image = as_mode(_flat(source, name, own, "pad")[0], "L" if channels == 1 else "RGB")
        scale = max(1.0, max(image.size) / longest)
        width, height = (max(1, round(side / scale)) for side in image.size)
        return fitted(image, (width, height), "stretch", resized), scale


class Head(NamedTuple):
    """What the head of an image file says: Pillow's mode, (height, width) once it is upright."""

    mode: str
    size: tuple[int, int]


def look(path: Path | str | bytes) -> tuple[int, tuple[int, int]]:
    """How many channels an image file, or its bytes, hold, and its upright (height, width).

    A palette counts as colour. Raises ImageError for a file that is no image.
    """
    mode, size = head(path)
    return 1 if mode in _GREY or mode.startswith("I;") else 3, size


def head(source: Path | str | bytes, name: str | None = None) -> Head:
    """What an image file, or its bytes, say of themselves, of which only the head is read: one that
    is cut short is found out by :func:`decode`. Raises ImageError for what is no image."""
    name = name or ("the image" if isinstance(source, bytes) else str(source))
    with _explaining(name), quiet(), _file(source, name) as file:
        image = _recognised(file, name)
        width, height = image.size
        # Pillow turns a TIFF by itself, and reads a whole PNG to find EXIF behind its pixels.
        known = image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info)
        if known and _turn(image) in _LYING:
            width, height = height, width
        return Head(image.mode, (height, width))


def begins_as_image(head: bytes) -> bool:
    """Whether bytes, of which these are the first 16, are those of an image file and no text.

    >>> [begins_as_image(head) for head in (b"P5 16 16 255 ", b"BM\\6\\0\\0\\0", b"BMW.png")]
    [True, True, False]
    """
    Image.init()
    accepts = [Image.OPEN[kind][1] for kind in FORMATS if kind in Image.OPEN]
    binary = any(byte < 9 or 13 < byte < 32 for byte in head)
    return (binary or head[2:3].isspace()) and any(one and one(head) for one in accepts)


def _flat(
    source: ImageSource, name: str, size: tuple[int, int], fit: str
) -> tuple[Image.Image, int]:
    """The source as an upright, opaque, 8-bit image of mode L or RGB, not yet brought to ``size``
    (width, height); and its own shorter side."""
    if isinstance(source, np.ndarray):
        source = _from_array(source, name)
    if isinstance(source, Image.Image):
        return _loaded(source, name), min(source.size)
    with _file(source, name) as file:
        image = _recognised(file, name)
        shorter = min(image.size)
        if image.format == "PNG":  # Pillow passes over pixel data whose checksum is wrong
            tiles = image.tile  # type: ignore[attr-defined]
            file.seek(tiles[0].offset - 8)  # as its verify() does, which spends the image
            PngImagePlugin.ChunkStream(file).verify()
        if image.format in ("JPEG", "MPO"):
            _refuse_bomb(image, name)
            _halved(image, size, fit)
        return _loaded(image, name), shorter


def _recognised(file: IO[bytes], name: str) -> Image.Image:
    """The image in a file, of which only the head was read."""
    if not file.read(1):
        raise ImageError(name, "is empty", _COPY_AGAIN)
    return Image.open(file, formats=FORMATS)


def _file(source: Path | str | bytes, name: str) -> IO[bytes]:
    """A file, or its bytes, open for reading only."""
    return io.BytesIO(source) if isinstance(source, bytes) else _opened(source, name)


def _opened(path: Path | str, name: str) -> IO[bytes]:
    """The file, open for reading only."""
    if not os.path.isfile(path):  # noqa: PTH113
        problem = "is not a file" if os.path.exists(path) else "is not there"  # noqa: PTH110
        raise ImageError(name, problem, "check the path")
    try:
        # Path.open() would take longer than a small image; and Pillow reads so much at once
        return open(path, "rb", buffering=1 << 16)  # noqa: PTH123
    except OSError as why:
        raise ImageError(
            name, f"cannot be opened ({why.strerror})", "check its permissions"
        ) from why


def _from_array(array: npt.NDArray[Any], name: str) -> Image.Image:
    """A Pillow image of an array in one of the shapes that leave no doubt."""
    grey = array.ndim == 2 and array.dtype in (np.uint8, np.uint16)
    colour = array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8
    if not (grey or colour) or array.size == 0:
        problem = f"is an array {list(array.shape)} of {array.dtype}"
        raise ImageError(
            name, problem, "give [H,W] of uint8 or uint16, or [H,W,3] or [H,W,4] of uint8"
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _loaded(image: Image.Image, name: str) -> Image.Image:
    """The pixels of an opened image, unless it claims too many: upright, opaque, L or RGB."""
    _refuse_bomb(image, name)
    flat = opaque(image, name)
    turn = _turn(image)  # asked once it is loaded: Pillow turns a TIFF by itself
    return flat if turn is None else flat.transpose(turn)


def _refuse_bomb(image: Image.Image, name: str) -> None:
    """Raise ImageError for an image that claims too many pixels."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        problem = f"claims {width} x {height} pixels, more than {MAX_PIXELS:,}"
        raise ImageError(name, problem, "make it smaller, or leave it out")


def _halved(image: Image.Image, size: tuple[int, int], fit: str) -> None:
    """Have a JPEG that is far too large for ``size`` (width, height) halved up to three times by
    its own decoder.

    Each pixel is then the mean of those it stands for, as antialiasing would have it, in a fraction
    of the time. It is done where both sides come out even and the image stays at least ``KEPT``
    times as large as it will be, so that the one resize after it decides what is seen.
    """
    width, height = size[::-1] if _turn(image) in _LYING else size
    scales = width / image.width, height / image.height
    scale = min(scales) if fit == "pad" else max(scales)
    for part in (8, 4, 2):
        if image.width % part == image.height % part == 0 and scale * part * KEPT <= 1:
            image.draft(None, (image.width // part, image.height // part))
            return


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What brings the image upright; EXIF that cannot be read says nothing."""
    try:
        orientation = image.getexif().get(0x0112)
    except Exception:
        return None
    return _UPRIGHT.get(orientation) if isinstance(orientation, int) else None


@contextlib.contextmanager
def _explaining(name: str) -> Iterator[None]:
    """Make whatever goes wrong with an image an ImageError that names it."""
    try:
        yield
    except ImageError:
        raise
    except Exception as why:  # a hostile file makes Pillow raise nearly anything
        raise ImageError(name, *_explained(why)) from why


def _explained(why: Exception) -> tuple[str, str]:
    """Problem and remedy for what Pillow raised."""
    if isinstance(why, Image.DecompressionBombError):
        return f"claims more than {MAX_PIXELS:,} pixels", "make it smaller, or leave it out"
    if isinstance(why, UnidentifiedImageError):
        known = ", ".join(FORMATS)
        return f"is no image, is damaged, or is none of {known}", "save it again as PNG or JPEG"
    if isinstance(why, MemoryError):
        return "needs more memory than there is", "make it smaller, or leave it out"
    said = isinstance(why, OSError | SyntaxError | ValueError) and str(why)
    return f"is damaged or cut short ({said or 'no readable pixels'})", _COPY_AGAIN


_quiet_lock = threading.Lock()
_quiet_users = 0
_quiet_state = contextlib.ExitStack()
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its errors go to stderr


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop Pillow's warnings, and what libtiff says on stderr: an ImageError says what matters.

    Both belong to the process: the first thread in sets them, the last one out restores. A server
    stays within.
    """
    global _quiet_users
    with _quiet_lock:
        if _quiet_users == 0:
            _quiet_state.enter_context(warnings.catch_warnings(action="ignore"))
            for set_handler in _libtiff():
                _quiet_state.callback(set_handler, set_handler(None))
        _quiet_users += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users -= 1
            if _quiet_users == 0:
                _quiet_state.close()


@functools.cache
def _libtiff() -> tuple[Callable[[int | None], int | None], ...]:
    """libtiff's functions that set who is told of warnings and of errors, and give back who was;
    none where Pillow hides them."""
    found = []
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(_imaging.__file__)
        for setter in (library.TIFFSetWarningHandler, library.TIFFSetErrorHandler):
            setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            found.append(setter)
    return tuple(found)
