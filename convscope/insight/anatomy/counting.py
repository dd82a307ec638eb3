"""How many multiply-adds an operator does: those of convolutions and of products of matrices.

The rules are those of PyTorch's own counter (``torch.utils.flop_counter``), halved, and a few that
it lacks. What works on each value by itself, normalises, pools, resizes or samples, or sums is not
counted, as it is not in published figures: of a deformable convolution, what the convolution does.
What makes a parametrised weight is not counted either: it does not depend on the image. An operator
that is neither is said to be unknown. Pixels of the padding are multiplied like any others, and
masked attention like any other.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from convscope.insight.anatomy.record import Op, Shape, Value
from convscope.uncompiled import uncompiled

_FREE = {  # beside views, copies, new tensors, and what has PyTorch's tags for pointwise, reduction
    "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
    "native_layer_norm", "native_group_norm", "_fused_rms_norm",
    "_softmax", "_log_softmax", "_safe_softmax", "logsumexp", "cumsum", "cumprod",
    "max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool2d", "avg_pool3d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d",
    "fractional_max_pool2d", "max_unpool2d",
    "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
    "replication_pad1d", "replication_pad2d", "replication_pad3d",
    "cat", "stack", "roll", "flip", "rot90", "repeat", "repeat_interleave", "pixel_shuffle",
    "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "im2col", "col2im", "tril",
    "triu", "diag_embed", "index", "index_put", "index_put_", "_unsafe_index", "index_select",
    "gather", "scatter", "scatter_", "scatter_add", "scatter_add_", "embedding", "take", "where",
    "masked_select", "nonzero", "sort", "argsort", "topk", "unique", "_unique2", "bincount",
    "max", "min", "aminmax", "argmax", "argmin", "all", "any", "count_nonzero", "equal",
    "clone", "copy_", "copy", "_to_copy", "contiguous", "set_", "resize_", "as_strided_",
    "native_dropout", "bernoulli", "bernoulli_", "_local_scalar_dense", "item", "detach_",
    "unsafe_split", "unsafe_chunk", "split_with_sizes_copy", "split_copy", "_unsafe_view",
    "fill", "fill_", "zero_", "rand_like", "randn_like", "_cummax_helper", "var_mean", "std_mean",
    "linalg_vector_norm", "norm", "std", "var", "median", "mode", "kthvalue", "renorm", "glu",
    "_weight_norm_interface", "_embedding_bag", "_embedding_bag_forward_only",
}  # fmt: skip

_FAMILIES = ("new_", "empty", "zeros", "ones", "full", "rand", "detach", "upsample", "grid_sampler")
_TAGS = {torch.Tag.reduction, torch.Tag.view_copy, torch.Tag.inplace_view}


def multiply_adds(op: Op) -> int | None:
    """The multiply-adds of a call; None where there is no rule for an operator that does arithmetic
    of its own.

    >>> from convscope.insight.anatomy.trace import trace
    >>> found = trace(torch.nn.Linear(3, 5), [torch.zeros(2, 3)])
    >>> [multiply_adds(op) for op in found.root.ops() if not op.viewing]
    [30]
    """
    if op.prepares:
        return 0
    if op.name in _OWN:
        return _OWN[op.name](op)
    rule = _rules().get(op.target._overloadpacket)
    if rule is not None:
        shapes = tree_map_only(Value, lambda value: value.shape, (op.args, op.kwargs))
        out = [value.shape for value in op.outputs]
        try:
            return int(rule(*shapes[0], out_val=out[0] if len(out) == 1 else out, **shapes[1]))
        except (AssertionError, TypeError, ValueError, AttributeError, KeyError):
            return None  # arguments that the rule does not know
    return 0 if _is_free(op) else None


def unknown(op: Op) -> str:
    """Why the multiply-adds of a call are not known; empty where they are."""
    if multiply_adds(op) is not None:
        return ""
    if "_fft_" in op.name:
        return f"{op.name}, whose work depends on the factors of the length"
    if op.name.startswith("quantized::"):
        return f"{op.name}, whose packed weights are no parameters"
    return op.name


def terms(op: Op) -> str:
    """The factors of that count: outputs, times what each of them sums over.

    >>> from convscope.insight.anatomy.trace import trace
    >>> found = trace(torch.nn.Conv2d(3, 8, 5, groups=1), [torch.zeros(1, 3, 9, 9)])
    >>> [terms(op) for op in found.root.ops()]
    ['8*5*5 * 3*5*5']
    """
    if op.name in ("convolution", "_convolution"):
        places = (op["input"] if op["transposed"] else op.outputs[0]).shape
        return f"{_product(places)} * {'*'.join(map(str, op['weight'].shape[1:]))}"
    total = multiply_adds(op)
    outputs = math.prod(op.outputs[0].shape) if op.outputs else 0
    if not total or not outputs or total % outputs:
        return ""
    return f"{_product(op.outputs[0].shape)} * {total // outputs}"


def _product(numbers: Shape) -> str:
    """Factors, without the 1 of a batch of one."""
    return "*".join(map(str, numbers[1:] if len(numbers) > 1 and numbers[0] == 1 else numbers))


@cache
def _rules() -> dict[Any, Callable[..., int]]:
    """Operator -> multiply-adds of shapes."""
    log = logging.getLogger("torch.utils.flop_counter")
    level = log.level
    log.setLevel(logging.ERROR)  # it warns where there is no compiler for GPUs
    with uncompiled():
        from torch.utils.flop_counter import flop_registry, sdpa_flop
    log.setLevel(level)

    aten = torch.ops.aten
    rules = {op: rule for op, rule in flop_registry.items() if not getattr(rule, "_get_raw", False)}
    rules[aten._scaled_dot_product_flash_attention_for_cpu] = sdpa_flop
    rules[aten._scaled_dot_product_fused_attention_overrideable] = sdpa_flop
    found: dict[Any, Callable[..., int]] = {op: _halved(rule) for op, rule in rules.items()}
    found[aten.mv] = lambda matrix, *_, **__: math.prod(matrix)
    found[aten.addmv] = lambda _, matrix, *__, **___: math.prod(matrix)
    found[aten.dot] = found[aten.vdot] = lambda vector, *_, **__: math.prod(vector)
    found[aten.addbmm] = lambda _, a, b, **__: math.prod(a) * b[-1]
    found[aten.addr] = lambda _, a, b, **__: math.prod(a) * math.prod(b)
    return found


def _trilinear(op: Op) -> int | None:
    """x A y for each of several matrices A [out,n,m], as nn.Bilinear has them: first the sums over
    n, of which there are m for each output, then that over m."""
    matrices = op["i2"].shape
    if len(matrices) != 3 or op["expand2"] != [0]:
        return None
    _, n, m = matrices
    return math.prod(op.outputs[0].shape) * int(m) * (int(n) + 1)


_OWN: dict[str, Callable[[Op], int | None]] = {
    "_trilinear": _trilinear,
    "affine_grid_generator": lambda op: math.prod(op.outputs[0].shape) * op["theta"].shape[-1],
    "torchvision::deform_conv2d": lambda op: math.prod(
        (*op.outputs[0].shape, *op["weight"].shape[1:])
    ),
}


def _halved(rule: Callable[..., int]) -> Callable[..., int]:
    """A rule for multiplications and additions as one for pairs of them."""

    def pairs(*args: Any, **kwargs: Any) -> int:
        return rule(*args, **kwargs) // 2

    return pairs


def _is_free(op: Op) -> bool:
    return (
        op.viewing
        or not op.inputs  # makes something new
        or op.pointwise
        or bool(_TAGS & set(op.target.tags))
        or op.name in _FREE
        or op.name.strip("_").startswith(_FAMILIES)
    )
