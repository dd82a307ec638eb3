"""The rows of a summary as boxes that are drawn one below another, branches side by side.

A network is a chain of boxes as long as there is one way through it. Between two boxes that every
way passes, what lies between falls into branches, each a chain again; what does not is a tangle,
drawn in the order of the calls with a line around for each further way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from convscope.insight.anatomy.rows import Anatomy, Row, taken

FOLDED = 24  # more boxes than that, and parts that are alike, one after another, are drawn once
LEAST = 3  # boxes that this must save
INPUT = "input"  # the kind of a row that is one of several inputs


@dataclass(eq=False)
class Box:
    """A row, and those after it that work on each of its values alone."""

    rows: list[int]
    inputs: set[int] = field(default_factory=set)  # the boxes that it takes, -1 the input


@dataclass(eq=False)
class Branches:
    """Chains side by side; ``around``: a way past all of them, such as that of a residual."""

    chains: list[Chain]
    around: bool


@dataclass(eq=False)
class Tangle:
    """Boxes that no one box parts, in the order of the calls."""

    boxes: list[int]


@dataclass(eq=False)
class Times:
    """Parts that come several times, one after another; the boxes of all of them."""

    parts: Chain
    count: int
    boxes: list[int]


Part = int | Branches | Tangle | Times
Chain = list[Part]


def with_inputs(anatomy: Anatomy) -> Sequence[Row]:
    """The rows, and before them one for each of several inputs."""
    several = len(anatomy.inputs)
    if several < 2:
        return anatomy.rows
    names = [taken((), -1 - n) for n in range(several)]
    inputs = [
        Row(name, INPUT, shape, 0, 0, activation_bytes=1, inputs=(-1,), label=name)
        for name, shape in zip(names, anatomy.inputs, strict=True)
    ]
    moved = [
        replace(row, inputs=tuple(i + several if i >= 0 else -1 - i for i in row.inputs))
        for row in anatomy.rows
    ]
    return [*inputs, *moved]


def boxes_of(rows: Sequence[Row]) -> list[Box]:
    """The boxes that what depends on the input falls into."""
    takers: dict[int, set[int]] = {}
    seen = {-1}
    for i, row in enumerate(rows):
        if row.output_shape is not None and seen & set(row.inputs):
            seen.add(i)
            for before in row.inputs:
                takers.setdefault(before, set()).add(i)
    found: list[Box] = []
    home = {-1: -1}
    for i, row in enumerate(rows):
        inputs = set(row.inputs) & seen
        if i not in seen or _idle(i, rows, takers):
            continue
        before = next(iter(inputs)) if len(inputs) == 1 else -1
        at = home.get(before, -1)
        if at >= 0 and found[at].rows[-1] == before and _beside(i, before, rows, takers):
            found[at].rows.append(i)
            home[i] = at
        else:
            home[i] = len(found)
            found.append(Box([i], {home[j] for j in inputs if j in home}))
    return _forward(found, rows)


def _idle(i: int, rows: Sequence[Row], takers: dict[int, set[int]]) -> bool:
    """Whether a row gives what it takes, such as dropout; the last of all is drawn."""
    row = rows[i]
    quiet = not (row.activation_bytes or row.multiply_adds or row.parameters or row.slides)
    return quiet and i not in takers and any(set(row.inputs) & set(r.inputs) for r in rows[i + 1 :])


def _beside(i: int, before: int, rows: Sequence[Row], takers: dict[int, set[int]]) -> bool:
    """Whether a row belongs into the box of the one it takes."""
    row, source = rows[i], rows[before]
    alone = len({j for j in takers.get(before, set()) if not _idle(j, rows, takers)}) == 1
    works = bool(row.slides or row.multiply_adds != 0 or row.join)
    works |= bool(source.join) and "norm" in row.label  # which belongs to what comes next
    moved = not row.activation_bytes and row.size is not None and row.size == source.size
    same = row.output_shape == source.output_shape
    works |= source.kind == INPUT
    return alone and not works and (same or (moved and len(row.output_shape or ()) > 1))


def _forward(boxes: list[Box], rows: Sequence[Row]) -> list[Box]:
    """A normalisation that only one box takes belongs to that."""
    takers: dict[int, list[int]] = {}
    for n, box in enumerate(boxes):
        for before in box.inputs:
            takers.setdefault(before, []).append(n)
    gone: dict[int, int] = {}
    for n, box in enumerate(boxes):
        first = rows[box.rows[0]]
        plain = all(not (rows[i].slides or rows[i].multiply_adds or rows[i].join) for i in box.rows)
        after = takers.get(n, [])
        if not plain or len(after) != 1 or len(box.inputs) != 1 or not box.inputs - {-1}:
            continue
        taker = boxes[after[0]]
        source = rows[first.inputs[0]].output_shape
        keeps = all(rows[i].output_shape == source for i in box.rows)
        if keeps and taker.inputs == {n} and not rows[taker.rows[0]].join:
            taker.rows[:0] = box.rows
            taker.inputs = set(box.inputs)
            gone[n] = after[0]
            for before in box.inputs:
                takers[before] = [after[0] if m == n else m for m in takers[before]]
    kept = [n for n in range(len(boxes)) if n not in gone]
    place = {-1: -1, **{n: i for i, n in enumerate(kept)}}
    return [Box(boxes[n].rows, {place[m] for m in boxes[n].inputs if m in place}) for n in kept]


def chain_of(boxes: Sequence[Box]) -> Chain:
    """The boxes as a chain from the input to the end."""
    edges = {(before, n) for n, box in enumerate(boxes) for before in box.inputs}
    taken = {before for before, _ in edges}
    end = len(boxes)
    edges |= {(n, end) for n in range(end) if n not in taken}
    return _chain(list(range(end)), -1, end, edges)


def _chain(nodes: Sequence[int], entry: int, end: int, edges: Iterable[tuple[int, int]]) -> Chain:
    """What lies between two boxes, in the order of the calls."""
    inner = set(nodes)
    own = [
        (a, b) for a, b in edges
        if (a in inner or a == entry) and (b in inner or b == end) and (a, b) != (entry, end)
    ]  # fmt: skip
    order = {entry: 0, **{n: i + 1 for i, n in enumerate(nodes)}, end: len(nodes) + 1}
    passed = [0] * (len(nodes) + 3)
    for a, b in own:  # a box that an edge passes is not on every way
        passed[order[a] + 1] += 1
        passed[order[b]] -= 1
    found: Chain = []
    over, between, last = 0, [], entry
    for n in [*nodes, end]:
        over += passed[order[n]]
        if n != end and over:
            between.append(n)
            continue
        if between:
            found.append(_between(between, last, n, own, whole=(last, n) == (entry, end)))
        if n != end:
            found.append(n)
        between, last = [], n
    return found


def _between(
    nodes: list[int], entry: int, end: int, edges: list[tuple[int, int]], whole: bool
) -> Part:
    """The boxes between two that every way passes."""
    groups = _groups(nodes, edges)
    around = (entry, end) in edges
    if len(groups) == 1 and not around and whole:
        return Tangle(nodes)
    return Branches([_chain(group, entry, end, edges) for group in groups], around)


def _groups(nodes: list[int], edges: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The boxes by what hangs together."""
    leader = {n: n for n in nodes}

    def top(n: int) -> int:
        while leader[n] != n:
            leader[n] = leader[leader[n]]
            n = leader[n]
        return n

    for a, b in edges:
        if a in leader and b in leader:
            leader[top(b)] = top(a)
    found: dict[int, list[int]] = {}
    for n in nodes:
        found.setdefault(top(n), []).append(n)
    return list(found.values())


def folded(chain: Chain, boxes: Sequence[Box], rows: Sequence[Row]) -> Chain:
    """Parts that are alike and follow each other, as one, in a network of many boxes."""
    if len(boxes) <= FOLDED:
        return chain
    looks = [_look(part, boxes, rows) for part in chain]
    weights = [len(_inside(part)) for part in chain]
    found: Chain = []
    i = 0
    while i < len(chain):
        saved, length, count = _alike(looks, weights, i)
        if saved < LEAST or saved <= _alike(looks, weights, i + 1)[0]:
            found.append(chain[i])
            i += 1
            continue
        every = [n for part in chain[i : i + length * count] for n in _inside(part)]
        found.append(Times(chain[i : i + length], count, every))
        i += length * count
    return found


def _alike(looks: list[object], weights: list[int], i: int) -> tuple[int, int, int]:
    """The boxes saved by drawing once what follows itself from part ``i`` on; how many parts that
    is, and how many times they come."""
    best = (0, 1, 1)
    for length in range(1, (len(looks) - i) // 2 + 1):
        count = 1
        while looks[i : i + length] == looks[i + count * length : i + (count + 1) * length]:
            count += 1
        best = max(best, (sum(weights[i : i + length]) * (count - 1), length, count))
    return best


def _inside(part: Part) -> list[int]:
    if isinstance(part, int):
        return [part]
    if isinstance(part, Branches):
        return [n for chain in part.chains for inner in chain for n in _inside(inner)]
    return part.boxes


def _look(part: Part, boxes: Sequence[Box], rows: Sequence[Row]) -> object:
    """What is drawn of a part, but for its names."""
    if isinstance(part, int):
        return tuple(look(rows[i]) for i in boxes[part].rows)
    if isinstance(part, Branches):
        return part.around, tuple(
            tuple(_look(inner, boxes, rows) for inner in chain) for chain in part.chains
        )
    return tuple(_look(n, boxes, rows) for n in part.boxes)


def look(row: Row) -> object:
    """What is drawn of a row, but for its name."""
    return row.label, row.output_shape, row.parameters, row.multiply_adds, row.join
