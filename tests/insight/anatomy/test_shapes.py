"""Formulas of shapes, worked out and held against the shapes themselves."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convscope.insight.anatomy import summarise

few = st.integers(1, 3)


def sizes(why: str) -> list[int]:
    """What the formulas of a row give, by Python's own arithmetic; each must say so itself."""
    found = []
    for part in re.split(r"[;,] ", why):
        left, _, right = re.sub("^(height|width) ", "", part).partition(" = ")
        if right:
            assert eval(left, {"floor": math.floor, "ceil": math.ceil}) == int(right), part
            found.append(int(right))
    return found


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(few, few), st.tuples(few, few), st.tuples(few, few), st.tuples(few, few), st.data()
)
def test_convolutions(kernel, stride, padding, dilation, data) -> None:
    size = data.draw(st.tuples(st.integers(7, 20), st.integers(7, 20)))
    layer = nn.Conv2d(
        2, 4, kernel, stride, padding, dilation, groups=data.draw(st.sampled_from([1, 2]))
    )
    if (
        min(
            n + 2 * p - d * (k - 1)
            for n, p, d, k in zip(size, padding, dilation, kernel, strict=True)
        )
        < 1
    ):
        return
    (row,) = summarise(layer, (2, *size)).rows
    assert row.output_shape == tuple(layer(torch.zeros(1, 2, *size)).shape[1:])
    found = sizes(row.why)
    assert found == list(row.output_shape[1:]) or found * 2 == list(row.output_shape[1:])
    assert row.why.startswith("4 kernels" + " in 2 groups" * (layer.groups == 2))


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 4), few, st.integers(5, 20), st.booleans(), st.data())
def test_pools(kernel, stride, size, ceil, data) -> None:
    padding = data.draw(st.integers(0, kernel // 2))
    for kind in (nn.MaxPool2d, nn.AvgPool2d):
        layer = kind(kernel, stride, padding, ceil_mode=ceil)
        (row,) = summarise(layer, (1, size, size)).rows
        out = layer(torch.zeros(1, 1, size, size)).shape[-1]
        assert row.output_shape == (1, out, out)
        less = re.search(r"less one that begins in the padding: (\d+)", row.why)
        assert sizes(row.why)[-1] == out + bool(less) and (not less or int(less[1]) == out)
        assert ("ceil(" in row.why) == ceil


@pytest.mark.parametrize(
    ("layer", "shape", "why"),
    [
        (
            nn.Conv2d(1, 16, 5, padding=2),
            (1, 28, 28),
            "16 kernels; floor((28 + 2*2 - 5)/1) + 1 = 28",
        ),
        (
            nn.Conv2d(4, 8, (3, 5), (2, 1), (2, 0), (2, 1), groups=2),
            (4, 17, 11),
            "8 kernels in 2 groups; height floor((17 + 2*2 - 2*(3 - 1) - 1)/2) + 1 = 9, "
            "width floor((11 - 5)/1) + 1 = 7",
        ),
        (nn.Conv2d(1, 2, 4, padding="same"), (1, 9, 9), None),
        (
            nn.ConvTranspose2d(4, 2, 3, 2, 1, 1),
            (4, 7, 7),
            "2 channels; (7 - 1)*2 - 2*1 + 3 + 1 = 14",
        ),
        (nn.AvgPool1d(2), (3, 24), "floor((24 - 2)/2) + 1 = 12"),
        (nn.ZeroPad2d((1, 2, 3, 4)), (1, 5, 6), "height 5 + 3 + 4 = 12, width 6 + 1 + 2 = 9"),
        (nn.Upsample(scale_factor=2), (1, 7, 7), "7 * 2 = 14"),
        (nn.AdaptiveAvgPool2d(1), (3, 7, 5), "one for 7 x 5 values"),
        (nn.AdaptiveAvgPool2d((2, 3)), (3, 7, 5), "asked for: 2 x 3"),
        (nn.Flatten(), (3, 7, 5), "3 * 7 * 5 = 105"),
        (nn.Linear(7, 5), (7,), "5 sums of 7 products"),
        (nn.ReLU(), (3, 7, 5), ""),
        (nn.Softmax(1), (3, 7, 5), ""),
    ],
)
def test_in_words(layer: nn.Module, shape, why: str | None) -> None:
    (row,) = summarise(layer, shape).rows
    if why is None:  # padded first, where PyTorch does so
        assert row.output_shape == (2, 9, 9) and sizes(row.why)[-1] == 9
    else:
        assert row.why == why
