"""Formats: no step of a recipe runs what nobody made fast."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from convscope import kernels, recipe
from convscope.data.columns import Class
from convscope.data.loader import Batch
from convscope.engine import choice, tuned_network
from convscope.models import build
from convscope.training.losses import Loss, mean_loss


def _cases() -> list[tuple[str, str]]:
    fast = torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "AVX2")
    formats = ["float32", "bfloat16"] if fast else ["float32"]  # the probe takes no other there
    return [(name, form) for name in recipe.names() for form in formats]


@pytest.mark.parametrize(("name", "form"), _cases())
def test_no_step_of_a_recipe_runs_a_reference_implementation(name, form, capfd):
    """oneDNN says of each primitive what computes it; ``ref`` is a loop that nobody made fast."""
    asked = recipe.load(name)
    channels, size = (3, 32) if asked.data.name.startswith("cifar") else (1, 28)
    network = build(asked.model.name, 10, channels, (size, size), asked.model.arguments)
    network = tuned_network.engine(network.to(memory_format=torch.channels_last), "fused", form)
    images = torch.rand(16, channels, size, size)
    batch = Batch({"image": images}, {"label": torch.arange(16) % 10}).laid_out(torch.channels_last)
    loss = functools.partial(mean_loss, {"label": Loss(Class(tuple("0123456789")))})
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        choice._pass(network, batch, loss, form)
    lines = [text.split(",") for text in capfd.readouterr().out.splitlines() if ",exec," in text]
    ran = {fields[fields.index("exec") + 3] for fields in lines}
    convolves = any(isinstance(module, nn.Conv2d) for module in network.modules())
    assert (ran or not convolves) and not any(name.startswith("ref") for name in ran), ran


def test_recipes_with_the_former_names_of_algorithms_mean_the_same(monkeypatch):
    monkeypatch.setattr(kernels, "has_dot_products", lambda: True)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(4, 2)
    )
    former = "fused 0=few,direct,matmul 1=winograd,turned,dot 3=turned,direct,turned"
    found = tuned_network.engine(network, former, "bfloat16")
    assert [found[i].algorithms for i in (0, 1, 3)] == [
        ("small_channels", "aten", "im2col"),
        ("winograd", "flipped", "dot"),
        ("transposed", "aten", "transposed"),
    ]
    assert type(network[0]) is nn.Conv2d and found[0].weight is network[0].weight


def test_what_a_recipe_of_another_machine_names_and_this_one_cannot_do_is_pytorchs(monkeypatch):
    monkeypatch.setattr(kernels, "has_dot_products", lambda: False)
    network = nn.Sequential(nn.Conv2d(16, 16, 5), nn.Conv2d(16, 16, 3), nn.Flatten())
    asked = "fused 0=dot,winograd,im2col 1=dot,aten,winograd"  # 5x5 is not for bfloat16
    found = tuned_network.engine(network, asked, "bfloat16")
    assert [found[i].algorithms for i in (0, 1)] == [
        ("aten", "aten", "im2col"),
        ("aten", "aten", "winograd"),
    ]
