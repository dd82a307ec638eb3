"""A prepared run as it is fastest here: number format, memory format, the algorithms of its layers,
and as many images and steps as memory and time allow. All of it is measured."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from dataclasses import dataclass, replace

import torch
from torch import nn

from convscope import files
from convscope.errors import BadArgument, ConvscopeError
from convscope.events import Emit, Notice, in_words
from convscope.insight import figures
from convscope.job.prepare import Prepared
from convscope.recipe import Recipe
from convscope.run import RunFolder
from convscope.training import budget, choice, layers, measurements, memory, precision
from convscope.training.choice import Choice
from convscope.training.pace import Watch
from convscope.training.profile import profile
from convscope.training.timing import race

HASTE = 0.05  # of a time budget may each part of the probe take
LOOK = 6.0  # seconds that a look into the network takes at most, near enough
PATIENT = 20  # times that, and a time budget allows for it


@dataclass(frozen=True)
class Limits:
    """What a job may cost: ``seconds`` in all since ``began`` (of ``time.perf_counter``), and
    ``memory``, bytes in all. Without ``look`` the report does not show what the network has
    learnt."""

    began: float
    seconds: float | None = None
    memory: int | None = None
    look: bool = True

    @property
    def unseen(self) -> str:
        """Why there is no look into the network at the end, if its cost was not allowed for."""
        if not self.look:
            return "Left out, as it was asked for: see convscope explain."
        if self.memory is not None:
            return "Left out, as the memory of this run was bounded: see convscope explain."
        if self.seconds is not None and self.seconds < PATIENT * LOOK:
            return "Left out, as the time of this run was bounded: see convscope explain."
        return ""


@dataclass(frozen=True)
class Tuned:
    """A run with nothing left to choose: ``recipe`` is what was asked for with all that was
    measured, ``engine`` the network as it is run here. ``watched`` takes the events of training,
    whose pace is held against the measured one."""

    prepared: Prepared
    limits: Limits
    recipe: Recipe
    engine: nn.Module
    watched: Emit


def tune(prepared: Prepared, limits: Limits, begun: bool = False) -> Tuned:
    """Decide what a recipe leaves open; where a run of it was ``begun`` before, every value of it
    stands. Raises BadArgument for limits that cannot be kept."""
    batch = next(prepared.loader.epoch(0))
    inputs, labels = (some[0][: prepared.probed] for some in (batch.inputs, batch.targets))
    patience = min(choice.PATIENCE, HASTE * (limits.seconds or math.inf))
    emit = prepared.emit
    chosen = choice.choose(prepared.recipe, prepared.model, inputs, labels, emit, patience)
    asked, train = chosen.recipe, chosen.recipe.train
    prepared = prepared.laid_out(train.memory_format)
    engine = precision.engine(prepared.model, train.kernels, train.precision)
    watched = emit
    if limits.memory is not None:
        asked = _within_memory(asked, prepared, engine, limits.memory, begun)
    elif (step := _measured_step(chosen, prepared, engine)) is not None:

        def drop() -> None:
            with contextlib.suppress(ConvscopeError):
                measurements.forget(chosen.key)
                layers.forget()

        watched = Watch(emit, step, prepared.loader.batch_size, drop)
    if limits.seconds is not None:
        asked = _within_time(asked, prepared, engine, limits, limits.seconds)
    return Tuned(prepared, limits, asked, engine, watched)


def _measured_step(chosen: Choice, prepared: Prepared, engine: nn.Module) -> float | None:
    """Seconds of a whole step, as kept with what was measured of the network, or as measured now
    and kept; None where nothing is kept of it."""
    found, train = chosen.measurement, chosen.recipe.train
    if found is None:
        return None
    what = chosen.recipe.augment, prepared.loader.batch_size
    key = measurements.key_of(what, train.optimizer, train.ema, train.clip_grad)
    if key not in found.steps:
        rehearsal = prepared.rehearsal(chosen.recipe, engine)
        for _ in range(2):
            rehearsal.step()
        timing = race({"": rehearsal.step}, rounds=9, far=2.0, limit=1.0).timings[""]
        if not timing.sure:
            return None
        found = replace(found, steps=found.steps | {key: timing.usual})
        measurements.write(chosen.key, found)
    return found.steps[key]


def _within_memory(
    asked: Recipe, prepared: Prepared, engine: nn.Module, bound: int, begun: bool
) -> Recipe:
    """The recipe with as many images a pass as keep the process within ``bound`` bytes."""
    rehearsal = prepared.rehearsal(asked, engine)
    if begun or asked.origin.get("train.micro_batch") == "recipe":
        memory.check(bound, rehearsal)
        return asked
    size, judged = memory.fit(bound, rehearsal)
    passes = f"{size} images a pass" if size else "the whole batch at once"
    prepared.emit(Notice(f"memory bound {memory.spelt(bound)}: {passes} (measured)"))
    return asked.measured(micro_batch=size, eval_batch=judged)


def _within_time(
    asked: Recipe, prepared: Prepared, engine: nn.Module, limits: Limits, seconds: float
) -> Recipe:
    """The recipe with as many steps as let the whole job end within ``seconds``."""
    deadline = limits.began + seconds * budget.AIM
    epoch = len(prepared.loader.sizes())
    val, test = len(prepared.judged[1]), len(prepared.pack.splits["test"])
    room = deadline - time.perf_counter()
    prices = budget.measure(prepared.rehearsal(asked, engine), room, val, val + test)
    room = deadline - time.perf_counter()
    steps = budget.fit(room - (0 if limits.unseen else LOOK), epoch, prices)
    if not steps:
        least = prices.step + prices.end + prices.final
        gone = time.perf_counter() - limits.began
        raise BadArgument(
            "time_budget",
            in_words(seconds),
            f"is too short: {in_words(gone)} went before training, and one step, judging and "
            f"the report take {in_words(least)} more",
            f"try {in_words((gone + least) / budget.AIM * 1.5)}",
        )
    prepared.emit(
        Notice(
            f"time budget {in_words(seconds)}: {steps:,} steps, {steps / epoch:.1f} epochs "
            f"({prices.step * 1e3:.0f} ms a step, measured)"
        )
    )
    return asked.measured(epochs=math.ceil(steps / epoch), steps=steps)


def write_profile(tuned: Tuned, place: RunFolder) -> None:
    """Say where the time of a step goes, in plain PyTorch and here, and keep it."""
    train, loader = tuned.recipe.train, tuned.prepared.loader
    plain = copy.deepcopy(tuned.prepared.model).to(memory_format=torch.contiguous_format)
    as_plain = replace(loader, memory_format=torch.contiguous_format)
    found = {
        "plain PyTorch, float32": profile(plain, as_plain, replace(train, precision="float32")),
        "convscope": profile(tuned.engine, loader, train),
    }
    for name, one in found.items():
        tuned.prepared.emit(Notice(f"{name}: {one.table()}"))
    files.write_json(place.profile, {name: one.as_json() for name, one in found.items()})
    bars = {name: one.milliseconds() for name, one in found.items()}
    with files.whole_file(place.profile.with_suffix(".png")) as file:
        figures.where_time_goes(bars).savefig(file, format="png", dpi=120)
