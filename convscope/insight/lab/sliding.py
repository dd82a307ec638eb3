"""A kernel or a pool that moves over an image: the formula, the output, and every step of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from convscope.errors import BadArgument
from convscope.insight import reference
from convscope.insight.reference.average_pooling import counts_of
from convscope.insight.reference.windows import Array, Axis, Moves, PoolMoves, Size, axes_of, padded

TERMS = 27  # of a step that are written out


@dataclass(frozen=True)
class Sliding:
    """What was moved over what. ``kind`` is ``conv``, ``max`` or ``average``; a pool has no ``W``.

    ``counts`` [oh,ow] is what an average divides by.
    """

    kind: str
    X: Array  # [C,H,W]
    Y: Array  # [M,oh,ow]
    axes: tuple[Axis, Axis]
    W: Array | None = None  # [M,C/group,h,w], as it lies on the image
    B: Array | None = None  # [M]
    group: int = 1
    ceil_mode: bool = False
    same: bool = False
    with_pads: bool = False
    counts: Array | None = None

    @property
    def places(self) -> int:
        """How many steps there are: one an output."""
        return self.Y.size

    @property
    def products(self) -> int:
        """How many numbers each step takes in, those in the padding included."""
        taps = self.axes[0].kernel * self.axes[1].kernel
        return taps if self.W is None else taps * self.W.shape[1]

    def formula(self) -> list[str]:
        """The output size along each axis, with its numbers filled in."""
        return [_formula(axis, self.ceil_mode, self.same) for axis in self.axes]

    def reads(self) -> NDArray[np.int64]:
        """How often each pixel lies under the window, over all its places: [H,W]."""
        height, width = (
            np.bincount(
                [at for i in range(axis.out) for _, at in axis.taps(i)], minlength=axis.size
            )
            for axis in self.axes
        )
        return np.outer(height, width)

    def channels(self, m: int) -> range:
        """The channels of X that output channel m is made of."""
        if self.W is None:
            return range(m, m + 1)
        depth = self.W.shape[1]
        first = m // (len(self.W) // self.group) * depth
        return range(first, first + depth)

    def patch(self, m: int, i: int, j: int) -> Array:
        """What lies under the window at (i, j): [channels,h,w], NaN in the padding."""
        rows, columns = (
            slice(at * axis.stride, at * axis.stride + axis.span, axis.dilation)
            for at, axis in zip((i, j), self.axes, strict=True)
        )
        whole = padded(self.X[self.channels(m)], self.axes, np.nan)
        found: Array = whole[:, rows, columns]
        return found

    def steps(self, most: int) -> Iterator[tuple[int, tuple[int, int, int]]]:
        """(number, place) of every step, or of the first and the last ones where there are more."""
        first = self.places if self.places <= most else most - most // 2
        shown = [*range(first), *range(max(first, self.places - most // 2), self.places)]
        for n in shown:
            m, i, j = np.unravel_index(n, self.Y.shape)
            yield n, (int(m), int(i), int(j))

    def arithmetic(self, m: int, i: int, j: int) -> str:
        """A step in numbers: patch times kernel, or the pool's.

        >>> X = np.arange(9.0).reshape(1, 3, 3)
        >>> convolve(X, np.arange(4.0).reshape(2, 2)).arithmetic(0, 0, 0)
        '0·0 + 1·1 + 3·2 + 4·3 = 19'
        >>> pool(X, 2, kind="average", strides=1).arithmetic(0, 0, 1)
        '(1 + 2 + 4 + 5) / 4 = 3'
        """
        patch, result = self.patch(m, i, j), written(self.Y[m, i, j])
        if self.W is not None:
            pairs = zip(np.nan_to_num(patch).ravel(), self.W[m].ravel(), strict=True)
            terms = [f"{_factor(x)}·{_factor(w)}" for x, w in pairs]
            more = "" if self.B is None or not self.B[m] else f" + {_factor(self.B[m])}"
            return f"{_listed(terms, ' + ')}{more} = {result}"
        if self.kind == "max":
            return f"max({_listed([written(x) for x in patch[~np.isnan(patch)]], ', ')}) = {result}"
        assert self.counts is not None
        inside = patch[0][self._counted(i, j) | ~np.isnan(patch[0])]
        terms = [_factor(x) for x in np.nan_to_num(inside)]
        return f"({_listed(terms, ' + ')}) / {written(self.counts[i, j])} = {result}"

    def _counted(self, i: int, j: int) -> NDArray[np.bool_]:
        """Which taps [h,w] an average counts as padding too: none beyond its end."""
        rows, columns = (
            at * axis.stride + axis.dilation * np.arange(axis.kernel) < axis.padded
            for at, axis in zip((i, j), self.axes, strict=True)
        )
        both: NDArray[np.bool_] = rows[:, None] & columns & self.with_pads
        return both

    def as_json(self, most: int) -> dict[str, Any]:
        """The experiment as one object; ``output`` and ``reads`` are None where they are more
        than 10,000 numbers."""
        height, width = self.axes
        return {
            "kind": self.kind,
            "input_shape": list(self.X.shape),
            "kernel_shape": [height.kernel, width.kernel],
            "kernel": None if self.W is None else self.W.tolist(),
            "bias": None if self.B is None else self.B.tolist(),
            "pads": [height.begin, width.begin, height.end, width.end],
            "strides": [height.stride, width.stride],
            "dilations": [height.dilation, width.dilation],
            "group": self.group,
            "formula": self.formula(),
            "output_shape": list(self.Y.shape),
            "reads": self.reads().tolist() if self.X[0].size <= 10_000 else None,
            "numbers_a_step": self.products,
            "steps_total": self.places,
            "steps": [
                {
                    "step": n + 1,
                    "place": [m, i, j],
                    "patch": _json(self.patch(m, i, j)),
                    "result": float(self.Y[m, i, j]),
                    "arithmetic": self.arithmetic(m, i, j),
                }
                for n, (m, i, j) in self.steps(most)
            ],
            "output": self.Y.tolist() if self.Y.size <= 10_000 else None,
            "output_range": [float(self.Y.min()), float(self.Y.max())],
        }


def convolve(
    X: Array,
    K: Array,
    *,
    out_channels: int | None = None,
    group: int = 1,
    bias: float = 0.0,
    flip: bool = False,
    **moves: Unpack[Moves],
) -> Sliding:
    """Move a kernel over an image X [C,H,W].

    K [h,w] is laid on every channel; [C/group,h,w] or [M,C/group,h,w] say it for each. Raises
    BadArgument as :func:`reference.conv2d` does.

    >>> convolve(np.ones((1, 8, 8)), np.ones((5, 3)), pads=(2, 1)).formula()[0]
    'floor((n - k + p + s) / s) = floor((8 - 5 + 4 + 1) / 1) = 8'
    """
    X = X[None] if X.ndim == 2 else X
    if out_channels is not None and out_channels < 1:
        rule = "must be a whole number of at least 1"
        raise BadArgument("out_channels", out_channels, rule, "try 2")
    kernels = (group if out_channels is None else out_channels) if K.ndim < 4 else len(K)
    if K.ndim == 4 and out_channels not in (None, len(K)):
        rule = f"is not what the kernel has ({len(K)})"
        raise BadArgument("out_channels", out_channels, rule, "leave it out")
    depth = max(1, len(X) // group) if group > 0 else 1  # what does not divide is refused below
    W = K if K.ndim == 4 else np.broadcast_to(K, (max(1, kernels), depth, *K.shape[-2:])).copy()
    B = np.full(len(W), float(bias))
    Y = reference.conv2d(X[None], W, B, group=group, flip=flip, **moves)[0]
    axes = axes_of(X.shape[1:], W.shape[2:], **moves)
    lying = W[..., ::-1, ::-1] if flip else W
    same = moves.get("auto_pad", "").upper().startswith("SAME")
    return Sliding("conv", X, Y, axes, lying, B, group, same=same)


def pool(
    X: Array,
    kernel_shape: Size,
    *,
    kind: str = "max",
    count_include_pad: bool = False,
    **moves: Unpack[PoolMoves],
) -> Sliding:
    """Move a pool over an image X [C,H,W]; without ``strides`` its windows lie side by side.

    Raises BadArgument as :func:`reference.max_pool2d` does, and for a window that lies wholly in
    the padding.

    >>> pool(np.arange(16.0).reshape(1, 4, 4), 2).Y.tolist()
    [[[5.0, 7.0], [13.0, 15.0]]]
    """
    X = X[None] if X.ndim == 2 else X
    moves.setdefault("strides", kernel_shape)
    axes = axes_of(X.shape[1:], kernel_shape, **moves)
    with_pads = count_include_pad and kind == "average"
    try:
        counts = counts_of(axes, with_pads, None)
    except BadArgument as why:
        if kind == "average":
            raise
        rule = "leaves windows that lie wholly in the padding, where there is no largest pixel"
        raise BadArgument(why.argument, why.value, rule, "pad less") from None
    if kind == "max":
        Y = reference.max_pool2d(X[None], kernel_shape, **moves)[0]
    else:
        Y = reference.average_pool2d(X[None], kernel_shape, count_include_pad=with_pads, **moves)[0]
    auto_pad = moves.get("auto_pad", "NOTSET").upper()
    ceil, same = moves.get("ceil_mode", False), auto_pad.startswith("SAME")
    return Sliding(
        kind, X, Y, axes, ceil_mode=ceil and auto_pad == "NOTSET", same=same, with_pads=with_pads,
        counts=counts,
    )  # fmt: skip


def written(value: float) -> str:
    """A number in at most six digits.

    >>> written(19.0), written(1 / 9)
    ('19', '0.111111')
    """
    return f"{value:.6g}"


def _factor(value: float) -> str:
    """A number within a sum: in brackets where it begins with a sign."""
    return f"({value:.4g})" if value < 0 else f"{value:.4g}"


def _listed(terms: list[str], between: str) -> str:
    """The terms, or the first and last ones where they are more than ``TERMS``."""
    if len(terms) > TERMS:
        left_out = f"... ({len(terms) - 18} more) ..."
        terms = [*terms[:9], left_out, *terms[-9:]]
    return between.join(terms)


def _formula(axis: Axis, ceil_mode: bool, same: bool) -> str:
    n, p, s, k = axis.size, axis.begin + axis.end, axis.stride, axis.span
    if same:
        text = f"ceil(n / s) = ceil({n} / {s}) = {axis.out}; padding {axis.begin} before, "
        return f"{text}{axis.end} after"
    wide = f"; k = d·(taps - 1) + 1 = {axis.dilation}·({axis.kernel} - 1) + 1 = {k}"
    wide = wide if axis.dilation > 1 else ""
    if not ceil_mode:
        filled = f"floor(({n} - {k} + {p} + {s}) / {s})"
        return f"floor((n - k + p + s) / s) = {filled} = {axis.out}{wide}"
    up = -(-(n - k + p) // s) + 1
    less = f", less one that begins in the padding: {axis.out}" if up != axis.out else ""
    return f"ceil((n - k + p) / s) + 1 = ceil(({n} - {k} + {p}) / {s}) + 1 = {up}{less}{wide}"


def _json(patch: Array) -> list[Any]:
    """Nested lists, with None in the padding."""
    values: list[Any] = patch.astype(object).tolist()
    return [[[None if np.isnan(x) else x for x in row] for row in rows] for rows in values]
