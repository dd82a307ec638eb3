"""The choice of number format, memory format and kernels: as typed, else by timing this network on
this machine, else by what its processor can do.

Candidates are checked against float32 first, and then timed in turn by their quiet rounds
(:mod:`convscope.engine.timing`). Where others leave no quiet moment, the choice is the prior that
the processor's instructions give, and is not kept.
"""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from convscope import devices, kernels, machine
from convscope.data.loader import Batch, forward
from convscope.engine import autotune, measurements
from convscope.engine.measurements import Candidate, Measurement
from convscope.engine.timing import Race, race
from convscope.engine.tuned import PARTS
from convscope.engine.tuned_network import DTYPES, FORMATS, autocast, engine
from convscope.errors import BadArgument
from convscope.events import Emit, Notice, Progress
from convscope.recipe import Recipe, Train

Loss = Callable[[Any, Batch], Tensor]  # the mean loss of what a network gave for a batch
ROUNDS = 7  # quiet forward and backward passes a candidate, after one to warm up
FEW = 16  # images that tell what is wrong or far slower
FEWEST = 4  # images that tell what is far slower, where a pass of those is slow
SLOW = 1.0  # seconds of such a pass
LONG = 0.2  # seconds of a pass beyond which fewer images are timed
FAR = 1.5  # a candidate this much slower than the fastest leaves the race
PATIENCE = 6.0  # seconds of each race at most, where others are at work
WORTH_IT = 1.15  # another format has to be this much faster than float32 to be taken
# The relative distance of a network's gradient from float32's beyond which a candidate counts as
# wrong. In bfloat16 rounding alone puts a ResNet-18 0.35 away (16 images, as initialised), and a
# wrong result about 1 or more; a ResNet-50 it puts 1.3 away, where _Check asks float32 instead.
# Single layers are held to much less (autotune.WRONG). TF32 keeps two bits more.
NEAR_ENOUGH = {"float32": 0.1, "tf32": 0.3, "bfloat16": 0.6}
# The instructions that make bfloat16 worth it, and what it was measured to gain over float32 in
# training the networks of docs/numbers.md, each at its best.
PRIOR = {
    "avx512_bf16": "1.2 to 1.9 times as fast on two Zen 4 and Zen 5 cores, 2026-11",
    "amx_bf16": "1.3 to 2.9 times as fast on two cores of a Xeon of family 6, model 167, 2026-11",
    "bf16": "Arm's, not measured",
}
# Whatever draws a mask, by its public names.
DROPOUTS = (
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.AlphaDropout, nn.FeatureAlphaDropout),
)


@dataclass(frozen=True)
class Choice:
    """A recipe with nothing left to choose, and the measurement that it follows, with the key it is
    kept under; None where nothing was measured."""

    recipe: Recipe
    measurement: Measurement | None = None
    key: str = ""


def choose(
    recipe: Recipe,
    model: nn.Module,
    batch: Batch,
    loss: Loss,
    emit: Emit,
    time_left: float = math.inf,
) -> Choice:
    """Decide ``precision``, ``memory_format`` and ``kernels`` of a recipe.

    ``batch`` is a real one, and ``loss`` gives its mean loss by what the network gave for it. What
    was measured is kept in the cache by machine, versions, network and shape. Each of three races,
    and the timing of layers in each format, ends after 6 seconds, quiet or not, but for the three
    quiet rounds that each candidate is to have, however long they are; where these do not fit into
    ``time_left`` seconds, nothing is timed. Raises BadArgument for a format that is not for this
    device, or wrong on this machine.
    """
    train = recipe.train
    check(train, batch.device)
    asked = (train.precision, train.memory_format, train.kernels)
    if "auto" not in asked:
        return Choice(recipe)
    batch = batch.first(train.micro_batch)
    shapes = tuple(tuple(one.shape) for one in batch.inputs.values())
    shape = shapes[0] if len(shapes) == 1 else shapes
    what = str(model), shape, str(batch.device), NEAR_ENOUGH, ROUNDS, FEWEST, PARTS
    key = measurements.key_of(asked, *what)
    found, sure = measurements.read(key), True
    if found is None:
        found, sure = _measure(recipe, model, batch, loss, emit, time_left)
        if sure and (problem := measurements.write(key, found)):
            emit(Notice(f"what was measured is not kept: {problem}", warning=True))
    emit(Notice(in_words(found, sure)))
    chosen = recipe.measured(**found.chosen._asdict())
    return Choice(chosen, found if sure else None, key if sure else "")


def check(train: Train, device: torch.device) -> None:
    """Raise BadArgument for a number format, or kernels, that are not for this device."""
    if train.precision not in ("auto", *devices.formats(device)):
        rule = f"is not for {device.type}, which trains in "
        rule += " or ".join(devices.formats(device))
        raise BadArgument("precision", train.precision, rule, "try auto")
    if device.type != "cpu" and train.kernels not in ("auto", "plain"):
        raise BadArgument("kernels", train.kernels, "are compiled for the CPU alone", "try auto")


def in_words(found: Measurement, sure: bool = True) -> str:
    """What was chosen and why, in one line."""
    precision, _, algorithms = found.chosen
    if not sure:
        why = "this machine is too busy to measure"
        if not found.seconds and found.quiet == 1.0:
            why = "the time budget is too short to measure"
        if found.chosen not in found.seconds:
            has = next((name for name in PRIOR if name in machine.features()), None)
            unit = f"has {has}" if has else "has no instructions for bfloat16"
            return f"{precision}, since the processor {unit}; {why}, and nothing is kept"
        return f"{precision}, as far as could be measured; {why} well, and nothing is kept"
    gain = found.gain()
    if precision != "float32" and gain is not None:
        return f"{precision}, {gain:.1f}x as fast as float32 here"
    plain = [s for one, s in found.seconds.items() if one.kernels == "plain"]
    gain = min(plain) / found.seconds[found.chosen] if plain else 1.0
    if algorithms != "plain" and gain >= 1.05:
        return f"{precision}, {gain:.1f}x as fast as PyTorch's own kernels here"
    return f"{precision}, which is fastest here"


def prior(recipe: Recipe, device: torch.device) -> Candidate:
    """The candidate to take where nothing can be measured, by what the processor can do: bfloat16
    where it has instructions for it, channels-last, fused kernels."""
    train, on_cpu = recipe.train, device.type == "cpu"
    fast = on_cpu and any(name in PRIOR for name in machine.features())
    fits = on_cpu and kernels.available() and train.memory_format != "contiguous"
    wanted = ("bfloat16" if fast else "float32", "channels_last", "fused" if fits else "plain")
    asked = (train.precision, train.memory_format, train.kernels)
    return Candidate(*(w if a == "auto" else a for a, w in zip(asked, wanted, strict=True)))


def _candidates(recipe: Recipe, device: torch.device) -> list[Candidate]:
    """What the recipe leaves open, all layers PyTorch's own; the kernels work on channels-last maps
    alone."""
    train = recipe.train
    precisions = [train.precision]
    if train.precision == "auto":
        precisions = list(devices.formats(device))
    formats = list(FORMATS) if train.memory_format == "auto" else [train.memory_format]
    found = []
    for precision in precisions:
        for memory_format in formats:
            computed = [train.kernels]
            if train.kernels == "auto":
                fits = device.type == "cpu" and memory_format == "channels_last"
                computed = ["fused", "plain"] if fits and kernels.available() else ["plain"]
            found += [Candidate(precision, memory_format, one) for one in computed]
    return found


@dataclass(frozen=True)
class _Runner:
    """A candidate's network, and the batch as it takes it."""

    network: nn.Module
    batch: Batch
    loss: Loss
    precision: str

    def __call__(self, images: int | None = None) -> None:
        _pass(self.network, self.batch.first(images), self.loss, self.precision)

    def gradient(self) -> Tensor:
        """That of a few images."""
        return _gradient(self.network, self.batch.first(FEW), self.loss, self.precision)


def _measure(
    recipe: Recipe, model: nn.Module, batch: Batch, loss: Loss, emit: Emit, time_left: float
) -> tuple[Measurement, bool]:
    """Time what the recipe leaves open; whether there was time, and the machine quiet enough, to
    tell.

    A few images tell what is wrong or far slower. The rest race, on more images where these few
    took no time; then the formats that are not far behind race again, with the layers that are
    better not computed as PyTorch does it. That is left out where the prior had no quiet moment.
    """
    device, train, patience = batch.device, recipe.train, min(PATIENCE, time_left)
    names = _candidates(recipe, device)
    names.sort(key=prior(recipe, device).__ne__)  # it comes first
    emit(Progress("measure", len(names), None, "candidates"))
    gradients = _Check(model, batch, loss)
    began = time.perf_counter()
    outputs = _pass(gradients.plain, batch.first(FEW), loss, "float32")
    took = time.perf_counter() - began
    short = FEW if took < SLOW else FEWEST
    timed = len(names) * (1 + 3 * short / FEW) * took < time_left
    size = next(one for one in batch.inputs.values() if one.ndim == 4).shape
    right, wrong = gradients.right, gradients.wrong
    runners = right(names) if timed else next((one for n in names if (one := right([n]))), {})
    if not runners:
        rule = "computes wrong gradients on this machine"
        raise BadArgument("precision", names[0].precision, rule, "try float32")
    found = Measurement(
        recipe.model.name,
        dict(recipe.model.arguments),
        classes=outputs.shape[1] if isinstance(outputs, Tensor) else 0,
        shape=(size[0], size[1], size[2], size[3]),
        device=str(device),
        asked=(train.precision, train.memory_format, train.kernels),
        images=short,
        seconds={},
        wrong=tuple(wrong),
        chosen=next(iter(runners)),
        quiet=1.0,
        measured=measurements.today(),
        versions=machine.versions(),
    )
    if not timed:
        emit(Progress("measure", len(names), len(names), "candidates"))
        return found, False
    runs = {name: functools.partial(run, short) for name, run in runners.items()}
    first = race(runs, rounds=3, far=2 * FAR, limit=patience / 2)
    runners = {name: runners[name] for name in first.racing}
    best = min((first.timings[name].best for name in first.racing), default=LONG)
    images = min(len(batch), max(short, int(short * LONG / max(best, 1e-9))))
    heat = _raced(runners, images, patience) if images > short else first
    final, told = heat, heat.seconds().get(found.chosen, 0.0) is not None
    if told and train.kernels == "auto" and any(name.kernels == "fused" for name in runners):
        runners = {name: runners[name] for name in heat.racing}
        for precision in dict.fromkeys(
            n.precision for n in runners if n.memory_format == "channels_last"
        ):
            algorithms = autotune.plan(model, batch.inputs, emit, DTYPES[precision], patience)
            if algorithms != "fused":
                runners |= right([Candidate(precision, "channels_last", algorithms)])
        if len(runners) > len(heat.racing):
            emit(Progress("measure", len(runners), None, "candidates"))
            final = _raced(runners, images, patience)
    emit(Progress("measure", len(names), len(names), "candidates"))
    sure = first.sure and heat.sure and final.sure
    seconds = {**heat.seconds(), **final.seconds()}
    known = {name: s for name, s in seconds.items() if s is not None}
    chosen = _pick(known) if sure or found.chosen in known else found.chosen
    return replace(
        found, images=images, seconds=known, wrong=tuple(wrong), chosen=chosen, quiet=final.quiet
    ), sure


class _Check:
    """Which candidates compute the gradient that float32 has on a few images, and which are
    ``wrong``."""

    def __init__(self, model: nn.Module, batch: Batch, loss: Loss) -> None:
        self.model, self.batch, self.loss = model, batch, loss
        self.plain = copy.deepcopy(model).train()
        self.expected = _gradient(self.plain, batch.first(FEW), loss, "float32")
        self.wrong: list[Candidate] = []

    def right(self, names: Iterable[Candidate]) -> dict[Candidate, _Runner]:
        """Those that are right, ready to run; in bfloat16, where rounding the weights alone leads
        far away, those that are right in float32."""
        found = {}
        for name in names:
            runner = _runner(name, self.model, self.batch, self.loss)
            good = self._near(runner.gradient(), name.precision)
            if not good and name.precision == "bfloat16" and self._blurred:
                exact = name._replace(precision="float32")
                twin = _runner(exact, self.model, self.batch, self.loss)
                good = self._near(twin.gradient(), "float32")
            if good:
                found[name] = runner
            else:
                self.wrong.append(name)
        return found

    def _near(self, gradient: Tensor, precision: str) -> bool:
        bound = NEAR_ENOUGH[precision] * self.expected.norm().clamp_min(1e-12)
        return bool((gradient - self.expected).norm() < bound)

    @functools.cached_property
    def _blurred(self) -> bool:
        """Whether rounding the weights to bfloat16 alone moves the gradient too far to tell."""
        few, rounded = self.batch.first(FEW), _rounded(self.plain)
        return not self._near(_gradient(rounded, few, self.loss, "float32"), "bfloat16")


def _runner(one: Candidate, model: nn.Module, batch: Batch, loss: Loss) -> _Runner:
    layout = FORMATS[one.memory_format]
    twin = copy.deepcopy(model).to(memory_format=layout).train()
    twin = engine(twin, one.kernels, one.precision)
    return _Runner(twin, batch.laid_out(layout), loss, one.precision)


def _rounded(model: nn.Module) -> nn.Module:
    """The network with its weights rounded to bfloat16."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for weight in twin.parameters():
            if weight.is_floating_point():
                weight.copy_(weight.bfloat16())
    return twin


def _raced(runners: dict[Candidate, _Runner], images: int, limit: float) -> Race[Candidate]:
    """The candidates against each other, on so many images."""
    for run in runners.values():
        run(images)  # warms up
    runs = {name: functools.partial(run, images) for name, run in runners.items()}
    return race(runs, rounds=ROUNDS, far=FAR, limit=limit)


def _pick(seconds: dict[Candidate, float]) -> Candidate:
    """The fastest; TF32 or bfloat16 only where it is well worth its rounding."""
    exact = [name for name in seconds if name.precision == "float32"]
    best = min(seconds, key=seconds.__getitem__)
    if exact and best not in exact:
        best32 = min(exact, key=seconds.__getitem__)
        best = best if seconds[best] * WORTH_IT < seconds[best32] else best32
    return best


def _pass(model: nn.Module, batch: Batch, loss: Loss, precision: str) -> Any:
    """Run forward and backward once; what the network gave."""
    torch.manual_seed(0)
    model.zero_grad(set_to_none=True)
    with devices.arithmetic(batch.device, precision):
        with autocast(batch.device.type, precision):
            outputs = forward(model, batch.inputs)
        loss(outputs, batch).backward()  # type: ignore[no-untyped-call]
    devices.wait(batch.device)
    return outputs


def _gradient(model: nn.Module, batch: Batch, loss: Loss, precision: str) -> Tensor:
    """All gradients in one float64 vector, without dropout, whose masks depend on the memory
    format."""
    shares = [(m, m.p) for m in model.modules() if isinstance(m, DROPOUTS)]
    for module, _ in shares:
        module.p = 0.0
    _pass(model, batch, loss, precision)
    for module, share in shares:
        module.p = share
    found = [p.grad for p in model.parameters() if p.grad is not None]
    found = [torch.view_as_real(g) if g.is_complex() else g for g in found]
    return torch.cat([g.flatten() for g in found]).cpu().double()  # mps has no float64
