"""A folder of images with a list of labels beside it: trained, judged and gone on with."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from listening import warnings_in
from photos import image_file, photos
from quick import QUICK

import convscope as cs
from convscope.errors import BadArgument, DataError
from convscope.job.prepare import prepare
from convscope.recipe import resolve
from convscope.run import find

OF_LISTS = {**QUICK, "model": "mlp", "hidden": 8, "batch_size": 12, "epochs": 1, "look": False}
del OF_LISTS["widths"]


@pytest.fixture
def listed(workplace) -> Path:
    """Sixty images in one folder, and a list of what thirty people show on two each."""
    (workplace / "all").mkdir()
    lines = ["file,label,group"]
    for n in range(60):
        (workplace / "all" / f"{n}.png").write_bytes(image_file(n, (12, 12)))
        lines.append(f"{n}.png,{'no' if n % 2 else 'yes'},person {n // 2}")
    (workplace / "l.csv").write_text("\n".join(lines))
    return workplace / "l.csv"


def test_a_run_finds_its_list_again(listed, monkeypatch):
    run = cs.train("all", labels="l.csv", **OF_LISTS, val=0.2, out="a")
    assert (run.recipe.data.labels, run.recipe.data.group) == (str(listed), "auto")
    pack = cs.open_data("./all", labels="l.csv")
    val = cs.evaluate("a", "val")["n"]
    assert val + cs.evaluate("a", "train")["n"] + run.metrics.n == 60 and val >= 4
    people = [int(file.split(".")[0]) // 2 for file in pack.splits["train"].files]
    held = find(run.path).read_split()["val"]
    assert {people[at] for at in held}.isdisjoint(
        people[at] for at in set(range(len(people))) - set(held)
    )
    (run.path / "metrics.json").unlink()
    monkeypatch.chdir(os.path.sep)
    again = cs.train(out=listed.parent / "a", resume=True, look=False)
    assert again.metrics.n == run.metrics.n
    with pytest.raises(
        BadArgument, match="labels=.*other.csv: is not what this run was begun with"
    ):
        cs.train(out=listed.parent / "a", resume=True, labels=listed.parent / "other.csv")


def test_what_judges_is_as_it_is_whatever_is_augmented(listed):
    pack = cs.open_data("./all", labels=listed)
    changed = {"shift": 3, "flip": True, "rotate": 20.0, "erase": 1.0, "val": 0.2, "group": "none"}
    asked = resolve({"data": str(listed.parent / "all"), "model": "mlp", **changed})
    one, two = (prepare(asked, pack, cs.silent) for _ in range(2))
    assert np.array_equal(one.val, two.val) and len(one.val) >= 4
    assert set(one.val).isdisjoint(one.loader.indices.tolist())
    assert len(one.val) + len(one.loader.indices) == len(pack.splits["train"])
    for at, image in zip(one.val, one.judged.images[:], strict=True):
        assert np.array_equal(image, pack.splits["train"].images[at])


def test_suspected_groups_are_named_before_the_training(workplace, events):
    seen, emit = events
    photos(workplace / "p", ("bare", "mask"), count=20, size=(12, 12))
    for path in sorted((workplace / "p" / "mask").iterdir()):
        path.rename(path.with_stem(f"{path.stem}-with-mask"))
    cs.train("./p", **OF_LISTS, out="a", emit=emit)
    [said] = [text for text in warnings_in(seen) if "stem" in text]
    assert "of 20 groups of images are torn between training and judging" in said
    assert "--group stem keeps such together" in said
    seen.clear()
    run = cs.train("./p", **OF_LISTS, group="stem", out="b", emit=emit)
    assert not [text for text in warnings_in(seen) if "stem" in text]
    assert run.metrics.n % 2 == 0 and run.metrics.n > 0


def test_a_list_with_missing_files_stops_before_the_first_epoch(listed):
    (listed.parent / "all" / "7.png").unlink()
    with pytest.raises(DataError, match=r"l\.csv, line 9: names 7\.png, which is not there"):
        cs.train("all", labels="l.csv", **OF_LISTS, out="a")
    assert not Path("a").exists()
    run = cs.train("all", labels="l.csv", skip_bad=True, **OF_LISTS, out="a")
    counts = run.metrics.n + cs.evaluate("a", "train")["n"] + cs.evaluate("a", "val")["n"]
    assert counts == 59
