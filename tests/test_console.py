"""What a person sees: a live table on a terminal, one plain line an epoch elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from convscope import console
from convscope.events import EpochEnd, Notice, Progress

END = EpochEnd(1, 2, 0.5, 0.75, 0.25, 0.875, 0.001, 2.0, 1234.0)


def monitor(terminal: bool) -> tuple[console.Monitor, io.StringIO]:
    watched = console.Monitor()
    text = io.StringIO()
    watched.err = watched.live.console = watched.bar.live.console = Console(
        file=text, force_terminal=terminal, width=100, highlight=False
    )
    return watched, text


def test_away_from_a_terminal_one_plain_line_an_epoch():
    watched, text = monitor(terminal=False)
    with watched:
        watched(Notice("precision: float32"))
        for step in range(10):
            watched(Progress("epoch 1/2", step, 20, "steps"))
        watched(END)
        watched(Notice("odd", warning=True))
    assert text.getvalue().splitlines() == [
        "precision: float32",
        "epoch 1/2  train loss 0.5000  acc 75.00%  val loss 0.2500  acc 87.50%  lr 1.00e-03  "
        "seconds 2.0  images/s 1,234",
        "warning: odd",
    ]


def test_a_long_job_without_steps_says_now_and_then_how_far_it_is(monkeypatch):
    text = io.StringIO()
    watched = console.Monitor()
    watched.err = Console(file=text)
    event = Progress("predict", 5000, 20_000, "images", "1,000 images/s", left=15.0)
    watched(event)  # it has only begun
    monkeypatch.setattr(console, "EVERY", 0)
    watched(event)
    watched(Progress("predict", 5000, 20_000, "images"))
    assert text.getvalue() == "5,000 of 20,000 images, 1,000 images/s, about 15 s to go\n"


def test_how_long_it_takes_is_said_once(monkeypatch):
    clock = iter([100.0, 100.5, 101.0, 102.0])
    monkeypatch.setattr(console.time, "perf_counter", lambda: next(clock))
    watched, text = monitor(terminal=False)
    with watched:
        watched(Progress("look", 1, 9, "images", left=5.0))  # no stage but training foretells it
        watched(Progress("epoch 1/2", 11, 20, "steps"))
        watched(Progress("epoch 1/2", 12, 20, "steps"))
        watched(Progress("epoch 1/2", 31, 200, "steps", left=80.2))
        watched(Progress("epoch 1/2", 32, 200, "steps", left=79.0))
    assert text.getvalue() == "about 1 min 20 s to go (50 ms a step)\n"


def test_the_bar_shows_what_the_job_foretells():
    watched, text = monitor(terminal=True)
    with watched:
        watched(Progress("epoch 1/2", 5, 20, "steps"))
        watched.live.refresh()
        assert "left" in text.getvalue() and "..." in text.getvalue()
        watched(Progress("epoch 1/2", 6, 20, "steps", left=3700))
        column = watched.bar.columns[-1]
        task = watched.bar.tasks[0]
        assert column.render(task).plain == "1 h 2 min"
        watched(Progress("download", 5, 20, "bytes"))
        assert ":" in column.render(watched.bar.tasks[1]).plain  # rich's own


def test_how_many_there_are_need_not_be_known():
    watched, text = monitor(terminal=True)
    with watched:
        watched(Progress("predict", 1500, None, "images"))
        watched.live.refresh()
        assert "1,500 images" in text.getvalue() and " of " not in text.getvalue()
        watched(Progress("predict", 1500, 3000, "images"))
        watched.live.refresh()
    assert "1,500 of 3,000 images" in text.getvalue()


def test_without_validation_a_dash():
    bare = EpochEnd(1, 2, 0.5, 0.75, None, None, 0.001, 2.0, 1234.0)
    assert "val loss -  acc -" in console.plain(bare)


def test_on_a_terminal_a_table_and_a_bar():
    watched, text = monitor(terminal=True)
    with watched:
        watched(Progress("epoch 1/2", 5, 20, "steps"))
        watched(END)
        watched(Progress("validate", 5, 20, "images"))
        watched(Progress("epoch 2/2", 15, 20, "steps"))
        watched.live.refresh()
    shown = text.getvalue()
    for part in ("epoch", "train loss", "val acc", "87.50%", "15 of 20 steps", "epoch 2/2"):
        assert part in shown, part


def test_figures_without_a_precision_show_a_dash(capsys):
    console.figures(
        {
            "split": "test",
            "n": 2,
            "accuracy": 0.5,
            "accuracy_ci95": [0.1, 0.9],
            "loss": 0.7,
            "ece": 0.1,
            "ece_raw": 0.2,
            "test_looks": 1,
            "per_class": [
                {"class": "a", "support": 2, "precision": 0.5, "recall": 0.5, "f1": 0.5},
                {"class": "b", "support": 0, "precision": None, "recall": None, "f1": None},
            ],
        }
    )
    out = capsys.readouterr().out
    assert "test accuracy 50.00% (95% interval 10.00% to 90.00%, 2 images)" in out
    assert "looked at 1 time\n" in out
    assert "b           0  -" in out.replace("     -", "  -")


def test_accuracy_without_copies_is_told_where_there_are_any():
    copies = {"test_in_train": 4, "n_without": 12, "accuracy_without": 0.75}
    text = "75.00% on the 12 test images that are not training images, too"
    assert console.without_copies(copies) == text
    every = {"test_in_train": 4, "n_without": 0, "accuracy_without": None}
    assert console.without_copies(every).startswith("no accuracy on the 0 test images")
    assert console.without_copies(copies | {"test_in_train": 0}) == ""
    assert console.without_copies(None) == ""  # a run from before they were counted
