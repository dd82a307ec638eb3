"""Cases for the reference operators: loops against arrays, both against PyTorch and ONNX Runtime.

Each test draws ``CASES`` cases (``CONVSCOPE_CASES``, 200 without it); a case is one choice of
shapes, values and of every argument, forward and, where there is one, backward, in float64 within
1e-10 and in float32 within the rounding of the sum's length. The long proof:

    CONVSCOPE_CASES=2600 pytest tests/insight/reference
    2026-11-25, two cores of an x86 server (PyTorch 2.14.1, NumPy 2.4.6): 2,600 cases of each of ten
    tests, at least 2,017 of them compared and the others rightly refused; 68 s

Pools are compared with PyTorch's own where it takes the arguments, and always with what padding by
hand and its pool or convolution make of them; so are convolutions.

``onnx_cases.json`` holds what ONNX Runtime 1.32.0 gives (CPU, opset 22) for small whole numbers;
auto_pad goes there without dilation, without ceil_mode and, where SAME, with strides that no kernel
is smaller than: with these it departs from ONNX's formulas, or refuses.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

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
