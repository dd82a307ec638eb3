"""How fast a run goes: seconds a step, seconds left, and what fits into a time budget."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable

from convscope.events import Emit, Event, Look, Notice

SURE = 20  # steps after which the time left is told
RECENT = 200  # steps that it is told from
OFF = 4 / 3  # times as fast or as slow as measured, beyond which what was measured is dropped
STEADY = 100, 3.0  # steps and seconds of training before that is told


class Pace:
    """The clock of the loop: from the steps and ends of epochs so far it tells what is left.

    ``total`` steps in all, ``epoch`` of them an epoch, ``done`` before this process began; a save
    at least every ``checkpoint_seconds``. ``judged`` images end an epoch and ``finally_judged`` end
    the job; judging one is taken as a third of training on it until it was measured.
    """

    def __init__(
        self,
        total: int,
        epoch: int,
        done: int,
        checkpoint_seconds: float,
        judged: tuple[int, int] = (0, 0),
    ) -> None:
        self.total, self.epoch, self.done = total, epoch, done
        self.every = checkpoint_seconds
        self.judged, self.finally_judged = judged
        self.recent: deque[tuple[float, int]] = deque()  # seconds, images
        self.seconds, self.images = 0.0, 0  # of those
        self.ends: list[float] = []  # seconds from the last step of an epoch to the next epoch
        self.last = self.began = self.paused = self.last_save = time.perf_counter()
        self.warm = False

    def begin(self) -> None:
        """An epoch's steps begin."""
        now = time.perf_counter()
        if self.warm:
            self.ends.append(now - self.paused)
        self.last = self.began = now

    def step(self, images: int) -> float | None:
        """A step is done; the seconds left, once enough of them are."""
        now = time.perf_counter()
        if self.warm:  # the first pays for what the others find warm
            self.recent.append((now - self.last, images))
            gone = self.recent.popleft() if len(self.recent) > RECENT else (0.0, 0)
            self.seconds += now - self.last - gone[0]
            self.images += images - gone[1]
        self.warm, self.last = True, now
        self.done += 1
        if len(self.recent) < SURE:
            return None
        left, an_image = self.total - self.done, self.seconds / self.images / 3
        end = statistics.median(self.ends) if self.ends else self.judged * an_image
        ends = -(-self.total // self.epoch) - (self.done - 1) // self.epoch
        per_judged = end / self.judged if self.ends and self.judged else an_image
        return (
            left * self.seconds / len(self.recent) + ends * end + self.finally_judged * per_judged
        )

    def images_per_second(self) -> float:
        """The speed of the last steps; 0 before there were two."""
        return self.images / self.seconds if self.recent else 0.0

    def pause(self) -> float:
        """Seconds since the epoch's steps began, or went on."""
        self.paused = time.perf_counter()
        return self.paused - self.began

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.perf_counter() - self.last_save >= self.every

    def saved(self) -> None:
        """A save is done; the time it took counts as no step's."""
        self.last_save = self.began = self.last = time.perf_counter()


class Watch:
    """Passes a run's events on to ``emit``, and holds its pace against the ``seconds`` a step, of
    ``images``, that were measured before it: where they differ by more than a third it says so,
    once, and calls ``drop``."""

    def __init__(self, emit: Emit, seconds: float, images: int, drop: Callable[[], None]) -> None:
        self.emit, self.seconds, self.images, self.drop = emit, seconds, images, drop
        self.began: tuple[int, float] | None = None
        self.told = False

    def __call__(self, event: Event) -> None:
        self.emit(event)
        if not isinstance(event, Look) or self.told or not event.images_per_second:
            return
        now = time.perf_counter()
        self.began = self.began or (event.step, now)
        steps, seconds = STEADY
        if event.step - self.began[0] < steps or now - self.began[1] < seconds:
            return
        step = self.images / event.images_per_second
        if 1 / OFF <= step / self.seconds <= OFF:
            return
        self.told = True
        self.drop()
        than = "slower" if step > self.seconds else "faster"
        why = "others are at work now" if step > self.seconds else "others were at work then"
        self.emit(
            Notice(
                f"a step takes {step * 1e3:.1f} ms, {than} than the {self.seconds * 1e3:.1f} ms "
                f"measured before training: {why}, or this machine has changed. This run goes on "
                "as its recipe says; the next one measures anew"
            )
        )
