"""Every image is judged once, by a network that did not learn from it; stopped, it goes on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from photos import image_file, photos
from quick import QUICK

from convscope import api
from convscope.errors import BadArgument
from convscope.evaluation.metrics import wilson_interval
from convscope.studies.folds import cross_validate

FAST = {**QUICK, "model": "mlp", "hidden": 8, "epochs": 1, "batch_size": 10, "threads": 1}
del FAST["widths"]


@pytest.fixture
def pets(workplace) -> Path:
    """Two classes of ten small images, of which two are identical."""
    root = photos(workplace / "pets", ("cat", "dog"), count=10, size=(6, 6))
    (root / "cat" / "009.png").write_bytes((root / "cat" / "004.png").read_bytes())
    return root


def test_every_image_is_judged_once_and_what_was_stopped_goes_on(pets, monkeypatch):
    going, trained = api.train, []

    def stopping(**options):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(options["fold"])
        return going(**options)

    monkeypatch.setattr(api, "train", stopping)
    with pytest.raises(KeyboardInterrupt):
        cross_validate("./pets", k_fold=3, out="cv", **FAST)
    assert not Path("cv/results.json").exists()
    monkeypatch.setattr(api, "train", lambda **o: trained.append(o["fold"]) or going(**o))
    with pytest.raises(BadArgument, match=r"resume=cv: was begun with other options"):
        cross_validate("./pets", k_fold=3, out="cv", resume=True, **{**FAST, "hidden": 9})
    found = cross_validate("./pets", k_fold=3, out="cv", resume=True, **FAST)
    assert trained == ["1/3", "2/3", "3/3"]

    rows = list(csv.DictReader(Path("cv/predictions.csv").read_text().splitlines()))
    named = {row["file_or_index"]: row for row in rows}
    assert len(rows) == len(named) == 20
    assert {file: row["label"] for file, row in named.items()} == {
        f"{kind}/{n:03}.png": kind for kind in ("cat", "dog") for n in range(10)
    }
    assert named["cat/009.png"]["fold"] == named["cat/004.png"]["fold"]
    right = sum(row["label"] == row["predicted"] for row in rows)
    figures = found.figures
    assert figures["accuracy"] == right / 20 == found.accuracy and figures["n"] == 20
    assert figures["accuracy_ci95"] == list(wilson_interval(right, 20))
    assert np.sum(figures["confusion"]) == 20 and np.trace(figures["confusion"]) == right
    each = [row["accuracy"] for row in figures["folds"]]
    assert figures["sd"] == pytest.approx(np.std(each, ddof=1))
    assert json.loads(Path("cv/results.json").read_text()) == figures
    page = found.page.read_text()
    assert f"**{right / 20:.2%} of 20 images" in page and "| dog | 10 |" in page

    run = Path("cv") / figures["folds"][1]["run"]
    counts = [api.evaluate(run, split)["n"] for split in ("train", "val", "test")]
    assert sum(counts) == 20 and counts[2] == figures["folds"][1]["n"]
    with pytest.raises(BadArgument, match="out=cv: holds a cross-validation already"):
        cross_validate("./pets", k_fold=3, out="cv", **FAST)


def test_what_cannot_be_cross_validated_is_refused_before_anything_is_written(pets):
    for options, message in (
        ({"k_fold": 1}, "k_fold=1: must be how many folds"),
        ({"k_fold": 99}, r"k_fold=99: makes more folds than pets has images or groups \(19\)"),
        ({"fold": "1/3"}, "fold=1/3: is one fold, and k_fold"),
        ({"resume": True}, "resume=True: needs the folder of the cross-validation"),
        ({"epochs": 0}, "epochs=0: must be"),
    ):
        with pytest.raises(BadArgument, match=message):
            cross_validate("./pets", **{**FAST, **options})
    (pets / "cow").mkdir()
    (pets / "cow" / "0.png").write_bytes(image_file(77, (6, 6)))
    with pytest.raises(BadArgument, match="leaves none to learn from of cow, which has one of"):
        cross_validate("./pets", k_fold=3, **FAST)
    assert not Path("runs").exists()
