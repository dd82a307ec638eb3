"""Packs to batches: seeded, resumable at any step, never a sample at a time."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope import devices, kernels
from convscope.data.augment import augment, draw, rest
from convscope.recipe import Augment

AHEAD = 256  # seeds that are made at a time


@dataclass(frozen=True)
class Batch:
    """What one step sees: inputs float 0..1 [B,C,H,W] each, targets [B] each."""

    inputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.targets[0])


def seed_of(*parts: int) -> int:
    """One seed from several numbers, such as (seed, epoch, step).

    Near ones give unrelated streams, and so do longer ones: (s, e) is not (s, e, 0).

    >>> seed_of(0, 1, 2) == seed_of(0, 1, 2), seed_of(0, 1, 2) == seed_of(0, 2, 1)
    (True, False)
    """
    sequence = np.random.SeedSequence([len(parts), *parts])
    return int(sequence.generate_state(1, np.uint64)[0])


def seeds_along(start: int, *parts: int, last: tuple[int, ...] = ()) -> Iterator[int]:
    """``seed_of(*parts, step, *last)`` of the steps from ``start`` on. A few hundred at a time are
    made, since one between two steps of training finds nothing in the caches and takes ten times as
    long.

    >>> next(seeds_along(7, 0, 1)) == seed_of(0, 1, 7)
    True
    """
    for first in itertools.count(start, AHEAD):
        yield from [seed_of(*parts, step, *last) for step in range(first, first + AHEAD)]


def stratified(
    labels: NDArray[np.int64], share: float, seed: int, first: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Indices, ascending, of a seeded ``share`` of each class; at least one image of every class of
    two or more.

    ``first`` gives the position of the first image that is identical to each (``firsts`` of
    :mod:`convscope.data.duplicates`): copies are drawn as one, so that all of them are on one side.

    >>> stratified(np.array([0, 0, 1, 1]), 0.5, seed=0).size
    2
    """
    random = np.random.default_rng(seed_of(seed))
    alone = np.arange(len(labels))
    first = alone if first is None else first
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels) if share else ():
        members = random.permutation(np.flatnonzero((labels == label) & (first == alone)))
        most = len(members) - 1
        chosen[members[: min(most, max(1, round(share * len(members))))]] = True
    held = chosen[first]
    for label in np.setdiff1d(labels, labels[~held]):  # one whose images all copy those of others
        chosen[first[labels == label]] = False
    return np.flatnonzero(chosen[first])


def tensor_of(array: NDArray[Any]) -> Tensor:
    """The tensor over an array, which may be read-only: nobody writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


def to_input(
    images: Tensor, device: str | torch.device, memory_format: torch.memory_format
) -> Tensor:
    """uint8 [B,C,H,W] -> float 0..1 on the device: the one place where pixels become numbers.

    One compiled pass on the CPU. Elsewhere scaled before they are laid out anew, which is two to
    three times as fast as the other way round: PyTorch transposes floats in vectors, and bytes one
    by one.
    """
    here = str(device) == "cpu" and images.dtype is torch.uint8 and images.is_contiguous()
    if here and kernels.available():
        found = torch.empty(images.shape, memory_format=memory_format)
        sizes = tuple(images.shape)
        if memory_format is not torch.channels_last:  # each channel is an image of its own
            sizes = (sizes[0] * sizes[1], 1, *sizes[2:])
        kernels.to_float(images, found, *sizes)
        return found
    return torch.mul(devices.sent(images, device), 1 / 255).contiguous(memory_format=memory_format)


@dataclass(frozen=True)
class Loader:
    """Batches of a split, in an order that is a function of (seed, epoch) alone.

    ``images`` uint8 [N,C,H,W] and ``labels`` int64 [N] may be memory maps larger than memory;
    ``indices`` says which belong to it. With mixup and cutmix targets are float [B,``classes``].
    Where images are on the device already, they are drawn and augmented there; else on the CPU, and
    the next batch is made and copied while the device works with this one. What is drawn is the
    same.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    batch_size: int
    seed: int
    augment: Augment
    device: str = "cpu"
    memory_format: torch.memory_format = torch.channels_last
    classes: int | None = None

    def sizes(self) -> list[int]:
        """The size of each batch of an epoch; one image left over joins the batch before it, since
        batch normalisation cannot learn from one."""
        full, rest = divmod(len(self.indices), self.batch_size)
        sizes = [self.batch_size] * full + [rest] * (rest > 0)
        if len(sizes) > 1 and sizes[-1] == 1 and self.batch_size > 1:
            sizes[-2:] = [self.batch_size + 1]
        return sizes

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from its step ``start`` on: the same ones whether it began there
        or before."""
        order = torch.Generator().manual_seed(seed_of(self.seed, epoch))
        shuffled = self.indices[torch.randperm(len(self.indices), generator=order)]
        batches = torch.split(shuffled, self.sizes())[start:]
        left = rest(self.augment)
        drawn = (
            self._drawn(chosen, epoch, seed, left)
            for chosen, seed in zip(batches, seeds_along(start, self.seed, epoch), strict=False)
        )
        away = torch.device(self.device).type != self.images.device.type
        for images, *targets in devices.ahead(drawn, self.device) if away else drawn:
            yield Batch(
                (to_input(images, self.device, self.memory_format),),
                tuple(devices.sent(target, self.device) for target in targets),
            )

    def _drawn(self, chosen: Tensor, epoch: int, seed: int, left: Augment) -> tuple[Tensor, ...]:
        """Images of a batch, augmented, what is ``left`` to do once they are drawn included, and
        their targets."""
        random = torch.Generator().manual_seed(seed)
        images, targets = augment(  # [B,C,H,W] uint8, [B] or [B,K]
            draw(self.images, chosen, self.augment, random, epoch),
            (self.labels[chosen],),
            left,
            random,
            classes=self.classes,
        )
        return images, *targets
