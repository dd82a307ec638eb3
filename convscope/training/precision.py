"""Number format and memory format, chosen by timing this network on this machine once."""

from __future__ import annotations

import copy
import hashlib
import math
import time
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.dropout import _DropoutNd

from convscope import files, kernels, machine
from convscope.errors import BadArgument, ConvscopeError
from convscope.events import Emit, Notice
from convscope.recipe import Recipe
from convscope.training import branches, convolution, fusion, layers, linear

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
ROUNDS = 5  # timed forward and backward passes a candidate, after one to warm up
FEW = 16  # images that tell what is far slower or wrong
LONG = 0.5  # seconds of a pass beyond which fewer images are timed
FAR = 2.0  # a candidate this much slower than the fastest leaves the race
WORTH_IT = 1.15  # bfloat16 has to be this much faster than float32 to be taken
# The relative distance of a network's gradient from float32's beyond which a candidate counts as
# wrong. In bfloat16 rounding alone puts a ResNet-18 0.35 away (16 images, as initialised), and a
# wrong result about 1 or more; single layers are held to much less (layers.WRONG).
NEAR_ENOUGH = {"float32": 0.1, "bfloat16": 0.6}


def device_of(wanted: str) -> str:
    """The device to run on: ``auto`` is a GPU where torch sees one, else the CPU. Raises
    BadArgument."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError, NotImplementedError) as why:
        first = str(why).splitlines()[0]
        raise BadArgument("device", wanted, f"cannot be used here ({first})", "try cpu") from None
    return wanted


def autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """The context in which a forward pass runs in that precision; weights stay float32."""
    return torch.autocast(device, DTYPES[precision], enabled=precision != "float32")


def engine(model: nn.Module, ways: str, precision: str = "float32") -> nn.Module:
    """The network as it is run on this machine: over the same weights, with its passes over memory
    fused, its convolutions and linear layers computed as a recipe's ``kernels`` say in its
    ``precision``, and as PyTorch does in another one. ``plain`` is the network itself.

    >>> engine(nn.Sequential(nn.Conv2d(8, 8, 3)), "fused 0=matmul,direct,direct")[0].ways
    ('matmul', 'direct', 'direct')
    """
    if ways == "plain":
        return model
    twin = fusion.fuse(model)
    for module in twin.modules() if twin is not model else ():
        if convolution.usual(module):
            convolution.Planned.of(module)  # type: ignore[arg-type]
        elif linear.usual(module):
            linear.Dense.of(module)  # type: ignore[arg-type]
    for entry in ways.split():
        name, _, parts = entry.partition("=")
        if parts and twin is not model:
            layer = twin.get_submodule(name)
            output, into, kernel = parts.split(",")
            chosen = (output, into, kernel)
            if isinstance(layer, nn.Linear):
                linear.Dense.of(layer, chosen, DTYPES[precision])
            elif isinstance(layer, nn.Conv2d):
                convolution.Planned.of(layer, chosen, DTYPES[precision])
    if twin is not model:
        branches.join(twin)
        convolution.follow(twin)
    return twin


def choose(recipe: Recipe, model: nn.Module, inputs: Tensor, labels: Tensor, emit: Emit) -> Recipe:
    """The recipe with ``precision``, ``memory_format`` and ``kernels`` decided: as typed, else by
    measuring each convolution, and then this network, on this machine.

    ``inputs`` float 0..1 [B,C,H,W] and ``labels`` [B] are one real batch. Every candidate is
    checked against float32 before its speed counts. What was measured is kept in the cache by
    machine, versions, network and shape.
    """
    train = recipe.train
    if "auto" not in (train.precision, train.memory_format, train.kernels):
        return recipe
    inputs, labels = (t[: train.micro_batch or len(t)] for t in (inputs, labels))
    cache = files.cache_root() / "precision" / f"{_key(recipe, model, inputs)}.json"
    try:
        timings = _known(files.read_json(cache, ConvscopeError))
        origin = "measured before"
    except (ConvscopeError, ValueError):
        timings, origin = (
            _measure(_candidates(recipe, model, inputs, emit), model, inputs, labels),
            "",
        )
        try:
            files.write_json(cache, timings)
        except ConvscopeError as why:
            emit(Notice(f"what was measured is not kept: {why}", warning=True))
    precision, memory_format, ways = _pick(timings).split(maxsplit=2)
    table = ", ".join(
        f"{_short(key)} {'wrong or far slower' if t is None else f'{t * 1e3:.1f} ms'}"
        for key, t in timings.items()
    )
    emit(
        Notice(
            f"precision: {precision}, {memory_format}, {_short(ways)} kernels "
            f"({origin or 'measured now'}, a step: {table})"
        )
    )
    return recipe.measured(precision=precision, memory_format=memory_format, kernels=ways)


def _short(key: str) -> str:
    """A candidate without the names of its layers."""
    words = [word for word in key.split() if "=" not in word]
    return " ".join(words) + (" and chosen" if len(words) < len(key.split()) else "")


def _known(table: Any) -> dict[str, float | None]:
    """A table of timings from the cache. Raises ValueError where it is none."""
    if not isinstance(table, dict) or not any(isinstance(t, float) for t in table.values()):
        raise ValueError
    return table


def _pick(timings: dict[str, float | None]) -> str:
    """The fastest that is right; bfloat16 only where it is well worth its rounding."""
    right = {key: seconds for key, seconds in timings.items() if seconds is not None}
    exact = [key for key in right if key.startswith("float32")]
    best = min(right, key=right.__getitem__)
    if exact and best not in exact:
        best32 = min(exact, key=right.__getitem__)
        best = best if right[best] * WORTH_IT < right[best32] else best32
    return best


def _candidates(recipe: Recipe, model: nn.Module, inputs: Tensor, emit: Emit) -> list[str]:
    """Each 'precision memory_format kernels' that the recipe leaves open."""
    train = recipe.train
    precisions = list(DTYPES) if train.precision == "auto" else [train.precision]
    formats = list(FORMATS) if train.memory_format == "auto" else [train.memory_format]
    found = []
    for precision in precisions:
        for memory_format in formats:
            ways = [train.kernels]
            if train.kernels == "auto":
                compiled = inputs.device.type == "cpu" and kernels.available()
                ways = ["fused" if compiled else "plain"]
                if compiled and memory_format == "channels_last":
                    chosen = layers.plan(model, inputs, emit, DTYPES[precision])
                    ways = list(dict.fromkeys([chosen, "fused", "plain"]))
            found += [f"{precision} {memory_format} {way}" for way in ways]
    return found


def _measure(
    candidates: list[str], model: nn.Module, inputs: Tensor, labels: Tensor
) -> dict[str, float | None]:
    """Seconds a forward and backward pass of each candidate; None for one that is wrong or far
    slower.

    A few images tell what is far slower and what is wrong. The others run in turn and each keeps
    its best time, so that a machine that is busy for a moment slows all of them or none.
    """
    few, some = inputs[:FEW], labels[:FEW]
    expected = _gradient(copy.deepcopy(model).train(), few, some, "float32")
    timings: dict[str, float | None] = dict.fromkeys(candidates)
    racing: dict[str, tuple[nn.Module, Tensor, str]] = {}
    first: dict[str, float] = {}
    for key in candidates:
        precision, memory_format, ways = key.split(maxsplit=2)
        layout = FORMATS[memory_format]
        twin = engine(copy.deepcopy(model).to(memory_format=layout).train(), ways, precision)
        pixels = few.contiguous(memory_format=layout)
        distance = (
            _gradient(twin, pixels, some, precision) - expected
        ).norm() / expected.norm().clamp_min(1e-12)
        if distance < NEAR_ENOUGH[precision]:
            first[key] = _pass(twin, pixels, some, precision)
            racing[key] = (twin, inputs.contiguous(memory_format=layout), precision)
    if not racing:
        raise BadArgument(
            "precision",
            candidates[0].split()[0],
            "computes wrong gradients on this machine",
            "try float32",
        )
    least = min(first.values())
    racing = {k: r for k, r in racing.items() if first[k] < 2 * FAR * least}
    most = max(
        FEW, int(len(few) * LONG / max(least, 1e-9))
    )  # images of a pass that is not too long
    best = dict.fromkeys(racing, math.inf)
    for turn in range(ROUNDS + 1):
        for key, (twin, pixels, precision) in racing.items():
            taken = _pass(twin, pixels[:most], labels[:most], precision)
            best[key] = min(best[key], taken if turn else math.inf)  # the first warms up
        if turn:
            fastest = min(best.values())
            racing = {key: runner for key, runner in racing.items() if best[key] < FAR * fastest}
            if len(racing) == 1:
                break
    return timings | {key: s for key, s in best.items() if key in racing}


def _pass(model: nn.Module, inputs: Tensor, labels: Tensor, precision: str) -> float:
    """Run forward and backward once; the seconds it took."""
    torch.manual_seed(0)
    began = time.perf_counter()
    model.zero_grad(set_to_none=True)
    with autocast(inputs.device.type, precision):
        logits = model(inputs)
    loss = functional.cross_entropy(logits.float(), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    if inputs.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _gradient(model: nn.Module, inputs: Tensor, labels: Tensor, precision: str) -> Tensor:
    """All gradients in one float64 vector, without dropout, whose masks depend on the memory
    format."""
    shares = [(m, m.p) for m in model.modules() if isinstance(m, _DropoutNd | fusion.Drop)]
    for module, _ in shares:
        module.p = 0.0
    _pass(model, inputs, labels, precision)
    for module, share in shares:
        module.p = share
    found = [p.grad for p in model.parameters() if p.grad is not None]
    found = [torch.view_as_real(g) if g.is_complex() else g for g in found]
    return torch.cat([g.flatten() for g in found]).double()


def _key(recipe: Recipe, model: nn.Module, inputs: Tensor) -> str:
    asked = (recipe.train.precision, recipe.train.memory_format, recipe.train.kernels)
    parts = (
        machine.describe(),
        machine.versions(),
        str(model),
        tuple(inputs.shape),
        str(inputs.device),
    )
    return hashlib.sha256(repr((asked, parts, NEAR_ENOUGH)).encode()).hexdigest()[:16]
