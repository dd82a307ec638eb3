"""MNIST in pairs: two digits in, four targets out; made here from the digits inside the package."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from convscope.data import cache
from convscope.data.columns import Class, Column, Image
from convscope.data.pack import FORMAT_VERSION, Pack
from convscope.data.pack_writer import Chunk
from convscope.data.published_source import PackagedSource
from convscope.data.source import Contents, Place
from convscope.events import Emit, Notice

DIGITS = tuple("0123456789")
COLUMNS: dict[str, Column] = {
    "left": Image(1, (28, 28)),
    "right": Image(1, (28, 28)),
    "left_digit": Class(DIGITS),
    "right_digit": Class(DIGITS),
    "sum": Class(tuple(map(str, range(19)))),
    "larger": Class(("left", "neither", "right")),
}
RULES = 1  # part of a pack's key: raise it when the pairs are others


class PairsSource:
    """``mnist-pairs``: each image of MNIST once on the left and once on the right, within its
    split, in an order that never changes. The targets are both digits, their sum, and which of the
    two is larger."""

    name = "mnist-pairs"
    too_large = False
    has_test = True

    def __init__(self) -> None:
        self.place = cache.pack_folder(f"{self.name}-{FORMAT_VERSION}-{RULES}")
        self.digits = PackagedSource("mnist")

    def locate(self) -> Place:
        """See :class:`~convscope.data.source.Source`."""
        return Place("package", "inside the package, in pairs")

    def stamp(self, emit: Emit) -> Any:
        """That of MNIST."""
        return self.digits.stamp(emit)

    @contextlib.contextmanager
    def chunks(self, emit: Emit) -> Iterator[Contents]:
        """The whole of each split at once."""
        with self.digits.chunks(emit) as found:
            chunks = {}
            for seed, split in enumerate(found.counts):
                (whole,) = found.chunks[split]
                chunks[split] = [paired(whole, np.random.default_rng(seed))]
            yield Contents(COLUMNS, found.counts, chunks, found.stamp, str(self.locate()))

    def remarks(self, pack: Pack) -> Iterable[Notice]:
        """Nothing."""
        return ()


def paired(whole: Chunk, random: np.random.Generator) -> Chunk:
    """The images, side by side with the same ones in another order."""
    images, labels = whole.values["image"], np.asarray(whole.values["label"], np.int64)
    other = random.permutation(len(labels))
    left, right = labels, labels[other]
    values = {
        "left": images,
        "right": images[other],
        "left_digit": left,
        "right_digit": right,
        "sum": left + right,
        "larger": np.sign(right - left) + 1,
    }
    return Chunk(values)
