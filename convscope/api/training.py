"""Train a network; search for a learning rate."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convscope import board, files, machine, run
from convscope import recipe as recipes
from convscope.api.arguments import (
    draw,
    figure_path,
    given,
    named,
    resolved,
    short,
    spelt_out,
)
from convscope.api.results import LearningRate, Run
from convscope.data.pack import Pack
from convscope.data.sources import of_recipe
from convscope.engine import tuned_network
from convscope.errors import BadArgument, ConvscopeError, Interrupted, TargetMissed
from convscope.events import Emit, Notice, silent
from convscope.insight import figures
from convscope.job import going_on, preflight, ranked
from convscope.job.complete import complete, follow
from convscope.job.defaults import suited
from convscope.job.prepare import Job, Limits, prepare
from convscope.job.probe import probe
from convscope.job.tune import tune, write_profile
from convscope.recipe import Recipe
from convscope.run import RunFolder
from convscope.training import budget, finder, memory, ranks
from convscope.training.profile import refuse as refuse_profile
from convscope.training.ranks import Ranks

RUNS = Path("runs")  # where a run goes that has no place of its own


def train(
    data: str | Path | None = None,
    *,
    model: str | None = None,
    recipe: str | Path | Recipe | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    add_class: bool = False,
    more_epochs: int | None = None,
    augment: bool | str = True,
    check: bool = False,
    time_budget: float | str | None = None,
    max_memory: int | str | None = None,
    log: str | None = None,
    profile: bool = False,
    look: bool = True,
    began: float | None = None,
    emit: Emit = silent,
    **options: Any,
) -> Run:
    """Train a network, judge it once on the test split, and write its run folder.

    ``data`` is a data set by name, a folder of images, or a table of them; ``labels="l.csv"`` is a
    list of a folder's images (:mod:`convscope.data.rows`). ``options`` are the recipe's fields
    (``epochs``, ``lr``, ``batch_size``, ``shift`` ...) and the network's own arguments
    (``kernel_size``, ``widths``); ``layers="c5-16 bn relu mp2 flatten fc"`` is a network in one
    line (see :mod:`convscope.models.layers`). ``augment`` is ``none`` (or False), ``light`` or
    ``strong``, under what is typed of it; else a data set has its own, and one's own colour images
    ``light``. With ``resume`` and ``out`` a run that was stopped
    goes on, to the same weights to the bit; one that is finished is returned as it is; one that
    never began begins. With ``check`` the recipe's claim is held against the result.

    With ``more_epochs`` the finished run ``start`` is trained so many epochs further, as a new run:
    by its recipe, on the images that it learnt from, from all of its weights, its schedule anew at
    a tenth of its learning rate; the best weights on validation are kept, those that it began with
    among them. ``add_class`` goes on from the run ``start`` with data that have new classes besides
    all of its own (``last_layer="kept"``); ``metrics.forgetting`` says how the old ones fare.

    ``time_budget`` (seconds, or ``10m``) fits the epochs so that the whole job ends with it, from
    this call, or from ``began`` of ``time.perf_counter``, to the report. ``max_memory`` (bytes, or
    ``2GB``) fits the images a pass so that the process stays below it. ``log="tensorboard"`` writes
    curves to the run's folder ``tensorboard``. ``profile`` first tells where the time of a training
    step goes, here and in plain PyTorch, and keeps it as ``profile.json`` and ``profile.png``.
    Without ``look`` the report leaves out what the network has learnt, which takes seconds to show.

    Under PyTorch's launcher (``torchrun -m convscope train``, or a script of its own) all its
    processes, the ranks, train one network: the global batch and what is drawn for it are those of
    one process. Rank 0 writes, tells and judges last. A run that the launcher began again goes on
    where it has ``out``. Of an error one rank speaks; the others raise SystemExit.

    Raises BadArgument, DataError, RunError, TrainingError, Interrupted, and TargetMissed, once
    everything is written, where the claim was not reached.
    """
    limits = Limits(
        time.perf_counter() if began is None else began,
        None if time_budget is None else budget.seconds_of(time_budget),
        None if max_memory is None else memory.bytes_of(max_memory),
        look,
    )
    wanted = Wanted(
        *(data, model, recipe, None if out is None else Path(out), resume, add_class, more_epochs),
        *(augment, check, log, profile, limits, options),
    )
    with ranks.joined() as us:
        us.agree(wanted.by_every_rank, ranked.SAME)
        ranks.connect(us)
        if not us.leads:
            return _followed(us)
        ranks.refuse(us, time_budget=time_budget, max_memory=max_memory, profile=profile)
        return _checked(_led(us, wanted, emit), check)


@dataclass(frozen=True)
class Wanted:
    """What :func:`train` was asked for."""

    data: str | Path | None
    model: str | None
    recipe: str | Path | Recipe | None
    folder: Path | None
    resume: bool
    add_class: bool
    more_epochs: int | None
    augment: bool | str
    check: bool
    log: str | None
    profile: bool
    limits: Limits
    options: Mapping[str, Any]

    def by_every_rank(self) -> dict[str, str]:
        """What each of several ranks must have been asked for alike."""
        recipe = None if isinstance(self.recipe, Recipe) else self.recipe
        also: dict[str, Any] = {
            "data": self.data,
            "model": self.model,
            "recipe": recipe,
            "augment": self.augment,
        }
        also |= {"add_class": self.add_class, "more_epochs": self.more_epochs, **self.options}
        return ranked.versions_and_options(self.model, also)


def _settled(
    wanted: Wanted, again: bool, emit: Emit
) -> tuple[Recipe, RunFolder | None, RunFolder | None]:
    """The recipe of what is asked for, the folder of the run that is resumed, if one is (``again``:
    the launcher has begun again), and that of the run that is trained further, if one is."""
    folder, limits = wanted.folder, wanted.limits
    board.check(wanted.log)
    if wanted.profile and (limits.seconds or limits.memory):
        rule = "takes time and memory of its own, besides those that are bounded"
        raise BadArgument("profile", True, rule, "leave it out, or the bounds")
    recipe = wanted.recipe
    base = recipe if isinstance(recipe, Recipe | None) else recipes.load(recipe)
    typed, arguments = given(wanted.data, wanted.model, wanted.options)
    typed = going_on.with_classes(typed) if wanted.add_class else typed
    before = _before(typed, recipe, wanted.more_epochs)
    if before is not None:
        base, typed = going_on.under(before.read_recipe()), typed | {"epochs": wanted.more_epochs}
    if wanted.resume and folder is None:
        raise BadArgument(
            "resume", True, "needs the run folder to go on with", "add out=DIR (--out DIR)"
        )
    if again and folder is None:
        said = "the launcher began again, and without --out nothing is gone on with"
        emit(Notice(f"{said}: this is a new run", warning=True))
    place, there = None, folder is not None and (folder / "recipe.toml").exists()
    if folder is not None and there and (wanted.resume or again):
        place = run.find(folder)
        asked = place.read_recipe()
        _same(spelt_out(recipes.resolve(typed, arguments, base or asked, wanted.augment)), asked)
        _unmeasured(limits)
    else:
        asked = resolved(typed, arguments, base, wanted.augment)
        asked = going_on.onward(asked, before.read_recipe()) if before else asked
        asked = preflight.settle(asked, emit)
        _unfitted(asked, limits)
        run.check_free(folder, RUNS)
        if wanted.resume:
            emit(Notice(f"{folder}: nothing to go on with; begins anew"))
    named(asked, wanted.model)
    _claimed(asked, wanted.check)
    return asked, place, before


def _led(us: Ranks, wanted: Wanted, emit: Emit) -> Run:
    """The run, as one process does it, or rank 0 of several."""
    asked, place, before = _settled(wanted, us.again, emit)
    us.begins()
    if place and place.metrics.exists() and place.report.exists() and place.card.exists():
        emit(Notice(f"{place.path} is finished; nothing to do"))
        us.tell({"recipe": None, "path": str(place.path)})
        return Run(place.path)
    us.tell({"recipe": recipes.dumps(asked)})
    pack = ranked.opened(asked, us, emit)
    if place is None:
        asked = suited(asked, pack, emit)
    with machine.at_work(ranked.threads(asked, us)), board.Board(emit) as told:
        job = _prepared(asked, pack, told, wanted.limits, place, before, us)
        job = going_on.adding(job) if wanted.add_class else job
        job = tune(probe(job), begun=place is not None)
        if wanted.profile:
            refuse_profile(job.loader.device)
        if place is None:  # everything that can be refused was refused before this
            _claimed(job.recipe, wanted.check)
            place = _created(job, wanted.folder)
        told.folder = place.tensorboard if wanted.log else None
        if wanted.profile:
            write_profile(job, place)
        trains = job.head is None or not job.head.whole
        ranked.Plan(job.recipe, job.val.tolist(), str(place.path), trains).told(us)
        with _stoppable(place):
            complete(job if trains else ranked.alone(job), place)
    return Run(place.path)


@contextlib.contextmanager
def _stoppable(place: RunFolder) -> Iterator[None]:
    """Say of Ctrl-C before the first step, or after the last one, how the run goes on, too."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted(signal.SIGINT, f"go on with --out {place.path} --resume") from None


def _followed(us: Ranks) -> Run:
    """The run that rank 0 leads, as another rank does its part of it; its files are where rank 0
    is."""
    first = us.tell()
    if first["recipe"] is None:
        return Run(Path(first["path"]))
    pack = ranked.opened(recipes.parse(first["recipe"], "of rank 0"), us, silent)
    plan = ranked.heard(us)
    place, train = RunFolder(Path(plan.path)), plan.recipe.train
    if plan.trains:
        with machine.at_work(ranked.threads(plan.recipe, us)):
            job = prepare(plan.recipe, pack, silent, val=plan.val, ranks=us)
            job = job.laid_out(train.memory_format)
            engine = tuned_network.engine(job.model, train.kernels, train.precision)
            follow(replace(job, engine=engine), place)
    return Run(place.path)


def _before(
    typed: Mapping[str, Any], recipe: str | Path | Recipe | None, more_epochs: int | None
) -> RunFolder | None:
    """The finished run that is trained further, if that is asked for. Raises BadArgument for what
    decides the same, RunError."""
    if more_epochs is None:
        return None
    for name, value in (("recipe", recipe), ("epochs", typed.get("epochs"))):
        if value is not None:
            rule = "is not used with more_epochs (--continue), which decides it"
            raise BadArgument(name, value, rule, "leave one of them out")
    return going_on.further(typed.get("start"), more_epochs)


def _prepared(
    asked: Recipe,
    pack: Pack,
    emit: Emit,
    limits: Limits,
    place: RunFolder | None,
    before: RunFolder | None,
    us: Ranks,
) -> Job:
    """Data and network, with the validation split of the run that is resumed, or trained further.
    Raises BadArgument, DataError, RunError."""
    if before is not None:
        val = going_on.held_out(before, pack)
        return going_on.held_to(prepare(asked, pack, emit, limits, val, us), val)
    begun = place.read_split()["val"] if place is not None and place.split.exists() else None
    return prepare(asked, pack, emit, limits, begun, us, guarded=place is None)


def _created(job: Job, folder: Path | None) -> RunFolder:
    """The folder of a new run, with its recipe. Raises RunError."""
    place = run.create(job.pack.name, short(job.recipe.model.name), folder, RUNS)
    try:
        files.write_whole(place.recipe, recipes.dumps(job.recipe))
    except ConvscopeError:
        place.path.rmdir()  # which holds nothing, and is no run
        raise
    return place


def _same(asked: Recipe, kept: Recipe) -> None:
    """Refuse a value that is not the one a run was begun with: its own recipe is binding."""
    for key, origin in asked.origin.items():
        section, name = key.split(".", 1)
        new, old = (
            part.arguments.get(name)
            if section == "model" and name != "name"
            else getattr(part, name)
            for part in (getattr(asked, section), getattr(kept, section))
        )
        new, old = (tuple(v) if isinstance(v, list) else v for v in (new, old))
        fitted = origin == "recipe" and kept.origin.get(key) == "measured"
        by_itself = new == "auto" or (key == "train.threads" and new == 0) or fitted
        if origin in ("typed", "recipe") and new != old and not by_itself:
            raise BadArgument(
                name if name != "name" else section,
                new,
                f"is not what this run was begun with ({old})",
                "leave it out, or train anew into another folder",
            )


def _unmeasured(limits: Limits) -> None:
    """Refuse a time budget for a run that was begun before. Raises BadArgument."""
    if limits.seconds is not None:
        rule = "was fitted, or not asked for, when this run was begun"
        raise BadArgument("time_budget", f"{limits.seconds:g}", rule, "leave it out")


def _unfitted(asked: Recipe, limits: Limits) -> None:
    """Refuse what is typed and would be fitted. Raises BadArgument."""
    for limit, value, names in (
        ("time_budget", limits.seconds, ("epochs", "steps")),
        ("max_memory", limits.memory, ("micro_batch",)),
    ):
        for name in names:
            if value is not None and asked.origin[f"train.{name}"] == "typed":
                rule = f"cannot be kept to together with {limit}, which decides it"
                raise BadArgument(name, getattr(asked.train, name), rule, "leave one of them out")


def _claimed(asked: Recipe, check: bool) -> None:
    """Refuse to check a claim that is not there."""
    if check and asked.claim is None:
        raise BadArgument(
            "check",
            True,
            "needs a recipe with a [claim], and no typed value but those that a claim leaves open",
            "leave the other options out",
        )


def _checked(result: Run, check: bool) -> Run:
    """The run, held against its recipe's claim if that is asked for. Raises TargetMissed below mean
    - 3 sd."""
    claim = result.recipe.claim
    if check and claim and result.metrics.accuracy < claim.accuracy - 3 * claim.sd:
        raise TargetMissed(
            f"{result.path}: test accuracy {result.metrics.accuracy:.2%} misses the recipe's claim "
            f"of {claim.accuracy:.2%} (sd {claim.sd:.2%}, {claim.seeds} seeds) by more than 3 sd",
            result,
        )
    return result


def find_lr(
    data: str | Path | None = None,
    *,
    model: str | None = None,
    recipe: str | Path | Recipe | None = None,
    out: str | Path | None = None,
    augment: bool | str = True,
    force: bool = False,
    emit: Emit = silent,
    **options: Any,
) -> LearningRate:
    """Search for a learning rate: up to 100 steps of training at rates that rise from 1e-6 to 10;
    nothing of it is kept but a figure.

    Data, network and ``options`` are those of :func:`train`; nothing is measured for it, so that
    ``precision="auto"`` is float32. The figure goes to ``out``, a file or a folder, else to
    ``<data>-<model>-lr.png``. Raises BadArgument, also where the figure is there
    already and ``force`` is not given, DataError and TrainingError.
    """
    ranks.one_process("search for a learning rate")
    base = recipe if isinstance(recipe, Recipe | None) else recipes.load(recipe)
    asked = preflight.settle(resolved(*given(data, model, options), base, augment), emit)
    named(asked, model)
    name = f"{Path(asked.data.name).name}-{short(asked.model.name)}-lr.png"
    path = figure_path(out, name, force)
    pack = of_recipe(asked, emit)
    asked = suited(asked, pack, silent)
    with machine.at_work(asked.train.threads):
        job = prepare(asked, pack, emit)
        if asked.train.memory_format != "auto":
            job = job.laid_out(asked.train.memory_format)
        found = finder.search(job.model, job.loader, job.recipe.train, emit)
    title = f"{pack.name}, {short(asked.model.name)}, {asked.train.optimizer}"
    draw(figures.learning_rates(*vars(found).values(), title=title), path)
    return LearningRate(found.suggestion, found.rates, found.losses, found.smoothed, path)
