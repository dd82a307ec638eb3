"""Schedules against torch's own, weight decay where it belongs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convscope.recipe import Train
from convscope.training import optim


def test_one_cycle_is_torchs():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1,
        total_steps=101,
        pct_start=0.25,
        final_div_factor=400,
        cycle_momentum=False,
    )
    # theirs peaks at step pct * total - 1 and ends at total - 1: the same curve, its steps counted
    # otherwise
    for step in range(100):
        ours = optim.factor("one-cycle", step, 100, 0.2425)
        assert ours == pytest.approx(theirs.get_last_lr()[0], abs=2e-3), step
        optimizer.step()
        theirs.step()


def test_cosine_is_torchs():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50)
    for step in range(50):
        assert optim.factor("cosine", step, 50, 0) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_a_rate_is_never_zero_negative_or_above_the_highest(schedule, warmup, steps):
    rates = [optim.factor(schedule, step, steps, warmup) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    if warmup and steps == 1000:
        peak = round(warmup * steps)
        assert rates[0] < 0.11 and rates[:peak] == sorted(rates[:peak])


def test_weight_decay_spares_biases_and_normalisation():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    optimizer = optim.optimizer(model, Train(lr=0.1, weight_decay=0.5))
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    for name, parameter in model.named_parameters():
        expected = 0.5 if name in ("0.weight", "3.weight") else 0.0
        assert decay[id(parameter)] == expected, name


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_fused_steps_are_the_plain_ones(kind):
    """Also in channels-last, where a fused step could mix up the layouts of weight, gradient and
    moment."""
    ends = []
    for fused in (True, False):
        torch.manual_seed(0)
        model = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
        momentum = 0.9 if kind == "sgd" else None
        optimizer = optim.optimizer(model, Train(optimizer=kind, lr=0.05, momentum=momentum))
        for group in optimizer.param_groups:
            assert group["fused"]
            group["fused"] = fused
        images = torch.rand(8, 4, 9, 9).to(memory_format=torch.channels_last)
        for _ in range(5):
            optimizer.zero_grad()
            model(images).square().mean().backward()
            optimizer.step()
        ends.append(model.weight.detach().clone())
    torch.testing.assert_close(*ends)
