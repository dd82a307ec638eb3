"""Judging and predicting; a run folder that was damaged."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from quick import QUICK

import convscope as cs
from convscope import recipe
from convscope.errors import BadArgument, RunError
from convscope.recipe.toml import FIELDS_OF_0_1_0

LATER = "|".join(set(recipe.options()) - FIELDS_OF_0_1_0 - {"momentum"})


def test_evaluating_another_split(bars):
    run = cs.train("mnist", **QUICK)
    train = cs.evaluate(run.path, "train")
    val = cs.evaluate(run.path, "val")
    assert (train["n"], val["n"]) == (216, 24)
    history = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    assert val["accuracy"] == history[-1]["val_accuracy"]
    with pytest.raises(BadArgument, match="split=tset: must be train, val or test"):
        cs.evaluate(run.path, "tset")


def test_predicting(bars, workplace):
    trained = cs.load(cs.train("mnist", **{**QUICK, "epochs": 6}).path)
    images, labels = bars.splits["test"].images, bars.splits["test"].labels
    guesses = trained.predict(images)
    right = np.mean([g.label == bars.classes[y] for g, y in zip(guesses, labels, strict=True)])
    assert right > 0.9
    assert all(abs(sum(p for _, p in g.top) - 1) < 1e-6 for g in guesses)
    assert [g.label for g in trained.predict(images[:, 0])] == [g.label for g in guesses]
    Image.fromarray(images[0, 0]).save("one.png")
    for form in (
        "one.png",
        Path("one.png"),
        Path("one.png").read_bytes(),
        Image.fromarray(images[0, 0]),
    ):
        assert trained.predict([form], top_k=1)[0].top[0][0] == guesses[0].label
    with pytest.raises(BadArgument, match=r"images=float64 .*: must be uint8 \[N,1,12,12\]"):
        trained.predict(np.zeros((1, 1, 12, 12)))
    with pytest.raises(BadArgument, match="top_k=0: must be a whole number of at least 1"):
        trained.predict(images, top_k=0)


def test_probabilities_are_those_of_the_predictions_file(bars):
    """One preprocessing and one temperature: what was judged is what is predicted."""
    run = cs.train("mnist", **QUICK)
    rows = (run.path / "predictions.csv").read_text().splitlines()[1:]
    guesses = cs.load(run.path).predict(bars.splits["test"].images)
    for row, guess in zip(rows, guesses, strict=True):
        _, _, predicted, p, _ = row.split(",")
        assert predicted == guess.label and float(p) == pytest.approx(guess.p, abs=1e-5)


def test_evaluating_writes_every_page_anew(bars):
    run = cs.train("mnist", **QUICK)
    (run.path / "predictions.csv").write_text("damaged")
    cs.evaluate(run.path)
    assert len((run.path / "predictions.csv").read_text().splitlines()) == 61
    assert "2 times" in (run.path / "README.md").read_text()
    assert "<dd>2</dd>" in run.report.read_text()


def test_what_cannot_be_read_stops_nothing(bars):
    trained = cs.load(cs.train("mnist", **QUICK).path)
    Path("empty").mkdir()
    Image.fromarray(bars.splits["test"].images[0, 0]).save("one.png")
    guesses = trained.predict(["gone.png", "one.png", "empty", b"no image"])
    assert [bool(guess.error) for guess in guesses] == [True, False, True, True]
    assert (guesses[0].label, guesses[0].p, guesses[0].unsure) == ("", 0.0, None)
    assert "is not there" in guesses[0].error and "holds no image" in guesses[2].error
    assert trained.predict("one.png")[0].label == guesses[1].label


def test_no_name_in_a_file_is_imported(bars, workplace):
    """A run folder from a stranger: model.json may name any file, and none is touched."""
    run = cs.train("mnist", **QUICK)
    Path("evil.py").write_text("raise SystemExit('imported')")
    info = json.loads((run.path / "model.json").read_text())
    info["architecture"]["name"] = str(Path("evil.py").absolute()) + ":Net"
    (run.path / "model.json").write_text(json.dumps(info))
    with pytest.raises(BadArgument, match="no code is loaded that you do not name"):
        cs.load(run.path)
    info["architecture"]["name"] = "os.system"
    (run.path / "model.json").write_text(json.dumps(info))
    with pytest.raises(RunError, match=r"model.json: was edited or damaged: model=os.system"):
        cs.load(run.path)


@pytest.mark.parametrize(
    ("file", "content", "text"),
    [
        ("model.safetensors", b"", "was cut short or edited: its SHA-256 is not the one in model"),
        ("model.json", b"{", "model.json: is damaged"),
        ("model.json", b"{}", r"model.json: was edited or damaged .name is not there."),
        ("recipe.toml", b"[train]\nlr = 'x'", "recipe.toml: was edited or damaged"),
        ("metrics.json", b'{"accuracy": 1', "metrics.json: is damaged"),
    ],
)
def test_a_damaged_file_is_named(bars, file, content, text):
    run = cs.train("mnist", **QUICK)
    (run.path / file).write_bytes(content)
    with pytest.raises(RunError, match=text):
        cs.evaluate(run.path)


def test_weights_that_do_not_fit_are_named(bars):
    run = cs.train("mnist", **QUICK)
    info = json.loads((run.path / "model.json").read_text())
    info["architecture"]["arguments"]["widths"] = [4, 9]
    (run.path / "model.json").write_text(json.dumps(info))
    with pytest.raises(
        RunError, match=r"does not fit the network: features.4.weight should be .9, 4"
    ):
        cs.load(run.path)


def test_a_run_of_an_older_version_is_judged(bars):
    run = cs.train("mnist", **QUICK, out="a")
    lines = (run.path / "recipe.toml").read_text().splitlines()
    kept = [
        line for line in lines if not re.match(rf'"?(train\.|data\.|augment\.)?({LATER})"? =', line)
    ]
    assert len(lines) - len(kept) > 30
    (run.path / "recipe.toml").write_text("\n".join(kept))
    assert cs.evaluate("a", "val")["n"] == 24
