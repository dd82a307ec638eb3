"""The fastest algorithm of each part of each convolution and linear layer of a network on this
machine, found by timing, and kept by the layer's shape."""

from __future__ import annotations

import copy
import functools
import hashlib
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from convscope import files, machine
from convscope.data.loader import forward
from convscope.engine import measurements
from convscope.engine.timing import race
from convscope.engine.tuned import PARTS, Operands, Tuned
from convscope.engine.tuned_network import KINDS
from convscope.engine.untouched import untouched
from convscope.errors import ConvscopeError
from convscope.evaluation.hooks import hooked
from convscope.events import Emit, Notice, Progress

ROUNDS = 9  # quiet rounds an algorithm, after one to warm up
LONG_ENOUGH = 0.05  # seconds of them after which an algorithm's best time stands
SHORTEST = 2e-4  # seconds of a round at least: the same again and again, if need be
PATIENCE = 0.6  # seconds that a part is timed at most, where others are at work
LIMIT = 8.0  # seconds of all layers, after which the rest is left to PyTorch
WORK = 1.5e9  # multiply-adds that are timed at most; a larger batch is timed in part
FAR = 1.5  # an algorithm this much slower than the fastest leaves the race
CLEAR = 0.9  # another algorithm than PyTorch's has to take less than this share of its time
WRONG = {  # relative distance from the float32 result beyond which an algorithm is not taken
    torch.float32: 1e-3,
    torch.bfloat16: 2e-2,
}

Layer = nn.Conv2d | nn.Linear
Timings = dict[str, dict[str, float | None]]  # part -> algorithm -> seconds, None where it is wrong


class Measured(NamedTuple):
    """Seconds of each algorithm of each part of a layer, and whether the machine was quiet enough
    to tell them apart."""

    parts: Timings
    sure: bool


def plan(
    model: nn.Module,
    inputs: Tensor | Mapping[str, Tensor],
    emit: Emit,
    dtype: torch.dtype = torch.float32,
    limit: float | None = None,
) -> str:
    """The recipe's ``kernels`` for a network and a batch: 'fused', and of each layer that is better
    not computed as PyTorch does it, 'name=forward,grad_input,grad_weight' with an algorithm for
    each part, where layers are computed in ``dtype``.

    What was measured of a shape is kept in the cache for every network that has it, for as long as
    :data:`convscope.engine.measurements.DAYS`. What others at work spoilt is left to PyTorch, and
    not kept; after ``limit`` seconds, so is the rest.
    """
    cache = _cache()
    try:
        known = files.read_json(cache, ConvscopeError)
        known = known if isinstance(known, dict) else {}
    except ConvscopeError:
        known = {}
    found, fresh, began = ["fused"], False, time.perf_counter()
    layers = shapes(model, inputs)
    for done, (name, (layer, shape, input_needs_grad)) in enumerate(layers.items()):
        key = describe(layer, shape, input_needs_grad)
        key += "" if dtype is torch.float32 else f" {str(dtype).removeprefix('torch.')}"
        table: Any = known.get(key)
        if not _right(table, _suitable(layer, input_needs_grad, dtype)):
            left = (LIMIT if limit is None else limit) - (time.perf_counter() - began)
            parts, sure = Measured({}, False)
            if left > 0:
                parts, sure = measure(layer, shape, input_needs_grad, dtype, left)
            table = {"measured": measurements.today(), "parts": parts}
            if sure:
                known[key], fresh = table, True
        best = [fastest(table["parts"].get(part, {})) for part in PARTS]
        if any(algorithm != "aten" for algorithm in best):
            found.append(f"{name}={','.join(best)}")
        emit(Progress("measure", done + 1, len(layers), "layers"))
    if fresh and (problem := files.keep(cache, known)):
        emit(Notice(f"what was measured is not kept: {problem}", warning=True))
    return " ".join(found)


def forget() -> None:
    """Drop what is kept of this machine's layers, so that it is measured anew. Raises RunError."""
    files.remove(_cache())


def shapes(
    model: nn.Module, inputs: Tensor | Mapping[str, Tensor]
) -> dict[str, tuple[Layer, Any, bool]]:
    """Each convolution and linear layer by name, its input's shape, and whether that input needs a
    gradient."""
    seen: dict[str, tuple[Layer, Any, bool]] = {}
    twin = copy.deepcopy(model).train()

    def note(name: str, module: Layer, arguments: tuple[Tensor, ...], result: Any) -> None:
        (x,) = arguments
        usual = x.dtype is torch.float32 and x.ndim == (4 if isinstance(module, nn.Conv2d) else 2)
        if usual and name not in seen:
            seen[name] = (module, tuple(x.shape), x.requires_grad)
        elif name in seen:  # used twice, with who knows what
            again.add(name)

    again: set[str] = set()
    kinds = (nn.Conv2d, nn.Linear)
    known = {k: m for k, m in twin.named_modules() if any(untouched(m, kind) for kind in kinds)}
    with hooked(known, note):
        forward(twin, inputs)
    return {name: found for name, found in seen.items() if name not in again}


def describe(layer: Layer, shape: tuple[int, ...], input_needs_grad: bool) -> str:
    """A layer's shape in words: the key under which its timings are kept."""
    size = "x".join(map(str, shape))
    frozen = "" if layer.weight.requires_grad else " frozen"
    first = "" if input_needs_grad else " first"
    words = f"{size} -> {_kind(layer).describe(layer)}"
    return f"{words}, bias {layer.bias is not None}{frozen}{first}"


def measure(
    layer: Layer,
    shape: tuple[int, ...],
    input_needs_grad: bool,
    dtype: torch.dtype = torch.float32,
    limit: float = LIMIT,
) -> Measured:
    """Time the algorithms that suit each part of a layer against each other, within ``limit``
    seconds; every result is held against PyTorch's in float32."""
    layer = copy.deepcopy(layer)
    with torch.no_grad():
        y = _plain(layer, torch.zeros(1, *shape[1:]))
        images = max(1, round(shape[0] * share(layer, shape)))
        x, g = torch.randn(images, *shape[1:]), torch.randn(images, *y.shape[1:])
        x, g, weight = (_laid_out(t, dtype) for t in (x, g, layer.weight.detach()))
        bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        given = Operands(x, g, weight, bias)
        exact = Operands(
            x.float(), g.float(), weight.float(), None if bias is None else bias.float()
        )
        run = functools.partial(_kind(layer).run, layer)
        found: Timings = {}
        sure, began = True, time.perf_counter()
        for part, algorithms in _suitable(layer, input_needs_grad, dtype).items():
            left = min(PATIENCE, limit - (time.perf_counter() - began))
            runs = {name: functools.partial(run, part, name, given) for name in algorithms}
            found[part], quiet = _race(runs, run(part, "aten", exact), WRONG[dtype], left)
            sure = sure and quiet
        return Measured(found, sure)


def _kind(layer: Layer) -> type[Tuned]:
    """The tuned kind of a layer, which may be an unusual one."""
    return next(kind for kind in KINDS if isinstance(layer, kind.stands_for))


def _suitable(layer: Layer, input_needs_grad: bool, dtype: torch.dtype) -> dict[str, list[str]]:
    """The algorithms that suit each part of a layer that is wanted."""
    wanted = dict(zip(PARTS, (True, input_needs_grad, layer.weight.requires_grad), strict=True))
    kind = _kind(layer)
    around = vars(layer).get("padding"), vars(layer).get("padding_mode", "zeros")
    if isinstance(around[0], str) or around[1] != "zeros":
        return {}  # PyTorch's own operators take neither
    return {
        part: [name for name in kind.ALGORITHMS if kind.suits(layer, part, name, dtype)]
        for part in PARTS
        if wanted[part]
    }


def _plain(layer: Layer, x: Tensor) -> Tensor:
    """The layer's output as PyTorch computes it."""
    y: Tensor = _kind(layer).stands_for.forward(layer, x)
    return y


def _laid_out(t: Tensor, dtype: torch.dtype) -> Tensor:
    layout = torch.channels_last if t.ndim == 4 else torch.contiguous_format
    return t.to(dtype).contiguous(memory_format=layout)


def multiply_adds(layer: Layer, shape: tuple[int, ...]) -> int:
    """Multiply-adds of a layer's forward pass over an input of that shape."""
    with torch.no_grad():
        y = _plain(layer, torch.zeros(1, *shape[1:]))
    return shape[0] * y.numel() * layer.weight[0].numel()


def share(layer: Layer, shape: tuple[int, ...]) -> float:
    """The share of a batch that is timed, so that no run takes long."""
    return min(1.0, max(2, int(WORK * shape[0] / multiply_adds(layer, shape))) / shape[0])


def _race(
    algorithms: Mapping[str, Callable[[], Tensor]], right: Tensor, wrong: float, limit: float
) -> tuple[dict[str, float | None], bool]:
    """Seconds of each algorithm, None of one that is wrong or was never quiet, and whether all were
    quiet."""
    times: dict[str, float | None] = dict.fromkeys(algorithms)
    racing: dict[str, Callable[[], object]] = {}
    took = math.inf
    for algorithm, run in algorithms.items():
        distance = (run() - right).norm() / right.norm().clamp_min(1e-12)  # and the warm-up
        if distance < wrong:
            racing[algorithm] = run
            began = time.perf_counter()
            run()
            took = min(took, time.perf_counter() - began)
    if len(racing) < 2:
        return times | dict.fromkeys(racing, took), True
    count = max(1, round(SHORTEST / took))

    def often(run: Callable[[], object]) -> None:
        for _ in range(count):
            run()

    found = race(
        {algorithm: functools.partial(often, run) for algorithm, run in racing.items()},
        rounds=ROUNDS,
        far=FAR,
        limit=limit,
        enough=LONG_ENOUGH,
    )
    for algorithm, seconds in found.seconds().items():
        times[algorithm] = None if seconds is None else seconds / count
    return times, found.sure


def fastest(algorithms: dict[str, float | None]) -> str:
    """The algorithm to take: PyTorch's own unless another is clearly faster.

    >>> fastest({"aten": 1.0, "winograd": 0.97}), fastest({"aten": 1.0, "winograd": 0.8})
    ('aten', 'winograd')
    >>> fastest({"aten": 1.0, "im2col": None}), fastest({})
    ('aten', 'aten')
    """
    right = {algorithm: seconds for algorithm, seconds in algorithms.items() if seconds is not None}
    if not right:
        return "aten"
    best = min(right, key=right.__getitem__)
    return best if right[best] < CLEAR * right.get("aten", math.inf) else "aten"


def _right(table: Any, suitable: dict[str, list[str]]) -> bool:
    """Whether a table from the cache can be one that :func:`plan` keeps of these algorithms, and is
    young enough."""
    if not (isinstance(table, dict) and measurements.is_young(table.get("measured"))):
        return False
    parts = table.get("parts")
    return (
        isinstance(parts, dict)
        and all(isinstance(algorithms, dict) for algorithms in parts.values())
        and {part: list(algorithms) for part, algorithms in parts.items()} == suitable
        and all(
            isinstance(t, float | None)
            for algorithms in parts.values()
            for t in algorithms.values()
        )
    )


def _cache() -> Path:
    """Where the timings of this machine's layers are kept."""
    parts = (machine.describe(), machine.versions())
    name = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    return files.cache_root() / "precision" / f"layers-{name}.json"
