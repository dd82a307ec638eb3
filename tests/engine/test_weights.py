"""Copies in bfloat16 are never those of weights that were, however the weights are changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from convscope import kernels
from convscope.data.loader import Loader
from convscope.engine import tuned_network, weights
from convscope.events import EpochEnd
from convscope.models.parts import Classifier
from convscope.recipe import Augment, Train
from convscope.run import RunFolder
from convscope.training.loop import fit


def kernel() -> nn.Parameter:
    torch.manual_seed(0)
    return nn.Parameter(torch.randn(8, 4, 3, 3).contiguous(memory_format=torch.channels_last))


CHANGES: dict[str, Callable[[nn.Parameter], object]] = {
    "scaled": lambda p: p.data.mul_(0.5),
    "cut off": lambda p: p.data.clamp_(-0.1, 0.1),
    "filled": lambda p: p.data.zero_(),
    "copied": lambda p: p.data.copy_(torch.ones_like(p)),
    "its first": lambda p: p.data[0, 0, 0, 0].fill_(9.0),
    "its last": lambda p: p.data[-1, -1, -1, -1].fill_(9.0),
    "replaced": lambda p: setattr(p, "data", torch.ones_like(p)),
    "as PyTorch knows": nn.init.ones_,
    "not a number": lambda p: p.data.fill_(float("nan")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_weight_has_a_new_copy(change):
    weight = kernel()
    first = weights.half(weight)
    assert weights.half(weight) is first and weights.kept(weight) is first
    change(weight)
    assert weights.kept(weight) is None
    again = weights.half(weight)
    assert torch.equal(again.isnan(), weight.isnan())
    assert torch.equal(again.nan_to_num(), weight.detach().bfloat16().nan_to_num())


@pytest.mark.parametrize("shape", [(), (1,), (2,), (3,), (0,), (5, 7)])
def test_weights_of_any_size_have_copies(shape):
    weight = nn.Parameter(torch.full(shape, 1.001))
    assert weights.half(weight) is weights.half(weight)
    assert torch.equal(weights.half(weight), weight.detach().bfloat16())
    part = nn.Parameter(torch.rand(6, 6)[:, ::2])  # with holes in memory
    assert weights.half(part) is weights.half(part)


@pytest.mark.parametrize("number", [1 + 1 / 256, 1 + 3 / 256], ids=["down", "up"])
def test_a_number_halfway_between_two_is_rounded_to_even_and_keeps_its_copy(number):
    weight = nn.Parameter(torch.full((2,), number))
    copy = weights.half(weight)
    assert torch.equal(copy, weight.detach().bfloat16()) and weights.kept(weight) is copy


def test_what_no_number_tells_is_forgotten_when_an_epoch_begins(tiny, tmp_path):
    """Changed through ``data`` between two epochs, in a place that none of the samples is in."""
    if not kernels.available():
        pytest.skip("no kernels on this machine")
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU())
    plain = Classifier(1, features, nn.Sequential(nn.Flatten(), nn.Linear(800, 3)))
    layout = torch.channels_last
    engine = tuned_network.engine(plain.to(memory_format=layout), "fused", "bfloat16")
    train = tiny.splits["train"]
    images, labels = torch.tensor(train.images), torch.tensor(train.labels)
    loader = Loader.of_images(
        images, labels, torch.arange(240), 40, 0, Augment(), memory_format=layout
    )
    weight, seen = plain.head[1].weight, []

    def change(event: object) -> None:
        if isinstance(event, EpochEnd):
            weight.data[1, 1] = 7.0

    engine.register_forward_pre_hook(lambda *_: seen.append(weights.kept(weight)))
    asked = Train(epochs=2, batch_size=40, lr=0.01, warmup=0.0, precision="bfloat16")
    fit(engine, loader, lambda _: (None, None), asked, RunFolder(tmp_path), change)
    kept = [copy is not None for copy in seen]
    assert kept == [False, *[True] * 5] * 2  # six steps an epoch; the first makes them anew
