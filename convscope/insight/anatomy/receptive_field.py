"""What the units of every tensor of a forward pass see of the image.

Each axis of a tensor is followed as the part of the image's height and width that runs along it,
through permutations and reshapes (tokens, windows, shuffled channels), so that it is known what a
pool, a mean or an attention gathers. What a unit sees of the image is its dependence on it: after a
mean over the whole map, or a normalisation by one, it is the whole image.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from convscope.errors import BadArgument
from convscope.insight.anatomy.axes import (
    Axis,
    Field,
    LostError,
    Run,
    aligned,
    dropped,
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
from convscope.insight.anatomy.record import Op, Trace, Value
from convscope.insight.anatomy.shapes import moves
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
    try:
        if op.name in _JOINS:
            after = _JOINS[op.name](op, out, found)
        elif op.name in _RULES:
            after = _RULES[op.name](op, out, found[op.inputs[0]])
        elif torch.Tag.reduction in op.target.tags:
            after = _reduced(op, out, found[op.inputs[0]])
        elif op.pointwise:
            after = _together(op, out, found)
        else:
            after = _lost(taken[0])
    except (LostError, BadArgument, KeyError, IndexError):
        after = _lost(taken[0])
    if not after.whole and not any(field.whole for field in taken):
        return after
    return Field(image.height.whole, image.width.whole, after.axes, whole=True)


def _lost(field: Field) -> Field:
    return replace(field, axes=None, varies=True)


# joins


def _together(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    """Units that lie in the same place together, as in a sum."""
    return union([found[value] for value in op.inputs if value in found], len(out.shape))


def _concatenated(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    fields = [found[value] for value in op.inputs if value in found]
    at = op["dim"] % len(out.shape)
    cut = []
    for field in fields:
        axes = list(known(field))
        axes[at:at] = [()] * (op.name == "stack")
        axes[at] = axes[at] if spatial(axes[at]) else plain(out.shape[at])
        cut.append(replace(field, axes=tuple(axes)))
    joined = union(cut, len(out.shape))
    whole = known(joined)
    if not spatial(whole[at]):
        return joined
    if len(fields) == 1:  # tokens, and one more that is no part of the image
        along = "".join(side for side in "hw" if runs_of((whole[at],), side))
        mixed: Axis = (Run(along, 1, out.shape[at]),)
        return replace(joined, axes=(*whole[:at], mixed, *whole[at + 1 :]))
    raise LostError


# another look at the same numbers


def _reshaped(op: Op, out: Value, field: Field) -> Field:
    """Rows of units cut and joined anew, in the same order."""
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


def _permuted(op: Op, out: Value, field: Field) -> Field:
    axes = known(field)
    if op.name == "permute":
        order = [i % len(axes) for i in op["dims"]]
    else:
        one, two = (0, 1) if op.name in ("t", "t_") else (op["dim0"], op["dim1"])
        order = list(range(len(axes)))
        if axes:
            order[one], order[two] = order[two], order[one]
    return replace(field, axes=tuple(axes[i] for i in order))


def _same_order(op: Op, out: Value, field: Field) -> Field:
    """Axes of size 1 that come or go."""
    left = [axis for axis in known(field) if axis]
    axes: list[Axis] = [left.pop(0) if size != 1 and left else () for size in out.shape]
    if left:
        raise LostError
    return replace(field, axes=tuple(axes))


def _expanded(op: Op, out: Value, field: Field) -> Field:
    return replace(field, axes=_filled(aligned(field, len(out.shape)), out))


def _filled(axes: Sequence[Axis], out: Value) -> tuple[Axis, ...]:
    """The same with channels, or whatever is no part of the image, where nothing ran along."""
    return tuple(axis or plain(size) for axis, size in zip(axes, out.shape, strict=True))


def _sliced(op: Op, out: Value, field: Field) -> Field:
    """Some of the units along an axis: every n-th row and column, a part of the channels."""
    at, size = _along(op)
    start = op["start"] or 0
    start = min(max(start + size, 0) if start < 0 else start, size)
    return part(field, at, out.shape[at], size, start, op["step"])


def _split(op: Op, out: Value, field: Field) -> Field:
    at, size = _along(op)
    start = sum(value.shape[at] for value in op.outputs[: op.outputs.index(out)])
    return part(field, at, out.shape[at], size, start, 1)


def _selected(op: Op, out: Value, field: Field) -> Field:
    at, size = _along(op)
    if spatial(known(field)[at]):
        field = part(field, at, 1, size, op["index"] % size, 1)
    return dropped(field, [at])


def _unbound(op: Op, out: Value, field: Field) -> Field:
    at, _ = _along(op)
    if spatial(known(field)[at]):
        raise LostError
    return dropped(field, [at])


def _along(op: Op) -> tuple[int, int]:
    """The axis that an operator works along, and its size."""
    shape = op.inputs[0].shape
    return op["dim"] % len(shape), shape[op["dim"]]


# layers


def _reduced(op: Op, out: Value, field: Field) -> Field:
    """A mean, a sum, a maximum over some axes."""
    given, rank = op.get("dim"), len(op.inputs[0].shape)
    given = [given] if isinstance(given, int) else given
    at = [i % rank for i in given] if given else list(range(rank))
    after = gathered(field, at)
    return after if len(out.shape) == rank else dropped(after, at)


def _softmax(op: Op, out: Value, field: Field) -> Field:
    return gathered(field, [op["dim"] % len(out.shape)], keep=True)


def _layer_norm(op: Op, out: Value, field: Field) -> Field:
    rank = len(op.inputs[0].shape)
    return gathered(field, range(rank - len(op["normalized_shape"]), rank), keep=True)


def _group_norm(op: Op, out: Value, field: Field) -> Field:
    return gathered(field, range(1, len(op.inputs[0].shape)), keep=True)


def _batch_norm(op: Op, out: Value, field: Field) -> Field:
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
    filled = [replace(factor, axes=_filled(known(factor), out)) for factor in factors]
    return filled[0] if len(filled) == 1 else union(filled, len(out.shape))


def _vector_product(op: Op, out: Value, field: Field) -> Field:
    """A linear layer that is one operator: the last axis is summed over."""
    after = gathered(field, [len(op.inputs[0].shape) - 1])
    return replace(after, axes=(*known(after)[:-1], plain(out.shape[-1])))


def _slid(op: Op, out: Value, field: Field) -> Field:
    """A convolution or a pool over maps [B,C,h,w]."""
    if len(out.shape) != 4:
        raise LostError
    if op.get("transposed"):
        return _resized(op, out, field)
    kernel, strides, pads, dilations = moves(op)
    windows = axes_of(
        op.inputs[0].shape[2:], kernel, pads=pads, strides=strides, dilations=dilations,
        ceil_mode=bool(op.get("ceil_mode")),
    )  # fmt: skip
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


def _adaptive(op: Op, out: Value, field: Field) -> Field:
    """A pool to a given size: windows of one size where that divides the map."""
    axes = known(field)
    views = []
    new = list(axes)
    for i, (along, view) in enumerate(zip("hw", field.views, strict=True), start=2):
        size, wanted = op.inputs[0].shape[i], out.shape[i]
        if size % wanted or (axes[i] and axes[i] != (Run(along, 1, size),)):
            return _resized(op, out, field)
        views.append(view.through(size // wanted, size // wanted, 1, 0, wanted))
        new[i] = run_along(along, wanted)
    after = replace(field, height=views[0], width=views[1], axes=tuple(new))
    return after if any(map(spatial, new)) else replace(after, whole=True)


def _resized(op: Op, out: Value, field: Field) -> Field:
    """Maps [B,C,h,w] of another size, whose units do not all see alike."""
    if len(out.shape) != 4:
        raise LostError
    runs = [run_along(along, n) for along, n in zip("hw", out.shape[2:], strict=True)]
    axes = (plain(out.shape[0]), plain(out.shape[1]), *runs)
    return replace(field, axes=axes, varies=True)


def _padded(op: Op, out: Value, field: Field) -> Field:
    source = op.inputs[0].shape
    axes, pads = list(known(field)), op.get("pad") or op["padding"]
    views = list(field.views)
    for i in range(len(pads) // 2):
        at = len(axes) - 1 - i
        begin, size = pads[2 * i], out.shape[at]
        if size == source[at]:
            continue
        if not spatial(axes[at]):
            axes[at] = plain(size)
            continue
        if len(axes[at]) > 1 or len(axes[at][0].along) > 1:
            raise LostError
        run = axes[at][0]
        n = "hw".index(run.along)
        views[n] = views[n].moved(-begin * run.step)
        axes[at] = (run._replace(size=size),)
    return settled(replace(field, height=views[0], width=views[1], axes=tuple(axes)))


def _rolled(op: Op, out: Value, field: Field) -> Field:
    return replace(field, varies=True)


def _first(op: Op, out: Value, found: Mapping[Value, Field]) -> Field:
    return found[next(value for value in op.inputs if value in found)]


Rule = Callable[[Op, Value, Field], Field]  # of an operator, its output, and its input's field
Join = Callable[[Op, Value, Mapping[Value, Field]], Field]  # and those of all its inputs
_NAMES: dict[Rule, str] = {
    _slid: "convolution max_pool2d_with_indices avg_pool2d",
    _adaptive: "_adaptive_avg_pool2d adaptive_max_pool2d",
    _padded: "constant_pad_nd reflection_pad2d replication_pad2d",
    _vector_product: "mv addmv",
    _softmax: "_softmax _log_softmax _safe_softmax",
    _layer_norm: "native_layer_norm _fused_rms_norm",
    _group_norm: "native_group_norm",
    _batch_norm: "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training",
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
}
_JOINED: dict[Join, str] = {
    _product: "mm addmm bmm baddbmm",
    _concatenated: "cat stack",
    _together: "where masked_fill masked_fill_ copy_ clone _to_copy",
    _first: "detach alias lift_fresh native_dropout",
}
_RULES = {name: rule for rule, names in _NAMES.items() for name in names.split()}
_JOINS = {name: join for join, names in _JOINED.items() for name in names.split()}
