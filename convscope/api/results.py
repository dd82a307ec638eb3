"""What the whole jobs give back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from convscope import notebook
from convscope.errors import RunError
from convscope.evaluation import targets
from convscope.formatting import balanced, percent
from convscope.recipe import Recipe
from convscope.run import RunFolder

CLASSES = 20  # of a table in a notebook


@dataclass(frozen=True)
class Metrics:
    """The figures on the test split, as ``metrics.json`` has them (``per_class`` and ``confusion``
    as lists)."""

    split: str
    n: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    loss: float
    ece: float
    ece_raw: float
    per_class: list[dict[str, Any]]
    confusion: list[list[int]]
    test_looks: int
    train_seconds: float
    eval_seconds: float
    images_per_second: float
    balanced_accuracy: float | None = None  # as runs have it since it is measured
    balanced_accuracy_ci95: tuple[float, float] | None = None
    skewed: bool = False  # whether it leads
    duplicates: dict[str, Any] | None = None  # as runs have it since they are counted
    targets: dict[str, Any] | None = None  # where there are several
    all_right: float | None = None  # and of how many records every class and label is
    loss_calibrated: float | None = None  # after the temperature; as runs have it since then
    abstain: dict[str, Any] | None = None  # where validation says it
    ood: dict[str, Any] | None = None
    forgetting: dict[str, Any] | None = None  # where a run's last layer got new classes besides
    start_kept: bool = False  # whether no epoch was better on validation than what it began with
    ended_at_step: int = 0  # after which training was ended on request; 0 where it was not

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Metrics:
        """From the JSON. Raises RunError where it was edited."""
        try:
            names = [name for name in values if name.endswith("_ci95")]
            pairs = {name: (low, high) for name in names for low, high in [values[name]]}
            return cls(**{**values, **pairs})
        except (TypeError, ValueError, KeyError) as why:
            raise RunError(f"metrics.json was edited or damaged: {why}") from None


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, its figures, its files."""

    path: Path

    @cached_property
    def metrics(self) -> Metrics:
        """The figures on the test split."""
        return Metrics.of(RunFolder(self.path).read_metrics())

    @cached_property
    def recipe(self) -> Recipe:
        """What was trained, on what and how, every value resolved."""
        return RunFolder(self.path).read_recipe()

    @property
    def report(self) -> Path:
        """The run in pictures, one self-contained page."""
        return RunFolder(self.path).report

    def as_json(self) -> dict[str, Any]:
        """What ``convscope train --json`` prints: ``metrics.json`` and where the run is."""
        return {"run": str(self.path), **RunFolder(self.path).read_metrics()}

    def _repr_html_(self) -> str:
        model = RunFolder(self.path).read_model()
        title = f"{model['architecture']['name']} on {model['data']['name']}"
        return notebook.card(
            title, *_judged(self.as_json()), notebook.link(self.report, "The report")
        )


class Evaluation(dict[str, Any]):
    """What :func:`convscope.evaluate` gives: ``metrics.json`` of a split, and ``run``; it shows
    itself in a notebook."""

    def _repr_html_(self) -> str:
        columns = ("precision", "recall", "f1")
        rows = [
            (row["class"], f"{row['support']:,}", *(percent(row[key]) for key in columns))
            for row in self["per_class"]
        ]
        some = f"the first {CLASSES} of {len(rows)} classes" if len(rows) > CLASSES else ""
        table = notebook.table(("class", "images", *columns), rows[:CLASSES], some)
        return notebook.card(str(self["run"]), *_judged(self), table)


def _judged(values: Mapping[str, Any]) -> list[str]:
    """The figures on a split, as a notebook shows them."""
    low, high = values["accuracy_ci95"]
    text = (
        f"of {values['n']:,} {values['split']} images are right (95 % interval {low:.2%} to "
        f"{high:.2%})"
    )
    first, lines = f"{values['accuracy']:.2%}", [text]
    if said := balanced(values):
        first, _, rest = said.partition(" ")
        lines = [f"is its balanced accuracy {rest}", f"{values['accuracy']:.2%} {text}"]
    several = targets.lines(values)
    return [
        notebook.figure(first),
        *map(notebook.line, lines),
        *([notebook.facts(several)] if several else []),
        notebook.facts(
            [
                ("cross-entropy", f"{values['loss']:.4f}"),
                ("calibration error", f"{values['ece']:.2%}"),
                ("seconds of training", f"{values['train_seconds']:,.1f}"),
                ("images a second", f"{values['images_per_second']:,.0f}"),
                ("looks at the test split", values["test_looks"]),
            ]
        ),
    ]


@dataclass(frozen=True)
class LearningRate:
    """A search for a learning rate: the rate at which the loss falls steepest, None where it never
    falls; the rates that were tried, the loss at each, as it was and smoothed; and the figure."""

    suggestion: float | None
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    figure: Path

    def as_json(self) -> dict[str, Any]:
        """What ``convscope train --find-lr --json`` prints."""
        return {**vars(self), "figure": str(self.figure)}

    def _repr_html_(self) -> str:
        said = "no rate lets the loss fall" if self.suggestion is None else f"{self.suggestion:.2g}"
        drawn = notebook.picture(self.figure, "the loss at each learning rate")
        return notebook.card("Learning rate", notebook.figure(said), drawn)
