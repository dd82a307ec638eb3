"""Search for a recipe: trials of a space, pruned by what validation says of them (Optuna's Gaussian
process and Hyperband), by one process or several, on one machine or many."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convscope import files, machine, run
from convscope.data.pack import Pack
from convscope.data.stores import without_password
from convscope.errors import BadArgument, RunError
from convscope.events import Emit, Notice, Progress, silent
from convscope.formatting import duration, percent
from convscope.recipe import Data
from convscope.studies.sweep import begun
from convscope.studies.tuning import outcome, page, processes
from convscope.studies.tuning import spec as specs
from convscope.studies.tuning import storage as storages
from convscope.studies.tuning.outcome import Tuned
from convscope.studies.tuning.plan import Planned, plan
from convscope.studies.tuning.storage import Patience, Place
from convscope.studies.tuning.trials import Trials, ended
from convscope.studies.tuning.work import SPEC, WANTED, Worker, joined
from convscope.training import budget, ranks

TRIALS, GRACE = 40, 60.0
KEPT, JOURNAL = "tune.json", "journal.log"  # what a folder says of its search; the trials


def tune(
    data: str | Path | None = None,
    *,
    vary: Mapping[str, Any] | Iterable[str] = (),
    trials: int | None = None,
    workers: int = 1,
    storage: str | Path | None = None,
    name: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    time_limit: float | str | None = None,
    grace: float = GRACE,
    model: str | None = None,
    recipe: str | Path | None = None,
    augment: bool | str = True,
    emit: Emit = silent,
    **options: Any,
) -> Tuned:
    """Search for the recipe that does best on validation; leave it, and what the search showed of
    its space, in a folder. The test split is not looked at.

    ``vary`` maps fields of a recipe or arguments of the network to ranges (``"1e-4..1e-1 log"``,
    ``"16..256 step 16"``) or lists of values (or lists ``"lr=1e-4..1e-1 log"``); without it the
    space suits the data. ``options`` are those of :func:`convscope.train`, the same for every
    trial. ``trials`` (40) is how many finish in all, whatever the ``workers``: processes, each of
    which has its share of the cores. Trials are Optuna's: a Gaussian process proposes them,
    Hyperband ends early what is behind others after as many epochs.

    They are kept in a journal in the folder, or in another file (``storage``), or in a database
    that several machines reach, ``postgresql+psycopg://user@host/database``, under a ``name``; the
    same call elsewhere joins. With ``resume`` and ``out`` a search goes on, or gets more
    ``trials``. A process that gives no sign of life for ``grace`` seconds is taken for dead, and
    its trial is repeated; a database may be away as long. After ``time_limit`` (seconds, or
    ``30m``) no trial begins.

    Raises BadArgument, before anything is written, for a space or options that do not fit, and for
    a study of another search; RunError; ConvscopeError where a database stays away; Interrupted.
    """
    storages.check()
    ranks.one_process("search")
    limit = _limit(time_limit)
    _counts(trials, workers, grace)
    folder, where = None if out is None else Path(out), _where(storage)
    database = where is not None and "://" in where
    there = folder is not None and (folder / KEPT).exists()
    if not database:
        there = begun(folder, resume, KEPT, "search")
    place = _kept(folder, where) if there and folder is not None else None
    typed = {"augment": None if augment is True else augment, **options}
    if resume and not there and data is None and recipe is None:
        remedy = "name the folder of one, or give DATA and its options to begin it"
        raise BadArgument("out", folder, "holds no search to go on with", remedy)
    planned = _planned(data, recipe, vary, model, typed, there)
    if place is None:
        assert planned is not None
        place = Place(where or "", name or planned.name)
    alone = workers == 1 and where is None and not there  # no other process knows of it yet
    if not there:
        run.check_free(folder, Path("runs"))
    if not place.where:  # the journal lies in the folder
        folder = run.create("tune", place.name, folder, Path("runs")).path
        place = Place(str(folder / JOURNAL), place.name)
        there = _keep(folder, place, JOURNAL)
    patience = Patience(grace, place.said, emit)
    with storages.quietly():
        _begin(place, planned, trials, patience)
    if not there or folder is None:
        folder = run.create("tune", place.name, folder, Path("runs")).path
        _keep(folder, place, place.said)
    unique = "0" if alone else f"{platform.node()}-{os.getpid()}"
    threads = max(1, machine.cores() // workers)
    worker = Worker(place, str(folder), unique, threads, grace, model, limit)
    watched, spec = joined(worker, patience)
    news = News(emit, watched.wanted)
    news.begin(watched, folder)
    try:
        if workers == 1:
            worker.work(emit, news)
        else:
            processes.work(worker, workers, watched, emit, news)
    except KeyboardInterrupt:
        _written(folder, spec, watched, model)
        raise
    done = _written(folder, spec, watched, model)
    if done is None:
        raise _fruitless(folder, watched)
    return done


def preview(
    data: str | Path | None = None,
    *,
    vary: Mapping[str, Any] | Iterable[str] = (),
    trials: int | None = None,
    workers: int = 1,
    storage: str | Path | None = None,
    time_limit: float | str | None = None,
    grace: float = GRACE,
    model: str | None = None,
    recipe: str | Path | None = None,
    augment: bool | str = True,
    **options: Any,
) -> Planned:
    """What :func:`tune` would search where it is asked for the same, once it was checked; nothing
    is written, and no database reached. Raises BadArgument."""
    storages.check()
    _limit(time_limit)
    _counts(trials, workers, grace)
    _where(storage)
    typed = {"augment": None if augment is True else augment, **options}
    return plan(data, recipe, vary, model, typed)


def _where(storage: str | Path | None) -> str | None:
    """Where trials are to be kept, if that is said. Raises BadArgument."""
    if storage is not None:
        storages.check_place(storage := _full(storage))
    return storage


def _full(storage: str | Path) -> str:
    """A URL, or a file by its full path, so that it is found from everywhere."""
    return str(storage) if "://" in str(storage) else str(Path(storage).absolute())


def _counts(trials: int | None, workers: int, grace: float) -> None:
    if trials is not None and (type(trials) is not int or trials < 1):
        raise BadArgument("trials", trials, "must be a whole number of at least 1", "try 40")
    machine.check_workers(workers)
    if not grace > 0:
        raise BadArgument("grace", grace, "must be seconds, more than 0", f"try {GRACE:g}")


def _limit(text: float | str | None) -> float | None:
    """Seconds in which trials may begin. Raises BadArgument."""
    try:
        return None if text is None else budget.seconds_of(text)
    except BadArgument as why:
        raise BadArgument("time_limit", text, why.rule, why.remedy) from None


def _planned(
    data: str | Path | None,
    recipe: str | Path | None,
    vary: Mapping[str, Any] | Iterable[str],
    model: str | None,
    options: Mapping[str, Any],
    there: bool,
) -> Planned | None:
    """What is asked for; None where that is to go on with what a folder holds. Raises
    BadArgument."""
    if data is not None or recipe is not None or not there:
        return plan(data, recipe, vary, model, options)
    given = {"vary": vary or None, **options}
    for name, value in given.items():
        if value is not None:
            rule = "is kept with the search that goes on"
            raise BadArgument(name, value, rule, "leave it out, or give DATA and all options again")
    return None


def _kept(folder: Path, where: str | None) -> Place:
    """Where the trials of a folder's search are. Raises BadArgument, RunError."""
    found = files.read_json(folder / KEPT, RunError)
    kept, name = str(found.get("storage")), str(found.get("name"))
    there = kept if kept == JOURNAL else without_password(_full(kept))
    if where is not None and without_password(where) != there:
        rule = f"is not where this search keeps its trials ({kept})"
        raise BadArgument("storage", without_password(where), rule, "leave it out")
    if kept == JOURNAL:
        return Place(str(folder / JOURNAL), name)
    if where is None and "***" in kept:
        rule = f"is needed again, as its password is not kept ({kept})"
        raise BadArgument("storage", "(not given)", rule, "add --storage URL")
    return Place(where or _full(kept), name)


def _keep(folder: Path, place: Place, where: str) -> bool:
    files.write_json(folder / KEPT, {"format_version": 1, "storage": where, "name": place.name})
    return True


def _begin(place: Place, planned: Planned | None, trials: int | None, patience: Patience) -> None:
    """Make the study, or find it and hold what is asked for against it. Raises BadArgument,
    RunError."""
    nothing = f"{place.said}: holds no search {place.name}; give DATA and its options"
    if planned is None and not place.is_database and not Path(place.where).exists():
        raise RunError(nothing)
    storage = storages.opened(place, patience)
    try:
        study, new = storages.study_of(storage, place, patience, make=planned is not None)
    except KeyError:
        raise RunError(nothing) from None
    until = time.monotonic() + patience.seconds
    while not new and SPEC not in patience(lambda: study.user_attrs):
        if time.monotonic() > until:  # whoever made it died then and there
            break
        time.sleep(0.1)
    attributes = patience(lambda: study.user_attrs)
    if SPEC not in attributes:
        if planned is None:
            raise RunError(nothing)
        patience(lambda: study.set_user_attr(WANTED, trials or TRIALS))
        patience(lambda: study.set_user_attr(SPEC, planned.spec.as_json()))
        first = planned.spec.space.kept(planned.base)
        if new and first is not None:  # what is given is among what is tried
            patience(lambda: study.enqueue_trial(first))
        return
    if planned is not None:
        kept = specs.of_json(attributes[SPEC], place.said)
        specs.same(kept, planned.spec, place)
    wanted = int(attributes[WANTED])
    if trials is not None and trials < wanted:
        rule = f"is fewer than this search is for ({wanted})"
        raise BadArgument("trials", trials, rule, "leave it out; --time-limit ends it earlier")
    if trials is not None and trials > wanted:
        patience(lambda: study.set_user_attr(WANTED, trials))


@dataclass
class News:
    """Says of each trial that it is finished, how it did, and how long the others take."""

    emit: Emit
    wanted: int
    known: set[int] = field(default_factory=set)
    best: float = -1.0
    began: float = 0.0
    before: int = 0

    def begin(self, trials: Trials, folder: Path) -> None:
        """From here on."""
        found = ended(trials.all())
        self.known, self.before = {one.number for one in found}, len(found)
        self.best = max((one.value or 0 for one in found if _complete(one)), default=-1.0)
        self.began = time.monotonic()
        done = f", {len(found)} of them finished" if found else ""
        self.emit(Notice(f"{self.wanted} trials{done}, into {folder}"))

    def __call__(self, trials: Trials) -> None:
        """Look for what is new."""
        found = ended(trials.all())
        for one in found:
            if one.number in self.known:
                continue
            self.known.add(one.number)
            done = len(self.known)
            mean = (time.monotonic() - self.began) / max(1, done - self.before)
            left = mean * (self.wanted - done)
            so_far = (
                f"; about {duration(left)} to go" if left > 0 and done > self.before + 2 else ""
            )
            self.emit(Notice(f"{done} of {self.wanted}: {self._said(one)}{so_far}"))
            self.emit(Progress("trials", done, self.wanted, "trials"))

    def _said(self, one: Any) -> str:
        shown = ", ".join(f"{name} {outcome.shown(v)}" for name, v in one.params.items())
        if "failure" in one.user_attrs:
            return f"could not be trained ({one.user_attrs['failure']}): {shown}"
        if not _complete(one):
            return f"ended after epoch {one.last_step}, {percent(one.value)}: {shown}"
        best = " (the best so far)" if one.value > self.best else ""
        self.best = max(self.best, one.value)
        return f"{percent(one.value)} on validation{best}: {shown}"


def _complete(one: Any) -> bool:
    return bool(one.state.name == "COMPLETE")


def _fruitless(folder: Path, trials: Trials) -> RunError:
    """That no trial came to its end, and what helps."""
    if trials.left():
        return RunError(f"{folder}: no trial was finished in time; go on with --resume")
    text = f"none of its {trials.wanted} trials was trained to its end; give it more: --resume"
    return RunError(f"{folder}: {text} --trials {2 * trials.wanted}")


def _written(folder: Path, spec: specs.Spec, trials: Trials, model: str | None) -> Tuned | None:
    """What came of the search so far, in its folder; None where no trial was finished."""
    packs: dict[Data, Pack] = {}
    done = outcome.tuned(folder, spec, trials, lambda values: spec.recipe(values, packs, model))
    if done is not None:
        page.write(done)
        files.clear_unfinished(folder, older_than=3600)
    return done
