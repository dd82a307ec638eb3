"""A time budget: what is typed, what things cost, and how many steps fit, exactly."""

from __future__ import annotations

import math
import random

import pytest

from convscope.errors import BadArgument
from convscope.recipe import Train
from convscope.training import budget
from convscope.training.budget import Prices


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("90", 90), ("10m", 600), ("1h30m", 5400), ("1h 5s", 3605), ("0.5m", 30)],
)
def test_a_time_as_it_is_typed(text, seconds):
    assert budget.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "-3", "soon", "5 days", "10mm", "m", "nan", "inf"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(BadArgument, match="time_budget=.*: must be a time; write 90s, 10m or"):
        budget.seconds_of(text)


def cost(steps: int, epoch: int, prices: Prices) -> float:
    return steps * prices.step + math.ceil(steps / epoch) * prices.end + prices.final


def test_the_most_steps_that_fit():
    """Against counting them one by one."""
    draw = random.Random(0)
    for _ in range(300):
        epoch = draw.randint(1, 12)
        prices = Prices(draw.uniform(0.1, 2), draw.choice([0, draw.uniform(0, 5)]), draw.random())
        room = draw.uniform(-5, 60)
        steps = 0
        while cost(steps + 1, epoch, prices) <= room:
            steps += 1
        assert budget.fit(room, epoch, prices) == steps, (room, epoch, prices)


class Scripted:
    """A rehearsal whose every step, judgement and save takes as long as it is told, by a clock of
    its own."""

    def __init__(self, steps: list[float], train: Train, batches: int) -> None:
        self.now, self.steps, self.train = 0.0, steps, train
        self.loader = self
        self.batches, self.counts = batches, []

    def __len__(self) -> int:
        return 500

    def sizes(self) -> list[int]:
        return [1] * self.batches

    def takes(self, seconds: float) -> float:
        self.now += seconds
        return seconds

    def step(self) -> float:
        return self.takes(self.steps.pop(0) if len(self.steps) > 1 else self.steps[0])

    def judge(self, count: int) -> float:
        self.counts.append(count)
        return self.takes(0.01 * count if len(self.counts) > 1 else 7.0)

    def save(self) -> float:
        return self.takes(0.5)


@pytest.fixture
def scripted(monkeypatch):
    def make(steps: list[float], batches: int = 10, **train: float) -> Scripted:
        rehearsal = Scripted(steps, Train(**train), batches)
        monkeypatch.setattr(budget.time, "perf_counter", lambda: rehearsal.now)
        return rehearsal

    return make


def test_prices_are_of_what_is_warm_and_undisturbed(scripted):
    rehearsal = scripted([9.0, 3.0, 3.0, *[1.0] * 14, *[50.0] * 4, 1.0, 2.0], eval_batch=1000)
    prices = budget.measure(rehearsal, 10_000, judged=100, finally_judged=300)
    assert prices.step == 1.0
    assert prices.end == pytest.approx(100 * 0.01 + 0.5)
    assert prices.final == pytest.approx(300 * 0.01 + budget.PAGES)
    assert rehearsal.counts == [300, 300, 300]


def test_what_disturbs_the_first_steps_does_not_decide(scripted):
    rehearsal = scripted([0.1] * 3 + [0.15] * 15 + [0.1])
    assert budget.measure(rehearsal, 100_000, 100, 100).step == pytest.approx(0.1)
    assert rehearsal.now == pytest.approx(budget.ENOUGH + 7.0 + 2.0 + 0.5, abs=0.2)
    rehearsal = scripted([0.1] * 3 + [0.15] * 15 + [0.1])
    assert budget.measure(rehearsal, 160, 100, 100).step == pytest.approx(0.1)
    assert rehearsal.now == pytest.approx(budget.LEAST * 160 + 7.0 + 2.0 + 0.5, abs=0.2)


def test_measuring_takes_a_tenth_of_what_is_left_at_most(scripted):
    rehearsal = scripted([2.0])
    budget.measure(rehearsal, 100, 100, 100)
    assert rehearsal.now == pytest.approx(10 + 7.0 + 2.0 + 0.5)  # five steps, judging, a save
    rehearsal = scripted([20.0], batches=1)
    assert budget.measure(rehearsal, 100, 100, 100).step == 20.0
    assert rehearsal.now == pytest.approx(40 + 9.5)  # one to warm up, one to time


def test_saves_within_an_epoch_are_paid_for_by_its_steps(scripted):
    often = budget.measure(scripted([1.0], checkpoint_seconds=4.0), 1e4, 100, 100)
    assert often.step == pytest.approx(1.0 + 0.5 / 4)
    always = budget.measure(scripted([1.0], checkpoint_seconds=0.0), 1e4, 100, 100)
    assert always.step == pytest.approx(1.0 + 0.5)
    rarely = budget.measure(scripted([1.0], checkpoint_seconds=11.0), 1e4, 100, 100)
    assert rarely.step == 1.0  # an epoch of 10 s ends with a save anyway
