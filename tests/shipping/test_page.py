"""What is put into the page of a network, and what is refused; what it does in a browser is seen in
tests/web."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from convscope import models
from convscope.data import pairs
from convscope.data.columns import as_json, of_model
from convscope.errors import BadArgument
from convscope.predicting.onnx_file import OnnxFile
from convscope.run import RunFolder
from convscope.shipping import onnx as graphs
from convscope.shipping import page, page_units
from convscope.shipping.page_graph import graph_of
from convscope.shipping.page_stages import stages_of

CARD = """# cnn on bars

The test split was looked at once; training and selection never used it.

| figure | value |
|---|---|
| accuracy | 98.91 % of 10,000 (9,891 right) |
| 95 % interval (Wilson) | 98.69 % to 99.10 % |

| class | images |
"""


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """A network that was not trained, its batch norm with statistics."""
    torch.manual_seed(0)
    layers = {"layers": "c3-4 bn relu mp2 flatten fc3"}
    network = models.build("layers", 3, 1, (12, 12), layers).eval()
    norm = network.get_submodule("features.1")
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    torch.nn.init.normal_(norm.weight)
    norm.weight.data[1] = 0  # what it was before it was folded is not in the file
    return network


@pytest.fixture(scope="module")
def file(network: torch.nn.Module) -> OnnxFile:
    """The network as its ONNX file; the names of classes end a script and a tag."""
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
    addresses = set(re.findall(r"https?://\w[^\s\"'`]*", text))
    assert "connect-src" not in text and addresses == {"http://www.w3.org/2000/svg"}  # SVG's name


def test_a_batch_norm_stands_beside_its_convolution_where_the_run_is_known(
    file: OnnxFile, network: torch.nn.Module, tmp_path: Path
) -> None:
    own = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    model = onnx.load_model_from_string(file.content)

    def convolution(weights: dict[str, Any] | None) -> tuple[dict[str, Any], Any]:
        graph = graph_of(model, "fitted", (1, 1, 12, 12), "logits", weights)
        [node] = [node for node in graph.nodes if node["op"] == "Conv"]
        names = [name for name in node["in"] + node.get("norm", []) if name in graph.constants]
        parts = {name: graph.constants[name] for name in names}
        return node, {
            name: graph.weights[one["at"] :][: int(np.prod(one["shape"]))].reshape(one["shape"])
            for name, one in parts.items()
        }

    node, found = convolution(own)
    scale, shift, mean, deviation = (found[name] for name in node["norm"])
    for name, values in (("weight", scale), ("bias", shift), ("running_mean", mean)):
        np.testing.assert_array_equal(values, own[f"features.1.{name}"])
    wanted = np.sqrt(own["features.1.running_var"] + 1e-5)
    np.testing.assert_allclose(deviation, wanted, rtol=1e-5)
    for name in ("features.0.weight", "features.0.bias"):
        np.testing.assert_array_equal(found[name], own[name])
    node, folded = convolution(None)
    factor = (scale / wanted)[:, None, None, None]
    assert "norm" not in node
    np.testing.assert_allclose(
        folded["features.0.weight"], own["features.0.weight"] * factor, rtol=1e-5
    )
    for name in ("features.0.weight", "features.1.running_mean"):  # not what was folded
        assert "norm" not in convolution(own | {name: own[name] + 0.01})[0]
    save_file(own, tmp_path / "model.safetensors")
    said = about(page.page_of(file, run=RunFolder(tmp_path)))["graph"]
    assert [stage.get("norm") for stage in said["stages"]] == [None, "features.1", *[None] * 3]


def test_what_channels_answer_to_is_found_among_the_test_images(
    file: OnnxFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(1).integers(0, 256, (300, 1, 12, 12), np.uint8)
    model = onnx.load_model_from_string(file.content)
    graph = graph_of(model, "fitted", (1, 1, 12, 12), "logits")
    stages = stages_of(graph)
    found = page_units.best_images(file, graph, stages, images)
    assert found is not None and found["searched"] == 300 and set(found["stages"]) == {1, 2, 3}
    name = stages[3]["value"]
    maps = file.session(also=[name]).run([name], {"images": images})[0].reshape(300, 4, -1)
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["data"]))))
    for channel, rows in found["stages"][3].items():
        order = np.argsort(-maps[:, channel].max(1), kind="stable")[: len(rows)]
        assert len(rows) >= 4
        for image, (tile, at, value) in zip(order, rows, strict=True):
            assert value == pytest.approx(maps[image, channel].max(), abs=1e-5)
            assert maps[image].ravel()[at] == pytest.approx(value, abs=1e-5)
            y, x = (12 * part for part in divmod(tile, found["across"]))
            assert (sheet[y : y + 12, x : x + 12] == images[image, 0]).all()
    monkeypatch.setattr(page_units, "MOST_BYTES", 4_000)
    fewer = page_units.best_images(file, graph, stages, images)
    assert fewer is not None and len(base64.b64decode(fewer["data"])) <= 4_000
    monkeypatch.setattr(page_units, "MOST_BYTES", 400)
    assert page_units.best_images(file, graph, stages, images) is None


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
