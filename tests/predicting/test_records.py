"""Records of several inputs over a function in NumPy: what is told of each target."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convscope.data.columns import Class, Labels, Number, Numbers, as_json
from convscope.data.columns import Image as ImageColumn
from convscope.errors import BadArgument, ConvscopeError
from convscope.evaluation.calibration import Calibration
from convscope.evaluation.selective import Selective
from convscope.events import Progress
from convscope.predicting import predictor
from convscope.predicting.prediction import Answer
from convscope.predicting.records import RecordPredictor

pytestmark = pytest.mark.usefixtures("workplace")
COLUMNS = {
    "left": ImageColumn(1, (2, 2)),
    "right": ImageColumn(3, (2, 3)),
    "weight": Numbers(("kg", "g")),
    "lighter": Class(("left", "right")),
    "is": Labels(("dark", "hot dog")),
    "sum": Number(),
}


def outputs(inputs):
    left, right = (
        inputs[name].mean(axis=(1, 2, 3), dtype=np.float32) for name in ("left", "right")
    )
    total = inputs["weight"].sum(axis=1)
    return {
        "lighter": np.stack([left, right], 1) / 50,
        "is": np.stack([100 - left - right, right - 100], 1) / 50,
        "sum": (left + right + total)[:, None],
    }


RECORDS = RecordPredictor(outputs, COLUMNS, {"lighter": 2.0}, Calibration(2.0))


def grey(value: int) -> Image.Image:
    return Image.new("L", (4, 4), value)


def test_every_target_is_told(monkeypatch):
    given = {"left": grey(10), "right": grey(60), "kg": 3, "g": "0.5"}
    [one] = RECORDS.predict([given])
    p = 1 / (1 + np.exp((10 - 60) / 50 / 2.0))
    assert one.label == "right" and one.p == pytest.approx(p)
    assert one.targets["lighter"] == Answer("class", one.top) and len(one.top) == 2
    assert one.targets["is"].text == "dark" and one.targets["sum"].number == 73.5
    assert dict(one.targets["is"].top)["dark"] == pytest.approx(1 / (1 + np.exp(-30 / 50)))
    found = json.loads(json.dumps(one.as_json()))
    assert found["files"] == {"left": "left", "right": "right"}
    assert found["targets"]["sum"] == {"number": 73.5}
    assert [each["label"] for each in found["targets"]["is"]["labels"]] == ["dark"]
    assert found["targets"]["lighter"]["top"] == found["top"]
    assert one.said[0].startswith("lighter right 6") and one.said[2] == "sum 73.5"
    [dark] = RECORDS.predict([{**given, "left": grey(0), "right": grey(200)}], invert=True, top_k=1)
    assert dark.label == "left" and len(dark.top) == 1 and dark.targets["is"].text == ""
    [both] = RECORDS.predict([{**given, "left": grey(255), "right": grey(200)}])
    assert both.targets["is"].text == "hot dog;" and both.said[1] == "is hot dog;"
    told = []
    monkeypatch.setattr(predictor, "BATCH", 2)
    assert RECORDS.predict([given] * 5, emit=told.append) == [one] * 5
    assert told == [Progress("predict", n, 5, "records") for n in (2, 4, 5)]


def test_rows_of_a_table_are_records():
    Path("in").mkdir()
    for name, value in (("a.png", 10), ("b.png", 60)):
        grey(value).save(Path("in") / name)
    lines = ["a.png,b,3,0.5,left", "b.png,a.png,1,0,", "gone.png,a.png,1,0,", "a.png,b.png,x,0,"]
    header = "left:image,right,kg,g,lighter:class\n"
    Path("in/list.csv").write_text(header + "\n".join([*lines, "a.png", ",b.png,1,1,"]))
    found = RECORDS.predict("in/list.csv")
    assert [one.label for one in found] == ["right", "left", "", "", "", ""]
    assert found[0].targets["sum"].number == 73.5 and found[0].file == "a.png"
    assert [tuple(one.files.values()) for one in found[:3]] == [
        ("a.png", "b"), ("b.png", "a.png"), ("gone.png", "a.png")
    ]  # fmt: skip
    said = [one.error for one in found[2:]]
    assert said[0].startswith("gone.png: is not there (No such file or directory); check the path")
    assert said[1] == "line 5: has 'x' in kg, which is no finite number; write one"
    assert said[2].startswith("a.png: has 1 cells where the header has 5")
    assert said[3] == "line 7: has nothing in left; fill it in, or drop the row"


def test_what_it_does_not_take_is_refused_at_once():
    Path("list.csv").write_text("left,kg,g\na.png,1,2\n")
    needs = "and the network takes left, right, kg, g"
    for given, said in (
        ("list.csv", f"list.csv: has no column right among left, kg, g, {needs}"),
        (["one.png"], f"one.png: is no table of records, {needs}; give a table"),
    ):
        with pytest.raises(BadArgument, match=said):
            RECORDS.stream(given)
    for wrong in ({"digits": True}, {"top_k": 0}):
        with pytest.raises(BadArgument):
            RECORDS.stream([], **wrong)
    given = {"left": grey(1), "right": grey(2), "kg": 1, "g": np.inf}
    infinite, alone = RECORDS.predict([given, {**given, "right": None}])
    assert infinite.error == "the record: has inf in g, which is no finite number; write one"
    assert alone.error == "the record: has no right; give an image for it"
    broken = RecordPredictor(
        lambda inputs: {**outputs(inputs), "sum": np.full((1, 1), np.nan)},
        COLUMNS, {}, Calibration(),
    )  # fmt: skip
    with pytest.raises(ConvscopeError, match="must be \\[n,k\\] and finite"):
        broken.predict([{"left": grey(1), "right": grey(2), "kg": 1, "g": 2}])


def test_it_is_what_model_json_says():
    calibration = Calibration(2.0, selective=Selective(0.05, 100, 0.7, 90, 1))
    info = {"architecture": {"columns": as_json(COLUMNS)}, "temperatures": {"lighter": 2.0}}
    made = RecordPredictor.of(json.loads(json.dumps(info | calibration.as_json())), outputs)
    assert made == RecordPredictor(outputs, COLUMNS, {"lighter": 2.0}, calibration)
    sure, unsure = made.predict([
        {"left": grey(0), "right": grey(value), "kg": 1, "g": 2} for value in (200, 20)
    ])  # fmt: skip
    assert (sure.unsure, unsure.unsure) == (False, True)
