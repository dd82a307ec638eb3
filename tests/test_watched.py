"""Progress of the public API's long jobs: on a terminal, away from one, in a notebook; and none."""

from __future__ import annotations

import inspect
import sys
import threading
import types
from typing import Any

import pytest
from quick import QUICK
from test_notebook import Closed

import convscope as cs
from convscope import console, watched
from convscope.events import EpochEnd, Notice, Progress

JOBS = ("train", "evaluate", "explain", "find_lr", "sweep")


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A kernel whose front end keeps what it shows: a list of pages for each display."""
    shown: list[list[str]] = []

    class Handle:
        def __init__(self, first: str) -> None:
            self.pages = [first]
            shown.append(self.pages)

        def update(self, data: dict[str, str], *, raw: bool) -> None:
            assert raw
            self.pages.append(data["text/html"])

    def display(data: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        assert raw and display_id and data["text/plain"]
        return Handle(data["text/html"])

    whole: Any = types.ModuleType("IPython")
    whole.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    part: Any = types.ModuleType("IPython.display")
    part.display = display
    monkeypatch.setitem(sys.modules, "IPython", whole)
    monkeypatch.setitem(sys.modules, "IPython.display", part)
    return shown


def test_a_script_says_a_line_an_epoch_on_stderr_and_nothing_on_stdout(bars, capsys) -> None:
    run = cs.train("mnist", **QUICK, threads=1)
    out, err = capsys.readouterr()
    assert [line[:9] for line in err.splitlines() if line.startswith("epoch")] == [
        *("epoch 1/3", "epoch 2/3", "epoch 3/3"),
    ]
    assert out == "" and run.metrics.n == 60


def test_silent_and_a_function_of_ones_own_take_its_place(bars, capsys, events) -> None:
    seen, emit = events
    cs.train("mnist", **QUICK, threads=1, emit=cs.silent)
    run = cs.train("mnist", **QUICK, threads=1, emit=emit)
    cs.evaluate(run.path, emit=cs.silent)
    assert capsys.readouterr() == ("", "")
    assert sum(isinstance(event, EpochEnd) for event in seen) == 3


def test_on_a_terminal_a_table_is_drawn(bars, capsys, monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes stderr for a terminal
    monkeypatch.setenv("TERM", "xterm")
    cs.train("mnist", **QUICK, threads=1)
    out, err = capsys.readouterr()
    assert out == "" and "val acc" in err and "3/3" in err and "\x1b[" in err
    assert "epoch 1/3  train loss" not in err


def test_a_sweep_draws_once(bars, capsys, monkeypatch) -> None:
    begun: list[str] = []
    true = console.Monitor.__enter__
    monkeypatch.setattr(console.Monitor, "__enter__", lambda own: (begun.append("a"), true(own))[1])
    cs.sweep("mnist", vary={"shift": [0, 1]}, seeds=1, threads=1, **QUICK)
    assert begun == ["a"] and capsys.readouterr().err.count("epoch 1/3") == 2


def test_what_is_called_meanwhile_is_silent(capsys) -> None:
    with watched.watching("one") as emit:
        emit(Notice("first"))
        others: list[object] = []

        def beside() -> None:
            with watched.watching("two") as other:
                others.append(other)

        thread = threading.Thread(target=beside)
        thread.start()
        thread.join()
        assert others == [cs.silent]
    with pytest.raises(KeyError), watched.watching("three"):
        raise KeyError
    with watched.watching("four") as again:
        again(Notice("last"))
    assert capsys.readouterr().err.split() == ["first", "last"]


def test_what_the_user_prints_stays_where_it_was(capsys) -> None:
    with watched.watching("one") as emit:
        emit(Notice("a notice"))
        print("mine")
    assert capsys.readouterr() == ("mine\n", "a notice\n")


def test_a_notebook_has_one_display_that_is_kept_up_to_date(bars, capsys, notebook, monkeypatch):
    monkeypatch.setattr(watched, "EVERY", 0.0)
    cs.train("mnist", **QUICK, threads=1)
    (pages,) = notebook
    assert capsys.readouterr() == ("", "")
    words = " ".join(Closed(pages[-1]).words)
    assert "Training" in words and "val acc" in words
    assert all(f"{n}/3" in words for n in (1, 2, 3)) and "images to learn from" in words
    assert "<progress" not in pages[-1]
    assert any('<progress value="' in page and "steps" in page for page in pages)


def test_a_notebook_is_not_drawn_at_every_step(notebook) -> None:
    with watched.watching("Judging <b>") as emit:
        assert not notebook  # nothing was said yet
        for done in range(1, 1000):
            emit(Progress("<look>", done, 2000, "images", left=5.0))
        emit(Notice("odd & so on", warning=True))
        emit(Progress("<look>", 2000, 2000, "images"))
    (pages,) = notebook
    assert 3 <= len(pages) < 20
    assert "&lt;look&gt;: 1 of 2,000 images, 5 s left" in pages[0]
    assert "Judging &lt;b&gt;" in pages[0] and "warning: odd &amp; so on" in pages[-1]
    assert "<progress" not in pages[-1]


@pytest.mark.parametrize("name", JOBS)
def test_its_signature_and_words_say_so(name: str) -> None:
    job = getattr(cs, name)
    assert inspect.signature(job).parameters["emit"].default is None
    assert "convscope.silent" in job.__doc__ and job.__doc__.startswith(
        inspect.unwrap(job).__doc__.splitlines()[0]
    )
