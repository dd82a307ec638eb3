"""The watch: a pace that is not the measured one is said once, and the measurement dropped."""

from __future__ import annotations

import pytest
from listening import notices

from convscope.events import Look, Progress
from convscope.training import pace
from convscope.training.pace import Watch


class Run:
    """A training whose speed is told every second, at so many steps each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.step, self.seen, self.dropped = 0.0, 0, [], 0
        monkeypatch.setattr(pace.time, "perf_counter", lambda: self.now)
        self.watch = Watch(self.seen.append, 0.010, 50, self.drop)  # 10 ms a step of 50 images

    def drop(self) -> None:
        self.dropped += 1

    def go(self, seconds: int, images_per_second: float, steps: int = 100) -> None:
        for _ in range(seconds):
            self.watch(Look(self.step, 0.5, 0.1, images_per_second))
            self.now, self.step = self.now + 1.0, self.step + steps


@pytest.mark.parametrize("speed", [5000, 5000 / 1.32, 5000 * 1.32])
def test_a_pace_near_the_measured_one_is_nothing_to_say(monkeypatch, speed):
    run = Run(monkeypatch)
    run.go(20, speed)
    assert not run.dropped and len(run.seen) == 20 and not notices(run.seen)


@pytest.mark.parametrize(
    ("speed", "words"),
    [(5000 / 1.35, "13.5 ms, slower than the 10.0 ms"), (5000 * 1.35, "7.4 ms, faster than")],
)
def test_another_pace_is_said_once_and_what_was_measured_dropped(monkeypatch, speed, words):
    run = Run(monkeypatch)
    run.go(20, speed)
    (said,) = notices(run.seen)
    assert run.dropped == 1 and words in said and "the next one measures anew" in said


def test_a_moment_says_nothing(monkeypatch):
    run = Run(monkeypatch)
    run.go(3, 100.0)  # not yet 3 s
    run.go(20, 5000)
    assert not run.dropped
    few = Run(monkeypatch)
    few.go(9, 100.0, steps=10)  # not yet 100 steps
    assert not few.dropped
    run.watch(Look(5000, 0.5, 0.1, 0.0))  # a speed that is not known yet
    assert not run.dropped


def test_every_event_goes_on(monkeypatch):
    run = Run(monkeypatch)
    event = Progress("epoch 1/1", 1, 2, "steps")
    run.watch(event)
    assert run.seen == [event]
