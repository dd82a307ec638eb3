"""Winograd's convolutions against PyTorch's, of whole numbers where rounding is to play no part."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convscope import kernels
from convscope.engine import winograd
from convscope.engine.convolution import TunedConv2d

pytestmark = pytest.mark.skipif(not kernels.available(), reason="no kernels on this machine")
EDGES = [  # padding, channels, out, height, width
    ((1, 1), 16, 16, 6, 6),
    ((1, 1), 24, 40, 7, 5),
    ((0, 0), 17, 33, 9, 4),
    ((2, 0), 48, 16, 1, 3),
    ((0, 1), 31, 64, 15, 15),
]


def few(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """Numbers of -1, 0 and 1, two thirds of them 0."""
    numbers = torch.randint(-1, 2, shape) * torch.randint(0, 2, shape)
    return numbers.to(dtype).contiguous(memory_format=torch.channels_last)


def parts(x, weight, bias, g, padding):
    """Output and gradients of input and kernel, in float64 by PyTorch."""
    x, weight, bias, g = (t.double() for t in (x, weight, bias, g))
    y = torch.conv2d(x, weight, bias, 1, padding)
    dx, dw, _ = torch.ops.aten.convolution_backward(
        g, x, weight, None, (1, 1), padding, (1, 1), False, (0, 0), 1, (True, True, False)
    )
    return y, dx, dw


@pytest.mark.parametrize("padding, channels, out, height, width", EDGES)
def test_whole_numbers_in_bfloat16_are_exact(padding, channels, out, height, width):
    """Sums of so few halves and quarters have no more than eight digits, wherever the edge is."""
    torch.manual_seed(0)
    images = 3
    x, weight = few(images, channels, height, width), 4 * few(out, channels, 3, 3)
    weight[:, 1:] = 0  # of many channels the sums would have more
    g = few(images, out, height + 2 * padding[0] - 2, width + 2 * padding[1] - 2)
    g[:, 1:] = 0
    bias = torch.arange(out) % 5
    y, dx, dw = parts(x, weight, bias, g, padding)
    assert torch.equal(winograd.forward(x, weight, bias.bfloat16(), padding).double(), y)
    assert torch.equal(winograd.grad_input(g, weight, padding).double(), dx)
    found = winograd.grad_weight(g, x, weight, padding).double()
    assert found.shape == dw.shape and float((found - dw).abs().max()) <= 0.01 * dw.abs().max()


@pytest.mark.parametrize("padding, channels, out, height, width", EDGES)
def test_bfloat16_is_within_a_percent(padding, channels, out, height, width):
    torch.manual_seed(0)
    x, weight = torch.randn(4, channels, height, width), torch.randn(out, channels, 3, 3)
    g = torch.randn(4, out, height + 2 * padding[0] - 2, width + 2 * padding[1] - 2)
    x, weight, g = (t.bfloat16().to(memory_format=torch.channels_last) for t in (x, weight, g))
    bias = torch.randn(out).bfloat16()
    exact = parts(x, weight, bias, g, padding)
    found = (
        winograd.forward(x, weight, bias, padding),
        winograd.grad_input(g, weight, padding),
        winograd.grad_weight(g, x, weight, padding),
    )
    for one, two in zip(found, exact, strict=True):
        assert one.dtype is torch.bfloat16 and one.is_contiguous(memory_format=torch.channels_last)
        assert float((one.double() - two).norm() / two.norm()) < 0.01


@pytest.mark.parametrize("dtype, channels", [(torch.float32, 8), (torch.bfloat16, 16)])
def test_a_large_batch_goes_in_blocks(monkeypatch, dtype, channels):
    """And what is in the rooms from the block before is no part of the last, smaller one."""
    torch.manual_seed(0)
    last = torch.channels_last
    x = torch.randn(7, channels, 9, 9).to(dtype).to(memory_format=last)
    weight = torch.randn(channels, channels, 3, 3).to(dtype).to(memory_format=last)
    g, bias = torch.randn_like(x), torch.zeros(channels, dtype=dtype)
    whole = [
        winograd.forward(x, weight, bias, (1, 1)),
        winograd.grad_input(g, weight, (1, 1)),
        winograd.grad_weight(g, x, weight, (1, 1)),
    ]
    for name in ("_blocks", "_fours"):
        monkeypatch.setattr(winograd, name, lambda *rest: 3)
    blocks = [
        winograd.forward(x, weight, bias, (1, 1)),
        winograd.grad_input(g, weight, (1, 1)),
        winograd.grad_weight(g, x, weight, (1, 1)),
    ]
    bound = 1e-5 if dtype is torch.float32 else 1e-2
    for one, two in zip(blocks, whole, strict=True):
        assert float((one - two).norm() / two.norm()) < bound


def test_a_block_is_at_least_an_image_and_at_most_the_batch():
    assert winograd._fours(5, 10**6, 512, 512) == 1
    assert winograd._fours(5, 1, 16, 16) == 5
    assert 1 < winograd._fours(500, 64, 256, 256) < 500


@pytest.mark.parametrize(
    "channels, kernel, dtype, expected",
    [
        (16, 3, torch.bfloat16, True),
        (15, 3, torch.bfloat16, False),
        (16, 5, torch.bfloat16, False),
        (8, 5, torch.float32, True),
        (7, 3, torch.float32, False),
    ],
)
def test_what_suits(channels, kernel, dtype, expected):
    layer = nn.Conv2d(channels, 32, kernel, padding=1)
    assert TunedConv2d.suits(layer, "forward", "winograd", dtype) is expected
