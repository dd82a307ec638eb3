"""Two runs compared on the test images that both judged: pure functions of labels and of what each
predicted, and the reading of what a run folder says of them; no network is loaded.

The same images make the comparison a paired one. Images that both get right, or both get wrong, say
nothing about which is better; those that only one gets right say it all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from convscope import notebook
from convscope.errors import BadArgument, DataError, RunError
from convscope.evaluation.predictions import PredictionRow, read_predictions
from convscope.formatting import p_value, probability
from convscope.run import RunFolder

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


class Changed(NamedTuple):
    """An image that only one of the two gets right: its class, what each takes it for, and how sure
    the one that is wrong is."""

    file_or_index: str
    label: str
    a: str
    b: str
    p_wrong: float

    @property
    def wrong(self) -> str:
        """What the one that is wrong takes it for."""
        return self.b if self.a == self.label else self.a

    @property
    def sure(self) -> str:
        """How sure that one is, in words that never say that it is certain.

        >>> Changed("3", "cat", "cat", "dog", 0.99999).sure
        '>99.9%'
        """
        return probability(self.p_wrong)


@dataclass(frozen=True)
class Judged:
    """What a run says of its test images; ``shape`` is how images were fitted to its network."""

    path: Path
    data: str
    fingerprint: str
    shape: tuple[Any, ...]
    classes: tuple[str, ...]
    accuracy: float
    accuracy_ci95: tuple[float, float]
    test_looks: int
    rows: dict[str, PredictionRow]

    def as_json(self) -> dict[str, Any]:
        """The run in short."""
        low, high = self.accuracy_ci95
        return {
            "run": str(self.path),
            "accuracy": self.accuracy,
            "accuracy_ci95": [low, high],
            "test_looks": self.test_looks,
        }


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same test images. Differences are B minus A; ``p`` is that of McNemar's exact
    test, ``per_class`` has a row a class; ``a_right`` and ``b_right`` are the images that only one
    gets right, the surest mistake first."""

    a: Judged
    b: Judged
    counts: Pairs
    difference_ci95: tuple[float, float]
    p: float
    verdict: str
    note: str
    per_class: list[dict[str, Any]]
    a_right: list[Changed]
    b_right: list[Changed]
    figure: Path | None = None

    @property
    def n(self) -> int:
        """How many images both judged."""
        return self.counts.n

    @property
    def difference(self) -> float:
        """Accuracy of B minus that of A."""
        return self.counts.difference

    def as_json(self) -> dict[str, Any]:
        """What ``convscope compare --json`` prints."""
        return {
            "a": self.a.as_json(),
            "b": self.b.as_json(),
            "n": self.n,
            "counts": self.counts._asdict(),
            "difference": self.difference,
            "difference_ci95": list(self.difference_ci95),
            "p": self.p,
            "verdict": self.verdict,
            "note": self.note,
            "per_class": self.per_class,
            "a_right": [row._asdict() for row in self.a_right],
            "b_right": [row._asdict() for row in self.b_right],
            "figure": None if self.figure is None else str(self.figure),
        }

    def _repr_html_(self) -> str:
        low, high = self.difference_ci95
        runs = [
            (
                f"{name}: {run.path}",
                f"{run.accuracy:.2%}",
                "{:.2%} to {:.2%}".format(*run.accuracy_ci95),
            )
            for name, run in (("A", self.a), ("B", self.b))
        ]
        counts = self.counts
        sides = [
            ("A right", counts.both, counts.only_a),
            ("A wrong", counts.only_b, counts.neither),
        ]
        drawn = self.figure
        return notebook.card(
            "B - A",
            notebook.figure(f"{100 * self.difference:+.2f} points"),
            notebook.line(
                f"95 % interval {100 * low:+.2f} to {100 * high:+.2f}; McNemar's exact test "
                f"{p_value(self.p, 'p')}; {self.n:,} images"
            ),
            notebook.line(self.verdict),
            *([notebook.line(self.note)] if self.note else []),
            notebook.table(("run", "accuracy", "95 % interval"), runs),
            notebook.table(("images", "B right", "B wrong"), sides),
            *([notebook.picture(drawn, "images that changed")] if drawn is not None else []),
        )


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


def verdict(counts: Pairs, interval: tuple[float, float], p: float) -> str:
    """What the numbers support, in one sentence.

    >>> verdict(Pairs(80, 0, 0, 20), (-0.037, 0.037), 1.0)[:44]
    'A and B get the same images right: no differ'
    """
    low, high = interval
    if not counts.only_a + counts.only_b:
        return (
            "A and B get the same images right: no difference is shown, and on images like these "
            f"there may be one of up to {100 * high:.2f} points either way (95% interval)."
        )
    if (p < CHANCE) != (low > 0 or high < 0):
        return (
            f"Undecided: the interval, {100 * low:+.2f} to {100 * high:+.2f} points, and the exact "
            f"test ({p_value(p, 'p')}) disagree on whether this is more than chance."
        )
    if p < CHANCE:
        better, least, most = ("B", low, high) if low > 0 else ("A", -high, -low)
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


def read(place: RunFolder) -> Judged:
    """What a finished run says of its test images. Raises RunError for one that is not finished,
    and for files that are damaged or do not belong together."""
    model, metrics, kept = place.read_model(), place.read_metrics(), place.read_recipe()
    listed = read_predictions(place.predictions)
    rows = {row.file_or_index: row for row in listed}
    classes = tuple(map(str, model["classes"]))
    right, remedy = sum(row.predicted == row.label for row in listed), "convscope eval RUN"
    problem = ""
    if len(rows) < len(listed):
        twice = next(name for name, n in Counter(r.file_or_index for r in listed).items() if n > 1)
        problem = f"it has {twice} more than once"
    elif strange := {c for row in listed for c in row[1:3]} - set(classes):
        problem = f"it has the class {min(strange)}, which the run does not know"
    elif not listed or metrics["n"] != len(listed):
        problem = f"it has {len(listed):,} images, and {place.metrics.name} {metrics['n']:,}"
    elif not math.isclose(metrics["accuracy"], right / len(listed), abs_tol=1e-9):
        problem = f"{right:,} of its images are right, and {place.metrics.name} says otherwise"
    if problem:
        raise RunError(
            f"{place.predictions}: was edited or damaged ({problem}); write it anew with: {remedy}"
        )
    fitted = model["preprocessing"]
    low, high = metrics["accuracy_ci95"]
    return Judged(
        path=place.path,
        data=kept.data.name,
        fingerprint=model["data"]["fingerprint"],
        shape=(fitted["channels"], *fitted["size"], fitted["fit"]),
        classes=classes,
        accuracy=metrics["accuracy"],
        accuracy_ci95=(low, high),
        test_looks=metrics["test_looks"],
        rows=rows,
    )


def compare(a: Judged, b: Judged) -> Comparison:
    """Two runs, one honest verdict. Raises BadArgument for a run named twice, and DataError for
    runs that were not judged on the same images."""
    note = _same_images(a, b)
    names = list(a.rows)
    labels = [a.rows[name].label for name in names]
    one, two = ([run.rows[name].predicted for name in names] for run in (a, b))
    counts = pairs(labels, one, two)
    interval, p = difference_interval(counts), mcnemar(counts)
    return Comparison(
        a=a,
        b=b,
        counts=counts,
        difference_ci95=interval,
        p=p,
        verdict=verdict(counts, interval, p),
        note=note,
        per_class=per_class(labels, one, two, a.classes),
        a_right=_changed(a, b, wrong=b),
        b_right=_changed(a, b, wrong=a),
    )


def _changed(a: Judged, b: Judged, wrong: Judged) -> list[Changed]:
    """The images that only the other one gets right."""
    right = a if wrong is b else b
    found = [
        Changed(name, row.label, a.rows[name].predicted, b.rows[name].predicted, row.p_predicted)
        for name, row in wrong.rows.items()
        if row.predicted != row.label == right.rows[name].predicted
    ]
    return sorted(found, key=lambda row: -row.p_wrong)


def _same_images(a: Judged, b: Judged) -> str:
    """A remark, if any, on how it is known that both were judged on the same images; raises
    BadArgument or DataError where they were not."""
    if a.path.resolve() == b.path.resolve():
        raise BadArgument("RUN", b.path, "is the same run twice", "name two runs")
    which = f"{a.path} and {b.path}: cannot be compared"
    remedy = "compare runs that were trained on the same data"
    if apart := sorted(set(a.classes) ^ set(b.classes)):
        raise DataError(f"{which}: their classes differ ({_few(apart)}); {remedy}")
    note = ""
    if a.fingerprint != b.fingerprint:
        named = not next(iter(a.rows)).isdecimal()  # images are files, in folders of classes
        if a.shape == b.shape or a.data != b.data or not named:
            raise DataError(
                f"{which}: they were made with different data (fingerprints {a.fingerprint[:12]} "
                f"and {b.fingerprint[:12]}); {remedy}"
            )
        note = (
            "The two fit images to their networks differently, so that only the names of the files "
            "say that the images are the same."
        )
    if apart := sorted(a.rows.keys() ^ b.rows.keys()):
        raise DataError(
            f"{which}: {len(apart):,} test images were judged by one of them alone "
            f"({_few(apart)}); {remedy}"
        )
    if apart := sorted(name for name, row in a.rows.items() if row.label != b.rows[name].label):
        raise DataError(
            f"{which}: {len(apart):,} test images have another class in each ({_few(apart)}); "
            f"{remedy}"
        )
    return note


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
