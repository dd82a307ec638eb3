"""What stands between convolutions and behind them: batch normalisation, linear layers, softmax,
cross-entropy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from convscope.errors import BadArgument, nearest
from convscope.insight.reference.windows import Array, gradient, real, vector

REDUCTIONS = ("mean", "sum", "none")


def batch_norm_loops(
    X: Any,
    scale: Any,
    B: Any,
    input_mean: Any,
    input_var: Any,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: bool = False,
) -> tuple[Array, Array, Array]:
    """X [N,C,...] with every channel moved and scaled, and the running mean and variance [C].

    Y = (X - mean) / sqrt(var + epsilon) * scale + B, channel by channel. In training, mean and var
    are those of the batch (var divides by the count), and the running ones become running *
    momentum + batch * (1 - momentum); otherwise they are the running ones, which stay. ONNX:
    BatchNormalization; Ioffe and Szegedy 2015, algorithm 1. PyTorch's momentum is 1 - momentum, and
    its running variance divides by the count less one.

    Raises BadArgument for anything but one number a channel, and in training for an empty batch.

    >>> X = np.array([[1.0], [3.0]])
    >>> Y, mean, var = batch_norm_loops(X, [2], [5], [0], [1], epsilon=0, training_mode=True)
    >>> Y.tolist(), mean.round(2).tolist(), var.round(2).tolist()
    ([[3.0], [7.0]], [0.2], [1.0])
    """
    X, scale, B, mean, var = _channels(X, scale, B, input_mean, input_var, training_mode)
    rows = X.reshape(*X.shape[:2], math.prod(X.shape[2:]))  # [N,C,P]
    Y, kept_mean, kept_var = np.zeros_like(rows), mean.copy(), var.copy()
    N, C, P = rows.shape
    for c in range(C):
        m, v = mean[c], var[c]
        if training_mode:
            m = sum(rows[n, c, p] for n in range(N) for p in range(P)) / (N * P)
            v = sum((rows[n, c, p] - m) ** 2 for n in range(N) for p in range(P)) / (N * P)
            kept_mean[c] = mean[c] * momentum + m * (1 - momentum)
            kept_var[c] = var[c] * momentum + v * (1 - momentum)
        for n in range(N):
            for p in range(P):
                Y[n, c, p] = (rows[n, c, p] - m) / np.sqrt(v + epsilon) * scale[c] + B[c]
    return Y.reshape(X.shape), kept_mean, kept_var


def batch_norm(
    X: Any,
    scale: Any,
    B: Any,
    input_mean: Any,
    input_var: Any,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: bool = False,
) -> tuple[Array, Array, Array]:
    """:func:`batch_norm_loops`, computed with whole arrays.

    >>> batch_norm(np.array([[1.0], [3.0]]), [2], [5], [1], [4], epsilon=0)[0].tolist()
    [[5.0], [7.0]]
    """
    X, scale, B, mean, var = _channels(X, scale, B, input_mean, input_var, training_mode)
    others = (0, *range(2, X.ndim))
    used, kept = (mean, var), (mean, var)
    if training_mode:
        used = X.mean(axis=others), X.var(axis=others)
        kept = tuple(  # type: ignore[assignment]
            old * momentum + new * (1 - momentum) for old, new in zip(kept, used, strict=True)
        )
    m, v, a, b = (values.reshape(-1, *(1,) * (X.ndim - 2)) for values in (*used, scale, B))
    Y: Array = (X - m) / np.sqrt(v + epsilon) * a + b
    return Y.astype(X.dtype), kept[0], kept[1]


def gemm_loops(
    A: Any,
    B: Any,
    C: Any = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Array:
    """alpha * A' B' + beta * C: [M,K] and [K,N] give [M,N]. ONNX: Gemm.

    A' is A, turned over its diagonal where ``transA`` says so; so is B'. C is repeated to [M,N].
    Raises BadArgument for shapes that do not fit.

    >>> gemm_loops([[1, 2]], [[3, 4]], [10], transB=1).tolist()
    [[21.0]]
    """
    A, B, C = _matrices(A, B, C, transA, transB)
    (M, K), N = A.shape, B.shape[1]
    Y = np.zeros((M, N), A.dtype)
    for m, n in np.ndindex(M, N):
        total = A.dtype.type(0)
        for k in range(K):
            total += A[m, k] * B[k, n]
        Y[m, n] = alpha * total + beta * C[m, n]
    return Y


def gemm(
    A: Any,
    B: Any,
    C: Any = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Array:
    """:func:`gemm_loops`, computed with whole arrays.

    >>> gemm([[1], [2]], [[3], [4]], transA=1, alpha=0.5).tolist()
    [[5.5]]
    """
    A, B, C = _matrices(A, B, C, transA, transB)
    Y: Array = alpha * (A @ B) + beta * C
    return Y.astype(A.dtype)


def linear_loops(X: Any, W: Any, B: Any = None) -> Array:
    """A linear layer: X [...,K] with M rows of weights W [M,K] and biases B [M] gives [...,M].

    Y[..,m] = B[m] + sum over k of X[..,k] W[m,k]. Raises BadArgument for shapes that do not fit.

    >>> linear_loops([[1, 2]], [[3, 4], [5, 6]], [10, 0]).tolist()
    [[21.0, 17.0]]
    """
    X, W, B = _layer(X, W, B)
    rows = X.reshape(math.prod(X.shape[:-1]), X.shape[-1])  # [R,K]
    Y = np.zeros((len(rows), len(W)), X.dtype)
    for r, m in np.ndindex(Y.shape):
        Y[r, m] = B[m]
        for k in range(rows.shape[1]):
            Y[r, m] += rows[r, k] * W[m, k]
    return Y.reshape(*X.shape[:-1], len(W))


def linear(X: Any, W: Any, B: Any = None) -> Array:
    """:func:`linear_loops`, computed with whole arrays.

    >>> linear([[1, 2]], [[3, 4], [5, 6]], [10, 0]).tolist()
    [[21.0, 17.0]]
    """
    X, W, B = _layer(X, W, B)
    Y: Array = X @ W.T + B
    return Y


def linear_backward_loops(dY: Any, X: Any, W: Any) -> tuple[Array, Array, Array]:
    """The gradients dX, dW and dB of :func:`linear_loops` where those of its output are dY [...,M].

    >>> dX, dW, dB = linear_backward_loops([[1, 10]], [[1, 2]], [[3, 4], [5, 6]])
    >>> dX.tolist(), dW.tolist(), dB.tolist()
    ([[53.0, 64.0]], [[1.0, 2.0], [10.0, 20.0]], [1.0, 10.0])
    """
    X, W, B = _layer(X, W, None)
    dY = gradient(dY, (*X.shape[:-1], len(W)))
    rows = X.reshape(math.prod(X.shape[:-1]), X.shape[-1])  # [R,K]
    g = dY.reshape(len(rows), len(W))  # [R,M]
    dX, dW, dB = np.zeros_like(rows), np.zeros_like(W), np.zeros_like(B)
    for r, m in np.ndindex(g.shape):
        dB[m] += g[r, m]
        for k in range(rows.shape[1]):
            dX[r, k] += g[r, m] * W[m, k]
            dW[m, k] += g[r, m] * rows[r, k]
    return dX.reshape(X.shape), dW, dB


def linear_backward(dY: Any, X: Any, W: Any) -> tuple[Array, Array, Array]:
    """:func:`linear_backward_loops`, computed with whole arrays.

    >>> dX, dW, dB = linear_backward([[1, 10]], [[1, 2]], [[3, 4], [5, 6]])
    >>> dX.tolist(), dW.tolist(), dB.tolist()
    ([[53.0, 64.0]], [[1.0, 2.0], [10.0, 20.0]], [1.0, 10.0])
    """
    X, W, _ = _layer(X, W, None)
    dY = gradient(dY, (*X.shape[:-1], len(W)))
    count = math.prod(X.shape[:-1])
    g, rows = dY.reshape(count, len(W)), X.reshape(count, W.shape[1])  # [R,M], [R,K]
    return dY @ W, g.T @ rows, g.sum(axis=0)


def softmax_loops(X: Any, axis: int = -1) -> Array:
    """exp(x) divided by its sum along an axis: numbers of any size become shares of one.

    The largest is subtracted first, which changes nothing but keeps exp within range. ONNX:
    Softmax. Raises BadArgument for an axis that is not there.

    >>> softmax_loops([0, np.log(3)]).round(4).tolist()
    [0.25, 0.75]
    """
    X = _any_shape("X", X)
    rows = np.moveaxis(X, _axis(axis, X.ndim), -1)  # [...,K]
    Y = np.zeros_like(rows)
    for at in np.ndindex(rows.shape[:-1]):
        largest = max(rows[at])
        powers = [np.exp(x - largest) for x in rows[at]]
        for k, power in enumerate(powers):
            Y[(*at, k)] = power / sum(powers)
    return np.moveaxis(Y, -1, _axis(axis, X.ndim))


def softmax(X: Any, axis: int = -1) -> Array:
    """:func:`softmax_loops`, computed with whole arrays.

    >>> softmax([0, np.log(3)]).round(4).tolist()
    [0.25, 0.75]
    """
    X = _any_shape("X", X)
    powers = np.exp(X - X.max(axis=_axis(axis, X.ndim), keepdims=True, initial=-np.inf))
    shares: Array = powers / powers.sum(axis=axis, keepdims=True)
    return shares


def cross_entropy_loops(
    scores: Any,
    labels: Any,
    weights: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """-log softmax(scores) at the label: scores [N,K,...] with labels [N,...] give a loss each.

    ``weights`` [K] counts a class more or less; what has the label ``ignore_index`` counts nothing.
    The mean divides by the weights of the labels. ``label_smoothing`` e takes the label for
    certain with 1 - e only, and spreads e over all K classes. Labels of the shape of the scores are
    probabilities of the classes, and their mean divides by how many losses there are. ``reduction``
    is ``mean``, ``sum`` or ``none``: [N,...]. ONNX: SoftmaxCrossEntropyLoss; smoothing and
    probabilities are PyTorch's.

    Raises BadArgument for labels that are no class, and for shapes that do not fit.

    >>> float(cross_entropy_loops([[0, np.log(3)]], [1]).round(4))  # -log 0.75
    0.2877
    """
    S, labels, weights = _judged(scores, labels, weights, ignore_index, label_smoothing, reduction)
    soft = labels.shape == S.shape and labels.dtype.kind == "f"
    N, K = S.shape[:2]
    places = S.shape[2:]
    losses = np.zeros((N, *places), S.dtype)
    whole = S.dtype.type(0)
    for n, *at in np.ndindex(losses.shape):
        row = [S[(n, k, *at)] for k in range(K)]
        largest = max(row)
        total = sum(np.exp(x - largest) for x in row)
        if not soft and labels[(n, *at)] == ignore_index:
            continue
        whole += S.dtype.type(1) if soft else weights[labels[(n, *at)]]
        for k in range(K):
            target = labels[(n, k, *at)] if soft else float(labels[(n, *at)] == k)
            target = target * (1 - label_smoothing) + label_smoothing / K
            if target:
                loss = -(row[k] - largest - np.log(total))
                losses[(n, *at)] += target * weights[k] * loss
    return _reduced(losses, whole, reduction)


def cross_entropy(
    scores: Any,
    labels: Any,
    weights: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """:func:`cross_entropy_loops`, computed with whole arrays.

    >>> cross_entropy([[0, np.log(3)], [0, 0]], [1, -100], reduction="none").round(4).tolist()
    [0.2877, 0.0]
    """
    S, labels, weights = _judged(scores, labels, weights, ignore_index, label_smoothing, reduction)
    K = S.shape[1]
    shifted = S - S.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))  # [N,K,...]
    if labels.shape == S.shape and labels.dtype.kind == "f":
        target, seen = labels, np.ones((len(S), *S.shape[2:]), bool)
        counted = seen.astype(S.dtype)
    else:
        seen = labels != ignore_index  # [N,...]
        target = (np.arange(K).reshape(-1, *(1,) * (S.ndim - 2)) == labels[:, None]).astype(S.dtype)
        counted = np.where(seen, weights[np.where(seen, labels, 0)], 0)
    smooth = target * (1 - label_smoothing) + label_smoothing / K
    weighed = smooth * weights.reshape(-1, *(1,) * (S.ndim - 2))  # [N,K,...]
    losses = -np.where(weighed == 0, 0, weighed * log_p).sum(axis=1)  # [N,...]
    losses = np.where(seen, losses, 0)
    return _reduced(losses.astype(S.dtype), counted.sum(), reduction)


def _channels(
    X: Any, scale: Any, B: Any, mean: Any, var: Any, training: bool
) -> tuple[Array, Array, Array, Array, Array]:
    X = _any_shape("X", X)
    if X.ndim < 2:
        raise BadArgument("X", f"an array {list(X.shape)}", "must be [N,C,...]", "reshape it")
    named = {"scale": scale, "B": B, "input_mean": mean, "input_var": var}
    each = (vector(k, v, X.shape[1], "channel", X.dtype, "[C]") for k, v in named.items())
    scale, B, mean, var = each
    if training and X.size == 0:
        rule = "must hold a number a channel: an empty batch has no mean"
        raise BadArgument("X", f"an array {list(X.shape)}", rule, "leave training_mode out")
    return X, scale, B, mean, var


def _matrices(A: Any, B: Any, C: Any, transA: int, transB: int) -> tuple[Array, Array, Array]:
    A, B = real("A", A, "[M,K]"), real("B", B, "[K,N]")
    A, B = A.T if transA else A, B.T if transB else B
    if A.shape[1] != B.shape[0]:
        rule = f"must have as many rows as A has columns, {A.shape[1]} (once both are turned)"
        raise BadArgument("B", f"an array {list(B.shape)}", rule, "check transA and transB")
    dtype = np.result_type(A, B)
    whole = A.shape[0], B.shape[1]
    try:
        C = np.broadcast_to(np.asarray(0 if C is None else C, dtype), whole)
    except ValueError:
        rule = f"must be repeatable to {list(whole)}"
        raise BadArgument("C", f"an array {list(np.shape(C))}", rule, "leave it out") from None
    return A.astype(dtype), B.astype(dtype), C


def _layer(X: Any, W: Any, B: Any) -> tuple[Array, Array, Array]:
    X, W = _any_shape("X", X), real("W", W, "[M,K]")
    if X.ndim < 1 or X.shape[-1] != W.shape[1]:
        rule = f"must be [...,K] with K = {W.shape[1]}, as W has it"
        raise BadArgument("X", f"an array {list(X.shape)}", rule, "reshape it")
    dtype = np.result_type(X, W)
    B = vector("B", B, len(W), "row of W", dtype, "[M]", 0)
    return X.astype(dtype), W.astype(dtype), B


def _judged(
    scores: Any, labels: Any, weights: Any, ignore: int, smoothing: float, reduction: str
) -> tuple[Array, Array, Array]:
    S, labels = _any_shape("scores", scores), np.asarray(labels)
    if S.ndim < 2 or S.shape[1] < 1:
        rule = "must be [N,K,...], with at least one class"
        raise BadArgument("scores", f"an array {list(S.shape)}", rule, "reshape it")
    K = S.shape[1]
    if labels.dtype.kind == "f" and labels.shape == S.shape:
        labels = labels.astype(S.dtype)
    elif labels.shape != (len(S), *S.shape[2:]) or labels.dtype.kind not in "iu":
        rule = f"must be whole numbers {[len(S), *S.shape[2:]]}, or probabilities {list(S.shape)}"
        said = f"an array {list(labels.shape)} of {labels.dtype}"
        raise BadArgument("labels", said, rule, "give one label a loss")
    else:
        wrong = labels[(labels != ignore) & ((labels < 0) | (labels >= K))]
        if wrong.size:
            rule = f"must be classes from 0 to {K - 1}, or ignore_index ({ignore})"
            raise BadArgument("labels", int(wrong[0]), rule, "check the labels")
    if not 0 <= smoothing <= 1:
        raise BadArgument("label_smoothing", smoothing, "must be from 0 to 1", "try 0.1")
    weights = vector("weights", weights, K, "class", S.dtype, "[K]", 1)
    if reduction not in REDUCTIONS:
        raise BadArgument("reduction", reduction, "is no reduction", nearest(reduction, REDUCTIONS))
    return S, labels, weights


def _reduced(losses: Array, whole: Any, reduction: str) -> Array:
    """The mean of no loss at all is 0 / 0, NaN, as in PyTorch."""
    if reduction == "none":
        return losses
    with np.errstate(invalid="ignore", divide="ignore"):
        reduced: Array = np.asarray(losses.sum() / (whole if reduction == "mean" else 1))
    return reduced.astype(losses.dtype)


def _any_shape(name: str, value: Any) -> Array:
    array = np.atleast_1d(value)
    return real(name, array, f"[{','.join('?' * array.ndim)}]")


def _axis(axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        rule = f"must be from {-ndim} to {ndim - 1}"
        raise BadArgument("axis", axis, rule, "take -1, the last")
    return axis % ndim
