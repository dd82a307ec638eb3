"""The trials of a search: so many and no more, whoever takes them and whoever dies of them.

A trial's number is the storage's, which gives each once and in order. A trial that did not fail
counts where fewer than all that are wanted came before it; so workers need no one to share trials
out, and one that comes too late gives its own back. Optuna's heartbeat is for databases and its own
loop alone, so each worker counts up in an attribute of its trial: where that stands still while
another worker watches, the trial failed, and its setting is tried again.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from convscope.errors import text_of
from convscope.studies.tuning.storage import Patience

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

BEATS = 6  # signs of life within the time after which none means death
ATTEMPTS = 3  # of a setting whose process dies
IDLE = 0.5  # seconds between two looks at what others do
DIED, STOPPED, SURPLUS = "its process died", "stopped", "surplus"


class Lost(Exception):
    """Others took a trial for dead, and its setting is tried elsewhere."""


@dataclass
class Trials:
    """A study, of which so many trials (``wanted``) are to finish; ``grace`` seconds without a sign
    of life are the end of a trial."""

    study: Study
    storage: BaseStorage
    patience: Patience
    wanted: int
    grace: float
    worker: str
    beats: dict[int, tuple[int, float]] = field(default_factory=dict)  # trial -> count, since when
    looked: float = field(default=0.0)  # at them

    def all(self) -> list[FrozenTrial]:
        """All trials so far, by their number."""
        return self.patience(lambda: self.study.get_trials(deepcopy=False))

    def left(self) -> int:
        """How many are still to finish."""
        return self.wanted - len(ended(self.all()))

    def claim(
        self, suggest: Callable[[Trial], dict[str, Any]], over: Callable[[], bool]
    ) -> tuple[Trial, dict[str, Any]] | None:
        """A trial that is to be trained, and its values; None where all are finished, or it is
        ``over``. Where others are at the last ones it waits: theirs may fail."""
        while True:
            found = self.all()
            if len(ended(found)) >= self.wanted or over():
                return None
            waiting = any(one.state.name == "WAITING" for one in found)
            if waiting or len(alive(found)) < self.wanted:
                trial, values = self.patience(lambda: self._asked(suggest))
                before = [one for one in alive(self.all()) if one.number < trial.number]
                if len(before) < self.wanted:
                    return trial, values
                self.fail(trial._trial_id, SURPLUS)
            time.sleep(IDLE * (0.5 + random.random()))

    def _asked(self, suggest: Callable[[Trial], dict[str, Any]]) -> tuple[Trial, dict[str, Any]]:
        trial = self.study.ask()
        trial.set_user_attr("worker", self.worker)
        return trial, suggest(trial)

    def report(self, trial: Trial, epoch: int, accuracy: float) -> bool:
        """Tell what validation says after an epoch; whether the pruner ends the trial. Raises
        Lost."""

        def tell() -> bool:
            trial.report(accuracy, epoch)
            return trial.should_prune()

        with _its_own():
            return self.patience(tell)

    def finish(self, trial: Trial, value: float | None, about: Mapping[str, Any]) -> None:
        """End a trial with its value, or as pruned without one; what is said ``about`` it is kept.
        Raises Lost."""
        from optuna.trial import TrialState

        state = TrialState.PRUNED if value is None else TrialState.COMPLETE

        def tell() -> None:
            for key, said in about.items():
                trial.set_user_attr(key, said)
            self.study.tell(trial, value, state=state)

        def told() -> bool:
            one = self.storage.get_trial(trial._trial_id)
            return one.state is state and one.user_attrs.get("worker") == self.worker

        with _its_own():
            try:
                self.patience(tell)
            except _finished() as why:  # by others, or by a call whose answer was lost
                if not self.patience(told):
                    raise Lost from why

    def fail(self, trial_id: int, why: str) -> bool:
        """Let a trial count no more; whether it was this call that did it."""
        from optuna.trial import TrialState

        def tell() -> bool:
            self.storage.set_trial_user_attr(trial_id, "ended", why)
            return self.storage.set_trial_state_values(trial_id, TrialState.FAIL)

        try:
            return self.patience(tell)
        except _finished():
            return False

    def give_back(self, trial: Trial, why: str = STOPPED) -> None:
        """Let a trial count no more, and have its setting tried again."""
        if self.fail(trial._trial_id, why):
            one = self.patience(lambda: self.storage.get_trial(trial._trial_id))
            self._again(one, int(one.user_attrs.get("attempt", 1)))

    def _again(self, one: FrozenTrial, attempt: int) -> None:
        if one.params:
            about = {"attempt": attempt, "again": one.number}
            self.patience(lambda: self.study.enqueue_trial(one.params, user_attrs=about))

    def bury(self, dead: str | Collection[int]) -> None:
        """Let the trials of a worker that is gone, or these by number, fail, and be tried again;
        one whose process died at every attempt is pruned instead."""
        for one in self.all():
            by_name = isinstance(dead, str)
            its = one.user_attrs.get("worker") == dead if by_name else one.number in dead
            if one.state.name != "RUNNING" or not its:
                continue
            attempt = int(one.user_attrs.get("attempt", 1))
            if attempt < ATTEMPTS:
                if self.fail(one._trial_id, DIED):
                    self._again(one, attempt + 1)
                continue
            with contextlib.suppress(*_finished()):
                self._give_up(one._trial_id, f"{DIED}, {attempt} times")

    def _give_up(self, trial_id: int, why: str) -> None:
        from optuna.trial import TrialState

        def tell() -> None:
            self.storage.set_trial_user_attr(trial_id, "failure", why)
            self.storage.set_trial_state_values(trial_id, TrialState.PRUNED)

        self.patience(tell)

    def watch(self) -> None:
        """Look for signs of life of all trials; bury those that have given none for ``grace``
        seconds of being watched."""
        now, seen = time.monotonic(), {}
        if now - self.looked > self.grace / 2:  # who did not look heard nothing
            self.beats.clear()
        self.looked = now
        for one in self.all():
            if one.state.name == "RUNNING":
                beat, before = int(one.user_attrs.get("beat", 0)), self.beats.get(one.number)
                seen[one.number] = before if before and before[0] == beat else (beat, now)
        self.beats = seen
        silent = {n for n, (_, since) in seen.items() if now - since > self.grace}
        if silent:
            self.bury(silent)


class Pulse(threading.Thread):
    """Gives signs of life of the trial at hand, and watches for those of others'."""

    def __init__(self, trials: Trials) -> None:
        super().__init__(name="pulse", daemon=True)
        self.trials, self.at, self.count = trials, -1, 0
        self.ends = threading.Event()
        self.quick = Patience(0.0, trials.patience.said)

    def __enter__(self) -> Pulse:
        self.start()
        return self

    def __exit__(self, *why: object) -> None:
        self.ends.set()
        self.join(self.trials.grace)

    def run(self) -> None:
        """Until the end."""
        mine = replace(self.trials, patience=self.quick, beats={})
        while not self.ends.wait(self.trials.grace / BEATS):
            try:
                if (at := self.at) >= 0:
                    self.count += 1
                    mine.storage.set_trial_user_attr(at, "beat", self.count)
                mine.watch()
            except _finished():
                continue
            except Exception:  # a storage that is away: what was not heard meanwhile says nothing
                mine.beats.clear()


def _finished() -> tuple[type[Exception], ...]:
    """What says that a trial has ended already."""
    from optuna.exceptions import UpdateFinishedTrialError

    return UpdateFinishedTrialError, ValueError  # the latter is what `tell` raises of one


@contextlib.contextmanager
def _its_own() -> Iterator[None]:
    """Raise Lost where others ended the trial."""
    from optuna.exceptions import UpdateFinishedTrialError

    try:
        yield
    except UpdateFinishedTrialError as why:
        raise Lost(text_of(why)) from why


def alive(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those that did not fail."""
    return [one for one in trials if one.state.name != "FAIL"]


def ended(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those that came to an end of their own, or were pruned."""
    return [one for one in trials if one.state.name in ("COMPLETE", "PRUNED")]
