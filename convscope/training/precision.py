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

from convscope import files, machine
from convscope.errors import BadArgument, ConvscopeError
from convscope.events import Emit, Notice
from convscope.recipe import Recipe, Train
from convscope.training import convolution, fusion, kernels, layers

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
ROUNDS = 5  # timed forward and backward passes a candidate, after one to warm up
FEW = 8  # images that tell what is far slower or wrong
LONG_ENOUGH = 2.0  # seconds of a candidate after which its best time stands
FAR = 2.0  # a candidate this much slower than the fastest leaves the race
WORTH_IT = 1.15  # bfloat16 has to be this much faster than float32 to be taken
NEAR_ENOUGH = (
    0.1  # relative distance of its gradient from float32's, beyond which a kernel counts as wrong
)


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


def engine(model: nn.Module, train: Train) -> nn.Module:
    """The network as it is run on this machine: over the same weights, with its passes over memory
    fused and its convolutions computed as the recipe's ``kernels`` say."""
    if train.kernels == "plain":
        return model
    twin = fusion.fuse(model)
    for entry in train.kernels.split():
        name, _, ways = entry.partition("=")
        if ways and twin is not model:
            layer = twin.get_submodule(name)
            output, into, kernel = ways.split(",")
            convolution.Planned.of(layer, (output, into, kernel))  # type: ignore[arg-type]
    return twin


def choose(recipe: Recipe, model: nn.Module, inputs: Tensor, labels: Tensor, emit: Emit) -> Recipe:
    """The recipe with ``precision``, ``memory_format`` and ``kernels`` decided: as typed, else by
    measuring each convolution, and then this network, on this machine.

    ``inputs`` float 0..1 [B,C,H,W] and ``labels`` [B] are one real batch. Every candidate is
    checked against float32 before its speed counts. What was measured is kept in the cache by
    machine, versions, network and shape.
    """
    train = recipe.train
    here = inputs.device.type == "cpu" and train.precision != "bfloat16"
    if train.kernels == "auto":
        plan = "plain"
        if here and train.memory_format != "contiguous" and kernels.available():
            plan = layers.plan(model, inputs[: train.micro_batch or None], emit)
        recipe = recipe.measured(kernels=plan)
        train = recipe.train
    if train.precision != "auto" and train.memory_format != "auto":
        return recipe
    cache = files.cache_root() / "precision" / f"{_key(recipe, model, inputs)}.json"
    try:
        timings = _known(files.read_json(cache, ConvscopeError))
        origin = "measured before"
    except (ConvscopeError, ValueError):
        timings, origin = _measure(recipe, model, inputs, labels), "measured now"
        try:
            files.write_json(cache, timings)
        except ConvscopeError as why:
            emit(Notice(f"what was measured is not kept: {why}", warning=True))
    precision, memory_format = _pick(timings)
    table = ", ".join(
        f"{key} {'wrong or far slower' if t is None else f'{t * 1e3:.1f} ms'}"
        for key, t in timings.items()
    )
    emit(Notice(f"precision: {precision}, {memory_format} ({origin}, a step: {table})"))
    return recipe.measured(precision=precision, memory_format=memory_format)


def _known(table: Any) -> dict[str, float | None]:
    """A table of timings from the cache. Raises ValueError where it is none."""
    if not isinstance(table, dict) or not any(isinstance(t, float) for t in table.values()):
        raise ValueError
    return table


def _pick(timings: dict[str, float | None]) -> tuple[str, str]:
    """The fastest that is right; bfloat16 only where it is well worth its rounding."""
    right = {key: seconds for key, seconds in timings.items() if seconds is not None}
    exact = [key for key in right if key.startswith("float32")]
    best = min(right, key=right.__getitem__)
    if exact and best not in exact:
        best32 = min(exact, key=right.__getitem__)
        best = best if right[best] * WORTH_IT < right[best32] else best32
    precision, memory_format = best.split()
    return precision, memory_format


def _measure(
    recipe: Recipe, model: nn.Module, inputs: Tensor, labels: Tensor
) -> dict[str, float | None]:
    """Seconds a forward and backward pass by 'precision memory_format'; None for one that is wrong
    or far slower.

    A few images tell what is far slower and what is wrong. The others run in turn and each keeps
    its best time, so that a machine that is busy for a moment slows all of them or none.
    """
    train = recipe.train
    precisions = list(DTYPES) if train.precision == "auto" else [train.precision]
    formats = list(FORMATS) if train.memory_format == "auto" else [train.memory_format]
    reference = copy.deepcopy(model).train()
    few, some = inputs[:FEW], labels[:FEW]
    _pass(reference, few, some, "float32")
    expected = _gradient(reference)
    timings: dict[str, float | None] = {}
    racing: dict[str, tuple[nn.Module, Tensor, str]] = {}
    first: dict[str, float] = {}
    for precision in precisions:
        for memory_format in formats:
            layout, key = FORMATS[memory_format], f"{precision} {memory_format}"
            twin = engine(copy.deepcopy(model).to(memory_format=layout).train(), train)
            _pass(twin, few.contiguous(memory_format=layout), some, precision)  # and the warm-up
            distance = (_gradient(twin) - expected).norm() / expected.norm().clamp_min(1e-12)
            timings[key] = None
            if distance < NEAR_ENOUGH:
                pixels = few.contiguous(memory_format=layout)
                first[key] = min(_pass(twin, pixels, some, precision) for _ in range(2))
                pixels = inputs.contiguous(memory_format=layout)
                racing[key] = (twin, pixels, precision)
    if not racing:
        raise BadArgument(
            "precision", train.precision, "computes wrong gradients on this machine", "try float32"
        )
    racing = {k: r for k, r in racing.items() if first[k] < 2 * FAR * min(first.values())}
    best = dict.fromkeys(racing, math.inf)
    for turn in range(ROUNDS + 1):
        for key, (twin, pixels, precision) in racing.items():
            taken = _pass(twin, pixels, labels, precision)
            best[key] = min(best[key], taken if turn else math.inf)  # the first warms up
        if turn == 0:
            continue
        fastest = min(best.values())
        racing = {key: runner for key, runner in racing.items() if best[key] < FAR * fastest}
        if len(racing) == 1 or fastest * turn > LONG_ENOUGH:
            break
    return timings | {key: best[key] for key in racing}


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


def _gradient(model: nn.Module) -> Tensor:
    """All gradients in one float64 vector."""
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).double()


def _key(recipe: Recipe, model: nn.Module, inputs: Tensor) -> str:
    asked = (recipe.train.precision, recipe.train.memory_format, recipe.train.kernels)
    parts = (
        machine.describe(),
        machine.versions(),
        str(model),
        tuple(inputs.shape),
        str(inputs.device),
    )
    return hashlib.sha256(repr((asked, parts)).encode()).hexdigest()[:16]
