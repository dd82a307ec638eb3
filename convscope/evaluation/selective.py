"""Selective classification: the top probability below which an answer is unsure, so that the error
of the others keeps to a bound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convscope.errors import BadArgument
from convscope.events import Notice
from convscope.formatting import plural

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    Confidence = Float[np.ndarray, " n"]
    Hits = Bool[np.ndarray, " n"]

LEVEL = 0.05  # the bound holds at 95 % confidence
NEVER = -1.0  # the confidence of an image that is never answered


def needed(error: float, level: float = LEVEL) -> int:
    """How many answers, all of them right, bound their error at 1 - ``level``.

    >>> needed(0.02), needed(0.002), needed(0.05)
    (149, 1497, 59)
    """
    return math.ceil(math.log(level) / math.log1p(-error))


def check(error: float, n: int) -> None:
    """Raise BadArgument where ``n`` validation images cannot bound an error, however few of the
    answers are wrong.

    >>> check(0.02, 100)
    Traceback (most recent call last):
    convscope.errors.BadArgument: abstain=0.02: an error of at most 2% takes 149 validation images,
    all answered right, and there are 100; hold more out (--val), or allow more error
    """
    if not 0 < error < 1:
        raise BadArgument("abstain", error, "must be an error rate between 0 and 1", "try 0.02")
    if n < needed(error):
        raise BadArgument(
            "abstain",
            error,
            f"an error of at most {100 * error:g}% takes {needed(error):,} validation images, all "
            f"answered right, and there are {n:,}",
            "hold more out (--val), or allow more error",
        )


@dataclass(frozen=True)
class Selective:
    """Answers with a top probability of at least ``threshold`` are wrong with a probability of at
    most ``error``, at 95 % confidence; the others are unsure.

    Found on ``n`` validation images, of which that answers ``answered``, ``wrong`` of them wrongly.
    ``threshold`` is None where none keeps the bound: then every answer is unsure, if the bound was
    ``asked`` for; if it is the default, unsure is said of none.
    """

    error: float
    n: int
    threshold: float | None
    answered: int
    wrong: int
    asked: bool = False

    @property
    def known(self) -> bool:
        """Whether it can be said of an answer that it is unsure."""
        return self.threshold is not None or self.asked

    def unsure(self, confidence: Confidence) -> Hits:
        """Which of the images are not answered; for what is :attr:`known`."""
        lowest = math.inf if self.threshold is None else self.threshold
        below: Hits = confidence < lowest
        return below

    @property
    def notice(self) -> Notice | None:
        """That there is no threshold, where there is none; a warning if the bound was asked for."""
        return Notice(self.said, warning=self.asked) if self.threshold is None else None

    @property
    def said(self) -> str:
        """In a sentence, which answers are unsure."""
        bound = f"an error of at most {100 * self.error:g}% at 95% confidence"
        if self.threshold is not None:
            nines = -math.floor(math.log10(max(1 - self.threshold, 1e-16)))
            lowest = f"{self.threshold:.{max(4, nines + 1)}g}"
            return (
                f"answers are unsure below a top probability of {lowest}; the others keep to "
                f"{bound}: of {self.n:,} validation images {self.answered:,} are answered, "
                f"{self.wrong:,} of them wrongly"
            )
        then = "every answer is unsure" if self.asked else "which answers are unsure is not known"
        if self.n < needed(self.error):
            return (
                f"{then}: {bound} takes {plural(needed(self.error), 'validation image')}, all "
                f"answered right, and there are {self.n:,}"
            )
        return (
            f"{then}: on {self.n:,} validation images no top probability keeps the answers above "
            f"it to {bound}"
        )


def select(confidence: Confidence, right: Hits, error: float, asked: bool = False) -> Selective:
    """The lowest top probability whose answers keep to an ``error``, at 95 % confidence.

    ``confidence`` [n] is the top probability of each validation image, -1 for one that is not to
    be answered; ``right`` [n] says whether its class is right.

    Whether the m surest images keep the bound is a binomial test, the same as Clopper's and
    Pearson's upper limit being below it. So many tests of one split would find something by chance:
    they are taken in a fixed order, from the surest images to all, and the first that fails ends
    them (fixed-sequence testing, as in "Learn then Test", Angelopoulos et al. 2021). Since nothing
    can be tested on the few surest, an order begins with a half of the images, another with a
    quarter, and so on, as far as so few can pass a test; the level of 5 % is divided among the
    orders. This takes the error to rise as answers get less sure.

    >>> p = np.linspace(1, 0.5, 400)
    >>> found = select(p, p > 0.6, error=0.05)
    >>> round(found.threshold, 2), found.answered, found.wrong
    (0.59, 328, 8)
    """
    from scipy.special import bdtr

    n = len(confidence)
    order = np.argsort(-confidence, kind="stable")
    ranked, wrong = confidence[order], np.cumsum(~right[order])
    apart = np.append(ranked[:-1] > ranked[1:], True) & (ranked > NEVER)  # no tie is torn
    counts = np.flatnonzero(apart) + 1  # m: how many are answered
    failed = wrong[counts - 1]
    starts, level = _starts(n, error)
    passed = bdtr(failed, counts, error) <= level  # P(at most so many wrong | error)
    best = 0
    for start in starts:
        first = int(np.searchsorted(counts, start))
        stop = first + int(np.argmin(np.append(passed[first:], False)))
        best = max(best, int(counts[stop - 1]) if stop > first else 0)
    if not best:
        return Selective(error, n, None, 0, 0, asked)
    return Selective(error, n, float(ranked[best - 1]), best, int(wrong[best - 1]), asked)


def _starts(n: int, error: float) -> tuple[list[int], float]:
    """How many images each order of tests begins with, and the level of its tests.

    >>> _starts(6000, 0.002), _starts(200, 0.02), _starts(100, 0.02)[0]
    (([3000], 0.05), ([149], 0.05), [])
    """
    starts: list[int] = []
    while n >> (len(starts) + 1) >= needed(error, LEVEL / (len(starts) + 1)):
        starts.append(n >> (len(starts) + 1))
    if not starts and n >= needed(error):
        starts = [needed(error)]
    return starts, LEVEL / max(1, len(starts))
