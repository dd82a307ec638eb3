"""Average-pooling: of each window, or of each map, the mean."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from convscope.errors import BadArgument
from convscope.insight.reference.windows import (
    Array,
    Axis,
    PoolMoves,
    Size,
    axes_of,
    cut,
    gradient,
    images,
    padded,
    patches,
    taken,
)


def average_pool2d_loops(
    X: Any,
    kernel_shape: Size,
    *,
    count_include_pad: bool = False,
    divisor_override: int | None = None,
    **moves: Unpack[PoolMoves],
) -> Array:
    """The mean of each window of X [N,C,H,W]: [N,C,oh,ow].

    Y[n,c,i,j] = 1/count * sum over u, v of X[n,c,i*s-p+u*d,j*s-p+v*d]. The count is of the pixels
    that lie on the image, with ``count_include_pad`` also of those in the padding (which are zero),
    but never of what ``ceil_mode`` makes a window reach beyond it. ONNX: AveragePool.
    ``divisor_override`` is PyTorch's: it divides by that number instead.

    Raises BadArgument for what :func:`axes_of` refuses, and for a window without a pixel to count.

    >>> X = np.arange(4.0).reshape(1, 1, 2, 2)
    >>> average_pool2d_loops(X, 2, pads=1, strides=2)[0, 0].tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    X = images(X)
    axes = axes_of(X.shape[2:], kernel_shape, **moves)
    counts = counts_of_loops(axes, count_include_pad, divisor_override)
    Y = np.zeros((*X.shape[:2], axes[0].out, axes[1].out), X.dtype)
    for n, c, i, j in np.ndindex(Y.shape):
        for _, y in axes[0].taps(i):
            for _, x in axes[1].taps(j):
                Y[n, c, i, j] += X[n, c, y, x]
        Y[n, c, i, j] /= counts[i, j]
    return Y


def average_pool2d(
    X: Any,
    kernel_shape: Size,
    *,
    count_include_pad: bool = False,
    divisor_override: int | None = None,
    **moves: Unpack[PoolMoves],
) -> Array:
    """:func:`average_pool2d_loops`, computed with whole arrays.

    >>> X = np.arange(4.0).reshape(1, 1, 2, 2)
    >>> average_pool2d(X, 2, pads=1, strides=2, count_include_pad=True)[0, 0].tolist()
    [[0.0, 0.25], [0.5, 0.75]]
    """
    X = images(X)
    axes = axes_of(X.shape[2:], kernel_shape, **moves)
    counts = counts_of(axes, count_include_pad, divisor_override).astype(X.dtype)  # [oh,ow]
    Y: Array = patches(padded(X, axes), axes).sum(axis=(-2, -1)) / counts
    return Y


def average_pool2d_backward_loops(
    dY: Any,
    X: Any,
    kernel_shape: Size,
    *,
    count_include_pad: bool = False,
    divisor_override: int | None = None,
    **moves: Unpack[PoolMoves],
) -> Array:
    """The gradient dX [N,C,H,W] of :func:`average_pool2d_loops` where that of its output is dY
    [N,C,oh,ow]: each is shared out evenly over its window. Of X only the shape counts.

    >>> average_pool2d_backward_loops([[[[8]]]], np.zeros((1, 1, 2, 2)), 2).tolist()
    [[[[2.0, 2.0], [2.0, 2.0]]]]
    """
    X = images(X)
    axes = axes_of(X.shape[2:], kernel_shape, **moves)
    counts = counts_of_loops(axes, count_include_pad, divisor_override)
    dY = gradient(dY, (*X.shape[:2], axes[0].out, axes[1].out))
    dX: Array = np.zeros_like(X)
    for n, c, i, j in np.ndindex(dY.shape):
        for _, y in axes[0].taps(i):
            for _, x in axes[1].taps(j):
                dX[n, c, y, x] += dY[n, c, i, j] / counts[i, j]
    return dX


def average_pool2d_backward(
    dY: Any,
    X: Any,
    kernel_shape: Size,
    *,
    count_include_pad: bool = False,
    divisor_override: int | None = None,
    **moves: Unpack[PoolMoves],
) -> Array:
    """:func:`average_pool2d_backward_loops`, computed with whole arrays: one tap at a time.

    >>> average_pool2d_backward([[[[8]]]], np.zeros((1, 1, 2, 2)), 2).tolist()
    [[[[2.0, 2.0], [2.0, 2.0]]]]
    """
    X = images(X)
    axes = axes_of(X.shape[2:], kernel_shape, **moves)
    counts = counts_of(axes, count_include_pad, divisor_override).astype(X.dtype)  # [oh,ow]
    share: Array = gradient(dY, (*X.shape[:2], *counts.shape)) / counts
    dX = np.zeros_like(padded(X, axes))
    for u, v in np.ndindex(axes[0].kernel, axes[1].kernel):
        place = taken(dX, axes, u, v)  # a view: [N,C,oh,ow]
        place += share
    return cut(dX, axes)


def global_average_pool2d_loops(X: Any) -> Array:
    """The mean of each map of X [N,C,H,W]: [N,C,1,1]. ONNX: GlobalAveragePool.

    >>> global_average_pool2d_loops([[[[3, 1], [5, 7]]]]).tolist()
    [[[[4.0]]]]
    """
    X = images(X)
    return average_pool2d_loops(X, X.shape[2:])


def global_average_pool2d(X: Any) -> Array:
    """:func:`global_average_pool2d_loops`, computed with whole arrays.

    >>> global_average_pool2d([[[[3, 1], [5, 7]]]]).tolist()
    [[[[4.0]]]]
    """
    mean: Array = images(X).mean(axis=(2, 3), keepdims=True)
    return mean


def global_average_pool2d_backward_loops(dY: Any, X: Any) -> Array:
    """The gradient dX [N,C,H,W] of :func:`global_average_pool2d_loops`: dY [N,C,1,1] is shared out
    evenly over each map.

    >>> global_average_pool2d_backward_loops([[[[8]]]], np.zeros((1, 1, 2, 2))).tolist()
    [[[[2.0, 2.0], [2.0, 2.0]]]]
    """
    X = images(X)
    return average_pool2d_backward_loops(dY, X, X.shape[2:])


def global_average_pool2d_backward(dY: Any, X: Any) -> Array:
    """:func:`global_average_pool2d_backward_loops`, computed with whole arrays.

    >>> global_average_pool2d_backward([[[[8]]]], np.zeros((1, 1, 2, 2))).tolist()
    [[[[2.0, 2.0], [2.0, 2.0]]]]
    """
    X = images(X)
    share = gradient(dY, (*X.shape[:2], 1, 1)) / (X.shape[2] * X.shape[3])
    return np.broadcast_to(share, X.shape).astype(X.dtype)


def counts_of_loops(axes: tuple[Axis, Axis], with_pads: bool, divisor: int | None) -> Array:
    """What each sum is divided by, [oh,ow]. Raises BadArgument where there is nothing to count."""
    counts = np.zeros((axes[0].out, axes[1].out))
    for i, j in np.ndindex(counts.shape):
        for u, v in np.ndindex(axes[0].kernel, axes[1].kernel):
            y = i * axes[0].stride - axes[0].begin + u * axes[0].dilation
            x = j * axes[1].stride - axes[1].begin + v * axes[1].dilation
            on_image = 0 <= y < axes[0].size and 0 <= x < axes[1].size
            in_padding = y < axes[0].size + axes[0].end and x < axes[1].size + axes[1].end
            counts[i, j] += on_image or (with_pads and in_padding)
    return _checked(counts, axes, divisor)


def counts_of(axes: tuple[Axis, Axis], with_pads: bool, divisor: int | None) -> Array:
    """:func:`counts_of_loops`, computed with whole arrays."""
    counted = np.ones((1, 1, axes[0].size, axes[1].size))
    if with_pads:
        ends = [(axis.begin, axis.end) for axis in axes]
        counted = np.pad(counted, [(0, 0), (0, 0), *ends], constant_values=1)
        begins = [axis.reach - axis.padded for axis in axes]
        counted = np.pad(counted, [(0, 0), (0, 0), *((0, more) for more in begins)])
    else:
        counted = padded(counted, axes)
    return _checked(patches(counted, axes).sum(axis=(-2, -1))[0, 0], axes, divisor)


def _checked(counts: Array, axes: tuple[Axis, Axis], divisor: int | None) -> Array:
    if divisor == 0:
        raise BadArgument("divisor_override", 0, "must not be zero", "leave it out")
    if divisor is not None:
        return np.full_like(counts, divisor)
    if counts.min() < 1:
        rule = "leaves windows that lie wholly in the padding, where there is no pixel to average"
        pads = *(axis.begin for axis in axes), *(axis.end for axis in axes)
        raise BadArgument("pads", pads, rule, "pad less, or count the padding too")
    return counts
