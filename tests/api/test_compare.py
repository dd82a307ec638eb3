"""Two runs compared from Python: trained ones, the picture of what changed, and what it is drawn
from."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import convscope as cs
from convscope.data import sources
from convscope.errors import BadArgument, DataError
from convscope.evaluation.predictions_file import read_predictions
from convscope.events import Notice
from convscope.insight import figures
from convscope.trained import Trained

QUICK = {"model": "mlp", "hidden": 4, "epochs": 1, "batch_size": 60, "kernels": "plain"}
QUICK |= {"precision": "float32", "memory_format": "contiguous", "threads": 1}


@pytest.fixture
def two(bars):
    """Two runs, neither of which has learnt much."""
    return tuple(cs.train("mnist", **QUICK, seed=seed, out=f"r{seed}").path for seed in (1, 2))


def test_it_is_the_difference_of_what_was_measured_and_no_network_is_loaded(two, monkeypatch):
    def loaded(*rest: object, **more: object) -> None:
        raise AssertionError("a network was loaded, or an image judged")

    monkeypatch.setattr("convscope.models.store.load", loaded)
    monkeypatch.setattr(Trained, "predict", loaded)
    monkeypatch.setattr(sources, "open_data", loaded)
    found = cs.compare(*two)
    a, b = (cs.Run(path).metrics for path in two)
    assert isinstance(found, cs.Comparison) and found.n == a.n == 60
    assert found.difference == pytest.approx(b.accuracy - a.accuracy)
    one, other = (read_predictions(path / "predictions.csv") for path in two)
    only_a = {
        x.file_or_index
        for x, y in zip(one, other, strict=True)
        if x.predicted == x.label != y.predicted
    }
    assert {row.file_or_index for row in found.a_right} == only_a and only_a
    assert found.counts.only_a == len(only_a)
    assert cs.Run(two[0]).metrics.test_looks == 1  # nothing was looked at again


def test_the_picture_shows_what_changed_under_its_class_and_the_mistake(two, bars, monkeypatch):
    drawn = []
    grids = figures.labelled_grids
    monkeypatch.setattr(figures, "labelled_grids", lambda g: drawn.append(g) or grids(g))
    found = cs.compare(*two, save="changed.png", show=3)
    assert found.figure == Path("changed.png") and found.figure.stat().st_size > 2000
    (groups,) = drawn
    for (heading, images, titles), rows, right in zip(
        groups, (found.a_right, found.b_right), "AB", strict=True
    ):
        assert heading.startswith(f"Only {right} is right: {len(rows)}") and len(rows) > 3
        assert len(titles) == 3 and "3 surest mistakes" in heading
        for image, title, row in zip(images, titles, rows, strict=False):
            test = bars.splits["test"]
            np.testing.assert_array_equal(image, test.images[int(row.file_or_index)])
            assert bars.classes[test.labels[int(row.file_or_index)]] == row.label
            assert re.fullmatch(rf"{row.label}\nas {row.wrong}\n\d+\.\d% sure", title)
    with pytest.raises(BadArgument, match=r"save=changed.png: is there already; .*\(--force\)"):
        cs.compare(*two, save="changed.png")
    Path("pictures").mkdir()
    assert cs.compare(*two, save="pictures").figure == Path("pictures/changed.png")


def test_images_of_a_folder_are_found_by_their_names(two, bars, monkeypatch, tmp_path):
    """In whatever order the pack has them by now."""
    rows = {path: read_predictions(path / "predictions.csv") for path in two}
    for path, listed in rows.items():
        text = (path / "predictions.csv").read_text()
        for row in listed:
            name = f"{row.label}/{row.file_or_index}.png"
            text = text.replace(f"\n{row.file_or_index},", f"\n{name},")
        (path / "predictions.csv").write_text(text)
    order = np.random.default_rng(0).permutation(60)
    test = bars.splits["test"]
    names = tuple(f"{bars.classes[test.labels[i]]}/{i}.png" for i in order)
    turned = replace(test, values={name: one[order] for name, one in test.values.items()})
    object.__setattr__(turned, "files", names)
    pack = replace(bars, splits={**bars.splits, "test": turned})
    monkeypatch.setattr(sources, "open_data", lambda *rest, **more: pack)
    drawn = []
    monkeypatch.setattr(figures, "labelled_grids", drawn.extend)
    monkeypatch.setattr("convscope.api.judging.draw", lambda figure, path: None)
    found = cs.compare(*two, save="changed.png", show=2)
    for image, row in zip(drawn[0][1], found.a_right, strict=False):
        index = int(Path(row.file_or_index).stem)
        np.testing.assert_array_equal(image, test.images[index])
    object.__setattr__(turned, "files", tuple(f"new/{name}" for name in names))
    with pytest.raises(DataError, match=r"png: is no test image by that name any more; .* eval r1"):
        cs.compare(*two, save="changed.png")


def test_other_data_are_not_drawn(two, bars, monkeypatch):
    pack = replace(bars, fingerprint="0" * 64)
    monkeypatch.setattr(sources, "open_data", lambda *rest, **more: pack)
    assert cs.compare(*two).n == 60  # which needs no images
    with pytest.raises(DataError, match="mnist: has fingerprint 000000000000, and the run was mad"):
        cs.compare(*two, save="changed.png")
    assert not Path("changed.png").exists()


def test_where_nothing_changed_nothing_is_drawn(bars, events):
    seen, emit = events
    for out in ("a", "b"):
        cs.train("mnist", **QUICK, out=out)
    found = cs.compare("a", "b", save="changed.png", emit=emit)
    assert (found.p, found.a_right, found.b_right, found.figure) == (1, [], [], None)
    assert "none to draw" in seen[-1].text and isinstance(seen[-1], Notice)
    assert not Path("changed.png").exists()
