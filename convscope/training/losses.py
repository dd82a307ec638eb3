"""The loss of each target by what kind of column it is, and how many guesses of it are right."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from convscope.data.columns import Class, Column, Labels, Number, outputs_of
from convscope.data.loader import Batch, Loader
from convscope.evaluation import metrics
from convscope.evaluation.targets import main_target
from convscope.recipe import Train


@dataclass(frozen=True)
class Loss:
    """The loss of one target: cross-entropy of a class, binary cross-entropy of
    labels (their mean), squared error of a number, in units of its standard deviation, ``scale``.

    >>> loss = Loss(Class(("cat", "dog")))
    >>> round(float(loss.sum(torch.zeros(2, 2), torch.tensor([0, 1]))), 4)  # 2 ln 2
    1.3863
    """

    column: Column
    smoothing: float = 0.0
    scale: float = 1.0

    @property
    def width(self) -> int:
        """How many outputs a record it takes: a logit a class or label, or a number."""
        return outputs_of(self.column)

    def sum(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The sum over a batch of the loss of ``outputs`` [B,K], of a number [B,1]."""
        outputs = outputs.float()
        if isinstance(self.column, Class):
            found = functional.cross_entropy(
                outputs, target, reduction="sum", label_smoothing=self.smoothing
            )
        elif isinstance(self.column, Labels):
            found = functional.binary_cross_entropy_with_logits(
                outputs, target.to(outputs.dtype), reduction="none"
            ).mean(1).sum()  # fmt: skip
        else:
            off = (outputs.squeeze(1) - target) / self.scale
            found = off.square().sum()
        return found

    def right(self, outputs: Tensor, target: Tensor) -> Tensor:
        """How many of a batch have their class as the largest logit."""
        labels = target if target.ndim == 1 else target.argmax(1)  # of mixed images
        return (outputs.argmax(1) == labels).sum()


Losses = Mapping[str, Loss]


def losses_of(loader: Loader, train: Train) -> Losses:
    """The loss of each target of some batches, as a recipe has it."""
    found = {}
    for name, column in loader.columns.items():
        if column.is_input:
            continue
        scale = 1.0
        if isinstance(column, Number):
            spread = loader.targets[name][loader.indices].double().std(correction=0)
            scale = float(spread) or 1.0
        found[name] = Loss(column, smoothing=train.label_smoothing, scale=scale)
    return found


def by_target(found: Any, targets: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """What a network gave, by target: a single target's output comes alone, several by name.

    >>> list(by_target(torch.zeros(2, 10), {"label": None}))
    ['label']
    """
    return found if isinstance(found, Mapping) else dict(zip(targets, (found,), strict=True))


def judged(
    train: Train,
    loader: Loader,
    found: Mapping[str, NDArray[Any]],
    truth: Mapping[str, NDArray[Any]],
) -> tuple[float, float]:
    """Mean loss over all targets, without label smoothing, and the accuracy of the leading one, of
    what a network gave for a split."""
    total = 0.0
    for name, one in losses_of(loader, train).items():
        if isinstance(one.column, Class):
            total += metrics.cross_entropy(found[name], truth[name])
        else:
            outputs, target = torch.from_numpy(found[name]), torch.from_numpy(np.array(truth[name]))
            total += float(one.sum(outputs, target)) / len(target)
    main = main_target(loader.columns)
    return total, metrics.accuracy(found[main], truth[main])


def loss_sum(losses: Losses, found: Any, batch: Batch) -> Tensor:
    """The sum over a batch, and over its targets, of the loss of what a network gave."""
    outputs = by_target(found, losses)
    each = [one.sum(outputs[name], batch.targets[name]) for name, one in losses.items()]
    return functools.reduce(torch.add, each)


def mean_loss(losses: Losses, found: Any, batch: Batch) -> Tensor:
    """That sum by the number of its records."""
    return loss_sum(losses, found, batch) / len(batch)
