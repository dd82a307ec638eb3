"""Branches of an Inception block that begin with a 1x1 convolution of the same maps: one product.

Averaging over a window and a 1x1 convolution change places, since both are linear and one works on
places and the other on channels; so the branch that pools first joins the others.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from convscope import kernels
from convscope.engine import convolution, weights
from convscope.engine.untouched import untouched
from convscope.models.inception import InceptionA


class Branches(InceptionA):
    """The block over its own weights, its four 1x1 convolutions as one matrix product."""

    def forward(self, x: Tensor) -> Tensor:
        dtype = weights.working_dtype(self.branch1x1.weight)
        if not kernels.take(x, dtype):
            return super().forward(x)
        heads = self.branch1x1, self.branch5x5[0], self.branch3x3[0], self.branch_pool[1]
        given = [p for head in heads for p in (head.weight, head.bias)]
        one, five, three, pooled = _Heads.apply(x.to(dtype), *given)
        for layer in list(self.branch5x5)[1:]:
            five = layer(five)
        for layer in list(self.branch3x3)[1:]:
            three = layer(three)
        return torch.cat([one, five, three, pooled], 1)  # [B,88,h,w]


def join(model: nn.Module) -> None:
    """Let every such block of a network be computed so, unless someone altered its layers."""
    for module in model.modules():
        if type(module) is InceptionA:
            pool, last = module.branch_pool
            heads = module.branch1x1, module.branch5x5[0], module.branch3x3[0], last
            sequences = module.branch5x5, module.branch3x3, module.branch_pool
            if (
                all(untouched(head, nn.Conv2d) for head in heads)
                and untouched(pool, nn.AvgPool2d)
                and not any(one._forward_hooks or one._forward_pre_hooks for one in sequences)
            ):
                module.__class__ = Branches


class _Heads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *given: Tensor) -> Any:
        batch, channels, height, width = x.shape
        own = [p if p.dtype is x.dtype else weights.half(p) for p in given]
        kernel, last = own[::2], given[-1]
        matrix = torch.cat([w.reshape(-1, channels) for w in kernel])  # [K,C]
        rows = x.permute(0, 2, 3, 1).reshape(-1, channels)  # [n,C]
        shift = torch.cat([*own[1:-2:2], torch.zeros_like(own[-1])])
        y = torch.addmm(shift, rows, matrix.T)  # [n,K]
        ctx.sizes = [len(w) for w in kernel]
        ctx.shape, ctx.shapes = (batch, height, width), [w.shape for w in kernel]
        ctx.save_for_backward(rows, matrix)
        maps = [
            part.contiguous().view(batch, height, width, -1).permute(0, 3, 1, 2)
            for part in torch.split(y, ctx.sizes, 1)
        ]
        maps[3] = average(maps[3], last.detach())
        return tuple(maps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        rows, matrix = ctx.saved_tensors
        gradients = tuple(g.contiguous(memory_format=torch.channels_last) for g in gradients)
        *before, pooled = gradients
        parts = [*before, average(pooled, torch.zeros(pooled.shape[1]))]
        g = torch.cat([part.permute(0, 2, 3, 1).reshape(len(rows), -1) for part in parts], 1)
        kernel = torch.split(g.T @ rows, ctx.sizes)
        shifts = [convolution.grad_bias(part) for part in gradients]
        batch, height, width = ctx.shape
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (g @ matrix).view(batch, height, width, -1).permute(0, 3, 1, 2)
        found = [
            one
            for part, by, shape in zip(kernel, shifts, ctx.shapes, strict=True)
            for one in (part.reshape(shape), by)
        ]
        return dx, *found


def average(maps: Tensor, shift: Tensor) -> Tensor:
    """The mean of each 3x3 window of maps [B,C,h,w], zeros beyond the edge counted, plus ``shift``
    [C]: the gradient of its input is the same of its output's."""
    batch, channels, height, width = maps.shape
    maps = maps.contiguous(memory_format=torch.channels_last)
    y = torch.empty_like(maps)
    kernels.average_pool(maps, y, shift, batch, height, width, channels)
    return y
