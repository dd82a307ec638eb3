"""The fastest way to compute each convolution and linear layer of a network on this machine, found
by timing it, and kept by its shape."""

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
from convscope.engine import convolution, linear, measurements
from convscope.engine.convolution import PARTS
from convscope.engine.timing import race
from convscope.engine.untouched import untouched
from convscope.errors import ConvscopeError
from convscope.events import Emit, Notice, Progress

ROUNDS = 9  # quiet rounds a way, after one to warm up
LONG_ENOUGH = 0.05  # seconds of them after which a way's best time stands
SHORTEST = 2e-4  # seconds of a round at least: the same again and again, if need be
PATIENCE = 0.6  # seconds that a part is timed at most, where others are at work
LIMIT = 8.0  # seconds of all layers, after which the rest is left to PyTorch
WORK = 1.5e9  # multiply-adds that are timed at most; a larger batch is timed in part
FAR = 1.5  # a way this much slower than the fastest leaves the race
CLEAR = 0.9  # another way than PyTorch's has to take less than this share of its time
WRONG = {  # relative distance from the float32 result beyond which a way is not taken
    torch.float32: 1e-3,
    torch.bfloat16: 2e-2,
}

Layer = nn.Conv2d | nn.Linear
Timings = dict[str, dict[str, float | None]]  # part -> way -> seconds, None where it is wrong


class Measured(NamedTuple):
    """Seconds of each way of each part of a layer, and whether the machine was quiet enough to tell
    them apart."""

    parts: Timings
    sure: bool


def plan(
    model: nn.Module,
    inputs: Tensor,
    emit: Emit,
    dtype: torch.dtype = torch.float32,
    limit: float | None = None,
) -> str:
    """The recipe's ``kernels`` for a network and a batch: 'fused', and of each layer that is better
    not computed as PyTorch does it, 'name=output,input,kernel' with a way for each part, where
    layers are computed in ``dtype``.

    What was measured of a shape is kept in the cache for every network that has it, for as long as
    :data:`convscope.engine.measurements.DAYS`. What others at work spoilt is PyTorch's own way,
    and not kept; after ``limit`` seconds, so is the rest.
    """
    cache = _cache()
    try:
        known = files.read_json(cache, ConvscopeError)
        known = known if isinstance(known, dict) else {}
    except ConvscopeError:
        known = {}
    found, fresh, began = ["fused"], False, time.perf_counter()
    layers = shapes(model, inputs)
    for done, (name, (layer, shape, learns)) in enumerate(layers.items()):
        key = describe(layer, shape, learns)
        key += "" if dtype is torch.float32 else f" {str(dtype).removeprefix('torch.')}"
        table: Any = known.get(key)
        if not _right(table, _ways(layer, learns, dtype)):
            left = (LIMIT if limit is None else limit) - (time.perf_counter() - began)
            parts, sure = measure(layer, shape, learns, dtype, left)
            table = {"measured": measurements.today(), "parts": parts}
            if sure:
                known[key], fresh = table, True
        best = [fastest(table["parts"].get(part, {})) for part in PARTS]
        if any(way != "direct" for way in best):
            found.append(f"{name}={','.join(best)}")
        emit(Progress("measure", done + 1, len(layers), "layers"))
    if fresh and (problem := files.keep(cache, known)):
        emit(Notice(f"what was measured is not kept: {problem}", warning=True))
    return " ".join(found)


def forget() -> None:
    """Drop what is kept of this machine's layers, so that it is measured anew. Raises RunError."""
    files.remove(_cache())


def shapes(model: nn.Module, inputs: Tensor) -> dict[str, tuple[Layer, Any, bool]]:
    """Each convolution and linear layer by name, its input's shape, and whether that input needs a
    gradient."""
    seen: dict[str, tuple[Layer, Any, bool]] = {}
    twin = copy.deepcopy(model).train()

    def note(name: str, module: nn.Module, arguments: tuple[Tensor, ...], result: Any) -> None:
        assert isinstance(module, Layer)
        (x,) = arguments
        usual = x.dtype is torch.float32 and x.ndim == (4 if isinstance(module, nn.Conv2d) else 2)
        if usual and name not in seen:
            seen[name] = (module, tuple(x.shape), x.requires_grad)
        elif name in seen:  # used twice, with who knows what
            again.add(name)

    again: set[str] = set()
    handles = []
    for name, module in twin.named_modules():
        if untouched(module, nn.Conv2d) or linear.usual(module):
            handles.append(module.register_forward_hook(functools.partial(note, name)))
    twin(inputs)
    for handle in handles:
        handle.remove()
    return {name: found for name, found in seen.items() if name not in again}


def describe(layer: Layer, shape: tuple[int, ...], learns: bool) -> str:
    """A layer's shape in words: the key under which its timings are kept."""
    size = "x".join(map(str, shape))
    frozen = "" if layer.weight.requires_grad else " frozen"
    first = "" if learns else " first"
    if isinstance(layer, nn.Linear):
        words = f"{size} -> {layer.out_features}, linear"
    else:
        words = (
            f"{size} -> {layer.out_channels}, kernel {layer.kernel_size}, stride {layer.stride}, "
            f"padding {layer.padding}, dilation {layer.dilation}, groups {layer.groups}"
        )
    return f"{words}, bias {layer.bias is not None}{frozen}{first}"


def measure(
    layer: Layer,
    shape: tuple[int, ...],
    learns: bool,
    dtype: torch.dtype = torch.float32,
    limit: float = LIMIT,
) -> Measured:
    """Time each part of a layer in each way that suits it, against each other, within ``limit``
    seconds; every result is held against PyTorch's in float32."""
    layer = copy.deepcopy(layer)
    with torch.no_grad():
        y = _plain(layer, torch.zeros(1, *shape[1:]))
        images = max(1, round(shape[0] * share(layer, shape)))
        x, g = torch.randn(images, *shape[1:]), torch.randn(images, *y.shape[1:])
        x, g, weight = (_laid_out(t, dtype) for t in (x, g, layer.weight.detach()))
        bias = None if layer.bias is None else layer.bias.detach().to(dtype)

        def run(part: str, way: str) -> Tensor:
            return _part(layer, part, way, x, g, weight, bias)

        def right(part: str) -> Tensor:
            exact = (x.float(), g.float(), weight.float(), None if bias is None else bias.float())
            return _part(layer, part, "direct", *exact)

        found: Timings = {}
        sure, began = True, time.perf_counter()
        for part, ways in _ways(layer, learns, dtype).items():
            left = min(PATIENCE, limit - (time.perf_counter() - began))
            runs = {way: functools.partial(run, part, way) for way in ways}
            found[part], quiet = _race(runs, right(part), WRONG[dtype], left)
            sure = sure and quiet
        return Measured(found, sure)


def _ways(layer: Layer, learns: bool, dtype: torch.dtype) -> dict[str, list[str]]:
    """The ways that suit each part of a layer that is wanted."""
    wanted = {"output": True, "input": learns, "kernel": layer.weight.requires_grad}
    parts = [part for part in (PARTS if _simple(layer) else ()) if wanted[part]]
    if isinstance(layer, nn.Linear):
        return {part: list(linear.WAYS) for part in parts}
    return {
        part: [way for way in convolution.WAYS if convolution.suits(layer, part, way, dtype)]
        for part in parts
    }


def _plain(layer: Layer, x: Tensor) -> Tensor:
    """The layer's output as PyTorch computes it."""
    if isinstance(layer, nn.Linear):
        return nn.Linear.forward(layer, x)
    return nn.Conv2d.forward(layer, x)


def _laid_out(t: Tensor, dtype: torch.dtype) -> Tensor:
    layout = torch.channels_last if t.ndim == 4 else torch.contiguous_format
    return t.to(dtype).contiguous(memory_format=layout)


def _simple(layer: Layer) -> bool:
    padded = isinstance(layer, nn.Conv2d) and isinstance(layer.padding, str)
    return not padded and getattr(layer, "padding_mode", "zeros") == "zeros"


def _part(
    layer: Layer, part: str, way: str, x: Tensor, g: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """A part of a layer, computed in that way."""
    if isinstance(layer, nn.Linear):
        if part == "output":
            return linear.output(x, weight, bias, way)
        return linear.into(g, weight, way) if part == "input" else linear.kernel(g, x, way)
    stride, padding = (layer.stride[0], layer.stride[1]), layer.padding
    assert not isinstance(padding, str)
    around = (padding[0], padding[1])
    if part == "output" and way == "direct":
        return torch.conv2d(x, weight, bias, stride, around, layer.dilation, layer.groups)
    if part == "output":
        return convolution.output(x, weight, bias, stride, around, way)
    one = (part == "input", part == "kernel", False)
    found: Any
    if way == "direct":
        dilation, groups = layer.dilation, layer.groups
        found = torch.ops.aten.convolution_backward(
            g, x, weight, [0], stride, padding, dilation, False, [0, 0], groups, one
        )
    else:
        ways = (way, "direct") if part == "input" else ("direct", way)
        found = convolution.gradients(g, x, weight, stride, around, ways, one)
    result: Tensor = found[0] if part == "input" else found[1]
    return result


def multiply_adds(layer: Layer, shape: tuple[int, ...]) -> int:
    """Multiply-adds of a layer's forward pass over an input of that shape."""
    with torch.no_grad():
        y = _plain(layer, torch.zeros(1, *shape[1:]))
    return shape[0] * y.numel() * layer.weight[0].numel()


def share(layer: Layer, shape: tuple[int, ...]) -> float:
    """The share of a batch that is timed, so that no run takes long."""
    return min(1.0, max(2, int(WORK * shape[0] / multiply_adds(layer, shape))) / shape[0])


def _race(
    ways: Mapping[str, Callable[[], Tensor]], right: Tensor, wrong: float, limit: float
) -> tuple[dict[str, float | None], bool]:
    """Seconds of each way, None of one that is wrong or was never quiet, and whether all were
    quiet."""
    times: dict[str, float | None] = dict.fromkeys(ways)
    racing: dict[str, Callable[[], object]] = {}
    took = math.inf
    for way, run in ways.items():
        distance = (run() - right).norm() / right.norm().clamp_min(1e-12)  # and the warm-up
        if distance < wrong:
            racing[way] = run
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
        {way: functools.partial(often, run) for way, run in racing.items()},
        rounds=ROUNDS,
        far=FAR,
        limit=limit,
        enough=LONG_ENOUGH,
    )
    for way, seconds in found.seconds().items():
        times[way] = None if seconds is None else seconds / count
    return times, found.sure


def fastest(ways: dict[str, float | None]) -> str:
    """The way to take: PyTorch's own unless another is clearly faster.

    >>> fastest({"direct": 1.0, "winograd": 0.97}), fastest({"direct": 1.0, "winograd": 0.8})
    ('direct', 'winograd')
    >>> fastest({"direct": 1.0, "matmul": None}), fastest({})
    ('direct', 'direct')
    """
    right = {way: seconds for way, seconds in ways.items() if seconds is not None}
    if not right:
        return "direct"
    best = min(right, key=right.__getitem__)
    return best if right[best] < CLEAR * right.get("direct", math.inf) else "direct"


def _right(table: Any, suitable: dict[str, list[str]]) -> bool:
    """Whether a table from the cache can be one that :func:`plan` keeps of these ways, and is
    young enough."""
    if not (isinstance(table, dict) and measurements.is_young(table.get("measured"))):
        return False
    parts = table.get("parts")
    return (
        isinstance(parts, dict)
        and all(isinstance(ways, dict) for ways in parts.values())
        and {part: list(ways) for part, ways in parts.items()} == suitable
        and all(isinstance(t, float | None) for ways in parts.values() for t in ways.values())
    )


def _cache() -> Path:
    """Where the timings of this machine's layers are kept."""
    parts = (machine.describe(), machine.versions())
    name = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    return files.cache_root() / "precision" / f"layers-{name}.json"
