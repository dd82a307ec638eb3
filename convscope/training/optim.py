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
            groups, lr=train.lr, momentum=momentum, nesterov=momentum > 0, fused=fused
        )
    kind = torch.optim.Adam if train.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=train.lr, fused=fused)
