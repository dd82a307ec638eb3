"""What all operators keep to: ONNX's definitions, and refusals that say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from convscope.errors import BadArgument
from convscope.insight import reference as ref

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
