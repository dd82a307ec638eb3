"""`cs.explain`: six pictures whole or none, of a run or of the user's own images."""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from quick import QUICK

import convscope as cs
from convscope.api import explaining
from convscope.data import sources
from convscope.errors import BadArgument
from convscope.events import Notice
from convscope.insight.explain import ascent, heat

explain = functools.partial(cs.explain, threads=1)
SIX = ["filters", "maps", "units", "classes", "heat", "embedding"]


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory) -> Iterator[dict[str, Path]]:
    """A run with convolutions and one without, on bars; ascent in a few steps."""
    folder = tmp_path_factory.mktemp("explained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "open_data", lambda name, *rest, **named: tiny)
        patch.setattr(ascent, "STEPS", 8)
        cs.train("mnist", out=folder / "cnn", **QUICK)
        plain = {**QUICK, "model": "mlp", "hidden": 16, "epochs": 1}
        del plain["widths"]
        cs.train("mnist", out=folder / "mlp", **plain)
        yield {"cnn": folder / "cnn", "mlp": folder / "mlp"}


def test_everything_of_a_run(runs) -> None:
    seen: list[cs.Progress] = []
    found = explain(runs["cnn"], emit=seen.append)
    assert found.path == runs["cnn"] / "explain" and list(found.pictures) == SIX
    for path in found.pictures.values():
        with Image.open(path) as picture:
            assert picture.format == "PNG" and 500 < picture.width < 2000
    kept = json.loads((found.path / "explain.json").read_text())
    assert kept == json.loads(json.dumps(found.numbers)) and kept["left_out"] == {}
    shown = kept["pictures"]
    assert shown["filters"]["shape"] == [4, 1, 5, 5]
    assert shown["heat"]["method"] == heat.BEST and shown["heat"]["gradcam_units"] == [6, 6]
    against = shown["heat"]["against_random_weights"]
    low, high = against["deletion_better_ci95"]
    assert against["images"] == 40 and low <= against["deletion_better"] <= high
    assert set(shown["heat"]["shown"]) == {"occlusion", "Grad-CAM", "integrated gradients"}
    assert set(shown["classes"]["p"]["regularised"]) == {"flat", "upright", "spot"}
    assert shown["embedding"]["images"] == shown["units"]["searched"] == 60
    assert any(event.stage == "explain" for event in seen)
    page = found.page.read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert re.findall(r'<section id="(.*?)"', page) == SIX
    assert page.count("<h1>What cnn has learnt</h1>") == 1
    small = re.findall(r'src="data:image/png;base64,(.*?)"', page)
    assert len(small) > 60 and max(map(len, small)) < 1500
    report = (runs["cnn"] / "report.html").read_text()
    assert '<a href="explain/index.html">Explained</a>' in report
    assert '<a href="../report.html">Report</a>' in page and "../summary.html" in page
    names = {item.name for item in found.path.iterdir()}
    assert names == {"explain.json", "index.html", *(f"{name}.png" for name in SIX)}


def test_the_same_seed_gives_the_same_numbers(runs, tmp_path) -> None:
    def numbers(out: str, seed: int) -> dict:
        found = explain(
            runs["cnn"], only=["classes", "heat"], out=tmp_path / out, seed=seed
        ).numbers["pictures"]
        return {k: {**v, "seconds": 0} for k, v in found.items()}

    one, two, other = numbers("a", 0), numbers("b", 0), numbers("c", 1)
    assert one == two and one != other
    pictures = [(tmp_path / name / "classes.png").read_bytes() for name in "abc"]
    assert pictures[0] == pictures[1] != pictures[2]


def test_a_network_without_maps_gets_what_it_allows(runs) -> None:
    found = explain(runs["mlp"])
    assert list(found.pictures) == ["classes", "heat", "embedding"]
    assert set(found.numbers["left_out"]) == {"filters", "maps", "units"}
    assert "Grad-CAM" not in found.numbers["pictures"]["heat"]["resolution"]
    page = found.page.read_text()
    assert "Left out" in page and "the network has no convolution" in page


def test_images_of_ones_own_need_no_data(runs, tiny, tmp_path, monkeypatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise AssertionError("the data were opened")

    monkeypatch.setattr(sources, "open_data", gone)
    folder = tmp_path / "photos"
    folder.mkdir()
    for n, image in enumerate(tiny.splits["test"].images[:2]):
        Image.fromarray(image[0]).save(folder / f"{n}.png")
    found = explain(runs["cnn"], [folder], out=tmp_path / "out", method="gradcam")
    assert list(found.pictures) == ["maps", "heat"]
    guesses = cs.load(runs["cnn"]).predict([folder])
    said = [title.split("\n") for title in found.numbers["images"]]
    assert [name for name, _ in said] == ["0.png", "1.png"]
    for (_, line), guess in zip(said, guesses, strict=True):
        assert line == f"{guess.label} {guess.p:.0%}"
    assert found.numbers["pictures"]["heat"]["against_random_weights"]["images"] == 2
    page = (tmp_path / "out/index.html").read_text()
    assert "cannot tell that from chance: name four or more" in page  # whatever is said of two


def test_only_some_and_again(runs, tmp_path, events) -> None:
    seen, emit = events
    out = tmp_path / "out"
    asked = {"layer": "features.3", "units": [3, 1]}
    units = explain(runs["cnn"], only=["units"], out=out, **asked).numbers["pictures"]["units"]
    assert units["layer"] == "features.3" and list(units["units"]) == ["3", "1"]
    assert not [one for one in seen if isinstance(one, Notice)]
    explain(runs["cnn"], only=["classes"], classes=["spot"], out=out, emit=emit)
    (said,) = [one.text for one in seen if isinstance(one, Notice)]
    assert "what an earlier explanation had is gone (units); --out DIR keeps it" in said
    assert not (out / "units.png").exists() and (out / "classes.png").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(BadArgument, match="out=.*other: holds something else"):
        explain(runs["cnn"], only=["filters"], out=other)


BAD = [
    ("mlp", {"method": "gradcam"}, "method=gradcam: needs feature maps"),
    ("mlp", {"only": ["filters"]}, "only=filters: the network has no convolution"),
    ("mlp", {"units": [0]}, "unit=0: is asked for, and no layer"),
    ("cnn", {"layer": "features.33"}, "layer=features.33: .*did you mean features.3"),
    ("cnn", {"layer": "head.1"}, "layer=head.1: is no layer that gives maps"),
    ("cnn", {"units": [8]}, "unit=8: features.5 has the units 0 to 7; try 7"),
    ("cnn", {"classes": ["spott"]}, "class=spott: .*did you mean spot"),
    ("cnn", {"method": "cam"}, "method=cam: .*did you mean gradcam"),
    ("cnn", {"only": ["heats"]}, "only=heats: is no picture; did you mean heat"),
    ("cnn", {"images": ["gone.png"]}, "images=gone.png: is not there; check the path"),
    ("cnn", {"images": ["empty"]}, "images=empty: holds no image; known are files"),
    ("cnn", {"images": ["text.png"]}, "images=text.png: is no image, is damaged.*; save it again"),
    ("cnn", {"images": []}, "images=0 images: must be at least one"),
]


@pytest.mark.parametrize(("which", "given", "message"), BAD)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    runs, workplace, which, given, message
) -> None:
    Path("empty").mkdir()
    Path("text.png").write_text("hello")
    with pytest.raises(BadArgument, match=message):
        explain(runs[which], out="out", **given)
    assert not Path("out").exists()


def test_without_captum_heat_maps_are_left_out_or_refused(runs, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(BadArgument, match=r"pip install 'convscope\[explain\]'"):
        explain(runs["cnn"], only=["heat"], out=tmp_path / "out")
    found = explain(runs["cnn"], method="gradcam", only=["heat"], out=tmp_path / "gradcam")
    assert found.numbers["pictures"]["heat"]["method"] == "gradcam"  # which needs no captum
    monkeypatch.setattr(explaining, "PICTURES", ("filters", "heat"))
    found = explain(runs["cnn"], out=tmp_path / "out")
    assert (
        list(found.pictures) == ["filters"]
        and "convscope[explain]" in found.numbers["left_out"]["heat"]
    )


def test_an_error_on_the_way_leaves_the_old_pictures(runs, tmp_path, monkeypatch) -> None:
    out = tmp_path / "out"
    explain(runs["cnn"], only=["filters"], out=out)
    before = {item.name: item.read_bytes() for item in out.iterdir()}

    def broken(*_: object, **__: object) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr(ascent, "regularised", broken)
    with pytest.raises(MemoryError):
        explain(runs["cnn"], only=["filters", "classes"], out=out, seed=3)
    assert {item.name: item.read_bytes() for item in out.iterdir()} == before
