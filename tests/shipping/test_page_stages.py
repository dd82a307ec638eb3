"""The stages that the page shows of a graph, and the blocks that they are in; what their units are
made of is seen in tests/web."""

from __future__ import annotations

from typing import Any

import numpy as np

from convscope.shipping.page_graph import Graph
from convscope.shipping.page_stages import stages_of


def graph(*nodes: tuple[str, list[str], str, str], **kinds: str) -> Graph:
    """Nodes (operator, inputs, output, layer) over maps of one shape; what is in capitals is
    constant."""
    said: list[dict[str, Any]] = [
        {"op": op, "in": given, "out": [out], "layer": layer.replace("_", ".")}
        for op, given, out, layer in nodes
    ]
    constants = {name: {"shape": [4]} for one in said for name in one["in"] if name.isupper()}
    shapes = {one["out"][0]: (1, 4, 5, 5) for one in said}
    paths = {path.replace("_", "."): kind for path, kind in kinds.items()}
    return Graph(
        said, constants, np.zeros(0, np.float32), "x", (1, 4, 5, 5), "out", 0, shapes, paths
    )


RESIDUAL = (
    ("Conv", ["x", "A"], "a", "b_0"),
    ("Relu", ["a"], "r", "b_1"),
    ("Conv", ["r", "B"], "c", "b_2"),
    ("Add", ["c", "x"], "d", "b"),
    ("Relu", ["d"], "e", "b"),
)
KINDS = {"b": "Block", "b_0": "Conv2d", "b_1": "ReLU", "b_2": "Conv2d"}


def test_a_block_is_around_the_stages_of_a_module_that_has_several() -> None:
    found = stages_of(graph(*RESIDUAL, ("Relu", ["e"], "out", "z"), z="ReLU", **KINDS))
    assert [one["does"] for one in found] == ["conv", "each", "conv", "pair", "each", "each"]
    assert [one.get("block") for one in found] == ["b"] * 5 + [None]
    assert [one["kind"] for one in found] == ["Conv2d", "ReLU", "Conv2d", "Add", "Relu", "ReLU"]
    assert found[3]["from"] == ["c", "x"] and found[0]["of"] == "Block"


def test_a_chain_of_layers_and_a_module_that_is_nearly_all_are_no_block() -> None:
    chain = stages_of(graph(*RESIDUAL, **{**KINDS, "b": "Sequential"}))
    assert not any("block" in one for one in chain)
    many = [("Conv", ["x", "A"], f"v{n}", f"b_{n}") for n in range(30)]
    kinds = {"b": "Whole"} | {f"b_{n}": "Conv2d" for n in range(30)}
    assert not any("block" in one for one in stages_of(graph(*many, **kinds)))


def test_operators_of_one_layer_are_one_stage_unless_what_is_between_is_read() -> None:
    gelu = (
        ("Erf", ["x"], "a", "g"),
        ("Add", ["a", "ONE"], "b", "g"),
        ("Mul", ["x", "b"], "out", "g"),
    )
    [stage] = stages_of(graph(*gelu, g="GELU"))
    assert stage["does"] == "each" and stage["nodes"] == [0, 1, 2]
    assert (stage["from"], stage["value"], stage["kind"]) == (["x"], "out", "GELU")
    more = stages_of(graph(*gelu, ("Conv", ["b", "A"], "c", "h"), g="GELU", h="Conv2d"))
    assert [one["value"] for one in more] == ["b", "out", "c"]


def test_the_same_numbers_in_the_same_order_are_no_stage() -> None:
    nodes = (
        ("Conv", ["x", "A"], "a", "c"),
        ("Flatten", ["a"], "f", "f"),
        ("Gemm", ["f", "B"], "out", "l"),
    )
    found = stages_of(graph(*nodes))
    assert [(one["does"], one["from"]) for one in found] == [("conv", ["x"]), ("linear", ["a"])]
