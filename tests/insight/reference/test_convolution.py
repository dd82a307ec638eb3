"""Convolution, and a kernel that is learnt."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from reference_cases import (
    CASES,
    close,
    drawn,
    many,
    maps,
    pairs,
    roomy,
    rounded,
    seeds,
    sides,
    single,
    tensor,
    two,
    windows,
)
from torch.nn import functional

from convscope.errors import BadArgument
from convscope.insight import reference as ref


@many
@given(windows(pool=False), st.tuples(*[st.integers(1, 3)] * 3), maps, seeds, st.booleans(),
       st.booleans())  # fmt: skip
def test_conv2d(window, grouping, shape, seed, bias, flip):
    kernel, at = window
    group, depth, each = grouping
    N, _, H, W_ = roomy(shape, kernel, at, seed)
    X, W, B = drawn(seed, (N, group * depth, H, W_), (group * each, depth, *kernel),
                    (group * each,))  # fmt: skip
    B = B if bias else None
    top, left, bottom, right = sides((H, W_), kernel, at)
    x, w, b = tensor(X, True), tensor(W, True), tensor(B, True)
    turned = w.flip(2, 3) if flip else w
    try:
        y = functional.conv2d(functional.pad(x, (left, right, top, bottom)), turned, b,
                              two(at["strides"]), 0, two(at["dilations"]), group)  # fmt: skip
    except RuntimeError:
        event("refused")
        with pytest.raises(BadArgument, match="kernel_shape=.*spans"):
            ref.conv2d(X, W, B, group=group, **at)
        with pytest.raises(BadArgument, match="kernel_shape=.*spans"):
            ref.conv2d_loops(X, W, B, group=group, **at)
        return
    (dY,) = drawn(seed + 1, tuple(y.shape))
    inputs = [x, w] if b is None else [x, w, b]
    wanted = [g.numpy() for g in torch.autograd.grad(y, inputs, torch.tensor(dY))]
    wanted = [*wanted, dY.sum((0, 2, 3))][:3]
    more = {"group": group, "flip": flip, **at}
    size = np.abs
    weight = ref.conv2d(size(X), size(W), None if B is None else size(B), **more)
    weights = ref.conv2d_backward(size(dY), size(X), size(W), **more)
    lengths = [each * kernel[0] * kernel[1], dY[:, 0].size, dY[:, 0].size]
    for forward, backward in (
        (ref.conv2d, ref.conv2d_backward),
        (ref.conv2d_loops, ref.conv2d_backward_loops),
    ):
        close(forward(X, W, B, **more), y.detach().numpy())
        rounded(forward(*single(X, W, B), **more), y.detach().numpy(), weight,
                depth * kernel[0] * kernel[1] + 1)  # fmt: skip
        found, small = backward(dY, X, W, **more), backward(*single(dY, X, W), **more)
        for got, less, exact, heavy, n in zip(found, small, wanted, weights, lengths, strict=True):
            close(got, exact)
            rounded(less, exact, heavy, n)


@many
@given(pairs, st.tuples(*[st.integers(-1, 5)] * 2), seeds)
def test_corr2d(kernel, more, seed):
    X, K = drawn(seed, tuple(max(1, k + n) for k, n in zip(kernel, more, strict=True)), kernel)
    if K.shape[0] > X.shape[0] or K.shape[1] > X.shape[1]:
        event("refused")
        for corr2d in (ref.corr2d, ref.corr2d_loops):
            with pytest.raises(BadArgument, match="kernel_shape"):
                corr2d(X, K)
        return
    y = functional.conv2d(tensor(X)[None, None], tensor(K)[None, None])[0, 0].numpy()
    for corr2d in (ref.corr2d, ref.corr2d_loops):
        close(corr2d(X, K), y)
        rounded(corr2d(*single(X, K)), y, corr2d(np.abs(X), np.abs(K)), K.size)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_torch_calls_it_same_and_valid():
    X, W = drawn(1, (2, 3, 6, 5), (4, 3, 4, 2))
    for name in ("same", "valid"):
        wanted = functional.conv2d(tensor(X), tensor(W), padding=name, dilation=(1, 3)).numpy()
        for conv2d in (ref.conv2d, ref.conv2d_loops):
            close(conv2d(X, W, auto_pad=name, dilations=(1, 3)), wanted)


def test_system_d():
    """The numbers of a well-known chapter on convolution."""
    X, K = np.arange(9.0).reshape(3, 3), np.arange(4.0).reshape(2, 2)
    for corr2d in (ref.corr2d, ref.corr2d_loops):
        assert corr2d(X, K).tolist() == [[19, 25], [37, 43]]
    assert ref.conv2d(X[None, None], K[None, None], flip=True)[0, 0].tolist() == [[5, 11], [23, 29]]
    image = np.random.default_rng(0).random((1, 1, 8, 8))
    shapes = {
        ((5, 3), (2, 1), 1): (8, 8),
        ((3, 3), 1, 2): (4, 4),
        ((3, 5), (0, 1), (3, 4)): (2, 2),
    }
    for (kernel, pads, strides), shape in shapes.items():
        Y = ref.conv2d(image, np.ones((1, 1, *kernel)), pads=pads, strides=strides)
        assert Y.shape[2:] == shape
    grid = np.arange(16.0).reshape(1, 1, 4, 4)
    for pool in (ref.max_pool2d, ref.max_pool2d_loops):
        assert pool(grid, 3, strides=3).tolist() == [[[[10]]]]
        assert pool(grid, 3, pads=1, strides=2)[0, 0].tolist() == [[5, 7], [13, 15]]
        wide = pool(grid, (2, 3), pads=(1, 2), strides=(2, 3))
        assert wide[0, 0].tolist() == [[0, 3], [8, 11], [12, 15]]


@settings(many, max_examples=min(CASES, 40))
@given(st.tuples(st.integers(1, 3), st.integers(1, 3)), seeds)
def test_a_kernel_is_recovered(shape, seed):
    x, kernel = drawn(seed, (9, 10), shape)
    learnt = ref.learn_kernel(x, ref.corr2d(x, kernel), steps=400)
    np.testing.assert_allclose(learnt.kernel, kernel, atol=1e-3)
    assert learnt.determined == kernel.size
    assert (np.diff(learnt.losses) <= 1e-12).all() and len(learnt.losses) == 401


def test_the_edge_finder():
    x = np.ones((6, 8))
    x[:, 2:6] = 0
    y = ref.corr2d(x, [[1.0, -1.0]])
    assert y.shape == (6, 7)
    learnt = ref.learn_kernel(x, y, steps=60)
    np.testing.assert_allclose(learnt.kernel, [[1, -1]], atol=1e-3)
    assert np.array_equal(learnt.kernels[-1], learnt.kernel) and learnt.losses[0] > 0.1
    again = ref.learn_kernel(x, y, steps=60, lr=learnt.lr)
    assert np.array_equal(again.kernel, learnt.kernel)
    other = ref.learn_kernel(x, y, steps=60, seed=1)
    assert not np.array_equal(other.kernels[0], learnt.kernels[0])
    rows = np.ones((6, 8)) * np.arange(6)[:, None]  # the same in every column
    assert ref.learn_kernel(rows, rows[:, :7]).determined == 1


def test_the_gradient_it_goes_down_is_that_of_the_loss():
    x, y = drawn(3, (5, 6), (4, 4))
    learnt = ref.learn_kernel(x, y, steps=1)
    k = torch.tensor(learnt.kernels[0], requires_grad=True)
    loss = (functional.conv2d(tensor(x)[None, None], k[None, None])[0, 0] - tensor(y)).square()
    loss.mean().backward()
    close((learnt.kernels[0] - learnt.kernels[1]) / learnt.lr, k.grad.numpy())
    close(learnt.losses[0], loss.mean().item())
