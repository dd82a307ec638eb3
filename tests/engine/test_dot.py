"""Convolutions by dot products of pairs against float64."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from convscope import kernels
from convscope.engine import convolution, dot
from convscope.engine.convolution import TunedConv2d
from convscope.engine.tuned import PARTS

pytestmark = pytest.mark.skipif(
    not (kernels.available() and kernels.has_dot_products()),
    reason="no kernels, or no vdpbf16ps, on this machine",
)
CASES = [  # batch, channels, filters, kernel, padding, height, width
    (5, 16, 16, (3, 3), (1, 1), 12, 12),
    (3, 16, 32, (5, 5), (0, 0), 12, 12),
    (4, 24, 24, (3, 3), (1, 1), 4, 4),
    (2, 88, 20, (5, 5), (0, 0), 12, 9),
    (2, 20, 40, (5, 5), (2, 2), 7, 5),
    (3, 8, 48, (3, 1), (1, 0), 5, 6),
    (1, 32, 17, (1, 1), (0, 0), 3, 3),
    (2, 24, 33, (3, 3), (2, 2), 3, 4),
    (1, 64, 64, (1, 5), (0, 4), 2, 8),
    (3, 1, 16, (5, 5), (2, 2), 28, 28),
    (2, 3, 24, (3, 3), (1, 1), 9, 11),
    (2, 5, 40, (2, 4), (1, 0), 8, 7),
    (2, 10, 16, (5, 5), (4, 4), 6, 6),
    (1, 12, 16, (7, 1), (6, 0), 2, 9),
]


def bf16(*shape: int) -> Tensor:
    made = torch.randn(*shape).bfloat16()
    return made.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else made


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_part(case, threads):
    batch, channels, filters, kernel, padding, height, width = case
    layer = nn.Conv2d(channels, filters, kernel, padding=padding)
    parts = [part for part in PARTS if TunedConv2d.suits(layer, part, "dot", torch.bfloat16)]
    assert "forward" in parts
    torch.manual_seed(0)
    x, weight, bias = bf16(batch, channels, height, width), bf16(filters, channels, *kernel), None
    for bias in (None, torch.randn(filters).bfloat16()):
        exact = (None if bias is None else bias.double(), (1, 1), padding)
        y = torch.conv2d(x.double(), weight.double(), *exact)
        g = bf16(*y.shape)
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            assert dot.fits(x, (y.shape[2], y.shape[3]))
            found = dot.forward(x, weight, bias, padding)
            dw, db = (
                dot.grad_weight(g, x, weight, padding) if "grad_weight" in parts else (None, None)
            )
            dx = dot.grad_input(g, weight, padding) if "grad_input" in parts else None
        finally:
            torch.set_num_threads(before)
        rest = (None, (1, 1), padding, (1, 1), False, (0, 0), 1, [True, True, False])
        wx, ww, _ = torch.ops.aten.convolution_backward(
            g.double(), x.double(), weight.double(), *rest
        )
        if db is not None:
            wb = g.double().sum((0, 2, 3))
            assert db.dtype is torch.float32
            assert float((db - wb).abs().max() / g.double().abs().sum((0, 2, 3)).max()) < 1e-6
            assert dw.stride() == weight.stride()
        for one, two in ((found, y), (dw, ww), (dx, wx)):
            if one is not None:
                assert one.dtype is torch.bfloat16
                assert float((one.double() - two).norm() / two.norm()) < 0.003  # its rounding
                assert float((one.double() - two).abs().max() / two.abs().max()) < 0.006


def test_the_parts_that_it_is_for():
    usual = nn.Conv2d(16, 32, 3, padding=1)
    assert all(TunedConv2d.suits(usual, part, "dot", torch.bfloat16) for part in PARTS)
    assert not any(TunedConv2d.suits(usual, part, "dot", torch.float32) for part in PARTS)
    odd = nn.Conv2d(16, 17, 3)
    assert [TunedConv2d.suits(odd, p, "dot", torch.bfloat16) for p in PARTS] == [True, False, True]
    for images in (1, 3, 12):
        first = nn.Conv2d(images, 16, 3)
        assert [TunedConv2d.suits(first, p, "dot", torch.bfloat16) for p in PARTS] == [
            True,
            False,
            True,
        ]
    few = nn.Conv2d(16, 12, 3)
    assert [TunedConv2d.suits(few, p, "dot", torch.bfloat16) for p in PARTS] == [False, True, False]
    for other in (nn.Conv2d(16, 16, 3, stride=2), nn.Conv2d(16, 16, 1, padding=1)):
        assert not any(TunedConv2d.suits(other, part, "dot", torch.bfloat16) for part in PARTS)


@pytest.mark.parametrize(("height", "width"), [(2, 3), (1, 1)])
def test_maps_that_are_too_small_are_pytorchs(height, width):
    torch.manual_seed(0)
    x, weight = bf16(3, 16, height, width), bf16(16, 16, 3, 3)
    y = torch.conv2d(x, weight, None, (1, 1), (1, 1))
    assert not dot.fits(x, (height, width))
    assert torch.equal(convolution.forward(x, weight, None, (1, 1), (1, 1), "dot"), y)
    wanted = (True, True, False)
    parts = [
        convolution.gradients(y, x, weight, (1, 1), (1, 1), algorithms, wanted)[:2]
        for algorithms in itertools.product(("aten", "dot"), repeat=2)
    ]
    assert all(torch.equal(a, b) for pair in parts for a, b in zip(pair, parts[0], strict=True))


def test_the_same_bits_whenever_it_runs():
    torch.manual_seed(0)
    x, g = bf16(7, 16, 9, 9), bf16(7, 32, 9, 9)
    weight = bf16(32, 16, 3, 3)
    one, two = (dot.grad_weight(g, x, weight, (1, 1)) for _ in range(2))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
