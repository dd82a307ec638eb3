"""`convscope explain` as a stranger types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from quick import QUICK

import convscope as cs
from convscope.insight.explain import ascent


@pytest.fixture
def explain(run, bars, monkeypatch):
    monkeypatch.setattr(ascent, "STEPS", 4)
    cs.train("mnist", out="a", **{**QUICK, "epochs": 1})
    return lambda *args: run("explain", "a", "--threads", "1", *args)


def test_in_words_and_as_json(explain, bars) -> None:
    said = explain("--only", "filters,heat", "--method", "gradcam", "--class", "spot")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0].startswith("a/explain/filters.png: The kernels of the first convolution")
    assert lines[1].startswith("a/explain/heat.png: Heat maps, and their doubt. On ")
    assert "% of 40 images" in lines[1] and "the pixels that Grad-CAM names" in lines[1]
    assert lines[-1] == "page     a/explain/index.html"
    Image.fromarray(bars.splits["test"].images[0, 0]).save("one.png")
    found = json.loads(explain("one.png", "--only", "maps", "--layer", "features.3", "--json").out)
    assert found["pictures"]["maps"]["layers"] == ["features.3"]
    assert found["path"] == "a/explain" and found["images"][0].startswith("one.png\n")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--layer head", "error: --layer head: is no layer that gives maps; "),
        ("--class 7", "error: --class 7: is no class of this run; "),
        ("--only filters,nap", "error: --only nap: is no picture; did you mean maps?"),
        ("--method lime", "error: --method lime: is no kind of heat map; "),
        ("--unit 99 --layer features.3", "error: --unit 99: features.3 has the units 0 to 3; "),
        ("gone.png", "error: IMAGES=gone.png: is not there; check the path"),
    ],
)
def test_errors(explain, typed: str, said: str) -> None:
    found = explain(*typed.split())
    assert (found.code, found.out) == (2, "")
    assert found.err.splitlines()[-1].startswith(said)
    assert not Path("a/explain").exists()
