"""What the whole jobs give back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from convscope.errors import RunError
from convscope.recipe import Recipe
from convscope.run import RunFolder


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

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Metrics:
        """From the JSON. Raises RunError where it was edited."""
        try:
            low, high = values["accuracy_ci95"]
            return cls(**{**values, "accuracy_ci95": (low, high)})
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
