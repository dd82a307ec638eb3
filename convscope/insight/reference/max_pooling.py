"""Max-pooling: of each window, or of each map, the largest value."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from convscope.errors import BadArgument
from convscope.insight.reference.windows import (
    Array,
    PoolMoves,
    Size,
    axes_of,
    gradient,
    images,
    padded,
    patches,
)

Indices = NDArray[np.int64]


def max_pool2d_indices_loops(
    X: Any, kernel_shape: Size, *, storage_order: int = 0, **moves: Unpack[PoolMoves]
) -> Indices:
    """Where the largest value of each window of X [N,C,H,W] stands: [N,C,oh,ow], counted through
    the whole of X.

    Of equal values the first is taken, row by row; the padding never is, and a window that holds
    nothing else has -1. ``storage_order=1`` counts down the columns of each map. ONNX: MaxPool's
    second output. Raises BadArgument as :func:`max_pool2d` does.

    >>> max_pool2d_indices_loops([[[[3, 1], [5, 5]]]], 2).tolist()
    [[[[2]]]]
    """
    X = images(X)
    axes = axes_of(X.shape[2:], kernel_shape, **moves)
    N, C, H, W = X.shape
    Y = np.full((N, C, axes[0].out, axes[1].out), -1)
    for n, c, i, j in np.ndindex(Y.shape):
        best: Any = None
        for _, y in axes[0].taps(i):
            for _, x in axes[1].taps(j):
                value = X[n, c, y, x]
                if best is None or value > best or (np.isnan(value) and not np.isnan(best)):
                    best = value
                    within = x * H + y if _by_column(storage_order) else y * W + x
                    Y[n, c, i, j] = (n * C + c) * H * W + within
    return Y


def max_pool2d_indices(
    X: Any, kernel_shape: Size, *, storage_order: int = 0, **moves: Unpack[PoolMoves]
) -> Indices:
    """:func:`max_pool2d_indices_loops`, computed with whole arrays.

    >>> max_pool2d_indices([[[[3, 1], [5, 5]]]], 2, storage_order=1).tolist()
    [[[[1]]]]
    """
    X = images(X)
    axes = axes_of(X.shape[2:], kernel_shape, **moves)
    N, C, H, W = X.shape
    under = _flat(patches(padded(X, axes, -np.inf), axes))  # [N,C,oh,ow,h*w]
    inside = _flat(
        patches(padded(np.ones((1, 1, H, W), bool), axes, False), axes)
    )  # [1,1,oh,ow,h*w]
    lowest = under == -np.inf  # a pixel of the image may be: the first one of these counts
    first = np.where((lowest | ~inside).all(-1), inside.argmax(-1), under.argmax(-1))  # [N,C,oh,ow]
    numbers = np.arange(W * H).reshape(W, H).T if _by_column(storage_order) else (
        np.arange(H * W).reshape(H, W)
    )  # fmt: skip
    within = _flat(patches(padded(numbers[None, None], axes, 0), axes))  # [1,1,oh,ow,h*w]
    within = np.broadcast_to(within, (N, C, *within.shape[2:]))
    at = np.take_along_axis(within, first[..., None], -1)[..., 0].astype(np.int64)
    at = at + (np.arange(N * C) * H * W).reshape(N, C, 1, 1)
    return np.where(inside.any(-1), at, -1)


def max_pool2d_loops(X: Any, kernel_shape: Size, **moves: Unpack[PoolMoves]) -> Array:
    """The largest value of each window of X [N,C,H,W]: [N,C,oh,ow].

    Y[n,c,i,j] = max over u, v of X[n,c,i*s-p+u*d,j*s-p+v*d], over those that lie on the image: of
    nothing it is minus infinity; a window that holds NaN gives NaN. ONNX: MaxPool. Raises
    BadArgument for what :func:`axes_of` refuses.

    >>> X = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> max_pool2d_loops(X, 3)[0, 0].tolist(), max_pool2d_loops(X, 3, strides=3)[0, 0].tolist()
    ([[10.0, 11.0], [14.0, 15.0]], [[10.0]])
    """
    X = images(X)
    axes = axes_of(X.shape[2:], kernel_shape, **moves)
    Y = np.full((*X.shape[:2], axes[0].out, axes[1].out), -np.inf, X.dtype)
    for n, c, i, j in np.ndindex(Y.shape):
        for _, y in axes[0].taps(i):
            for _, x in axes[1].taps(j):
                if X[n, c, y, x] > Y[n, c, i, j] or np.isnan(X[n, c, y, x]):
                    Y[n, c, i, j] = X[n, c, y, x]
    return Y


def max_pool2d(X: Any, kernel_shape: Size, **moves: Unpack[PoolMoves]) -> Array:
    """:func:`max_pool2d_loops`, computed with whole arrays.

    >>> X = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> max_pool2d(X, (2, 3), pads=(1, 2), strides=(2, 3))[0, 0].tolist()
    [[0.0, 3.0], [8.0, 11.0], [12.0, 15.0]]
    """
    X = images(X)
    axes = axes_of(X.shape[2:], kernel_shape, **moves)
    Y: Array = patches(padded(X, axes, -np.inf), axes).max(axis=(-2, -1))
    return Y


def max_pool2d_backward_loops(
    dY: Any, X: Any, kernel_shape: Size, **moves: Unpack[PoolMoves]
) -> Array:
    """The gradient dX [N,C,H,W] of :func:`max_pool2d_loops` where that of its output is dY
    [N,C,oh,ow]: each goes to the pixel that was the largest (the first of equal ones).

    >>> max_pool2d_backward_loops([[[[7]]]], [[[[3, 1], [5, 5]]]], 2).tolist()
    [[[[0.0, 0.0], [7.0, 0.0]]]]
    """
    X = images(X)
    at = max_pool2d_indices_loops(X, kernel_shape, **moves)
    dY = gradient(dY, at.shape)
    dX = np.zeros(X.size, X.dtype)
    for n, c, i, j in np.ndindex(at.shape):
        if at[n, c, i, j] >= 0:
            dX[at[n, c, i, j]] += dY[n, c, i, j]
    return dX.reshape(X.shape)


def max_pool2d_backward(dY: Any, X: Any, kernel_shape: Size, **moves: Unpack[PoolMoves]) -> Array:
    """:func:`max_pool2d_backward_loops`, computed with whole arrays.

    >>> max_pool2d_backward([[[[7]]]], [[[[3, 1], [5, 5]]]], 2).tolist()
    [[[[0.0, 0.0], [7.0, 0.0]]]]
    """
    X = images(X)
    at = max_pool2d_indices(X, kernel_shape, **moves)
    dY = gradient(dY, at.shape)
    dX = np.zeros(X.size, X.dtype)
    np.add.at(dX, at[at >= 0], dY[at >= 0])
    return dX.reshape(X.shape)


def global_max_pool2d_loops(X: Any) -> Array:
    """The largest value of each map of X [N,C,H,W]: [N,C,1,1]. ONNX: GlobalMaxPool.

    >>> global_max_pool2d_loops([[[[3, 1], [5, 5]]]]).tolist()
    [[[[5.0]]]]
    """
    X = images(X)
    return max_pool2d_loops(X, X.shape[2:])


def global_max_pool2d(X: Any) -> Array:
    """:func:`global_max_pool2d_loops`, computed with whole arrays.

    >>> global_max_pool2d([[[[3, 1], [5, 5]]]]).tolist()
    [[[[5.0]]]]
    """
    largest: Array = images(X).max(axis=(2, 3), keepdims=True)
    return largest


def global_max_pool2d_backward_loops(dY: Any, X: Any) -> Array:
    """The gradient dX [N,C,H,W] of :func:`global_max_pool2d_loops`: dY [N,C,1,1] goes to the
    largest pixel of each map.

    >>> global_max_pool2d_backward_loops([[[[7]]]], [[[[3, 1], [5, 5]]]]).tolist()
    [[[[0.0, 0.0], [7.0, 0.0]]]]
    """
    X = images(X)
    return max_pool2d_backward_loops(dY, X, X.shape[2:])


def global_max_pool2d_backward(dY: Any, X: Any) -> Array:
    """:func:`global_max_pool2d_backward_loops`, computed with whole arrays.

    >>> global_max_pool2d_backward([[[[7]]]], [[[[3, 1], [5, 5]]]]).tolist()
    [[[[0.0, 0.0], [7.0, 0.0]]]]
    """
    X = images(X)
    return max_pool2d_backward(dY, X, X.shape[2:])


def _by_column(storage_order: int) -> bool:
    if storage_order not in (0, 1):
        rule = "must be 0 (row by row) or 1 (column by column)"
        raise BadArgument("storage_order", storage_order, rule, "take 0")
    return storage_order == 1


def _flat(windows: Array) -> Array:
    """[...,h,w] -> [...,h*w]"""
    return windows.reshape(*windows.shape[:-2], windows.shape[-2] * windows.shape[-1])
