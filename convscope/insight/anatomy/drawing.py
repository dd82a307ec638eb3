"""A network drawn as SVG: each box as wide and deep as its map and as thick as its channels, shapes
on the lines between them, branches side by side, a residual as a line around."""

from __future__ import annotations

import html
import itertools
import math
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from convscope.formatting import plural
from convscope.insight.anatomy import folding, shapes
from convscope.insight.anatomy.layout import (
    INPUT,
    Box,
    Branches,
    Chain,
    Part,
    Tangle,
    Times,
    boxes_of,
    chain_of,
    folded,
    with_inputs,
)
from convscope.insight.anatomy.rows import Anatomy, Row
from convscope.insight.anatomy.strokes import OUT, RING, STYLE, Strokes, extent
from convscope.insight.anatomy.text import more

LETTER, BOLD = 6.3, 7.4  # pixels a letter of the labels takes, on average
IN = 16  # pixels of the line into a box
GAP, LANE, BUS = 26, 16, 14
WIDEST = 150  # pixels of the widest map
TALL, TALLEST = 2400, 3600  # pixels of height
LIKE = "Blocks that are built like one before them are one box."
GROUND = """
.net { color-scheme: light dark; color: #1d1e22; background: #fcfbf9; }
@media (prefers-color-scheme: dark) { .net { color: #e9e7e2; background: #15171a; } }
"""
SCALE = (
    "A box is as wide and deep as its map, by the square root, and as thick as its channels, by "
    "the logarithm; vectors are bars."
)
LEADS = "A box leads to its row. Where an edge is shaded, the picture goes on: scroll."
LEAST = 0.86  # as far as a page may shrink the picture to its column before it scrolls


class Size(NamedTuple):
    """What a part takes left and right of its line, and of height."""

    left: float
    right: float
    high: float


def svg(summary: Anatomy, links: str = "", whole: bool = False) -> str:
    """The picture as a file of its own; with ``links``, as a part of a page in whose table the
    rows have that name and their number as anchors.

    A picture that would be higher than ``TALL`` pixels has blocks folded that are built like one
    before; one that would still be higher than ``TALLEST`` the modules of a level. ``whole``:
    nothing is.
    """
    found = _Picture(summary, links)
    if whole or found.size.high <= TALL:
        return found.drawn()
    found = _Picture(folding.alike(summary, found.weight), links, LIKE)
    for level in range(folding.depth(summary) - 1, 0, -1):
        if found.size.high <= TALLEST:
            break
        said = f"A box is a module, {plural(level, 'level')} deep."
        found = _Picture(folding.to_level(summary, level), links, said)
    return found.drawn()


class _Picture(Strokes):
    """Measured first, then drawn from the top."""

    def __init__(self, summary: Anatomy, links: str, said: str = "") -> None:
        super().__init__()
        self.summary, self.links, self.said = summary, links, said
        self.rows = with_inputs(summary)
        several = len(self.rows) - len(summary.rows)
        parts = [0] * several + [row.parts for row in summary.rows]
        self.anchors = [0, *itertools.accumulate(parts)]  # the row of the table
        self.boxes = boxes_of(self.rows)
        self.chain: Chain = folded(chain_of(self.boxes), self.boxes, self.rows)
        self.notes = more(self.rows)
        self.image = summary.inputs[0] if summary.inputs else ()
        sides = [side for row in self.rows if row.size for side in row.size]
        self.scale = WIDEST / math.sqrt(max([*sides, *self.image[1:], 1]))
        self.size = self._measure(self.chain)

    def weight(self, path: str) -> int:
        """The boxes that are drawn of a module."""
        inside = f"{path}."
        return sum(all(self.rows[i].name.startswith(inside) for i in b.rows) for b in self.boxes)

    def drawn(self) -> str:
        size, head = self.size, self._slab(self.image, None)
        left, right = max(size.left, head.left) + 12, max(size.right, head.right + 120) + 12
        x, y = left, 12.0
        if len(self.rows) == len(self.summary.rows):
            y = self._image(x, y)
        self.top = y
        self._draw(self.chain, x, y)
        high = y + size.high + 12
        if self.said:
            lines = textwrap.wrap(self.said, max(30, int((left + right - 24) / LETTER)))
            for line in lines:
                high += 14
                self.parts.append(f'<text class="quiet" x="12" y="{high - 8:.1f}">{line}</text>')
            high += 4
        if self.summary.failure is not None:
            self.parts.append(
                f'<text class="name" x="{x + 8:.1f}" y="{high:.1f}">fails here: '
                f"{html.escape(self.summary.failure.module)}</text>"
            )
            high += 14
        wide = left + right
        said = html.escape(f"{self.summary.model}: {len(self.boxes)} boxes, from the input down")
        alone = "" if self.links else GROUND
        room = f' style="min-width: {LEAST * wide:.0f}px"' if self.links else ""
        role = "group" if self.links else "img"  # what has links in it is no single image
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="net" role="{role}"{room} '
            f'width="{wide:.0f}" height="{high:.0f}" viewBox="0 0 {wide:.0f} {high:.0f}">'
            f"<title>{said}</title>"
            f"<desc>{SCALE}</desc><style>{alone}{STYLE}</style>{''.join(self.parts)}</svg>"
        )

    # how large

    def _measure(self, chain: Chain) -> Size:
        sizes = [self._part(part) for part in chain]
        return Size(
            max([s.left for s in sizes], default=20),
            max([s.right for s in sizes], default=20),
            sum(s.high for s in sizes),
        )

    def _part(self, part: Part) -> Size:
        match part:
            case int():
                return self._box(self.boxes[part])
            case Branches():
                sizes = [self._measure(chain) for chain in part.chains]
                high = max(s.high for s in sizes) + 2 * BUS
                wide = sum(s.left + s.right for s in sizes) + GAP * (len(sizes) - 1)
                axis = self._axis(sizes)
                return Size(axis + (LANE + 10) * part.around, wide - axis, high)
            case Tangle():
                sizes = [self._box(self.boxes[n]) for n in part.boxes]
                lanes = len(set(self._lanes(part).values()))
                return Size(
                    max(s.left for s in sizes) + LANE * 0.6 * lanes + 14,
                    max(s.right for s in sizes),
                    sum(s.high for s in sizes) + BUS,
                )
            case Times():
                size = self._measure(part.parts)
                room = len(_tail(self._names(part)[-1])) + 3
                return Size(size.left, size.right + 24 + max(60, LETTER * room), size.high + 10)

    def _axis(self, sizes: Sequence[Size]) -> float:
        """Where the line of the trunk lies among branches: above the middle of their lines."""
        at, lines = 0.0, []
        for s in sizes:
            lines.append(at + s.left)
            at += s.left + s.right + GAP
        return (lines[0] + lines[-1]) / 2

    def _box(self, box: Box) -> Size:
        main = self._main(box)
        first, *others = (len(line) for line in self._lines(box))
        text = max([first * BOLD, *(n * LETTER for n in others)]) + 14
        lines = 14 * (1 + len(others))
        if main.join:
            right = max(RING + text, self._shape_room(box))
            return Size(RING + 4, right, IN + max(2 * RING, lines) + OUT)
        slab = self._slab(self._last(box).output_shape, self._last(box).size)
        return Size(
            slab.left + 4,
            max(slab.right + text, self._shape_room(box)),
            IN + max(slab.high, lines) + OUT,
        )

    def _shape_room(self, box: Box) -> float:
        return len(shapes.text(self._last(box).output_shape)) * LETTER + 14

    def _slab(self, shape: tuple[int, ...] | None, size: tuple[int, int] | None) -> Size:
        wide, deep, thick = extent(shape, size, self.scale)
        return Size(wide / 2 + deep * 0.3, wide / 2 + deep * 0.3, deep * 0.42 + thick)

    # what it says

    def _main(self, box: Box) -> Row:
        """The row that a box is named after."""
        rows = [self.rows[i] for i in box.rows]
        return next((r for r in rows if r.slides or r.multiply_adds or r.join), rows[0])

    def _last(self, box: Box) -> Row:
        return self.rows[box.rows[-1]]

    def _lines(self, box: Box) -> list[str]:
        main = self._main(box)
        rows = [self.rows[i] for i in box.rows]
        at = rows.index(main)
        before, after = (
            ", ".join(row.label for row in part) for part in (rows[:at], rows[at + 1 :])
        )
        lines = ["residual" if main.join == "residual" else main.label]
        for said in filter(None, main.note.split("; ") if main.parts > 1 else []):
            first, _, rest = said.partition(" ")
            lines.append(f"{first} {_short(rest, 29)}")
        lines += [f"after {before}"] * bool(before)
        lines += [f"then {after}" if before else after] * bool(after)
        return [*lines, *[_short(main.name, 34)] * (main.name != main.label)]

    # drawing

    def _draw(self, chain: Chain, x: float, y: float) -> float:
        for i, part in enumerate(chain):
            after = chain[i + 1] if i + 1 < len(chain) else None
            match part:
                case int():
                    y = self._draw_box(self.boxes[part], x, y)
                case Branches():
                    y = self._draw_branches(part, x, y, after)
                case Tangle():
                    y = self._draw_tangle(part, x, y)
                case Times():
                    y = self._draw_times(part, x, y)
        return y

    def _image(self, x: float, y: float) -> float:
        self._put_slab(x, y, extent(self.image, None, self.scale), "image")
        slab = self._slab(self.image, None)
        y += slab.high
        self._text(x + slab.right + 8, y - slab.high / 2 + 4, ["input"])
        said = " and ".join(map(shapes.text, self.summary.inputs))
        self._line(x, y, x, y + OUT)
        self._label(x, y, said)
        return y + OUT

    def _draw_box(self, box: Box, x: float, y: float, gap: float = 0) -> float:
        main, last = self._main(box), self._last(box)
        size = self._box(box)
        tip = [f"{self.rows[i].name}: {self.rows[i].kind}" for i in box.rows]
        tip += [f"{sum(self.rows[i].parameters for i in box.rows):,} parameters"]
        if main.multiply_adds:
            tip.append(f"{main.multiply_adds:,} multiply-adds")
        tip += [note for i in box.rows if (note := self.notes[i])]
        if last.sees:
            tip.append(f"a unit sees: {last.sees}")
        linked = self.links and main.kind != INPUT
        opened = f'<a href="#{self.links}{self.anchors[box.rows[0]]}">' if linked else "<g>"
        look = f' class="{main.join}"' if main.join else ""
        self.parts.append(f"{opened}<g{look}><title>{html.escape(chr(10).join(tip))}</title>")
        if main.kind != INPUT:
            self._line(x, y + gap, x, y + IN, tip="tip")
        top, body = y + IN, size.high - IN - OUT
        if main.join:
            self._ring(x, top + RING, main)
            self._text(x + RING + 8, top + body / 2, self._lines(box))
            bottom = top + 2 * RING
        else:
            slab = self._slab(last.output_shape, last.size)
            self._put_slab(x, top, extent(last.output_shape, last.size, self.scale), _colour(main))
            self._text(x + slab.right + 8, top + body / 2, self._lines(box))
            bottom = top + slab.high
        self.parts.append(f"</g>{'</a>' if linked else '</g>'}")
        self._line(x, bottom, x, y + size.high)
        self._label(x, top + body, shapes.text(last.output_shape))
        return y + size.high

    def _draw_branches(self, part: Branches, x: float, y: float, after: Part | None) -> float:
        sizes = [self._measure(chain) for chain in part.chains]
        high = max(s.high for s in sizes) + 2 * BUS
        at = x - self._axis(sizes)
        top, bottom = y + BUS, y + high - BUS
        for chain, size in zip(part.chains, sizes, strict=True):
            line = at + size.left
            if y > self.top or len(self.rows) == len(self.summary.rows):
                self._path([(x, y), (line, y), (line, top)], "line")
            ended = self._draw(chain, line, top)
            self._path([(line, ended), (line, bottom + BUS), (x, bottom + BUS)], "line")
            at += size.left + size.right + GAP
        if part.around:
            lane = x - self._axis(sizes) - 10
            joins = isinstance(after, int) and bool(self._main(self.boxes[after]).join)
            end = (x - RING, y + high + IN + RING) if joins else (x, y + high)
            self._path([(x, y), (lane, y), (lane, end[1]), end], "around")
            if joins:
                self._tip(end[0], end[1], "aroundtip", sideways=True)
        return y + high

    def _beside(self, part: Tangle) -> dict[int, list[int]]:
        """Box -> the boxes of a tangle that it reaches by a line around."""
        found: dict[int, list[int]] = {}
        before = -2
        for i, n in enumerate(part.boxes):
            for source in sorted(self.boxes[n].inputs):
                if self._main(self.boxes[n]).kind == INPUT:
                    continue
                if source != before and (i or source in part.boxes):
                    found.setdefault(source, []).append(n)
            before = n
        return found

    def _lanes(self, part: Tangle) -> dict[int, int]:
        """Box -> the lane of its line around, the nearest that is free."""
        place = {n: i for i, n in enumerate(part.boxes)}
        busy: list[int] = []  # where each lane is free again
        found: dict[int, int] = {}
        for source, ends in sorted(self._beside(part).items()):
            start = place.get(source, -1)
            lane = next((i for i, until in enumerate(busy) if until <= start), len(busy))
            busy[lane : lane + 1] = [max(place[end] for end in ends)]
            found[source] = lane
        return found

    def _draw_tangle(self, part: Tangle, x: float, y: float) -> float:
        inner = max(self._box(self.boxes[n]).left for n in part.boxes) + 10
        starts: dict[int, float] = {}
        tops: dict[int, float] = {}
        here, before = y, -2
        for i, n in enumerate(part.boxes):
            tops[n] = here
            fed = not i or before in self.boxes[n].inputs
            here = self._draw_box(self.boxes[n], x, here, gap=0 if fed else 8)
            starts[n], before = here, n
        self._line(x, here, x, here + BUS)
        lanes = self._lanes(part)
        for source, ends in self._beside(part).items():
            lane = x - inner - lanes[source] * LANE * 0.6
            start = starts.get(source, y)
            for end in ends:
                ring = bool(self._main(self.boxes[end]).join)
                to = (x - RING, tops[end] + IN + RING) if ring else (x, tops[end] + 8)
                self._path([(x, start), (lane, start), (lane, to[1]), to], "around")
                self._tip(to[0], to[1], "aroundtip", sideways=True)
        return here + BUS

    def _draw_times(self, part: Times, x: float, y: float) -> float:
        size = self._measure(part.parts)
        bottom = self._draw(part.parts, x, y + 5)
        self._line(x, y, x, y + 5)
        self._line(x, bottom, x, bottom + 5)
        at, middle = x + size.right + 6, (y + bottom) / 2
        first, *_, last = names = self._names(part)
        said = html.escape(f"alike from {first} to {last}")
        self.parts.append(
            f'<path class="times" d="M{at:.1f} {y + 8:.1f}h8V{bottom - 4:.1f}h-8"/>'
            f'<text class="name" x="{at + 14:.1f}" y="{middle:.1f}">{len(names)} times'
            f'<title>{said}</title></text><text class="quiet" x="{at + 14:.1f}" '
            f'y="{middle + 14:.1f}">to {html.escape(_tail(last))}</text>'
        )
        return bottom + 5

    def _names(self, part: Times) -> list[str]:
        """What is alike, each time: the module that holds it, or its first row."""
        found, each = [], len(part.boxes) // part.count
        for n in range(0, len(part.boxes), each):
            boxes = [self.boxes[m] for m in part.boxes[n : n + each]]
            paths = [self.rows[i].name.split(".") for box in boxes for i in box.rows]
            same = itertools.takewhile(
                lambda parts: len(set(parts)) == 1, zip(*paths, strict=False)
            )
            found.append(".".join(one for one, *_ in same) or self._main(boxes[0]).name)
        return found


def _colour(row: Row) -> str:
    if row.kind == INPUT:
        return "image"
    if row.slides and row.multiply_adds:
        return "conv"
    if row.multiply_adds:
        return "sum"
    return "pool" if row.slides or "pool" in row.label else "other"


def _tail(name: str) -> str:
    """The end of a name that says which one it is: ``encoder_layer_11``, ``layer1.2``."""
    parts = name.split(".")
    first = next((i for i in range(len(parts) - 1, 0, -1) if not parts[i].isdigit()), 0)
    return _short(".".join(parts[first:]), 20)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"…{text[1 - most :]}"
