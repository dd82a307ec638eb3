"""A convolution by several algorithms, each of its three parts by its own.

``aten`` is PyTorch's own; ``winograd`` is Winograd's transform, in which a product of matrices
costs a fraction of the multiplications (:mod:`convscope.engine.winograd`); ``im2col`` writes every
window out as a row of a matrix; ``flipped`` is the gradient of the input as a forward convolution
with the kernel flipped; ``small_channels``, for images of few channels, multiplies every number of
one with a vector of weights; ``dot`` takes dot products of pairs in bfloat16
(:mod:`convscope.engine.dot`). All are the same function but for rounding; which is fastest depends
on the shape and the machine. The bias's gradient is a sum of its own: within oneDNN it costs up to
ten times as much (16 maps of 28x28, batch 100, two Zen 3 cores: 1.1 ms against 0.14, 2026-11-23).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convscope import kernels
from convscope.engine import dot, fusion, weights, winograd
from convscope.engine.dot import Size
from convscope.engine.tuned import ATEN, FORMER, Operands, Tuned
from convscope.engine.untouched import untouched
from convscope.kernels import PIXELS, TAPS

FEW = 4  # channels of an image


class TunedConv2d(Tuned, nn.Conv2d):
    """A convolution whose output, input's gradient and weight's gradient each have an algorithm."""

    stands_for = nn.Conv2d
    ALGORITHMS = ("aten", "flipped", "winograd", "im2col", "small_channels", "dot")
    former = FORMER | {"turned": "flipped"}
    algorithms: tuple[str, str, str]

    def forward(self, x: Tensor, skip_bias_grad: bool = False) -> Tensor:
        """x [B,C,H,W] -> [B,K,h,w]; ``skip_bias_grad`` says that what the bias adds is taken away
        again, so that its gradient is zero."""
        dtype = weights.working_dtype(self.weight)
        if not kernels.take(x, dtype):
            return nn.Conv2d.forward(self, x)
        algorithms = self.algorithms if dtype is self.dtype else ATEN
        y: Tensor = _Convolution.apply(
            x.to(dtype),
            *(self.weight, self.bias, self.stride, self.padding),
            *(algorithms, skip_bias_grad),
        )
        return y

    @staticmethod
    def usual(module: nn.Module) -> bool:
        """Whether it is a convolution of one group without dilation, padded with zeros."""
        return (
            untouched(module, nn.Conv2d)
            and isinstance(module, nn.Conv2d)
            and module.groups == 1
            and module.dilation == (1, 1)
            and module.padding_mode == "zeros"
            and not isinstance(module.padding, str)
        )

    @staticmethod
    def suits(
        layer: nn.Conv2d, part: str, algorithm: str, dtype: torch.dtype = torch.float32
    ) -> bool:
        """Whether an algorithm can compute a part of that convolution."""
        if algorithm == "aten":
            return True
        if not TunedConv2d.usual(layer) or layer.stride[0] != layer.stride[1]:
            return False
        close = layer.stride == (1, 1) and all(
            0 <= p < k  # type: ignore[operator]
            for p, k in zip(layer.padding, layer.kernel_size, strict=True)
        )
        if algorithm == "winograd":
            return close and winograd.suits(layer, dtype)
        if algorithm == "dot":
            return close and dot.suits(layer, part, dtype)
        if algorithm == "small_channels":
            wide = layer.out_channels % kernels.WIDE == 0
            return part != "grad_input" and layer.in_channels <= FEW and wide
        return close if part == "grad_input" else algorithm == "im2col"

    @staticmethod
    def run(layer: nn.Conv2d, part: str, algorithm: str, given: Operands) -> Tensor:
        """A part of that convolution, of x [B,C,H,W] and g [B,K,h,w]."""
        x, g, weight, bias = given
        stride, padding = (layer.stride[0], layer.stride[1]), layer.padding
        assert not isinstance(padding, str)
        around = (padding[0], padding[1])
        if part == "forward" and algorithm == "aten":
            return torch.conv2d(x, weight, bias, stride, around, layer.dilation, layer.groups)
        if part == "forward":
            return forward(x, weight, bias, stride, around, algorithm)
        wanted = (part == "grad_input", part == "grad_weight", False)
        found: Any
        if algorithm == "aten":
            rest = (stride, around, layer.dilation, False, [0, 0], layer.groups, wanted)
            found = torch.ops.aten.convolution_backward(g, x, weight, [0], *rest)
        else:
            each = (algorithm, "aten") if part == "grad_input" else ("aten", algorithm)
            found = gradients(g, x, weight, stride, around, each, wanted)
        result: Tensor = found[0] if part == "grad_input" else found[1]
        return result

    @staticmethod
    def describe(layer: nn.Conv2d) -> str:
        """Filters, kernel and the rest."""
        return (
            f"{layer.out_channels}, kernel {layer.kernel_size}, stride {layer.stride}, "
            f"padding {layer.padding}, dilation {layer.dilation}, groups {layer.groups}"
        )


@dataclass(eq=False)
class Followed:
    """A convolution in a sequence in which a batch norm comes next, a max-pool between them or not:
    whatever the bias adds to a channel, its mean takes away again in training."""

    layer: TunedConv2d
    norm: nn.BatchNorm2d

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x, skip_bias_grad=True) if self.norm.training else self.layer(x)
        return y


def follow(model: nn.Module) -> None:
    """Tell each fused sequence which of its convolutions a batch norm follows. Called from
    elsewhere, or in another sequence, the same convolution is followed by none."""
    for sequence in model.modules():
        if isinstance(sequence, fusion.Chain):
            steps = sequence.fused_steps
            for i, (layer, *after) in enumerate([steps[i:] for i in range(len(steps))]):
                if isinstance(layer, TunedConv2d) and untouched(layer, nn.Conv2d):
                    norm = fusion.norm_of(after[1:] if fusion.pools(after[:1]) else after)
                    steps[i] = layer if norm is None else Followed(layer, norm)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Size,
        padding: Size,
        algorithms: tuple[str, str, str],
        skip_bias_grad: bool,
    ) -> Tensor:
        if weight.dtype is not x.dtype:
            weight = weights.half(weight)
            bias = None if bias is None else weights.half(bias)
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        ctx.algorithms, ctx.skip_bias_grad = algorithms, skip_bias_grad
        return forward(x, weight, bias, stride, padding, algorithms[0])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        g = g.contiguous(memory_format=torch.channels_last)
        wants_x, wants_w, wants_b = ctx.needs_input_grad[:3]
        wanted = wants_x, wants_w, wants_b and not ctx.skip_bias_grad
        dx, dw, db = gradients(g, x, weight, ctx.stride, ctx.padding, ctx.algorithms[1:], wanted)
        if wants_b and ctx.skip_bias_grad:  # batch norm subtracts the mean, and with it the bias
            db = torch.zeros(len(weight))
        return dx, dw, db, None, None, None, None


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Size, padding: Size, algorithm: str
) -> Tensor:
    """The convolution of x [B,C,H,W] with weight [K,C,k,l], plus bias [K]: [B,K,h,w]."""
    if algorithm == "winograd":
        return winograd.forward(x, weight, bias, padding)
    if algorithm == "im2col":
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
    if algorithm == "dot":
        sides = zip(x.shape[2:], padding, weight.shape[2:], strict=True)
        height, width = (n + 2 * p - k + 1 for n, p, k in sides)
        if dot.fits(x, (height, width)):
            return dot.forward(x, weight, bias, padding)
    wide = x.shape[3] + 2 * padding[1] >= weight.shape[3] + (PIXELS - 1) * stride[1]
    if algorithm == "small_channels" and wide:
        return _small_channels_forward(x, weight, bias, stride, padding)
    return torch.conv2d(x, weight, bias, stride, padding)


def gradients(
    g: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Size,
    padding: Size,
    algorithms: tuple[str, str],
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of input, kernel and bias, as far as they are wanted, from g [B,K,h,w]."""
    dx = dw = db = None
    wants_x, wants_w, wants_b = wanted
    if wants_x and algorithms[0] == "winograd":
        dx = winograd.grad_input(g, weight, padding)
    elif wants_x and algorithms[0] == "dot" and dot.fits(g, (x.shape[2], x.shape[3])):
        dx = dot.grad_input(g, weight, padding)
    elif wants_x and algorithms[0] not in ("aten", "dot"):
        flipped = weight.flip(2, 3).transpose(0, 1)  # [C,K,k,l]
        margin = weight.shape[2] - 1 - padding[0], weight.shape[3] - 1 - padding[1]
        dx = forward(g, flipped, None, (1, 1), margin, algorithms[0])
    if wants_w and algorithms[1] == "winograd":
        dw = winograd.grad_weight(g, x, weight, padding)
    if wants_w and algorithms[1] == "im2col":
        rows, _ = _rows(x, weight.shape[2:], stride, padding)
        flat = g.permute(0, 2, 3, 1).reshape(-1, g.shape[1])
        dw = (flat.T @ rows).view(-1, *weight.shape[2:], x.shape[1]).permute(0, 3, 1, 2)
    if wants_w and algorithms[1] == "dot" and dot.fits(x, (g.shape[2], g.shape[3])):
        dw, db = dot.grad_weight(g, x, weight, padding)
    if wants_w and algorithms[1] == "small_channels":
        dw = _small_channels_grad_weight(g, x, weight, stride, padding)
    left = [wants_x and dx is None, wants_w and dw is None, False]
    if left[0] or left[1]:
        found = torch.ops.aten.convolution_backward(
            g, x, weight, None, stride, padding, (1, 1), False, (0, 0), 1, left
        )
        dx, dw = found[0] if left[0] else dx, found[1] if left[1] else dw
    if not wants_b:
        return dx, dw, None
    return dx, dw, grad_bias(g) if db is None else db


def grad_bias(g: Tensor) -> Tensor:
    """The sums over images and places, float32 [K], of g [B,K,h,w]."""
    if not kernels.available():
        return g.sum((0, 2, 3), dtype=torch.float32)
    channels = g.shape[1]
    found = torch.empty(channels)
    sums = torch.empty(torch.get_num_threads(), channels, dtype=torch.float64)
    kernels.channel_sums(g, found, sums, kernels.scratch(channels), g.numel() // channels, channels)
    return found


def _rows(x: Tensor, kernel: Any, stride: Size, padding: Size) -> tuple[Tensor, Size]:
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
    kernels.im2col(
        x, rows, batch, height, width, channels, k, wide, padding[0], padding[1], stride[0], *size
    )
    return rows, size


def _small_channels_forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Size, padding: Size
) -> Tensor:
    batch, channels, height, width = x.shape
    out, _, k, wide = weight.shape
    h = (height + 2 * padding[0] - k) // stride[0] + 1
    w = (width + 2 * padding[1] - wide) // stride[1] + 1
    flat = weight.permute(2, 3, 1, 0).reshape(-1, out).float().contiguous()  # [k*l*C,K]
    shift = torch.zeros(out) if bias is None else bias.float()
    y = torch.empty((batch, out, h, w), dtype=x.dtype, memory_format=torch.channels_last)
    room, size = _framed(x, padding)
    around = k, wide, *padding, stride[0], h, w, size
    kernels.small_channels_forward(
        x, flat, shift, y, room, batch, height, width, channels, out, *around
    )
    return y


def _small_channels_grad_weight(
    g: Tensor, x: Tensor, weight: Tensor, stride: Size, padding: Size
) -> Tensor:
    batch, channels, height, width = x.shape
    out, _, k, wide = weight.shape
    row = wide * channels
    long = -(-row // TAPS) * TAPS
    sums = torch.zeros(torch.get_num_threads(), k, long, out)
    room, size = _framed(x, padding)
    around = k, long, *padding, stride[0], *g.shape[2:], size
    kernels.small_channels_grad_weight(
        x, g, sums, room, batch, height, width, channels, out, *around
    )
    dw = sums.sum(0)[:, :row].reshape(k, wide, channels, out)
    return dw.permute(3, 2, 0, 1).to(x.dtype)


def _framed(x: Tensor, padding: Size) -> tuple[Tensor, int]:
    """Room for an image with its padding, for each thread, and its size; a little more is read."""
    _, channels, height, width = x.shape
    size = (height + 2 * padding[0]) * (width + 2 * padding[1]) * channels + TAPS
    return kernels.scratch(size), size
