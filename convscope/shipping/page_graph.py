"""An ONNX graph as the page's script reads it: of one image, with all that is constant computed,
its nodes as JSON and its weights as float32 in one piece.

PyTorch's exporter folds each batch norm into the convolution or linear layer before it. Where the
weights of the run are known, they are put back: the page folds by itself, and shows both steps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from convscope import webpage
from convscope.errors import BadArgument

Shapes = dict[str, tuple[int, ...] | None]
Constants = dict[str, NDArray[Any]]
SERVE = "serve it instead: convscope serve RUN"
CLOSE = 1e-5  # relative: what folded weights, rounded to float32, may be off


@dataclass(frozen=True)
class Graph:
    """A network of one input: ``nodes`` and ``constants`` as JSON, those that are no whole numbers
    by their place among the ``weights`` float32 [n]; its input by its name, with its ``shape``
    [1,C,h,w], its output, and the multiply-adds of a pass. ``shapes`` are those of the values that
    the nodes give, ``kinds`` the classes of the modules that these are of, by their paths."""

    nodes: list[dict[str, Any]]
    constants: dict[str, dict[str, Any]]
    weights: NDArray[np.float32]
    input: str
    shape: tuple[int, ...]
    output: str
    multiply_adds: int
    shapes: dict[str, tuple[int, ...]]
    kinds: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """All of it that the script needs, but for the weights."""
        kept = ("nodes", "constants", "input", "shape", "output")
        return {name: getattr(self, name) for name in kept}


def operators() -> frozenset[str]:
    """The operators that the script computes: the names in its table.

    >>> operators() >= {"Conv", "Relu", "Gemm"}
    True
    """
    table = webpage.part("convscope", "web/network.js").partition("const OPERATORS = {")[2]
    return frozenset(re.findall(r"\b([A-Z]\w*):", table.partition("\n};")[0]))


def graph_of(
    model: ModelProto,
    start: str,
    shape: tuple[int, ...],
    output: str,
    weights: Mapping[str, NDArray[Any]] | None = None,
) -> Graph:
    """The part of a model from the value ``start``, of ``shape`` [1,C,h,w], to ``output``. With the
    run's ``weights`` by their names, each batch norm that was folded stands beside its node.

    Raises BadArgument, which names node and layer, for an operator that the script does not have.
    """
    nodes = _needed(model, start, output)
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    shapes: Shapes = {}
    while True:  # a shape that was computed lets more of them be known
        shapes = _shapes(model, nodes, constants, start, shape)
        left = [node for node in nodes if not _folded(node, constants, shapes, model)]
        if len(left) == len(nodes):
            break
        nodes = left
    known = operators()
    for node in nodes:
        _check(node, known, shapes)
    norms = [_unfolded(node, constants, weights or {}) for node in nodes]
    used = {name for node in nodes for name in node.input if name in constants}
    used |= {name for norm in norms for name in norm}
    kept: dict[str, dict[str, Any]] = {}
    flat, at = [], 0
    for name in sorted(used):
        array = constants[name]
        kept[name] = {"shape": list(array.shape)}
        if array.dtype.kind in "iub":
            kept[name]["whole"] = array.astype(np.int64).ravel().tolist()
        else:
            flat.append(array.astype(np.float32).ravel())
            kept[name]["at"], at = at, at + array.size
    return Graph(
        [
            _as_json(node) | ({"norm": norm} if norm else {})
            for node, norm in zip(nodes, norms, strict=True)
        ],
        kept,
        np.concatenate(flat or [np.empty(0, np.float32)]),
        start,
        shape,
        output,
        sum(_multiply_adds(node, shapes) for node in nodes),
        {name: shapes[name] or () for node in nodes for name in node.output if name},
        {path: kind for node in nodes for path, kind in modules_of(node)[1:]},
    )


def modules_of(node: NodeProto) -> list[tuple[str, str]]:
    """The path and the class of each module that a node is in, the network itself first, as
    PyTorch's exporter notes them.

    >>> said = ": models.Net/features: nn.Sequential/features.1: nn.ReLU/relu: aten.relu"
    >>> node = helper.make_node("Relu", ["x"], ["y"])
    >>> node.metadata_props.add(key="namespace", value=said) and modules_of(node)
    [('', 'Net'), ('features', 'Sequential'), ('features.1', 'ReLU')]
    """
    noted = {one.key: one.value for one in node.metadata_props}.get("namespace", "")
    parts = [part.partition(": ") for part in noted.split("/")[:-1]]
    return [(path, kind.rpartition(".")[2]) for path, _, kind in parts]


def layer_of(node: NodeProto) -> str:
    """The path of the module that a node is of; else empty.

    >>> said = ": models.Net/features: nn.Sequential/features.1: nn.ReLU/relu: aten.relu"
    >>> node = helper.make_node("Relu", ["x"], ["y"])
    >>> node.metadata_props.add(key="namespace", value=said) and layer_of(node)
    'features.1'
    """
    return modules_of(node)[-1][0] if modules_of(node) else ""


def _needed(model: ModelProto, start: str, output: str) -> list[NodeProto]:
    """The nodes on the way from one value to another, in their order."""
    wanted, found = {output}, []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output) and start not in node.output:
            found.append(node)
            wanted.update(node.input)
    return found[::-1]


def _shapes(
    model: ModelProto, nodes: list[NodeProto], constants: Constants, start: str,
    shape: tuple[int, ...],
) -> Shapes:  # fmt: skip
    """The shape of every value, None where it is not known."""
    kind = _kind(model, start)
    given = [helper.make_tensor_value_info(start, kind, shape)]
    out = [onnx.ValueInfoProto(name=nodes[-1].output[0])]
    held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "page", given, out, held)
    part = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    found = shape_inference.infer_shapes(part, data_prop=True).graph
    shapes: Shapes = {name: array.shape for name, array in constants.items()}
    for one in [*found.value_info, *found.input, *found.output]:
        sides = [side.dim_value or None for side in one.type.tensor_type.shape.dim]
        known = one.type.tensor_type.HasField("shape") and None not in sides
        shapes[one.name] = tuple(side for side in sides if side) if known else None
    return shapes


def _kind(model: ModelProto, name: str) -> int:
    """The type of a value's elements; that of pixels, where the model does not say."""
    for one in [*model.graph.input, *model.graph.value_info]:
        if one.name == name:
            return int(one.type.tensor_type.elem_type)
    return int(onnx.TensorProto.UINT8)


def _folded(node: NodeProto, constants: Constants, shapes: Shapes, model: ModelProto) -> bool:
    """Whether all that a node gives is constant; then it is put with the constants."""
    if node.op_type == "Shape" and (shape := shapes.get(node.input[0])) is not None:
        bounds = {one.name: one.i for one in node.attribute}
        part = slice(bounds.get("start", 0), bounds.get("end"))
        constants[node.output[0]] = np.array(shape[part], np.int64)
        return True
    if not all(name in constants for name in node.input if name):
        return False
    feeds = {name: constants[name] for name in node.input if name}
    versions = {one.domain: one.version for one in model.opset_import}
    found = ReferenceEvaluator(node, opsets=versions).run(None, feeds)
    constants.update(zip(node.output, map(np.asarray, found), strict=True))
    return True


def _check(node: NodeProto, known: frozenset[str], shapes: Shapes) -> None:
    """Raise BadArgument for what the script does not compute."""
    given = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    why = ""
    if node.op_type not in known:
        why = "is an operator that the page does not compute"
    elif given.get("auto_pad", b"NOTSET") != b"NOTSET":
        why = "pads by auto_pad, which the page does not compute"
    elif node.op_type in ("Conv", "MaxPool", "AveragePool") and _rank(node, shapes) != 4:
        why = "is not over height and width, which the page computes alone"
    elif len([name for name in node.output if name]) > 1 and node.op_type != "Split":
        why = "gives more than one value, which the page does not compute"
    elif node.op_type == "Cast" and given["to"] not in (onnx.TensorProto.FLOAT,):
        why = "gives other numbers than float32, which the page does not compute"
    elif given.get("mode") == b"wrap":
        why = "pads by wrapping around, which the page does not compute"
    if why:
        layer = layer_of(node)
        where = f"{node.op_type} of layer {layer}" if layer else f"{node.op_type} ({node.name})"
        raise BadArgument("format", "page", f"{where} {why}", SERVE)


def _unfolded(
    node: NodeProto, constants: Constants, weights: Mapping[str, NDArray[Any]]
) -> list[str]:
    """Give a node the weights that it has in the run, where a batch norm was folded into them: the
    names of that one's scale, shift, mean and deviation, each [m], now among the constants. Empty
    where there was none, or the weights are not those that were folded."""
    layer, (_, name, bias) = layer_of(node), [*node.input, "", ""][:3]
    mean, raw = weights.get(f"{layer}.running_mean"), weights.get(name)
    if node.op_type not in ("Conv", "Gemm") or mean is None or raw is None or not bias:
        return []
    if raw.shape != constants[name].shape:
        return []
    folded, rows = (
        array.reshape(len(mean), -1).astype(np.float64) for array in (constants[name], raw)
    )
    scale = weights.get(f"{layer}.weight", np.ones_like(mean)).astype(np.float64)
    shift = weights.get(f"{layer}.bias", np.zeros_like(mean))
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.nan_to_num((folded * rows).sum(1) / (rows * rows).sum(1))
        usual = np.sqrt(weights[f"{layer}.running_var"] + 1e-5)
        deviation = np.where(factor == 0, usual, scale / factor)
    its_bias = f"{name.removesuffix('weight')}bias"
    own = weights.get(its_bias, np.zeros_like(mean))
    made = (rows * (scale / deviation)[:, None], shift + (own - mean) * scale / deviation)
    for wanted, found in zip(made, (folded, constants[bias]), strict=True):
        if np.abs(wanted - found).max() > CLOSE * max(1e-3, float(np.abs(found).max())):
            return []
    del node.input[2:]
    constants[name] = raw
    if its_bias in weights:
        node.input.append(its_bias)
        constants[its_bias] = own
    parts = {"weight": scale, "bias": shift, "running_mean": mean, "deviation": deviation}
    constants.update({f"{layer}.{part}": array for part, array in parts.items()})
    return [f"{layer}.{part}" for part in parts]


def _rank(node: NodeProto, shapes: Shapes) -> int | None:
    shape = shapes.get(node.input[0])
    return None if shape is None else len(shape)


def _as_json(node: NodeProto) -> dict[str, Any]:
    found = {
        "op": node.op_type,
        "in": list(node.input),
        "out": list(node.output),
        "layer": layer_of(node),
    }
    attributes = dict(_attributes(node))
    return {**found, "attributes": attributes} if attributes else found


def _attributes(node: NodeProto) -> Iterator[tuple[str, Any]]:
    for one in node.attribute:
        value = helper.get_attribute_value(one)
        if one.type == AttributeProto.STRING:
            yield one.name, value.decode()
        elif isinstance(value, int | float):
            yield one.name, value
        else:
            yield one.name, list(value)


def _multiply_adds(node: NodeProto, shapes: Shapes) -> int:
    """How many a node of one image takes, of those that matter."""
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return 0
    out, first, weight = (shapes.get(n) for n in (node.output[0], node.input[0], node.input[1]))
    if out is None or first is None or weight is None:
        return 0
    if node.op_type == "Conv":
        return math.prod(out) * math.prod(weight[1:])
    transposed = any(one.name == "transA" and one.i for one in node.attribute)
    return math.prod(out) * first[0 if transposed else -1]
