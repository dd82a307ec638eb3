"""Kernels: each against PyTorch in float64, on odd shapes, on one thread and on two."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from convscope import kernels
from convscope.kernels import GELU, LINEAR, RELU

pytestmark = pytest.mark.skipif(not kernels.available(), reason="no kernels on this machine")
SHAPES = [(3, 16, 6, 8), (2, 5, 7, 9), (1, 1, 2, 2), (4, 24, 5, 3), (2, 33, 4, 1)]
FUNCTIONS = {LINEAR: lambda v: v, RELU: functional.relu, GELU: functional.gelu}


@pytest.fixture(params=[1, 2], autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(memory_format=torch.channels_last)


def like(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.full_like(x, 77, dtype=dtype)


def close(one: Tensor, two: Tensor, tolerance: float = 3e-6) -> bool:
    scale = max(1.0, float(two.detach().abs().max()))
    return float((one.double() - two.double()).detach().abs().max()) <= tolerance * scale


def by_channel(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1).double()


@pytest.mark.parametrize("shape", SHAPES)
def test_statistics(shape, threads):
    x = random(*shape) * 3 + 1000
    n = x.numel() // shape[1]
    sums = torch.full((threads, 2, shape[1]), 77.0, dtype=torch.float64)
    kernels.batch_norm_stats(x, sums, kernels.scratch(2 * shape[1]), n, shape[1])
    v = x.double() - x[0, :, 0, 0].double().view(1, -1, 1, 1)
    assert close(sums.sum(0)[0], v.sum((0, 2, 3)), 1e-5)
    assert close(sums.sum(0)[1], v.square().sum((0, 2, 3)), 1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", FUNCTIONS)
def test_activate_and_its_slopes(shape, kind, threads):
    x, g = random(*shape) * 3, random(*shape, seed=1)
    scale, shift = torch.randn(shape[1]), torch.randn(shape[1])
    n, y = x.numel() // shape[1], like(x)
    kernels.elementwise(x, scale, shift, y, n, shape[1], kind)
    z = (x.double() * by_channel(scale) + by_channel(shift)).requires_grad_()
    expected = FUNCTIONS[kind](z)
    assert close(y, expected)
    expected.backward(g.double())
    d, sums = like(x), torch.zeros(threads, 2, shape[1], dtype=torch.float64)
    room = kernels.scratch(2 * shape[1])
    kernels.backward_reduce(g, x, scale, shift, d, sums, room, n, shape[1], kind)
    assert kind != GELU or close(d, z.grad)
    assert close(sums.sum(0)[0], z.grad.sum((0, 2, 3)), 1e-5)
    assert close(sums.sum(0)[1], (z.grad * x).sum((0, 2, 3)), 1e-5)


def test_gelu_far_out_and_what_is_no_number():
    x = torch.tensor([-1e30, -40.0, -12.0, 0.0, 12.0, 1e30, float("inf"), float("nan")])
    y = torch.empty(8)
    kernels.elementwise(x, torch.ones(1), torch.zeros(1), y, 8, 1, GELU)
    expected = [0, 0, 0, 0, 12, 1e30, float("inf")]
    assert y[:7].tolist() == pytest.approx(expected, rel=1e-6, abs=1e-30) and y[7].isnan()


@pytest.mark.parametrize("shape", [s for s in SHAPES if s[3] > 1])
@pytest.mark.parametrize("kind", [LINEAR, RELU])
def test_pool_and_back(shape, kind, threads):
    batch, channels, height, width = shape
    x, scale, shift = random(*shape), torch.randn(channels), torch.randn(channels)
    x[0, :, 0, 0] = x[0, :, 0, 1]  # a tie, which the first wins
    z = (x.double() * by_channel(scale) + by_channel(shift)).requires_grad_()
    expected = functional.max_pool2d(FUNCTIONS[kind](z), 2)
    y, place = like(expected), like(expected, torch.uint8)
    y = torch.empty(expected.shape, memory_format=torch.channels_last)
    place = torch.empty_like(y, dtype=torch.uint8)
    kernels.max_pool(x, scale, shift, y, place, batch, height, width, channels, kind)
    assert close(y, expected)
    g = random(*expected.shape, seed=1)
    expected.backward(g.double())
    dx = like(x)
    kernels.max_pool_backward(g, place, dx, batch, height, width, channels)
    assert close(dx, z.grad)
    u, v, r = torch.randn(3, channels).unbind()
    dx = like(x)
    kernels.max_pool_backward_elementwise(g, place, x, dx, u, v, r, batch, height, width, channels)
    assert close(dx, z.grad * by_channel(u) + x * by_channel(v) + by_channel(r))
    sums = torch.zeros(threads, 2, channels, dtype=torch.float64)
    room = kernels.scratch(2 * channels)
    kernels.max_pool_backward_reduce(g, place, x, sums, room, batch, height, width, channels)
    assert close(sums.sum(0)[0], z.grad.sum((0, 2, 3)), 1e-5)
    assert close(sums.sum(0)[1], (z.grad * x).sum((0, 2, 3)), 1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", [LINEAR, RELU])
def test_combine_also_in_place(shape, kind):
    d, x = random(*shape), random(*shape, seed=1)
    u, shift, v, r = torch.randn(4, shape[1]).unbind()
    live = x * by_channel(u) + by_channel(shift) > 0 if kind == RELU else torch.ones(())
    expected = d * by_channel(u) * live + x * by_channel(v) + by_channel(r)
    n = x.numel() // shape[1]
    kernels.backward_elementwise(d, x, u, shift, v, r, d, n, shape[1], kind)
    assert close(d, expected)


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 2)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [(0, 0), (1, 0), (2, 2)])
def test_patches(kernel, stride, padding):
    x = random(2, 3, 7, 6)
    expected = functional.unfold(x, kernel, padding=padding, stride=stride)  # [B,C*k*l,h*w]
    h = (7 + 2 * padding[0] - kernel[0]) // stride + 1
    w = (6 + 2 * padding[1] - kernel[1]) // stride + 1
    rows = torch.full((2 * h * w, kernel[0] * kernel[1] * 3), 77.0)
    kernels.im2col(x, rows, 2, 7, 6, 3, *kernel, *padding, stride, h, w)
    expected = expected.view(2, 3, -1, h * w).permute(0, 3, 2, 1).reshape(rows.shape)
    assert torch.equal(rows, expected)


def test_a_size_in_the_place_of_a_tensor_is_refused():
    with pytest.raises(AssertionError, match="backward_elementwise"):
        kernels.backward_elementwise(torch.zeros(1), 3, *[torch.zeros(1)] * 5, 1, 1, 1)


def test_they_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("CONVSCOPE_KERNELS", "off")
    kernels.why_not.cache_clear()
    assert not kernels.available() and kernels.why_not() == kernels.OFF and not kernels.odd()
    kernels.why_not.cache_clear()
