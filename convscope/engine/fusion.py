"""Normalisation, activation, 2x2 max-pooling and dropout in one pass over memory each way.

:func:`fuse` of :func:`twin_of` a network shares every weight with it and computes the same, but for
rounding: batch norm, ReLU or GELU, and the pool that follow each other in an
``nn.Sequential`` become one pass when the sequence is called, and so do ReLU and dropout. Each
layer of it stays what it was for whoever calls it by itself, out of its order, or in another
sequence. A pool changes places with a ReLU, since both are monotone; it never does with GELU, nor
in a way that would change what batch norm sees.
"""

from __future__ import annotations

import copy
import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from convscope import kernels
from convscope.engine import weights
from convscope.engine.tuned import replaced
from convscope.engine.untouched import untouched
from convscope.kernels import GELU, LINEAR, RELU
from convscope.models.parts import Classifier, Normalise

Step = Callable[[Tensor], Tensor]


def twin_of(model: nn.Module) -> nn.Module:
    """A copy of a network over the very weights and buffers of it."""
    shared = {id(t): t for t in [*model.parameters(), *model.buffers()]}
    return copy.deepcopy(model, shared)


def fuse(network: nn.Module) -> nn.Module:
    """A network with its sequences as chains. Changes the network given.

    >>> plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    >>> fused = fuse(twin_of(plain))
    >>> fused[0].weight is plain[0].weight, [type(step).__name__ for step in fused.fused_steps]
    (True, ['Conv2d', 'Activation'])
    """

    def chain(module: nn.Module) -> nn.Module | None:
        if type(module) is nn.Sequential:
            return Chain.of(module)
        if type(module) is Classifier and type(module.normalise) is Normalise:
            after = module.head if module.features is None else module.features
            module.normalise = FusedNormalise.of(module.normalise, isinstance(after, Chain))
        return None

    return replaced(network, chain)


class Chain(nn.Sequential):
    """A sequence in fewer steps than it has layers."""

    fused_steps: list[Step]

    @classmethod
    def of(cls, plain: nn.Sequential) -> Chain:
        """A chain over the very layers of a sequence."""
        layers, steps = list(plain), list[Step]()
        kinds, at = [_kind(layer) for layer in layers], 0
        while at < len(layers):
            chain = _chain(kinds[at:])
            steps.append(_fused(chain, layers[at : at + len(chain)]) if chain else layers[at])
            at += max(1, len(chain))
        made = cls.__new__(cls)
        vars(made).update(vars(plain))
        made.fused_steps = steps
        return made

    def forward(self, x: Tensor) -> Tensor:
        for step in self.fused_steps:
            x = step(x)
        return x

    def __getitem__(self, at: Any) -> Any:
        """A layer; of a slice, a sequence of those layers as they are."""
        if isinstance(at, slice):
            return nn.Sequential(OrderedDict(list(self._modules.items())[at]))
        return super().__getitem__(at)


def _fused(chain: tuple[str, ...], layers: Sequence[Any]) -> Step:
    """The layers of a chain as one step."""
    kind = next((k for name, k in ACTIVATIONS.items() if name in chain), LINEAR)
    if "dropout" in chain:
        return FusedDropout(layers[-1], kind)
    if "norm" in chain:
        return FusedBatchNorm(layers[0], kind, "pool" in chain)
    return Activation(kind, "pool" in chain)


def norm_of(steps: Sequence[Step]) -> nn.BatchNorm2d | None:
    """The batch norm that begins some steps, if one does."""
    for step in steps[:1]:
        layer = step.layer if isinstance(step, FusedBatchNorm) else step
        if isinstance(layer, nn.BatchNorm2d) and untouched(layer, nn.BatchNorm2d):
            return layer
    return None


def pools(steps: Sequence[Step]) -> bool:
    """Whether they begin with a max-pool and no more."""
    return any(
        (isinstance(step, nn.MaxPool2d) and untouched(step, nn.MaxPool2d))
        or (isinstance(step, Activation) and step.pool and step.kind == LINEAR)
        for step in steps[:1]
    )


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
    if isinstance(module, nn.BatchNorm2d) and untouched(module, nn.BatchNorm2d):
        usual = module.affine and module.track_running_stats and module.momentum is not None
        alone = not getattr(module, "of_all_ranks", False)  # whose sums are not this process's own
        return "norm" if usual and alone else None
    if isinstance(module, nn.Dropout) and untouched(module, nn.Dropout):
        return "dropout" if 0 < module.p < 1 else None
    if untouched(module, nn.ReLU):
        return "relu"
    if isinstance(module, nn.GELU) and untouched(module, nn.GELU):
        return "gelu" if module.approximate == "none" else None
    if isinstance(module, nn.MaxPool2d) and untouched(module, nn.MaxPool2d):
        two = all(v in (2, (2, 2)) for v in (module.kernel_size, module.stride))
        plain = module.padding in (0, (0, 0)) and module.dilation in (1, (1, 1))
        usual = plain and not module.ceil_mode and not module.return_indices
        return "pool" if two and usual else None
    return None


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


@dataclass(eq=False)
class Activation:
    """An activation, a pool, or both: [B,C,H,W] -> [B,C,H,W], or [B,C,H//2,W//2]."""

    kind: int
    pool: bool

    def __call__(self, x: Tensor) -> Tensor:
        if not kernels.take(x) or (self.pool and min(x.shape[2:]) < 2):
            return _unfused(x, self.kind, self.pool)
        y: Tensor = _Fused.apply(x, *_identity(x.shape[1]), None, self.kind, self.pool)
        return y


@dataclass(eq=False)
class FusedDropout:
    """Dropout with or without a ReLU before it: [...] -> the same.

    Its mask is a function of one number drawn from PyTorch's generator and of each value's place in
    memory: nothing is stored for the way back, and the number of threads does not change it.
    """

    layer: nn.Dropout
    kind: int

    def __call__(self, x: Tensor) -> Tensor:
        dense = x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)
        fits = dense and x.dtype in kernels.MAPS and x.device.type == "cpu"
        if not (fits and self.layer.training):
            if self.kind == RELU:
                x = functional.relu(x)
            return functional.dropout(x, self.layer.p, self.layer.training)
        seed = int(torch.randint(2**32, ()))
        y: Tensor = _Drop.apply(x, seed, self.layer.p, self.kind)
        return y


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, seed: int, p: float, kind: int) -> Tensor:
        y, scale = torch.empty_like(x), torch.tensor([1 / (1 - p)])
        ctx.save_for_backward(x, scale)
        ctx.rest = x.numel(), seed, round(p * 2**16), kind
        kernels.dropout(x, y, scale, *ctx.rest)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        x, scale = ctx.saved_tensors
        if g.stride() != x.stride():
            g = torch.empty_like(x).copy_(g)
        dx = torch.empty_like(x)
        kernels.dropout_backward(g, x, dx, scale, *ctx.rest)
        return dx, None, None, None


class FusedNormalise(Normalise):
    """The network's first layer in one pass; where layers that are known come next (it
    ``narrows``), straight to their number format."""

    narrows: bool

    @classmethod
    def of(cls, plain: Normalise, narrows: bool) -> FusedNormalise:
        """The same with the statistics of a plain one."""
        made = cls.__new__(cls)
        vars(made).update(vars(plain))
        made.narrows = narrows
        return made

    def forward(self, x: Tensor) -> Tensor:
        if not kernels.take(x) or x.dtype is not torch.float32 or x.requires_grad:
            return super().forward(x)
        batch, channels, height, width = x.shape
        y = torch.empty_like(x, dtype=weights.working_dtype(x) if self.narrows else x.dtype)
        scale = (1 / self.std).view(channels)
        shift = -self.mean.view(channels) * scale
        # a row's: loops over channels are too short
        line = scale.repeat(width), shift.repeat(width)
        kernels.scale_shift(y, x, *line, batch * height, width * channels)
        return y


@dataclass(eq=False)
class FusedBatchNorm:
    """Batch normalisation with the activation and the pool after it."""

    layer: nn.BatchNorm2d
    kind: int
    pool: bool
    constants: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.constants = torch.tensor([self.layer.momentum, self.layer.eps], dtype=torch.float64)

    def __call__(self, x: Tensor) -> Tensor:
        norm = self.layer
        learns = torch.is_grad_enabled() and not norm.training
        if not kernels.take(x) or learns or (self.pool and min(x.shape[2:]) < 2) or len(x) == 0:
            return _unfused(norm(x), self.kind, self.pool)
        if not norm.training:
            assert norm.running_mean is not None and norm.running_var is not None
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            shift = norm.bias - norm.running_mean * scale
            y: Tensor = _Fused.apply(x, scale, shift, None, self.kind, self.pool)
            return y
        if x.numel() == x.shape[1]:
            refused: Tensor = norm(x)  # which says why one value a channel is too few
            return refused
        found: Tensor = _Fused.apply(x, norm.weight, norm.bias, self, self.kind, self.pool)
        return found


class _Fused(torch.autograd.Function):
    """y = pool(f(scale x + shift)); with a norm, scale and shift are those that its weight, its
    bias and the batch's statistics give (Ioffe & Szegedy 2015, algorithm 1)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        norm: FusedBatchNorm | None,
        kind: int,
        pool: bool,
    ) -> Tensor:
        batch, channels, height, width = x.shape
        n = batch * height * width
        scale, shift = weight, bias
        if norm is not None:
            sums, room = _sums(channels), kernels.scratch(2 * channels)
            kernels.batch_norm_stats(x, sums, room, n, channels)
            scale, shift = torch.empty(2, channels)
            ctx.mean, ctx.inverse = torch.empty(2, channels, dtype=torch.float64)
            mean, variance = norm.layer.running_mean, norm.layer.running_var
            assert mean is not None and variance is not None
            assert norm.layer.num_batches_tracked is not None
            norm.layer.num_batches_tracked.add_(1)
            kernels.batch_norm_scale(
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
            kernels.max_pool(x, scale, shift, y, place, batch, height, width, channels, kind)
        else:
            kernels.elementwise(x, scale, shift, y, n, channels, kind)
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
            kernels.max_pool_backward(g, place, dx, batch, height, width, channels)
            return dx, None, None, None, None, None
        sums, room = _sums(channels), kernels.scratch(2 * channels)
        if place is not None:
            kernels.max_pool_backward_reduce(
                g, place, x, sums, room, batch, height, width, channels
            )
        else:
            kernels.backward_reduce(g, x, scale, shift, dx, sums, room, n, channels, ctx.kind)
        if not ctx.normalises:
            return dx, None, None, None, None, None
        d_weight, d_bias, v, r = torch.empty(4, channels)
        kernels.backward_terms(
            sums, ctx.mean, ctx.inverse, scale, d_weight, d_bias, v, r, n, channels
        )
        if place is not None:
            kernels.max_pool_backward_elementwise(
                g, place, x, dx, scale, v, r, batch, height, width, channels
            )
        else:
            slope = dx if ctx.kind == GELU else g
            kernels.backward_elementwise(slope, x, scale, shift, v, r, dx, n, channels, ctx.kind)
        return dx, d_weight, d_bias, None, None, None


def _sums(channels: int) -> Tensor:
    return torch.empty(torch.get_num_threads(), 2, channels, dtype=torch.float64)
