"""One worker of a search: it takes trials, trains them as far as validation, and tells what came of
them. Run as a module it is a process of its own, which reads what it works on from its standard
input and ends with whoever started it."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from convscope import files
from convscope.data.pack import Pack
from convscope.errors import (
    BadArgument,
    ConvscopeError,
    Interrupted,
    RunError,
    TrainingError,
    text_of,
)
from convscope.events import Emit, EpochEnd, Event, Notice, Progress
from convscope.job.validate import validated
from convscope.recipe import Data
from convscope.run import RunFolder
from convscope.studies.tuning import spec as specs
from convscope.studies.tuning import storage as storages
from convscope.studies.tuning.spec import Spec
from convscope.studies.tuning.storage import Patience, Place, StorageGone
from convscope.studies.tuning.trials import Lost, Pulse, Trials, ended

if TYPE_CHECKING:
    from optuna.trial import Trial

SPEC, WANTED = "convscope", "trials"  # attributes of a study
ALL_FAIL = 5  # trials, after which it is no accident


class Pruned(Exception):
    """The pruner ends a trial."""


@dataclass(frozen=True)
class Worker:
    """What a worker needs to know: the ``place`` of the study, the folder for what is of the
    moment, its own ``name``, ``threads``, the ``grace`` of
    :class:`~convscope.studies.tuning.trials.Trials`, the network as the caller named it, and for
    how many ``seconds`` trials may begin."""

    place: Place
    folder: str
    name: str
    threads: int
    grace: float
    model: str | None = None
    seconds: float | None = None

    def work(self, emit: Emit, told: Callable[[Trials], None] = lambda trials: None) -> None:
        """Take trials until all are finished, or it is time; ``told`` is called after each. Raises
        ConvscopeError, Interrupted."""
        began = time.monotonic()
        patience = Patience(self.grace, self.place.said, emit)
        trials, spec = joined(self, patience)
        packs: dict[Data, Pack] = {}
        base = spec.recipe({}, packs, self.model)

        def over() -> bool:
            return self.seconds is not None and time.monotonic() - began > self.seconds

        with Pulse(trials) as pulse, storages.quietly():
            while claimed := trials.claim(lambda trial: spec.space.suggest(trial, base), over):
                trial, values = claimed
                pulse.at = trial._trial_id
                try:
                    self._train(trials, trial, values, spec, packs, emit)
                finally:
                    pulse.at = -1
                told(trials)
                _going(trials)

    def _train(
        self,
        trials: Trials,
        trial: Trial,
        values: dict[str, Any],
        spec: Spec,
        packs: dict[Data, Pack],
        emit: Emit,
    ) -> None:
        """Train a trial, and tell its end. A setting that cannot be trained is one that is pruned
        at once."""
        began, epochs = 0.0, 0
        about: dict[str, Any] = {}
        value: float | None = None

        def heard(event: Event) -> None:
            nonlocal began, epochs
            if isinstance(event, EpochEnd):
                epochs = event.epoch
                if event.val_accuracy is None:
                    return
                ends = trials.report(trial, event.epoch, event.val_accuracy)
                if ends and event.epoch < event.epochs:
                    raise Pruned
            elif isinstance(event, Progress):
                if event.unit == "steps":
                    began = began or time.perf_counter()
                stage = f"trial {trial.number + 1}, {event.stage}"
                emit(replace(event, stage=stage, left=None))

        try:
            recipe = spec.recipe(values, packs, self.model)
            if recipe.train.precision == "auto":
                recipe = recipe.measured(precision=spec.precision)
            if not recipe.train.threads:
                recipe = recipe.measured(threads=self.threads)
            with tempfile.TemporaryDirectory(prefix=files.TEMPORARY, dir=self.folder) as folder:
                found = validated(recipe, packs[recipe.data], RunFolder(Path(folder)), heard)
            value = found.accuracy
            about = {"parameters": found.parameters, "seconds": found.seconds}
        except Pruned:
            pass
        except Lost:
            return
        except (TrainingError, BadArgument, MemoryError, RuntimeError) as why:
            about = {"failure": text_of(why)}
        except StorageGone:
            raise
        except BaseException as why:
            trials.give_back(trial, text_of(why))
            raise
        spent = {"seconds": time.perf_counter() - began if began else 0.0, "epochs": epochs}
        try:
            trials.finish(trial, value, spent | about)
        except Lost:
            return


def _going(trials: Trials) -> None:
    """Raise RunError where trial after trial cannot be trained."""
    found = ended(trials.all())
    if len(found) >= min(ALL_FAIL, trials.wanted) and all("failure" in t.user_attrs for t in found):
        first = found[0].user_attrs["failure"]
        raise RunError(f"the first {len(found)} trials could not be trained, one of them: {first}")


def joined(worker: Worker, patience: Patience) -> tuple[Trials, Spec]:
    """The trials of a study that is there, and what they search. Raises RunError where there is
    none."""
    import optuna

    from convscope.studies.tuning.sampler import Hyperband, Proposals

    place = worker.place
    with storages.quietly():
        storage = storages.opened(place, patience)
        try:
            study = patience(lambda: optuna.load_study(study_name=place.name, storage=storage))
            attributes = patience(lambda: study.user_attrs)
            spec, wanted = specs.of_json(attributes[SPEC], place.said), int(attributes[WANTED])
        except KeyError:
            raise RunError(f"{place.said}: holds no search {place.name}") from None
        before = len(patience(lambda: study.get_trials(deepcopy=False)))
        seed = zlib.crc32(f"{spec.options.get('seed', 0)} {worker.name} {before}".encode())
        study.sampler = Proposals(max(5, min(10, wanted // 5)), seed)
        study.pruner = Hyperband(spec.epochs)
    return Trials(study, storage, patience, wanted, worker.grace, worker.name), spec


def main() -> None:
    """Work on what the first line of standard input says."""
    said = json.loads(sys.stdin.readline())
    worker = Worker(**said | {"place": Place(**said["place"])})

    def stop(signum: int, frame: FrameType | None) -> None:
        raise Interrupted(signum)

    def follow() -> None:  # whoever started it holds the other end
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=follow, daemon=True).start()
    try:
        worker.work(Log())
    except KeyboardInterrupt as why:
        sys.exit(getattr(why, "exit_code", 130))
    except ConvscopeError as why:
        sys.exit(str(why))


class Log:
    """Events as lines of a log: what a user should know, and how far training is, by epochs."""

    def __init__(self) -> None:
        self.stage = ""

    def __call__(self, event: Event) -> None:
        """Take one event."""
        match event:
            case Notice(text):
                print(text, file=sys.stderr, flush=True)
            case Progress(stage, unit="steps") if stage != self.stage:
                self.stage = stage
                print(stage, file=sys.stderr, flush=True)
            case _:
                pass


if __name__ == "__main__":
    main()
