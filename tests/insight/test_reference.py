"""The reference operators: loops against arrays, both against PyTorch and ONNX Runtime.

Each test draws ``CASES`` cases (``CONVSCOPE_CASES``, 200 without it); a case is one choice of
shapes, values and of every argument, forward and, where there is one, backward, in float64 within
1e-10 and in float32 within the rounding of the sum's length. The long proof:

    CONVSCOPE_CASES=2600 pytest tests/insight/test_reference.py
    2026-11-25, two cores of an x86 server (PyTorch 2.14.1, NumPy 2.4.6): 2,600 cases of each of ten
    tests, at least 2,017 of them compared and the others rightly refused; 68 s

Pools are compared with PyTorch's own where it takes the arguments, and always with what padding by
hand and its pool or convolution make of them; so are convolutions.

``onnx_cases.json`` holds what ONNX Runtime 1.32.0 gives (CPU, opset 22) for small whole numbers;
auto_pad goes there without dilation, without ceil_mode and, where SAME, with strides that no kernel
is smaller than: with these it departs from ONNX's formulas, or refuses.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from convscope.errors import BadArgument
from convscope.insight import reference as ref

CASES = int(os.environ.get("CONVSCOPE_CASES", "200"))
many = settings(
    max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
EPSILON = 2.0**-24  # of float32: half a unit in the last place of 1
seeds = st.integers(0, 2**32 - 1)
AUTO = ("VALID", "SAME", "SAME_UPPER", "SAME_LOWER")


def close(found: Any, expected: Any) -> None:
    """Within 1e-10 of the largest, which is the scale of what was summed."""
    expected = np.asarray(expected, np.float64)
    finite = np.abs(expected[np.isfinite(expected)])
    scale = max(1.0, float(finite.max())) if finite.size else 1.0
    assert np.shape(found) == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * scale)


def rounded(found: Any, exact: Any, magnitude: Any, terms: int) -> None:
    """A float32 sum of so many terms, their absolute values summing to ``magnitude``."""
    assert np.asarray(found).dtype == np.float32
    bound = (terms + 2) * EPSILON * np.asarray(magnitude, np.float64) + 1e-40
    assert (np.abs(np.asarray(found, np.float64) - exact) <= bound).all()


def single(*arrays: Any) -> list[Any]:
    return [None if a is None else a.astype(np.float32) for a in arrays]


def tensor(array: Any, grad: bool = False) -> Any:
    return None if array is None else torch.tensor(array, requires_grad=grad)


def drawn(seed: int, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Normal numbers that float32 holds exactly, so that both precisions sum the same terms."""
    random = np.random.default_rng(seed)
    return [random.normal(size=s).astype(np.float32).astype(np.float64) for s in shapes]


pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


@st.composite
def windows(draw: Any, pool: bool) -> tuple[tuple[int, int], dict[str, Any]]:
    """A kernel, and how it moves: every way of giving each argument."""

    def size(least: int, most: int) -> Any:
        one = st.integers(least, most)
        return draw(st.one_of(one, st.tuples(one, one)))

    kernel = draw(pairs)
    given_: dict[str, Any] = {"strides": size(1, 3), "dilations": size(1, 3)}
    how = draw(st.sampled_from(["none", "one", "two", "four", *AUTO]))
    most = max(kernel) + 1
    if how in AUTO:
        given_["auto_pad"] = how
    elif how != "none":
        count = {"one": 1, "two": 2, "four": 4}[how]
        numbers = draw(st.tuples(*[st.integers(0, most)] * count))
        given_["pads"] = numbers[0] if count == 1 else numbers
    if pool:
        given_["ceil_mode"] = draw(st.booleans())
    return kernel, given_


maps = st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7))


def around(size: tuple[int, int], kernel: tuple[int, int], at: dict[str, Any]) -> list[list[int]]:
    """Left, right, top, bottom of the padding, as PyTorch's pad wants it; and of what rounding up
    makes the last window reach beyond it."""
    top, left, bottom, right = sides(size, kernel, at)
    more = [0, 0]
    for i, p in ((0, top + bottom), (1, left + right)) if at.get("ceil_mode") else ():
        if "auto_pad" in at:  # ONNX rounds nothing up there
            continue
        n, s = size[i], two(at["strides"])[i]
        span = (kernel[i] - 1) * two(at["dilations"])[i] + 1
        out = math.ceil((n + p - span) / s) + 1
        out -= (out - 1) * s >= n + (top, left)[i] and out - 1 > (n + p - span) // s
        more[i] = max(0, (out - 1) * s + span - n - p)
    return [[left, right, top, bottom], [0, more[1], 0, more[0]]]


def roomy(shape: tuple[int, ...], kernel: Any, at: dict[str, Any], seed: int) -> tuple[int, ...]:
    """In seven cases of eight as large as a window needs or larger; else refusals are met too."""
    if seed % 8 == 0:
        return shape
    edges = sides(shape[2:], kernel, {**at, "auto_pad": "VALID"})
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, two(at["dilations"]), strict=True)]
    extra = seed // 8 % 5
    least = [span - edges[i] - edges[i + 2] + extra for i, span in enumerate(spans)]
    return *shape[:2], max(shape[2], least[0]), max(shape[3], least[1])


def two(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def sides(size: tuple[int, int], kernel: tuple[int, int], at: dict[str, Any]) -> list[int]:
    """Top, left, bottom, right, worked out a second time, from ONNX's words."""
    if "pads" in at:
        p = at["pads"]
        p = (p,) * 4 if isinstance(p, int) else tuple(p)
        return list(p * 2 if len(p) == 2 else p)
    found = [0, 0, 0, 0]
    if at.get("auto_pad", "VALID") == "VALID":
        return found
    for i in (0, 1):
        out = math.ceil(size[i] / two(at["strides"])[i])
        span = (kernel[i] - 1) * two(at["dilations"])[i] + 1
        total = max(0, (out - 1) * two(at["strides"])[i] + span - size[i])
        small, large = total // 2, total - total // 2
        lower = at["auto_pad"] == "SAME_LOWER"
        found[i], found[i + 2] = (large, small) if lower else (small, large)
    return found


# convolution


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


# pooling


def pooled(kind: str, X: Any, kernel: Any, at: dict[str, Any], **more: Any) -> Any:
    """What PyTorch's pooling gives, where it takes these windows; None where it does not."""
    edges = at.get("pads", 0)
    edges = (edges,) * 2 if isinstance(edges, int) else tuple(edges)
    if at.get("auto_pad", "VALID") != "VALID" or (len(edges) == 4 and edges[:2] != edges[2:]):
        return None
    call = functional.max_pool2d if kind == "max" else functional.avg_pool2d
    more = {**more, "dilation": at["dilations"]} if kind == "max" else more
    if kind == "average" and two(at["dilations"]) != (1, 1):
        return None
    # with auto_pad ONNX knows no ceil_mode
    ceil = at["ceil_mode"] and "auto_pad" not in at
    try:
        return call(X, kernel, at["strides"], edges[:2], ceil_mode=ceil, **more)
    except RuntimeError:
        return None


@many
@given(windows(pool=True), maps, seeds, st.sampled_from(["normal", "ties", "low"]))
def test_max_pool2d(window, shape, seed, values):
    kernel, at = window
    (X,) = drawn(seed, roomy(shape, kernel, at, seed))
    if values != "normal":
        X = np.round(X)  # of equal values the first one counts
    if values == "low":
        X[X < 0] = -np.inf
    x = tensor(X, True)
    y = pooled("max", x, kernel, at)
    try:
        Y = ref.max_pool2d_loops(X, kernel, **at)
    except BadArgument as why:
        event("refused")
        assert y is None and "spans" in str(why)
        with pytest.raises(BadArgument, match="spans"):
            ref.max_pool2d(X, kernel, **at)
        return
    np.testing.assert_array_equal(ref.max_pool2d(X, kernel, **at), Y)
    for order in (0, 1):
        at_loops = ref.max_pool2d_indices_loops(X, kernel, storage_order=order, **at)
        at_arrays = ref.max_pool2d_indices(X, kernel, storage_order=order, **at)
        np.testing.assert_array_equal(at_arrays, at_loops)
    indices = ref.max_pool2d_indices(X, kernel, **at)
    assert (X.ravel()[indices[indices >= 0]] == Y[indices >= 0]).all()
    assert (Y[indices < 0] == -np.inf).all()
    (dY,) = drawn(seed + 1, Y.shape)
    dX = ref.max_pool2d_backward_loops(dY, X, kernel, **at)
    close(ref.max_pool2d_backward(dY, X, kernel, **at), dX)
    small = ref.max_pool2d(X.astype(np.float32), kernel, **at)
    assert small.dtype == np.float32 and (small == Y).all()  # nothing is summed: exact
    for backward in (ref.max_pool2d_backward, ref.max_pool2d_backward_loops):
        rounded(backward(*single(dY, X), kernel, **at), dX,
                backward(np.abs(dY), X, kernel, **at), kernel[0] * kernel[1])  # fmt: skip
    # PyTorch's pool without padding, which goes around by hand: every argument, also those that
    # its own padding refuses
    padding, more = around(X.shape[2:], kernel, at)
    whole = functional.pad(functional.pad(x, padding, value=-math.inf), more, value=-math.inf)
    by_hand = functional.max_pool2d(whole, kernel, at["strides"], 0, at["dilations"])
    np.testing.assert_array_equal(by_hand.detach().numpy(), Y)
    if np.isfinite(Y).all():
        close(dX, torch.autograd.grad(by_hand, x, torch.tensor(dY))[0].numpy())
    if y is None:
        return
    np.testing.assert_array_equal(y.detach().numpy(), Y)
    if np.isfinite(Y).all():  # PyTorch leaves open where minus infinity stands
        close(dX, torch.autograd.grad(y, x, torch.tensor(dY))[0].numpy())


@many
@given(windows(pool=True), maps, seeds, st.booleans(),
       st.one_of(st.none(), st.sampled_from([-2, 1, 3, 7])))  # fmt: skip
def test_average_pool2d(window, shape, seed, count, divisor):
    kernel, at = window
    (X,) = drawn(seed, roomy(shape, kernel, at, seed))
    x = tensor(X, True)
    y = pooled("average", x, kernel, at, count_include_pad=count, divisor_override=divisor)
    more = {"count_include_pad": count, "divisor_override": divisor, **at}
    try:
        Y = ref.average_pool2d_loops(X, kernel, **more)
    except BadArgument as why:
        event("refused")
        assert y is None and ("spans" in str(why) or "wholly in the padding" in str(why))
        with pytest.raises(BadArgument, match=r"spans|wholly in the padding"):
            ref.average_pool2d(X, kernel, **more)
        return
    close(ref.average_pool2d(X, kernel, **more), Y)
    (dY,) = drawn(seed + 1, Y.shape)
    dX = ref.average_pool2d_backward_loops(dY, X, kernel, **more)
    taps = kernel[0] * kernel[1]
    positive = {**more, "divisor_override": None if divisor is None else abs(divisor)}
    for forward, backward in (
        (ref.average_pool2d, ref.average_pool2d_backward),
        (ref.average_pool2d_loops, ref.average_pool2d_backward_loops),
    ):
        close(backward(dY, X, kernel, **more), dX)
        rounded(forward(X.astype(np.float32), kernel, **more), Y,
                forward(np.abs(X), kernel, **positive), taps + 1)  # fmt: skip
        rounded(backward(*single(dY, X), kernel, **more), dX,
                backward(np.abs(dY), X, kernel, **positive), taps + 1)  # fmt: skip
    if y is not None:
        close(Y, y.detach().numpy())
        close(dX, torch.autograd.grad(y, x, torch.tensor(dY))[0].numpy())
    # and a convolution with ones, which takes every argument
    padding, beyond = around(X.shape[2:], kernel, at)
    ones = torch.ones(1, 1, *kernel).double()
    windows_of = {"stride": at["strides"], "dilation": at["dilations"]}
    flat = functional.pad(functional.pad(x.reshape(-1, 1, *X.shape[2:]), padding), beyond)
    counted = functional.pad(torch.ones(1, 1, *X.shape[2:]).double(), padding, value=count)
    counts = functional.conv2d(functional.pad(counted, beyond), ones, **windows_of)
    total = functional.conv2d(flat, ones, **windows_of)
    by_hand = (total / (counts if divisor is None else divisor)).reshape(Y.shape)
    close(Y, by_hand.detach().numpy())
    close(dX, torch.autograd.grad(by_hand, x, torch.tensor(dY))[0].numpy())


@many
@given(maps, seeds, st.booleans())
def test_global_pools(shape, seed, ties):
    X, dY = drawn(seed, shape, (*shape[:2], 1, 1))
    X = np.round(X) if ties else X
    pixels = shape[2] * shape[3]
    for name, pool in (("max", functional.adaptive_max_pool2d),
                       ("average", functional.adaptive_avg_pool2d)):  # fmt: skip
        x = tensor(X, True)
        if shape[0]:
            y = pool(x, 1)
            wanted = torch.autograd.grad(y, x, torch.tensor(dY))[0].numpy()
            wanted_y = y.detach().numpy()
        else:
            wanted, wanted_y = X, np.zeros((0, shape[1], 1, 1))
        for twin in ("", "_loops"):
            forward = getattr(ref, f"global_{name}_pool2d{twin}")
            backward = getattr(ref, f"global_{name}_pool2d_backward{twin}")
            close(forward(X), wanted_y)
            close(backward(dY, X), wanted)
            rounded(forward(*single(X)), wanted_y, forward(np.abs(X)), pixels + 1)
            rounded(backward(*single(dY, X)), wanted, backward(np.abs(dY), X), 2)


def test_every_window_lies_where_torch_puts_it():
    """All sizes up to 7 with all kernels, paddings, strides, dilations and both ways to round."""
    tried = 0
    for n, k, s, d, p, ceil in np.ndindex(7, 4, 3, 3, 4, 2):
        X = torch.empty(1, 1, n + 1, 40, device="meta")
        try:
            y = functional.max_pool2d(X, (k + 1, 1), (s + 1, 1), (p, 0), (d + 1, 1), bool(ceil))
        except RuntimeError:
            continue
        (axis, _) = ref.axes_of((n + 1, 40), (k + 1, 1), pads=(p, 0), strides=(s + 1, 1),
                                dilations=(d + 1, 1), ceil_mode=bool(ceil))  # fmt: skip
        assert axis.out == y.shape[2], (n, k, s, d, p, ceil)
        tried += 1
    assert tried > 650


def test_same_is_as_many_windows_as_the_stride_leaves_and_no_more_padding_than_they_need():
    for n, k, s, d in np.ndindex(9, 4, 5, 3):
        size, kernel, stride, dilation = n + 1, k + 1, s + 1, d + 1
        upper, lower = (
            ref.axes_of((size, 9), (kernel, 1), strides=(stride, 1), dilations=(dilation, 1),
                        auto_pad=name)[0]
            for name in ("SAME_UPPER", "SAME_LOWER")
        )  # fmt: skip
        assert upper.out == lower.out == math.ceil(size / stride)
        needed = (upper.out - 1) * stride + upper.span
        assert upper.padded == lower.padded == max(size, needed)
        assert (upper.begin, upper.end) == (lower.end, lower.begin)
        assert upper.end - upper.begin in (0, 1)


def test_padding_counts_but_not_what_rounding_up_adds():
    """The second window has a pixel, one of padding, and one that is neither."""
    X = np.full((1, 1, 1, 4), 6.0)
    at = {"pads": (0, 1), "strides": (1, 4), "ceil_mode": True}
    for pool in (ref.average_pool2d, ref.average_pool2d_loops):
        assert pool(X, (1, 3), **at, count_include_pad=True).tolist() == [[[[4, 3]]]]
        assert pool(X, (1, 3), **at).tolist() == [[[[6, 6]]]]


def test_a_map_with_a_hole_in_it():
    X = np.array([[[[1.0, np.nan], [2.0, 3.0]]]])
    for pool in (ref.max_pool2d, ref.max_pool2d_loops):
        assert np.isnan(pool(X, 2)).all()
        assert pool(X, 1)[0, 0, 1].tolist() == [2.0, 3.0]
    for indices in (ref.max_pool2d_indices, ref.max_pool2d_indices_loops):
        assert indices(X, 2).tolist() == [[[[1]]]]


# ONNX Runtime

ONNX = json.loads((Path(__file__).parent / "onnx_cases.json").read_text())["cases"]
OPERATORS = {
    "Conv": (ref.conv2d, ref.conv2d_loops),
    "MaxPool": (ref.max_pool2d, ref.max_pool2d_loops),
    "AveragePool": (ref.average_pool2d, ref.average_pool2d_loops),
    "GlobalMaxPool": (ref.global_max_pool2d, ref.global_max_pool2d_loops),
    "GlobalAveragePool": (ref.global_average_pool2d, ref.global_average_pool2d_loops),
    "BatchNormalization": (ref.batch_norm, ref.batch_norm_loops),
    "Gemm": (ref.gemm, ref.gemm_loops),
}


@pytest.mark.parametrize("operator", OPERATORS)
def test_onnx(operator):
    """Inputs and attributes go in under ONNX's own names."""
    cases = [case for case in ONNX if case["op"] == operator]
    assert len(cases) >= 4
    for case in cases:
        at = dict(case["attributes"])
        order = at.pop("storage_order", 0)
        if operator == "Conv":
            assert at.pop("kernel_shape") == list(np.shape(case["inputs"]["W"])[2:])
        for function in OPERATORS[operator]:
            Y = function(**case["inputs"], **at)
            Y = Y[0] if operator == "BatchNormalization" else Y
            assert Y.shape == tuple(case.get("shape", np.shape(case["Y"]))), case
            np.testing.assert_allclose(Y.ravel(), np.ravel(case["Y"]), rtol=1e-5, atol=1e-5)
        if operator == "MaxPool":
            for indices in (ref.max_pool2d_indices, ref.max_pool2d_indices_loops):
                found = indices(**case["inputs"], storage_order=order, **at)
                assert found.tolist() == case["Indices"], case


# layers


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


# learning a kernel


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


# what bad input gets

X5, W3 = np.zeros((1, 4, 5, 5)), np.zeros((2, 4, 3, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ref.conv2d(X5, np.zeros((1, 4, 6, 3))),
         r"kernel_shape=6x3: spans 6 pixels of height, and the padded input has only 5; take a "
         r"smaller kernel, or more padding"),
        (lambda: ref.conv2d(X5, W3, dilations=3),
         r"spans 7 pixels of height \(3 taps, 3 apart\), and the padded input has only 5"),
        (lambda: ref.conv2d(X5, W3, strides=0),
         r"strides=0: must be whole numbers of at least 1; try 1"),
        (lambda: ref.conv2d(X5, W3, dilations=(1, 0)), r"dilations=\(1, 0\)"),
        (lambda: ref.conv2d(X5, W3, pads=-1),
         r"pads=-1: must be whole numbers of at least 0; try 1"),
        (lambda: ref.conv2d(X5, W3, pads=(1, 1, 1)), r"one whole number, two .* or four"),
        (lambda: ref.conv2d(X5, W3, strides=(1, 1, 1)), r"one whole number, or two"),
        (lambda: ref.conv2d(X5, W3, strides=1.5), r"strides=1.5: must be whole numbers"),
        (lambda: ref.conv2d(X5, W3, pads=1, auto_pad="VALID"), r"pads=1: cannot be given together"),
        (lambda: ref.conv2d(X5, W3, auto_pad="same-lowr"), r"did you mean SAME_LOWER"),
        (lambda: ref.conv2d(X5, np.zeros((3, 2, 3, 3)), group=2),
         r"group=2: must be a whole number of at least 1 that divides W's kernels \(3\); take one "
         r"of 1, 3"),
        (lambda: ref.conv2d(X5, W3, group=3), r"divides X's channels \(4\); take one of 1, 2, 4"),
        (lambda: ref.conv2d(X5, W3, group=0), r"group=0"),
        (lambda: ref.conv2d(X5, W3, group=2), r"W=an array \[2, 4, 3, 3\].*C/group = 4/2 = 2"),
        (lambda: ref.conv2d(X5, W3, np.zeros(3)), r"B=an array \[3\]: must be one number a kernel"),
        (lambda: ref.conv2d(X5[0], W3), r"X=an array \[4, 5, 5\]: must be \[N,C,H,W\]"),
        (lambda: ref.conv2d(X5[:, :0], W3), r"at least one channel"),
        (lambda: ref.conv2d(np.array("a"), W3), r"X=an array of <U1: must hold real numbers"),
        (lambda: ref.conv2d_backward(np.zeros((1, 2, 2, 3)), X5, W3),
         r"dY=an array \[1, 2, 2, 3\]: must have the shape of Y, \[1, 2, 3, 3\]"),
        (lambda: ref.max_pool2d(X5, 0), r"kernel_shape=0: must be whole numbers of at least 1"),
        (lambda: ref.max_pool2d_indices(X5, 2, storage_order=2), r"storage_order=2"),
        (lambda: ref.max_pool2d_indices_loops(X5, 2, storage_order=2), r"storage_order=2"),
        (lambda: ref.average_pool2d(X5, 2, pads=3), r"pads=\(3, 3, 3, 3\): leaves windows that"),
        (lambda: ref.average_pool2d(X5, 2, divisor_override=0), r"divisor_override=0"),
        (lambda: ref.axes_of((0, 4), 2), r"size=\(0, 4\)"),
        (lambda: ref.batch_norm(X5, [1], [1], [1], [1]), r"scale=an array \[1\]: .*\[4\]"),
        (lambda: ref.batch_norm(np.zeros(3), [1], [1], [1], [1]), r"must be \[N,C,\.\.\.\]"),
        (lambda: ref.gemm([[1, 2]], [[1, 2]]), r"B=an array \[1, 2\]: must have as many rows"),
        (lambda: ref.gemm([[1, 2]], [[1], [2]], [1, 2]), r"C=an array \[2\]: .*\[1, 1\]"),
        (lambda: ref.linear([[1, 2]], [[1]]), r"must be \[\.\.\.,K\] with K = 1"),
        (lambda: ref.linear([[1]], [[1]], [1, 2]), r"B=an array \[2\]"),
        (lambda: ref.cross_entropy([[1.0, 2.0]], [2]), r"labels=2: must be classes from 0 to 1"),
        (lambda: ref.cross_entropy([[1.0, 2.0]], [0.5]), r"labels=an array \[1\] of float64"),
        (lambda: ref.cross_entropy([1.0], [0]), r"scores=an array \[1\]"),
        (lambda: ref.cross_entropy([[1.0]], [0], [1, 2]), r"weights=an array \[2\]"),
        (lambda: ref.cross_entropy([[1.0]], [0], reduction="avg"), r"reduction=avg"),
        (lambda: ref.cross_entropy([[1.0]], [0], label_smoothing=2), r"label_smoothing=2"),
        (lambda: ref.learn_kernel(np.zeros((3, 3)), np.zeros((2, 2))), r"zero everywhere"),
        (lambda: ref.learn_kernel(np.eye(3), np.eye(2), lr=9), r"lr=9: must be above 0 and below"),
        (lambda: ref.learn_kernel(np.eye(3), np.eye(2), steps=0), r"steps=0"),
        (lambda: ref.learn_kernel(np.eye(3), np.eye(4)), r"kernel_shape=4x4"),
        (lambda: ref.learn_kernel(np.eye(3) * np.nan, np.eye(2)), r"not finite"),
    ],
)  # fmt: skip
def test_refusals(call, message):
    with pytest.raises(BadArgument, match=message):
        call()
