"""How many images the passes of a run have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Passes:
    """How many images the passes of a run have: those it learns from, and those it judges."""

    learnt: frozenset[int]
    judged: frozenset[int]

    @classmethod
    def of(
        cls, batches: Iterable[int], micro: int, judged: Iterable[int], eval_batch: int
    ) -> Passes:
        """
        >>> Passes.of([100, 41], 40, [5000, 0], 1000)
        Passes(learnt=frozenset({40, 1, 20}), judged=frozenset({1000}))
        """
        learnt = {n for batch in batches for n in _split(batch, micro or batch)}
        return cls(
            frozenset(learnt), frozenset(n for all_ in judged for n in _split(all_, eval_batch))
        )

    def at_most(self, most: int) -> Passes:
        """The same with passes of more images cut to so many."""
        return Passes(
            *(frozenset(min(n, most) for n in each) for each in (self.learnt, self.judged))
        )


def _split(whole: int, size: int) -> set[int]:
    return {min(size, whole), whole % size} - {0} if whole else set()
