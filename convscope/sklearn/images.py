"""What a caller gives as X: image files or arrays -> images of one size."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.data.decode import decode, look
from convscope.data.folder import typical_size
from convscope.errors import BadArgument
from convscope.predicting.inputs import ahead
from convscope.recipe import Recipe
from convscope.sklearn.arrays import image_shape

Images = NDArray[np.uint8]
Files = Sequence[str | Path]


def files_of(X: Any) -> Files | None:
    """The files that are named, one an image: a sequence, or a column of a table; None for what
    names none. Raises BadArgument for a mixture.

    >>> files_of(["a.png", "b.jpg"]), files_of(np.zeros((2, 4)))
    (['a.png', 'b.jpg'], None)
    """
    flat = X
    if not isinstance(X, list | tuple):
        shape: Any = getattr(X, "shape", ())
        column = len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)
        flat = np.asarray(X).reshape(-1) if column and hasattr(X, "__array__") else ()
    if not len(flat) or not isinstance(flat[0], str | os.PathLike):
        return None
    for one in flat:
        if not isinstance(one, str | os.PathLike):
            rule = "is no file, where the first image is one"
            raise BadArgument("X", one, rule, "name a file for each image, or give one array")
    return [str(one) if isinstance(one, str) else Path(one) for one in flat]


def rows_of(X: Any, given: Sequence[int] | None) -> tuple[Any, tuple[int, int, int] | None]:
    """An array of images with a row each, and their shape; what is none as it is: scikit-learn says
    what is wrong with it. Raises BadArgument."""
    found = np.asarray(X) if isinstance(X, list | tuple) else X
    if len(getattr(found, "shape", ())) < 3:
        return X, None
    shape = image_shape(found.shape, given)
    if not len(found):
        rule = "has no images: 0 sample(s), while a minimum of 1 is required"
        raise BadArgument("X", f"an array {list(found.shape)}", rule, "give one or more")
    return np.asarray(found).reshape(len(found), -1), shape


def chosen(
    files: Files, size: tuple[int, int] | None, asked: Recipe
) -> tuple[int, tuple[int, int], str]:
    """Channels, size and fit of images that come as files: by the heads of all, and by what the
    weights know that training begins from. Raises ImageError."""
    looks, fit = list(ahead(files, look, 1)), asked.data.resize_mode
    if asked.train.started and (size is None or fit == "auto"):
        from convscope.models import pretrained

        known = pretrained.find(asked.train.start, asked.model.name)
        size, fit = size or known.size, known.fit if fit == "auto" else fit
    channels = max(channels for channels, _ in looks)
    own = typical_size([one for _, one in looks])[0]
    return channels, size or own, fit.replace("auto", "pad")


def decoded(files: Files, channels: int, size: tuple[int, int], fit: str) -> Images:
    """Image files as uint8 ``[N,H,W,C]``. Raises ImageError."""
    found = np.empty((len(files), *size, channels), np.uint8)
    read = functools.partial(decode, channels=channels, size=size, fit=fit)
    for at, pixels in enumerate(ahead(files, read, channels * size[0] * size[1])):
        found[at] = pixels.transpose(1, 2, 0)
    return found


def brought(images: Images, size: tuple[int, int] | None, fit: str) -> Images:
    """Images uint8 ``[N,C,H,W]`` in that size.

    >>> brought(np.full((1, 1, 4, 4), 7, np.uint8), (2, 2), "pad").tolist()
    [[[[7, 7], [7, 7]]]]
    """
    count, channels, *own = images.shape
    if size is None or size == tuple(own):
        return images
    found = np.empty((count, channels, *size), np.uint8)
    for at, image in enumerate(images):
        pixels = image[0] if channels == 1 else image.transpose(1, 2, 0)
        found[at] = decode(pixels, channels=channels, size=size, fit=fit)
    return found
