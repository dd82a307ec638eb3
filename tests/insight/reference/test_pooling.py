"""Max-, average- and global pools, and where their windows lie."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import event, given
from hypothesis import strategies as st
from reference_cases import (
    around,
    close,
    drawn,
    many,
    maps,
    roomy,
    rounded,
    seeds,
    single,
    tensor,
    two,
    windows,
)
from torch.nn import functional

from convscope.errors import BadArgument
from convscope.insight import reference as ref


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
