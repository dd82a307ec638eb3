"""Where the windows of a convolution or a pool lie along an axis, and how many there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from convscope.errors import BadArgument, nearest

Array = NDArray[Any]
Size = int | Sequence[int]

AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


class Moves(TypedDict, total=False):
    """How windows move over maps, as :func:`axes_of` takes it: the attributes of ONNX's Conv."""

    pads: Size
    strides: Size
    dilations: Size
    auto_pad: str


class PoolMoves(Moves, total=False):
    """The same for its pools."""

    ceil_mode: bool


@dataclass(frozen=True)
class Axis:
    """The windows along one axis: ``out`` of them, the i-th of which begins at pixel
    ``i * stride - begin``.

    ``size`` is that of the input in pixels; ``begin`` and ``end`` are the padding before and after
    it. A window has ``kernel`` taps, ``dilation`` apart.
    """

    size: int
    kernel: int
    begin: int = 0
    end: int = 0
    stride: int = 1
    dilation: int = 1
    out: int = 1

    @property
    def span(self) -> int:
        """How many pixels a window reaches over: dilation * (kernel - 1) + 1."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def padded(self) -> int:
        """The size with its padding."""
        return self.begin + self.size + self.end

    @property
    def reach(self) -> int:
        """The size that holds every window: more than ``padded`` where ``ceil_mode`` rounded up."""
        return max(self.padded, (self.out - 1) * self.stride + self.span)

    def taps(self, i: int) -> list[tuple[int, int]]:
        """(tap, pixel) of the i-th window, for the taps that fall on the input.

        >>> Axis(size=5, kernel=3, begin=1, end=1, stride=2, out=3).taps(0)
        [(1, 0), (2, 1)]
        """
        start = i * self.stride - self.begin
        places = ((u, start + u * self.dilation) for u in range(self.kernel))
        return [(u, at) for u, at in places if 0 <= at < self.size]


def axes_of(
    size: Sequence[int],
    kernel_shape: Size,
    *,
    pads: Size = 0,
    strides: Size = 1,
    dilations: Size = 1,
    auto_pad: str = "NOTSET",
    ceil_mode: bool = False,
) -> tuple[Axis, Axis]:
    """The windows over an input of ``size`` (height, width), along each axis.

    There are floor((n - span + p) / s) + 1 of them, p being the padding of both sides together;
    with ``ceil_mode`` the division is rounded up, and a window that would begin in the padding at
    the end is left out. ``SAME_UPPER`` and ``SAME_LOWER`` give ceil(n / s) windows and as much
    padding as these need, none where they need less than none. ONNX: Conv, MaxPool and AveragePool,
    version 22.

    Raises BadArgument for a kernel that is larger than the padded input, a stride, dilation or
    kernel below 1, negative padding, and padding given twice.

    >>> [axis.out for axis in axes_of((8, 8), (5, 3), pads=(2, 1))]
    [8, 8]
    >>> height, width = axes_of((5, 6), 2, strides=2, auto_pad="SAME_LOWER")
    >>> (height.begin, height.end, height.out), (width.begin, width.end, width.out)
    ((1, 0, 3), (0, 0, 3))
    """
    kernel = _pair("kernel_shape", kernel_shape, 1)
    stride, dilation = _pair("strides", strides, 1), _pair("dilations", dilations, 1)
    around = _pads(pads)
    mode = _auto_pad(auto_pad)
    if mode != "NOTSET" and any(around):
        rule = f"cannot be given together with auto_pad={auto_pad}, which decides it"
        raise BadArgument("pads", pads, rule, "leave one of them out")
    if len(size) != 2 or min(size) < 1:
        rule = "must be (height, width), at least 1 each"
        raise BadArgument("size", tuple(size), rule, "try (8, 8)")
    found = []
    for i in (0, 1):
        n, k, s, d = size[i], kernel[i], stride[i], dilation[i]
        span = d * (k - 1) + 1
        begin, end = around[i], around[i + 2]
        if mode.startswith("SAME"):
            out = -(-n // s)
            total = max(0, (out - 1) * s + span - n)
            begin = total // 2 if mode == "SAME_UPPER" else total - total // 2
            end = total - begin
        else:
            room = begin + n + end - span
            out = room // s + 1
            begins = out * s  # where one window more would begin; in the padding at the end?
            out += ceil_mode and mode == "NOTSET" and room % s > 0 and begins < begin + n
        if out < 1:
            wide = f" ({k} taps, {d} apart)" if d > 1 else ""
            raise BadArgument(
                "kernel_shape",
                "x".join(map(str, kernel)),
                f"spans {span} pixels of {('height', 'width')[i]}{wide}, and the padded input has "
                f"only {begin + n + end}",
                "take a smaller kernel, or more padding",
            )
        found.append(Axis(n, k, begin, end, s, d, out))
    return found[0], found[1]


def padded(X: Array, axes: tuple[Axis, Axis], value: float = 0.0) -> Array:
    """X [...,H,W] with its padding and whatever more the last windows reach over."""
    sides = [(axis.begin, axis.reach - axis.begin - axis.size) for axis in axes]
    return np.pad(X, [(0, 0)] * (X.ndim - 2) + sides, constant_values=value)


def cut(X: Array, axes: tuple[Axis, Axis]) -> Array:
    """What :func:`padded` put around, taken off again: [...,h,w] -> [...,H,W]."""
    rows, columns = (slice(axis.begin, axis.begin + axis.size) for axis in axes)
    return X[..., rows, columns]


def taken(X: Array, axes: tuple[Axis, Axis], u: int, v: int) -> Array:
    """What tap (u, v) of every window falls on, as a view: padded [...,h,w] -> [...,oh,ow]."""
    rows, columns = (
        slice(tap * a.dilation, tap * a.dilation + (a.out - 1) * a.stride + 1, a.stride)
        for a, tap in zip(axes, (u, v), strict=True)
    )
    return X[..., rows, columns]


def patches(X: Array, axes: tuple[Axis, Axis]) -> Array:
    """Every window as a view: padded [N,C,h,w] -> [N,C,oh,ow,kh,kw]."""
    height, width = axes
    every = np.lib.stride_tricks.sliding_window_view(X, (height.span, width.span), axis=(-2, -1))
    at = every[..., :: height.stride, :: width.stride, :: height.dilation, :: width.dilation]
    return at[..., : height.out, : width.out, :, :]


def real(name: str, value: Any, shape: str) -> Array:
    """An array of floats; whole numbers become float64. ``shape`` is such as ``[N,C,H,W]``.

    Raises BadArgument for another number of axes and for what is not numbers.
    """
    array = np.asarray(value)
    if array.dtype.kind in "biu":
        array = array.astype(np.float64)
    if array.dtype.kind != "f":
        rule = "must hold real numbers"
        raise BadArgument(name, f"an array of {array.dtype}", rule, "convert it to float64")
    if array.ndim != shape.count(",") + 1:
        rule = f"must be {shape}"
        raise BadArgument(name, f"an array {list(array.shape)}", rule, "reshape it")
    return array


def vector(
    name: str, value: Any, count: int, of: str, dtype: Any, shape: str, default: float | None = None
) -> Array:
    """``count`` numbers, one ``of`` something, in that type; the default where none are given.
    ``shape`` is such as ``[M]``. Raises BadArgument for another number of them."""
    if value is None and default is not None:
        return np.full(count, default, dtype)
    array = real(name, value, shape).astype(dtype)
    if len(array) != count:
        rule = f"must be one number a {of}: [{count}]"
        remedy = "leave it out for " + ("ones" if default else "zero")
        remedy = "reshape it" if default is None else remedy
        raise BadArgument(name, f"an array {list(array.shape)}", rule, remedy)
    return array


def images(X: Any, name: str = "X") -> Array:
    """X as floats [N,C,H,W]. Raises BadArgument for another shape, or maps without a pixel."""
    array = real(name, X, "[N,C,H,W]")
    if min(array.shape[1:]) < 1:
        rule = "must have at least one channel and one pixel"
        raise BadArgument(
            name, f"an array {list(array.shape)}", rule, "give maps that are not empty"
        )
    return array


def gradient(dY: Any, shape: tuple[int, ...]) -> Array:
    """dY as floats of the shape of Y. Raises BadArgument for another one."""
    array = np.asarray(dY)
    if array.shape != shape:
        rule = f"must have the shape of Y, {list(shape)}"
        raise BadArgument("dY", f"an array {list(array.shape)}", rule, "give one number an output")
    return array.astype(np.float64) if array.dtype.kind in "biu" else array


def _pair(name: str, value: Size, least: int) -> tuple[int, int]:
    """One number for both axes, or two."""
    numbers = _whole(name, value, least)
    if len(numbers) not in (1, 2):
        rule = "must be one whole number, or two: (height, width)"
        raise BadArgument(name, value, rule, f"try {max(least, 1)}")
    return numbers[0], numbers[-1]


def _pads(value: Size) -> tuple[int, int, int, int]:
    """Top, left, bottom, right."""
    numbers = _whole("pads", value, 0)
    if len(numbers) not in (1, 2, 4):
        rule = "must be one whole number, two (a side of height, of width), or four (top, left, "
        raise BadArgument("pads", value, rule + "bottom, right)", "try 1")
    begin = numbers[0], numbers[1 % len(numbers)]
    return *begin, numbers[2 % len(numbers)], numbers[-1]


def _whole(name: str, value: Size, least: int) -> tuple[int, ...]:
    given = tuple(value) if isinstance(value, Iterable) else (value,)
    for number in given:
        if not isinstance(number, int | np.integer) or number < least:
            rule = f"must be whole numbers of at least {least}"
            raise BadArgument(name, value, rule, f"try {max(least, 1)}")
    return tuple(map(int, given))


def _auto_pad(value: str) -> str:
    known = str(value).upper().replace("-", "_")
    known = "SAME_UPPER" if known == "SAME" else known
    if known not in AUTO_PADS:
        raise BadArgument(
            "auto_pad", value, "is no way to pad", nearest(known, (*AUTO_PADS, "SAME"))
        )
    return known
