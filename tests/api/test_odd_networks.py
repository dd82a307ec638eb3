"""Networks as users bring them: each is right throughout, or refused in words."""

from __future__ import annotations

import re
from pathlib import Path

import odd_networks
import pytest
from holding import FILE, OPTIONS, bars, hold

import convscope as cs
from convscope import report
from convscope.api import judging
from convscope.data import sources
from convscope.data.pack import Pack
from convscope.errors import BadArgument
from convscope.events import Notice
from convscope.insight import anatomy, explain

# What is said of a right network: a warning in training, or what explain cannot do with it.
WARNED = {
    "Views": r"head.2.weight, head.2.bias: no gradient arrives there",
    "Double": r"head.2.weight, head.2.bias: no gradient arrives there",
    "NoGradient": r"stem.0.weight, stem.0.bias, stem.1.weight and 1 more: no gradient arrives",
    "Unused": r"auxiliary.weight, auxiliary.bias: no gradient arrives there",
    "Embedded": r"explain: only=classes: needs a gradient back to the image",
}
QUICK = ("Recurrent", "Tied", "SharedLayers", "Lazy", "Views", "Replaced", "NoGradient", "Hooks")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return bars(tmp_path_factory.mktemp("odd") / "pack")


@pytest.fixture
def data(few: Pack, monkeypatch: pytest.MonkeyPatch, workplace: Path) -> Pack:
    def opened(name: str, *rest: object, **named: object) -> Pack:
        return few

    monkeypatch.setattr(sources, "open_data", opened)
    return few


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in (kind.__name__ for kind in odd_networks.RIGHT)
    ],
)
def test_it_is_right(data: Pack, workplace: Path, name: str) -> None:
    """Judged, resumed, loaded, explained as it was trained: see :func:`holding.hold`."""
    warned = hold(name, workplace, data)
    if name in WARNED:
        assert any(re.search(WARNED[name], text) for text in warned), warned
    else:
        assert warned == []


@pytest.mark.parametrize("kind", odd_networks.REFUSED)
def test_it_is_refused_in_words(data: Pack, workplace: Path, kind: type) -> None:
    with pytest.raises(BadArgument, match=odd_networks.REFUSED[kind]):
        cs.train("mnist", model=f"{FILE}:{kind.__name__}", out="run", **OPTIONS)
    assert not Path("run").exists()


def test_there_are_forty_and_more() -> None:
    assert len(odd_networks.RIGHT) >= 40 and len({*odd_networks.RIGHT, *odd_networks.REFUSED}) >= 80


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"batch_size": 1}, "batch_size=1: leaves 1 image for a pass"),
        (
            {"batch_size": 20, "micro_batch": 19},
            "micro_batch=19: leaves 1 image for a pass",
        ),
    ],
)
def test_a_pass_of_one_image_is_refused_for_a_batch_norm_of_vectors(data, typed, says) -> None:
    line = "c3-8 relu gap bn flatten fc"
    where = r", and layers fails in features.3 \(BatchNorm2d\), in batch_norm, where \[1,8,1,1\]"
    with pytest.raises(BadArgument, match=says + where):
        cs.train("mnist", layers=line, epochs=1, out="run", **typed)
    assert not Path("run").exists()


def test_a_page_that_fails_is_a_notice_and_no_look_is_counted_without_its_figures(
    data: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*rest: object, **named: object) -> None:
        raise ZeroDivisionError("of all things")

    said: list[object] = []
    with monkeypatch.context() as patch:
        patch.setattr(anatomy, "summarise", failing)
        run = cs.train("mnist", model="mlp", out="run", **OPTIONS, emit=said.append)
    text = run.report.read_text()
    assert "the anatomy could not be made: ZeroDivisionError: of all things" in text
    warned = [event.text for event in said if isinstance(event, Notice) and event.warning]
    assert len(warned) == 1 and "the anatomy could not be made" in warned[0]
    with monkeypatch.context() as patch:
        patch.setattr(report, "write_report", failing)
        found = cs.evaluate("run", emit=said.append)
    assert found["test_looks"] == 2
    with monkeypatch.context() as patch:
        patch.setattr(judging, "write_predictions", failing)
        with pytest.raises(ZeroDivisionError):
            cs.evaluate("run")
    assert cs.evaluate("run")["test_looks"] == 3


def test_a_look_that_fails_is_said_on_the_page(data: Pack, monkeypatch) -> None:
    def failing(*rest: object, **named: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(explain, "overview", failing)
    run = cs.train("mnist", model="mlp", out="run", **OPTIONS | {"look": True})
    text = run.report.read_text()
    assert "the look into the network could not be made: ZeroDivisionError: of all things." in text
