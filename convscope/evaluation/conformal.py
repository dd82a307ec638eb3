"""Split conformal prediction: sets of classes that hold the right one at least as often as is
asked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from convscope.errors import BadArgument
from convscope.formatting import plural

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    Probabilities = Float[np.ndarray, "n k"]
    Labels = Int[np.ndarray, " n"]
    Sets = Bool[np.ndarray, "n k"]

EXACT = 1e-9  # 0.95 * 20 is not quite 19


def needed(coverage: float) -> int:
    """How many validation images a coverage takes.

    >>> needed(0.95), needed(0.9), needed(0.99)
    (19, 9, 99)
    """
    return math.ceil(coverage / (1 - coverage) - EXACT)


def check(coverage: float, n: int) -> None:
    """Raise BadArgument for a coverage that is not between 0 and 1, or takes more than ``n``
    validation images.

    >>> check(0.95, 12)
    Traceback (most recent call last):
    convscope.errors.BadArgument: coverage=0.95: takes 19 validation images, and there are 12; ask
    for at most 0.92 (--set 0.92), or train with more of them (--val)
    """
    if not 0 < coverage < 1:
        rule = "must be a share between 0 and 1"
        raise BadArgument("coverage", coverage, rule, "try 0.95 (--set 0.95)")
    if n < needed(coverage):
        most = 100 * n // (n + 1) / 100
        less = f"ask for at most {most:g} (--set {most:g}), or " if n else ""
        rule = f"takes {plural(needed(coverage), 'validation image')}, and there are {n:,}"
        raise BadArgument("coverage", coverage, rule, f"{less}train with more of them (--val)")


def threshold(probabilities: Probabilities, labels: Labels, coverage: float) -> float:
    """The probability from which on a class is in the set of its image.

    The least ambiguous sets (Sadinle, Lei & Wasserman 2019): the ceil((n + 1) coverage)-th largest
    of the probabilities [n,k] of the right classes, on validation images. For an image drawn as
    those were, the right class has at least that probability with a probability of at least
    ``coverage``, and of at most 1 / (n + 1) more where no two are the same.

    Raises BadArgument as :func:`check` does.

    >>> p = np.linspace(0.5, 1, 39)
    >>> round(threshold(np.stack([p, 1 - p], 1), np.zeros(39, int), 0.95), 4)
    0.5132
    """
    n = len(labels)
    check(coverage, n)
    of_label = np.sort(probabilities[np.arange(n), labels])[::-1]
    return float(of_label[math.ceil((n + 1) * coverage - EXACT) - 1])


def prediction_sets(probabilities: Probabilities, lowest: float) -> Sets:
    """Which classes [n,k] are in the set of each image: those of at least the probability
    ``lowest``, and the likeliest, so that no set is empty; a set may hold the right one more often
    for that.

    >>> prediction_sets(np.array([[0.6, 0.3, 0.1], [0.4, 0.3, 0.3]]), 0.5).tolist()
    [[True, False, False], [True, False, False]]
    """
    found = probabilities >= lowest
    found[np.arange(len(found)), probabilities.argmax(axis=1)] = True
    return found
