"""Batch norm over the whole batch of several ranks, on any device.

PyTorch's own runs on GPUs alone. The sums are exact: count, sum and sum of squares of all ranks in
float64, one all-reduce each way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from convscope.training.ranks import ALONE, Ranks

_with: list[Ranks] = [ALONE]  # whose batch it is that is learnt from


@contextlib.contextmanager
def over(ranks: Ranks) -> Iterator[None]:
    """What synchronised layers learn from meanwhile is a batch of all these ranks."""
    before, _with[0] = _with[0], ranks
    try:
        yield
    finally:
        _with[0] = before


class Synchronised(_BatchNorm):
    """Batch norm that sees the batch of all ranks where it learns from one of theirs (``over``),
    and is PyTorch's elsewhere (Ioffe & Szegedy 2015, algorithm 1). The engine fuses it with
    nothing."""

    of_all_ranks = True

    def forward(self, x: Tensor) -> Tensor:
        ranks = _with[0]
        if not (self.training and ranks.several):
            plain: Tensor = super().forward(x)
            return plain
        y, mean, variance, count = _Normalised.apply(x, self.weight, self.bias, self.eps, ranks)
        if self.running_mean is not None and self.running_var is not None:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            share = self.momentum
            share = 1 / float(self.num_batches_tracked) if share is None else share
            with torch.no_grad():
                self.running_mean.lerp_(mean, share)
                self.running_var.lerp_(variance * (count / (count - 1).clamp(1)).float(), share)
        found: Tensor = y
        return found


class SynchronisedBatchNorm1d(Synchronised, nn.BatchNorm1d):
    """That of [B,C] and [B,C,L]."""


class SynchronisedBatchNorm2d(Synchronised, nn.BatchNorm2d):
    """That of maps [B,C,H,W]."""

    stands_for = nn.BatchNorm2d  # to the convolution before it, whose bias has no gradient


OF: dict[type, type] = {
    nn.BatchNorm1d: SynchronisedBatchNorm1d,
    nn.BatchNorm2d: SynchronisedBatchNorm2d,
}


def synchronise(model: nn.Module) -> None:
    """Let every batch norm of a network see the batch of all ranks, in place."""
    for layer in model.modules():
        if type(layer) in OF:
            layer.__class__ = OF[type(layer)]


def undo(model: nn.Module) -> None:
    """Make of them the layers that they were, in place."""
    plain = {ours: theirs for theirs, ours in OF.items()}
    for layer in model.modules():
        if type(layer) in plain:
            layer.__class__ = plain[type(layer)]


def _summed(sums: Tensor, ranks: Ranks) -> Tensor:
    """float64, over all ranks, where they were."""
    found = sums.cpu()
    with ranks.heard():
        dist.all_reduce(found, group=ranks.talk)
    return found.to(sums.device)


class _Normalised(torch.autograd.Function):
    """x [B,C,...] -> the same, with mean and variance [C] of all ranks, and how many values these
    are of."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, ranks: Ranks
    ) -> Any:
        dims = [at for at in range(x.ndim) if at != 1]
        wide = x.float()
        variance, mean = torch.var_mean(wide, dims, correction=0)  # [C], of this rank
        n = x.numel() // x.shape[1]
        mean, variance = mean.double(), variance.double()
        own = torch.cat([mean * n, (variance + mean**2) * n, mean.new_full((1,), n)])
        total = _summed(own, ranks)
        count = total[-1]
        sums, squares = total[:-1].view(2, -1)
        mean = sums / count
        variance = (squares / count - mean**2).clamp(0)
        inverse = (variance + eps).rsqrt()
        y = functional.batch_norm(
            wide, mean.float(), variance.float(), weight, bias, training=False, eps=eps
        )
        ctx.save_for_backward(x, weight, mean.float(), inverse.float(), count)
        ctx.ranks, ctx.biased = ranks, bias is not None
        ctx.mark_non_differentiable(*(rest := (mean.float(), variance.float(), count)))
        return y.to(x.dtype), *rest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, *_: Any) -> Any:
        x, weight, mean, inverse, count = ctx.saved_tensors
        shape = [1, -1] + [1] * (x.ndim - 2)
        dims = [at for at in range(x.ndim) if at != 1]
        wide, hat = g.float(), (x.float() - mean.view(shape)) * inverse.view(shape)
        sums = torch.stack([wide.sum(dims), (wide * hat).sum(dims)])  # [2,C], of this rank
        means = (_summed(sums.double(), ctx.ranks) / count).float()
        scale = inverse if weight is None else inverse * weight
        dx = wide - means[0].view(shape) - hat * means[1].view(shape)
        dx = (dx * scale.view(shape)).to(x.dtype)
        d_weight = None if weight is None else sums[1]
        return dx, d_weight, sums[0] if ctx.biased else None, None, None
