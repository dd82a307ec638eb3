"""Optimisers, their parameter groups, and schedules as pure functions of the step."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from convscope import kernels
from convscope.engine import weights
from convscope.models import surgery
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

    Counters, such as batch norm's of its batches, are copied; weights that are tied move once.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    states = (network.state_dict(keep_vars=True).values() for network in (average, model))
    pairs = list({id(mine): (mine, new) for mine, new in zip(*states, strict=True)}.values())
    moving = [pair for pair in pairs if pair[0].is_floating_point() or pair[0].is_complex()]
    torch._foreach_lerp_([mine for mine, _ in moving], [new for _, new in moving], share)
    for mine, new in pairs:
        if not (mine.is_floating_point() or mine.is_complex()):
            mine.copy_(new)


class Optimizer:
    """SGD, Adam or AdamW as PyTorch defines them, with groups and state of the same form.

    On the CPU a step is one compiled pass over all parameters, which takes gradients in bfloat16 as
    well and writes the weights' bfloat16 copies. Elsewhere ``torch.optim`` takes it, which is not
    imported before, since that takes a second.
    """

    def __init__(self, kind: str, groups: list[dict[str, Any]], **defaults: Any) -> None:
        self.kind = kind
        self.param_groups = [{"share": 1.0, **defaults, **group} for group in groups]
        self.state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.count = torch.zeros(())  # steps of Adam
        self.compiled: bool | None = None
        self.theirs: torch.optim.Optimizer | None = None

    @property
    def parameters(self) -> list[Tensor]:
        """All that it moves, in the order of a checkpoint."""
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters by their gradients."""
        if self.compiled is None:
            here = all(p.dtype is torch.float32 and p.device.type == "cpu" for p in self.parameters)
            self.compiled = here and kernels.available()
        if self.compiled:
            self._step()
            return
        if self.theirs is None:
            kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
            fused = all(p.is_floating_point() for p in self.parameters)  # not complex
            self.theirs = kinds[self.kind](self.param_groups, lr=0.0, fused=fused)
            self.theirs.state = self.state
        self.theirs.step()
        for parameter in self.parameters:  # PyTorch does not count this as a change of the weight
            weights.forget([parameter])

    def _step(self) -> None:
        adam = self.kind != "sgd"
        self._count()
        kept, stale = [], []
        alike: dict[float, tuple[list[Any], list[float]]] = {}  # rate -> rows, decays
        for group in self.param_groups:
            rows, decays = alike.setdefault(group["lr"], ([], []))
            moments = ["exp_avg", "exp_avg_sq"] if adam else ["momentum_buffer"]
            moments = moments if adam or group["momentum"] else []
            decay = group["weight_decay"]
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                if gradient.stride() != parameter.stride():
                    gradient = torch.empty_like(parameter, dtype=gradient.dtype).copy_(gradient)
                state = self.state[parameter]
                if not state and moments:
                    state.update({name: torch.zeros_like(parameter) for name in moments})
                both = [*(state[name].data_ptr() for name in moments), 0, 0][:2]
                copy = 0
                if gradient.dtype is torch.bfloat16:
                    copy = weights.half(parameter).data_ptr()
                elif (other := weights.kept(parameter)) is not None:
                    stale.append((other, parameter))
                address = parameter.data_ptr(), gradient.data_ptr()
                rows.append((*address, *both, copy, parameter.numel()))
                decays.append(decay)
                kept.append(gradient)  # until the kernel has run
                if adam:
                    state["step"] = self.count
        if adam and kept:
            self.count += 1
        for lr, (rows, decays) in alike.items():
            self._move(lr, rows, decays)
        if stale:
            copies, moved = map(list, zip(*stale, strict=True))
            torch._foreach_copy_(copies, moved)

    def _move(self, lr: float, rows: list[Any], decays: list[float]) -> None:
        """One pass over the parameters that have this rate, if there are any."""
        if not rows:
            return
        table, group = torch.tensor(rows, dtype=torch.int64), self.param_groups[0]
        if self.kind != "sgd":
            done, (one, two) = float(self.count), group["betas"]
            by = [lr, one, two, group["eps"], self.kind == "adamw"]
            by += [1 - one**done, 1 - two**done, *decays]
            kernels.adam(table, torch.tensor(by, dtype=torch.float64), len(rows))
        else:
            shares = [group["momentum"], 1.0] if group["nesterov"] else [1.0, 0.0]
            by = [lr, group["momentum"], *shares, *decays]
            kernels.sgd(table, torch.tensor(by, dtype=torch.float64), len(rows))

    def _count(self) -> None:
        """Count on from the steps of a restored state; from then on all parameters count together,
        by one tensor, which each of them keeps as its own. SGD counts nothing."""
        counts = [state["step"] for state in self.state.values() if "step" in state]
        if counts and any(count is not self.count for count in counts):
            self.count = max(counts).clone()
            for state in self.state.values():
                if "step" in state:
                    state["step"] = self.count


def optimizer(model: nn.Module, train: Train, ranks: int = 1) -> Optimizer:
    """The recipe's optimiser; weight decay acts on weights and spares biases and normalisation (1-d
    parameters), and the rate of a group is its ``share`` of the recipe's. Gradients that are
    summed, as over ``ranks``, are float32."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    depth = surgery.depths(model) if train.layer_decay < 1 else dict.fromkeys(trained, 0)
    groups: list[dict[str, Any]] = [
        {
            "params": [
                p for n, p in trained.items() if depth[n] == layer and (p.ndim > 1) == heavy
            ],
            "weight_decay": train.weight_decay if heavy else 0.0,
            "share": train.layer_decay**layer,
        }
        for layer in sorted({depth[name] for name in trained})
        for heavy in (True, False)
    ]
    groups = [group for group in groups if group["params"]]
    alike = all(p.dtype is torch.float32 for p in trained.values())
    summed = train.micro_batch or train.clip_grad or ranks > 1
    if train.precision == "bfloat16" and alike and not summed:
        for parameter in trained.values():
            if parameter.ndim > 1:
                parameter.grad_dtype = None  # any
    momentum = train.momentum or 0.0
    if train.optimizer == "sgd":
        nesterov = train.nesterov and momentum > 0
        return Optimizer("sgd", groups, lr=train.lr, momentum=momentum, nesterov=nesterov)
    return Optimizer(train.optimizer, groups, lr=train.lr, betas=(0.9, 0.999), eps=1e-8)
