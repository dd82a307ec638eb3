"""A prepared run as it is fastest here: number format, memory format, the algorithms of its layers,
and as many images and steps as memory and time allow. All of it is measured."""

from __future__ import annotations

import contextlib
import copy
import functools
import math
import time
from dataclasses import replace

import torch

from convscope import files
from convscope.engine import autotune, choice, measurements, tuned_network
from convscope.engine.choice import Choice
from convscope.engine.timing import race
from convscope.errors import BadArgument, ConvscopeError
from convscope.events import Notice
from convscope.formatting import decimal_size, duration
from convscope.insight import figures
from convscope.job.prepare import LOOK, Job
from convscope.job.probe import only_fitted
from convscope.recipe import Recipe
from convscope.run import RunFolder
from convscope.training import budget, memory
from convscope.training.losses import losses_of, mean_loss
from convscope.training.pace import Watch
from convscope.training.profile import profile

HASTE = 0.05  # of a time budget may each part of the probe take
LONG = 2.0  # seconds of a step beyond which none is taken only to know its time


def tune(job: Job, begun: bool = False) -> Job:
    """The job with nothing left to choose; where a run of its recipe was ``begun`` before, every
    value stands. Its pace is held against what was measured. Raises BadArgument for limits that
    cannot be kept."""
    if job.head is not None and job.head.whole:
        return _nothing_left(job)
    limits, batch = job.limits, next(job.loader.epoch(0)).first(job.probed)
    loss = functools.partial(mean_loss, losses_of(job.loader, job.recipe.train))
    time_left = HASTE * (limits.seconds or math.inf)
    chosen = choice.choose(job.recipe, job.model, batch, loss, job.emit, time_left)
    train = chosen.recipe.train
    job = replace(job.laid_out(train.memory_format), recipe=chosen.recipe)
    job = replace(job, engine=tuned_network.engine(job.model, train.kernels, train.precision))
    if limits.memory is not None:
        job = replace(job, recipe=_within_memory(job, limits.memory, begun))
    elif (step := _measured_step(job, chosen)) is not None:

        def drop() -> None:
            with contextlib.suppress(ConvscopeError):
                measurements.forget(chosen.key)
                autotune.forget()

        job = replace(job, emit=Watch(job.emit, step, job.loader.batch_size, drop))
    if limits.seconds is not None:
        fitted = _within_time(job, limits.seconds)
        if fitted is None and job.head is not None:
            said = "no step of fine-tuning fits into the time budget: the fitted last layer is all"
            job.emit(Notice(said, warning=True))
            recipe = only_fitted(chosen.recipe.measured(freeze="features"))
            return _nothing_left(replace(job, recipe=recipe, head=job.head._replace(whole=True)))
        job = replace(job, recipe=fitted or job.recipe)
    return job


def _nothing_left(job: Job) -> Job:
    """The job where the last layer is all that learns: no step is left to be fast."""
    plain = {"precision": "float32", "memory_format": "channels_last", "kernels": "plain"}
    train = job.recipe.train
    left = {name: value for name, value in plain.items() if getattr(train, name) == "auto"}
    recipe = job.recipe.measured(**left)
    return replace(job.laid_out(recipe.train.memory_format), recipe=recipe, engine=job.model)


def _measured_step(job: Job, chosen: Choice) -> float | None:
    """Seconds of a whole step, as kept with what was measured of the network, or as measured now
    and kept; None where nothing is kept of it, a step takes long, or waits for other ranks or for
    a store."""
    found, train = chosen.measurement, job.recipe.train
    if found is None or job.ranks.several or job.loader.shards is not None:
        return None
    what = job.recipe.augment, job.loader.batch_size
    key = measurements.key_of(what, train.optimizer, train.ema, train.clip_grad)
    if key not in found.steps:
        if found.seconds[found.chosen] / found.images * job.loader.batch_size > LONG:
            return None
        rehearsal = job.rehearsal()
        for _ in range(2):
            rehearsal.step()
        timing = race({"": rehearsal.step}, rounds=9, far=2.0, limit=1.0).timings[""]
        if not timing.sure:
            return None
        found = replace(found, steps=found.steps | {key: timing.usual})
        measurements.write(chosen.key, found)
    return found.steps[key]


def _within_memory(job: Job, bound: int, begun: bool) -> Recipe:
    """The recipe with as many images a pass as keep the process within ``bound`` bytes."""
    if begun or job.recipe.origin.get("train.micro_batch") == "recipe":
        memory.check(bound, job.rehearsal())
        return job.recipe
    size, judged = job.fitting()
    passes = f"{size} images a pass" if size else "the whole batch at once"
    job.emit(Notice(f"memory bound {decimal_size(bound)}: {passes} (measured)"))
    return job.recipe.measured(micro_batch=size, eval_batch=judged)


def _within_time(job: Job, seconds: float) -> Recipe | None:
    """The recipe with as many steps as let the whole job end within ``seconds``; None where none
    does, and a fitted last layer can be kept. Raises BadArgument where there is none."""
    limits = job.limits
    deadline = limits.began + seconds * budget.AIM
    epoch = len(job.loader.sizes())
    room = deadline - time.perf_counter()
    prices = budget.measure(job.rehearsal(), room, len(job.judged), job.finally_judged)
    room = deadline - time.perf_counter()
    room -= (0 if limits.unseen else LOOK) + (prices.end if job.begins_judged else 0)
    steps = budget.fit(room, epoch, prices)
    if not steps and job.head is not None:
        return None
    if not steps:
        least = prices.step + prices.end + prices.final
        gone = time.perf_counter() - limits.began
        raise BadArgument(
            "time_budget",
            duration(seconds),
            f"is too short: {duration(gone)} went before training, and one step, judging and "
            f"the report take {duration(least)} more",
            f"try {duration((gone + least) / budget.AIM * 1.5)}",
        )
    job.emit(
        Notice(
            f"time budget {duration(seconds)}: {steps:,} steps, {steps / epoch:.1f} epochs "
            f"({prices.step * 1e3:.0f} ms a step, measured)"
        )
    )
    return job.recipe.measured(epochs=math.ceil(steps / epoch), steps=steps)


def write_profile(job: Job, place: RunFolder) -> None:
    """Say where the time of a step goes, in plain PyTorch and here, and keep it."""
    train, loader = job.recipe.train, job.loader
    plain = copy.deepcopy(job.model).to(memory_format=torch.contiguous_format)
    as_plain = replace(loader, memory_format=torch.contiguous_format)
    found = {
        "plain PyTorch, float32": profile(plain, as_plain, replace(train, precision="float32")),
        "convscope": profile(job.engine, loader, train),
    }
    for name, one in found.items():
        job.emit(Notice(f"{name}: {one.table()}"))
    files.write_json(place.profile, {name: one.as_json() for name, one in found.items()})
    bars = {name: one.milliseconds() for name, one in found.items()}
    with files.whole_file(place.profile.with_suffix(".png")) as file:
        figures.where_time_goes(bars).savefig(file, format="png", dpi=120)
