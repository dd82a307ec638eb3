"""Optimisers, their parameter groups, and schedules as pure functions of the step."""

from __future__ import annotations

import math

import torch
from torch import nn

from convscope.recipe import Train


def factor(schedule: str, step: int, steps: int, warmup: float) -> float:
    """The learning rate at ``step`` (from 0) of ``steps``, as a share of the highest.

    ``constant`` and ``cosine`` (Loshchilov & Hutter 2017, eq. 5) rise linearly over the first
    ``warmup`` of all steps; ``one-cycle`` (Smith & Topin 2018) rises from 1/25 along a cosine and
    falls along one to 1/10,000.

    >>> [round(factor("one-cycle", s, 100, 0.25), 3) for s in (0, 25, 99)]
    [0.04, 1.0, 0.001]
    """
    rise = warmup * steps
    if schedule == "one-cycle":
        if step < rise:
            return _cosine(1 / 25, 1.0, step / rise)
        return _cosine(1.0, 1e-4, (step - rise) / (steps - rise))
    if step < rise:
        return (step + 1) / math.ceil(rise)
    if schedule == "cosine":
        return _cosine(1.0, 0.0, (step - rise) / (steps - rise))
    return 1.0


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def learning_rate(train: Train, step: int, steps: int) -> float:
    """The recipe's learning rate at ``step`` (from 0) of ``steps``."""
    assert train.lr is not None and train.warmup is not None
    return train.lr * factor(train.schedule, step, steps, train.warmup)


def total_steps(train: Train, epoch: int) -> int:
    """How many steps the whole training takes, at ``epoch`` steps an epoch.

    >>> total_steps(Train(epochs=2), 100), total_steps(Train(epochs=2, steps=130), 100)
    (200, 130)
    """
    return min(train.epochs * epoch, train.steps or train.epochs * epoch)


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move the average of the weights towards those after ``step`` (from 0): a <- d a + (1 - d) w,
    with d = min(decay, (1 + step) / (10 + step)), so that it soon forgets where it began.

    Counters, such as batch norm's of its batches, are copied.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    pairs = list(zip(average.state_dict().values(), model.state_dict().values(), strict=True))
    moving = [pair for pair in pairs if pair[0].is_floating_point()]
    torch._foreach_lerp_([mine for mine, _ in moving], [new for _, new in moving], share)
    for mine, new in pairs:
        if not mine.is_floating_point():
            mine.copy_(new)


def optimizer(model: nn.Module, train: Train) -> torch.optim.Optimizer:
    """The recipe's optimiser; weight decay acts on weights and spares biases and normalisation (1-d
    parameters)."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": train.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    assert train.lr is not None
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda", "mps") for p in trained)
    if train.optimizer == "sgd":
        momentum = train.momentum or 0.0
        return torch.optim.SGD(
            groups,
            lr=train.lr,
            momentum=momentum,
            nesterov=train.nesterov and momentum > 0,
            fused=fused,
        )
    kind = torch.optim.Adam if train.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=train.lr, fused=fused)
