"""Branches of a block that begin with 1x1 convolutions of the same maps: one product.

Averaging over a window and a 1x1 convolution change places, since both are linear and one works on
places and the other on channels; so a branch that pools first joins the others.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from convscope import kernels
from convscope.engine import convolution, weights
from convscope.engine.tuned import replaced
from convscope.engine.untouched import untouched
from convscope.models.parts import ParallelBranches, is_ours


class Branches(nn.Module):
    """A block over its own weights, the 1x1 convolutions that begin its branches as one matrix
    product: [B,C,h,w] -> [B,K,h,w]."""

    names: tuple[str, ...]  # of the branches, as the block gave them

    @classmethod
    def of(cls, block: nn.Module, names: tuple[str, ...]) -> Branches:
        """A block over the very layers of another one."""
        made = cls.__new__(cls)
        vars(made).update(vars(block))
        made.names = names
        return made

    def forward(self, x: Tensor) -> Tensor:
        branches = [getattr(self, name) for name in self.names]
        begun = [_begun(branch) for branch in branches]
        dtype = weights.working_dtype(begun[0][1].weight)
        if not kernels.take(x, dtype):
            return torch.cat([branch(x) for branch in branches], 1)
        given = [p for _, head, _ in begun for p in (head.weight, head.bias)]
        maps = list(_Heads.apply(x.to(dtype), tuple(pools for pools, _, _ in begun), *given))
        for i, (_, _, rest) in enumerate(begun):
            for layer in rest:
                maps[i] = layer(maps[i])
        return torch.cat(maps, 1)  # [B,K,h,w]


def _begun(branch: Any) -> tuple[bool, Any, list[nn.Module]]:
    """Whether a branch averages first, what follows, which has to be the 1x1 convolution, and the
    layers after that."""
    layers = list(branch) if isinstance(branch, nn.Sequential) else [branch]
    pools = isinstance(layers[0], nn.AvgPool2d)
    return pools, layers[pools] if len(layers) > pools else None, layers[pools + 1 :]


def _joins(branch: Any) -> bool:
    """Whether a branch begins with a 1x1 convolution, after a 3x3 mean of zero padding or not, and
    nobody altered these layers."""
    if isinstance(branch, nn.Sequential):
        first = branch[0]
        if branch._forward_hooks or branch._forward_pre_hooks:
            return False
        if isinstance(first, nn.AvgPool2d) and not (
            untouched(first, nn.AvgPool2d)
            and (first.kernel_size, first.stride, first.padding) == (3, 1, 1)
            and first.count_include_pad
            and first.divisor_override is None
        ):
            return False
    _, head, _ = _begun(branch)
    return untouched(head, nn.Conv2d) and (
        (head.kernel_size, head.stride, head.padding, head.groups) == ((1, 1), (1, 1), (0, 0), 1)
        and head.bias is not None
    )


def joined(network: nn.Module) -> nn.Module:
    """A network with every block of convscope's own that has such branches computed so, unless
    someone altered its layers. Changes the network given."""

    def joins(block: nn.Module) -> Branches | None:
        if isinstance(block, ParallelBranches) and is_ours(block):
            names = block.branch_names()
            if all(_joins(getattr(block, name)) for name in names):
                return Branches.of(block, names)
        return None

    return replaced(network, joins)


class _Heads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pools: tuple[bool, ...], *given: Tensor) -> Any:
        batch, channels, height, width = x.shape
        own = [p if p.dtype is x.dtype else weights.half(p) for p in given]
        kernel, biases = own[::2], own[1::2]
        matrix = torch.cat([w.reshape(-1, channels) for w in kernel])  # [K,C]
        rows = x.permute(0, 2, 3, 1).reshape(-1, channels)  # [n,C]
        after = [torch.zeros_like(b) if pool else b for pool, b in zip(pools, biases, strict=True)]
        y = torch.addmm(torch.cat(after), rows, matrix.T)  # [n,K]
        ctx.sizes, ctx.pools = [len(w) for w in kernel], pools
        ctx.shape, ctx.shapes = (batch, height, width), [w.shape for w in kernel]
        ctx.save_for_backward(rows, matrix)
        maps = [
            part.contiguous().view(batch, height, width, -1).permute(0, 3, 1, 2)
            for part in torch.split(y, ctx.sizes, 1)
        ]
        return tuple(
            average(part, bias.detach()) if pool else part
            for part, pool, bias in zip(maps, pools, given[1::2], strict=True)
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        rows, matrix = ctx.saved_tensors
        gradients = tuple(g.contiguous(memory_format=torch.channels_last) for g in gradients)
        parts = [
            average(part, torch.zeros(part.shape[1])) if pool else part
            for part, pool in zip(gradients, ctx.pools, strict=True)
        ]
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
        return dx, None, *found


def average(maps: Tensor, shift: Tensor) -> Tensor:
    """The mean of each 3x3 window of maps [B,C,h,w], zeros beyond the edge counted, plus ``shift``
    [C]: the gradient of its input is the same of its output's."""
    batch, channels, height, width = maps.shape
    maps = maps.contiguous(memory_format=torch.channels_last)
    y = torch.empty_like(maps)
    kernels.average_pool(maps, y, shift, batch, height, width, channels)
    return y
