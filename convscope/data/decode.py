"""Image files to uint8 ``[C,H,W]``: the only decoder and the only resize.

Training, prediction and the server all come through :func:`decode`, so they cannot disagree about a
pixel. What it does not do is decided here too: colour profiles are not applied, and nothing is
inverted unless the caller says so.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from convscope.errors import BadArgument, ImageError, nearest

# JPEG's reader takes MPO too; never EPS, which would run a program.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "AVIF")
SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".gif", ".pbm", ".pgm",
    ".ppm", ".pnm", ".tif", ".tiff", ".webp", ".avif",
})  # fmt: skip
MAX_PIXELS = 89_478_485  # Pillow's own limit: 256 MiB of RGB
FITS = ("pad", "crop", "stretch")
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
_SAVE_AGAIN = "save it again as 8-bit PNG or JPEG"
_COPY_AGAIN = "copy it again from where it came, or leave it out"

Pixels = npt.NDArray[np.uint8]
ImageSource = Path | str | bytes | Image.Image | npt.NDArray[Any]
Box = tuple[float, float, float, float]  # left, top, right, bottom
Resize = Callable[[Image.Image, tuple[int, int], Box], Pixels]


def resized(image: Image.Image, size: tuple[int, int], box: Box) -> Pixels:
    """A part of an image of mode L or RGB as uint8 ``[C,H,W]`` of ``size`` (width, height):
    bilinear with antialiasing."""
    return _planes(image.resize(size, Image.Resampling.BILINEAR, box=box))


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
    height, width = size
    if channels not in (1, 3):
        raise BadArgument("channels", channels, "must be 1 (grey) or 3 (RGB)", "take one of these")
    if height < 1 or width < 1:
        raise BadArgument("size", size, "must be (height, width), at least 1 each", "try (32, 32)")
    if fit not in FITS:
        raise BadArgument("fit", fit, "is not a way to fit an image", nearest(fit, FITS))
    name = name or (str(source) if isinstance(source, Path | str) else "the image")
    with _explaining(name), _quiet():
        image = _as_mode(_flat(source, name, (width, height), fit), "L" if channels == 1 else "RGB")
        pixels = _fitted(image, (width, height), fit, resize)  # [C,H,W]
    return ~pixels if invert else pixels


def look(path: Path | str) -> tuple[int, tuple[int, int]]:
    """How many channels an image file holds, and its (height, width) once it is upright.

    Only its head is read: a file that is cut short is found out by :func:`decode`. A palette counts
    as colour. Raises ImageError for a file that is no image.
    """
    name = str(path)
    with _explaining(name), _quiet(), _opened(path, name) as file:
        image = _recognised(file, name)
        width, height = image.size
        # Pillow turns a TIFF by itself, and reads a whole PNG to find EXIF behind its pixels.
        known = image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info)
        if known and _turn(image) in _LYING:
            width, height = height, width
        return 1 if image.mode in _GREY or image.mode.startswith("I;") else 3, (height, width)


def find_images(paths: Iterable[Path]) -> list[Path]:
    """The image files among ``paths``: files as given, folders searched through in sorted order.

    In folders only names with a suffix of ``SUFFIXES`` count, and what begins with a dot is
    skipped. Raises ImageError for a path that is not there and for a folder without any image.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(_search(path))
            if not inside:
                known = " ".join(sorted(SUFFIXES))
                raise ImageError(str(path), "holds no image", f"known are files named {known}")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise ImageError(str(path), "is not there", "check the path")
    return found


def _search(root: Path) -> Iterator[Path]:
    """Every image file under ``root``; linked folders are followed, each once."""
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        here = Path(folder).resolve()
        if here in seen:
            folders.clear()
            continue
        seen.add(here)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in (Path(folder, name) for name in files if not name.startswith(".")):
            if file.suffix.lower() in SUFFIXES:
                yield file


def _flat(source: ImageSource, name: str, size: tuple[int, int], fit: str) -> Image.Image:
    """The source as an upright, opaque, 8-bit image of mode L or RGB, not yet brought to ``size``
    (width, height)."""
    if isinstance(source, Image.Image):
        return _loaded(source, name)
    if isinstance(source, np.ndarray):
        return _loaded(_from_array(source, name), name)
    with io.BytesIO(source) if isinstance(source, bytes) else _opened(source, name) as file:
        image = _recognised(file, name)
        if image.format == "PNG":  # Pillow passes over pixel data whose checksum is wrong
            image.verify()
            image = Image.open(file, formats=FORMATS)
        if image.format in ("JPEG", "MPO"):
            _refuse_bomb(image, name)
            _halved(image, size, fit)
        return _loaded(image, name)


def _recognised(file: IO[bytes], name: str) -> Image.Image:
    """The image in a file, of which only the head was read."""
    if not file.read(1):
        raise ImageError(name, "is empty", _COPY_AGAIN)
    return Image.open(file, formats=FORMATS)


def _opened(path: Path | str, name: str) -> IO[bytes]:
    """The file, open for reading only."""
    if not Path(path).is_file():
        problem = "is not a file" if Path(path).exists() else "is not there"
        raise ImageError(name, problem, "check the path")
    try:
        return Path(path).open("rb", buffering=1 << 16)  # what Pillow reads at once
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
    # How the file stores a sample is forgotten once the pixels are loaded.
    tiles = getattr(image, "tile", None)
    arguments = tiles[0].args if tiles else None
    stored = arguments[0] if isinstance(arguments, tuple) else arguments
    white_is_zero = getattr(image, "tag_v2", {}).get(262) == 0  # TIFF's PhotometricInterpretation
    image.load()
    clear = _transparent_colour(image, stored)
    image = _upright(image)
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
    return _as_mode(image, "L" if image.mode in ("1", "L") else "RGB")


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


def _as_mode(image: Image.Image, mode: str) -> Image.Image:
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


def _upright(image: Image.Image) -> Image.Image:
    """Turn the image as its EXIF says."""
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What brings the image upright; EXIF that cannot be read says nothing."""
    try:
        orientation = image.getexif().get(0x0112)
    except Exception:
        return None
    return _UPRIGHT.get(orientation) if isinstance(orientation, int) else None


def _planes(image: Image.Image) -> Pixels:
    """The pixels of an image of mode L or RGB as ``[C,H,W]``."""
    pixels = np.asarray(image)  # [H,W] or [H,W,3]
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def _fitted(image: Image.Image, size: tuple[int, int], fit: str, resize: Resize) -> Pixels:
    """Bring an image of mode L or RGB to ``size`` (width, height), as ``[C,H,W]``."""
    if image.size == size:
        return _planes(image)
    (width, height), (to_width, to_height) = image.size, size
    inner, box = size, (0.0, 0.0, float(width), float(height))
    if fit == "pad":
        scale = min(to_width / width, to_height / height)
        inner = max(1, round(width * scale)), max(1, round(height * scale))
    elif fit == "crop":
        scale = max(to_width / width, to_height / height)
        left, top = (width - to_width / scale) / 2, (height - to_height / scale) / 2
        box = max(0.0, left), max(0.0, top), min(width, width - left), min(height, height - top)
    pixels = resize(image, inner, box)
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
_quiet_filters = warnings.catch_warnings(action="ignore")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop Pillow's warnings.

    The filters belong to the process: the first thread in sets them, the last one out restores.
    """
    global _quiet_users, _quiet_filters
    with _quiet_lock:
        if _quiet_users == 0:
            _quiet_filters = warnings.catch_warnings(action="ignore")
            _quiet_filters.__enter__()
        _quiet_users += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users -= 1
            if _quiet_users == 0:
                _quiet_filters.__exit__(None, None, None)
