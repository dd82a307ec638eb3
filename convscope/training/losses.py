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

from convscope import devices
from convscope.data.columns import Class, Column, Labels, Number, outputs_of
from convscope.data.loader import Batch, Loader
from convscope.errors import BadArgument
from convscope.evaluation import metrics
from convscope.evaluation.targets import main_target
from convscope.recipe import Train


@dataclass(frozen=True)
class Loss:
    """The loss of one target: cross-entropy of a class, binary cross-entropy of
    labels (their mean), squared error of a number, in units of its standard deviation, ``scale``.

    ``weights`` [K] are those of the classes. ``prior`` [K] is added to the logits of a class, as
    they are in the loss alone (logit adjustment: Menon et al. 2021, arXiv 2007.07314, equation 10).

    >>> loss = Loss(Class(("cat", "dog")))
    >>> round(float(loss.sum(torch.zeros(2, 2), torch.tensor([0, 1]))), 4)  # 2 ln 2
    1.3863
    """

    column: Column
    smoothing: float = 0.0
    scale: float = 1.0
    weights: Tensor | None = None
    prior: Tensor | None = None

    @property
    def width(self) -> int:
        """How many outputs a record it takes: a logit a class or label, or a number."""
        return outputs_of(self.column)

    def sum(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The sum over a batch of the loss of ``outputs`` [B,K], of a number [B,1]."""
        outputs = outputs.float()
        if isinstance(self.column, Class):
            found = functional.cross_entropy(
                outputs if self.prior is None else outputs + self.prior,
                target,
                weight=self.weights,
                reduction="sum",
                label_smoothing=self.smoothing,
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
BALANCING = {  # what makes up for rare classes -> what a loss is then
    "class_weights": "weighted", "logit_adjustment": "adjusted", "sampler": "balanced",
}  # fmt: skip


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
        weights = prior = None
        if isinstance(column, Class):
            counts = class_counts(loader, name)  # of classes that all occur: see check
            if train.class_weights == "auto":  # 1 for the mean image
                weights = devices.sent(counts.sum() / len(counts) / counts, loader.device)
            if train.logit_adjustment:
                shares = train.logit_adjustment * (counts / counts.sum()).log()
                prior = devices.sent(shares, loader.device)
        found[name] = Loss(column, train.label_smoothing, scale, weights, prior)
    return found


def class_counts(loader: Loader, name: str) -> Tensor:
    """How many records of each class there are to learn from, float [K]."""
    classes = outputs_of(loader.columns[name])
    labels = loader.targets[name][loader.indices]
    return torch.bincount(labels, minlength=classes).to(torch.float32)


def check(loader: Loader, train: Train) -> None:
    """Refuse to make up for rare classes where a target has none, or a class no image. Raises
    BadArgument."""
    names = [name for name in BALANCING if getattr(train, name) != getattr(Train, name)]
    for name in names:
        value = getattr(train, name)
        for target in loader.targets:
            if not isinstance(loader.columns[target], Class):
                rule = f"goes with targets that are a class, and {target} is none"
                raise BadArgument(name, value, rule, "leave it out")
            if not bool((counts := class_counts(loader, target)).all()):
                classes, at = loader.columns[target].classes, int(counts.argmin())
                rule = f"needs an image of every class to learn from, and {classes[at]} has none"
                raise BadArgument(name, value, rule, "add one, or leave it out")
        if name == "sampler" and len(loader.targets) > 1:
            rule = f"goes with one target, and there are {len(loader.targets)}"
            raise BadArgument(name, value, rule, "try class_weights=auto")


def said(loader: Loader, train: Train) -> str:
    """What making up for rare classes does to the figures of training, in a sentence; nothing where
    that is not asked for."""
    if not (word := counted(train)):
        return ""
    main = main_target(loader.columns)
    column, counts = loader.columns[main], class_counts(loader, main)
    assert isinstance(column, Class)
    common, rare = int(counts.argmax()), int(counts.argmin())
    names = column.classes
    mean = float(counts.mean())
    how = {
        "weighted": f"an image counts {mean / counts[common]:.2f} times ({names[common]}) to "
        f"{mean / counts[rare]:.2f} times ({names[rare]}) in the train loss",
        "adjusted": f"logits have {train.logit_adjustment:g} times the log frequency of their "
        "class added in the train loss",
        "balanced": f"each class is drawn about {mean:,.0f} times an epoch, of which "
        f"{names[rare]} has {counts[rare]:,.0f} images",
    }
    return f"{how[word]}; validation counts every image once"


def counted(train: Train) -> str:
    """What the loss of training counts otherwise than that of validation does, in a word; nothing
    where it counts every image alike, once.

    >>> counted(Train()), counted(Train(class_weights="auto"))
    ('', 'weighted')
    """
    return next((w for n, w in BALANCING.items() if getattr(train, n) != getattr(Train, n)), "")


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
