"""What two sets of predictions of the same images say of each other: pure functions of labels and
of what each predicted.

The same images make the comparison a paired one. Images that both get right, or both get wrong, say
nothing about which is better; those that only one gets right say it all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from convscope.errors import BadArgument
from convscope.formatting import p_value

CHANCE = 0.05  # what happens by chance less often than this is no longer put down to it


class Pairs(NamedTuple):
    """How many images both networks get right, only one of them, and neither."""

    both: int
    only_a: int
    only_b: int
    neither: int

    @property
    def n(self) -> int:
        """How many images there are."""
        return sum(self)

    @property
    def difference(self) -> float:
        """Accuracy of B minus that of A."""
        return (self.only_b - self.only_a) / self.n

    @property
    def rows(self) -> list[tuple[str, int, int]]:
        """The counts as a table: A right and wrong, under B right and wrong."""
        return [("A right", self.both, self.only_a), ("A wrong", self.only_b, self.neither)]


def pairs(labels: Sequence[Any], a: Sequence[Any], b: Sequence[Any]) -> Pairs:
    """Count the images by who gets them right.

    >>> pairs([7, 2, 1, 0], [7, 2, 8, 8], [7, 3, 1, 8])
    Pairs(both=1, only_a=1, only_b=1, neither=1)
    """
    found = Counter(
        (one == label, two == label) for label, one, two in zip(labels, a, b, strict=True)
    )
    return Pairs(found[True, True], found[True, False], found[False, True], found[False, False])


def difference_interval(counts: Pairs, z: float = 1.959963984540054) -> tuple[float, float]:
    """Where the true difference of the accuracies lies, B minus A, at 95 % with the default z.

    The score interval for paired proportions (Tango 1998, Statistics in Medicine 17:891), which
    keeps its level in small samples too (Fagerland, Lydersen & Laake 2014, Statistics in Medicine
    33:2850): all differences that a score test does not reject.

    >>> low, high = difference_interval(Pairs(59, 16, 6, 80))
    >>> round(low, 4), round(high, 4)
    (-0.124, -0.0054)
    """
    if counts.n == 0:
        raise BadArgument("images", 0, "must be at least one", "judge a run on images")
    return (
        _lowest(counts.only_b, counts.only_a, counts.n, z),
        -_lowest(counts.only_a, counts.only_b, counts.n, z),
    )


def _lowest(gained: int, lost: int, n: int, z: float) -> float:
    """The least difference that is not rejected: bisected, as the score falls with it."""
    low, high = -1.0, (gained - lost) / n
    for _ in range(60):
        middle = (low + high) / 2
        # the share lost, most likely where the difference is this: a root of 2n q^2 + e q - f
        e = (2 * n - gained + lost) * middle - gained - lost
        f = lost * middle * (1 - middle)
        q = (math.sqrt(max(e * e + 8 * n * f, 0.0)) - e) / (4 * n)
        variance = max(n * (2 * q + middle * (1 - middle)), 0.0)
        if gained - lost - n * middle > z * math.sqrt(variance):
            low = middle
        else:
            high = middle
    return (low + high) / 2


def mcnemar(counts: Pairs) -> float:
    """How often chance alone shares the images that only one gets right at least as unevenly: the
    exact two-sided p of McNemar (1947), 1 where there are none.

    >>> round(mcnemar(Pairs(59, 16, 6, 80)), 6)
    0.052479
    """
    from scipy.stats import binomtest

    apart = counts.only_a + counts.only_b
    return float(binomtest(counts.only_a, apart, 0.5).pvalue) if apart else 1.0


def holm(ps: Sequence[float]) -> list[float]:
    """p adjusted for as many tests as there are (Holm 1979), in the same order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = largest
    return adjusted


def per_class(
    labels: Sequence[Any], a: Sequence[Any], b: Sequence[Any], classes: Sequence[Any]
) -> list[dict[str, Any]]:
    """A row a class that has images: how many, how many each gets right, and alone, the difference
    of the shares, and McNemar's p, as it is and adjusted for all of these classes.

    >>> row = per_class("xxy", "xxx", "xyy", "xy")[0]
    >>> row["class"], row["images"], row["a_right"], row["b_right"], row["difference"], row["p"]
    ('x', 2, 2, 1, -0.5, 1.0)
    """
    places: dict[Any, list[int]] = {name: [] for name in classes}
    for i, label in enumerate(labels):
        places[label].append(i)
    rows: list[dict[str, Any]] = []
    for name, own in places.items():
        if own:
            counts = pairs(*([values[i] for i in own] for values in (labels, a, b)))
            row = {
                "class": name,
                "images": counts.n,
                "a_right": counts.both + counts.only_a,
                "b_right": counts.both + counts.only_b,
                "only_a": counts.only_a,
                "only_b": counts.only_b,
                "difference": counts.difference,
                "p": mcnemar(counts),
            }
            rows.append(row)
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = p
    return rows


def forgetting(
    labels: Sequence[str], before: Sequence[str], after: Sequence[str], classes: Sequence[str]
) -> dict[str, Any]:
    """What a network forgot of the ``classes`` that it knew when it learnt others besides: how many
    of their images it got right before, and gets right after, with the paired interval of the
    difference and McNemar's p; of which it takes some for a class that is new.

    >>> found = forgetting("xxyy", "xxyy", "xzyy", "xy")
    >>> found["accuracy_before"], found["accuracy_after"], found["taken_for_new"]
    (1.0, 0.75, 1)
    """
    counts = pairs(labels, before, after)
    return {
        "classes": list(classes),
        "n": counts.n,
        "accuracy_before": (counts.both + counts.only_a) / counts.n,
        "accuracy_after": (counts.both + counts.only_b) / counts.n,
        "difference": counts.difference,
        "difference_ci95": list(difference_interval(counts)),
        "p": mcnemar(counts),
        "taken_for_new": sum(name not in classes for name in after),
        "per_class": per_class(labels, before, after, classes),
    }


def finding(counts: Pairs, interval: tuple[float, float], p: float) -> str:
    """What the numbers support, in a word: ``a`` or ``b`` is right more often; ``none``, no
    difference is shown; ``same``, both get the same images right; ``undecided``, interval and test
    disagree.

    >>> finding(Pairs(59, 16, 6, 80), (-0.124, -0.0054), 0.0525)
    'undecided'
    """
    low, high = interval
    if not counts.only_a + counts.only_b:
        return "same"
    if (p < CHANCE) != (low > 0 or high < 0):
        return "undecided"
    if p < CHANCE:
        return "b" if low > 0 else "a"
    return "none"


def verdict(counts: Pairs, interval: tuple[float, float], p: float) -> str:
    """What the numbers support, in one sentence.

    >>> verdict(Pairs(80, 0, 0, 20), (-0.037, 0.037), 1.0)[:44]
    'A and B get the same images right: no differ'
    """
    low, high = interval
    found = finding(counts, interval, p)
    if found == "same":
        return (
            "A and B get the same images right: no difference is shown, and on images like these "
            f"there may be one of up to {100 * high:.2f} points either way (95% interval)."
        )
    if found == "undecided":
        return (
            f"Undecided: the interval, {100 * low:+.2f} to {100 * high:+.2f} points, and the exact "
            f"test ({p_value(p, 'p')}) disagree on whether this is more than chance."
        )
    if found in ("a", "b"):
        better, least, most = ("B", low, high) if found == "b" else ("A", -high, -low)
        return (
            f"{better} is right more often: on images like these by {100 * least:.2f} to "
            f"{100 * most:.2f} points (95% interval), which chance alone seldom gives "
            f"({p_value(p, 'p')})."
        )
    return (
        f"No difference is shown: chance alone may give this one ({p_value(p, 'p')}), and on "
        f"images like these B may be up to {100 * abs(low):.2f} points worse than A or up to "
        f"{100 * abs(high):.2f} points better (95% interval)."
    )
