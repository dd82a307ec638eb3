"""A linear layer in both algorithms and both number formats."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn

from convscope.engine import tuned_network
from convscope.engine.linear import TunedLinear
from convscope.engine.tuned import ATEN


def far(one: torch.Tensor, two: torch.Tensor) -> float:
    return float(((one.double() - two) / two.norm()).norm().detach())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("algorithms", list(itertools.product(TunedLinear.ALGORITHMS, repeat=3)))
def test_every_way(algorithms, dtype, bias):
    torch.manual_seed(0)
    plain = nn.Linear(7, 5, bias=bias)
    exact = copy.deepcopy(plain).double()
    layer = TunedLinear.of(copy.deepcopy(plain), algorithms, tuned_network.DTYPES[dtype])
    x = torch.randn(6, 7)
    inputs, doubles = x.clone().requires_grad_(), x.double().requires_grad_()
    with tuned_network.autocast("cpu", dtype):
        y = layer(inputs)
    expected = exact(doubles)
    limit = 1e-6 if dtype == "float32" else 0.02
    assert y.is_contiguous() and far(y, expected) < limit
    g = torch.randn(6, 5)
    y.backward(g.to(y.dtype))
    expected.backward(g.double())
    assert far(inputs.grad, doubles.grad) < limit
    for one, two in zip(layer.parameters(), exact.parameters(), strict=True):
        assert far(one.grad, two.grad) < limit and one.grad.stride() == one.stride()


def test_the_gradient_of_the_bias_is_a_sum_in_float32():
    layer = TunedLinear.of(nn.Linear(3, 2), ATEN, torch.bfloat16)
    with tuned_network.autocast("cpu", "bfloat16"):
        y = layer(torch.ones(1001, 3))
    y.backward(torch.ones_like(y))
    assert y.dtype is torch.bfloat16 and layer.bias.grad.tolist() == [1001.0, 1001.0]


def test_what_it_does_not_know_is_pytorchs():
    layer = TunedLinear.of(nn.Linear(4, 3), ("transposed",) * 3)
    x = torch.randn(2, 5, 4)
    assert torch.equal(layer(x), nn.Linear.forward(layer, x))
    assert TunedLinear.usual(layer) and TunedLinear.usual(nn.Linear(2, 2))

    class Own(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) / 9

    assert not TunedLinear.usual(Own(2, 2))
