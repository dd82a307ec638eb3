"""Timing: in turn, by quiet rounds; one slow round decides nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import pytest

from convscope.engine import timing


class Scripted:
    """A clock that runs as it is told: each run of a candidate takes so many seconds, of which
    others take so many."""

    def __init__(self) -> None:
        self.now = self.waited = 0.0
        self.ran: list[str] = []

    def candidate(self, name: str, rounds: Iterator[tuple[float, float]]) -> Callable[[], None]:
        def run() -> None:
            took, others = next(rounds)
            self.now, self.waited = self.now + took, self.waited + others
            self.ran.append(name)

        return run


@pytest.fixture
def clock(monkeypatch) -> Scripted:
    made = Scripted()

    class Told(timing.Waiting):
        def __init__(self) -> None:
            self.files, self.known = [], True

        def seconds(self) -> float:
            return made.waited

    monkeypatch.setattr(timing, "Waiting", Told)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: made.now)
    return made


def always(took: float, others: float = 0.0) -> Iterator[tuple[float, float]]:
    return itertools.repeat((took, others))


def test_candidates_run_in_turn_and_the_fastest_is_told(clock):
    runs = {"a": clock.candidate("a", always(1.0)), "b": clock.candidate("b", always(1.2))}
    found = timing.race(runs, rounds=3, far=1.5, limit=100)
    assert clock.ran == ["a", "b"] * 3 and found.sure and found.quiet == 1.0
    assert found.seconds() == {"a": pytest.approx(1.0), "b": pytest.approx(1.2)}


def test_however_long_a_round_is_there_are_three_of_each(clock):
    runs = {"a": clock.candidate("a", always(1.0)), "b": clock.candidate("b", always(1.2))}
    found = timing.race(runs, rounds=9, far=1.5, limit=100, enough=0.5)
    assert clock.ran == ["a", "b"] * timing.SURE and found.sure


def test_a_disturbed_round_is_repeated_and_drops_nobody(clock):
    """The faster one is ten times as slow for its first five rounds, by others alone."""
    slow = itertools.chain([(10.0, 9.0)] * 5, always(1.0))
    runs = {"good": clock.candidate("good", slow), "other": clock.candidate("other", always(1.4))}
    found = timing.race(runs, rounds=3, far=1.5, limit=1000)
    assert found.sure and found.timings["good"].best == pytest.approx(1.0)
    assert found.timings["good"].disturbed == 5
    assert min(found.timings, key=lambda name: found.timings[name].best) == "good"
    assert found.quiet == pytest.approx(6 / 11) or found.quiet < 1


def test_what_is_far_slower_leaves_after_three_quiet_rounds_and_no_sooner(clock):
    runs = {"a": clock.candidate("a", always(1.0)), "b": clock.candidate("b", always(2.0))}
    found = timing.race(runs, rounds=9, far=1.5, limit=1000)
    assert clock.ran.count("b") == timing.SURE and clock.ran.count("a") == 9
    assert found.racing == ("a",) and found.seconds()["b"] == pytest.approx(2.0)


def test_one_slow_quiet_round_drops_nobody(clock):
    """Not every disturbance is counted by the system: a neighbour in the cache, a slower clock."""
    rounds = itertools.chain([(9.0, 0.0), (9.0, 0.0)], always(1.0))
    runs = {"good": clock.candidate("good", rounds), "b": clock.candidate("b", always(1.3))}
    found = timing.race(runs, rounds=5, far=1.5, limit=1000)
    assert found.racing == ("good", "b")
    assert found.timings["good"].best == pytest.approx(1.0)


def test_where_no_round_is_quiet_it_ends_and_is_not_sure(clock):
    runs = {"a": clock.candidate("a", always(1.0, 0.5)), "b": clock.candidate("b", always(1.0))}
    found = timing.race(runs, rounds=3, far=1.5, limit=20)
    assert not found.sure and found.seconds()["a"] is None and found.seconds()["b"] is not None
    assert found.timings["a"].best == math.inf and 20 <= clock.now < 24


def test_three_quiet_rounds_are_had_however_long_they_are(clock):
    """The limit is for what others disturb, and for rounds beyond those."""
    runs = {"a": clock.candidate("a", always(5.0)), "b": clock.candidate("b", always(6.0))}
    found = timing.race(runs, rounds=9, far=1.5, limit=1.0)
    assert found.sure and clock.ran == ["a", "b"] * (timing.SURE + 1)


def test_enough_seconds_are_enough(clock):
    runs = {"a": clock.candidate("a", always(1.0)), "b": clock.candidate("b", always(1.0))}
    timing.race(runs, rounds=100, far=1.5, limit=1000, enough=4.5)
    assert clock.ran.count("a") == clock.ran.count("b") == 5


def test_elsewhere_the_share_of_processor_time_tells(monkeypatch, clock):
    """Where the system does not count waiting: 2 s of processor time a second, or 1.2."""
    worked = iter([0.0, 2.0, 2.0, 3.2, 3.2, 5.2, 5.2, 7.2])
    monkeypatch.setattr(timing.time, "process_time", lambda: next(worked))
    waits = timing.Waiting()
    waits.known = False
    one = timing.Timing()
    for _ in range(4):
        one.add(clock.candidate("a", always(1.0)), waits)
    assert len(one.quiet) == 3 and one.disturbed == 1


def test_linux_counts_what_others_take_of_this_process():
    with timing.waiting() as waits:
        if not waits.known:
            pytest.skip("this system does not count how long a thread waits for a processor")
        before = waits.seconds()
        assert before is not None and waits.files
        assert (waits.seconds() or 0) >= before
    assert not waits.files
