"""Inside: the network stage by stage in a real browser, its units taken apart. The arithmetic is
held against PyTorch and convscope.insight.reference on the run's weights, what a unit sees against
the anatomy, the heat map against the one of `explain`."""

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

from convscope import models, webpage
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
    kind, attributes = stage["does"], node.get("attributes", {})
    found = {}
    if kind == "conv":
        found["total"] = reference.conv2d(X, W, group=attributes.get("group", 1), **moves_of(node))
        after = found["total"] if B is None else found["total"] + B[:, None, None]
        found["result"] = normed(network, stage["norm"], after) if "norm" in stage else after
    elif kind == "linear" and isinstance(network.get_submodule(layer), nn.Linear):
        found["total"] = reference.linear(X.reshape(1, -1), W)
        found["result"] = found["total"] + (0 if B is None else B)
    elif kind == "norm":
        found["result"] = normed(network, layer, X)
    elif kind == "maxpool":
        found["result"] = reference.max_pool2d(X, attributes["kernel_shape"], **moves_of(node))
    elif kind == "avgpool":
        whole = bool(attributes.get("count_include_pad"))
        found["result"] = reference.average_pool2d(
            X, attributes["kernel_shape"], count_include_pad=whole, **moves_of(node)
        )
    elif kind == "mean":
        found["result"] = reference.global_average_pool2d(X)
    return found


def held_to_the_run(network: nn.Module, stages: list[Stage], graph: Graph, pixels: np.ndarray,
                    asked: list[tuple[int, int]], found: list[Unit]) -> set[str]:  # fmt: skip
    """Hold units to the run within 1e-4, and what they see to the anatomy; what was held."""
    seen, held = Seen(network, pixels), set()
    last = {stage.get("norm", stage["layer"]): n for n, stage in enumerate(stages)}
    fields = {
        row.name: row.seen for row in anatomy.summarise(network.float(), pixels.shape[1:]).rows
    }
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


# 200 units of each; passed in 35 s of its own time; 30 November 2026, two busy cores of an AMD EPYC
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
    """A depthwise convolution, one by groups, a dilated one; what moves, joins, is chained."""
    tall = {"group": 2, "pads": [2, 0, 2, 0], "dilations": [2, 1]}
    deep = {"group": 4, "strides": [2, 1], "pads": [1, 0, 0, 2]}
    window = {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0]}
    nodes = [
        ("Conv", [FITTED, "deep"], "v1", "a", deep),  # [1,8,3,5]
        ("Relu", ["v1"], "v2", "b", {}),
        ("Conv", ["v2", "by", "bias"], "v3", "c", tall),
        ("Add", ["v3", "v2"], "v4", "block", {}),  # [1,8,3,5]
        ("AveragePool", ["v4"], "v5", "d", {**window, "count_include_pad": 1}),
        ("MaxPool", ["v4"], "v6", "e", window),
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
        "deep": noise(8, 1, 3, 3),
        "by": noise(8, 4, 3, 1),
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
        for one, unit, before in zip(
            some, taken_apart(engine, graph, changed, some), base, strict=True
        ):
            sees = told[one]["field"]
            inside = [
                low <= at <= high
                for at, (low, high) in ((row, sees["rows"]), (column, sees["columns"]))
            ]
            assert all(inside) or unit["value"] == before, (one, row, column)


# a heat map


HEAT = """async ([graph, weights, pixels, c, h, w, target]) => {
  const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const floats = (text) => new Float32Array(bytes(text).buffer);
  const network = new Network(graph, floats(weights));
  const ask = async (image) => network.run(image).slice();
  const chances = async (image) => softmaxOf(await ask(image), 1);
  const heard = [];
  const told = (done, all) => heard.push(done / all) > 0;
  const found = await heatOf(floats(pixels), c, [h, w], target, ask, chances, told);
  const stopped = await heatOf(floats(pixels), c, [h, w], target, ask, chances, () => false);
  return { ...found, map: [...found.map], heard, stopped };
}"""


def test_a_heat_map_is_that_of_explain(engine: Page, shipped: Any) -> None:
    engine.add_script_tag(content=webpage.script("convscope", "web/heat.js"))
    network = store.load_network(find(shipped.run)).eval()
    graph = graph_of(onnx.load(shipped.file), FITTED, (1, 1, 28, 28), LOGITS)
    image = np.array(shipped.pack.splits["test"].main_images[3:4])
    images = torch.from_numpy(image.astype(np.float32) / 255)
    target = network(images).argmax(1).detach()
    wanted = heat.occlusion(network, images, target)[0].numpy().ravel()
    asked = [graph.as_json(), text_of(graph.weights), text_of(image), 1, 28, 28, int(target)]
    found = engine.evaluate(HEAT, asked)
    np.testing.assert_allclose(found["map"], wanted, atol=1e-3 * np.abs(wanted).max())
    curve = heat.deletion(network, images, target, torch.from_numpy(wanted.reshape(1, 28, 28)))
    assert (
        abs(found["hottest"] - heat.area(curve)[0]) < 0.02
    )  # pixels as hot as another change places
    assert found["hottest"] < found["random"] and found["agreement"] > 0.5
    assert found["heard"] == sorted(found["heard"]) and found["heard"][-1] == 1
    assert found["stopped"] is None


# on the page


def tap(page: Page, stage: int, map: int, row: float, column: float) -> None:
    """Pick a unit of a map by its place, in parts of its height and width."""
    one = page.locator(f'[data-stage="{stage}"] .map').nth(map)
    one.scroll_into_view_if_needed()
    box = one.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + column * box["width"], box["y"] + row * box["height"])
    page.wait_for_selector(".unit .parts > *")


def shown(page: Page) -> float:
    """The number of the unit that is shown, in full."""
    return float(page.locator(".unit header data").get_attribute("value") or "nan")


def drawn(page: Page) -> None:
    """A seven, drawn with the mouse, and its maps waited for."""
    page.evaluate(
        "() => { globalThis.painted = 0; "
        "document.addEventListener('convscope:maps', () => { painted += 1; }); }"
    )
    box = page.locator("#pad").bounding_box()
    assert box is not None
    across, down = box["width"] / 256, box["height"] / 256
    page.mouse.move(box["x"] + 70 * across, box["y"] + 55 * down)
    page.mouse.down()
    for x, y in [(185, 55), (120, 215)]:
        page.mouse.move(box["x"] + x * across, box["y"] + y * down, steps=6)
    page.mouse.up()
    page.wait_for_function("() => painted > 0 && !busy && !again")


COLOURS = """(stage) => [...document.querySelectorAll(`[data-stage="${stage}"] .map canvas`)].map(
  (one) => new Set(new Uint32Array(
    one.getContext("2d").getImageData(0, 0, one.width, one.height).data.buffer)).size)"""


def test_maps_are_shown_as_it_is_drawn_and_a_unit_is_taken_apart(
    opened: Opened, shipped: Any
) -> None:
    page = opened()
    page.click('#tabs a[href="#inside"]')
    assert page.locator('[data-stage="2"]').inner_text().startswith("Convolution, batch norm")
    drawn(page)
    page.wait_for_function("() => !document.querySelector('.stages.empty')")
    counts = page.evaluate(COLOURS, 2)
    assert len(counts) == 8 and min(counts) > 5  # painted, each of the eight
    assert page.locator('[data-stage="5"] .pager').inner_text().startswith("channels 0–11 of 16")
    page.click('[data-stage="5"] .pager button:last-of-type')
    assert page.locator('[data-stage="5"] .pager').inner_text().startswith("channels 12–15 of 16")
    # a unit of the first convolution, in its corner: half of its patch is padding
    tap(page, 2, 3, 0.01, 0.01)
    assert (
        page.locator(".unit header").inner_text().startswith("Convolution, batch norm features.0")
    )
    assert "channel 3, row 0, column 0" in page.locator(".unit header").inner_text()
    told = page.evaluate("() => convscope.unfold(1, 3 * 28 * 28)")
    value = page.evaluate("async () => (await convscope.value('getitem')).data[3 * 28 * 28]")
    assert shown(page) == value and abs(told["result"] - value) < 1e-4
    assert page.locator(".grid .padding").count() == 16
    steps = page.locator(".unit .steps").first.inner_text()
    assert [word in steps for word in ("Sum", "Bias", "Batch norm")] == [True] * 3
    images = page.locator(".best-images canvas")
    images.first.wait_for()
    assert images.count() >= 4 and "Of 500 test images" in page.locator(".best").inner_text()
    values = [float(one) for one in page.locator(".best figcaption").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    levels = "(one) => [...one.getContext('2d').getImageData(0, 0, 28, 28).data]"
    assert len(set(images.first.evaluate(levels))) > 10
    # the kernel moves with the arrow keys, and what is shown is of the unit that it is at
    page.focus(".unit-maps .own canvas")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    page.wait_for_function(
        "() => document.querySelector('.unit header').innerText.includes('row 1')"
    )
    at = 3 * 28 * 28 + 28 + 2
    page.wait_for_function(
        "async (at) => Number(document.querySelector('.unit header data').value) === "
        "(await convscope.value('getitem')).data[at]", arg=at)  # fmt: skip
    # onward, and back to what it is made of
    page.click(".unit .parts .link >> nth=-1")
    page.wait_for_function(
        "() => document.querySelector('.unit header').innerText.includes('Max-pool')"
    )
    page.wait_for_function("() => document.querySelectorAll('.grid .winner').length === 1")
    page.click(".unit .steps .link")
    page.wait_for_function(
        "() => document.querySelector('.unit header').innerText.includes('features.0')"
    )
    page.click(".unit header button >> nth=-1")
    assert page.locator(".unit").is_hidden()


def test_from_the_probability_back_to_the_pixels_by_keyboard(opened: Opened) -> None:
    page = opened(locale="zh-CN")
    page.goto(page.url + "#inside")
    drawn(page)
    page.locator('[data-stage="9"] .classes button').nth(7).focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".softmax")
    share = page.locator(".softmax tbody tr.top data").last
    assert float(share.get_attribute("value") or 0) == pytest.approx(shown(page), abs=1e-6)
    way = ["全连接", "ReLU", "最大池化", "卷积", "ReLU", "最大池化", "卷积", "归一化", "图像"]
    for name in way:  # each by the first number that it is made of
        link = ".softmax .top .link, .terms a, .product .link, .parts > .terms .link, .steps .link"
        before = page.locator(".unit header").inner_text()
        page.locator(".unit").locator(link).first.focus()
        page.keyboard.press("Enter")
        page.wait_for_function(
            """([before, name]) => {
          const now = document.querySelector('.unit header').innerText;
          return now !== before && now.includes(name) && /= .*\\d/.test(now); }""",
            arg=[before, name],
        )
        left = re.sub(
            "Softmax|ReLU|logit|features|normalise|head", "", page.locator(".unit").inner_text()
        )
        english = re.findall("[a-zA-Z]{4,}", left)
        assert english == [], (name, english)
    pixel = page.evaluate("() => answer.pixels")
    assert shown(page) in list(pixel.values() if isinstance(pixel, dict) else pixel)


def test_it_fits_a_phone_and_says_why_a_server_shows_no_maps(
    opened: Opened, shipped: Any, tmp_path: Path
) -> None:
    page = opened(viewport={"width": 390, "height": 844}, has_touch=True)
    page.goto(page.url + "#inside")
    drawn(page)
    tap(page, 2, 0, 0.5, 0.5)
    assert page.evaluate("() => document.documentElement.scrollWidth") == 390
    page.click(".heat button")
    page.wait_for_selector(".heat-found")
    assert "correlation" in page.locator(".heat").inner_text()
    path = tmp_path / "server.html"
    path.write_text(page_of(OnnxFile.open(shipped.file), answers="server"), encoding="utf-8")
    page = opened(path)
    page.goto(page.url + "#inside")
    assert "computed by its server" in page.locator("#tab-inside").inner_text()
