"""A folder of images as data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from quick import QUICK

import convscope as cs
from convscope.errors import BadArgument
from convscope.run import RunFolder


@pytest.fixture
def photos(workplace) -> Path:
    """A folder of class folders with a validation split of its own, and one without."""
    random = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 6), ("test", 6)):
        for label in ("dark", "light"):
            folder = workplace / "my photos" / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                low = 0 if label == "dark" else 150
                pixels = random.integers(low, low + 100, (14, 10, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{label}-{i}.png")
    return workplace / "my photos"


OF_FOLDERS = {**QUICK, "batch_size": 12, "epochs": 2, "seed": 1}


def test_a_folder_is_data_like_any_other(photos):
    run = cs.train("my photos", **OF_FOLDERS, out="a")
    data, origin = run.recipe.data, run.recipe.origin
    assert data.name == str(photos) and run.metrics.n == 12
    assert (data.image_size, origin["data.image_size"]) == ("14x10", "measured")
    assert run.metrics.accuracy > 0.9
    rows = (run.path / "predictions.csv").read_text().splitlines()
    assert rows[1].startswith("test/dark/dark-0.png,dark,")
    split = json.loads((run.path / "split.json").read_text())
    assert (split["val"], split["train"]) == ([], 48)
    assert RunFolder(run.path).read_model()["data"]["val"] == 12
    assert cs.evaluate("a", "val")["n"] == 12 and cs.evaluate("a", "train")["n"] == 48
    (run.path / "metrics.json").unlink()
    assert cs.train(photos, **OF_FOLDERS, out="a", resume=True).metrics.n == 12
    Path("mine.toml").write_text("[data]\nname = 'my photos'\n")
    assert cs.train(recipe="mine.toml", out="a", resume=True).metrics.n == 12
    assert cs.load("a").predict([photos / "test" / "light"])[0].label == "light"
    assert cs.train(photos, **OF_FOLDERS).path == Path("runs/my_photos-cnn-1")
    with pytest.raises(BadArgument, match="val=0.3: is not used: my_photos has a validation split"):
        cs.train(photos, **OF_FOLDERS, val=0.3)


@pytest.mark.parametrize(("typed", "stored"), [("8", "8x8"), ("8x12", "8x12")])
def test_a_folders_images_are_brought_to_the_size_that_is_typed(photos, typed, stored):
    run = cs.train("my photos", **OF_FOLDERS, image_size=typed, out="a")
    data = run.recipe.data
    assert (data.image_size, run.recipe.origin["data.image_size"]) == (stored, "typed")
    assert cs.load("a").size == tuple(map(int, stored.split("x")))
    (run.path / "metrics.json").unlink()
    cs.train("my photos", **OF_FOLDERS, image_size=typed, out="a", resume=True)
    with pytest.raises(BadArgument, match="image_size=9x9: is not what this run was begun with"):
        cs.train(out="a", resume=True, image_size="9")


def test_the_size_of_a_published_set_is_its_own(workplace):
    with pytest.raises(BadArgument, match="image_size=64x64: is for folders; .*mnist"):
        cs.train("mnist", model="mlp", image_size="64", epochs=1)
