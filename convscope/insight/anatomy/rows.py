"""A recorded forward pass -> rows: a layer or a function a row, what it takes and what it gives."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from convscope.formatting import plural
from convscope.insight.anatomy import shapes
from convscope.insight.anatomy.counting import multiply_adds, terms, unknown
from convscope.insight.anatomy.receptive_field import follow
from convscope.insight.anatomy.record import Failure, Frame, Op, Shape, Trace, Value
from convscope.insight.anatomy.steps import Step, of_pytorch, steps_of
from convscope.insight.receptive_field import ReceptiveField


@dataclass(frozen=True)
class Row:
    """One call of one layer, or of a function outside of any layer, for one image.

    ``output_shape`` is without the batch, None for a layer that is never called; ``multiply_adds``
    is None where an operator has no counting rule. ``why`` is the formula of the shape, ``work``
    that of the multiply-adds. ``activation_bytes`` are those of what it gives: 0 where that lies in
    the memory of its input. ``seen`` is what a unit sees of the image, None where that is not
    known or not of the image. ``inputs`` are the rows that it takes, -1 the input itself, -2 a
    second one; ``join`` is ``residual``, ``gate``, ``branches`` or ``concatenated``; ``slides``: it
    moves windows. ``label`` says what it is in words, ``size`` is that of its map, wherever rows
    and columns lie; ``parts`` are the rows that it stands for.
    """

    name: str
    kind: str
    output_shape: Shape | None
    parameters: int
    multiply_adds: int | None
    note: str = ""
    why: str = ""
    work: str = ""
    activation_bytes: int = 0
    seen: ReceptiveField | None = None
    varies: bool = False
    inputs: tuple[int, ...] = ()
    join: str = ""
    slides: bool = False
    label: str = ""
    size: tuple[int, int] | None = None
    parts: int = 1

    def as_json(self) -> dict[str, Any]:
        """The row as one object; the fields of the image a unit sees are [height, width]."""
        regular = self.seen is not None and not self.seen.whole
        axes = () if self.seen is None else (self.seen.height, self.seen.width)
        return {
            "name": self.name,
            "kind": self.kind,
            "output_shape": None if self.output_shape is None else list(self.output_shape),
            "why": self.why,
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "work": self.work,
            "activation_bytes": self.activation_bytes,
            "receptive_field": [axis.field for axis in axes] or None,
            "stride": [axis.stride for axis in axes] if regular else None,
            "centre": [axis.centre for axis in axes] if regular else None,
            "sees": self.sees,
            "inputs": list(self.inputs),
            "join": self.join or None,
            "note": self.note,
        }

    @property
    def sees(self) -> str:
        """What a unit sees in words: ``5x5``, ``whole image``, ``varies``, or nothing of it."""
        if self.varies:
            return "varies"
        if self.seen is None:
            return ""
        if self.seen.whole:
            return "whole image"
        return f"{self.seen.height.field}x{self.seen.width.field}"


def total(rows: Sequence[Row]) -> Row:
    """The sums over all rows, with the output shape of the last call.

    >>> total([Row("a", "Linear", (5,), 20, 15), Row("b", "Linear", (2,), 12, 10)])
    Row(name='total', kind='', output_shape=(2,), parameters=32, multiply_adds=25, note='', ...)
    """
    called = [row.output_shape for row in rows if row.output_shape is not None]
    unknown = sum(row.multiply_adds is None for row in rows)
    return Row(
        name="total",
        kind="",
        output_shape=called[-1] if called else None,
        parameters=sum(row.parameters for row in rows),
        multiply_adds=sum(row.multiply_adds or 0 for row in rows),
        note=f"without {plural(unknown, 'row')} that cannot be counted" if unknown else "",
        activation_bytes=sum(row.activation_bytes for row in rows),
    )


@dataclass(frozen=True)
class Anatomy:
    """The rows of a network for one image, in the order of the calls, and what is to be said of
    them.

    ``failure`` says where the network failed, if it did: the rows are those up to there.
    ``inputs`` are the shapes it got, ``kinds`` the class of each module by its path.
    """

    model: str
    inputs: tuple[Shape, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    failure: Failure | None = None
    kinds: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> Row:
        """The sums over all rows."""
        return total(self.rows)

    @property
    def unused(self) -> int:
        """Parameters that no call used, such as those of an auxiliary head."""
        return sum(row.parameters for row in self.rows if row.output_shape is None)

    def as_json(self) -> dict[str, Any]:
        """What ``convscope summary --json`` prints."""
        sums = self.total
        return {
            "model": self.model,
            "inputs": [list(shape) for shape in self.inputs],
            "rows": [row.as_json() for row in self.rows],
            "total": {
                "parameters": sums.parameters,
                "unused_parameters": self.unused,
                "multiply_adds": sums.multiply_adds,
                "uncounted_rows": sum(row.multiply_adds is None for row in self.rows),
                "activation_bytes": sums.activation_bytes,
                "output_shape": None if sums.output_shape is None else list(sums.output_shape),
            },
            "notes": list(self.notes),
            "failure": None
            if self.failure is None
            else {**vars(self.failure), "shapes": [list(s) for s in self.failure.shapes]},
        }


def in_order(inputs: Iterable[int]) -> tuple[int, ...]:
    """What a row takes: the inputs, the first of them first, then rows."""
    return tuple(sorted(inputs, key=lambda i: (i >= 0, abs(i))))


def taken(rows: Sequence[Row], i: int) -> str:
    """The name of what a row takes: that of a row, or ``input``, ``input 2``."""
    return rows[i].name if i >= 0 else f"input {-i}" if i < -1 else "input"


def rows_of(trace: Trace, batch: bool = True) -> list[Row]:
    """The rows of a trace in the order of the calls; parameters that no call used come last.

    ``batch``: the first axis of every output is a batch of one, and is left out.
    """
    steps, fields = steps_of(trace), follow(trace)
    reach: list[set[int]] = []  # of each step: the steps that it depends on
    found: list[Row] = []
    owner: dict[str, str] = {}  # parameter -> the row that counted it
    for step in steps:
        reach.append(step.inputs.union(*(reach[i] for i in step.inputs if i >= 0)))
        out = step.outputs[0] if step.outputs else None
        if step.frame is not None and step.frame.failed:  # what its operators would have taken
            step.parameters |= _own(step.frame)
        parameters, notes = _counted(step, owner, trace)
        uncounted = sorted({why for op in step.ops if (why := unknown(op))})
        notes += [f"no counting rule for {', '.join(uncounted)}"] * bool(uncounted)
        join = _join(step, reach)
        unit = fields.get(out) if out is not None else None
        seen = None
        if unit is not None and not unit.varies:
            seen = ReceptiveField(step.name, step.kind, unit.height, unit.width, unit.whole)
        said = [text for op in step.ops if (text := shapes.label(op))]
        row = Row(
            name=step.name,
            kind=step.kind,
            output_shape=_shape(out, batch),
            parameters=parameters,
            multiply_adds=None if uncounted else sum(multiply_adds(op) or 0 for op in step.ops),
            note="; ".join(notes),
            why=_why(step, found, batch, join),
            work=_work(step.ops),
            activation_bytes=_bytes(step),
            seen=seen,
            varies=unit is not None and unit.varies,
            inputs=in_order(step.inputs),
            join=join,
            slides=any(shapes.slides(op) for op in step.ops),
            label=said[0] if len(said) == 1 else shapes.words(step.kind),
            size=None if unit is None else unit.size,
        )
        found.append(row)
    return found + _left(trace, owner)


def _counted(step: Step, owner: dict[str, str], trace: Trace) -> tuple[int, list[str]]:
    """The parameters that a step is the first to take, and what is to be said of the others."""
    known = [name for name in step.parameters if name in trace.sizes]
    new = [name for name in known if name not in owner]
    lenders = {owner[name] for name in known if name in owner} - {step.name}
    owner.update(dict.fromkeys(new, step.name))
    notes = []
    if step.frame is not None:
        notes += ["called again"] * step.frame.again + ["fails here"] * step.frame.failed
    notes += [f"shares the parameters of {lender}" for lender in sorted(lenders)]
    return sum(trace.sizes[name] for name in new), notes


def _own(frame: Frame) -> set[str]:
    """The names of all parameters within a layer."""
    named = frame.module.named_parameters() if frame.module is not None else ()
    return {f"{frame.name}.{key}".lstrip(".") for key, _ in named}


def _left(trace: Trace, owner: dict[str, str]) -> list[Row]:
    """A row for each module whose parameters no call used."""
    called = {frame.module for frame in (trace.root, *_frames(trace.root))}
    found = []
    for module, name in trace.names.items():
        keys = [f"{name}.{key}".lstrip(".") for key, _ in module.named_parameters(recurse=False)]
        own = [key for key in keys if key in trace.sizes and key not in owner]
        if own:
            owner.update(dict.fromkeys(own, name))
            kind = type(module).__name__
            note = "parameters that no row takes" if module in called else "never called"
            note = note if trace.failure is None else "not reached"
            size = sum(trace.sizes[key] for key in own)
            found.append(Row(name or kind, kind, None, size, 0, note))
    return found


def _frames(frame: Frame) -> Iterator[Frame]:
    for inner in frame.modules():
        yield inner
        yield from _frames(inner)


# what a row says


def _shape(value: Value | None, batch: bool) -> Shape | None:
    if value is None:
        return None
    shape = value.shape
    return shape[1:] if batch and value.image and shape[:1] == (1,) else shape


def _bytes(step: Step) -> int:
    """Of the tensors that a step gives, those that lie in memory of their own."""
    old: set[int] = set()
    new: set[int] = set()
    for op in step.ops:
        old |= {value.storage for value in op.inputs} - new
        new |= {value.storage for value in op.outputs} - old
    given = {value.storage: value.bytes for value in step.outputs if value.storage in new}
    return sum(given.values())


def _join(step: Step, reach: Sequence[set[int]]) -> str:
    """How branches meet in a step, if they do."""
    taken = step.inputs
    names = [op.name.strip("_") for op in step.ops if not op.viewing]
    if len(taken) < 2 or (step.frame is not None and of_pytorch(step.frame.module)):
        return ""
    if "cat" in names or "stack" in names:
        return "concatenated"
    around = any(one in reach[two] for two in taken if two >= 0 for one in taken if one != two)
    if any(name.startswith("add") and name not in ("addmm", "addmv") for name in names):
        return "residual" if around else "branches"
    if any(name.startswith("mul") for name in names):
        return "gate" if around else "branches"
    return ""


def _why(step: Step, before: Sequence[Row], batch: bool, join: str) -> str:
    """The formula of the shape, and what is joined."""
    path = step.name.rpartition(".")[0] + "."
    names = [taken(before, i).removeprefix(path) for i in in_order(step.inputs)]
    out = step.outputs[0].shape if step.outputs else ()
    formulas = [text for op in step.ops if (text := shapes.why(op))]
    if join == "concatenated":
        return f"{'; '.join(formulas)} of {', '.join(names)}"
    if join and not formulas:
        return (" * " if join == "gate" else " + ").join(
            names if join == "branches" else names[::-1]
        )
    first = _first(step)
    if step.kind.lower().removeprefix("parametrized") == "linear" and first and out:
        return f"{out[-1]} sums of {first[-1]} products"
    if not formulas and math.prod(first) == math.prod(out) and len(first) > len(out):
        return shapes.flattened(first[1:] if batch else first, out)
    same = first == out and not any(map(shapes.slides, step.ops))
    many = len(formulas) > 1 and any(" times " in text for text in formulas)  # such as an LSTM
    return "" if same or many else "; ".join(dict.fromkeys(formulas))


def _first(step: Step) -> Shape:
    """The shape of what a step takes, the first of several."""
    taken = step.frame.inputs if step.frame is not None else []
    taken = taken or [value for op in step.ops for value in op.inputs if value.image]
    return taken[0].shape if taken else ()


def _work(ops: Sequence[Op]) -> str:
    """The multiply-adds as factors, terms alike taken together."""
    found = Counter(text for op in ops if multiply_adds(op) and (text := terms(op)))
    return " + ".join(f"{n} * ({text})" if n > 1 else text for text, n in found.items())
