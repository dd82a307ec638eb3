"""A recorded forward pass -> its steps, each with the steps and the parameters that it takes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import nn

from convscope.insight.anatomy.counting import multiply_adds
from convscope.insight.anatomy.record import Frame, Op, Trace, Value

_COPIES = {"clone", "_to_copy", "contiguous", "detach", "alias", "lift_fresh", "_unsafe_view"}


@dataclass(eq=False)
class Step:
    """A call of a layer, or of a function outside of any, with the operators in it.

    ``frame`` is the layer's. ``inputs`` are the steps that it takes, -1 the input itself, -2 a
    second one; ``parameters`` those that it is the first or a later one to take.
    """

    name: str
    kind: str
    frame: Frame | None
    ops: list[Op]
    outputs: list[Value]
    inputs: set[int] = field(default_factory=set)
    parameters: set[str] = field(default_factory=set)


def steps_of(trace: Trace) -> list[Step]:
    """The steps of a trace, each with the steps and parameters that it takes."""
    steps: list[Step] = []
    makers: dict[Value, frozenset[int]] = {
        value: frozenset({-1 - n}) for n, value in enumerate(trace.inputs)
    }
    writers: dict[int, tuple[int, frozenset[int]]] = {}  # storage -> when it was changed, by whom
    made: dict[Value, int] = dict.fromkeys(trace.inputs, 0)
    held: dict[Value, frozenset[str]] = {}  # parameters that a tensor is made of, not yet counted
    clock = 0

    def maker(value: Value) -> frozenset[int]:
        """The steps that made a tensor, or changed it since."""
        when, writer = writers.get(value.storage, (-1, frozenset()))
        return writer if when > made.get(value, -1) else makers.get(value, frozenset())

    for step, ops in _called(trace, trace.root, ""):
        number = len(steps)
        if step is not None:
            steps.append(step)
            if not ops:  # such as dropout, which gives what it takes
                taken = step.frame.inputs if step.frame else []
                step.inputs.update(*map(maker, taken))
        for op in ops:
            clock += 1
            taken_from = frozenset().union(*map(maker, op.inputs))
            own = frozenset().union(*(held.get(v, v.parameters) for v in op.inputs))
            if step is not None:
                step.inputs |= taken_from - {number}
                step.parameters |= own
                taken_from, own = frozenset({number}), frozenset()
            for value in op.outputs:
                makers[value], made[value], held[value] = taken_from, clock, own
            for storage in op.written:
                writers[storage] = clock, taken_from
    return steps


def _called(trace: Trace, frame: Frame, path: str) -> Iterator[tuple[Step | None, list[Op]]]:
    """Every step with its operators, in order, and those between steps."""
    module = frame.module
    if module is not None and _is_layer(frame, trace):
        kind = type(module).__name__
        ops = list(frame.ops())
        yield Step(frame.name or kind, kind, frame, ops, frame.outputs), ops
        return
    numbers: Counter[str] = Counter()
    for part in frame.parts:
        if isinstance(part, Frame) and part.module is not None:
            yield from _called(trace, part, part.name)
            continue
        ops = [part] if isinstance(part, Op) else list(part.ops())
        if isinstance(part, Frame) and any(True for _ in part.modules()):
            yield from _called(trace, part, path)
            continue
        if not _counts(ops):
            yield None, ops
            continue
        kind = part.name.strip("_")
        n = numbers[kind]
        numbers[kind] += 1
        name = f"{path}.{kind}".lstrip(".") + (f"_{n}" if n else "")
        yield Step(name, kind, None, ops, ops[-1].outputs), ops


def _is_layer(frame: Frame, trace: Trace) -> bool:
    """Whether a module's call is one row: it calls no other module, and is PyTorch's own or does
    one thing; what a user's module multiplies and joins in several functions is a row for each."""
    if any(True for _ in frame.modules()):
        return False
    module = frame.module
    if of_pytorch(module):
        return not isinstance(module, nn.Sequential | nn.ModuleList) or bool(frame.parts)
    if frame is trace.root:
        return False
    works = [multiply_adds(op) != 0 for op in frame.ops()]
    joins = any(
        len({value for value in op.inputs if value.image}) > 1
        for op, work in zip(frame.ops(), works, strict=True)
        if not work
    )
    return sum(works) <= (0 if joins else 1) and not frame.failed


def of_pytorch(module: nn.Module | None) -> bool:
    """Whether a module is of a class of ``torch.nn``."""
    return type(module).__module__.startswith("torch.nn.")


def _counts(ops: Sequence[Op]) -> bool:
    """Whether a function outside of layers is worth a row: it makes new values of the image's, or a
    vector of maps."""
    if any(multiply_adds(op) != 0 for op in ops):
        return True
    if not any(value.image for op in ops for value in op.inputs):
        return False
    if any(_changes(op) for op in ops):
        return True
    before = next(value.shape for op in ops for value in op.inputs if value.image)
    after = ops[-1].outputs[0].shape if ops[-1].outputs else ()
    return len(after) == 2 < len(before) and math.prod(after) == math.prod(before)


def _changes(op: Op) -> bool:
    """Whether an operator makes other values of the image's than it takes."""
    if op.name == "constant_pad_nd" and not any(op["pad"]):
        return False
    takes = any(value.image for value in op.inputs) and any(value.image for value in op.outputs)
    return takes and not op.viewing and op.name not in _COPIES
