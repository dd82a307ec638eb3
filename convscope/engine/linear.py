"""A linear layer by two algorithms: each of its three products, or that of the transposes.

y = x W' + b has the output x W', the gradient of its input g W and that of its weight g' x.
``transposed`` is W x', W' g' or x' g, which is the same matrix lying the other way round in memory;
for few rows and a wide layer it can take half the time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from convscope.engine import weights
from convscope.engine.tuned import ATEN, FORMER, Operands, Tuned
from convscope.engine.untouched import untouched


class TunedLinear(Tuned, nn.Linear):
    """A linear layer whose output, input's gradient and weight's gradient each have an
    algorithm."""

    stands_for = nn.Linear
    ALGORITHMS = ("aten", "transposed")
    former = FORMER | {"turned": "transposed"}
    algorithms: tuple[str, str, str]

    def forward(self, x: Tensor) -> Tensor:
        """x [...,I] -> [...,K]."""
        dtype = weights.working_dtype(self.weight)
        algorithms = self.algorithms if dtype is self.dtype else ATEN
        narrow = dtype is torch.bfloat16
        if x.ndim != 2 or x.device.type != "cpu" or not (narrow or algorithms != ATEN):
            return nn.Linear.forward(self, x)
        y: Tensor = _Linear.apply(x.to(dtype), self.weight, self.bias, algorithms)
        return y

    @staticmethod
    def usual(module: nn.Module) -> bool:
        """Whether it is a linear layer."""
        return untouched(module, nn.Linear)

    @staticmethod
    def suits(
        layer: nn.Linear, part: str, algorithm: str, dtype: torch.dtype = torch.float32
    ) -> bool:
        """Whether it is one of the two; both suit every linear layer."""
        return algorithm in TunedLinear.ALGORITHMS

    @staticmethod
    def run(layer: nn.Linear, part: str, algorithm: str, given: Operands) -> Tensor:
        """A part of that layer, of x [B,I] and g [B,K]."""
        x, g, weight, bias = given
        if part == "forward":
            return forward(x, weight, bias, algorithm)
        if part == "grad_input":
            return grad_input(g, weight, algorithm)
        return grad_weight(g, x, algorithm)

    @staticmethod
    def describe(layer: nn.Linear) -> str:
        """Its outputs."""
        return f"{layer.out_features}, linear"


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, algorithms: tuple[str, str, str]
    ) -> Tensor:
        if weight.dtype is not x.dtype:
            weight = weights.half(weight)
            bias = None if bias is None else weights.half(bias)
        ctx.save_for_backward(x, weight)
        ctx.algorithms = algorithms
        return forward(x, weight, bias, algorithms[0])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        wants_x, wants_w, wants_b = ctx.needs_input_grad[:3]
        dx = grad_input(g, weight, ctx.algorithms[1]) if wants_x else None
        dw = grad_weight(g, x, ctx.algorithms[2]) if wants_w else None
        return dx, dw, g.sum(0, dtype=torch.float32) if wants_b else None, None


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, algorithm: str) -> Tensor:
    """x [B,I] times weight [K,I], plus bias [K]: [B,K]."""
    if algorithm == "transposed":
        y = (weight @ x.T).T
        return (y if bias is None else y + bias).contiguous()
    return torch.nn.functional.linear(x, weight, bias)


def grad_input(g: Tensor, weight: Tensor, algorithm: str) -> Tensor:
    """The gradient of the input [B,I], from g [B,K]."""
    return (weight.T @ g.T).T.contiguous() if algorithm == "transposed" else g @ weight


def grad_weight(g: Tensor, x: Tensor, algorithm: str) -> Tensor:
    """The gradient of the weight [K,I], from g [B,K]."""
    return (x.T @ g).T.contiguous() if algorithm == "transposed" else g.T @ x
