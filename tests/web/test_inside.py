"""Inside: the network stage by stage in a real browser, its units taken apart. The arithmetic is held
against PyTorch and convscope.insight.reference on the run's weights, what a unit sees against the
anatomy, the heat map against the one of `explain`."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from convscope import models
from convscope.data.columns import of_model
from convscope.insight import anatomy, reference
from convscope.insight.explain import heat
from convscope.models import store
from convscope.predicting.onnx_file import FITTED, LOGITS, OnnxFile
from convscope.run import find
from convscope.shipping import onnx as graphs
from convscope.shipping.page import page_of
from convscope.shipping.page_graph import Graph, graph_of
from convscope.shipping.page_stages import Stage, stages_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

Opened = Callable[..., "Page"]
Unit = dict[str, Any]

UNITS = """([graph, weights, pixels, asked]) => {
  const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const floats = (text) => new Float32Array(bytes(text).buffer);
  const network = new Network(graph, floats(weights));
  network.run(floats(pixels));
  const found = asked.map(([n, at]) => ({
    ...unfolded(network, graph.stages[n], at),
    field: fieldOf(network, graph.stages[n].value, at),
  }));
  return JSON.stringify(found, (_, one) => (ArrayBuffer.isView(one) ? Array.from(one) : one));
}"""


def text_of(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, np.float32).tobytes()).decode()


def taken_apart(
    engine: Page, graph: Graph, pixels: np.ndarray, asked: list[tuple[int, int]]
) -> list[Unit]:
    """Units of a graph, each a stage and a place, as the page takes them apart."""
    given = graph.as_json() | {"stages": stages_of(graph)}
    told = engine.evaluate(UNITS, [given, text_of(graph.weights), text_of(pixels), asked])
    found: list[Unit] = json.loads(told)
    return found


def some_units(stages: list[Stage], count: int, seed: int = 0) -> list[tuple[int, int]]:
    """So many units, of every stage at least one where there is room."""
    random = np.random.default_rng(seed)
    which = [n % len(stages) for n in range(max(count, len(stages)))]
    return [(n, int(random.integers(np.prod(stages[n]["shape"])))) for n in which]


# against the run


class Seen:
    """What each module of a network is given and gives, [1,...] in float64, for one image."""

    def __init__(self, network: nn.Module, pixels: np.ndarray) -> None:
        self.network = network.double().eval()
        self.given: dict[str, np.ndarray] = {}
        self.gives: dict[str, np.ndarray] = {}
        hooks = [
            module.register_forward_hook(self._keep(name))
            for name, module in self.network.named_modules()
        ]
        with torch.no_grad():
            self.network(torch.from_numpy(pixels.astype(np.float64) / 255))
        for hook in hooks:
            hook.remove()

    def _keep(self, name: str) -> Callable[..., None]:
        def keep(module: nn.Module, given: Any, out: Any) -> None:
            self.given[name] = given[0].numpy().copy()
            self.gives[name] = out.numpy().copy()

        return keep


def parameter(network: nn.Module, name: str) -> np.ndarray | None:
    found = network.state_dict().get(name)
    return None if found is None else found.numpy()


def normed(network: nn.Module, layer: str, X: np.ndarray) -> np.ndarray:
    module = network.get_submodule(layer)
    names = ("weight", "bias", "running_mean", "running_var")
    parts = [parameter(network, f"{layer}.{name}") for name in names]
    return reference.batch_norm(X, *parts, epsilon=module.eps)[0]


def moves_of(node: dict[str, Any]) -> dict[str, Any]:
    kept = ("pads", "strides", "dilations")
    return {key: tuple(value) for key, value in node["attributes"].items() if key in kept}


def by_reference(seen: Seen, graph: Graph, stage: Stage) -> dict[str, np.ndarray]:
    """What convscope.insight.reference makes of a layer's input on the run's weights: its values,
    and before that its sums; empty for what has none there."""
    node, layer, network = graph.nodes[stage["nodes"][0]], stage["layer"], seen.network
    X = seen.given.get(layer)
    if X is None:
        return {}
    W, B = (parameter(network, f"{layer}.{name}") for name in ("weight", "bias"))
    if stage["does"] == "conv":
        group = node["attributes"].get("group", 1)
        total = reference.conv2d(X, W, group=group, **moves_of(node))
        added = total if B is None else total + B[:, None, None]
        after = normed(network, stage["norm"], added) if "norm" in stage else added
        return {"total": total, "result": after}
    if stage["does"] == "linear" and isinstance(network.get_submodule(layer), nn.Linear):
        total = reference.linear(X.reshape(1, -1), W)
        return {"total": total, "result": total if B is None else total + B}
    if stage["does"] == "norm":
        return {"result": normed(network, layer, X)}
    if stage["does"] == "maxpool":
        return {"result": reference.max_pool2d(X, node["attributes"]["kernel_shape"], **moves_of(node))}
    if stage["does"] == "avgpool":
        whole = bool(node["attributes"].get("count_include_pad"))
        kernel = node["attributes"]["kernel_shape"]
        return {"result": reference.average_pool2d(X, kernel, count_include_pad=whole, **moves_of(node))}
    if stage["does"] == "mean":
        return {"result": reference.global_average_pool2d(X)}
    return {}


def held_to_the_run(network: nn.Module, stages: list[Stage], graph: Graph, pixels: np.ndarray,
                    asked: list[tuple[int, int]], found: list[Unit]) -> set[str]:  # fmt: skip
    """Hold units to the run within 1e-4, and what they see to the anatomy; what was held."""
    seen, held = Seen(network, pixels), set()
    last = {stage.get("norm", stage["layer"]): n for n, stage in enumerate(stages)}
    fields = {row.name: row.seen for row in anatomy.summarise(network.float(), pixels.shape[1:]).rows}
    for (n, at), unit in zip(asked, found, strict=True):
        stage = stages[n]
        layer = stage.get("norm", stage["layer"])
        scale = max(1.0, abs(unit["value"]))
        assert abs(unit["result"] - unit["value"]) < 1e-4 * scale, (stage, unit)
        for part, values in by_reference(seen, graph, stage).items():
            assert abs(unit[part] - values.ravel()[at]) < 1e-4 * scale, (stage, part)
            held.add(stage["does"])
        gives = seen.gives.get(layer)
        if last[layer] == n and gives is not None:
            assert abs(unit["value"] - gives.ravel()[at]) < 1e-4 * scale, stage
            held.add(f"{stage['does']} by PyTorch")
        field = fields.get(stage["layer"])
        if field is not None and len(stage["shape"]) == 3 and stage["does"] in ("conv", "maxpool"):
            i, j = divmod(at % int(np.prod(stage["shape"][1:])), stage["shape"][2])
            assert unit["field"]["whole"] == field.whole
            if not field.whole:
                views = [(field.height, i, "rows"), (field.width, j, "columns")]
                for view, place, key in views:
                    wanted = [view.low + place * view.stride, view.high + place * view.stride]
                    assert unit["field"][key] == wanted, (stage, at)
            held.add("field")
    return held


def exported(network: nn.Module, channels: int, size: tuple[int, int]) -> onnx.ModelProto:
    """A network as an ONNX graph, as `convscope export` makes it."""
    info = {
        "architecture": {"in_channels": channels, "image_size": list(size)},
        "classes": [str(n) for n in range(10)],
        "preprocessing": {"channels": channels, "size": list(size), "fit": "pad"},
    }
    return graphs.graph_of(network, of_model(info), {"label": 1.0})


NETWORKS: dict[str, tuple[int, tuple[int, int], dict[str, Any]]] = {
    "layers": (3, (18, 14), {"layers": "c3-6 bn relu mp2 c5x3-8s2 gelu ap2 flatten fc10"}),
    "cnn": (1, (28, 28), {}),
    "inception": (1, (28, 28), {}),
    "resnet18_small": (3, (32, 32), {"width": 8}),
    "preact_resnet20": (3, (32, 32), {"width": 4}),
    "densenet": (3, (32, 32), {"depth": 22, "growth": 6}),
    "efficientnet_lite0": (3, (64, 64), {}),
}
KINDS = {  # what is held at least
    "layers": {"conv", "maxpool", "avgpool", "linear", "each by PyTorch", "field"},
    "inception": {"conv", "avgpool", "concat by PyTorch", "field"},
    "resnet18_small": {"conv", "mean", "each by PyTorch", "field"},
    "preact_resnet20": {"norm", "pair by PyTorch"},
    "densenet": {"norm", "concat by PyTorch"},
    "efficientnet_lite0": {"conv", "pair by PyTorch"},
}


# 200 units of each; passed in SECONDS; 30 November 2026, two busy cores of an AMD EPYC
@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_units_are_made_as_the_network_makes_them(engine: Page, name: str) -> None:
    channels, size, arguments = NETWORKS[name]
    torch.manual_seed(1)
    network = models.build(name, 10, channels, size, arguments).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, -1, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    held = held_to(engine, network, exported(network, channels, size), (1, channels, *size), 200)
    assert held >= KINDS.get(name, set())


def held_to(
    engine: Page, network: nn.Module, model: onnx.ModelProto, shape: tuple[int, ...], count: int
) -> set[str]:
    """Hold so many units of a network's graph to it; what was held."""
    weights = {key: value.numpy().copy() for key, value in network.state_dict().items()}
    graph = graph_of(model, FITTED, shape, LOGITS, weights)
    stages = stages_of(graph)
    norms = ["norm" in node for node in graph.nodes]
    assert sum(norms) == sum("norm" in stage for stage in stages)
    pixels = np.random.default_rng(2).integers(0, 256, shape).astype(np.float32)
    asked = some_units(stages, count)
    found = taken_apart(engine, graph, pixels, asked)
    return held_to_the_run(network, stages, graph, pixels, asked, found)


def test_units_are_made_as_the_run_makes_them(engine: Page, shipped: Any) -> None:
    model = onnx.load(shipped.file)
    network = store.load_network(find(shipped.run))
    held = held_to(engine, network, model, (1, 1, 28, 28), 40)
    assert held == {"conv", "conv by PyTorch", "maxpool", "maxpool by PyTorch", "linear",
                    "linear by PyTorch", "each by PyTorch", "field"}  # fmt: skip


# kinds of layers, by hand


def model_of(nodes: list[Any], held: dict[str, Any]) -> onnx.ModelProto:
    """A graph from `fitted` [1,4,6,5] to `logits`: nodes (operator, inputs, output, layer,
    attributes) and constants."""
    made = []
    for kind, inputs, output, layer, attributes in nodes:
        node = helper.make_node(kind, inputs, [output], **attributes)
        path = "".join(f"{part}: x.{part.title()}/" for part in layer.split("|"))
        node.metadata_props.add(key="namespace", value=f": x.Net/{path}end: aten")
        made.append(node)
    given = helper.make_tensor_value_info(FITTED, TensorProto.FLOAT, (1, 4, 6, 5))
    arrays = [numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()]
    out = [onnx.ValueInfoProto(name=nodes[-1][2])]
    graph = helper.make_graph(made, "page", [given], out, arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def test_layers_of_every_kind_are_taken_apart(engine: Page) -> None:
    """A depthwise convolution, one by groups, dilated ones, what moves, what joins, what is chained."""
    nodes = [
        ("Pad", [FITTED, "sides"], "wider", "a", {}),
        ("Conv", ["wider", "deep"], "v1", "a", {"group": 4, "strides": [2, 1]}),  # [1,8,3,5]
        ("Relu", ["v1"], "v2", "b", {}),
        ("Conv", ["v2", "by", "bias"], "v3", "c", {"group": 2, "pads": [2, 0, 2, 0], "dilations": [2, 1]}),
        ("Add", ["v3", "v2"], "v4", "block", {}),  # [1,8,3,5]
        ("AveragePool", ["v4"], "v5", "d", {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0], "count_include_pad": 1}),
        ("MaxPool", ["v4"], "v6", "e", {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0], "dilations": [1, 1]}),
        ("Concat", ["v5", "v6"], "v7", "f", {"axis": 1}),  # [1,16,3,5]
        ("Reshape", ["v7", "apart"], "r1", "g", {}),
        ("Transpose", ["r1"], "r2", "g", {"perm": [0, 2, 1, 3, 4]}),
        ("Reshape", ["r2", "together"], "v8", "g", {}),
        ("Slice", ["v8", "from", "to", "axes", "back"], "s1", "h", {}),  # [1,16,2,5]
        ("Pad", ["s1", "behind"], "v9", "h", {}),  # [1,18,2,5]
        ("BatchNormalization", ["v9", "n1", "n2", "n3", "n4"], "v10", "i", {}),
        ("Erf", ["v10"], "t1", "j", {}),
        ("Add", ["t1", "one"], "t2", "j", {}),
        ("Mul", ["v10", "t2"], "v11", "j", {}),
        ("GlobalAveragePool", ["v11"], "m1", "k", {}),
        ("Mul", ["v11", "m1"], "v12", "block", {}),
        ("ReduceMean", ["v12"], "v13", "l", {"axes": [2, 3], "keepdims": 0}),  # [1,18]
        ("Gemm", ["v13", "w", "c"], "v14", "m", {"alpha": 0.5, "beta": 2.0}),
        ("MatMul", ["v14", "square"], LOGITS, "n", {}),
    ]  # fmt: skip
    held = {
        "sides": np.array([0, 0, 1, 0, 0, 0, 0, 2]), "deep": noise(8, 1, 3, 3), "by": noise(8, 4, 3, 1),
        "bias": noise(8), "apart": np.array([1, 4, 4, 3, 5]), "together": np.array([1, 16, 3, 5]),
        "from": np.array([2]), "to": np.array([-9]), "axes": np.array([2]), "back": np.array([-2]),
        "one": np.float32(1), "w": noise(18, 6), "c": noise(6), "square": noise(6, 3),
        "behind": np.array([0, 1, 0, 0, 0, 1, 0, 0]),
        "n1": noise(18), "n2": noise(18) + 1, "n3": noise(18), "n4": noise(18) ** 2,
    }  # fmt: skip
    graph = graph_of(model_of(nodes, held), FITTED, (1, 4, 6, 5), LOGITS)
    stages = stages_of(graph)
    assert [stage["does"] for stage in stages] == [
        "conv", "each", "conv", "pair", "avgpool", "maxpool", "concat", "moved", "moved", "norm",
        "each", "mean", "pair", "mean", "linear", "linear",
    ]  # fmt: skip
    asked = [(n, at) for n, one in enumerate(stages) for at in range(int(np.prod(one["shape"])))]
    pixels = noise(1, 4, 6, 5)
    found = taken_apart(engine, graph, pixels, asked)
    for (n, at), unit in zip(asked, found, strict=True):
        scale = max(1.0, abs(unit["value"]))
        assert abs(unit["result"] - unit["value"]) < 1e-5 * scale, (stages[n], at, unit)
    assert {len(unit["terms"]) for (n, _), unit in zip(asked, found, strict=True) if n == 0} == {1}
    assert {len(unit["terms"]) for (n, _), unit in zip(asked, found, strict=True) if n == 2} == {4}
    told = dict(zip(asked, found, strict=True))
    assert told[8, 0]["from"] is None and told[8, 10]["at"] is not None  # a filled channel, and not
    # what units see, by trying: which pixels change them
    random = np.random.default_rng(0)
    some = [asked[int(at)] for at in random.choice(len(asked) - 200, 25)]
    base = [told[one]["value"] for one in some]
    for row, column in random.permutation(list(np.ndindex(6, 5)))[:10]:
        changed = pixels.copy()
        changed[..., row, column] += 3
        for one, unit, before in zip(some, taken_apart(engine, graph, changed, some), base, strict=True):
            sees = told[one]["field"]
            inside = [low <= at <= high for at, (low, high) in ((row, sees["rows"]), (column, sees["columns"]))]
            assert all(inside) or unit["value"] == before, (one, row, column)
