"""What a training and its test are judged by: the history, how many images each split has, the
confusion matrix; and the arithmetic of what so many images allow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from convscope.evaluation.metrics import wilson_interval
from convscope.recipe import rank
from convscope.report.run_files import RunFiles

Epoch = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """A sentence, the rule that gave it, and what follows for the next training, if anything."""

    name: str
    text: str
    rule: str
    advice: str = ""


@dataclass(frozen=True)
class Evidence:
    """What is looked at. ``train`` and ``val`` count images; ``confusion`` [true][predicted] counts
    those of the test split, ``confidence`` is the mean probability of what was said of them.

    ``patience`` is that of early stopping, 0 without. With it, or where ``keep`` says so, the
    weights of the epoch that is best on validation are kept, or those that it began with
    (``start_kept``), else the last. ``ended_at`` is the step after which somebody asked for the
    end, if one did. ``counted`` is that of
    :class:`~convscope.events.EpochEnd`. ``duplicates`` is that of ``metrics.json``, empty where a
    run has none.
    """

    history: Sequence[Epoch]
    train: int
    val: int
    classes: Sequence[str]
    confusion: Sequence[Sequence[int]]
    confidence: float | None = None
    lr: float | None = None
    augmented: bool = False
    patience: int = 0
    keep: str = "last"
    start_kept: bool = False
    ended_at: int = 0
    counted: str = ""
    duplicates: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """How many images the test split has."""
        return sum(map(sum, self.confusion))

    @property
    def right(self) -> int:
        """How many of them are right."""
        return sum(row[i] for i, row in enumerate(self.confusion))

    @property
    def judged(self) -> bool:
        """Whether there are figures on validation."""
        return self.val > 0 and bool(self.history) and self.history[-1]["val_loss"] is not None

    @property
    def kept(self) -> Epoch:
        """The epoch whose weights were kept."""
        if (self.patience or self.best) and self.judged:
            return min(
                self.history, key=lambda e: rank(self.keep, e["val_loss"], e["val_accuracy"])
            )
        return self.history[-1]

    @property
    def best(self) -> bool:
        """Whether the epoch that is best on validation is kept."""
        return self.keep != "last"

    @property
    def comparable(self) -> bool:
        """Whether accuracy in training and on validation counts the same share of each class."""
        return self.judged and self.train > 0 and self.counted != "balanced"

    @property
    def annealed(self) -> bool:
        """Whether the learning rate was taken to nought: it ended below 5 % of its highest."""
        rates = [float(epoch["lr"]) for epoch in self.history]
        return len(rates) > 1 and rates[-1] < 0.05 * max(rates)


def evidence(run: RunFiles, confidence: float | None) -> Evidence:
    """What a run's files hold of it."""
    data, train = run.model["data"], run.table("train")
    counts = (data.get("train"), data.get("val"), train.get("early_stopping"))
    images, val, patience = (count if isinstance(count, int) else 0 for count in counts)
    lr = train.get("lr")
    return Evidence(
        history=run.history,
        train=images,
        val=val,
        classes=run.classes,
        confusion=run.metrics["confusion"],
        confidence=confidence,
        lr=float(lr) if isinstance(lr, int | float) and not isinstance(lr, bool) else None,
        augmented=run.augmented,
        patience=patience,
        keep=str(train.get("keep", "last")),
        start_kept=run.metrics.get("start_kept") is True,
        ended_at=int(run.metrics.get("ended_at_step") or 0),
        counted=str(run.history[-1].get("counted", "")) if run.history else "",
        duplicates=run.duplicates,
    )


def difference_interval(a: int, m: int, b: int, n: int) -> tuple[float, float]:
    """Where the difference of two shares a/m - b/n lies, at 95 %, for two independent samples
    (Newcombe 1998, Statistics in Medicine 17:873, method 10).

    >>> low, high = difference_interval(56, 70, 48, 80)
    >>> round(low, 4), round(high, 4)
    (0.0524, 0.3339)
    """
    p, q = a / m, b / n
    (low, high), (least, most) = wilson_interval(a, m), wilson_interval(b, n)
    return p - q - math.hypot(p - low, most - q), p - q + math.hypot(high - p, q - least)


def slope(values: Sequence[float]) -> tuple[float, float, float]:
    """The least-squares slope of values a step apart, and its 95 % interval (Student's t).

    >>> [round(value, 2) for value in slope([4.0, 3.1, 1.9, 1.0])]
    [-1.02, -1.2, -0.84]
    """
    from scipy.special import stdtrit

    n = len(values)
    middle, mean = (n - 1) / 2, fmean(values)
    spread = sum((i - middle) ** 2 for i in range(n))
    rise = sum((i - middle) * (value - mean) for i, value in enumerate(values)) / spread
    left = sum((v - mean - rise * (i - middle)) ** 2 for i, v in enumerate(values))
    half = float(stdtrit(n - 2, 0.975)) * math.sqrt(left / (n - 2) / spread)
    return rise, rise - half, rise + half


def points(low: float, high: float) -> str:
    """An interval of shares in percent, to the digits that its width has."""
    digits = 2 if high - low < 0.01 else 1
    return f"{100 * low:.{digits}f} to {100 * high:.{digits}f}"
