"""Images in any form -> pixels of a network's own size, or why one cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.data.decode import decode
from convscope.data.digits import is_photo, read_photo
from convscope.data.scan import find_images
from convscope.errors import BadArgument, ImageError
from convscope.events import Emit, Notice, Progress, silent


class Input(NamedTuple):
    """An image by its name, as uint8 [C,H,W]; without pixels, the error that it is. What was cut
    out of a photograph has a ``box`` in it: left, top, right, bottom."""

    name: str
    pixels: NDArray[np.uint8] | None
    error: str | None = None
    box: tuple[int, int, int, int] | None = None


def inputs_of(
    images: NDArray[np.uint8] | Sequence[Any],
    channels: int,
    size: tuple[int, int],
    fit: str,
    invert: bool = False,
    emit: Emit = silent,
    digits: bool | None = False,
) -> list[Input]:
    """Each image decoded and resized to ``channels`` and ``size`` (height, width) as ``fit`` says.

    ``images`` is uint8 [N,C,H,W] or [N,H,W] of that size, which is taken as it is, or one or more
    paths, bytes, Pillow images and folders; ``invert`` swaps dark and light. With ``digits`` each
    is a photograph of digits on paper, which gives an input a digit, see
    :func:`~convscope.data.digits.read_photo`; where that is None, what is like one is, and a Notice
    says so. Reports Progress in images. Raises BadArgument for an array of another shape.

    >>> [one] = inputs_of([Image.new("L", (8, 8), 9)], channels=1, size=(2, 2), fit="pad")
    >>> one.name, one.pixels.tolist()
    ('0', [[[9, 9], [9, 9]]])
    """
    if isinstance(images, np.ndarray):
        return _of_array(images, (channels, *size), invert)
    alone = isinstance(images, str | Path | bytes | Image.Image)
    items = [item for given in ([images] if alone else images) for item in _expanded(given)]
    found: list[Input] = []
    photos = 0
    for i, item in enumerate(items):
        name = str(item) if _is_path(item) else str(i)
        try:
            if isinstance(item, ImageError):
                name = item.name
                raise item
            if digits or (digits is None and is_photo(item, name)):
                photos += 1
                cut = read_photo(item, name)
                found += [Input(name, one.pixels[None], None, one.box) for one in cut]
            else:
                pixels = decode(
                    item, channels=channels, size=size, fit=fit, invert=invert, name=name
                )
                found.append(Input(name, pixels))
        except ImageError as why:
            found.append(Input(name, None, f"{why.problem}; {why.remedy}"))
        emit(Progress("read", i + 1, len(items), "images"))
    if digits is None and photos:
        which = f"{photos:,} of {len(items):,} images" if len(items) > 1 else "the image"
        text = "taken for dark writing on paper: its digits were cut out as MNIST has them"
        emit(Notice(f"{which}: {text} (digits=False, --no-digits: taken whole)"))
    return found


def _of_array(array: NDArray[np.uint8], wanted: tuple[int, int, int], invert: bool) -> list[Input]:
    array = array[:, None] if array.ndim == 3 else array
    if array.dtype != np.uint8 or array.shape[1:] != wanted:
        raise BadArgument(
            "images",
            f"{array.dtype} {list(array.shape)}",
            f"must be uint8 [N,{','.join(map(str, wanted))}]",
            "give files or Pillow images, which are fitted",
        )
    return [Input(str(i), pixels) for i, pixels in enumerate(255 - array if invert else array)]


def _is_path(item: object) -> bool:
    return isinstance(item, str | Path)


def _expanded(given: Any) -> list[Any]:
    """A folder's images; whatever else as it is; what is not there as the error that it is."""
    if not _is_path(given):
        return [given]
    try:
        return list(find_images([Path(given)]))
    except ImageError as why:
        return [why]
