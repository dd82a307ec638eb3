"""The page's own arithmetic in a real browser: pixels against Pillow's, digits and answers against
Python's, operators and networks against ONNX Runtime."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from scipy import ndimage

from convscope import models
from convscope.data.decode import decode
from convscope.data.digits import normalised
from convscope.evaluation.calibration import Calibration
from convscope.evaluation.ood import OutOfDistribution
from convscope.evaluation.selective import Selective
from convscope.shipping.page_graph import graph_of, operators

if TYPE_CHECKING:
    from playwright.sync_api import Page

READ = "{ const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));"


def text_of(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


# pixels


FIT = """(cases) => {@ return cases.map(([rgba, width, height, c, w, h, fit]) =>
  Array.from(fitted(planesOf(bytes(rgba), width, height, c), c, width, height, w, h, fit)));
}"""


def images(count: int, seed: int) -> list[np.ndarray]:
    """Noise and soft shapes of odd sizes, grey, in colour and half transparent."""
    random, found = np.random.default_rng(seed), []
    for n in range(count):
        size = tuple(random.integers(1, 150, 2)) + ((), (3,), (4,))[n % 3]
        image = random.integers(0, 256, size, np.uint8)
        if n % 2:
            soft = random.integers(0, 256, (3, 4, *size[2:]), np.uint8)
            image = np.asarray(Image.fromarray(soft).resize(size[1::-1], Image.Resampling.BICUBIC))
        found.append(image)
    return found


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize(
    "count", [12, pytest.param(400, marks=pytest.mark.slow)]
)  # 400: passed in 59 s; 30 November 2026, two busy cores of an AMD EPYC
def test_pixels_are_fitted_as_pillow_does(engine: Page, fit: str, count: int) -> None:
    sizes, cases, wanted = [(28, 28), (24, 40), (61, 9), (100, 100)], [], []
    for n, image in enumerate(images(count, seed=7)):
        (h, w), channels = sizes[n % 4], (1, 3)[n % 2]
        rgba = np.asarray(Image.fromarray(image).convert("RGBA"))
        cases.append([text_of(rgba), *image.shape[1::-1], channels, w, h, fit])
        wanted.append(decode(image, channels=channels, size=(h, w), fit=fit).ravel())
    for found, pixels in zip(engine.evaluate(FIT.replace("{@", READ), cases), wanted, strict=True):
        assert np.abs(np.array(found) - pixels.astype(int)).max() <= 1


DIGIT = """(cases) => {@ return cases.map(([ink, width, height]) =>
  Array.from(digitOf(bytes(ink), width, height)));
}"""


def test_ink_is_made_a_digit_as_python_does(engine: Page) -> None:
    random, cases, wanted = np.random.default_rng(3), [], []
    for n in range(25):
        noise = ndimage.gaussian_filter(random.random(random.integers(1, 160, 2)), 1 + n / 4)
        ink = noise >= np.quantile(noise, random.uniform(0.4, 0.97))
        rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
        cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        cases.append([text_of(ink.astype(np.uint8)), *ink.shape[::-1]])
        wanted.append(normalised(cut).ravel())
    found = np.array(engine.evaluate(DIGIT.replace("{@", READ), cases))
    assert np.abs(found - np.array(wanted, int)).max() <= 1
    assert engine.evaluate("() => digitOf(new Uint8Array(100), 10, 10)") is None


# answers


def calibrations() -> list[Calibration]:
    def bound(threshold: float | None, asked: bool) -> Selective:
        return Selective(0.05, 500, threshold, 400, 3, asked)

    def unlike(score: str, threshold: float) -> OutOfDistribution:
        return OutOfDistribution(score, threshold, 500, {}, {})

    return [
        Calibration(),
        Calibration(0.7, None, bound(0.9, False), unlike("energy", 3.0)),
        Calibration(1.6, None, bound(None, False), unlike("max_softmax", 0.8)),
        Calibration(2.0, None, bound(None, True), None),
        Calibration(1.0, None, bound(0.5, True), unlike("energy", -1.0)),
    ]


def test_answers_are_those_of_python(engine: Page) -> None:
    random = np.random.default_rng(5)
    logits = (random.normal(size=(60, 10)) * random.uniform(0.2, 9, (60, 1))).astype(np.float32)
    logits[0] = 0
    said = "([rows, kept]) => rows.map((row) => answersOf(Float32Array.from(row), kept))"
    for one in calibrations():
        found = engine.evaluate(said, [logits.tolist(), one.as_json()])
        answers = one.answers(logits)
        np.testing.assert_allclose([row["p"] for row in found], answers.p, atol=1e-12)
        ood = [None] * 60 if answers.ood is None else answers.ood.tolist()
        assert [row["unlike"] for row in found] == ood
        unsure = [flag or None for flag in ood]  # as Prediction has it
        if answers.unsure is not None:
            unsure = answers.unsure.tolist()
        assert [row["unsure"] for row in found] == unsure


# operators


def node(kind: str, inputs: list[Any], **attributes: Any) -> onnx.ModelProto:
    """A model of one operator: arrays are constants, a shape is the input, None is left out."""
    names, held, given = [], [], None
    for n, one in enumerate(inputs):
        names.append("" if one is None else f"in{n}")
        if isinstance(one, tuple):
            given = helper.make_tensor_value_info(f"in{n}", TensorProto.FLOAT, one)
        elif one is not None:
            held.append(numpy_helper.from_array(np.asarray(one), f"in{n}"))
    parts = attributes.pop("parts", 1)
    out = ["out", "more", "most"][:parts]
    made = helper.make_node(kind, names, out, **attributes)
    ends = [onnx.ValueInfoProto(name=name) for name in out]
    graph = helper.make_graph([made], "one", [given], ends, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def some(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def whole(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


X = (1, 4, 7, 6)
EACH = [
    "Relu", "Sigmoid", "Tanh", "Erf", "Softplus", "Softsign", "Mish", "HardSwish", "HardSigmoid",
    "Elu", "Selu", "LeakyRelu", "Gelu", "Exp", "Abs", "Neg", "Reciprocal", "Identity", "Softmax",
    "LogSoftmax", "GlobalAveragePool", "GlobalMaxPool", "Flatten", "Transpose", "ReduceMean",
    "ReduceSum", "ReduceMax", "Squeeze", "Dropout",
]  # fmt: skip
NUMBER = some(1)[0]
CASES: dict[str, onnx.ModelProto] = {
    **{kind: node(kind, [X]) for kind in EACH},
    "Conv": node("Conv", [X, some(6, 4, 3, 2), some(6)], pads=[1, 0, 2, 1], strides=[2, 1]),
    "Conv by groups": node("Conv", [X, some(6, 2, 3, 3)], group=2, dilations=[2, 1]),
    "Conv of channels alone": node("Conv", [X, some(8, 1, 3, 3), some(8)], group=4, strides=[1, 2]),
    "Conv to one": node("Conv", [X, some(1, 4, 1, 1)]),
    "Gemm": node("Gemm", [(3, 5), some(5, 4), some(4)], alpha=0.5, beta=2.0),
    "Gemm transposed": node("Gemm", [(5, 3), some(4, 5)], transA=1, transB=1),
    "MatMul": node("MatMul", [(2, 3, 5), some(5, 4)]),
    "MatMul by batches": node("MatMul", [(2, 1, 3, 5), some(3, 5, 4)]),
    "MatMul of a vector": node("MatMul", [(5,), some(5, 4)]),
    "MaxPool": node("MaxPool", [X], kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]),
    "MaxPool rounded up": node("MaxPool", [X], kernel_shape=[2, 2], strides=[3, 4], ceil_mode=1),
    "MaxPool dilated": node("MaxPool", [X], kernel_shape=[2, 2], dilations=[2, 3]),
    "AveragePool": node("AveragePool", [X], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "AveragePool with pads": node(
        "AveragePool", [X], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1
    ),
    "BatchNormalization": node(
        "BatchNormalization", [X, some(4), some(4, seed=2), some(4, seed=3), some(4) ** 2]
    ),
    "LayerNormalization": node("LayerNormalization", [X, some(6), some(6)], epsilon=0.01),
    "LayerNormalization of more": node("LayerNormalization", [X, some(7, 6)], axis=-2),
    "InstanceNormalization": node("InstanceNormalization", [X, some(4), some(4)]),
    "GroupNormalization": node("GroupNormalization", [X, some(2), some(2)], num_groups=2),
    "Clip": node("Clip", [X, np.float32(-0.5), np.float32(0.75)]),
    "Clip above": node("Clip", [X, None, np.float32(0.1)]),
    "PRelu": node("PRelu", [X, some(4, 1, 1)]),
    "Gelu by tanh": node("Gelu", [X], approximate="tanh"),
    "Sqrt": node("Sqrt", [X]),
    "Log": node("Log", [X]),
    "Add": node("Add", [X, some(4, 1, 1)]),
    "Sub": node("Sub", [some(7, 6), X]),
    "Mul": node("Mul", [X, NUMBER]),
    "Div": node("Div", [X, some(1, 4, 7, 6)]),
    "Pow": node("Pow", [X, np.float32(2)]),
    "Min": node("Min", [X, some(6), NUMBER]),
    "Max": node("Max", [X, some(7, 1), NUMBER]),
    "Softmax of channels": node("Softmax", [X], axis=1),
    "ReduceMean of some": node("ReduceMean", [X, whole(-1, 2)], keepdims=0),
    "ReduceSum of none": node("ReduceSum", [X], noop_with_empty_axes=1),
    "ReduceMax of one": node("ReduceMax", [X, whole(1)]),
    "Concat": node("Concat", [X, some(1, 2, 7, 6), some(1, 1, 7, 6)], axis=1),
    "Split": node("Split", [X, whole(1, 3)], axis=1, parts=2),
    "Split evenly": node("Split", [X], axis=-2, num_outputs=3, parts=3),
    "Slice": node("Slice", [X, whole(1, -1), whole(2**63 - 1, -9), whole(2, 3), whole(2, -2)]),
    "Slice by axes": node("Slice", [X, whole(1), whole(-1), whole(-1)]),
    "Pad": node("Pad", [X, whole(0, 1, 2, 0, 0, 0, 1, 3), NUMBER]),
    "Pad by axes": node("Pad", [X, whole(1, -1, 2, 0), None, whole(2, 3)]),
    "Pad by reflection": node("Pad", [X, whole(0, 0, 2, 3, 0, 0, 1, 2)], mode="reflect"),
    "Pad by the edge": node("Pad", [X, whole(0, 0, 2, 3, 0, 0, 1, 2)], mode="edge"),
    "Gather": node("Gather", [X, whole(3, 0, -1)], axis=2),
    "Gather by a table": node("Gather", [X, np.array([[0, 1], [-1, 2]])], axis=3),
    "Gather one": node("Gather", [X, np.int64(2)], axis=1),
    "Transpose by": node("Transpose", [X], perm=[0, 2, 3, 1]),
    "Reshape": node("Reshape", [X, whole(0, -1, 3)]),
    "Flatten at": node("Flatten", [X], axis=2),
    "Unsqueeze": node("Unsqueeze", [X, whole(0, -1)]),
    "Squeeze at": node("Squeeze", [(1, 3, 1, 2), whole(2)]),
    "Expand": node("Expand", [(4, 1, 6), whole(2, 1, 5, 1)]),
    "Cast": node("Cast", [X], to=TensorProto.FLOAT),
}

RUN = """([graph, weights, pixels, names]) => {@
  const floats = (text) => new Float32Array(bytes(text).buffer);
  const network = new Network(graph, floats(weights));
  network.run(floats(pixels));
  network.run(floats(pixels)); // what is kept between passes is kept rightly
  return names.map((name) => network.value(name))
    .map(({ shape, data }) => ({ shape, data: [...data] }));
}"""


def compare(engine: Page, model: onnx.ModelProto, seed: int = 0) -> None:
    """Every value that the script computes against ONNX Runtime's."""
    given = model.graph.input[0]
    shape = tuple(side.dim_value or 1 for side in given.type.tensor_type.shape.dim)
    graph = graph_of(model, given.name, shape, model.graph.output[0].name)
    names = [name for step in graph.nodes for name in step["out"]]
    known = {one.name for one in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    pixels = np.random.default_rng(seed).random(shape, np.float32)
    if model.graph.node[0].op_type not in ("Log", "Sqrt"):
        pixels = 4 * pixels - 2
    wanted = session.run(names, {given.name: pixels})
    asked = [graph.as_json(), text_of(graph.weights), text_of(pixels), names]
    for name, found, values in zip(
        names, engine.evaluate(RUN.replace("{@", READ), asked), wanted, strict=True
    ):
        assert found["shape"] == list(values.shape), name
        scale = max(1.0, float(np.abs(values).max()))
        got = np.array(found["data"]).reshape(values.shape) / scale
        np.testing.assert_allclose(got, values / scale, atol=3e-6, err_msg=name)


def test_every_operator_computes_what_onnx_runtime_does(engine: Page) -> None:
    for name, model in CASES.items():
        try:
            compare(engine, model)
        except AssertionError as why:
            raise AssertionError(f"{name}: {why}") from None
    table = set(engine.evaluate("() => Object.keys(OPERATORS)"))
    assert table == operators() == {model.graph.node[0].op_type for model in CASES.values()}


SMALL = {name: (1, (28, 28), {}) for name in models.MODELS}
SMALL |= {name: (3, (32, 32), {}) for name in ("resnet18_small", "wide_resnet", "record")}
SMALL |= {name: (3, (64, 64), {}) for name in ("efficientnet_lite0", "efficientnet_lite2")}
SMALL["layers"] = (3, (24, 20), {"layers": "c5x3-8s2 bn gelu mp2 c3-8 relu ap2 flatten fc10"})
# All of them passed in 10 minutes; 30 November 2026, two busy cores of an AMD EPYC
QUICK = ("layers",)
SLOW = [name for name in models.MODELS if name not in QUICK]
TV = [f"tv:{name}" for name in ("mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1")]


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(one, marks=pytest.mark.slow) for one in [*SLOW, *TV])]
)
def test_every_value_of_a_network_is_that_of_onnx_runtime(engine: Page, name: str) -> None:
    channels, size, arguments = SMALL.get(name, (3, (64, 64), {}))
    torch.manual_seed(1)
    network = models.build(name, 10, channels, size, arguments).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    batch = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.onnx.export(
        network, (torch.zeros(2, channels, *size),), dynamo=True, opset_version=18,
        dynamic_shapes=batch, verbose=False,
    )  # fmt: skip
    compare(engine, program.model_proto)
