"""Two runs compared on the test images that both judged, by what their folders say of them; no
network is loaded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from convscope import notebook
from convscope.errors import BadArgument, DataError, RunError
from convscope.evaluation.paired import (
    Pairs,
    difference_interval,
    finding,
    mcnemar,
    pairs,
    per_class,
    verdict,
)
from convscope.evaluation.predictions_file import PredictionRow, read_predictions
from convscope.formatting import p_value, probability
from convscope.run import RunFolder


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

    @property
    def accuracy_in_words(self) -> tuple[str, str]:
        """The accuracy, and its interval."""
        return f"{self.accuracy:.2%}", "{:.2%} to {:.2%}".format(*self.accuracy_ci95)

    def as_json(self) -> dict[str, Any]:
        """The run in short."""
        said = {"accuracy": self.accuracy, "accuracy_ci95": list(self.accuracy_ci95)}
        return {"run": str(self.path), **said, "test_looks": self.test_looks}


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same test images. Differences are B minus A; ``p`` is that of McNemar's exact
    test, ``finding`` what they support in a word (see :func:`paired.finding`), ``per_class`` has a
    row a class; ``a_right`` and ``b_right`` are the images that only one gets right, the surest
    mistake first."""

    a: Judged
    b: Judged
    counts: Pairs
    difference_ci95: tuple[float, float]
    p: float
    finding: str
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
            "finding": self.finding,
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
            (f"{name}: {run.path}", *run.accuracy_in_words)
            for name, run in (("A", self.a), ("B", self.b))
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
            notebook.table(("images", "B right", "B wrong"), self.counts.rows),
            *([notebook.picture(drawn, "images that changed")] if drawn is not None else []),
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
    fitted, (low, high) = model["preprocessing"], metrics["accuracy_ci95"]
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
        finding=finding(counts, interval, p),
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
