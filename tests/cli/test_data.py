"""`convscope data` as a stranger types it."""

from __future__ import annotations

import json

import pytest
from PIL import Image


def test_data_is_listed_described_and_drawn(bars, run):
    said = run("data", "--json")
    assert json.loads(said.out)["mnist"] == "inside the package"
    assert set(json.loads(said.out)) == {"mnist", "fashion-mnist", "cifar10", "cifar100"}
    info = json.loads(run("data", "info", "mnist", "--json").out)
    assert info["counts"]["train"] == {"flat": 80, "upright": 80, "spot": 80}
    assert info["shape"] == [1, 12, 12]
    pixels = bars.splits["train"].images / 255
    assert info["mean"][0] == pytest.approx(pixels.mean())
    assert info["std"][0] == pytest.approx(pixels.std())
    assert "80" in run("data", "info", "mnist").out
    said = run("data", "show", "mnist", "--count", "8")
    assert said.out.strip() == "mnist.png"
    with Image.open("mnist.png") as picture:
        assert picture.size[0] > 300
    said = run("data", "show", "mnist")
    assert said.code == 2 and "--out mnist.png: is there already" in said.err
