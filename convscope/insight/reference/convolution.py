"""Convolution: a kernel is laid on every place of the input; what lies under it is multiplied and
summed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from convscope.errors import BadArgument
from convscope.insight.reference.windows import (
    Array,
    Moves,
    axes_of,
    cut,
    gradient,
    images,
    padded,
    patches,
    real,
    taken,
    vector,
)


def corr2d_loops(X: Any, K: Any) -> Array:
    """Cross-correlation of an image X [H,W] with a kernel K [h,w]: [H-h+1,W-w+1].

    Y[i,j] = sum over u, v of X[i+u,j+v] K[u,v]. Raises BadArgument for a kernel larger than the
    image.

    >>> corr2d_loops([[0, 1, 2], [3, 4, 5], [6, 7, 8]], [[0, 1], [2, 3]]).tolist()
    [[19.0, 25.0], [37.0, 43.0]]
    """
    X, K = _same_type(real("X", X, "[H,W]"), real("K", K, "[h,w]"))
    height, width = axes_of(X.shape, K.shape)
    Y = np.zeros((height.out, width.out), X.dtype)
    for i, j in np.ndindex(Y.shape):
        for u, v in np.ndindex(K.shape):
            Y[i, j] += X[i + u, j + v] * K[u, v]
    return Y


def corr2d(X: Any, K: Any) -> Array:
    """:func:`corr2d_loops`, computed with whole arrays.

    >>> corr2d([[0, 1, 2], [3, 4, 5], [6, 7, 8]], [[0, 1], [2, 3]]).tolist()
    [[19.0, 25.0], [37.0, 43.0]]
    """
    X, K = _same_type(real("X", X, "[H,W]"), real("K", K, "[h,w]"))
    axes = axes_of(X.shape, K.shape)
    Y: Array = np.einsum("ijuv,uv->ij", patches(X, axes), K)  # [H-h+1,W-w+1]
    return Y


def conv2d_loops(
    X: Any, W: Any, B: Any = None, *, group: int = 1, flip: bool = False, **moves: Unpack[Moves]
) -> Array:
    """Cross-correlation of maps X [N,C,H,W] with M kernels W [M,C/group,h,w]: [N,M,oh,ow].

    Y[n,m,i,j] = B[m] + sum over c, u, v of X[n,c,i*s-p+u*d,j*s-p+v*d] W[m,c,u,v], where X is zero
    beyond its edges and c runs over the channels of the group that kernel m belongs to. ``flip``
    turns each kernel by 180 degrees: convolution as mathematics has it. ONNX: Conv.

    Raises BadArgument for shapes that do not fit, groups that do not divide the channels, and what
    :func:`axes_of` refuses.

    >>> X = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> conv2d_loops(X, [[[[0, 1], [2, 3]]]], strides=2, pads=1)[0, 0].tolist()
    [[0.0, 8.0], [21.0, 43.0]]
    """
    X, W, B = _operands(X, W, B, group, flip)
    axes = axes_of(X.shape[2:], W.shape[2:], ceil_mode=False, **moves)
    height, width = axes
    X = padded(X, axes)  # [N,C,h,w]
    M, depth = W.shape[:2]
    Y = np.zeros((len(X), M, height.out, width.out), X.dtype)
    for n, m, i, j in np.ndindex(Y.shape):
        first = m // (M // group) * depth  # channel of the kernel's group
        top, left = i * height.stride, j * width.stride
        total = B[m]
        for c, u, v in np.ndindex(W.shape[1:]):
            y, x = top + u * height.dilation, left + v * width.dilation
            total += X[n, first + c, y, x] * W[m, c, u, v]
        Y[n, m, i, j] = total
    return Y


def conv2d(
    X: Any, W: Any, B: Any = None, *, group: int = 1, flip: bool = False, **moves: Unpack[Moves]
) -> Array:
    """:func:`conv2d_loops`, computed with whole arrays.

    >>> X = np.arange(64.0).reshape(1, 1, 8, 8)
    >>> conv2d(X, np.ones((2, 1, 5, 3)), pads=(2, 1)).shape
    (1, 2, 8, 8)
    """
    X, W, B = _operands(X, W, B, group, flip)
    axes = axes_of(X.shape[2:], W.shape[2:], ceil_mode=False, **moves)
    under = _grouped(patches(padded(X, axes), axes), group)  # [N,G,C/G,oh,ow,h,w]
    kernels = W.reshape(group, -1, *W.shape[1:])  # [G,M/G,C/G,h,w]
    Y = np.einsum("ngcijuv,gmcuv->ngmij", under, kernels, optimize=True)
    whole: Array = Y.reshape(len(X), len(W), *Y.shape[3:]) + B[:, None, None]  # [N,M,oh,ow]
    return whole


def conv2d_backward_loops(
    dY: Any, X: Any, W: Any, *, group: int = 1, flip: bool = False, **moves: Unpack[Moves]
) -> tuple[Array, Array, Array]:
    """The gradients dX, dW and dB of :func:`conv2d_loops` where those of its output are dY
    [N,M,oh,ow].

    Every product X[..] W[..] of the forward pass gives its output's dY, times W, to that pixel of
    X, and, times X, to that weight. Raises BadArgument as the forward pass does.

    >>> dX, dW, dB = conv2d_backward_loops([[[[1.0]]]], [[[[5.0, 7.0]]]], [[[[2.0, 3.0]]]])
    >>> dX.tolist(), dW.tolist(), dB.tolist()
    ([[[[2.0, 3.0]]]], [[[[5.0, 7.0]]]], [1.0])
    """
    X, W, B = _operands(X, W, None, group, flip)
    axes = axes_of(X.shape[2:], W.shape[2:], ceil_mode=False, **moves)
    height, width = axes
    M, depth = W.shape[:2]
    dY = gradient(dY, (len(X), M, height.out, width.out))
    X = padded(X, axes)
    dX, dW, dB = np.zeros_like(X), np.zeros_like(W), np.zeros_like(B)
    for n, m, i, j in np.ndindex(dY.shape):
        first = m // (M // group) * depth
        top, left = i * height.stride, j * width.stride
        g = dY[n, m, i, j]
        dB[m] += g
        for c, u, v in np.ndindex(W.shape[1:]):
            y, x = top + u * height.dilation, left + v * width.dilation
            dX[n, first + c, y, x] += g * W[m, c, u, v]
            dW[m, c, u, v] += g * X[n, first + c, y, x]
    return cut(dX, axes), _turned(dW, flip), dB


def conv2d_backward(
    dY: Any, X: Any, W: Any, *, group: int = 1, flip: bool = False, **moves: Unpack[Moves]
) -> tuple[Array, Array, Array]:
    """:func:`conv2d_backward_loops`, computed with whole arrays: one tap of the kernel at a time.

    >>> dX, dW, dB = conv2d_backward([[[[1.0]]]], [[[[5.0, 7.0]]]], [[[[2.0, 3.0]]]])
    >>> dX.tolist(), dW.tolist(), dB.tolist()
    ([[[[2.0, 3.0]]]], [[[[5.0, 7.0]]]], [1.0])
    """
    X, W, _ = _operands(X, W, None, group, flip)
    axes = axes_of(X.shape[2:], W.shape[2:], ceil_mode=False, **moves)
    dY = gradient(dY, (len(X), len(W), axes[0].out, axes[1].out))
    X = padded(X, axes)
    kernels = W.reshape(group, -1, *W.shape[1:])  # [G,M/G,C/G,h,w]
    g = _grouped(dY, group)  # [N,G,M/G,oh,ow]
    dX, dW = np.zeros_like(X), np.zeros_like(kernels)
    for u, v in np.ndindex(W.shape[2:]):
        under = _grouped(taken(X, axes, u, v), group)  # [N,G,C/G,oh,ow]
        dW[..., u, v] = np.einsum("ngmij,ngcij->gmc", g, under, optimize=True)
        given = np.einsum("ngmij,gmc->ngcij", g, kernels[..., u, v], optimize=True)
        place = taken(dX, axes, u, v)  # a view: [N,C,oh,ow]
        place += given.reshape(place.shape)
    return cut(dX, axes), _turned(dW.reshape(W.shape), flip), dY.sum(axis=(0, 2, 3))


@dataclass(frozen=True)
class Learnt:
    """A kernel that gradient descent found: ``kernels`` and ``losses`` of each step, the first
    being the start. ``determined`` is how many of its numbers the data fix."""

    kernel: Array  # [h,w]
    kernels: Array  # [steps+1,h,w]
    losses: Array  # [steps+1]
    lr: float
    determined: int


def learn_kernel(
    x: Any, y: Any, *, steps: int = 100, lr: float | None = None, seed: int = 0
) -> Learnt:
    """The kernel [H-h+1,W-w+1] that makes the map y [h,w] out of the image x [H,W], by gradient
    descent.

    The loss is the mean of (corr2d(x, K) - y)^2, its gradient 2/n corr2d(x, corr2d(x, K) - y): a
    cross-correlation too. It starts from small random numbers. Without ``lr`` each step is 1 / L, L
    being the loss's largest curvature: the loss then falls at every step. Above 2 / L it would
    grow without end.

    Raises BadArgument for a y that is larger than x, steps below 1, an image without a pixel other
    than zero, and a rate that is not between 0 and 2 / L.

    >>> x = np.ones((6, 8))
    >>> x[:, 2:6] = 0
    >>> edges = corr2d(x, [[1.0, -1.0]])
    >>> learn_kernel(x, edges).kernel.round(3).tolist()
    [[1.0, -1.0]]
    """
    image = real("x", x, "[H,W]").astype(np.float64)
    wanted = real("y", y, "[h,w]").astype(np.float64)
    if not (np.isfinite(image).all() and np.isfinite(wanted).all()):
        raise BadArgument("x", "x or y", "holds numbers that are not finite", "leave them out")
    axes = axes_of(image.shape, wanted.shape)  # y over x: as many places as the kernel has numbers
    shape = axes[0].out, axes[1].out
    if steps < 1:
        raise BadArgument("steps", steps, "must be a whole number of at least 1", "try 100")
    rows = patches(image, axes_of(image.shape, shape)).reshape(wanted.size, -1)  # [n,h*w]
    curvatures = np.linalg.eigvalsh(2 / wanted.size * rows.T @ rows)  # of the loss, ascending
    largest = float(curvatures[-1])
    if largest <= 0:
        rule = "is zero everywhere, so that every kernel makes the same of it"
        raise BadArgument("x", f"an array {list(image.shape)}", rule, "give an image with an edge")
    rate = 1 / largest if lr is None else lr
    if not 0 < rate < 2 / largest:
        rule = f"must be above 0 and below {2 / largest:.3g}, where the loss begins to grow"
        raise BadArgument("lr", lr, rule, f"try {1 / largest:.3g}")
    kernel = np.random.default_rng(seed).normal(0, 0.1, shape)
    kernels, losses = [kernel], []
    for _ in range(steps):
        off = corr2d(image, kernel) - wanted  # [h,w]
        losses.append(float(np.mean(off**2)))
        kernel = kernel - rate * 2 / wanted.size * corr2d(image, off)
        kernels.append(kernel)
    losses.append(float(np.mean((corr2d(image, kernel) - wanted) ** 2)))
    determined = int((curvatures > 1e-12 * largest).sum())
    return Learnt(kernel, np.stack(kernels), np.array(losses), float(rate), determined)


def _operands(X: Any, W: Any, B: Any, group: int, flip: bool) -> tuple[Array, Array, Array]:
    """X, W and B as floats of one type; W is turned where ``flip`` says so. Raises BadArgument."""
    X, W = images(X), images(W, "W")
    X, W = _same_type(X, W)
    channels, (kernels, depth) = X.shape[1], W.shape[:2]
    for what, count in (("X's channels", channels), ("W's kernels", kernels)):
        if group < 1 or count % group:
            rule = f"must be a whole number of at least 1 that divides {what} ({count})"
            divisors = [n for n in range(1, count + 1) if count % n == 0]
            raise BadArgument("group", group, rule, f"take one of {', '.join(map(str, divisors))}")
    if depth != channels // group:
        rule = f"must be [M,C/group,h,w], with C/group = {channels}/{group} = {channels // group}"
        raise BadArgument("W", f"an array {list(W.shape)}", rule, "give each kernel that depth")
    return X, _turned(W, flip), vector("B", B, kernels, "kernel", X.dtype, "[M]", 0)


def _turned(W: Array, flip: bool) -> Array:
    """The kernels turned by 180 degrees, or as they are."""
    return W[..., ::-1, ::-1] if flip else W


def _same_type(one: Array, other: Array) -> tuple[Array, Array]:
    dtype = np.result_type(one, other)
    return one.astype(dtype, copy=False), other.astype(dtype, copy=False)


def _grouped(maps: Array, group: int) -> Array:
    """[N,C,...] -> [N,G,C/G,...]"""
    return maps.reshape(len(maps), group, maps.shape[1] // group, *maps.shape[2:])
