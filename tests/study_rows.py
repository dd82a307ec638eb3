"""Rows of a sweep as they might have come out."""

from __future__ import annotations

from convscope.studies import grid
from convscope.studies.analysis import analyse


def rows(name: str, accuracies: list[float], seconds: list[float] | None = None, **more):
    return [
        {
            **{"part": "", "values": {grid.NETWORK: name}, "seed": seed, "accuracy": accuracy},
            **{"loss": 0.1, "val_accuracy": accuracy - 0.01, "val_loss": 0.1, "train_loss": 0.1},
            **{"seconds": took, "epochs": 2, "parameters": 10, "multiply_adds": 20, "run": ""},
            **more,
        }
        for seed, (accuracy, took) in enumerate(
            zip(accuracies, seconds or [1.0] * len(accuracies), strict=True), 1
        )
    ]


CLEAR = rows("good", [0.95, 0.951, 0.949]) + rows("bad", [0.90, 0.902, 0.898])
ALIKE = rows("one", [0.95, 0.94, 0.96]) + rows("two", [0.951, 0.938, 0.958])


def analysed(found, names, measures=()):
    return analyse("part", names, found, measures)
