"""A convolution of stride 1 in bfloat16 by dot products of pairs, for its output and both its
gradients: a direct convolution, whose kernels are in :mod:`convscope.kernels.dot`.

oneDNN is as fast where maps are large; on the small ones of system B's networks it takes up to
twice as long (16 to 16 channels at 12x12, 64 images, two Zen 4 cores, 2026-11-29: 0.26, 0.26 and
0.32 ms for output and gradients of input and weights, against 0.14, 0.14 and 0.15).
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from convscope import kernels
from convscope.kernels import PIXELS, WIDE

Size = tuple[int, int]


def suits(module: nn.Conv2d, part: str, dtype: torch.dtype) -> bool:
    """Whether a part of a convolution of stride 1 can be computed so on this processor."""
    if dtype is not torch.bfloat16 or not kernels.dots():
        return False
    given, made = module.in_channels, module.out_channels
    if part == "input":
        given, made = made, given
    return made >= WIDE and given % (kernels.BLOCK if part == "kernel" else 2) == 0


def fits(maps: Tensor, made: Size) -> bool:
    """Whether maps [B,C,H,W] and the size of what is made of them are large enough."""
    return maps.shape[1] * maps.shape[3] >= WIDE and made[0] * made[1] >= PIXELS


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Size) -> Tensor:
    """The convolution of x [B,C,H,W] with weight [K,C,k,l], plus bias [K]: [B,K,h,w]."""
    made, given, k, l = weight.shape  # noqa: E741
    pairs = weight.reshape(made, given // 2, 2, k, l).permute(3, 4, 1, 0, 2)  # [k,l,C/2,K,2]
    return _forward(x, pairs.contiguous(), bias, padding)


def grad_input(g: Tensor, weight: Tensor, padding: Size) -> Tensor:
    """The gradient of the input [B,C,H,W], from g [B,K,h,w]: g's convolution with the kernel
    flipped and its channels changed places."""
    made, given, k, l = weight.shape  # noqa: E741
    margin = k - 1 - padding[0], l - 1 - padding[1]
    pairs = weight.flip(2, 3).reshape(made // 2, 2, given, k, l).permute(3, 4, 0, 2, 1)
    return _forward(g, pairs.contiguous(), None, margin)  # [k,l,K/2,C,2]


def _forward(x: Tensor, pairs: Tensor, bias: Tensor | None, padding: Size) -> Tensor:
    batch, channels, height, width = x.shape
    k, l, _, made, _ = pairs.shape  # noqa: E741
    h, w, line, size = _sizes(x, (k, l), padding)
    y = torch.empty((batch, made, h, w), dtype=x.dtype, memory_format=torch.channels_last)
    room = torch.zeros(torch.get_num_threads(), size, dtype=x.dtype)
    shift = torch.zeros(made) if bias is None else bias.float()
    around = height, width, channels, made, k, l, *padding, h, w, size
    kernels.dot_forward(x, pairs, shift, y, room, _places(h, w, line, channels), batch, *around)
    return y


def grad_weight(g: Tensor, x: Tensor, kernel: Size, padding: Size) -> Tensor:
    """The gradient of the weight [K,C,k,l], from g [B,K,h,w] and x [B,C,H,W]."""
    batch, channels, height, width = x.shape
    threads, made = torch.get_num_threads(), g.shape[1]
    h, w, _, size = _sizes(x, kernel, padding)
    wide = -(-made // WIDE) * WIDE
    long = h * ((w + 1) // 2) * wide * 2
    sums = torch.zeros(threads, *kernel, channels, wide)
    room = torch.zeros(threads, size, dtype=x.dtype)
    pairs, slopes = (torch.empty(threads, n, dtype=x.dtype) for n in (2 * size, long))
    around = height, width, channels, made, *kernel, *padding, h, w, size, long
    kernels.dot_grad_weight(x, g, sums, room, pairs, slopes, batch, *around)
    return sums.sum(0)[..., :made].permute(3, 2, 0, 1).to(x.dtype)


def _sizes(x: Tensor, kernel: Size, padding: Size) -> tuple[int, int, int, int]:
    """Height and width of the output, numbers a row of the padded image, and numbers of it, with
    some that are read beyond."""
    _, channels, height, width = x.shape
    h, w = (n + 2 * p - k + 1 for n, p, k in zip((height, width), padding, kernel, strict=True))
    line = (width + 2 * padding[1]) * channels
    return h, w, line, (height + 2 * padding[0]) * line + channels + 2 * WIDE


@functools.lru_cache(maxsize=256)
def _places(h: int, w: int, line: int, channels: int) -> Tensor:
    """Where the window of each output begins, int64 [h*w], in a padded image."""
    with torch.inference_mode(False):
        places = torch.arange(h)[:, None] * line + torch.arange(w) * channels
        return places.flatten().contiguous()
