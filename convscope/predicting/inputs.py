"""Images in any form -> pixels of a network's own size, or why one cannot be read: decoded ahead,
so many at a time, whatever their number."""

from __future__ import annotations

import errno
import itertools
import math
import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope import machine
from convscope.data.ahead import MANY, each_in_order, workers
from convscope.data.decode import begins_as_image, decode_sized
from convscope.data.digits import SMALLEST, is_photo, read_photo
from convscope.data.scan import find_images
from convscope.errors import BadArgument, ImageError
from convscope.events import Emit, Notice, Progress, silent
from convscope.formatting import printable
from convscope.predicting import tables

TOGETHER = 16  # images that a thread decodes at once
AHEAD = 4  # times that many for each thread are decoded or wait
ROOM = 4 << 20  # bytes of pixels that may wait for each thread, if they are less
FIRST = 2000  # images that threads decode, before processes may go on
LINE = 1 << 16  # bytes of a name on standard input
SHOWN = 40  # letters of a line that is no name
LARGEST = 1 << 30  # bytes of an image on standard input

Item = TypeVar("Item")
Result = TypeVar("Result")


class Input(NamedTuple):
    """An image by its name, as uint8 [C,H,W]; without pixels, the error that it is. What was cut
    out of a photograph has a ``box`` in it: left, top, right, bottom."""

    name: str
    pixels: NDArray[np.uint8] | None
    error: str | None = None
    box: tuple[int, int, int, int] | None = None


class Named(NamedTuple):
    """An image in any form that goes by a name, or the error that it is."""

    name: str
    source: Any


Read = tuple[list[Input], bool]  # what an image gives; whether it was a photograph of digits


def collected(read: Iterable[list[Input]], total: int | None, emit: Emit) -> list[Input]:
    """All inputs of what is read."""
    found: list[Input] = []
    for done, some in enumerate(read, 1):
        found += some
        emit(Progress("read", done, total, "images"))
    return found


def stream(
    images: NDArray[np.uint8] | Iterable[Any],
    channels: int,
    size: tuple[int, int],
    fit: str,
    invert: bool = False,
    emit: Emit = silent,
    digits: bool | None = False,
) -> Iterator[list[Input]]:
    """What each image gives in its turn, decoded and resized to ``channels`` and ``size`` (height,
    width) as ``fit`` says: one input, but for photographs of digits.

    ``images`` is uint8 [N,C,H,W] or [N,H,W] of that size, which is taken as it is, or one or more
    paths, bytes, Pillow images, folders and tables of files (:mod:`convscope.predicting.tables`);
    ``invert`` swaps dark and light. With ``digits`` each is a photograph of digits on paper, which
    gives an input a digit, see :func:`~convscope.data.digits.read_photo`; where that is None, what
    is like one is, and a Notice says so at the end. Raises BadArgument at once for an array of
    another shape.

    >>> [[one]] = stream([Image.new("L", (8, 8), 9)], channels=1, size=(2, 2), fit="pad")
    >>> one.name, one.pixels.tolist()
    ('0', [[[9, 9], [9, 9]]])
    """
    if isinstance(images, np.ndarray):
        return ([one] for one in _of_array(images, (channels, *size), invert))
    return _decoded(images, _Decoder(channels, size, fit, invert, digits), emit)


def count(images: Any) -> int | None:
    """How many images these are; None for what can be gone through but once."""
    if isinstance(images, np.ndarray):
        return len(images)
    if not isinstance(images, Sequence | Path | Image.Image):
        return None
    return sum(
        1 if not _is_path(one) else
        tables.count(Path(one)) if tables.is_table(one) else
        sum(1 for _ in find_images(Path(one)))
        for one in _each(images)
    )  # fmt: skip


def ahead(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    bytes_each: int,
    file_size: Callable[[Item], float] = lambda _: math.inf,
) -> Iterator[Result]:
    """What ``work`` makes of each item, in their order, done ahead by as many threads as there are
    cores, and by processes once many were small, by ``file_size`` in bytes. The results that wait
    have a bounded number of bytes, for ``bytes_each``. A single item is worked on here."""
    items = iter(items)
    first = list(itertools.islice(items, 2))
    if len(first) < 2:
        yield from map(work, first)
        return
    sizes: list[float] = []

    def begun() -> Iterator[Item]:
        for item in itertools.chain(first, itertools.islice(items, FIRST - 2)):
            sizes.append(file_size(item))
            yield item

    together = max(1, min(TOGETHER, ROOM // AHEAD // bytes_each))
    most = AHEAD * machine.cores()
    with workers() as pool:
        yield from each_in_order(pool, work, begun(), most, together)
    if len(sizes) == FIRST:
        with workers(MANY, statistics.fmean(sizes)) as pool:
            yield from each_in_order(pool, work, items, most, together)


@dataclass(frozen=True)
class _Decoder:
    """An image -> its inputs, and whether it was taken for a photograph of digits; what was decoded
    already stays."""

    channels: int
    size: tuple[int, int]
    fit: str
    invert: bool
    digits: bool | None

    def __call__(self, item: Named | Read) -> Read:
        if not isinstance(item, Named):
            return item
        name, source = item
        try:
            if isinstance(source, ImageError):
                raise source
            if not self.digits:
                pixels, shorter = decode_sized(
                    source,
                    channels=self.channels,
                    size=self.size,
                    fit=self.fit,
                    invert=self.invert,
                    name=name,
                )
                photo = self.digits is None and shorter >= SMALLEST and is_photo(source, name)
                if not photo:
                    return [Input(name, pixels)], False
            cut = read_photo(source, name)
            return [Input(name, one.pixels[None], None, one.box) for one in cut], True
        except ImageError as why:
            return [Input(name, None, f"{why.problem}; {why.remedy}")], False


def _decoded(images: Iterable[Any], decoder: _Decoder, emit: Emit) -> Iterator[list[Input]]:
    def prepared() -> Iterator[Named | Read]:
        for one in named(images):  # a Pillow image is its caller's, and may be there twice
            yield decoder(one) if isinstance(one.source, Image.Image) else one

    seen = photos = 0
    each = decoder.channels * decoder.size[0] * decoder.size[1]
    for found, photo in ahead(prepared(), decoder, each, _file_size):
        seen, photos = seen + 1, photos + photo
        yield found
    if decoder.digits is None and photos:
        which = f"{photos:,} of {seen:,} images" if seen > 1 else "the image"
        text = "taken for dark writing on paper: its digits were cut out as MNIST has them"
        emit(Notice(f"{which}: {text} (digits=False, --no-digits: taken whole)"))


def _file_size(item: Named | Read) -> float:
    """The bytes of a file; infinite for what is none."""
    path = item.source if isinstance(item, Named) else None
    try:
        return Path(path).stat().st_size if isinstance(path, str | Path) else math.inf
    except OSError:
        return math.inf


def _of_array(
    array: NDArray[np.uint8], wanted: tuple[int, int, int], invert: bool
) -> Iterator[Input]:
    array = array[:, None] if array.ndim == 3 else array
    if array.dtype != np.uint8 or array.shape[1:] != wanted:
        raise BadArgument(
            "images",
            f"{array.dtype} {list(array.shape)}",
            f"must be uint8 [N,{','.join(map(str, wanted))}]",
            "give files or Pillow images, which are fitted",
        )
    return (Input(str(i), ~pixels if invert else pixels) for i, pixels in enumerate(array))


def named(images: Iterable[Any]) -> Iterator[Named]:
    """Each image by its name, else its number: a folder's and a table's, one after the other,
    whatever else as it is; what is not there as the error that it is."""
    each = (one for given in _each(images) for one in _expanded(given))
    for at, (name, source) in enumerate(each):
        yield Named(str(at) if name is None else name, source)


def piped(file: IO[bytes]) -> Iterator[str | Named]:
    """What standard input holds: names of files, folders and tables, a line each, as they come; or
    one image, by the name "-". It is an image where it begins as one, unless its first line names
    something that is there. Raises BadArgument for what is neither, and for nothing."""
    begun = file.read(16)
    image = begins_as_image(begun)
    begun += file.readline(LINE)
    if image and not os.path.lexists(_name(begun.split(b"\n")[0])):
        yield Named("-", begun + file.read(LARGEST))
        if file.read(1):
            rule = f"is an image of more than {LARGEST:,} bytes"
            raise BadArgument("FILES", "-", rule, "make it smaller")
        return
    lines = itertools.chain(begun.splitlines(), iter(lambda: file.readline(LINE), b""))
    names, remedy = 0, "pipe names of files, a line each, or one image"
    for at, line in enumerate(lines, 1):
        if len(line) >= LINE or _names_nothing(_name(line)):
            begins = printable(_name(line)[:SHOWN])
            rule = f"is no image and no list of names (line {at:,} begins '{begins}')"
            raise BadArgument("FILES", "-", rule, remedy)
        if name := _name(line):
            names += 1
            yield name
    if not names:
        rule = "holds no name" if begun else "standard input is empty"
        raise BadArgument("FILES", "-", rule, remedy)


def _names_nothing(name: str) -> bool:
    """Whether it is no file's name: no system takes it, or nothing is there and it is no text."""
    try:
        os.lstat(name)
    except ValueError:  # a zero byte
        return True
    except OSError as why:
        return why.errno == errno.ENAMETOOLONG or any(letter < " " for letter in name)
    return False


def _name(line: bytes) -> str:
    return os.fsdecode(line.rstrip(b"\r\n"))


def _expanded(given: Any) -> Iterator[tuple[str | None, Any]]:
    if isinstance(given, Named):
        yield given
    elif not _is_path(given):
        yield None, given
    elif tables.is_table(given):
        yield from tables.images_in(Path(given))
    else:
        for found in find_images(Path(given)):
            yield found.name if isinstance(found, ImageError) else str(found), found


def _each(images: Any) -> Iterable[Any]:
    return [images] if isinstance(images, str | Path | bytes | Image.Image | Named) else images


def _is_path(item: object) -> bool:
    return isinstance(item, str | Path)
