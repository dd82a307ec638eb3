"""One convolution, several ways to compute it, each way of its three parts chosen apart.

A training step needs of a convolution its output, the gradient of its input and that of its
kernel. ``direct`` is PyTorch's own; ``winograd`` takes 6x6 tiles through a transform in which a 3x3
kernel costs 36 multiplications for 16 outputs instead of 144, and a 5x5 one 36 for 4 instead of 100
(Lavin & Gray 2016, arXiv 1509.09308); ``matmul`` writes every window out as a row of a matrix;
``turned`` is the gradient of the input as a forward convolution with the kernel turned. All are the
same function but for rounding; which is fastest depends on the shape and the machine. The bias's
gradient is a sum of its own: within oneDNN it costs up to ten times as much (16 maps of 28x28,
batch 100, two Zen 3 cores: 1.1 ms against 0.14, 2026-11-23).
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from convscope import kernels
from convscope.training import weights

WAYS = ("direct", "turned", "winograd", "matmul")
PARTS = ("output", "input", "kernel")
DIRECT = ("direct", "direct", "direct")
BLOCK = 2 << 20  # bytes of transformed tiles at a time, which a second-level cache holds


class Planned(nn.Conv2d):
    """A convolution with a way for its output, its input's gradient and its kernel's gradient in
    one number format, and PyTorch's in the others."""

    ways: tuple[str, str, str]
    ways_dtype: torch.dtype
    followers: tuple[nn.Module, ...]  # a batch norm that takes away what the bias adds, if any

    @classmethod
    def of(
        cls,
        plain: nn.Conv2d,
        ways: tuple[str, str, str] = DIRECT,
        dtype: torch.dtype = torch.float32,
    ) -> Planned:
        """The module itself, computed in these ways."""
        plain.__class__ = cls
        assert isinstance(plain, Planned)
        plain.ways, plain.ways_dtype, plain.followers = ways, dtype, ()
        return plain

    def forward(self, x: Tensor) -> Tensor:
        dtype = weights.working_dtype(self.weight)
        fits = (
            dtype in kernels.MAPS
            and x.dtype in kernels.MAPS
            and x.device.type == "cpu"
            and x.is_contiguous(memory_format=torch.channels_last)
        )
        if not fits:
            return super().forward(x)
        ways = self.ways if dtype is self.ways_dtype else DIRECT
        idle = any(norm.training for norm in self.followers)
        y: Tensor = _Convolution.apply(
            x.to(dtype), self.weight, self.bias, self.stride, self.padding, ways, idle
        )
        return y


def follow(model: nn.Module) -> None:
    """Tell each convolution of a sequence of the batch norm that comes next, a max-pool between
    them or not: whatever the bias adds to a channel, its mean takes away again, so that the bias's
    gradient is zero in training."""
    seen = Counter(id(m) for _, m in model.named_modules(remove_duplicate=False))
    for sequence in model.modules():
        if type(sequence) is nn.Sequential:
            layers = [m for m in sequence if not isinstance(m, nn.Identity)]
            for i, layer in enumerate(layers):
                pools = [
                    isinstance(m, nn.MaxPool2d) or getattr(m, "pools", 0) for m in layers[i + 1 :]
                ]
                after = layers[i + 1 + bool(pools and pools[0]) :]
                if isinstance(layer, Planned) and seen[id(layer)] == 1:
                    layer.followers = tuple(m for m in after[:1] if isinstance(m, nn.BatchNorm2d))


def usual(module: nn.Module) -> bool:
    """Whether a layer is a convolution that can be computed here at all."""
    return (
        isinstance(module, nn.Conv2d)
        and type(module).forward in (nn.Conv2d.forward, Planned.forward)
        and module.groups == 1
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def suits(module: nn.Conv2d, part: str, way: str, dtype: torch.dtype = torch.float32) -> bool:
    """Whether a part of a convolution ("output", and the gradients of "input" and "kernel") can be
    computed in that way."""
    if way == "direct":
        return True
    if not usual(module) or module.stride[0] != module.stride[1]:
        return False
    close = module.stride == (1, 1) and all(
        0 <= p < k  # type: ignore[operator]
        for p, k in zip(module.padding, module.kernel_size, strict=True)
    )
    if way == "winograd":
        enough = min(module.in_channels, module.out_channels) >= 8
        return (
            dtype is torch.float32 and close and enough and module.kernel_size in ((3, 3), (5, 5))
        )
    return close if part == "input" else way == "matmul"


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        ways: tuple[str, str, str],
        idle: bool,
    ) -> Tensor:
        if weight.dtype is not x.dtype:
            weight = weights.half(weight)
            bias = None if bias is None else weights.half(bias)
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.ways, ctx.idle = stride, padding, ways, idle
        return output(x, weight, bias, stride, padding, ways[0])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        g = g.contiguous(memory_format=torch.channels_last)
        wants_x, wants_w, wants_b = ctx.needs_input_grad[:3]
        wanted = wants_x, wants_w, wants_b and not ctx.idle
        dx, dw, db = gradients(g, x, weight, ctx.stride, ctx.padding, ctx.ways[1:], wanted)
        if wants_b and ctx.idle:  # batch norm subtracts the mean, and with it the bias
            db = torch.zeros(len(weight))
        return dx, dw, db, None, None, None, None


def output(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    way: str,
) -> Tensor:
    """The convolution of x [B,C,H,W] with weight [K,C,k,l], plus bias [K]: [B,K,h,w]."""
    if way == "winograd":
        return _winograd(x, weight, bias, padding)
    if way == "matmul":
        rows, size = _rows(x, weight.shape[2:], stride, padding)
        flat = weight.permute(2, 3, 1, 0).reshape(-1, len(weight))  # [k*l*C,K]
        y = torch.empty(
            (len(x), len(weight), *size), dtype=x.dtype, memory_format=torch.channels_last
        )  # no view of the product: a layer after it may work in place
        into = y.permute(0, 2, 3, 1).view(-1, len(weight))
        if bias is None:
            torch.mm(rows, flat, out=into)
        else:
            torch.addmm(bias, rows, flat, out=into)
        return y
    return torch.conv2d(x, weight, bias, stride, padding)


def gradients(
    g: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    ways: tuple[str, str],
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of input, kernel and bias, as far as they are wanted, from g [B,K,h,w]."""
    dx = dw = None
    wants_x, wants_w, wants_b = wanted
    if wants_x and ways[0] != "direct":
        turned = weight.flip(2, 3).transpose(0, 1)  # [C,K,k,l]
        margin = weight.shape[2] - 1 - padding[0], weight.shape[3] - 1 - padding[1]
        dx = output(g, turned, None, (1, 1), margin, ways[0])
    if wants_w and ways[1] == "winograd":
        dw = _winograd_kernel(g, x, weight, padding)
    if wants_w and ways[1] == "matmul":
        rows, _ = _rows(x, weight.shape[2:], stride, padding)
        flat = g.permute(0, 2, 3, 1).reshape(-1, g.shape[1])
        dw = (flat.T @ rows).view(-1, *weight.shape[2:], x.shape[1]).permute(0, 3, 1, 2)
    left = [wants_x and dx is None, wants_w and dw is None, False]
    if left[0] or left[1]:
        found = torch.ops.aten.convolution_backward(
            g, x, weight, None, stride, padding, (1, 1), False, (0, 0), 1, left
        )
        dx, dw = found[0] if left[0] else dx, found[1] if left[1] else dw
    return dx, dw, totals(g) if wants_b else None


def totals(g: Tensor) -> Tensor:
    """The sums over images and places, float32 [K], of g [B,K,h,w]."""
    if not kernels.available():
        return g.sum((0, 2, 3), dtype=torch.float32)
    channels = g.shape[1]
    found = torch.empty(channels)
    sums = torch.empty(torch.get_num_threads(), channels, dtype=torch.float64)
    kernels.totals(g, found, sums, kernels.scratch(channels), g.numel() // channels, channels)
    return found


def _rows(
    x: Tensor, kernel: Any, stride: tuple[int, int], padding: tuple[int, int]
) -> tuple[Tensor, tuple[int, int]]:
    """Every window of x as a row [B*h*w,k*l*C], and (h,w)."""
    batch, channels, height, width = x.shape
    k, wide = kernel
    size = (
        (height + 2 * padding[0] - k) // stride[0] + 1,
        (width + 2 * padding[1] - wide) // stride[1] + 1,
    )
    if (k, wide, *stride, *padding) == (1, 1, 1, 1, 0, 0):
        return x.permute(0, 2, 3, 1).reshape(-1, channels), size
    rows = torch.empty(batch * size[0] * size[1], k * wide * channels, dtype=x.dtype)
    kernels.patches(
        x, rows, batch, height, width, channels, k, wide, padding[0], padding[1], stride[0], *size
    )
    return rows, size


@functools.cache
def _transform(size: int) -> Tensor:
    """G [6,k] of the six points 0, 1, -1, 2, -2 and infinity for kernels of that size."""
    points = torch.tensor([0.0, 1.0, -1.0, 2.0, -2.0], dtype=torch.float64)
    shares = torch.tensor([1 / 4, -1 / 6, -1 / 6, 1 / 24, 1 / 24], dtype=torch.float64)
    finite = shares[:, None] * points[:, None] ** torch.arange(size)
    last = torch.zeros(1, size, dtype=torch.float64)
    last[0, -1] = 1
    return torch.cat([finite, last]).float()


def _blocks(batch: int, tiles: int, channels: int, out: int) -> int:
    """How many images' tiles are transformed at a time: what the cache holds, and enough to be
    worth reading the transformed kernel for."""
    block = max(BLOCK, min(16 * 36 * channels * out, 64 << 20))
    return max(1, min(batch, block // (36 * tiles * 4 * (channels + out))))


def _winograd(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    batch, channels, height, width = x.shape
    out, _, size, _ = weight.shape
    m = 7 - size
    h, w = height + 2 * padding[0] - size + 1, width + 2 * padding[1] - size + 1
    th, tw = -(-h // m), -(-w // m)
    g = _transform(size)
    u = torch.einsum("ai,bj,kcij->abck", g, g, weight).reshape(36, channels, out)
    y = torch.empty((batch, out, h, w), memory_format=torch.channels_last)
    shift = torch.zeros(out) if bias is None else bias
    most = _blocks(batch, th * tw, channels, out)
    room = kernels.scratch(72 * max(channels, out))
    v, t = torch.empty(36 * most * th * tw * channels), torch.empty(36 * most * th * tw * out)
    for first in range(0, batch, most):
        n = min(most, batch - first)
        tiles = n * th * tw
        tiles_v = v[: 36 * tiles * channels].view(36, tiles, channels)
        tiles_y = t[: 36 * tiles * out].view(36, tiles, out)
        kernels.tiles_in(x, tiles_v, room, height, width, channels, first, n, th, tw, m, *padding)
        torch.bmm(tiles_v, u, out=tiles_y)
        kernels.tiles_out(tiles_y, y, shift, room, h, w, out, first, n, th, tw, m)
    return y


def _winograd_kernel(g: Tensor, x: Tensor, weight: Tensor, padding: tuple[int, int]) -> Tensor:
    batch, channels, height, width = x.shape
    out, _, size, _ = weight.shape
    m = 7 - size
    h, w = g.shape[2:]
    th, tw = -(-h // m), -(-w // m)
    most = _blocks(batch, th * tw, channels, out)
    room = kernels.scratch(72 * max(channels, out))
    v, d = torch.empty(36 * most * th * tw * channels), torch.empty(36 * most * th * tw * out)
    du = torch.zeros(36, channels, out)
    for first in range(0, batch, most):
        n = min(most, batch - first)
        tiles = n * th * tw
        tiles_v = v[: 36 * tiles * channels].view(36, tiles, channels)
        tiles_d = d[: 36 * tiles * out].view(36, tiles, out)
        kernels.tiles_in(x, tiles_v, room, height, width, channels, first, n, th, tw, m, *padding)
        kernels.tiles_slope(g, tiles_d, room, h, w, out, first, n, th, tw, m)
        du.baddbmm_(tiles_v.transpose(1, 2), tiles_d)
    transform = _transform(size)
    return torch.einsum("ai,bj,abck->kcij", transform, transform, du.view(6, 6, channels, out))
