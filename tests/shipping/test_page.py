"""What is put into the page of a network, and what is refused; what it does in a browser is seen in
tests/web."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from convscope import models
from convscope.data import pairs
from convscope.data.columns import as_json, of_model
from convscope.errors import BadArgument
from convscope.predicting.onnx_file import OnnxFile
from convscope.shipping import onnx as graphs
from convscope.shipping import page
from convscope.shipping.page_graph import graph_of

CARD = """# cnn on bars

The test split was looked at once; training and selection never used it.

| figure | value |
|---|---|
| accuracy | 98.91 % of 10,000 (9,891 right) |
| 95 % interval (Wilson) | 98.69 % to 99.10 % |

| class | images |
"""


@pytest.fixture(scope="module")
def file() -> OnnxFile:
    """A network that was not trained, as its ONNX file; the last module is a user's."""
    torch.manual_seed(0)
    layers = {"layers": "c3-4 bn relu mp2 flatten fc3"}
    network = models.build("layers", 3, 1, (12, 12), layers).eval()
    info: dict[str, Any] = {
        "architecture": {"name": "<layers>", "in_channels": 1, "image_size": [12, 12]},
        "classes": ["flat", "<upright>", "</script>"],
        "preprocessing": {"channels": 1, "size": [12, 12], "fit": "crop"},
        "temperature": 1.5,
        "data": {"name": "bars", "train": 240},
    }
    columns = of_model(info)
    model = graphs.graph_of(network, columns, {"label": 1.5})
    said = {"format_version": 1, "model": info, "card": CARD}
    graphs.describe(model, said)
    return OnnxFile(Path("bars.onnx"), model.SerializeToString(), said)


def about(text: str) -> dict[str, Any]:
    found = re.search(r'<script id="about" type="application/json">(.*?)</script>', text)
    assert found
    return dict(json.loads(found[1]))


def test_it_holds_the_network_from_the_fitted_pixels_on(file: OnnxFile) -> None:
    text = page.page_of(file)
    said = about(text)
    assert said["classes"] == file.model["classes"] and said["fit"] == "crop"
    assert text.count("</script>") == 4  # what is in the data ends nothing
    assert "<h1>&lt;layers&gt;" in text
    kinds = [node["op"] for node in said["graph"]["nodes"]]
    assert "Resize" not in kinds and kinds[0] == "Cast" and kinds[-1] == "Gemm"
    assert [node["layer"] for node in said["graph"]["nodes"] if node["op"] == "MaxPool"] == [
        "features.3"
    ]
    assert said["figures"] == {
        "accuracy": "98.91 %",
        "images": "10,000",
        "interval": "98.69 % – 99.10 %",
        "split": "test",
        "train": 240,
        "multiply_adds": 12 * 12 * 4 * 9 + 6 * 6 * 4 * 3,
    }
    assert not said["draws"]
    named = re.sub(r"http-equiv|http://www\.w3\.org/2000/svg", "", text)  # SVG's name is no address
    assert "connect-src" not in text and "http" not in named


def test_a_server_needs_no_weights(file: OnnxFile) -> None:
    text = page.page_of(file, answers="server")
    said = about(text)
    assert said["graph"] is None and "multiply_adds" not in said["figures"]
    assert (
        "connect-src 'self'" in text and '<script id="weights" type="text/plain"></script>' in text
    )


def test_a_card_need_not_have_figures(file: OnnxFile) -> None:
    rewritten = replace(file, info={**file.info, "card": "# Mine\n"})
    assert set(about(page.page_of(rewritten))["figures"]) == {"train", "multiply_adds"}


def test_what_is_too_large_is_refused_with_both_figures(
    file: OnnxFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "MOST_BYTES", 1_000)
    text = "0 million multiply-adds an image and has 0 MB of weights; a page bears 100 million"
    with pytest.raises(BadArgument, match=f"{text}.*convscope serve RUN"):
        page.page_of(file)
    monkeypatch.setattr(page, "MOST_BYTES", 20_000_000)
    monkeypatch.setattr(page, "MOST_MULTIPLY_ADDS", 5_000)
    with pytest.raises(BadArgument, match="a page bears 0 million and 20 MB"):
        page.page_of(file)
    page.page_of(file, answers="server")


def test_several_inputs_or_targets_are_refused(file: OnnxFile) -> None:
    def having(columns: Any) -> OnnxFile:
        built = {**file.model["architecture"], "columns": as_json(columns)}
        model = {**file.model, "architecture": built}
        return replace(file, info={**file.info, "model": model})

    with pytest.raises(BadArgument, match=r"takes several inputs \(left, right\)"):
        page.page_of(having(pairs.COLUMNS))
    one = {name: pairs.COLUMNS[name] for name in ("left", "sum", "larger")}
    with pytest.raises(BadArgument, match="does not tell one class but sum, larger"):
        page.page_of(having(one))


def test_an_operator_that_is_not_computed_is_named_with_its_layer(file: OnnxFile) -> None:
    def changed(kind: str, **attributes: Any) -> OnnxFile:
        model = onnx.load_model_from_string(file.content)
        [node] = [one for one in model.graph.node if one.op_type == "Relu"]
        node.op_type = kind
        for name, value in attributes.items():
            node.attribute.append(onnx.helper.make_attribute(name, value))
        return replace(file, content=model.SerializeToString())

    with pytest.raises(BadArgument, match=r"Cos of layer features\.2 is an operator that the page"):
        page.page_of(changed("Cos"))
    with pytest.raises(BadArgument, match="Cast of layer .* gives other numbers than float32"):
        page.page_of(changed("Cast", to=onnx.TensorProto.INT64))
    pool = {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}
    with pytest.raises(BadArgument, match="MaxPool of layer .* pads by auto_pad"):
        page.page_of(changed("MaxPool", **pool))


def test_what_is_constant_for_one_image_is_computed_beforehand() -> None:
    class Tokens(torch.nn.Module):
        """Maps as tokens, with a shape that is looked up."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            n, c = x.shape[0], x.shape[1]
            table = torch.arange(c).expand(n, -1)
            return x.reshape(n, c, -1).mean(2) + table

    program = torch.onnx.export(
        Tokens().eval(), (torch.zeros(2, 3, 4, 4),), dynamo=True, opset_version=18, verbose=False,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
    )  # fmt: skip
    model = program.model_proto
    graph = graph_of(model, model.graph.input[0].name, (1, 3, 4, 4), model.graph.output[0].name)
    assert {"Shape", "Expand", "Range"} & {node["op"] for node in graph.nodes} == set()
    assert graph.multiply_adds == 0 and np.isfinite(graph.weights).all()
