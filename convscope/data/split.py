"""Which images are learnt from and which are judged, and what the pixels learnt from are like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope.data.columns import Class
from convscope.data.duplicates import firsts
from convscope.data.loader import stratified
from convscope.data.pack import Pack, Split
from convscope.errors import BadArgument
from convscope.recipe import Recipe

PIECE = 1 << 19  # pixels that statistics look at together: what a second-level cache holds


class Part:
    """Some images of an array, read where they lie when a slice or some of them are asked for."""

    def __init__(self, images: NDArray[np.uint8], indices: NDArray[np.int64]) -> None:
        self.images, self.indices = images, indices
        self.shape, self.dtype, self.ndim = (len(indices), *images.shape[1:]), images.dtype, 4

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, chosen: slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.images[self.indices[chosen]]


def held_out(asked: Recipe, pack: Pack, begun: Sequence[int] | None = None) -> NDArray[np.int64]:
    """Which training images are validation's; none where the data has a split of its own for it.

    Identical images are on one side. ``begun`` is what a run that goes on was begun with: where
    that is the split that copies were once torn apart by, it stands. Raises BadArgument where data
    with a split of its own is to be split by a share that was typed.
    """
    if "val" not in pack.splits:
        train, share, seed = pack.splits["train"], asked.data.val, asked.data.split_seed
        of = strata(train)
        drawn = stratified(of, share, seed, firsts(train.hashes) if share else None)
        if begun is not None and list(begun) != drawn.tolist():
            apart = stratified(of, share, seed)
            return apart if list(begun) == apart.tolist() else drawn
        return drawn
    for name in ("val", "split_seed"):
        if asked.origin.get(f"data.{name}") == "typed":
            raise BadArgument(
                name,
                getattr(asked.data, name),
                f"is not used: {pack.name} has a validation split of its own",
                "leave it out",
            )
    return np.empty(0, np.int64)


def validation(pack: Pack, val: NDArray[np.int64]) -> Split:
    """What is judged after each epoch: the data's own split, or some of the training records."""
    return pack.splits["val"] if "val" in pack.splits else part(pack.splits["train"], val)


def part(split: Split, indices: NDArray[np.int64]) -> Split:
    """Some records of a split, whose images are not copied."""
    values: dict[str, Any] = {
        name: Part(array, indices) if array.ndim == 4 else array[indices]
        for name, array in split.values.items()
    }
    return Split(split.columns, values)


def strata(split: Split) -> NDArray[np.int64]:
    """The numbers of strata [N] by which a split is divided in proportion: the classes of its first
    target that is one, else all in one."""
    first = (name for name, one in split.columns.items() if isinstance(one, Class))
    name = next(first, None)
    return np.zeros(len(split), np.int64) if name is None else split.values[name]


def statistics(
    images: Tensor, indices: Tensor, after: Callable[[], None] = lambda: None
) -> tuple[list[float], list[float]]:
    """Mean and standard deviation by channel of the pixels, 0..1, of some of the images, a piece at
    a time; ``after`` is called after each. Of numbers [N,d], by name.

    Exact for images up to 1,024 wide: from the middle, a row's sum of squares is a whole number
    that a float holds.
    """
    if images.ndim == 2:
        std, mean = torch.std_mean(images[indices].double(), 0, correction=0)
        return mean.tolist(), std.tolist()
    total = squares = torch.zeros(images.shape[1], dtype=torch.float64)
    for chosen in torch.split(indices, max(1, PIECE // images[0].numel())):
        piece = images.index_select(0, chosen).float().sub_(128)  # [b,C,H,W], -128..127
        total = total + piece.sum(3).double().sum((0, 2))
        squares = squares + piece.square_().sum(3).double().sum((0, 2))
        after()
    count = len(indices) * images.shape[2] * images.shape[3]
    mean = total / count
    std = (squares / count - mean**2).clamp_min(0).sqrt()
    return ((mean + 128) / 255).tolist(), (std / 255).tolist()
