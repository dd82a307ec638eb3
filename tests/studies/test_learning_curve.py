"""Runs on shares of the images, the power law through their errors, and what is said of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import curve_fit

from convscope import api
from convscope.errors import BadArgument, DataError, RunError
from convscope.recipe import of_run
from convscope.studies import learning_curve as room
from convscope.studies.learning_curve import Curve, bootstrap, error_at, fit, sentences

SIZES = np.array([0.125, 0.25, 0.5, 1.0])
QUICK = {"model": "mlp", "hidden": 8, "epochs": 1, "batch_size": 20, "kernels": "plain"}
QUICK |= {"precision": "float32", "memory_format": "contiguous", "threads": 1, "augment": "none"}


@pytest.mark.parametrize(
    ("scale", "exponent", "floor"), [(0.1, 0.5, 0.05), (0.02, 1.4, 0.3), (0.3, 0.2, 0.0)]
)
def test_a_power_law_is_found_again(scale, exponent, floor):
    law = fit(SIZES, floor + scale * SIZES**-exponent)
    for size in (0.125, 0.4, 1.0, 2.0):
        wanted = floor + scale * size**-exponent
        assert float(error_at(law, size)) == pytest.approx(wanted, abs=2e-3)


def test_the_least_squares_are_scipys():
    random = np.random.default_rng(0)
    errors = 0.1 + 0.1 * SIZES**-0.6 + random.normal(0, 0.01, (20, 4))
    laws = fit(SIZES, errors)
    for law, some in zip(np.moveaxis(laws, 1, 0), errors, strict=True):
        theirs, _ = curve_fit(
            lambda x, a, b, c: c + a * x**-b, SIZES, some, (0.1, 0.5, 0.05),
            bounds=([0, 0.05, 0], [1, 2, 1]), max_nfev=5000,
        )  # fmt: skip
        for size in (0.125, 0.5, 1.0, 2.0):
            wanted = theirs[2] + theirs[0] * size ** -theirs[1]
            assert float(error_at(law, size)) == pytest.approx(wanted, abs=2e-3)
    assert (laws[[0, 2]] >= 0).all()


def test_an_error_that_does_not_fall_is_a_level_line():
    for errors in (np.full(4, 0.3), np.array([0.1, 0.2, 0.3, 0.4])):
        law = fit(SIZES, errors)
        assert error_at(law, 0.125) == pytest.approx(error_at(law, 2.0))
        assert float(error_at(law, 1.0)) == pytest.approx(errors.mean())


def test_the_bootstrap_draws_images_of_a_class_and_seeds():
    random = np.random.default_rng(1)
    share = np.array([0.4, 0.3, 0.2, 0.1])[:, None, None]
    wrong = random.random((4, 2, 900)) < share
    wrong[:, :, 600:] = False  # a class that is always right
    found = bootstrap(wrong, np.array([0, 600]), np.array([600, 300]))
    assert found.shape == (1 + room.DRAWS, 2, 4)
    assert np.allclose(found[0, 0], wrong[:, :, :600].mean((1, 2)))
    assert (found[:, 1] == 0).all()
    spread = found[1:, 0].std(0)
    assert np.allclose(spread, np.sqrt(0.5 * share[:, 0, 0] * (1 - share[:, 0, 0]) / 600), rtol=0.6)
    apart = np.stack([wrong[:, 0], wrong[:, 0] | True], 1)  # a seed that is always wrong
    assert bootstrap(apart, np.array([0]), np.array([900]))[1:, 0, 3].std() > 0.2


WHOLE = Curve("", (100, 200, 400, 800), (0.4, 0.3, 0.25, 0.2), 0.1, 0.5, 0.1, 0.171, (0.15, 0.19))
CLASSES = [
    replace(WHOLE, name="cat", most=0.8, images=(10, 20, 40, 80)),
    replace(WHOLE, name="dog", most=0.2),
]


def test_what_is_said():
    said = sentences(WHOLE, CLASSES, falls=True)
    assert said[0] == "With half of the 800 images 25.0% are wrong, with all of them 20.0%."
    assert "Twice as many would take it to 17.1% (95 % band 15.0% to 19.0%)" in said[1]
    assert said[2] == "To take a tenth off the error takes about 450 more images."
    assert (
        "Most of it is to be had of cat: 20.0% of it are wrong with 80 images (first in 80%"
        in said[3]
    )


def test_no_more_is_said_than_the_numbers_bear():
    level = sentences(WHOLE, CLASSES, falls=False)
    assert len(level) == 2 and "more images of these kinds are not shown to help" in level[1]
    even = [replace(one, most=0.4) for one in CLASSES]
    assert "No class promises more" in sentences(WHOLE, even, falls=True)[3]
    flat = replace(WHOLE, floor=0.19, scale=0.01)
    assert "takes more than 800 more images" in sentences(flat, CLASSES, falls=True)[2]


def test_four_runs_of_as_many_steps_on_nested_images(bars, workplace, counted, monkeypatch):
    going = api.train

    def stopping(**options):
        if "share-1-2" in options["out"].name:
            raise KeyboardInterrupt
        return going(**options)

    with monkeypatch.context() as patch:
        patch.setattr(api, "train", stopping)
        with pytest.raises(KeyboardInterrupt):
            room.learning_curve("mnist", **QUICK, out="curve")
    done = room.learning_curve("mnist", **QUICK, out="curve", resume=True)
    assert counted == [f"1-share-{share}-seed1" for share in ("1-8", "1-4", "1-2", "1")]
    runs = [done.path / "runs" / name for name in counted]
    steps = [json.loads((run / "history.jsonl").read_text().splitlines()[-1]) for run in runs]
    assert {of_run(run).train.steps for run in runs} == {11}  # 216 images, 20 a step
    assert [of_run(run).train.epochs for run in runs] == [8, 4, 2, 1] and len(steps) == 4
    splits = [json.loads((run / "split.json").read_text()) for run in runs]
    assert [split["train"] for split in splits] == [27, 54, 108, 216]
    few, more = (set(split["learnt"]) for split in splits[:2])
    assert few < more and not more & set(splits[0]["val"])
    assert api.evaluate(runs[0], "train")["n"] == 27
    assert done.whole.images == (27, 54, 108, 216)
    assert [one.images for one in done.classes] == [(9, 18, 36, 72)] * 3
    errors = [1 - json.loads((run / "metrics.json").read_text())["accuracy"] for run in runs]
    assert done.whole.errors == pytest.approx(errors)
    assert 0 <= sum(one.most for one in done.classes) <= 1 + 1e-9
    low, high = done.whole.twice_ci95
    assert 0 <= low <= high
    page = done.page.read_text()
    assert all(f"- {sentence}\n" in page for sentence in done.sentences)
    assert "| all | 216 |" in page and (done.path / "figure.svg").stat().st_size > 1000
    kept = json.loads((done.path / "results.json").read_text())
    assert (
        kept["whole"] == json.loads(json.dumps(done.as_json()["whole"])) and len(kept["rows"]) == 4
    )
    again = room.learning_curve("mnist", **QUICK, out="curve", resume=True)
    assert len(counted) == 4 and again.whole == done.whole


def test_what_cannot_be_is_refused_before_anything_is_written(bars, workplace, monkeypatch):
    for options, text in (
        ({"share": 0.5}, "share=0.5: is varied, and given as well"),
        ({"seeds": 0}, "seeds=0: must be how many, at least 1"),
        ({"lr": -1}, "lr=-1.0: must be a finite number above 0"),
    ):
        with pytest.raises(BadArgument, match=text):
            room.learning_curve("mnist", **QUICK | options, out="curve")
    with pytest.raises(BadArgument, match="DATA=.not given.: is needed"):
        room.learning_curve(out="curve")
    with pytest.raises(DataError, match="mnist: 12 images to learn from, 16 at least; add some"):
        room.learning_curve("mnist", **QUICK, val=0.95, out="curve")
    assert not (workplace / "curve").exists()


def test_a_run_that_failed_is_named_and_the_others_are_kept(bars, workplace, monkeypatch):
    going = api.train

    def failing(**options):
        if "share-1-4" in options["out"].name:
            raise DataError("the disk is full")
        return going(**options)

    monkeypatch.setattr(api, "train", failing)
    with pytest.raises(RunError, match="curve: the disk is full; mend it, then --resume"):
        room.learning_curve("mnist", **QUICK, out="curve")
    assert (workplace / "curve/runs/1-share-1-seed1/report.html").exists()
    monkeypatch.setattr(api, "train", going)
    assert room.learning_curve("mnist", **QUICK, out="curve", resume=True).classes


def test_of_a_network_that_only_fits_its_last_layer_there_are_no_steps(bars, workplace, counted):
    begun = api.train(data="mnist", **QUICK, out=Path("begun"), look=False).path
    done = room.learning_curve("mnist", start=begun, freeze="features", threads=1, out="curve")
    assert len(counted) == 5  # with the one that they begin from
    recipe = of_run(done.path / "runs" / counted[-1])
    assert (recipe.train.freeze, recipe.train.steps, recipe.model.name) == ("features", 0, "mlp")
    assert done.whole.images == (27, 54, 108, 216)
