"""Compiled loops for what PyTorch does in many passes over memory: on the CPU, channels-last.

They run on PyTorch's own OpenMP threads, so that no second pool of threads fights with the first.
Where numba or GNU OpenMP are not at hand, :func:`available` says so and callers use PyTorch's
operators. Every sum is made in an order that depends on the number of threads alone.
"""

from __future__ import annotations

import functools
import os

import torch

from convscope.kernels import toolchain
from convscope.kernels.compiled import scratch
from convscope.kernels.dot import dot_forward, dot_grad_weight
from convscope.kernels.dropout import dropout, dropout_backward
from convscope.kernels.images import BLACK, EDGE, REFLECT, gather, to_float
from convscope.kernels.normalising import (
    backward_elementwise,
    backward_reduce,
    backward_terms,
    batch_norm_scale,
    batch_norm_stats,
    channel_sums,
    elementwise,
    scale_shift,
)
from convscope.kernels.pairs import BLOCK
from convscope.kernels.pairs import suits as has_dot_products
from convscope.kernels.pooling import (
    average_pool,
    max_pool,
    max_pool_backward,
    max_pool_backward_elementwise,
    max_pool_backward_reduce,
)
from convscope.kernels.small_channels import small_channels_forward, small_channels_grad_weight
from convscope.kernels.steps import adam, sgd
from convscope.kernels.vectors import PIXELS, TAPS, WIDE
from convscope.kernels.winograd_f2 import (
    f2_accumulate,
    f2_filter_gradient,
    f2_filter_transform,
    f2_grad_output_transform,
    f2_input_transform,
    f2_output_transform,
)
from convscope.kernels.winograd_f4 import (
    f4_grad_output_transform,
    f4_input_transform,
    f4_output_transform,
    im2col,
)

MAPS = (torch.float32, torch.bfloat16)  # what maps may be made of
LINEAR, RELU, GELU = 0, 1, 2  # what follows scale and shift


OFF = "they are switched off (CONVSCOPE_KERNELS=off)"


@functools.cache
def why_not() -> str:
    """Why kernels cannot be compiled and run here, empty where they can; one is, to be sure.

    With ``CONVSCOPE_KERNELS=strict`` what goes wrong in that one is raised, so that an error in a
    kernel is not taken for a machine without them.
    """
    how = os.environ.get("CONVSCOPE_KERNELS")
    if how == "off":
        return OFF
    if toolchain.MISSING:
        return toolchain.MISSING
    try:
        toolchain.openmp()
    except OSError as why:
        return str(why)
    x, y = torch.arange(12, dtype=torch.float32), torch.empty(12)
    try:
        elementwise(x, torch.ones(3), torch.zeros(3), y, 4, 3, LINEAR)
    except Exception as why:  # whatever a foreign compiler, linker or loader may raise
        if how == "strict":
            raise
        return f"{type(why).__name__}: {why}"
    return "" if torch.equal(x, y) else "the first of them computes something else"


def available() -> bool:
    """Whether kernels can be compiled and run here; :func:`why_not` says why not."""
    return not why_not()


def take(x: torch.Tensor, dtype: torch.dtype | None = None) -> bool:
    """Whether kernels compute with these maps, in ``dtype`` if it is another one than theirs:
    [B,C,H,W], channels last, on the CPU, float32 or bfloat16."""
    return (
        x.dtype in MAPS
        and (dtype is None or dtype in MAPS)
        and x.device.type == "cpu"
        and x.ndim == 4
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def odd() -> str:
    """Why kernels are not available where they should be: numba is there, and nobody switched them
    off; else empty."""
    return "" if why_not() in (OFF, toolchain.NUMBA) else why_not()
