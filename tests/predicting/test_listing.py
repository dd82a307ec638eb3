"""Predictions as rows of a CSV, and counted."""

from __future__ import annotations

from convscope.data.columns import Class, Labels, Number, as_json
from convscope.data.columns import Image as ImageColumn
from convscope.evaluation.calibration import Calibration
from convscope.predicting.listing import FAILED, Tally, rows
from convscope.predicting.prediction import Answer, Prediction
from convscope.predicting.predictor import Predictor
from convscope.predicting.records import RecordPredictor

READER = Predictor(lambda images, emit=None: images, ("3", "7"), 1, (28, 28), "pad", Calibration())
SURE = Prediction((("7", 0.75), ("3", 0.25)), "a.png", unsure=False, ood=False)
BAD = Prediction((), "b.png", "is empty; copy it again")


def test_a_row_an_answer():
    cut = Prediction(SURE.top, "c.jpg", box=(1, 2, 3, 4), unsure=True, prediction_set=("7", "3"))
    assert list(rows(READER, [SURE, BAD, cut], top_k=5)) == [
        ["file", "label_1", "p_1", "label_2", "p_2", "unsure", "ood", "error", "box"],
        ["a.png", "7", "0.750000", "3", "0.250000", "false", "false", "", ""],
        ["b.png", "", "", "", "", "", "", "is empty; copy it again", ""],
        ["c.jpg", "7", "0.750000", "3", "0.250000", "true", "", "", "1 2 3 4"],
    ]
    sets = Predictor(
        READER.logits, ("cat", "dog"), 1, (28, 28), "pad", Calibration(), set_threshold=0.1
    )
    one = Prediction((("dog", 1.0),), "a.png", prediction_set=("dog", "cat"))
    assert list(rows(sets, [one], top_k=1)) == [
        ["file", "label_1", "p_1", "prediction_set", "unsure", "ood", "error"],
        ["a.png", "dog", "1.000000", "dog|cat", "", "", ""],
    ]
    assert next(rows(READER, [], top_k=1, digits=False))[-1] == "error"


def test_a_column_a_head():
    columns = {"left": ImageColumn(1, (2, 2)), "right": ImageColumn(1, (2, 2))}
    columns |= {"larger": Class(("l", "r")), "is": Labels(("wet", "old")), "sum": Number()}
    info = {"architecture": {"columns": as_json(columns)}, "temperatures": {}, "temperature": 1.0}
    network = RecordPredictor.of(info, lambda inputs: {})
    files = {"left": "1.png", "right": "2.png"}
    told = {
        "larger": Answer("class", (("r", 0.5), ("l", 0.5))),
        "is": Answer("labels", (("wet", 0.9), ("old", 0.8))),
        "sum": Answer("number", number=2.5),
    }
    found = [
        Prediction(told["larger"].top, "1.png", files=files, targets=told),
        Prediction((), "1.png", "2.png: is empty", files=files),
    ]
    assert list(rows(network, found, top_k=3)) == [
        ["left", "right", "larger", "larger_p", "is", "sum", "unsure", "ood", "error"],
        ["1.png", "2.png", "r", "0.500000", "wet old", "2.5", "", "", ""],
        ["1.png", "2.png", "", "", "", "", "", "", "2.png: is empty"],
    ]


def test_they_are_counted_as_they_pass():
    tally, unsure = Tally(), Prediction((("3", 0.5),), "d.png", unsure=True)
    given = [SURE, unsure, *[BAD] * 30, SURE]
    assert list(tally.counted(given)) == given
    assert tally.classes == {"7": 2, "3": 1} and tally.unsure["3"] == 1
    assert tally.failures == 30 and tally.failed == [BAD] * FAILED
    assert sum(tally.unsure.values()) == 1
