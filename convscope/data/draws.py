"""Random numbers for the images of a batch, of which a rank keeps those of its own images.

Whatever the number of ranks, the numbers of a batch are drawn for all of it, so that an image gets
what it would get in one process.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Slots:
    """A generator whose numbers are those of a batch of ``whole`` images, of which those at
    ``places`` [B] are kept."""

    generator: torch.Generator
    whole: int
    places: Tensor


Draws = torch.Generator | Slots  # of a whole batch, or of a part of one


def slots(whole: int, rank: int, ranks: int) -> range:
    """Which of the ``whole`` records of a batch a rank computes; all of them, as every other rank
    does, where there are fewer than two for each.

    >>> [list(slots(7, rank, 3)) for rank in range(3)], slots(5, 1, 3)
    ([[0, 1], [2, 3], [4, 5, 6]], range(0, 5))
    """
    if shared(whole, ranks):
        return range(whole)
    return range(rank * whole // ranks, (rank + 1) * whole // ranks)


def shared(whole: int, ranks: int) -> bool:
    """Whether every rank computes all records of a batch: batch norm cannot learn from one."""
    return whole < 2 * ranks


def source(random: Draws) -> torch.Generator:
    """The generator itself, for what is drawn once a batch.

    >>> generator = torch.Generator()
    >>> source(Slots(generator, 4, torch.arange(2))) is generator is source(generator)
    True
    """
    return random.generator if isinstance(random, Slots) else random


def drawn(count: int, random: Draws) -> int:
    """For how many images numbers are drawn where those of ``count`` are kept."""
    return random.whole if isinstance(random, Slots) else count


def rand(count: int, random: Draws) -> Tensor:
    """A number from 0 to 1 for each of ``count`` images, float [count].

    >>> def generator(): return torch.Generator().manual_seed(0)
    >>> part = rand(2, Slots(generator(), 5, torch.tensor([1, 3])))
    >>> torch.equal(part, rand(5, generator())[[1, 3]])
    True
    """
    return kept(torch.rand(drawn(count, random), generator=source(random)), random)


def randint(high: int, count: int, random: Draws) -> Tensor:
    """A whole number below ``high`` for each of ``count`` images, int64 [count]."""
    return kept(torch.randint(high, (drawn(count, random),), generator=source(random)), random)


def kept(numbers: Tensor, random: Draws) -> Tensor:
    """Of what was drawn for a whole batch [whole,...], the part that is kept."""
    return numbers[random.places] if isinstance(random, Slots) else numbers


def pairs(count: int, random: Draws) -> Tensor:
    """Two numbers from 0 to 1 for each of ``count`` images, float [count,2]."""
    two = torch.rand(2 * drawn(count, random), generator=source(random))
    return kept(two.view(-1, 2), random)


def among(chosen: Tensor, random: Draws) -> tuple[int, Tensor]:
    """Of images that are ``chosen`` (bool, of the whole batch): how many there are, and which of
    them, from 0, those are that are kept."""
    return int(chosen.sum()), kept(chosen.cumsum(0) - 1, random)[kept(chosen, random)]
