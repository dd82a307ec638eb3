"""What the units of every tensor of a forward pass see of the image.

Each axis of a tensor is followed as the part of the image's height and width that runs along it,
through permutations and reshapes (tokens, windows, shuffled channels), so that it is known what a
pool, a mean or an attention gathers. What a unit sees of the image is its dependence on it: after a
mean over the whole map, or a normalisation by one, it is the whole image.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from convscope.errors import BadArgument
from convscope.insight.anatomy.axes import (
    Axis,
    Field,
    LostError,
    Run,
    aligned,
    gathered,
    known,
    part,
    plain,
    run_along,
    runs_of,
    settled,
    spatial,
    union,
)
from convscope.insight.anatomy.trace import Op, Trace, Value
from convscope.insight.receptive_field import AxisField
from convscope.insight.reference.windows import axes_of


def follow(trace: Trace) -> dict[Value, Field]:
    """What the units of each tensor see, for all that depend on an image [B,C,H,W]."""
    found: dict[Value, Field] = {}
    for value in trace.inputs:
        if len(value.shape) == 4:
            n, c, h, w = value.shape
            axes = (plain(n), plain(c), run_along("h", h), run_along("w", w))
            found[value] = Field(AxisField(h), AxisField(w), axes)
    image = next(iter(found.values()), None)
    if image is None:
        return found
    current: dict[int, set[Value]] = {}  # of storages that were written to: who knows of it
    for op in trace.root.ops():
        stale = {
            value: _lost(found.get(value, image))
            for value in op.inputs
            if value not in current.get(value.storage, {value})
        }
        at = ChainMap(stale, found)
        taken = [at[value] for value in op.inputs if value in at]
        if not taken:
            continue
        for value in op.outputs:
            if value.image:
                found[value] = _after(op, value, at, taken, image)
        for value in op.outputs:
            if value.storage in op.written:
                current[value.storage] = {value}
            elif value.storage in current:
                current[value.storage].add(value)
    return found


def _after(
    op: Op, out: Value, found: Mapping[Value, Field], taken: list[Field], image: Field
) -> Field:
    """What the units of an operator's output see."""
    rule = _RULES.get(op.name)
    try:
        if rule is not None:
            after = rule(op, out, found)
        elif torch.Tag.reduction in op.target.tags:
            after = _reduced(op, out, found)
        elif op.pointwise:
            after = _together(op, out, found)
        else:
            after = _lost(taken[0])
    except (LostError, BadArgument, KeyError, IndexError):
        after = _lost(taken[0])
    if not after.whole and not any(field.whole for field in taken):
        return after
    height, width = (AxisField(1, 0, side.size - 1, side.size) for side in image.views)
    return Field(height, width, after.axes, whole=True)


def _lost(field: Field) -> Field:
    return replace(field, axes=None, varies=True)


# joins


def _together(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    """Units that lie in the same place together, as in a sum."""
    fields = [found[value] for value in op.inputs if value in found]
    return union(fields, len(out.shape))


def _concatenated(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    fields = [found[value] for value in op.inputs if value in found]
    at = op["dim"] % len(out.shape)
    if op.name == "stack":
        fields = [
            replace(field, axes=(*known(field)[:at], (), *known(field)[at:])) for field in fields
        ]
    cut = [
        replace(field, axes=tuple(plain(out.shape[at]) if i == at and not spatial(axis) else axis
                                  for i, axis in enumerate(known(field))))
        for field in fields
    ]  # fmt: skip
    joined = union(cut, len(out.shape))
    axes = known(joined)
    if not spatial(axes[at]):
        return joined
    if len(fields) == 1:  # tokens, and one more that is no part of the image
        along = "".join(side for side in "hw" if runs_of((axes[at],), side))
        mixed: Axis = (Run(along, 1, out.shape[at]),)
        return replace(joined, axes=(*axes[:at], mixed, *axes[at + 1 :]))
    raise LostError


# another look at the same numbers


def _reshaped(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    """Rows of units cut and joined anew, in the same order."""
    field = found[op.inputs[0]]
    runs = [run for axis in known(field) for run in axis]
    if math.prod(run.size for run in runs) != math.prod(out.shape):
        raise LostError
    axes: list[Axis] = []
    for size in out.shape:
        axis: list[Run] = []
        left = size
        while left > 1:
            run = runs.pop(0)
            if left % run.size and (run.size % left or len(run.along) > 1):
                raise LostError
            if left % run.size:  # the outer part of it
                rest = run.size // left
                runs.insert(0, run._replace(size=rest))
                run = run._replace(step=run.step * rest, size=left)
            left //= run.size
            if axis and axis[-1].along == run.along and axis[-1].step == run.step * run.size:
                before = axis.pop()
                run = run._replace(size=run.size * before.size)
            axis.append(run)
        axes.append(tuple(axis))
    return replace(field, axes=tuple(axes))


def _permuted(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    field = found[op.inputs[0]]
    axes = known(field)
    if op.name == "permute":
        order = [i % len(axes) for i in op["dims"]]
    else:
        one, two = (0, 1) if op.name in ("t", "t_") else (op["dim0"], op["dim1"])
        order = list(range(len(axes)))
        if axes:
            order[one], order[two] = order[two], order[one]
    return replace(field, axes=tuple(axes[i] for i in order))


def _same_order(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    """Axes of size 1 that come or go."""
    field = found[op.inputs[0]]
    left = [axis for axis in known(field) if axis]
    axes: list[Axis] = [left.pop(0) if size != 1 and left else () for size in out.shape]
    if left:
        raise LostError
    return replace(field, axes=tuple(axes))


def _expanded(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    field = found[op.inputs[0]]
    axes = tuple(
        axis or plain(size)
        for axis, size in zip(aligned(field, len(out.shape)), out.shape, strict=True)
    )
    return replace(field, axes=axes)


def _sliced(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    """Some of the units along an axis: every n-th row and column, a part of the channels."""
    field, source = found[op.inputs[0]], op.inputs[0]
    at = op["dim"] % len(source.shape)
    start, step = op["start"] or 0, op["step"]
    size = source.shape[at]
    start = min(max(start + size, 0) if start < 0 else start, size)
    return part(field, at, out.shape[at], size, start, step)


def _split(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    field, source = found[op.inputs[0]], op.inputs[0]
    at = op["dim"] % len(source.shape)
    start = sum(value.shape[at] for value in op.outputs[: op.outputs.index(out)])
    return part(field, at, out.shape[at], source.shape[at], start, 1)


def _selected(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    field, source = found[op.inputs[0]], op.inputs[0]
    at = op["dim"] % len(source.shape)
    after = field
    if spatial(known(field)[at]):
        after = part(field, at, 1, source.shape[at], op["index"] % source.shape[at], 1)
    axes = known(after)
    return replace(after, axes=(*axes[:at], *axes[at + 1 :]))


def _unbound(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    field = found[op.inputs[0]]
    at = op["dim"] % len(op.inputs[0].shape)
    axes = known(field)
    if spatial(axes[at]):
        raise LostError
    return replace(field, axes=(*axes[:at], *axes[at + 1 :]))


# layers


def _reduced(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    """A mean, a sum, a maximum over some axes."""
    field, source = found[op.inputs[0]], op.inputs[0]
    given = op.get("dim")
    given = [given] if isinstance(given, int) else given
    rank = len(source.shape)
    at = [i % rank for i in given] if given else list(range(rank))
    after = gathered(field, at)
    if len(out.shape) == rank:
        return after
    axes = known(after)
    return replace(after, axes=tuple(axis for i, axis in enumerate(axes) if i not in at))


def _softmax(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    field = found[op.inputs[0]]
    return gathered(field, [op["dim"] % len(out.shape)], keep=True)


def _layer_norm(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    rank = len(op.inputs[0].shape)
    at = range(rank - len(op["normalized_shape"]), rank)
    return gathered(found[op.inputs[0]], at, keep=True)


def _group_norm(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    return gathered(found[op.inputs[0]], range(1, len(op.inputs[0].shape)), keep=True)


def _batch_norm(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    field = found[op.inputs[0]]
    if not op.get("training", False):
        return field
    rank = len(op.inputs[0].shape)
    return gathered(field, [i for i in range(rank) if i != 1], keep=True)


def _product(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    """A product of matrices [..,n,k] and [..,k,m]."""
    a, b = op.inputs[-2:]
    factors = []
    for value, gone, kept in ((a, -1, -2), (b, -2, -1)):
        if value not in found:
            continue
        rank = len(value.shape)
        field = gathered(found[value], [gone % rank])
        axes = list(known(field))
        batch, rest = axes[: rank - 2], axes[kept % rank]
        matrix: list[Axis] = [rest, ()] if kept == -2 else [(), rest]
        factors.append(replace(field, axes=(*batch, *matrix)))
    filled = [
        replace(factor, axes=tuple(axis or plain(size)
                                 for axis, size in zip(known(factor), out.shape, strict=True)))
        for factor in factors
    ]  # fmt: skip
    if len(filled) == 1:
        return filled[0]
    return union(filled, len(out.shape))


def _vector_product(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    """A linear layer that is one operator: the last axis is summed over."""
    field = found[op.inputs[0]]
    after = gathered(field, [len(op.inputs[0].shape) - 1])
    return replace(after, axes=(*known(after)[:-1], plain(out.shape[-1])))


def _slid(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    """A convolution or a pool over maps [B,C,h,w]."""
    source = op.inputs[0]
    if len(out.shape) != 4:
        raise LostError
    if op.name == "convolution" and op["transposed"]:
        return _resized(op, out, found)
    if op.name == "convolution":
        kernel, strides, pads = op["weight"].shape[2:], op["stride"], op["padding"]
    else:
        kernel = op["kernel_size"]
        strides, pads = op["stride"] or kernel, op["padding"]
    dilations = op.get("dilation", 1)
    ceil_mode = bool(op.get("ceil_mode", False))
    windows = axes_of(
        source.shape[2:], _two(kernel), pads=_two(pads), strides=_two(strides),
        dilations=_two(dilations), ceil_mode=ceil_mode,
    )  # fmt: skip
    field = found[source]
    axes = known(field)
    if spatial(axes[1]) or spatial(axes[0]):
        raise LostError
    views = []
    new: list[Axis] = [axes[0], plain(out.shape[1])]
    for i, (along, view) in enumerate(zip("hw", field.views, strict=True)):
        axis, window = axes[2 + i], windows[i]
        if axis and axis != (Run(along, 1, window.size),):
            raise LostError
        views.append(
            view.through(window.kernel, window.stride, window.dilation, window.begin, window.out)
        )
        new.append(run_along(along, window.out))
    after = replace(field, height=views[0], width=views[1], axes=tuple(new))
    full = all(w.span >= w.size and w.out == 1 for w in windows)
    return replace(after, whole=True) if full else after


def _two(value: Any) -> tuple[int, int]:
    numbers = [value] if isinstance(value, int) else list(value)
    return numbers[0], numbers[-1]


def _adaptive(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    """A pool to a given size: windows of one size where that divides the map."""
    field = found[op.inputs[0]]
    axes = known(field)
    views = []
    new = list(axes)
    for i, (along, view) in enumerate(zip("hw", field.views, strict=True), start=2):
        size, wanted = op.inputs[0].shape[i], out.shape[i]
        if size % wanted or (axes[i] and axes[i] != (Run(along, 1, size),)):
            return _resized(op, out, found)
        views.append(view.through(size // wanted, size // wanted, 1, 0, wanted))
        new[i] = run_along(along, wanted)
    after = replace(field, height=views[0], width=views[1], axes=tuple(new))
    return after if any(map(spatial, new)) else replace(after, whole=True)


def _resized(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    """Maps [B,C,h,w] of another size, whose units do not all see alike."""
    field = found[op.inputs[0]]
    if len(out.shape) != 4:
        raise LostError
    runs = [run_along(along, n) for along, n in zip("hw", out.shape[2:], strict=True)]
    axes = (plain(out.shape[0]), plain(out.shape[1]), *runs)
    return replace(field, axes=axes, varies=True)


def _padded(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    field, source = found[op.inputs[0]], op.inputs[0]
    axes, pads = list(known(field)), op.get("pad") or op["padding"]
    views = list(field.views)
    for i in range(len(pads) // 2):
        at = len(axes) - 1 - i
        begin, size = pads[2 * i], out.shape[at]
        if size == source.shape[at]:
            continue
        if not spatial(axes[at]):
            axes[at] = plain(size)
            continue
        if len(axes[at]) > 1 or len(axes[at][0].along) > 1:
            raise LostError
        run = axes[at][0]
        n = "hw".index(run.along)
        moved = begin * run.step * views[n].stride
        views[n] = replace(views[n], low=views[n].low - moved, high=views[n].high - moved)
        axes[at] = (run._replace(size=size),)
    return settled(replace(field, height=views[0], width=views[1], axes=tuple(axes)))


def _rolled(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    return replace(found[op.inputs[0]], varies=True)


def _first(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    return found[next(value for value in op.inputs if value in found)]


Rule = Callable[[Op, Value, Mapping[Value, Field]], Field]
_NAMES: dict[Rule, str] = {
    _slid: "convolution max_pool2d_with_indices avg_pool2d",
    _adaptive: "_adaptive_avg_pool2d adaptive_max_pool2d",
    _padded: "constant_pad_nd reflection_pad2d replication_pad2d",
    _product: "mm addmm bmm baddbmm",
    _vector_product: "mv addmv",
    _softmax: "_softmax _log_softmax _safe_softmax",
    _layer_norm: "native_layer_norm _fused_rms_norm",
    _group_norm: "native_group_norm",
    _batch_norm: "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training",
    _concatenated: "cat stack",
    _reshaped: "view _unsafe_view reshape flatten unflatten _reshape_alias",
    _permuted: "permute transpose t",
    _same_order: "unsqueeze squeeze",
    _expanded: "expand",
    _sliced: "slice",
    _selected: "select",
    _split: "split split_with_sizes unsafe_split unsafe_split_with_sizes chunk unsafe_chunk",
    _unbound: "unbind",
    _rolled: "roll flip",
    _resized: "upsample_nearest2d _upsample_nearest_exact2d upsample_bilinear2d upsample_bicubic2d "
    "pixel_shuffle pixel_unshuffle",
    _together: "where masked_fill masked_fill_ copy_ clone _to_copy",
    _first: "detach alias lift_fresh native_dropout",
}
_RULES = {name: rule for rule, names in _NAMES.items() for name in names.split()}
