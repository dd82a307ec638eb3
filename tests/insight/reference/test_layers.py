"""Batch normalisation, linear layers, softmax and cross-entropy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import event, given
from hypothesis import strategies as st
from reference_cases import close, drawn, many, rounded, seeds, single, tensor
from torch.nn import functional

from convscope.errors import BadArgument
from convscope.insight import reference as ref


@many
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), seeds, st.booleans(),
       st.tuples(st.integers(0, 3), st.integers(1, 4)), st.floats(1e-6, 0.5),
       st.floats(0, 1))  # fmt: skip
def test_batch_norm(places, seed, training, outer, epsilon, momentum):
    places = places[1:]
    X, scale, B, mean, var = drawn(seed, (*outer, *places), *[(outer[1],)] * 4)
    var = np.abs(var) + 0.1
    count = X.size // outer[1]
    more = {"epsilon": epsilon, "momentum": momentum, "training_mode": training}
    if training and count == 0:
        event("refused")
        for batch_norm in (ref.batch_norm, ref.batch_norm_loops):
            with pytest.raises(BadArgument, match="empty batch"):
                batch_norm(X, scale, B, mean, var, **more)
        return
    found = ref.batch_norm(X, scale, B, mean, var, **more)
    for one, other in zip(ref.batch_norm_loops(X, scale, B, mean, var, **more), found, strict=True):
        close(one, other)
    if not (training and count == 1):  # PyTorch refuses one number a channel
        m, v = tensor(mean), tensor(var)
        Y = functional.batch_norm(
            tensor(X), m, v, tensor(scale), tensor(B), training, 1 - momentum, epsilon
        )
        close(found[0], Y.numpy())
        close(found[1], m.numpy())
        batch = var + (v.numpy() - var) * ((count - 1) / count if training else 1)
        if training:  # PyTorch's running variance divides by the count less one
            batch = var * momentum + (v.numpy() - var * momentum) * (count - 1) / count
        close(found[2], batch)
    for batch_norm in (ref.batch_norm, ref.batch_norm_loops):
        small = batch_norm(*single(X, scale, B, mean, var), **more)
        m, v = (X.mean((0, *range(2, X.ndim))), X.var((0, *range(2, X.ndim)))) if training else (
            mean, var)  # fmt: skip
        at = (-1, *(1,) * len(places))
        spread = np.abs(X).max(initial=0) + np.abs(m).reshape(at)
        gain = np.abs(scale).reshape(at) / np.sqrt(v + epsilon).reshape(at)
        steep = 1 + spread**2 / (v + epsilon).reshape(at)  # what a rounded mean does to the root
        bound = gain * spread * steep + np.abs(B).reshape(at)
        rounded(small[0], found[0], np.broadcast_to(bound, X.shape), 4 * count + 8)


@many
@given(st.tuples(*[st.integers(0, 4)] * 3), seeds, st.booleans(), st.booleans(),
       st.sampled_from([0.0, 1.0, 0.5, -2.0]), st.sampled_from([0.0, 1.0, 3.0]),
       st.sampled_from(["none", "row", "column", "whole", "one"]))  # fmt: skip
def test_gemm(shape, seed, turn_a, turn_b, alpha, beta, added):
    M, K, N = shape
    A, B = drawn(seed, (K, M) if turn_a else (M, K), (N, K) if turn_b else (K, N))
    kinds = {"row": (N,), "column": (M, 1), "whole": (M, N), "one": ()}
    C = None if added == "none" else drawn(seed + 1, kinds[added])[0]
    a, b = tensor(A.T if turn_a else A), tensor(B.T if turn_b else B)
    c = torch.zeros(()).double() if C is None else tensor(C)
    wanted = (alpha * (a @ b) + beta * c).numpy()
    more = {"alpha": alpha, "beta": beta, "transA": int(turn_a), "transB": int(turn_b)}
    most = {**more, "alpha": abs(alpha), "beta": abs(beta)}
    heavy = ref.gemm(np.abs(A), np.abs(B), None if C is None else np.abs(C), **most)
    for gemm in (ref.gemm, ref.gemm_loops):
        close(gemm(A, B, C, **more), wanted)
        rounded(gemm(*single(A, B, C), **more), wanted, heavy, K + 3)


@many
@given(st.lists(st.integers(0, 3), max_size=3), st.integers(1, 5), st.integers(1, 4), seeds,
       st.booleans())  # fmt: skip
def test_linear(leading, K, M, seed, bias):
    X, W, B, dY = drawn(seed, (*leading, K), (M, K), (M,), (*leading, M))
    x, w, b = tensor(X, True), tensor(W, True), tensor(B, True)
    y = functional.linear(x, w, b if bias else None)
    wanted = [g.numpy() for g in torch.autograd.grad(y, [x, w], torch.tensor(dY))]
    wanted.append(dY.reshape(-1, M).sum(0))
    sizes = ref.linear_backward(np.abs(dY), np.abs(X), np.abs(W))
    terms = (M, math.prod(leading), math.prod(leading))
    B = B if bias else None
    heavy = ref.linear(np.abs(X), np.abs(W), None if B is None else np.abs(B))
    for twin in ("", "_loops"):
        linear, backward = getattr(ref, f"linear{twin}"), getattr(ref, f"linear_backward{twin}")
        close(linear(X, W, B), y.detach().numpy())
        rounded(linear(*single(X, W, B)), y.detach().numpy(), heavy, K + 1)
        small = backward(*single(dY, X, W))
        for got, less, exact, size, n in zip(backward(dY, X, W), small, wanted, sizes, terms,
                                             strict=True):  # fmt: skip
            close(got, exact)
            rounded(less, exact, size, n)


@many
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), seeds, st.integers(-4, 3),
       st.sampled_from([0.1, 1.0, 1000.0]))  # fmt: skip
def test_softmax(shape, seed, axis, scale):
    X = drawn(seed, tuple(shape))[0] * scale
    if not -X.ndim <= axis < X.ndim:
        event("refused")
        for softmax in (ref.softmax, ref.softmax_loops):
            with pytest.raises(BadArgument, match="axis"):
                softmax(X, axis)
        return
    wanted = torch.softmax(tensor(X), axis).numpy()
    small = X.astype(np.float32)
    exact = torch.softmax(tensor(small).double(), axis).numpy()
    for softmax in (ref.softmax, ref.softmax_loops):
        close(softmax(X, axis), wanted)
        spread = 1 + np.abs(small).max()  # the rounding of x - max, through exp
        rounded(softmax(small, axis), exact, 4 * spread * exact + 1e-30, shape[axis] + 2)


@many
@given(st.lists(st.integers(1, 3), max_size=2), st.integers(0, 4), st.integers(1, 5), seeds,
       st.sampled_from(["mean", "sum", "none"]), st.booleans(), st.booleans(),
       st.sampled_from([0.0, 0.1, 1.0]), st.sampled_from([-100, 0, 2]))  # fmt: skip
def test_cross_entropy(places, N, K, seed, reduction, weighed, soft, smoothing, ignore):
    S, weights = drawn(seed, (N, K, *places), (K,))
    weights = np.abs(weights) + 0.1 if weighed else None
    random = np.random.default_rng(seed)
    labels: Any = random.integers(0, K, (N, *places))
    labels[random.random(labels.shape) < 0.2] = ignore
    labels[labels >= K] = 0 if ignore != 0 else K - 1
    if ignore == 2 and K <= 2:
        ignore = -100
    if soft:
        labels = ref.softmax(drawn(seed + 1, S.shape)[0], 1)
    kind = {"reduction": reduction, "label_smoothing": smoothing}
    off = {} if soft else {"ignore_index": ignore}
    y = functional.cross_entropy(tensor(S), tensor(labels), tensor(weights), **off, **kind).numpy()
    for cross_entropy in (ref.cross_entropy, ref.cross_entropy_loops):
        found = cross_entropy(S, labels, weights, **off, **kind)
        close(found, y)
        small = cross_entropy(*single(S), labels, weights, **off, **kind)
        largest = 8 * (1 + np.abs(S).max(initial=0)) * (1 if weights is None else 3 + weights.max())
        finite = np.isfinite(y)
        terms = K * max(1, S.size)
        rounded(small[finite], y[finite], largest * max(1, N * math.prod(places)), terms)
