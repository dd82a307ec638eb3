"""Which answers are unsure, which images are unlike, which classes are in a set: from training to
prediction."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from listening import notices, warnings_in
from quick import QUICK

import convscope as cs
from convscope.errors import BadArgument, RunError
from convscope.evaluation import calibration, conformal, metrics, selective
from convscope.run import RunFolder

HALF = {**QUICK, "val": 0.5, "look": False, "out": "a"}  # 120 images of validation


def info() -> dict:
    return json.loads(Path("a/model.json").read_text())


def test_what_training_finds_is_what_predictions_say(bars):
    run = cs.train("mnist", **HALF, abstain=0.04)
    kept, said = info()["abstain"], run.metrics.abstain
    assert (kept["error"], kept["n"], kept["asked"]) == (0.04, 120, True)
    logits, labels = calibration.read(RunFolder(run.path).validation, 3)
    p = cs.load("a").calibration.answers(logits).confidence
    found = selective.select(p, logits.argmax(1) == labels, 0.04, asked=True)
    assert asdict(found) == kept and kept["threshold"] is not None
    test = bars.splits["test"]
    guesses = cs.load("a").predict(test.images)
    unsure = np.array([one.unsure for one in guesses])
    right = np.array(
        [one.label == bars.classes[y] for one, y in zip(guesses, test.labels, strict=True)]
    )
    assert (said["answered"], said["wrong"]) == ((~unsure).sum(), (~unsure & ~right).sum())
    assert run.metrics.ood == {"flagged": sum(one.ood for one in guesses)}
    assert info()["temperature"] == info()["scaling"]["fitted"] < 1  # so few epochs are not sure
    assert run.metrics.loss_calibrated < run.metrics.loss and run.metrics.ece < run.metrics.ece_raw
    again = cs.evaluate("a")
    assert [again[key] for key in ("abstain", "ood", "loss_calibrated")] == [
        said, run.metrics.ood, run.metrics.loss_calibrated
    ]  # fmt: skip
    noise = np.random.default_rng(0).integers(0, 256, (50, 1, 12, 12), np.uint8)
    odd = cs.load("a").predict(noise)
    assert sum(one.ood for one in odd) > 25 and all(one.unsure for one in odd if one.ood)


def test_too_few_images_are_refused_before_anything_is_written(bars):
    with pytest.raises(BadArgument, match="abstain=0.02: .* takes 149 validation .* there are 120"):
        cs.train("mnist", **HALF, abstain=0.02)
    with pytest.raises(BadArgument, match="abstain=0.1: .* takes 29 validation .* there are 0"):
        cs.train("mnist", **{**HALF, "val": 0}, abstain=0.1)
    assert not Path("a").exists()


def test_a_bound_that_nothing_keeps_is_said_wherever_it_was_asked_for(bars, events):
    cs.train("mnist", **{**HALF, "epochs": 1, "lr": 0.0001})
    seen, emit = events
    cs.predict("a", [], abstain=0.05, emit=emit)
    cs.evaluate("a", "val", abstain=0.05, emit=emit)
    assert len(warnings_in(seen)) == 2 and all(
        said.startswith("every answer is unsure: on 120") for said in warnings_in(seen)
    )


def test_what_takes_validation_images_says_that_there_are_none(bars, events):
    cs.train("mnist", **{**HALF, "val": 0, "epochs": 1})
    seen, emit = events
    cs.predict("a", [], emit=emit)
    assert "not known of this run, which has no validation images" in notices(seen)[0]
    for asked in ({"abstain": 0.1}, {"coverage": 0.8}):
        with pytest.raises(BadArgument, match="validation images.*and there are 0; "):
            cs.load("a", **asked)


def test_few_images_claim_nothing_and_say_so(bars, events):
    seen, emit = events
    cs.train("mnist", **QUICK, out="a", emit=emit)
    said = "\n".join(notices(seen))
    assert "no temperature: 50 validation images are needed" in said
    assert "which answers are unsure is not known: an error of at most 5%" in said
    assert "takes 59 validation images, all answered right, and there are 24" in said
    assert info()["ood"] is None and info()["abstain"]["threshold"] is None
    assert cs.load("a").predict(bars.splits["test"].images[:1])[0].unsure is None
    with pytest.raises(BadArgument, match="coverage=0.99: takes 99 validation images, .* are 24"):
        cs.load("a", coverage=0.99)
    del seen[:]
    Path("photos").mkdir()
    cs.predict("a", ["photos"], emit=emit)
    assert notices(seen)[0].startswith("which answers are unsure is not known: an error of at m")
    assert not warnings_in(seen)


def test_another_bound_is_kept_by_a_look_at_the_test_split_alone(bars):
    cs.train("mnist", **HALF)
    before = info()
    assert (before["abstain"]["error"], before["abstain"]["asked"]) == (0.05, False)
    found = cs.evaluate("a", "val", abstain=0.3)
    assert found["abstain"]["error"] == 0.3 and info() == before
    with pytest.raises(BadArgument, match="abstain=0.01: an error of at most 1% takes 299"):
        cs.evaluate("a", abstain=0.01)
    assert json.loads(Path("a/metrics.json").read_text())["test_looks"] == 1
    found = cs.evaluate("a", abstain=0.3)
    kept = info()
    assert kept["abstain"]["error"] == 0.3 and kept["abstain"]["asked"]
    assert found["abstain"]["threshold"] == kept["abstain"]["threshold"]
    assert {**kept, "abstain": before["abstain"]} == before
    assert cs.load("a").calibration == cs.load("a", abstain=0.3).calibration
    assert "bound 30%" in Path("a/README.md").read_text()


def test_prediction_sets(bars):
    cs.train("mnist", **{**HALF, "epochs": 1})
    test = bars.splits["test"]
    assert cs.load("a").predict(test.images[:1])[0].prediction_set is None
    sizes = []
    for coverage in (0.5, 0.8, 0.98):
        guesses = cs.load("a", coverage=coverage).predict(test.images)
        held = [
            bars.classes[y] in one.prediction_set
            for one, y in zip(guesses, test.labels, strict=True)
        ]
        assert np.mean(held) > coverage - 0.15 and all(
            g.prediction_set[0] == g.label for g in guesses
        )
        sizes.append(np.mean([len(one.prediction_set) for one in guesses]))
    assert sizes == sorted(sizes) and sizes[-1] > 1
    lowest = cs.load("a", coverage=0.8).set_threshold
    logits, labels = calibration.read(Path("a/validation.safetensors"), 3)
    assert info()["temperature"] != 1
    assert lowest == conformal.threshold(metrics.softmax(logits), labels, 0.8)
    Path("a/validation.safetensors").unlink()
    with pytest.raises(RunError, match="is not there; write it anew with: .*eval RUN --split val"):
        cs.load("a", coverage=0.8)
    before = cs.evaluate("a", "val")["test_looks"]
    assert (cs.load("a", coverage=0.8).set_threshold, before) == (lowest, 1)


def test_a_run_of_an_older_version_claims_nothing_until_it_is_asked(bars, events):
    cs.train("mnist", **HALF)
    new, logits = info(), calibration.read(Path("a/validation.safetensors"), 3)[0]
    old = {k: v for k, v in new.items() if k not in ("scaling", "abstain", "ood")}
    Path("a/model.json").write_text(json.dumps(old))
    Path("a/validation.safetensors").unlink()
    metrics = json.loads(Path("a/metrics.json").read_text())
    for key in ("abstain", "ood", "loss_calibrated"):
        del metrics[key]
    Path("a/metrics.json").write_text(json.dumps(metrics))
    assert cs.Run(Path("a")).metrics.abstain is None
    [one] = cs.load("a").predict(bars.splits["test"].images[:1])
    assert (one.unsure, one.ood) == (None, None)
    seen, emit = events
    cs.predict("a", [], emit=emit)
    assert notices(seen)[0].endswith("of this run; find it with: convscope eval a --abstain 0.05")
    cs.evaluate("a")
    assert "before" in Path("a/report.html").read_text()
    cs.evaluate("a", abstain=0.1)
    np.testing.assert_allclose(
        calibration.read(Path("a/validation.safetensors"), 3)[0], logits, atol=1e-5
    )
    [one] = cs.load("a").predict(bars.splits["test"].images[:1])
    assert one.unsure is not None and info()["abstain"]["error"] == 0.1


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("abstain", {"error": 0.1}, "n is not there"), ("ood", 3, "ood is no table"),
     ("ood", {"score": "odin"}, "score is 'odin'"), ("ood", {"score": []}, "score is ...;"),
     ("scaling", {"n": "5"}, "n is '5'"), ("temperatures", 3, "temperatures is no table"),
     ("temperatures", {"first": "1"}, "first is '1'")],
)  # fmt: skip
def test_what_was_edited_is_named(bars, key, value, words):
    cs.train("mnist", **HALF)
    Path("a/model.json").write_text(json.dumps(info() | {key: value}))
    with pytest.raises(RunError, match=f"a/model.json: .*{words}"):
        cs.load("a")
