"""A run as a file: held against the run before it is written, in each form."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from exported import copied, exported
from PIL import Image as PIL
from quick import QUICK

import convscope as cs
from convscope.data import sources
from convscope.errors import BadArgument, ConvscopeError
from convscope.predicting.onnx_file import OnnxFile, load_onnx
from convscope.shipping import golden, quantize
from convscope.shipping.verify import against_golden


@pytest.fixture
def place(bars, workplace: Path) -> Path:
    return copied(bars, workplace / "a b")


def test_a_run_is_held_against_itself_and_written(bars, place: Path) -> None:
    found = cs.export(place)
    assert found.path == place / "model.onnx" and found.notes == ()
    whats = [one.what.partition(",")[0] for one in found.checks]
    assert whats == ["test split"] * 3 + ["golden records"] * 3 + ["fitted pixels of image"]
    assert [one.n for one in found.checks] == [60] * 3 + [16] * 3 + [8]
    assert json.loads(json.dumps(found.as_json()))["checks"][1]["ok"] is True
    test = bars.splits["test"].images
    predictor, run = load_onnx(found.path), cs.load(place)
    np.testing.assert_allclose(predictor.logits(test), run.logits(test), atol=1e-5)
    for one, two in zip(predictor.predict(test), run.predict(test), strict=True):
        assert (one.label, one.unsure, one.ood) == (two.label, two.unsure, two.ood)
        assert one.p == pytest.approx(two.p, abs=1e-5)
    properties = {one.key: one.value for one in onnx.load(found.path).metadata_props}
    assert properties["Image.BitmapPixelFormat"] == "Gray8"
    ours = json.loads(properties["convscope"])
    assert ours["model"] == json.loads((place / "model.json").read_text())
    assert ours["card"] == (place / "README.md").read_text()
    records = golden.read(place / "model.golden.npz")
    rows = golden.rows_of(60)
    assert np.array_equal(records.inputs["image"], test[rows]) and len(rows) == 16
    for name in ("model.onnx", "model.golden.npz"):
        with pytest.raises(BadArgument, match=rf"{name}: is there already; .*--force"):
            cs.export(place)
        (place / name).unlink()


def test_a_file_that_is_not_the_run_is_not_written(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where an exporter, or a runtime, computes something else."""
    right = OnnxFile.outputs

    def wrong(self: OnnxFile, *given: object) -> dict[str, np.ndarray]:
        return {name: value[:, ::-1] for name, value in right(self, *given).items()}

    monkeypatch.setattr(OnnxFile, "outputs", wrong)
    with pytest.raises(ConvscopeError, match=r"is not the run and was not written \(test sp"):
        cs.export(place)
    assert not [*place.glob("model.onnx"), *place.glob("*.npz")]


def test_without_its_data_golden_records_are_made_up(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*rest: object, **named: object) -> None:
        raise cs.DataError("nowhere to be had")

    monkeypatch.setattr(sources, "open_data", gone)
    found = cs.export(place)
    (note,) = found.notes
    assert "not there (nowhere to be had): held against the run on golden records alone" in note
    assert {one.n for one in found.checks} == {16, 8}
    with pytest.raises(BadArgument, match="quantize=int8: needs the images of the run"):
        cs.export(place, quantize="int8", out="b.onnx")


def test_what_cannot_be_asked_for(place: Path) -> None:
    for options, text in (
        ({"format": "onx"}, "format=onx: is not a form of a network; did you mean onnx?"),
        ({"quantize": "int4"}, "quantize=int4: .* try int8"),
        ({"out": place}, "out=.*a b: is a folder that is there already; name a new one"),
    ):
        with pytest.raises(BadArgument, match=text):
            cs.export(place, **options)


def test_int8_counts_its_look_and_is_held_to_the_accuracy(place: Path) -> None:
    found = cs.export(place, quantize="int8", out="small.onnx")
    beside = found.quantized
    assert beside.n == 60 and beside.ok and beside.accuracy[0] > 0.9
    assert beside.accuracy[0] - beside.accuracy[1] <= 0.003
    file = OnnxFile.open(found.path)
    kinds = [node.op_type for node in onnx.load(found.path).graph.node]
    assert file.quantized and kinds.count("QuantizeLinear") >= 3 and kinds[-1] == "Softmax"
    accuracy = json.loads((place / "metrics.json").read_text())
    assert accuracy["test_looks"] == 2 and accuracy["accuracy"] == beside.accuracy[0]
    assert "2 times" in file.info["card"] and "2 times" in (place / "README.md").read_text()
    assert file.info["quantized"]["int8"]["accuracy"] == beside.accuracy[1]
    assert cs.verify(found.path, place).ok
    assert re.match(r"of 60 test images: float32 \d+\.\d+% right, .*; int8", str(beside))


def test_int8_that_loses_too_much_is_refused_with_the_figure(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(file: OnnxFile, images: np.ndarray) -> onnx.ModelProto:
        model = onnx.load_model_from_string(file.content)
        del model.metadata_props[:]
        for one in model.graph.initializer:
            if one.name.endswith("weight"):
                one.raw_data = bytes(len(one.raw_data))
        return model

    monkeypatch.setattr(quantize, "quantized", worse)
    text = r"quantize=int8: loses more than 0\.3% of the accuracy, .*float32 100\.00%.*int8 33\.33%"
    with pytest.raises(ConvscopeError, match=text):
        cs.export(place, quantize="int8")
    assert not [*place.glob("*.onnx"), *place.glob("*.npz")]
    assert json.loads((place / "metrics.json").read_text())["test_looks"] == 2


def test_a_users_own_class_is_exported_where_it_is_named(bars, workplace: Path) -> None:
    Path("own.py").write_text(
        "from torch import nn\n\nclass Net(nn.Sequential):\n"
        "    def __init__(self, num_classes):\n"
        "        super().__init__(nn.Flatten(), nn.LazyLinear(num_classes))\n"
    )
    options = {**QUICK, "model": "own.py:Net", "epochs": 1, "look": False}
    options.pop("widths")
    run = cs.train("mnist", **options, out="own")
    with pytest.raises(BadArgument, match=r"add --model .*own\.py:Net"):
        cs.export(run.path)
    assert cs.export(run.path, model="own.py:Net").path.exists()
    assert cs.verify("own/model.onnx", "own").ok  # which loads none of it


def test_a_run_of_several_inputs_and_targets(workplace: Path) -> None:
    random = np.random.default_rng(0)
    lines = ["left:image,right:image,weight:numbers,kind:class,sum:number,split"]
    for n in range(48):
        for side in "lr":
            pixels = random.integers(0, 256, (9, 8), np.uint8)
            PIL.fromarray(pixels).save(f"{n}{side}.png")
        split = ("train", "train", "test")[n % 3]
        lines.append(f"{n}l.png,{n}r.png,{n},{'ab'[n // 3 % 2]},{n * 10},{split}")
    Path("both.csv").write_text("\n".join(lines))
    options = {**QUICK, "epochs": 1, "look": False, "batch_size": 8, "val": 0}
    run = cs.train("both.csv", **options, out="both", emit=cs.silent)
    found = cs.export(run.path)
    whats = [one.what for one in found.checks]
    assert "test split, another top-1 of kind" in whats and "test split, sum (relative)" in whats
    assert whats[-2:] == ["fitted pixels of left", "fitted pixels of right"]
    assert cs.verify(found.path, run.path).ok
    told, said = (cs.predict(path, ["both.csv"]) for path in (found.path, run.path))
    assert len(told) == 48 and [one.label for one in told] == [one.label for one in said]
    with pytest.raises(BadArgument, match="several inputs or targets"):
        load_onnx(found.path)


def test_a_triton_repository(place: Path) -> None:
    found = cs.export(place, "triton")
    model = place / "triton" / "a_b"
    assert found.path == place / "triton"
    assert (model / "labels.txt").read_text() == "flat\nupright\nspot\n"
    assert cs.verify(model / "1" / "model.onnx", place).ok
    with pytest.raises(BadArgument, match="is a folder that is there already"):
        cs.export(place, "triton", force=True)


def test_golden_records_of_another_file_are_told(bars, workplace: Path) -> None:
    file = OnnxFile.open(exported(bars, workplace / "c"))
    records = golden.read(golden.path_of(file.path))
    records.fitted["image"][3] += 2
    assert [one.ok for one in against_golden(file, records)] == [True, True, True, False]
