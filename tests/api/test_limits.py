"""Time and memory as budgets."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from quick import QUICK, same_weights

import convscope as cs
from convscope.errors import BadArgument
from convscope.events import EpochEnd, Notice, Progress
from convscope.recipe import Train
from convscope.training import budget


class Power(Exception):
    """A run is cut off."""


def test_a_time_budget_is_fitted_once(bars, events):
    """What was fitted stands in the recipe, so that the run is made again, and goes on, to the
    bit."""
    seen, emit = events
    options = {**QUICK, "batch_size": 8}
    del options["epochs"]
    cs.train("mnist", **options, steps=1)  # what is imported and compiled once
    began = time.perf_counter()
    run = cs.train("mnist", **options, time_budget="4s", out="a", emit=emit)
    assert time.perf_counter() - began < 12  # 4 on a quiet machine
    train, origin = run.recipe.train, run.recipe.origin
    assert train.steps > 0 and train.epochs == -(-train.steps // 27)
    usual = train.epochs == Train().epochs  # what is as it was keeps its origin
    assert origin["train.steps"] == "measured"
    assert origin["train.epochs"] == ("default" if usual else "measured")
    history = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    assert len(history) == train.epochs
    assert history[-1]["lr"] < 0.2 * QUICK["lr"]  # the schedule ends with the budget
    said = [e.text for e in seen if isinstance(e, Notice) and "time budget" in e.text]
    assert len(said) == 1
    assert re.fullmatch(
        rf"time budget 4 s: {train.steps:,} steps, [\d.]+ epochs \(\d+ ms a step, measured\)",
        said[0],
    )
    steps = [e.done for e in seen if isinstance(e, Progress) and e.unit == "steps"]
    assert steps[-1] == train.steps

    def cut(event: object) -> None:
        if isinstance(event, EpochEnd):
            raise Power

    with pytest.raises(Power):
        cs.train(recipe=run.path / "recipe.toml", out="b", emit=cut)
    again = cs.train(recipe=run.path / "recipe.toml", out="b", resume=True)
    assert same_weights(run.path, again.path)


def test_a_time_budget_replaces_a_recipes_epochs_also_when_it_goes_on(bars):
    Path("mine.toml").write_text("[train]\nepochs = 9000\n")
    options = {k: v for k, v in QUICK.items() if k != "epochs"}
    cs.train("mnist", **options, steps=1)  # what is imported and compiled once

    def cut(event: object) -> None:
        if isinstance(event, EpochEnd):
            raise Power

    with pytest.raises(Power):
        cs.train("mnist", recipe="mine.toml", **options, time_budget=4, out="a", emit=cut)
    run = cs.train("mnist", recipe="mine.toml", **options, out="a", resume=True)
    assert run.recipe.train.epochs < 9000


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"time_budget": 60, "epochs": 3}, "epochs=3: cannot be kept to together with time_budget"),
        ({"time_budget": 60, "steps": 3}, "steps=3: cannot be kept to together with time_budget"),
        ({"time_budget": "soon"}, "time_budget=soon: must be a time; write 90s, 10m or 1h30m"),
        (
            {"time_budget": 0.01},
            "time_budget=0.01 s: is too short: .* before training, and one step, .* try [0-9.]+ s",
        ),
        (
            {"max_memory": "2GB", "micro_batch": 8},
            "micro_batch=8: cannot be kept to together with max_memory, which decides it",
        ),
        ({"max_memory": "much"}, "max_memory=much: must be a size; write 800MB or 2GB"),
        ({"max_memory": "1MB"}, "max_memory=1 MB: is too little: the process has .* try"),
        (
            {"early_stopping": 2, "val": 0},
            "early_stopping=2: needs a validation split, and there is none with val=0",
        ),
        ({"time_budget": 60, "profile": True}, "profile=True: takes time and memory of its own"),
        ({"log": "paper"}, "log=paper: must be tensorboard"),
        ({"image_size": "0"}, "image_size=0: must be auto, N or HxW in pixels; try 64"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused_before_anything_is_written(bars, options, text):
    with pytest.raises(BadArgument, match=text):
        cs.train("mnist", model="mlp", hidden=8, **options)
    assert not Path("runs").exists()


def test_a_time_budget_is_not_for_a_run_that_was_begun(bars):
    cs.train("mnist", **QUICK, out="a")
    with pytest.raises(
        BadArgument, match="time_budget=60: was fitted, or not asked for, when this"
    ):
        cs.train("mnist", **QUICK, out="a", resume=True, time_budget=60)


def test_a_claim_does_not_hold_for_a_budget(bars):
    with pytest.raises(BadArgument, match="check=True: needs a recipe with a .claim."):
        cs.train("mnist", recipe="mnist-mlp", hidden=500, time_budget=8, check=True)


def test_a_memory_bound_decides_the_passes(bars, monkeypatch, events):
    from convscope.training import memory

    seen, emit = events
    bounds: list[int] = []

    def fit(bound: int, rehearsal: object, *rest: object) -> tuple[int, int]:
        bounds.append(bound)
        return 10, 30

    monkeypatch.setattr(memory, "fit", fit)
    monkeypatch.setattr(memory, "check", lambda bound, rehearsal: bounds.append(-bound))
    run = cs.train("mnist", **QUICK, max_memory="2GB", out="a", emit=emit)
    train, origin = run.recipe.train, run.recipe.origin
    assert (train.micro_batch, train.eval_batch) == (10, 30) and set(bounds) == {2_000_000_000}
    assert origin["train.micro_batch"] == origin["train.eval_batch"] == "measured"
    assert any(
        isinstance(e, Notice) and "memory bound 2.00 GB: 10 images a pass" in e.text for e in seen
    )
    (run.path / "metrics.json").unlink()
    bounds.clear()
    assert cs.train(out="a", resume=True, max_memory="1GB").metrics.n == 60
    assert bounds == [-1_000_000_000]  # what it was begun with stands, and is held against it
    plain = cs.train("mnist", **QUICK, micro_batch=10, eval_batch=30)
    assert same_weights(run.path, plain.path)


def test_a_batch_that_memory_may_not_bear_is_taken_in_passes(bars, monkeypatch, events):
    """Nobody asked for a bound, and the machine has too little for what the recipe says."""
    from convscope.training import memory

    seen, emit = events
    bounds: list[int] = []

    def fit(bound: int, rehearsal: object, *rest: object) -> tuple[int, int]:
        bounds.append(bound)
        return 10, 30

    monkeypatch.setattr(memory, "fit", fit)
    cs.train("mnist", **QUICK, out="usual")
    assert bounds == []
    monkeypatch.setattr(memory, "free", lambda: 10_000)
    monkeypatch.setattr(memory, "resident", lambda what="VmRSS": 1_000_000)
    cs.train("mnist", **QUICK, micro_batch=20, out="typed")
    assert bounds == []
    run = cs.train("mnist", **QUICK, out="a", emit=emit)
    train, origin = run.recipe.train, run.recipe.origin
    assert set(bounds) == {1_008_000}
    assert (train.micro_batch, train.eval_batch) == (10, 30)
    assert origin["train.micro_batch"] == origin["train.eval_batch"] == "measured"
    said = [
        e.text for e in seen if isinstance(e, Notice) and "as many images a pass as fit" in e.text
    ]
    assert len(said) == 1 and f"a batch of {train.batch_size} images may take about" in said[0]
    bounds.clear()
    cs.train(recipe="usual/recipe.toml", out="again")
    assert bounds == []  # what a recipe says is done
    cs.train("mnist", start="usual", freeze="features", out="fitted")
    assert bounds == []  # no step is taken
    cs.find_lr("mnist", **QUICK, out="lr.png")
    assert bounds == []  # neither this nor a trial of a search is a run that takes passes
    cs.train("mnist", **QUICK, start="usual", out="further")
    assert set(bounds) == {1_008_000}
    bounds.clear()
    (run.path / "metrics.json").unlink()
    cs.train(out="a", resume=True)
    assert bounds == []  # it goes on as it was begun

    def full(bound: int, rehearsal: object, *rest: object) -> tuple[int, int]:
        raise BadArgument("max_memory", "1 MB", "is too little: so it is", "try 2 MB")

    monkeypatch.setattr(memory, "fit", full)
    with pytest.raises(BadArgument, match="batch_size=40: is more than .*: so it is; try 10"):
        cs.train("mnist", **QUICK, out="b")
    with pytest.raises(
        BadArgument, match="image_size=12x12: is more than .* at 12x12: so it is; try 6"
    ):
        cs.train("mnist", **QUICK | {"batch_size": 32}, out="b")
    assert not Path("b").exists()


def test_early_stopping_keeps_the_best(bars):
    run = cs.train("mnist", **{**QUICK, "epochs": 60, "lr": 0.1}, early_stopping=2)
    history = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    losses = [row["val_loss"] for row in history]
    assert len(losses) < 60 and losses.index(min(losses)) == len(losses) - 3
    assert cs.evaluate(run.path, "val")["accuracy"] == history[-3]["val_accuracy"]


def test_an_hour_keeps_the_look_free_and_half_a_minute_does_not_look(bars, monkeypatch):
    rooms = []

    def fit(room, epoch, prices):
        rooms.append(room)
        return 2

    monkeypatch.setattr(budget, "fit", fit)
    monkeypatch.setattr(budget, "LEAST", 0.0)  # of an hour it is a minute
    free = {name: value for name, value in QUICK.items() if name != "epochs"} | {"threads": 1}
    for seconds in (3600, 30):
        run = cs.train("mnist", **free, time_budget=seconds, out=f"runs/{seconds}")
        assert ("as the time of this run was bounded" in run.report.read_text()) == (seconds == 30)
    assert 3600 * budget.AIM - rooms[0] > 6
    assert 30 * budget.AIM - rooms[1] < 6
