"""Where the time of a training step goes: by kind of work, each way, and by convolution."""

from __future__ import annotations

import copy
import functools
import operator
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity

from convscope import devices, machine
from convscope.data.loader import Batch, Loader, seed_of
from convscope.engine import autotune
from convscope.engine.fusion import FusedNormalise
from convscope.engine.tuned import ATEN
from convscope.engine.tuned_network import DTYPES
from convscope.errors import BadArgument
from convscope.recipe import Train
from convscope.training import loop, optim
from convscope.training.checkpoint import Position, State
from convscope.training.losses import losses_of
from convscope.training.optim import Optimizer

WARM = 3  # steps before the clock runs
STEP = "convscope: a training step"
KINDS = (
    "convolution",
    "linear",
    "normalisation",
    "pooling",
    "activation",
    "normalisation, activation and pooling in one",
    "dropout",
    "loss",
    "optimiser",
    "data",
    "other operators",
    "Python",
)
# The outermost operator on the stack that begins like one of these says what the time is spent on.
_NAMES = (
    (
        "convolution",
        ("aten::convolution", "aten::conv2d", "_Convolution", "_Heads", "ConvolutionBackward"),
    ),
    ("normalisation, activation and pooling in one", ("_Fused", "standardise")),
    (
        "linear",
        ("_Linear", "aten::linear", "aten::addmm", "AddmmBackward", "aten::matmul", "MmBackward"),
    ),
    (
        "normalisation",
        ("standardise", "aten::batch_norm", "NativeBatchNormBackward", "aten::layer_norm"),
    ),
    ("pooling", ("aten::max_pool", "MaxPool", "aten::avg_pool", "AvgPool", "aten::adaptive_")),
    ("activation", ("aten::relu", "ReluBackward", "aten::gelu", "GeluBackward", "aten::silu")),
    ("dropout", ("_Drop", "aten::dropout", "aten::bernoulli")),
    ("loss", ("aten::cross_entropy", "NllLoss", "LogSoftmax", "aten::log_softmax")),
    ("optimiser", ("optimiser",)),
)


@dataclass
class Profile:
    """Seconds a step: ``kinds`` by kind and direction ("forward", "backward"), ``convolutions`` a
    row a layer, ``step`` in all."""

    step: float
    images: int
    kinds: dict[str, dict[str, float]] = field(default_factory=dict)
    convolutions: list[dict[str, Any]] = field(default_factory=list)

    def table(self) -> str:
        """The profile in lines of text: a row a kind, then a row a convolution."""
        lines = [
            f"a step: {self.step * 1e3:.1f} ms, {self.images / self.step:,.0f} images/s",
            f"{'':46}forward  backward      ms      %",
        ]
        for row in self.as_json()["kinds"]:
            there, back = (1e3 * row[f"{way}_seconds"] for way in ("forward", "backward"))
            both = f"{there + back:6.2f}  {row['percent']:5.1f}"
            lines.append(f"{row['kind']:46}{there:7.2f}  {back:8.2f}  {both}")
        lines.append(
            "GFLOP/s of each convolution in training, and the same shape alone at its best:"
        )
        for row in self.convolutions:
            speeds = (
                f"{way} {_speed(row[f'{way}_gflops'])} of {_speed(row[f'{way}_gflops_alone'])}"
                for way in ("forward", "backward")
            )
            lines.append(
                f"{row['layer']}  {', '.join(speeds)}  ({row['shape'].split(', stride')[0]})"
            )
        return "\n".join(lines)

    def milliseconds(self) -> dict[str, float]:
        """Milliseconds of a step by kind."""
        return {kind: 1e3 * sum(ways.values()) for kind, ways in self.kinds.items()}

    def as_json(self) -> dict[str, Any]:
        """The same with the share of each kind."""
        rows = [
            {
                "kind": kind,
                "forward_seconds": ways["forward"],
                "backward_seconds": ways["backward"],
                "percent": 100 * (ways["forward"] + ways["backward"]) / self.step,
            }
            for kind, ways in self.kinds.items()
        ]
        return {
            "step_seconds": self.step,
            "images_per_second": self.images / self.step,
            "kinds": rows,
            "convolutions": self.convolutions,
        }


def profile(model: nn.Module, loader: Loader, train: Train, steps: int = 20) -> Profile:
    """Train a copy of the network for some real steps and take their time apart.

    What no operator accounts for is Python's; on a GPU, whose operators are counted by the time of
    their kernels there, it is the time that the GPU waits. The speed of each convolution stands
    beside what the same shape reaches alone on this machine, in the fastest way that the probe
    knows. Raises BadArgument on ``mps``, which does not tell what an operator takes.
    """
    device = torch.device(loader.device)
    refuse(device)
    twin = copy.deepcopy(model).train()
    state = State.of(twin, optim.optimizer(twin, train), train)
    sums = Position().sums(loader.device)
    _name_what_no_operator_does(twin, state.optimizer)
    batches, losses = _forever(loader), losses_of(loader, train)

    def run(step: int) -> tuple[Batch, float, float]:
        """A step; its batch, the seconds it took, and those of the batch."""
        began = time.perf_counter()
        batch = next(batches)
        got = time.perf_counter()
        at = max(step, 0)
        lr = optim.learning_rate(train, at, 2 * steps)
        loop.update(state, batch, train, losses, at, lr, seed_of(train.seed, 0, at), sums)
        devices.wait(device)
        return batch, time.perf_counter() - began, got - began

    clocks = _clocks(twin, device) if device.type == "cpu" else {}
    for step in range(-WARM, 0):
        run(step)
    for clock in clocks.values():
        clock.clear()
    timed = [run(step) for step in range(steps)]  # with the clocks alone
    if device.type != "cpu":  # which wait, elsewhere, for each layer
        clocks = _clocks(twin, device)
        for step in range(steps):
            run(step)
    with _recorder(device) as recorder:
        for step in range(steps, 2 * steps):
            with torch.profiler.record_function(STEP):
                batch, _, _ = run(step)
    whole = statistics.median(seconds for _, seconds, _ in timed)
    data = statistics.median(seconds for _, _, seconds in timed)
    images = sum(len(one) for one, _, _ in timed) // steps
    found = Profile(whole, images, _kinds(recorder, whole, data, device))
    inputs = batch.first(train.micro_batch).inputs
    found.convolutions = _convolutions(model, inputs, clocks, train.precision)
    return found


def refuse(device: str | torch.device) -> None:
    """Raise BadArgument for a device on which nobody can tell what time an operator takes."""
    if (kind := torch.device(device).type) == "mps":
        rule = f"takes a step apart on the CPU and on NVIDIA GPUs, not on {kind}"
        raise BadArgument("profile", True, rule, "leave it out, or train with device=cpu")


@contextmanager
def _recorder(device: torch.device) -> Iterator[Any]:
    """PyTorch's own profiler, at work; what it and its libraries say is dropped."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    recorder = torch.profiler.profile(activities=activities)
    with machine.muted():
        recorder.start()
    yield recorder
    with machine.muted():
        recorder.stop()


def _speed(gflops: float | None) -> str:
    return "-" if gflops is None else f"{gflops:.0f}"


def _forever(loader: Loader) -> Any:
    epoch = 0
    while True:
        yield from loader.epoch(epoch)
        epoch += 1


def _kinds(
    recorder: Any, whole: float, data: float, device: torch.device
) -> dict[str, dict[str, float]]:
    """Seconds a step by kind and direction, from the operators that no other operator called: the
    median over the steps, so that one which the machine held up counts as any other."""
    taken: dict[tuple[str, str], list[float]] = {}
    # On a GPU the backward pass has a thread of its own, and what the GPU does are events as well.
    events = [event for event in recorder.events() if event.device_type.name == "CPU"]
    steps = [event for event in events if event.name == STEP]
    tops = [event for event in events if event.cpu_parent is None]
    for number, step in enumerate(steps):
        for event in (*step.cpu_children, *_beside(step, tops)):
            for kind, backward, microseconds in _spent(event, None, False, _cost(device)):
                way = "backward" if backward else "forward"
                seconds = taken.setdefault((kind, way), [0.0] * len(steps))
                seconds[number] += microseconds / 1e6
    kinds = {kind: {"forward": 0.0, "backward": 0.0} for kind in KINDS}
    for (kind, way), each in taken.items():
        kinds[kind][way] = statistics.median(each)
    accounted = sum(sum(ways.values()) for ways in kinds.values())
    if device.type == "cuda":
        kinds["Python"]["forward"] = max(0.0, whole - accounted)
        return {kind: ways for kind, ways in kinds.items() if sum(ways.values()) > 0}
    loading = kinds["other operators"]["forward"]
    kinds["data"]["forward"] = data
    # The loader's operators have no name of their own: they are what is left of its time.
    kinds["other operators"]["forward"] = max(0.0, loading - data)
    kinds["Python"]["forward"] = max(0.0, whole - accounted - max(0.0, data - loading))
    return {kind: ways for kind, ways in kinds.items() if sum(ways.values()) > 0}


def _beside(step: Any, events: list[Any]) -> Iterator[Any]:
    """The operators of other threads that began within a step."""
    for event in events:
        within = step.time_range.start <= event.time_range.start <= step.time_range.end
        if within and event.thread != step.thread:
            yield event


def _cost(device: torch.device) -> Callable[[Any], float]:
    """Microseconds of an operator with all that it calls: those of its kernels on a GPU."""
    name = "device_time_total" if device.type == "cuda" else "cpu_time_total"
    return operator.attrgetter(name)


def _spent(
    event: Any, kind: str | None, backward: bool, cost: Callable[[Any], float]
) -> Iterator[tuple[str, bool, float]]:
    """(kind, whether backward, microseconds) of an operator and those it called."""
    backward = backward or "Backward" in event.name
    name = event.name.removeprefix("autograd::engine::evaluate_function: ")
    if kind is None:
        kind = next((k for k, names in _NAMES if name.startswith(names)), None)
    if kind is not None:
        yield kind, backward, cost(event)
        return
    inner = sum(map(cost, event.cpu_children))
    yield "other operators", backward, max(0.0, cost(event) - inner)
    for child in event.cpu_children:
        yield from _spent(child, None, backward, cost)


def _name_what_no_operator_does(model: nn.Module, optimizer: Optimizer) -> None:
    """Let the recorder see compiled kernels that run outside of PyTorch's operators."""

    def named(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*arguments: Any) -> Any:
            with torch.profiler.record_function(name):
                return work(*arguments)

        return recorded

    optimizer.step = named("optimiser", optimizer.step)  # type: ignore[method-assign]
    for module in model.modules():
        if isinstance(module, FusedNormalise):
            module.forward = named("standardise", module.forward)  # type: ignore[method-assign]


def _clocks(model: nn.Module, device: torch.device) -> dict[str, dict[str, float]]:
    """Seconds of each convolution, filled while the network trains: its forward pass, and from its
    output's gradient to its kernel's."""

    def now() -> float:
        devices.wait(device)
        return time.perf_counter()

    clocks: dict[str, dict[str, float]] = {}
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv2d) or not module.weight.requires_grad:
            continue
        clock = clocks.setdefault(name, {})
        began: dict[str, float] = {}

        def before(module: nn.Module, inputs: Any, began: dict[str, float]) -> None:
            began["forward"] = now()

        def after(
            module: nn.Module, inputs: Any, y: Tensor, began: dict[str, float], clock: Any
        ) -> None:
            _add(clock, "forward", now() - began["forward"])
            y.register_hook(functools.partial(note, began))  # type: ignore[no-untyped-call]

        def done(weight: Tensor, began: dict[str, float], clock: Any) -> None:
            if "backward" in began:  # not where another computes this layer, as Branches does
                _add(clock, "backward", now() - began.pop("backward"))

        def note(began: dict[str, float], gradient: Tensor) -> None:
            began["backward"] = now()

        module.register_forward_pre_hook(functools.partial(before, began=began))
        module.register_forward_hook(functools.partial(after, began=began, clock=clock))
        over = functools.partial(done, began=began, clock=clock)
        module.weight.register_post_accumulate_grad_hook(over)  # type: ignore[no-untyped-call]
    return clocks


def _add(clock: dict[str, float], way: str, seconds: float) -> None:
    clock[way] = clock.get(way, 0.0) + seconds
    clock[f"{way} passes"] = clock.get(f"{way} passes", 0) + 1


def _convolutions(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    clocks: dict[str, dict[str, float]],
    precision: str,
) -> list[dict[str, Any]]:
    """A row a convolution: its shape, and GFLOP/s in training and alone, forward and backward; what
    it reaches alone is measured on the CPU only."""
    rows = []
    here = next(iter(inputs.values())).device.type == "cpu"
    for name, (layer, shape, input_needs_grad) in autotune.shapes(model, inputs).items():
        clock = clocks.get(name, {})
        if not clock.get("forward passes"):  # a linear layer, or one that does not learn
            continue
        alone = (
            autotune.measure(layer, shape, input_needs_grad, DTYPES[precision]).parts
            if here
            else {}
        )
        layer.cpu()
        operations = 2 * autotune.multiply_adds(layer, shape)
        backward = operations * ((1 if input_needs_grad else 0) + 1)
        rows.append(
            {
                "layer": name,
                "shape": autotune.describe(layer, shape, input_needs_grad),
                "algorithms": ",".join(getattr(layer, "algorithms", ATEN)),
                "gflop": operations / 1e9,
                "forward_gflops": operations / (clock["forward"] / clock["forward passes"]) / 1e9,
                "forward_gflops_alone": _rate(
                    operations, autotune.share(layer, shape), alone, ["forward"]
                ),
                "backward_gflops": backward / (clock["backward"] / clock["backward passes"]) / 1e9,
                "backward_gflops_alone": _rate(
                    backward, autotune.share(layer, shape), alone, ["grad_input", "grad_weight"]
                ),
            }
        )
    return rows


def _rate(operations: float, share: float, alone: Any, parts: list[str]) -> float | None:
    """GFLOP/s of these parts in the fastest way each, which the share of the batch took."""
    timed = [[t for t in alone[p].values() if t is not None] for p in parts if p in alone]
    if not all(timed):  # others were at work
        return None
    seconds = [min(times) for times in timed]
    return operations * share / sum(seconds) / 1e9 if seconds else None
