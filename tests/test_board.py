"""Curves for TensorBoard: every number at its step, once, also in a run that was stopped."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import convscope as cs
from convscope.board import Board, check
from convscope.errors import BadArgument
from convscope.events import EpochEnd, Look, Notice, Progress

QUICK = {"model": "cnn", "widths": [4], "epochs": 3, "batch_size": 8, "lr": 0.01}
QUICK |= {"precision": "float32", "memory_format": "contiguous", "kernels": "plain"}
END = EpochEnd(1, 2, 0.5, 0.75, None, None, 0.001, 2.0, 1234.0)


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard would show."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {
        tag: [(event.step, event.value) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def test_events_go_on_and_become_points(tmp_path, events):
    seen, emit = events
    with Board(emit) as board:
        board(Look(5, 9.0, 0.1, 1.0))  # there is no folder yet
        board.folder = tmp_path / "tensorboard"
        board(Notice("said"))
        board(Look(20, 1.5, 0.01, 100.0))
        board(END)
    assert len(seen) == 4
    assert curves(tmp_path / "tensorboard") == {
        "loss/running": [(20, 1.5)],
        "lr": [(20, pytest.approx(0.01))],
        "images_per_second": [(20, 100.0)],
        "loss/train": [(20, 0.5)],
        "accuracy/train": [(20, 0.75)],
    }


def test_a_run_that_was_stopped_goes_on_without_a_point_twice(bars):
    """It is cut off well after its last save, in the middle of an epoch, with a point written in
    between."""

    class Power(Exception):
        pass

    def cut(event: object) -> None:
        if isinstance(event, Progress) and event.done == 50:
            raise Power

    whole = cs.train("mnist", **QUICK, out="whole", log="tensorboard").path
    expected = curves(whole / "tensorboard")
    assert len(expected["loss/val"]) == 3
    assert [step for step, _ in expected["loss/running"]] == [20, 27, 47, 54, 74, 81]
    with pytest.raises(Power):
        cs.train("mnist", **QUICK, out="a", log="tensorboard", emit=cut)
    assert [step for step, _ in curves(Path("a/tensorboard"))["lr"]] == [20, 27, 47]
    run = cs.train("mnist", **QUICK, out="a", log="tensorboard", resume=True)
    found = curves(run.path / "tensorboard")
    for tag in ("loss/running", "lr", "loss/train", "loss/val", "accuracy/train"):
        assert found[tag] == expected[tag], tag


def test_without_it_nothing_is_written(bars):
    assert not (cs.train("mnist", **QUICK).path / "tensorboard").exists()


def test_another_log_is_refused():
    with pytest.raises(BadArgument, match="log=wandb: must be tensorboard"):
        check("wandb")


def test_a_missing_package_names_its_extra(monkeypatch, workplace):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [m for m in sys.modules if m.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(BadArgument, match=r"log=tensorboard: .* pip install 'convscope\[log\]'"):
        cs.train("mnist", log="tensorboard")
    assert not Path("runs").exists()
