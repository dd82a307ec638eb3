"""Train a network; search for a learning rate."""

from __future__ import annotations

import time
from collections.abc import Mapping
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
from convscope.errors import BadArgument, ConvscopeError, TargetMissed
from convscope.events import Emit, Notice, silent
from convscope.insight import figures
from convscope.job import going_on, preflight
from convscope.job.complete import complete
from convscope.job.defaults import suited
from convscope.job.prepare import Job, Limits, prepare
from convscope.job.probe import probe
from convscope.job.tune import tune, write_profile
from convscope.recipe import Recipe
from convscope.run import RunFolder
from convscope.training import budget, finder, memory
from convscope.training.profile import refuse as refuse_profile

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

    Raises BadArgument, DataError, RunError, TrainingError, Interrupted, and TargetMissed, once
    everything is written, where the claim was not reached.
    """
    limits = Limits(
        time.perf_counter() if began is None else began,
        None if time_budget is None else budget.seconds_of(time_budget),
        None if max_memory is None else memory.bytes_of(max_memory),
        look,
    )
    board.check(log)
    if profile and (limits.seconds or limits.memory):
        rule = "takes time and memory of its own, besides those that are bounded"
        raise BadArgument("profile", True, rule, "leave it out, or the bounds")
    base = recipe if isinstance(recipe, Recipe | None) else recipes.load(recipe)
    typed, arguments = given(data, model, options)
    typed = going_on.with_classes(typed) if add_class else typed
    before = _before(typed, recipe, more_epochs)
    if before is not None:
        base, typed = going_on.under(before.read_recipe()), typed | {"epochs": more_epochs}
    folder = None if out is None else Path(out)
    if resume and folder is None:
        raise BadArgument(
            "resume", True, "needs the run folder to go on with", "add out=DIR (--out DIR)"
        )
    if resume and folder is not None and (folder / "recipe.toml").exists():
        place = run.find(folder)
        asked = place.read_recipe()
        _claimed(asked, check)
        _same(spelt_out(recipes.resolve(typed, arguments, base or asked, augment)), asked)
        if limits.seconds is not None:
            rule = "was fitted, or not asked for, when this run was begun"
            raise BadArgument("time_budget", time_budget, rule, "leave it out")
        named(asked, model)
        if place.metrics.exists() and place.report.exists() and place.card.exists():
            emit(Notice(f"{place.path} is finished; nothing to do"))
            return _checked(Run(place.path), check)
    else:
        place = None
        asked = resolved(typed, arguments, base, augment)
        asked = going_on.onward(asked, before.read_recipe()) if before else asked
        asked = preflight.settle(asked, emit)
        named(asked, model)
        _claimed(asked, check)
        _unfitted(asked, limits)
        run.check_free(folder, RUNS)
    pack = of_recipe(asked, emit)
    if place is None:
        asked = suited(asked, pack, emit)
    with machine.at_work(asked.train.threads), board.Board(emit) as told:
        job = _prepared(asked, pack, told, limits, place, before)
        job = tune(probe(going_on.adding(job) if add_class else job), begun=place is not None)
        if profile:
            refuse_profile(job.loader.device)
        if place is None:  # everything that can be refused was refused before this
            _claimed(job.recipe, check)
            place = _created(job, folder)
        told.folder = place.tensorboard if log else None
        if profile:
            write_profile(job, place)
        complete(job, place)
    return _checked(Run(place.path), check)


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
) -> Job:
    """Data and network, with the validation split of the run that is resumed, or trained further.
    Raises BadArgument, DataError, RunError."""
    if before is not None:
        val = going_on.held_out(before, pack)
        return going_on.held_to(prepare(asked, pack, emit, limits, val), val)
    begun = place.read_split()["val"] if place is not None and place.split.exists() else None
    return prepare(asked, pack, emit, limits, begun)


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
