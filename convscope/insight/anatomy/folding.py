"""Rows of a summary as one: the modules of a level, and blocks that are built like one before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TypeVar

from convscope.errors import BadArgument
from convscope.insight.anatomy import shapes
from convscope.insight.anatomy.layout import look
from convscope.insight.anatomy.rows import Anatomy, Row, in_order, total

A = TypeVar("A", bound=Anatomy)
HOLDERS = ("Sequential", "ModuleList")  # are called what they hold


def to_level(summary: A, level: int) -> A:
    """One row for each module so many levels deep. Raises BadArgument for a level below 1."""
    if level < 1:
        raise BadArgument("level", level, "must be a whole number of at least 1", "try 2")
    return fold(summary, lambda name: ".".join(name.split(".")[:level]))


def depth(summary: Anatomy) -> int:
    """The deepest level there is."""
    return max((len(row.name.split(".")) for row in summary.rows), default=1)


def fold(summary: A, place: Callable[[str], str], like: Sequence[_Run] = ()) -> A:
    """The same with rows that follow each other in one ``place`` as one: their sums, what it gives
    and what its units see."""
    where: dict[int, int] = {}
    found: list[Row] = []
    runs = {run.place: run for run in like}
    for name, group in groupby(enumerate(summary.rows), lambda numbered: place(numbered[1].name)):
        members = list(group)
        where.update({i: len(found) for i, _ in members})
        taken = {where.get(j, j) for _, row in members for j in row.inputs} - {len(found)}
        rows = [row for _, row in members]
        last = rows[-1]
        if len(rows) == 1 and last.name == name:
            found.append(replace(last, inputs=in_order(taken)))
            continue
        sums, run = total(rows), runs.get(name)
        kind = summary.kinds.get(run.paths[0] if run else name, last.kind)
        holds = _holds(summary, run.paths[0] if run else name)
        said = [holds] * (kind not in HOLDERS) + ([f"like {run.block}"] if run else [])
        label = holds if holds and kind in HOLDERS else shapes.words(kind)
        if run and len(run.paths) > 1:
            label, said = f"{len(run.paths)} x {label}", said[-1:]
        found.append(
            replace(
                sums, name=name, kind=kind, seen=last.seen, varies=last.varies, size=last.size,
                inputs=in_order(taken), parts=sum(row.parts for row in rows), label=label,
                multiply_adds=None if sums.note else sums.multiply_adds,
                slides=any(row.slides and row.multiply_adds for row in rows),
                note="never called" if sums.output_shape is None else "; ".join(filter(None, said)),
            )
        )  # fmt: skip
    return replace(summary, rows=tuple(found))


def _holds(summary: Anatomy, name: str) -> str:
    """The modules right within one, where all are of a kind: ``6 x Bottleneck``."""
    inner = [path for path in summary.kinds if path and path.rpartition(".")[0] == name]
    kinds = Counter(shapes.words(summary.kinds[path]) for path in inner)
    return "".join(f"{n} x {kind}" for kind, n in kinds.items()) if len(kinds) == 1 else ""


# blocks that are alike


@dataclass(eq=False)
class _Node:
    """A module, or a row, by the parts of its name."""

    path: str
    rows: list[Row] = field(default_factory=list)  # all within
    inner: dict[str, _Node] = field(default_factory=dict)


@dataclass(eq=False)
class _Run:
    """Modules that follow each other and are built like a block."""

    block: str
    paths: list[str]

    @property
    def place(self) -> str:
        """Their name as one."""
        more = len(self.paths) > 1
        return self.paths[0] + (f" to {self.paths[-1].rpartition('.')[2]}" if more else "")


def alike(summary: A, weight: Callable[[str], int]) -> A:
    """The same with blocks that are built like a block before them, whatever their sizes, as one
    row, those that follow each other together; but for one that repeats the block right before it
    to the number.

    ``weight``: how many boxes are drawn of a module; one of few stays as it is.
    """
    root = _Node("")
    for row in summary.rows:
        node = root
        for part in row.name.split("."):
            node.rows.append(row)
            path = f"{node.path}.{part}".lstrip(".")
            node = node.inner.setdefault(part, _Node(path))
        node.rows.append(row)
    first: dict[object, str] = {}
    runs: list[_Run] = []

    def walk(node: _Node) -> None:
        before: list[object] = []
        run: _Run | None = None
        for one in node.inner.values():
            kind = summary.kinds.get(one.path, "")
            if not one.inner or weight(one.path) < (3 if kind in HOLDERS else 2):
                before, run = [], None
                continue
            block = first.get(_build(one, summary.kinds))
            looks = [look(row) for row in one.rows]
            again = looks == before
            if block is None or (again and run is None):
                first.setdefault(_build(one, summary.kinds), one.path)
                walk(one)
                run = None
            elif run is not None and run.block == block and kind not in HOLDERS:
                run.paths.append(one.path)
            else:
                run = _Run(block, [one.path])
                runs.append(run)
            before = looks

    walk(root)
    places = {path: run.place for run in runs for path in run.paths}

    def place(name: str) -> str:
        parts = name.split(".")
        paths = (".".join(parts[: n + 1]) for n in range(len(parts)))
        return next((places[path] for path in paths if path in places), name)

    return fold(summary, place, runs)


def _build(node: _Node, kinds: dict[str, str]) -> object:
    """What a module is made of, whatever its sizes, and how often what follows itself."""
    if not node.inner:
        return tuple((row.label, row.join) for row in node.rows)
    inner = [_build(one, kinds) for one in node.inner.values()]
    once = [one for i, one in enumerate(inner) if not i or one != inner[i - 1]]
    return kinds.get(node.path, ""), tuple(once)
