"""A predictor over a function in NumPy: what is done with its logits, and that no torch is."""

from __future__ import annotations

import itertools
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from quick import python
from written import digit, photographed, put, sheet

from convscope.errors import BadArgument, ConvscopeError
from convscope.evaluation.calibration import Calibration
from convscope.evaluation.ood import OutOfDistribution, energy
from convscope.evaluation.selective import Selective
from convscope.events import Progress
from convscope.predicting.predictor import Predictor

CLASSES = ("low", "middle", "high")
IMAGES = np.random.default_rng(1).integers(0, 256, (20, 1, 4, 4), np.uint8)


def logits(images, emit=None) -> np.ndarray:
    """Float32 [N,3]: how near the mean is to 0, to 128, and to 255."""
    mean = images.mean(axis=(1, 2, 3), dtype=np.float32)[:, None]  # [N,1]
    return -np.abs(mean - np.array([[0, 128, 255]], np.float32)) / 16


def predictor(temperature: float = 2.5, provider=logits, classes=CLASSES) -> Predictor:
    return Predictor(provider, classes, 1, (4, 4), "pad", Calibration(temperature))


def bounded(selective: Selective | None, ood: OutOfDistribution | None = None) -> Predictor:
    return replace(predictor(), calibration=Calibration(2.5, selective=selective, ood=ood))


def test_logits_are_divided_by_the_temperature():
    divided = logits(IMAGES).astype(np.float64) / 2.5
    wanted = np.exp(divided) / np.exp(divided).sum(1, keepdims=True)
    np.testing.assert_allclose(predictor().probabilities(IMAGES), wanted, rtol=1e-12)
    for row, one in zip(wanted, predictor().predict(IMAGES), strict=True):
        assert dict(one.top) == pytest.approx(dict(zip(CLASSES, row, strict=True)), rel=1e-12)
        assert one.top == tuple(sorted(one.top, key=lambda each: -each[1]))
        assert (one.label, one.p) == one.top[0] and one.p == pytest.approx(row.max())


def test_only_the_likeliest_are_named():
    whole = predictor().predict(IMAGES)
    for k in (1, 2, 3, 99):
        assert [one.top for one in predictor().predict(IMAGES, top_k=k)] == [
            one.top[:k] for one in whole
        ]
    with pytest.raises(BadArgument, match="top_k=0: must be a whole number of at least 1"):
        predictor().predict(IMAGES, top_k=0)


def test_equal_probabilities_are_in_the_order_of_the_classes():
    level = predictor(provider=lambda images, emit=None: np.zeros((len(images), 3)))
    assert [label for label, _ in level.predict(IMAGES[:1])[0].top] == list(CLASSES)


def test_unsure_is_below_the_threshold_that_validation_gave():
    p = predictor().probabilities(IMAGES).max(1)
    middle = float(np.sort(p)[10])
    found = bounded(Selective(0.05, 100, middle, 90, 1)).predict(IMAGES)
    assert [one.unsure for one in found] == (p < middle).tolist()
    assert sum(one.unsure for one in found) == 10
    for asked in (True, False):
        none = bounded(Selective(0.05, 100, None, 0, 0, asked))
        assert {one.unsure for one in none.predict(IMAGES)} == {True if asked else None}
    assert {one.unsure for one in predictor().predict(IMAGES)} == {None}  # nothing is known
    assert {one.ood for one in predictor().predict(IMAGES)} == {None}


def test_what_is_unlike_training_is_said_and_unsure():
    energies = energy(logits(IMAGES))
    middle = float(np.sort(energies)[5])
    odd = OutOfDistribution("energy", middle, 100, {}, {})
    for selective in (None, Selective(0.05, 100, 0.0, 90, 1)):
        found = bounded(selective, odd).predict(IMAGES)
        assert [one.ood for one in found] == (energies < middle).tolist()
        rest = None if selective is None else False
        assert [one.unsure for one in found] == [True if one.ood else rest for one in found]
        assert {one.marks for one in found} == {
            "", "unsure: looks like nothing it was trained on"
        }  # fmt: skip


def test_a_prediction_set_holds_the_likely_classes():
    assert {one.prediction_set for one in predictor().predict(IMAGES)} == {None}
    found = replace(predictor(), set_threshold=0.2).predict(IMAGES, top_k=1)
    raw = predictor(1.0).predict(IMAGES)  # the temperature of 2.5 is not asked
    for one, whole in zip(found, raw, strict=True):
        likely = tuple(label for label, p in whole.top if p >= 0.2)
        assert one.prediction_set == likely and one.label == likely[0]
    assert {len(one.prediction_set) for one in found} > {1}


def test_what_cannot_be_read_keeps_its_place():
    asked: list[int] = []

    def counted(images, emit=None):
        asked.append(len(images))
        return logits(images)

    one = predictor(1.0, counted)
    black, white = Image.new("L", (9, 9)), Image.new("L", (9, 9), 255)
    found = one.predict([white, b"no image", black])
    assert [each.label for each in found] == ["high", "", "low"] and asked == [2]
    assert [each.file for each in found] == ["0", "1", "2"]
    assert found[1].as_json() == {
        "file": "1", "top": [], "unsure": None, "ood": None, "prediction_set": None,
        "error": found[1].error,
    }  # fmt: skip
    assert "is no image" in found[1].error and not found[1].unsure and found[1].p == 0
    assert [each.label for each in one.predict([black, white], invert=True)] == ["high", "low"]
    assert one.predict([b"no image"])[0].error and one.predict([]) == [] and len(asked) == 2


def test_any_number_goes_through_some_at_a_time(monkeypatch):
    asked, told = [], []

    def counted(images, emit=None):
        asked.append(len(images))
        return logits(images)

    one = predictor(provider=counted)
    many = np.repeat(IMAGES, 30, axis=0)
    whole = predictor().predict(IMAGES)
    found = one.stream(many, emit=told.append)
    assert asked == []
    assert [each.top for each in found] == [each.top for each in whole for _ in range(30)]
    assert asked == [256, 256, 88]
    assert told == [Progress("predict", n, 600, "images") for n in (256, 512, 600)]
    monkeypatch.setattr("convscope.predicting.predictor.BATCH_BYTES", 100)  # of 16 each
    asked.clear()
    endless = one.stream(itertools.cycle([b"no image", Image.new("L", (9, 9), 255)]))
    first = [next(endless) for _ in range(12)]
    assert [bool(each.error) for each in first] == [True, False] * 6
    assert {each.label for each in first[1::2]} == {"high"} and asked == [3, 3]
    endless.close()


def test_what_is_asked_is_checked_before_the_first_image():
    for wrong in ({"top_k": 0}, {"digits": True}, {"images": np.zeros((1, 2, 2))}):
        with pytest.raises(BadArgument):
            predictor().stream(**{"images": IMAGES, **wrong})


def test_it_is_what_model_json_says():
    info = {
        "classes": list(CLASSES),
        "preprocessing": {"channels": 1, "size": [4, 4], "fit": "pad", "memory_format": "any"},
        "temperature": 2.5,
    }
    made = Predictor.of(json.loads(json.dumps(info)), logits)
    assert made == predictor()  # as older runs have it
    kept = Calibration(
        2.5,
        selective=Selective(0.02, 200, 0.9, 150, 0, True),
        ood=OutOfDistribution("max_softmax", 0.4, 200, {"energy": 0.5}, {"noise": 1.0}),
    )
    whole = Predictor.of(json.loads(json.dumps(info | kept.as_json())), logits)
    assert whole.calibration == kept
    assert made.predict(IMAGES) == predictor().predict(IMAGES)


def test_logits_that_are_no_numbers_are_refused():
    broken = predictor(provider=lambda images, emit=None: logits(images) * np.nan)
    with pytest.raises(ConvscopeError, match="not finite for 20 of 20 images"):
        broken.predict(IMAGES)


def test_it_is_pickled_with_a_provider_that_is():
    again = pickle.loads(pickle.dumps(predictor()))
    assert again.predict(IMAGES) == predictor().predict(IMAGES)


def test_digits_are_for_networks_that_take_them():
    ink = put(put(sheet(), digit(1), 50, 20), digit(0), 50, 170)
    photo = Image.fromarray(photographed(ink))

    def by_ink(images, emit=None) -> np.ndarray:
        """More ink, more of a 0."""
        return np.stack([images.sum(axis=(1, 2, 3)) / 1e4, np.full(len(images), 2.0)], axis=1)

    reader = Predictor(by_ink, ("0", "1"), 1, (28, 28), "pad", Calibration(0.1))
    for given in (None, True):
        one, nought = reader.predict([photo], digits=given)
        assert one.label == "1" and nought.label == "0" and one.file == nought.file == "0"
        assert one.box[2] < nought.box[0] and one.as_json()["box"] == list(one.box)
    [whole] = reader.predict([photo], digits=False)
    assert whole.box is None and "box" not in whole.as_json()
    letters = Predictor(by_ink, ("a", "b"), 1, (28, 28), "pad", Calibration())
    assert len(letters.predict([photo])) == 1 and len(letters.predict([photo], digits=True)) == 2
    with pytest.raises(BadArgument, match="digits=True: gives images of 1 x 28 x 28, and the netw"):
        predictor().predict([photo], digits=True)
    for wrong in ({"invert": True}, {"images": IMAGES}):
        with pytest.raises(BadArgument, match="does not go with digits"):
            reader.predict(**{"images": [photo], "digits": True, **wrong})


WITHOUT_TORCH = """
import sys
for name in ("torch", "torchvision", "matplotlib", "rich", "typer"):
    sys.modules[name] = None  # importing it fails
import json
import numpy as np
import convscope
from convscope.data import sources  # noqa: F401
from convscope.evaluation.calibration import Calibration
from convscope.predicting.predictor import Predictor
from convscope.run import RunFolder  # what a process with another provider reads model.json by

def logits(images, emit=None):
    mean = images.mean(axis=(1, 2, 3), dtype=np.float32)
    return np.stack([mean, 255 - mean], axis=1) / 64

predictor = Predictor(logits, ("light", "dark"), 3, (4, 6), "crop", Calibration(1.5))
found = predictor.predict([sys.argv[1], "gone.png"])
assert isinstance(found[0], convscope.Prediction)
print(json.dumps([one.as_json() for one in found]))
"""


def test_no_torch_is_needed(workplace):
    Image.new("RGB", (40, 30), "white").save("white.png")
    process = python(WITHOUT_TORCH, "white.png")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    white, gone = json.loads(out)
    p = 1 / (1 + np.exp(-255 / 64 / 1.5))
    assert [each["label"] for each in white["top"]] == ["light", "dark"]
    assert white["top"][0]["p"] == pytest.approx(p, rel=1e-6) and white["error"] is None
    assert gone == {
        "file": "gone.png", "top": [], "unsure": None, "ood": None, "prediction_set": None,
        "error": "is not there; check the path",
    }  # fmt: skip
