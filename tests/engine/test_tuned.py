"""Layers made over the weights of others, in every place of them."""

from __future__ import annotations

import copy

import torch
from torch import nn

from convscope.engine.convolution import TunedConv2d
from convscope.engine.tuned import replaced


def test_a_tuned_layer_shares_what_the_plain_one_holds():
    plain = nn.Conv2d(8, 8, 3, bias=False)
    tuned = TunedConv2d.of(plain, ("im2col", "aten", "aten"))
    assert type(plain) is nn.Conv2d and tuned.weight is plain.weight and tuned.bias is None
    assert not hasattr(plain, "algorithms")
    assert copy.deepcopy(tuned).algorithms == ("im2col", "aten", "aten")
    x = torch.randn(2, 8, 5, 5).contiguous(memory_format=torch.channels_last)
    assert torch.allclose(tuned(x), plain(x), atol=1e-5)


def test_a_layer_in_two_places_is_made_once_and_parts_come_before_the_whole():
    shared, seen = nn.Linear(2, 2), []
    network = nn.Sequential(shared, nn.Sequential(shared, nn.ReLU()), None)

    def make(module: nn.Module) -> nn.Module | None:
        seen.append(type(module).__name__)
        return nn.Identity() if module is shared else None

    assert replaced(network, make) is network
    assert network[0] is network[1][0] and isinstance(network[0], nn.Identity)
    assert seen == ["Linear", "ReLU", "Sequential", "Sequential"]
    assert isinstance(replaced(nn.ReLU(), lambda module: nn.Tanh()), nn.Tanh)
