"""ONNX files as what computes logits: what they say, what is refused, and no torch."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from exported import exported
from onnx import helper
from PIL import Image
from quick import python

import convscope as cs
from convscope.errors import BadArgument
from convscope.events import Notice, Progress
from convscope.predicting import onnx_file
from convscope.predicting.onnx_file import OnnxFile, OnnxProvider, load_onnx


@pytest.fixture
def file(bars, workplace: Path) -> Path:
    return exported(bars, workplace / "a")


def ours(model: onnx.ModelProto) -> tuple[onnx.StringStringEntryProto, dict]:
    (entry,) = (one for one in model.metadata_props if one.key == "convscope")
    return entry, json.loads(entry.value)


def newer(model: onnx.ModelProto) -> None:
    entry, info = ours(model)
    entry.value = json.dumps(info | {"format_version": 2})


def edited(model: onnx.ModelProto) -> None:
    entry, info = ours(model)
    del info["model"]["temperature"]
    entry.value = json.dumps(info)


def foreign(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def outside(location: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def hidden(model: onnx.ModelProto) -> None:
    """Weights outside, of a constant within a branch."""
    (choice,) = (node for node in model.graph.node if node.op_type == "If")
    tensor = onnx.TensorProto(dims=[1], data_type=1, data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights.bin")
    choice.attribute[0].g.node.append(helper.make_node("Constant", [], ["w"], value=tensor))


def custom(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Evil", ["images"], ["x"], domain="com.evil"))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (newer, "has format_version 2, and this convscope reads 1; open it with the version"),
        (edited, r"is damaged \(its metadata: .*temperature is not there"),
        (foreign, "is an ONNX file of another program"),
        (
            outside("weights.bin"),
            r"keeps weights in another file \('weights.bin'\), which is never",
        ),
        (outside("/etc/passwd"), r"another file \('/etc/passwd'\)"),
        (outside("../../x"), r"another file \('../../x'\)"),
        (hidden, "keeps weights in another file"),
        (custom, r"has operators that are not ONNX's own \(com.evil\)"),
    ],
)
def test_what_is_not_ours_is_refused(file: Path, change: Callable, text: str) -> None:
    model = onnx.load(file)
    change(model)
    Path("b.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BadArgument, match=rf"FILE=b\.onnx: .*{text}"):
        OnnxFile.open("b.onnx")


def test_no_file_half_a_file_and_no_onnx(file: Path) -> None:
    Path("cut.onnx").write_bytes(file.read_bytes()[:5000])
    Path("text.onnx").write_text("a text")
    for name in ("gone.onnx", "cut.onnx", "text.onnx", "."):
        with pytest.raises(BadArgument, match="name a file that convscope export wrote"):
            OnnxFile.open(name)


def test_a_provider_is_its_path_and_goes_in_batches(
    bars, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = pickle.loads(pickle.dumps(OnnxProvider(Path("a/model.onnx"), threads=1)))
    assert vars(provider) == {"path": file.absolute(), "threads": 1, "known": None}
    images, said = bars.splits["test"].images, []
    whole = provider(images, said.append)
    assert said == [Progress("predict", 60, 60, "images")]
    monkeypatch.setattr(onnx_file, "MEMORY", 16 * onnx_file.largest_maps(onnx.load(file)))
    said.clear()
    parts = OnnxProvider(file)(images, said.append)
    assert [one.done for one in said] == [16, 32, 48, 60]
    np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_a_copy_of_what_was_opened_is_not_checked_again(
    bars, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which takes onnx, that is slow to import; another file is checked, whatever was known."""
    predictor = load_onnx(file)
    Path("it.pickle").write_bytes(pickle.dumps(predictor))
    np.save("images.npy", bars.splits["test"].images[:3])
    code = """
import pickle, sys
import numpy as np
predictor = pickle.loads(open("it.pickle", "rb").read())
print(predictor.predict(np.load("images.npy"), 1)[0].label, "onnx" in sys.modules)
"""
    label = predictor.predict(bars.splits["test"].images[:3], 1)[0].label
    said, problem = python(code).communicate()
    assert said.split() == [label, "False"], problem
    copy = pickle.loads(pickle.dumps(predictor)).logits
    assert copy.file.batch == predictor.logits.file.batch and copy.file.info["card"]
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BadArgument, match="is no ONNX file, or is damaged"):
        pickle.loads(pickle.dumps(predictor)).predict(np.load("images.npy"))


def test_options_of_a_run_are_refused_and_what_is_not_known_is_said(file: Path) -> None:
    for options, text in (
        ({"abstain": 0.1}, "abstain=0.1: is for a run, and a/model.onnx is a file"),
        ({"coverage": 0.9}, "coverage=0.9: is for a run"),
        ({"device": "cuda"}, "device=cuda: is for a run"),
    ):
        with pytest.raises(BadArgument, match=text):
            cs.predict("a/model.onnx", ["x.png"], **options)
    said: list[object] = []
    (gone,) = cs.predict(file, ["x.png"], emit=said.append)
    assert gone.error == "is not there; check the path"
    assert [type(one) for one in said].count(Notice) == 1


WITHOUT_TORCH = """
import sys
for name in ("torch", "torchvision", "matplotlib"):
    sys.modules[name] = None  # importing it fails
from convscope.cli import main
sys.argv = ["convscope", "predict", "a/model.onnx", "images", "--json"]
main()
"""


def test_the_command_predicts_from_a_file_without_torch(bars, file: Path) -> None:
    Path("images").mkdir()
    for i, image in enumerate(bars.splits["test"].images[:3]):
        Image.fromarray(image[0]).save(f"images/{i}.png")
    process = python(WITHOUT_TORCH)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    found = [one["top"][0] for one in json.loads(out)["results"]]
    run = cs.load("a").predict(["images"])
    assert [one["label"] for one in found] == [one.label for one in run]
    assert [one["p"] for one in found] == pytest.approx([one.p for one in run], abs=1e-5)
    assert load_onnx(file).classes == ("flat", "upright", "spot")
