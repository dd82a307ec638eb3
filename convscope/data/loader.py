"""Packs to batches: seeded, resumable at any step, never a sample at a time."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convscope import devices, kernels
from convscope.data.augment import augment, draw, rest
from convscope.data.columns import IMAGE, LABEL, Class, Columns, image_and_label
from convscope.data.draws import Draws, Slots, shared, slots
from convscope.data.shards import ShardedImages, Shards
from convscope.recipe import Augment

FIRST, AHEAD = 16, 256  # seeds that are made at a time: of a short epoch, of a longer one


@dataclass(frozen=True)
class Batch:
    """What one step sees, by the names of the columns: inputs are images float 0..1 [B,C,H,W] or
    numbers [B,d]; targets int64 [B] (or float [B,K] of mixed images), labels [B,K], numbers [B].

    Where it is one rank's part of a batch, that one has ``whole`` records, each of which is
    computed by so many ranks: ``copies``."""

    inputs: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    whole: int = 0
    copies: int = 1

    def __len__(self) -> int:
        return len(next(iter(self.targets.values())))

    @property
    def records(self) -> int:
        """How many records all ranks have of it."""
        return self.whole or len(self)

    def first(self, count: int | None) -> Batch:
        """The first records of it."""
        return next(self.split(count)) if count else self

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(iter(self.targets.values())).device

    def laid_out(self, memory_format: torch.memory_format) -> Batch:
        """The same with its images in this memory format."""
        laid = {
            name: one.contiguous(memory_format=memory_format) if one.ndim == 4 else one
            for name, one in self.inputs.items()
        }
        return replace(self, inputs=laid)

    def split(self, size: int) -> Iterator[Batch]:
        """Its records in order, ``size`` of them at a time."""
        for begin in range(0, len(self), size):
            inputs, targets = (
                {name: one[begin : begin + size] for name, one in some.items()}
                for some in (self.inputs, self.targets)
            )
            yield Batch(inputs, targets)


def forward(model: nn.Module, inputs: Tensor | Mapping[str, Tensor]) -> Any:
    """What a network gives for a batch: its arguments are the inputs, in the columns' order."""
    return model(inputs) if isinstance(inputs, Tensor) else model(*inputs.values())


def seed_of(*parts: int) -> int:
    """One seed from several numbers, such as (seed, epoch, step).

    Near ones give unrelated streams, and so do longer ones: (s, e) is not (s, e, 0).

    >>> seed_of(0, 1, 2) == seed_of(0, 1, 2), seed_of(0, 1, 2) == seed_of(0, 2, 1)
    (True, False)
    """
    sequence = np.random.SeedSequence([len(parts), *parts])
    return int(sequence.generate_state(1, np.uint64)[0])


def seeds_along(start: int, *parts: int, last: tuple[int, ...] = ()) -> Iterator[int]:
    """``seed_of(*parts, step, *last)`` of the steps from ``start`` on. Some at a time are made,
    after the first few some hundred: one between two steps of training finds nothing in the caches
    and takes ten times as long.

    >>> next(seeds_along(7, 0, 1)) == seed_of(0, 1, 7)
    True
    """
    yield from [seed_of(*parts, step, *last) for step in range(start, start + FIRST)]
    for first in itertools.count(start + FIRST, AHEAD):
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


def nested(labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Indices, ascending, of a seeded ``share`` of each class, of at least one image; those of a
    smaller share are among those of a larger one.

    >>> few, more = (nested(np.arange(100) % 2, share, seed=0) for share in (0.1, 0.3))
    >>> len(few), len(more), bool(np.isin(few, more).all())
    (10, 30, True)
    """
    random, chosen = np.random.default_rng(seed_of(seed, 1)), []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        chosen.append(members[: max(1, round(share * len(members)))])
    return np.sort(np.concatenate(chosen))


def balanced(labels: Tensor, generator: torch.Generator) -> Tensor:
    """As many positions as there are labels [N], shuffled: of each class that occurs N/K, or one
    more, which is drawn; each of its records as often as the others, or once more.

    >>> drawn = balanced(torch.tensor([0, 0, 0, 0, 0, 1]), torch.Generator().manual_seed(0))
    >>> len(drawn), (drawn == 5).sum().item()
    (6, 3)
    """
    sizes = torch.bincount(labels)
    by_class = torch.split(labels.argsort(stable=True), sizes[sizes > 0].tolist())
    whole, left = divmod(len(labels), len(by_class))
    counts = torch.full((len(by_class),), whole)
    counts[torch.randperm(len(by_class), generator=generator)[:left]] += 1
    drawn = []
    for members, count in zip(by_class, counts.tolist(), strict=True):
        often, more = divmod(count, len(members))
        some = members[torch.randperm(len(members), generator=generator)[:more]]
        drawn += [members.repeat(often), some]
    return torch.cat(drawn)[torch.randperm(len(labels), generator=generator)]


def tensor_of(array: NDArray[Any] | ShardedImages, whole: bool = True) -> Tensor:
    """The tensor over an array, which may be read-only: nobody writes to it. Of images in shards
    all are fetched first; unless ``whole``, whoever reads some waits for their shards before."""
    if isinstance(array, ShardedImages):
        if whole:
            array.shards.need()
        array = array.mapped
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
    """Batches of a split, in an order that is a function of (seed, epoch) alone: every record once
    an epoch (``shuffle``), or each class of its one target equally often (``balanced``).

    ``inputs`` (images uint8 [N,C,H,W], numbers float32 [N,d]) and ``targets`` [N,...] by the names
    of their ``columns`` may be memory maps larger than memory; ``indices`` says which records
    belong to it. With mixup and cutmix, which go with one image and one class, targets are float
    [B,``classes``]. Where images are on the device already, they are drawn and augmented there;
    else on the CPU, and the next batch is made and copied while the device works with this one.
    What is drawn is the same. Images that lie in ``shards`` are shuffled lane by lane
    (:mod:`convscope.data.shard_order`), and a batch is drawn once its shards are here.

    One of several ``ranks`` has its part of each batch, as :func:`convscope.data.draws.slots` says;
    the batches and what is drawn for them are those of one process.
    """

    columns: Columns
    inputs: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    indices: Tensor
    batch_size: int
    seed: int
    augment: Augment
    device: str = "cpu"
    memory_format: torch.memory_format = torch.channels_last
    sampler: str = "shuffle"
    shards: Shards | None = None
    rank: int = 0
    ranks: int = 1

    @property
    def classes(self) -> int | None:
        """How many classes its one target has; None for other targets."""
        kinds = [self.columns[name] for name in self.targets]
        return len(kinds[0].classes) if len(kinds) == 1 and isinstance(kinds[0], Class) else None

    @classmethod
    def of_images(
        cls, images: Tensor, labels: Tensor, *rest: Any, classes: int = 10, **more: Any
    ) -> Loader:
        """That of images uint8 [N,C,H,W] and their classes int64 [N] alone."""
        columns = image_and_label(images.shape[1:], [str(n) for n in range(classes)])
        return cls(columns, {IMAGE: images}, {LABEL: labels}, *rest, **more)

    def sizes(self) -> list[int]:
        """The size of each batch of an epoch; one image left over joins the batch before it, since
        batch normalisation cannot learn from one."""
        full, rest = divmod(len(self.indices), self.batch_size)
        sizes = [self.batch_size] * full + [rest] * (rest > 0)
        if len(sizes) > 1 and sizes[-1] == 1 and self.batch_size > 1:
            sizes[-2:] = [self.batch_size + 1]
        return sizes

    def passes(self) -> list[int]:
        """How many records of each batch of an epoch this rank computes."""
        return [len(slots(size, self.rank, self.ranks)) for size in self.sizes()]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from its step ``start`` on: the same ones whether it began there
        or before."""
        sizes = self.sizes()
        left = rest(self.augment)
        batches = self._ready(torch.split(self.indices[self._order(epoch)], sizes)[start:], left)
        drawn = (
            self._drawn(chosen, epoch, seed, left)
            for chosen, seed in zip(batches, seeds_along(start, self.seed, epoch), strict=False)
        )
        here = next(iter(self.inputs.values())).device.type
        away = torch.device(self.device).type != here
        made = devices.ahead(drawn, self.device) if away else drawn
        for whole, values in zip(sizes[start:], made, strict=True):
            pairs = zip((*self.inputs, *self.targets), values, strict=True)
            batch = {name: self._on_device(name, value) for name, value in pairs}
            yield Batch(
                {name: batch[name] for name in self.inputs},
                {name: batch[name] for name in self.targets},
                whole,
                self.ranks if shared(whole, self.ranks) else 1,
            )

    def _order(self, epoch: int) -> Tensor:
        """Places in ``indices`` [N] in the order of an epoch."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, epoch))
        if self.sampler == "balanced":
            (labels,) = self.targets.values()
            return balanced(labels[self.indices], generator)
        if self.shards is not None:
            records = self.indices.numpy()
            return torch.from_numpy(self.shards.order(records, self.sizes(), self.seed, epoch))
        return torch.randperm(len(self.indices), generator=generator)

    def _ready(self, batches: Sequence[Tensor], left: Augment) -> Iterator[Tensor]:
        """The records of these batches, each once this rank can draw its part of it."""
        if self.shards is None:
            yield from batches
            return
        mine = [chosen[self._places(len(chosen), left)[0]].numpy() for chosen in batches]
        for chosen, _ in zip(batches, self.shards.ready(mine), strict=True):
            yield chosen

    def _places(self, count: int, left: Augment) -> tuple[Tensor, int]:
        """Which of the ``count`` records of a batch this rank draws, and how many of these, the
        first ones, are only mixed into the next one."""
        if self.ranks == 1 or shared(count, self.ranks):
            return torch.arange(count), 0
        mine, before = slots(count, self.rank, self.ranks), int(bool(left.mixup or left.cutmix))
        return torch.arange(mine.start - before, mine.stop) % count, before

    def _on_device(self, name: str, value: Tensor) -> Tensor:
        if name in self.inputs and value.dtype is torch.uint8:
            return to_input(value, self.device, self.memory_format)
        return devices.sent(value, self.device)

    def _drawn(self, chosen: Tensor, epoch: int, seed: int, left: Augment) -> list[Tensor]:
        """The inputs of a batch, its images augmented, what is ``left`` to do once they are drawn
        included, and its targets."""
        generator = torch.Generator().manual_seed(seed)
        random: Draws = generator
        places, before = self._places(len(chosen), left)
        if len(places) < len(chosen):
            random, chosen = Slots(generator, len(chosen), places), chosen[places]
        inputs, targets = [], tuple(target[chosen] for target in self.targets.values())
        for values in self.inputs.values():
            if values.dtype is not torch.uint8:
                inputs.append(values[chosen])
                continue
            images = draw(values, chosen, self.augment, random, epoch)  # [B,C,H,W] uint8
            images, targets = augment(images, targets, left, random, classes=self.classes)
            inputs.append(images)
        return [one[before:] for one in (*inputs, *targets)]
