"""Every way of every part of a convolution against PyTorch's in float64."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from convscope import kernels
from convscope.training import convolution
from convscope.training.convolution import PARTS, WAYS, Planned, suits

pytestmark = pytest.mark.skipif(not kernels.available(), reason="no kernels on this machine")
CASES = [  # kernel, padding, stride, channels, out, height, width
    (3, 1, 1, 8, 16, 9, 7),
    (3, 0, 1, 16, 8, 12, 13),
    (3, 2, 1, 9, 8, 5, 5),
    (5, 2, 1, 8, 11, 14, 14),
    (5, 0, 1, 20, 12, 12, 5),
    (5, 4, 1, 8, 8, 3, 4),
    (5, 2, 1, 1, 16, 28, 28),
    (3, 1, 2, 3, 8, 9, 9),
    (1, 0, 1, 10, 16, 6, 6),
    (2, 0, 1, 3, 24, 8, 8),
    ((3, 1), (1, 0), 1, 4, 6, 5, 6),
]


def far(one: torch.Tensor, two: torch.Tensor) -> float:
    return float(((one - two).norm() / two.norm()).detach())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("bias", [True, False])
def test_every_way_of_every_part(case, bias):
    kernel, padding, stride, channels, out, height, width = case
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, out, kernel, stride, padding, bias=bias)
    layer.to(memory_format=torch.channels_last)
    x = torch.randn(5, channels, height, width).to(memory_format=torch.channels_last)
    x.requires_grad_()
    inputs = [x, *layer.parameters()]
    exact = layer.double()(x.double())
    g = torch.randn_like(exact)
    expected = torch.autograd.grad(exact, inputs, g)
    layer.float()
    tried = set()
    for ways in itertools.product(WAYS, repeat=3):
        if not all(suits(layer, part, way) for part, way in zip(PARTS, ways, strict=True)):
            continue
        tried.update(zip(PARTS, ways, strict=True))
        planned = Planned.of(nn.Conv2d(channels, out, kernel, stride, padding, bias=bias), ways)
        planned.load_state_dict(layer.state_dict())
        y = planned(x)
        assert far(y, exact) < 3e-6, ways
        found = torch.autograd.grad(y, [x, *planned.parameters()], g.float())
        for one, two in zip(found, expected, strict=True):
            assert far(one, two) < 1e-5, ways
    assert ("output", "matmul") in tried
    square = kernel in (3, 5) and stride == 1 and min(channels, out) >= 8
    assert (("kernel", "winograd") in tried) == square
    assert (("input", "turned") in tried) == (stride == 1)


def test_a_large_batch_goes_in_blocks(monkeypatch):
    monkeypatch.setattr(convolution, "BLOCK", 1)
    layer = nn.Conv2d(8, 8, 3, padding=1).requires_grad_(False)
    x = torch.randn(7, 8, 9, 9).to(memory_format=torch.channels_last)
    monkeypatch.setattr(convolution, "_blocks", lambda *rest: 3)
    y = convolution.output(x, layer.weight, layer.bias, (1, 1), (1, 1), "winograd")
    assert far(y, layer(x)) < 1e-5
    g = torch.randn_like(y)
    ways = ("winograd", "winograd")
    found = convolution.gradients(g, x, layer.weight, (1, 1), (1, 1), ways, (True, True, True))
    expected = torch.ops.aten.convolution_backward(
        g, x, layer.weight, [8], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True] * 3
    )
    for one, two in zip(found, expected, strict=True):
        assert far(one, two) < 1e-5


@pytest.mark.parametrize(
    "arguments",
    [
        {"groups": 2},
        {"dilation": 2},
        {"padding_mode": "reflect"},
        {"padding": "same"},
        {"stride": (1, 2)},
    ],
)
def test_what_is_not_plain_stays_direct(arguments):
    layer = nn.Conv2d(8, 8, 3, **{"padding": 1, **arguments})
    for part in PARTS:
        assert [way for way in WAYS if suits(layer, part, way)] == ["direct"]


def test_other_numbers_and_layouts_fall_back():
    layer = Planned.of(nn.Conv2d(8, 8, 3), ("winograd", "winograd", "winograd"))
    x = torch.randn(2, 8, 6, 6)
    plain = nn.functional.conv2d(x, layer.weight, layer.bias)
    assert torch.equal(layer(x), plain)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x.to(memory_format=torch.channels_last)).dtype is torch.bfloat16
