"""All images of a pack in one line, whatever their split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from convscope.data.duplicates import Hashes, Positions
from convscope.data.pack import SPLITS, Images, Labels, Pack
from convscope.data.resize import resized
from convscope.events import Emit, Progress

PIECE = 256  # images that are looked at together

Values = TypeVar("Values", bound=npt.NDArray[Any])


class Samples:
    """The images of a pack by one number each: those of train, then val, then test.

    ``names`` are their files, or their places where they have none; ``labels``, ``hashes`` and
    ``where``, the number of the split, are arrays [N].
    """

    def __init__(self, pack: Pack) -> None:
        self.classes = pack.classes
        self.splits = tuple(name for name in SPLITS if name in pack.splits)
        held = [pack.splits[name] for name in self.splits]
        self.parts: list[Images] = [split.images for split in held]
        self.starts: Positions = np.cumsum([0, *(len(split) for split in held)])
        self.labels: Labels = np.concatenate([split.labels for split in held])
        self.hashes: Hashes = np.concatenate([split.hashes for split in held])
        self.where: Positions = np.repeat(np.arange(len(held)), np.diff(self.starts))
        self.have_files = all(split.files is not None for split in held)
        self.names = [
            name
            for kind, split in zip(self.splits, held, strict=True)
            for name in (split.files or [f"{kind} image {at}" for at in range(len(split))])
        ]

    def __len__(self) -> int:
        return len(self.labels)

    def label(self, at: int) -> str:
        """The class of an image by its name."""
        return self.classes[int(self.labels[at])]

    def split(self, at: int) -> str:
        """The split of an image by its name."""
        return self.splits[int(self.where[at])]

    def images(self, chosen: Sequence[int] | Positions) -> Images:
        """These images, uint8 ``[n,C,H,W]``, copied."""
        found = np.empty((len(chosen), *self.parts[0].shape[1:]), np.uint8)
        for row, at in enumerate(chosen):
            part = self.where[at]
            found[row] = self.parts[part][at - self.starts[part]]
        return found

    def each(self, what: Callable[[Images], Values], stage: str, emit: Emit) -> list[Values]:
        """What a function gives of the images, a piece of them at a time."""
        found: list[Values] = []
        for piece in self._pieces():
            found.append(what(piece))
            done = min(len(self), sum(map(len, found)))
            emit(Progress(stage, done, len(self), "images"))
        return found

    def _pieces(self) -> Iterator[Images]:
        for images in self.parts:
            for begin in range(0, len(images), PIECE):
                yield images[begin : begin + PIECE]


def shrunk(images: Images, side: int, *, grey: bool = False) -> Images:
    """Images ``[n,C,H,W]`` brought to ``side`` pixels each way, ``[n,C,side,side]``.

    >>> shrunk(np.zeros((2, 3, 48, 64), np.uint8), 32, grey=True).shape
    (2, 1, 32, 32)
    """
    channels = 1 if grey else images.shape[1]
    found = np.empty((len(images), channels, side, side), np.uint8)
    for row, image in enumerate(images):
        pixels = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
        picture = Image.fromarray(pixels)
        picture = picture.convert("L") if grey and picture.mode != "L" else picture
        found[row] = resized(picture, (side, side))
    return found
