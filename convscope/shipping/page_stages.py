"""What the page shows of a graph: its values one after another, each with the nodes that make it of
others, and the blocks that they are in."""

from __future__ import annotations

from collections import Counter
from typing import Any

from convscope.shipping.page_graph import Graph

SAME = ("Cast", "Identity", "Dropout", "Reshape", "Flatten", "Unsqueeze", "Squeeze")
MOVES = ("Concat", "Slice", "Split", "Pad", "Gather", "Transpose", "Expand")
EACH = frozenset({
    *("Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Gelu", "HardSwish", "HardSigmoid"),
    *("Sigmoid", "Tanh", "Erf", "Softplus", "Softsign", "Mish", "Exp", "Log", "Sqrt", "Abs", "Neg"),
    *("Reciprocal", "Add", "Sub", "Mul", "Div", "Pow", "Min", "Max"),
})  # fmt: skip
DOES = {
    "Conv": "conv",
    "Gemm": "linear",
    "MaxPool": "maxpool",
    "AveragePool": "avgpool",
    "GlobalAveragePool": "mean",
    "ReduceMean": "mean",
    "BatchNormalization": "norm",
}
CHAINS = ("Sequential", "ModuleList")
LEAST, MOST = 3, 24  # stages of a block

Stage = dict[str, Any]


def stages_of(graph: Graph) -> list[Stage]:
    """The stages of a graph, in the order of its nodes, as JSON.

    ``does`` says how a number of the ``value`` is made of numbers of those that it is ``from``:
    ``conv``, ``linear``, ``norm``, ``maxpool``, ``avgpool``, ``mean``, ``each`` (of one number),
    ``pair`` (of one of each, such as a residual's sum), ``concat`` and ``moved`` (it is one of
    theirs), or ``other``. ``shape`` is [C,h,w], or [n]; ``nodes`` are places in ``graph.nodes``, of
    the module ``layer`` of the class ``kind``, ``norm`` the batch norm that is folded into it;
    ``block`` is a module around several, ``of`` its class.

    What has the same numbers in the same order, as flattened maps, is no stage.
    """
    same: dict[str, str] = {}
    found: list[Stage] = []
    for at, node in enumerate(graph.nodes):
        takes = [same.get(name, name) for name in node["in"] if name]
        sources = list(dict.fromkeys(name for name in takes if name not in graph.constants))
        if node["op"] in SAME:
            same[node["out"][0]] = sources[0]
            continue
        if found and _joins(graph, found[-1], node, sources):
            found[-1]["nodes"].append(at)
            value = node["out"][0]
            found[-1] |= {"value": value, "shape": _shown(graph.shapes[value])}
            found[-1]["layer"] = node["layer"] or found[-1]["layer"]
            found[-1]["within"].add(value)
            continue
        for name in filter(None, node["out"]):
            shape = graph.shapes[name]
            stage = {"does": _does(graph, node, sources), "value": name, **_layer(graph, node)}
            stage |= {"shape": _shown(shape), "nodes": [at], "from": sources, "within": {name}}
            found.append(stage)
    _named(graph, found)
    return found


def _layer(graph: Graph, node: dict[str, Any]) -> dict[str, str]:
    """The layer that a node is of; where a batch norm was folded into it, the node goes by that
    one's: then ``norm``, and the layer is that of its weights."""
    layer, weights = node["layer"], node["in"][1] if len(node["in"]) > 1 else ""
    owner = weights.removesuffix(".weight")
    if node["op"] not in ("Conv", "Gemm") or owner in (weights, layer):
        return {"layer": layer}
    kind = {"Conv": "Conv2d", "Gemm": "Linear"}[node["op"]]
    graph.kinds.setdefault(owner, kind)
    return {"layer": owner, "norm": layer}


def _joins(graph: Graph, stage: Stage, node: dict[str, Any], sources: list[str]) -> bool:
    """Whether a node goes on with what a stage does with each number, or with where it lies: it is
    of the same layer, or the stage is of none, and nothing else reads what is between."""
    kinds = {"each": EACH, "moved": MOVES}.get(stage["does"], ())
    if node["op"] not in kinds or stage["layer"] not in ("", node["layer"]):
        return False
    if stage["value"] not in node["in"] or len(graph.nodes[stage["nodes"][0]]["out"]) > 1:
        return False
    if not set(sources) <= stage["within"] | set(stage["from"]):
        return False
    readers = [one for one in graph.nodes if stage["value"] in one["in"]]
    return all(one["op"] in kinds and one["layer"] == node["layer"] for one in readers)


def _does(graph: Graph, node: dict[str, Any], sources: list[str]) -> str:
    op = node["op"]
    if op in EACH:
        return "each" if len(sources) == 1 else "pair"
    if op == "MatMul":
        constant = graph.constants.get(node["in"][1])
        return "linear" if constant and len(constant["shape"]) == 2 else "other"
    if op in MOVES:
        maps = len(graph.shapes[node["out"][0]]) in (2, 4)
        along = node.get("attributes", {}).get("axis") in (1, -3)
        return "concat" if op == "Concat" and maps and along else "moved"
    return DOES.get(op, "other")


def _shown(shape: tuple[int, ...]) -> list[int]:
    """The shape without the batch: [C,h,w], or [n]; of tokens [1,T,D]."""
    rest = list(shape[1:]) or [1]
    while len(rest) > 3:
        rest[:2] = [rest[0] * rest[1]]
    return [1, *rest] if len(rest) == 2 else rest


def _named(graph: Graph, stages: list[Stage]) -> None:
    """Give each stage the class of its layer, or the operator where there is more in it, and the
    block that it is in."""
    holds = Counter(path for one in stages for path in _around(one["layer"]))
    inner = {path.rpartition(".")[0] for path in graph.kinds}
    blocks = {
        path
        for path, count in holds.items()
        if LEAST <= count <= MOST
        and path in inner
        and graph.kinds.get(path, CHAINS[0]) not in CHAINS
    }
    before: set[str] = set()
    for one in stages:
        layer = one["layer"]
        first = layer not in before and layer not in inner
        before.add(layer)
        op = graph.nodes[one["nodes"][-1]]["op"]
        one["kind"] = graph.kinds[layer] if first and layer in graph.kinds else op
        outer = [path for path in _around(layer) if path in blocks]
        if outer:
            one |= {"block": outer[0], "of": graph.kinds[outer[0]]}
        del one["within"]


def _around(layer: str) -> list[str]:
    """A layer's path and those of the modules that it is in, the outermost first.

    >>> _around("features.3.conv1")
    ['features', 'features.3', 'features.3.conv1']
    """
    parts = layer.split(".")
    return [".".join(parts[: n + 1]) for n in range(len(parts))] if layer else []
