"""A folder of images as data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from listening import notices, warnings_in
from PIL import Image
from quick import QUICK

import convscope as cs
from convscope import api
from convscope.data.loader import stratified
from convscope.errors import BadArgument
from convscope.job import prepare
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


def test_a_size_that_is_never_decoded_is_refused_at_once(photos):
    with pytest.raises(BadArgument, match="image_size=100000x100000: would be .*, 30.00 GB; "):
        cs.train("my photos", model="mlp", image_size="100000", epochs=1)
    assert not Path("runs").exists()


def test_the_size_of_a_published_set_is_its_own(workplace):
    with pytest.raises(BadArgument, match="image_size=64x64: is for folders; .*mnist"):
        cs.train("mnist", model="mlp", image_size="64", epochs=1)


def test_test_images_that_are_training_images_are_counted_and_said(photos, events, monkeypatch):
    seen, emit = events
    for i in range(3):
        shutil.copy(photos / f"train/dark/dark-{i}.png", photos / f"test/dark/copy-{i}.png")
    (photos / "test/light/link.png").symlink_to(photos / "train/dark/dark-9.png")
    run = cs.train(photos, **OF_FOLDERS, out="a", emit=emit)
    [said] = [text for text in warnings_in(seen) if "identical" in text]
    assert "test images that are training images, too: 4 of 16 (25 %), such as " in said
    assert "test/dark/copy-0.png = train/dark/dark-0.png" in said
    assert "images under two labels, of which one at most is right: 2, such as " in said
    found = run.metrics.duplicates
    counts = {name: found[name] for name in ("test_in_train", "val_in_train", "test_repeated")}
    assert counts == {"test_in_train": 4, "val_in_train": 0, "test_repeated": 0}
    assert ["test/light/link.png", "train/dark/dark-9.png"] in found["examples"]["two_labels"]
    rows = [line.split(",") for line in (run.path / "predictions.csv").read_text().splitlines()[1:]]
    new = [row for row in rows if "copy" not in row[0] and "link" not in row[0]]
    right = [label == guess for _, label, guess, *_ in new]
    assert found["n_without"] == len(right) == 12
    assert found["accuracy_without"] == pytest.approx(np.mean(right))
    page, card = run.report.read_text(), (run.path / "README.md").read_text()
    assert "Test images were seen in training: 4 of 16 (25.0" in page
    assert page.index("Test images were seen") < page.index("What goes wrong")  # the first screen
    assert "4 of its 16 images are training images, too" in card
    monkeypatch.setattr("convscope.data.duplicates.KEPT", 1)
    again = cs.evaluate("a")
    assert again["duplicates"]["test_in_train"] == 4
    assert len(again["duplicates"]["examples"]["test_in_train"]) == 1
    assert "duplicates" not in cs.evaluate("a", "val")


def test_nothing_is_said_where_no_image_is_there_twice(photos, events):
    seen, emit = events
    run = cs.train(photos, **OF_FOLDERS, out="a", emit=emit)
    assert not [text for text in notices(seen) if "identical" in text or "not read" in text]
    assert run.metrics.duplicates["accuracy_without"] == run.metrics.accuracy
    assert "more than once" not in run.report.read_text()
    assert "training and selection never used it" in (run.path / "README.md").read_text()


def test_a_run_that_was_split_with_copies_apart_goes_on(photos, monkeypatch):
    shutil.rmtree(photos / "val")
    for i in range(12):
        shutil.copy(photos / f"train/dark/dark-{i}.png", photos / f"train/dark/copy-{i}.png")
    once = prepare.held_out

    def apart(asked, pack, begun=None):
        return stratified(pack.splits["train"].labels, asked.data.val, asked.data.split_seed)

    monkeypatch.setattr(prepare, "held_out", apart)
    first = cs.train(photos, **OF_FOLDERS, val=0.3, out="a")
    monkeypatch.setattr(prepare, "held_out", once)
    other = cs.train(photos, **OF_FOLDERS, val=0.3, out="b")
    splits = [json.loads((run.path / "split.json").read_text())["val"] for run in (first, other)]
    assert splits[0] != splits[1]
    (first.path / "metrics.json").unlink()
    assert cs.train(out="a", resume=True).metrics.n == 12


def test_files_that_are_not_read_are_said_at_every_training(photos, events):
    seen, emit = events
    (photos / "train/dark/a.heic").write_bytes(b"x")
    (photos / "test/light/b.mov").write_bytes(b"x")
    for _ in range(2):
        api.describe_data(photos, emit)
    told = [text for text in warnings_in(seen) if "not read" in text]
    assert told == 2 * ["my_photos: 2 files were not read: 1 .heic, 1 .mov; save what is a picture "
                        "among them as JPEG or PNG"]  # fmt: skip
    info = api.describe_data(photos)
    assert info["unread"] == {".heic": 1, ".mov": 1} and info["duplicates"]["two_labels"] == 0
