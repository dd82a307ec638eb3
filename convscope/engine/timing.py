"""Timing of candidates against each other on a machine that may be busy: in turn, in rounds, each
by its best quiet round.

A round is quiet if other programs took next to nothing of it. Linux counts for each thread how long
it was ready to run and another one had the processor (``/proc/self/task/*/schedstat``); elsewhere a
round counts as disturbed whose share of processor time is well below the best of its candidate. One
slow round says nothing: OpenMP's threads wait for each other at every operator, so that another
program on one of two cores makes a step of system B's network up to ten times as long
(two Zen 4 cores, 2026-11-29).
"""

from __future__ import annotations

import contextlib
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

QUIET = 0.03  # of a round's time may others take
SLACK = 2e-5  # seconds that they may in any case: a timer's tick, a page
SURE = 3  # quiet rounds before a candidate's time counts
SHARE = 0.85  # of the best share of processor time, below which a round was disturbed, elsewhere


Name = TypeVar("Name")  # of a candidate: whatever tells it from the others


class Waiting:
    """How long the threads of this process have waited for a processor that others had."""

    def __init__(self) -> None:
        self.files: list[int] = []
        with contextlib.suppress(OSError):
            for thread in os.listdir("/proc/self/task"):  # noqa: PTH208
                path = f"/proc/self/task/{thread}/schedstat"
                with contextlib.suppress(OSError):  # a thread that has just ended
                    self.files.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        self.known = bool(self.files) and self.seconds() is not None

    def seconds(self) -> float | None:
        """In all, over the threads that there were when this was made; None where the system does
        not count it."""
        total = 0
        for file in self.files:
            try:
                _, waited, _ = os.pread(file, 100, 0).split()
            except (OSError, ValueError):
                continue
            total += int(waited)
        return total * 1e-9 if self.files else None

    def close(self) -> None:
        """Let go of the system's files."""
        while self.files:
            os.close(self.files.pop())


@contextlib.contextmanager
def waiting() -> Iterator[Waiting]:
    """A count of what others take from the threads that there are now."""
    found = Waiting()
    try:
        yield found
    finally:
        found.close()


@dataclass
class Timing:
    """The rounds of a candidate: seconds of each quiet one, and how many others there were."""

    quiet: list[float] = field(default_factory=list)
    disturbed: int = 0
    busiest: float = 0.0  # the best share of processor time so far

    @property
    def best(self) -> float:
        """Seconds of the best quiet round; infinity where there was none."""
        return min(self.quiet, default=math.inf)

    @property
    def usual(self) -> float:
        """Seconds of a quiet round, the median; infinity where there was none."""
        return statistics.median(self.quiet) if self.quiet else math.inf

    @property
    def sure(self) -> bool:
        """Whether enough rounds were quiet."""
        return len(self.quiet) >= SURE

    def add(self, run: Callable[[], Any], waits: Waiting) -> float:
        """Run once; the seconds it took, quiet or not."""
        before, worked = waits.seconds(), time.process_time()
        began = time.perf_counter()
        run()
        took = time.perf_counter() - began
        after, worked = waits.seconds(), time.process_time() - worked
        if waits.known and before is not None and after is not None:
            quiet = after - before <= QUIET * took + SLACK
        else:
            share = worked / max(took, 1e-9)
            self.busiest = max(self.busiest, share)
            quiet = share >= SHARE * self.busiest or took < 100 * SLACK  # too short to tell
        if quiet:
            self.quiet.append(took)
        else:
            self.disturbed += 1
        return took


@dataclass(frozen=True)
class Race(Generic[Name]):
    """What :func:`race` found: a timing each candidate, by name, and who was still in it."""

    timings: dict[Name, Timing]
    racing: tuple[Name, ...]

    @property
    def sure(self) -> bool:
        """Whether each candidate was timed by enough quiet rounds."""
        return all(timing.sure for timing in self.timings.values())

    @property
    def quiet(self) -> float:
        """The share of all rounds that were quiet, 0 to 1."""
        quiet = sum(len(timing.quiet) for timing in self.timings.values())
        rounds = quiet + sum(timing.disturbed for timing in self.timings.values())
        return quiet / rounds if rounds else 0.0

    def seconds(self) -> dict[Name, float | None]:
        """Each candidate's best quiet round; None where it had too few to tell."""
        return {name: t.best if t.sure else None for name, t in self.timings.items()}


def race(
    candidates: Mapping[Name, Callable[[], Any]],
    *,
    rounds: int,
    far: float,
    limit: float,
    enough: float = math.inf,
) -> Race[Name]:
    """Time candidates in turn until each has ``rounds`` quiet rounds, or ``enough`` seconds of
    them, and at least three. Disturbed rounds are repeated; these, and the quiet ones of a
    candidate that is sure, may take ``limit`` seconds in all.

    A candidate leaves the race once its best quiet round takes ``far`` times that of the fastest,
    both by enough of them; nothing leaves for one slow round. Every candidate is to have run
    before, so that all threads are there.

    >>> found = race({"short": lambda: sum(range(10)), "long": lambda: sum(range(10_000))},
    ...              rounds=5, far=2.0, limit=5.0)
    >>> found.timings["short"].best < found.timings["long"].best
    True
    """
    timings = {name: Timing() for name in candidates}
    racing, spent = list(candidates), 0.0
    with waiting() as waits:
        while racing and spent < limit:
            unfinished = [
                name
                for name in racing
                if not timings[name].sure
                or (len(timings[name].quiet) < rounds and sum(timings[name].quiet) < enough)
            ]
            if not unfinished:
                break
            for name in racing if len(unfinished) == len(racing) else unfinished:
                timing = timings[name]
                wanted, disturbed = not timing.sure, timing.disturbed
                took = timing.add(candidates[name], waits)
                spent += 0.0 if wanted and timing.disturbed == disturbed else took
            leader = min(timings.values(), key=lambda timing: timing.best)
            if leader.sure:
                racing = [
                    name
                    for name in racing
                    if not timings[name].sure or timings[name].best < far * leader.best
                ]
    return Race(timings, tuple(racing))
