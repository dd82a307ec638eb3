"""One linear layer, two ways to compute it: each of its three products, or that of the transposes.

A training step needs of a layer y = x W' + b its output x W', the gradient of its input g W and
that of its weight g' x. ``turned`` is W x', W' g' or x' g, which is the same matrix lying the other
way round in memory; for few rows and a wide layer it can take half the time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from convscope.engine import weights
from convscope.engine.untouched import untouched

WAYS = ("direct", "turned")
DIRECT = ("direct", "direct", "direct")


class Dense(nn.Linear):
    """A linear layer with a way for its output, its input's gradient and its weight's gradient in
    one number format, and PyTorch's in the others."""

    stands_for = nn.Linear
    ways: tuple[str, str, str]
    ways_dtype: torch.dtype

    @classmethod
    def of(
        cls,
        plain: nn.Linear,
        ways: tuple[str, str, str] = DIRECT,
        dtype: torch.dtype = torch.float32,
    ) -> Dense:
        """The module itself, computed in these ways."""
        plain.__class__ = cls
        assert isinstance(plain, Dense)
        plain.ways, plain.ways_dtype = ways, dtype
        return plain

    def forward(self, x: Tensor) -> Tensor:
        dtype = weights.working_dtype(self.weight)
        ways = self.ways if dtype is self.ways_dtype else DIRECT
        narrow = dtype is torch.bfloat16
        if x.ndim != 2 or x.device.type != "cpu" or not (narrow or ways != DIRECT):
            return super().forward(x)
        y: Tensor = _Linear.apply(x.to(dtype), self.weight, self.bias, ways)
        return y


def usual(module: nn.Module) -> bool:
    """Whether a layer is a linear one that can be computed here."""
    return untouched(module, nn.Linear)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, ways: tuple[str, str, str]
    ) -> Tensor:
        if weight.dtype is not x.dtype:
            weight = weights.half(weight)
            bias = None if bias is None else weights.half(bias)
        ctx.save_for_backward(x, weight)
        ctx.ways = ways
        return output(x, weight, bias, ways[0])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        wants_x, wants_w, wants_b = ctx.needs_input_grad[:3]
        dx = into(g, weight, ctx.ways[1]) if wants_x else None
        dw = kernel(g, x, ctx.ways[2]) if wants_w else None
        return dx, dw, g.sum(0, dtype=torch.float32) if wants_b else None, None


def output(x: Tensor, weight: Tensor, bias: Tensor | None, way: str) -> Tensor:
    """x [B,I] times weight [K,I], plus bias [K]: [B,K]."""
    if way == "turned":
        y = (weight @ x.T).T
        return (y if bias is None else y + bias).contiguous()
    return torch.nn.functional.linear(x, weight, bias)


def into(g: Tensor, weight: Tensor, way: str) -> Tensor:
    """The gradient of the input [B,I], from g [B,K]."""
    return (weight.T @ g.T).T.contiguous() if way == "turned" else g @ weight


def kernel(g: Tensor, x: Tensor, way: str) -> Tensor:
    """The gradient of the weight [K,I], from g [B,K]."""
    return (x.T @ g).T.contiguous() if way == "turned" else g.T @ x
