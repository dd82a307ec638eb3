"""Schedules against torch's own, weight decay where it belongs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from convscope import kernels
from convscope.engine import weights
from convscope.models import build
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


KINDS = {
    "sgd": {"optimizer": "sgd", "momentum": 0.0},
    "momentum": {"optimizer": "sgd", "momentum": 0.9},
    "nesterov": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
    "adam": {"optimizer": "adam"},
    "adamw": {"optimizer": "adamw"},
}


def network() -> nn.Module:
    """Odd sizes, one layer in channels-last, one parameter without a gradient."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 49, 7)
    model = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    model.register_parameter("idle", nn.Parameter(torch.ones(3)))
    return model


def losses(model: nn.Module, seed: int) -> torch.Tensor:
    images = torch.rand(8, 3, 9, 9, generator=torch.Generator().manual_seed(seed))
    return model(images).square().sum()


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_steps_are_torchs(kind, decay):
    """Both sides from the same state in the middle of the run too: what one keeps, the other
    takes up."""
    train = Train(lr=0.05, weight_decay=decay, **KINDS[kind])
    ends = []
    for compiled in ((True,) * 6, (False,) * 6, (True,) * 3 + (False,) * 3):
        model = network()
        optimizer = optim.optimizer(model, train)
        for seed, mine in enumerate(compiled):
            optimizer.compiled = mine and optimizer.compiled is not False
            if not mine and seed and compiled[seed - 1]:  # as after a checkpoint
                for state in optimizer.state.values():
                    state.update({k: v.clone() for k, v in state.items()})
            optimizer.zero_grad()
            losses(model, seed).backward()
            optimizer.step()
        assert model.idle.tolist() == [1, 1, 1]
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ends[2], ends[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("adam")])
def test_every_parameter_counts_on_from_a_restored_step(kind):
    """A checkpoint keeps the count of each parameter; the next one must hold the right ones."""
    model = network()
    optimizer = optim.optimizer(model, Train(lr=0.05, **KINDS[kind]))
    for seed in range(4):
        if seed == 2:
            for state in optimizer.state.values():
                state.update({k: v.clone() for k, v in state.items()})
        optimizer.zero_grad()
        losses(model, seed).backward()
        optimizer.step()
    moved = [p for p in model.parameters() if p.grad is not None]
    assert [float(optimizer.state[p]["step"]) for p in moved] == [4.0] * len(moved)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_with_gradients_in_bfloat16(kind):
    """The weight moves as from the same gradient in float32, and its copy with it."""
    train = Train(lr=0.05, **KINDS[kind])
    ends = []
    for dtype in (torch.float32, torch.bfloat16):
        model = network()
        optimizer = optim.optimizer(model, train)
        weight = model[3].weight
        for seed in range(3):
            weight.grad_dtype = None
            generator = torch.Generator().manual_seed(seed)
            weight.grad = torch.randn(weight.shape, generator=generator).bfloat16().to(dtype)
            optimizer.step()
            assert torch.equal(weights.half(weight), weight.bfloat16())
        ends.append(weight.detach())
    assert torch.equal(*ends)


def test_a_copy_is_made_anew_when_the_weight_was_changed():
    weight = nn.Parameter(torch.ones(4))
    first = weights.half(weight)
    assert weights.half(weight) is first
    nn.init.zeros_(weight)
    assert weights.half(weight).tolist() == [0, 0, 0, 0]
    optimizer = optim.optimizer(nn.ParameterList([weight]), Train(optimizer="sgd", lr=1.0))
    weight.grad = torch.ones(4)
    optimizer.step()
    assert weights.half(weight).tolist() == [-1, -1, -1, -1]


def test_a_bfloat16_step_asks_for_gradients_in_that_format_unless_they_are_summed_or_clipped():
    for more, wanted in (
        ({}, None),
        ({"micro_batch": 2}, torch.float32),
        ({"clip_grad": 1.0}, torch.float32),
    ):
        model = network()
        optim.optimizer(model, Train(precision="bfloat16", lr=0.1, **more))
        assert model[3].weight.grad_dtype == wanted
        assert model[3].bias.grad_dtype == torch.float32


def test_a_step_of_pytorchs_own_optimiser_makes_copies_stale(monkeypatch):
    monkeypatch.setattr(kernels, "available", lambda: False)
    layer = nn.Linear(3, 2)
    optimizer = optim.optimizer(layer, Train(optimizer="adamw", lr=0.1))
    before = weights.half(layer.weight)
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert torch.equal(weights.half(layer.weight), layer.weight.detach().bfloat16())
    assert not torch.equal(weights.half(layer.weight), before)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("kind", ["momentum", "adamw"])
def test_a_layer_has_a_share_of_the_rate_of_the_next_one(kind, compiled):
    """Held against one optimiser of PyTorch's a layer."""
    torch.manual_seed(0)
    network = build("cnn", 3, 1, (12, 12), {"widths": [2, 3]})
    for name in ("features.0", "features.4"):  # before batch norm: its gradient is rounding alone
        network.get_submodule(name).bias.requires_grad_(False)
    other = copy.deepcopy(network)
    train = Train(lr=0.05, layer_decay=0.5, weight_decay=0.1, nesterov=False, **KINDS[kind])
    ours = optim.optimizer(network, train)
    ours.compiled = compiled
    theirs = []
    shares = {"features.0": 0.25, "features.1": 0.25, "features.4": 0.5, "features.5": 0.5}
    for name, share in (shares | {"head.1": 1.0}).items():
        layer = other.get_submodule(name)
        for parameter in (layer.weight, layer.bias):
            decay = 0.1 if parameter.ndim > 1 else 0.0
            kinds = {"momentum": torch.optim.SGD, "adamw": torch.optim.AdamW}
            more = {"momentum": 0.9} if kind == "momentum" else {}
            theirs.append(kinds[kind]([parameter], lr=0.05 * share, weight_decay=decay, **more))
    images = torch.rand(4, 1, 12, 12)
    for _ in range(3):
        for group in ours.param_groups:
            group["lr"] = train.lr * group["share"]
        for model, optimizers in ((network, [ours]), (other, theirs)):
            for one in optimizers:
                one.zero_grad()
            model(images).square().sum().backward()
            for one in optimizers:
                one.step()
    for mine, wanted in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-5)
