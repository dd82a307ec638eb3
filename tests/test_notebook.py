"""What results show of themselves in a notebook."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from quick import QUICK, ROOT

import convscope as cs
from convscope import notebook
from convscope.api.results import Evaluation, LearningRate
from convscope.insight import figures
from convscope.insight.canvas import blank

NASTY = "<script>alert('1')</script> & \"x\""


class Closed(HTMLParser):
    """Checks that tags are closed, and gathers the words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] != "style":
            self.words.append(data)


def words(text: str) -> str:
    page = Closed(text)
    assert not {"script", "link", "iframe"} & page.tags
    return " ".join(page.words)


def test_every_part_is_escaped(tmp_path: Path) -> None:
    shown = notebook.card(
        NASTY,
        notebook.figure(NASTY),
        notebook.line(NASTY),
        notebook.facts([(NASTY, NASTY)]),
        notebook.table((NASTY, "b"), [(NASTY, NASTY)], NASTY),
        notebook.link(Path(NASTY), NASTY),
        notebook.picture(tmp_path / NASTY.replace("/", ""), NASTY),
    )
    assert words(shown).count("alert('1')") == 13  # the path twice
    assert "<script" not in shown


def test_a_run_and_its_evaluation_show_themselves(bars: Any) -> None:
    run = cs.train("mnist", **QUICK, threads=1)
    said = words(run._repr_html_())
    assert "cnn on mnist" in said
    assert f"{run.metrics.accuracy:.2%}" in said
    assert "60 test images are right (95 % interval" in said
    assert "runs/mnist-cnn-1/report.html" in said
    found = cs.evaluate(run.path, "val")
    assert isinstance(found, dict) and found["n"] == 24
    said = words(found._repr_html_())
    assert f"{found['accuracy']:.2%} of 24 val images are right" in said
    for row in found["per_class"]:
        assert f"{row['class']} {row['support']} {row['precision']:.2%}" in said


def test_an_evaluation_of_many_classes_shows_some_and_what_is_undefined(bars: Any) -> None:
    run = cs.train("mnist", **QUICK, threads=1)
    found = Evaluation(cs.evaluate(run.path, "val"))
    row = {"class": NASTY, "support": 0, "precision": None, "recall": None, "f1": None}
    found["per_class"] = [row] * 30
    shown = found._repr_html_()
    assert words(shown).count("alert") == 20
    assert "the first 20 of 30 classes" in shown
    assert "0 - - -" in words(shown)


def test_a_comparison_and_a_sweep_show_themselves(bars: Any) -> None:
    done = cs.sweep("mnist", vary={"shift": [0, 1]}, seeds=1, threads=1, **QUICK)
    said = words(done._repr_html_())
    for row in done.rows:
        assert f"{row['accuracy']:.2%}" in said
    for sentence in done.parts[0].sentences:
        assert sentence in said
    a, b = (path.parent for path in sorted(done.path.glob("**/metrics.json")))
    found = cs.compare(a, b, save="changed.png")
    shown = found._repr_html_()
    said = words(shown)
    assert found.verdict in said
    assert f"{100 * found.difference:+.2f} points" in said
    assert found.figure is None or "data:image/png;base64," in shown


def test_a_learning_rate_shows_its_figure(tmp_path: Path) -> None:
    path = tmp_path / "found.png"
    figures.learning_rates([0.1, 0.2], [1, 2], [1, 2], 0.1).savefig(path)
    found = LearningRate(0.1, (0.1, 0.2), (1, 2), (1, 2), path)
    assert "data:image/png;base64," in found._repr_html_()
    assert "no rate lets the loss fall" in LearningRate(None, (), (), (), path)._repr_html_()


IMAGES = np.zeros((4, 3, 8, 8), np.uint8)
DRAWN = {
    "image_grid": (IMAGES, "abcd"),
    "labelled_grids": ([("cats", IMAGES, "abcd")],),
    "cut_out": (np.zeros((3, 60, 80), np.uint8), [(1, 1, 9, 9), (9, 1, 19, 9)], IMAGES[:2]),
    "before_after": (IMAGES, IMAGES, "abcd"),
    "learning_curve": ([1, 2], [0.4, 0.3], [1, 2, 4], [0.4, 0.3, 0.2], [(0.1, 0.5)] * 3, "error"),
    "learning_rates": (np.array([0.1, 1.0]), np.array([2.0, 1.0]), np.array([2.0, 1.0]), 0.1),
    "where_time_goes": ({"plain": {"convolution": 1.0}},),
    "trade_offs": (["a"], np.array([0.9]), np.array([[0.8, 0.95]]), {"s": np.array([3.0])}),
    "bars": ({"a <b>": np.array([1.0, 3.0])}, "seconds"),
    "curves": (np.arange(3), {"a": np.arange(3.0)}, "x", "y <b>"),
}


def test_every_figure_function_is_known_here() -> None:
    own = {name: f for name, f in vars(figures).items() if inspect.isfunction(f)}
    made = {
        name
        for name, f in own.items()
        if f.__module__ == figures.__name__ and not name.startswith("_")
    }
    assert made == set(DRAWN)


@pytest.mark.parametrize("name", DRAWN)
def test_figures_take_arrays_and_show_themselves(name: str) -> None:
    figure = getattr(figures, name)(*DRAWN[name])
    assert isinstance(figure, mpl.figure.Figure)
    shown = figure._repr_html_()
    wanted = r'<img src="data:image/png;base64,[^"]{500,}" style="[^"]+" alt="[^"]+">'
    assert re.fullmatch(wanted, shown)
    assert "<b>" not in shown


def test_no_figure_is_made_of_another_kind() -> None:
    root = Path(notebook.__file__).parent
    for path in root.rglob("*.py"):
        if path.name != "canvas.py":
            assert not re.search(r"\bFigure\(", path.read_text(encoding="utf-8")), path


def test_matplotlib_is_imported_in_one_place_alone() -> None:
    for path in Path(notebook.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"^if TYPE_CHECKING:\n(    .*\n|\n(?=    ))*", "", text, flags=re.M)
        assert not re.search(r"^\s*(import|from) matplotlib", text, re.M), path


@pytest.mark.parametrize(
    ("backend", "kept"),
    [
        ("module://matplotlib_inline.backend_inline", None),  # a notebook's, in another process
        ("nonsense", None),
        ("module://gone.away", "module://gone.away"),
        ("pdf", "pdf"),  # what the user chose stays chosen
    ],
)
def test_the_backend_of_matplotlib_does_no_harm(backend: str, kept: str | None) -> None:
    code = f"""
import io, os
from convscope.insight import figures
from convscope.insight.explain import heat
for form in ("png", "svg", "pdf"):
    figures.bars({{"a": [1.0]}}, "s").savefig(io.BytesIO(), format=form)
assert os.environ["MPLBACKEND"] == {backend!r}
import matplotlib
found = matplotlib.rcParams._get_backend_or_none()
assert found == {kept!r} or "inline" in str(found), found
heat.captum()
"""
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | {"MPLBACKEND": backend, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, "")


def test_the_words_of_a_figure_are_its_text() -> None:
    figure = blank()
    axes = figure.add_subplot()
    axes.set_xlabel("epoch")
    axes.set_ylabel('loss "nats"')
    figure.suptitle("How it went")
    assert 'alt="How it went; loss &quot;nats&quot; by epoch"' in figure._repr_html_()
