"""Normalisation, activation, 2x2 max-pooling and dropout in one pass over memory each way.

:func:`fuse` gives a network that shares every weight with the one it is given and computes the
same, but for rounding: batch norm, ReLU or GELU, and the pool that follow each other in an
``nn.Sequential`` become one module, and so do ReLU and dropout. A pool changes places with a ReLU,
since both are monotone; it never does with GELU, nor in a way that would change what batch norm
sees.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from convscope import kernels
from convscope.kernels import GELU, LINEAR, RELU
from convscope.models.parts import Normalise
from convscope.training import weights


def fuse(model: nn.Module) -> nn.Module:
    """The same network over the same weights, for training and judging on the CPU.

    Names of weights stay what they are. Where kernels are not available, it is the network itself.

    >>> plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    >>> fused = fuse(plain)
    >>> fused[0].weight is plain[0].weight
    True
    """
    if not kernels.available():
        return model
    shared = {id(t): t for t in [*model.parameters(), *model.buffers()]}
    twin = copy.deepcopy(model, shared)
    seen: dict[int, int] = {}
    for _, module in twin.named_modules(remove_duplicate=False):
        seen[id(module)] = seen.get(id(module), 0) + 1
    for module in twin.modules():
        if type(module) is Normalise:
            module.__class__ = Standardise
    for sequence in [m for m in twin.modules() if type(m) is nn.Sequential]:
        layers = [None if seen[id(m)] > 1 else _kind(m) for m in sequence]
        at = 0
        while at < len(layers):
            chain = _chain(layers[at:])
            if chain:
                norm = "norm" in chain
                drops = sequence[at + len(chain) - 1]
                kind = next((k for name, k in ACTIVATIONS.items() if name in chain), LINEAR)
                first = sequence[at]
                if isinstance(drops, nn.Dropout):
                    sequence[at] = Drop(drops.p, kind)
                elif norm and isinstance(first, nn.BatchNorm2d):
                    sequence[at] = Norm.of(first, kind, "pool" in chain)
                else:
                    sequence[at] = Activation(kind, "pool" in chain)
                sequence[at].train(first.training)
                for rest in range(at + 1, at + len(chain)):
                    sequence[rest] = nn.Identity()
            at += max(1, len(chain))
    return twin


ACTIVATIONS = {"relu": RELU, "gelu": GELU}
CHAINS = (  # the longest first
    ("norm", "relu", "pool"),
    ("norm", "pool", "relu"),
    ("norm", "relu"),
    ("norm", "gelu"),
    ("norm", "pool"),
    ("relu", "pool"),
    ("pool", "relu"),
    ("relu", "dropout"),
    ("dropout",),
    ("norm",),
    ("pool",),
    ("gelu",),
)


def _chain(layers: list[str | None]) -> tuple[str, ...]:
    return next((chain for chain in CHAINS if tuple(layers[: len(chain)]) == chain), ())


def _kind(module: nn.Module) -> str | None:
    """What a layer is, if it is one that can be fused."""
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
        return None
    if isinstance(module, nn.BatchNorm2d) and type(module).forward is nn.BatchNorm2d.forward:
        usual = module.affine and module.track_running_stats and module.momentum is not None
        return "norm" if usual else None
    if type(module) is nn.Dropout and 0 < module.p < 1:
        return "dropout"
    if type(module) is nn.ReLU or (type(module) is nn.GELU and module.approximate == "none"):
        return "relu" if type(module) is nn.ReLU else "gelu"
    if type(module) is nn.MaxPool2d:
        two = all(v in (2, (2, 2)) for v in (module.kernel_size, module.stride))
        plain = module.padding in (0, (0, 0)) and module.dilation in (1, (1, 1))
        return "pool" if two and plain and not module.ceil_mode else None
    return None


def _fits(x: Tensor) -> bool:
    """Whether the kernels take this tensor: float32 or bfloat16 [B,C,H,W], channels last, on the
    CPU."""
    return (
        x.dtype in kernels.MAPS
        and x.device.type == "cpu"
        and x.ndim == 4
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def _unfused(x: Tensor, kind: int, pool: bool) -> Tensor:
    if pool:
        x = functional.max_pool2d(x, 2)
    if kind == RELU:
        return functional.relu(x)
    return functional.gelu(x) if kind == GELU else x


@functools.cache
def _identity(channels: int) -> tuple[Tensor, Tensor]:
    """The scale and the shift that change nothing."""
    with torch.inference_mode(False):
        return torch.ones(channels), torch.zeros(channels)


class Activation(nn.Module):
    """An activation, a pool, or both: [B,C,H,W] -> [B,C,H,W], or [B,C,H//2,W//2]."""

    def __init__(self, kind: int, pool: bool) -> None:
        super().__init__()
        self.kind, self.pool = kind, pool

    @property
    def pools(self) -> bool:
        """Whether it is a max-pool and no more."""
        return self.pool and self.kind == LINEAR

    def forward(self, x: Tensor) -> Tensor:
        if not _fits(x) or (self.pool and min(x.shape[2:]) < 2):
            return _unfused(x, self.kind, self.pool)
        y: Tensor = _Fused.apply(x, *_identity(x.shape[1]), None, self.kind, self.pool)
        return y


class Drop(nn.Module):
    """Dropout with or without a ReLU before it: [...] -> the same.

    Its mask is a function of one number drawn from PyTorch's generator and of each value's place in
    memory: nothing is stored for the way back, and the number of threads does not change it.
    """

    def __init__(self, p: float, kind: int) -> None:
        super().__init__()
        self.p, self.kind = p, kind

    def forward(self, x: Tensor) -> Tensor:
        dense = x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)
        fits = dense and x.dtype in kernels.MAPS and x.device.type == "cpu"
        if not (fits and self.training):
            if self.kind == RELU:
                x = functional.relu(x)
            return functional.dropout(x, self.p, self.training)
        seed = int(torch.randint(2**32, ()))
        y: Tensor = _Drop.apply(x, seed, self.p, self.kind)
        return y


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, seed: int, p: float, kind: int) -> Tensor:
        y, scale = torch.empty_like(x), torch.tensor([1 / (1 - p)])
        ctx.save_for_backward(x, scale)
        ctx.rest = x.numel(), seed, round(p * 2**16), kind
        kernels.drop(x, y, scale, *ctx.rest)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        x, scale = ctx.saved_tensors
        if g.stride() != x.stride():
            g = torch.empty_like(x).copy_(g)
        dx = torch.empty_like(x)
        kernels.drop_slope(g, x, dx, scale, *ctx.rest)
        return dx, None, None, None


class Standardise(Normalise):
    """The network's first layer in one pass, straight to the number format of the next."""

    def forward(self, x: Tensor) -> Tensor:
        if not _fits(x) or x.dtype is not torch.float32 or x.requires_grad:
            return super().forward(x)
        batch, channels, height, width = x.shape
        y = torch.empty_like(x, dtype=weights.working_dtype(x))
        scale = (1 / self.std).view(channels)
        shift = -self.mean.view(channels) * scale
        line = (
            scale.repeat(width),
            shift.repeat(width),
        )  # a row's: loops over channels are too short
        kernels.standardise(y, x, *line, batch * height, width * channels)
        return y


class Norm(nn.BatchNorm2d):
    """Batch normalisation with the activation and the pool after it."""

    kind: int
    pool: bool
    constants: Tensor

    @classmethod
    def of(cls, plain: nn.BatchNorm2d, kind: int, pool: bool) -> Norm:
        """The module itself, with what follows it."""
        plain.__class__ = cls
        assert isinstance(plain, Norm)
        plain.kind, plain.pool = kind, pool
        plain.constants = torch.tensor([plain.momentum, plain.eps], dtype=torch.float64)
        return plain

    def forward(self, x: Tensor) -> Tensor:
        learns = torch.is_grad_enabled() and not self.training
        if not _fits(x) or learns or (self.pool and min(x.shape[2:]) < 2) or len(x) == 0:
            return _unfused(super().forward(x), self.kind, self.pool)
        if not self.training:
            assert self.running_mean is not None and self.running_var is not None
            scale = self.weight / (self.running_var + self.eps).sqrt()
            shift = self.bias - self.running_mean * scale
            y: Tensor = _Fused.apply(x, scale, shift, None, self.kind, self.pool)
            return y
        if x.numel() == x.shape[1]:
            return super().forward(x)  # which says why one value a channel is too few
        found: Tensor = _Fused.apply(x, self.weight, self.bias, self, self.kind, self.pool)
        return found


class _Fused(torch.autograd.Function):
    """y = pool(f(scale x + shift)); with a norm, scale and shift are those that its weight, its
    bias and the batch's statistics give (Ioffe & Szegedy 2015, algorithm 1)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: Norm | None, kind: int, pool: bool
    ) -> Tensor:
        batch, channels, height, width = x.shape
        n = batch * height * width
        scale, shift = weight, bias
        if norm is not None:
            sums, room = _sums(channels), kernels.scratch(2 * channels)
            kernels.statistics(x, sums, room, n, channels)
            scale, shift = torch.empty(2, channels)
            ctx.mean, ctx.inverse = torch.empty(2, channels, dtype=torch.float64)
            mean, variance = norm.running_mean, norm.running_var
            assert mean is not None and variance is not None
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked.add_(1)
            kernels.normalise(
                *(x, sums, weight, bias, mean, variance, norm.constants, scale, shift),
                *(ctx.mean, ctx.inverse, n, channels),
            )
        size = (height // 2, width // 2) if pool else (height, width)
        y = torch.empty(
            (batch, channels, *size), dtype=x.dtype, memory_format=torch.channels_last
        )  # [B,C,H,W] or [B,C,h,w]
        place = None
        if pool:
            place = torch.empty(y.shape, dtype=torch.uint8, memory_format=torch.channels_last)
            kernels.pool(x, scale, shift, y, place, batch, height, width, channels, kind)
        else:
            kernels.activate(x, scale, shift, y, n, channels, kind)
        ctx.save_for_backward(x, scale, shift, place)
        ctx.normalises, ctx.kind = norm is not None, kind
        ctx.plain = weight.data_ptr() == _identity(channels)[0].data_ptr()
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        x, scale, shift, place = ctx.saved_tensors
        batch, channels, height, width = x.shape
        n = batch * height * width
        size = (height // 2, width // 2) if place is not None else (height, width)
        assert g.shape == (batch, channels, *size) and g.dtype is x.dtype, "of another output"
        # Without a norm scale and shift are those that change nothing, and none has a gradient.
        assert ctx.normalises or ctx.plain, "a scale without a norm is for judging alone"
        assert ctx.normalises or not any(ctx.needs_input_grad[1:]), "has no gradient here"
        g = g.contiguous(memory_format=torch.channels_last)
        dx = torch.empty_like(x)
        if not ctx.normalises and place is not None:
            kernels.unpool_plain(g, place, dx, batch, height, width, channels)
            return dx, None, None, None, None, None
        sums, room = _sums(channels), kernels.scratch(2 * channels)
        if place is not None:
            kernels.pool_sums(g, place, x, sums, room, batch, height, width, channels)
        else:
            kernels.slopes(g, x, scale, shift, dx, sums, room, n, channels, ctx.kind)
        if not ctx.normalises:
            return dx, None, None, None, None, None
        d_weight, d_bias, v, r = torch.empty(4, channels)
        kernels.settle(sums, ctx.mean, ctx.inverse, scale, d_weight, d_bias, v, r, n, channels)
        if place is not None:
            kernels.unpool(g, place, x, dx, scale, v, r, batch, height, width, channels)
        else:
            slope = dx if ctx.kind == GELU else g
            kernels.combine(slope, x, scale, shift, v, r, dx, n, channels, ctx.kind)
        return dx, d_weight, d_bias, None, None, None


def _sums(channels: int) -> Tensor:
    return torch.empty(torch.get_num_threads(), 2, channels, dtype=torch.float64)
