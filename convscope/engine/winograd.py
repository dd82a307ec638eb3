"""A convolution through Winograd's transforms (Lavin & Gray 2016, arXiv 1509.09308).

Tiles of maps become sums of their numbers at a few points, where a convolution is a product. In
float32 there are six points: a 3x3 kernel costs 36 multiplications for 16 outputs instead of 144,
and a 5x5 one 36 for 4 instead of 100. In bfloat16 that would lose too much, and there are four: 16
multiplications for 4 outputs of a 3x3 kernel instead of 36.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from convscope import kernels

BLOCK = 2 << 20  # bytes of transformed tiles at a time, which a second-level cache holds
FOURS = 8 << 20  # the same in bfloat16, whose products are long ones
ROWS = 256  # tiles at a time in bfloat16, at least: what a product of matrices is fast from


def suits(module: nn.Conv2d, dtype: torch.dtype) -> bool:
    """Whether the kernel and the channels of a convolution of stride 1 are such that it can be
    computed here."""
    channels = module.in_channels, module.out_channels
    if dtype is torch.bfloat16:
        return module.kernel_size == (3, 3) and min(channels) >= kernels.WIDE
    small = module.kernel_size in ((3, 3), (5, 5))
    return dtype is torch.float32 and small and min(channels) >= 8


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    """x [B,C,H,W] convolved with weight [K,C,k,k], plus bias [K]: [B,K,h,w]."""
    return (_four if x.dtype is torch.bfloat16 else _six)(x, weight, bias, padding)


def grad_input(g: Tensor, weight: Tensor, padding: tuple[int, int]) -> Tensor:
    """The gradient of the input [B,C,H,W], from g [B,K,h,w]: the kernel flipped over it."""
    size = weight.shape[2] - 1
    margin = size - padding[0], size - padding[1]
    if g.dtype is torch.bfloat16:
        return _four(g, weight, None, margin, flipped=True)
    return _six(g, weight.flip(2, 3).transpose(0, 1), None, margin)


def grad_weight(g: Tensor, x: Tensor, weight: Tensor, padding: tuple[int, int]) -> Tensor:
    """The gradient of the weight, from g [B,K,h,w]."""
    return (_four_kernel if x.dtype is torch.bfloat16 else _six_kernel)(g, x, weight, padding)


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


def _six(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
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
        kernels.f4_input_transform(
            x, tiles_v, room, height, width, channels, first, n, th, tw, m, *padding
        )
        torch.bmm(tiles_v, u, out=tiles_y)
        kernels.f4_output_transform(tiles_y, y, shift, room, h, w, out, first, n, th, tw, m)
    return y


def _six_kernel(g: Tensor, x: Tensor, weight: Tensor, padding: tuple[int, int]) -> Tensor:
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
        kernels.f4_input_transform(
            x, tiles_v, room, height, width, channels, first, n, th, tw, m, *padding
        )
        kernels.f4_grad_output_transform(g, tiles_d, room, h, w, out, first, n, th, tw, m)
        du.baddbmm_(tiles_v.transpose(1, 2), tiles_d)
    transform = _transform(size)
    return torch.einsum("ai,bj,abck->kcij", transform, transform, du.view(6, 6, channels, out))


def _away(of: Tensor, room: Tensor) -> int:
    """How many numbers lie from the one tensor's first to the other's."""
    return (room.data_ptr() - of.data_ptr()) // of.element_size()


def _fours(batch: int, tiles: int, channels: int, out: int) -> int:
    """How many images' tiles of 4x4 are transformed at a time."""
    block = max(FOURS, 16 * channels * out)
    return max(1, min(batch, max(block // (16 * 2 * (channels + out)), ROWS) // tiles))


def _planes(room: Tensor, tiles: int, channels: int) -> Tensor:
    return room[: 16 * tiles * channels].view(16, tiles, channels)


def _four(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: tuple[int, int],
    flipped: bool = False,
) -> Tensor:
    batch, channels, height, width = x.shape
    out = weight.shape[1 if flipped else 0]
    h, w = height + 2 * padding[0] - 2, width + 2 * padding[1] - 2
    th, tw = (h + 1) // 2, (w + 1) // 2
    last = torch.channels_last
    u = x.new_empty(16, *weight.shape[:2])
    kernels.f2_filter_transform(
        weight.contiguous(memory_format=last), u, *weight.shape[:2], flipped
    )
    by = u if flipped else u.transpose(1, 2)  # [16,channels,out]
    y = torch.empty((batch, out, h, w), dtype=x.dtype, memory_format=last)
    shift = torch.zeros(out) if bias is None else bias.float()
    most = _fours(batch, th * tw, channels, out)
    v, t = (x.new_empty(16 * most * th * tw * n) for n in (channels, out))
    zeros, room = x.new_zeros(channels), x.new_empty(torch.get_num_threads() * out)
    beyond, spare = _away(x, zeros), _away(y, room)
    for first in range(0, batch, most):
        n = min(most, batch - first)
        tiles_v, tiles_y = _planes(v, n * th * tw, channels), _planes(t, n * th * tw, out)
        kernels.f2_input_transform(
            x, tiles_v, height, width, channels, first, n, th, tw, *padding, beyond
        )
        torch.bmm(tiles_v, by, out=tiles_y)
        kernels.f2_output_transform(tiles_y, y, shift, h, w, out, first, n, th, tw, spare)
    return y


def _four_kernel(g: Tensor, x: Tensor, weight: Tensor, padding: tuple[int, int]) -> Tensor:
    batch, channels, height, width = x.shape
    out = len(weight)
    h, w = g.shape[2:]
    th, tw = (h + 1) // 2, (w + 1) // 2
    most = _fours(batch, th * tw, channels, out)
    v, d = (x.new_empty(16 * most * th * tw * n) for n in (channels, out))
    part, sums = x.new_empty(16, out, channels), torch.zeros(16, out, channels)
    zeros = x.new_zeros(max(channels, out))
    beyond, off = _away(x, zeros), _away(g, zeros)
    for first in range(0, batch, most):
        n = min(most, batch - first)
        tiles_v, tiles_d = _planes(v, n * th * tw, channels), _planes(d, n * th * tw, out)
        kernels.f2_input_transform(
            x, tiles_v, height, width, channels, first, n, th, tw, *padding, beyond
        )
        kernels.f2_grad_output_transform(g, tiles_d, h, w, out, first, n, th, tw, off)
        torch.bmm(tiles_d.transpose(1, 2), tiles_v, out=part)
        kernels.f2_accumulate(part, sums, sums.numel())
    dw = torch.empty_like(weight, memory_format=torch.channels_last)
    kernels.f2_filter_gradient(dw, sums, out, channels)
    return dw
