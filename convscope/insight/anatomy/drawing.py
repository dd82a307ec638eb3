"""A network drawn as SVG: each box as wide and deep as its map and as thick as its channels, shapes
on the lines between them, branches side by side, a residual as a line around."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from convscope.insight.anatomy import shapes
from convscope.insight.anatomy.layout import (
    Box,
    Branches,
    Chain,
    Part,
    Tangle,
    Times,
    boxes_of,
    chain_of,
    folded,
)
from convscope.insight.anatomy.rows import Row
from convscope.insight.anatomy.telling import more

if TYPE_CHECKING:
    from convscope.insight.anatomy.summary import Summary

LETTER, BOLD = 6.3, 7.4  # pixels a letter of the labels takes, on average
IN, OUT = 16, 26  # the line into a box, and the one out of it, which bears the shape
RING = 11  # radius of the mark where branches meet
GAP, LANE, BUS = 26, 16, 14
WIDEST = 150  # pixels of the widest map
STYLE = """
.net { font: 12px system-ui, "Segoe UI", Roboto, sans-serif; }
.net text { fill: currentColor; }
.net .quiet { opacity: 0.66; font-size: 11px; }
.net .name { font-weight: 600; }
.net .line { fill: none; stroke: currentColor; stroke-opacity: 0.55; stroke-width: 1.3; }
.net .tip { fill: currentColor; fill-opacity: 0.7; stroke: none; }
.net .around { fill: none; stroke: #d55e00; stroke-width: 1.8; }
.net .aroundtip { fill: #d55e00; }
.net .ring { fill: none; stroke: currentColor; stroke-width: 1.5; }
.net .residual .ring { stroke: #d55e00; }
.net .sign { stroke: currentColor; stroke-width: 1.6; fill: none; }
.net .front { fill-opacity: 0.62; } .net .top { fill-opacity: 0.34; }
.net .side { fill-opacity: 0.8; }
.net .conv { fill: #2f86c4; } .net .pool { fill: #8d8f96; } .net .sum { fill: #d97a2b; }
.net .other { fill: #9a8fb5; } .net .image { fill: #4d9a6a; }
.net .edge { fill: none; stroke: currentColor; stroke-opacity: 0.35; stroke-width: 0.7; }
.net .times { fill: none; stroke: currentColor; stroke-opacity: 0.5; stroke-width: 1.2; }
.net a:hover .name, .net a:focus .name { text-decoration: underline; }
"""
GROUND = """
.net { color-scheme: light dark; color: #1d1e22; background: #fcfbf9; }
@media (prefers-color-scheme: dark) { .net { color: #e9e7e2; background: #15171a; } }
"""


SCALE = (
    "A box is as wide and deep as its map, by the square root, and as thick as its channels, by "
    "the logarithm; vectors are bars."
)


class Size(NamedTuple):
    """What a part takes left and right of its line, and of height."""

    left: float
    right: float
    high: float


def svg(summary: Summary, links: str = "") -> str:
    """The picture as a file of its own; with ``links``, as a part of a page in whose table the
    rows have that name and their number as anchors."""
    return _Picture(summary, links).drawn()


class _Picture:
    """Measured first, then drawn from the top."""

    def __init__(self, summary: Summary, links: str) -> None:
        self.summary, self.links = summary, links
        self.rows: Sequence[Row] = summary.rows
        self.boxes = boxes_of(self.rows)
        self.chain: Chain = folded(chain_of(self.boxes), self.boxes, self.rows)
        self.notes = more(self.rows)
        sides = [side for row in self.rows if row.size for side in row.size]
        image = summary.inputs[0] if summary.inputs else ()
        self.scale = WIDEST / math.sqrt(max([*sides, *image[1:], 1]))
        self.parts: list[str] = []

    def drawn(self) -> str:
        head = self._slab(self._image_shape(), None)
        size = self._measure(self.chain)
        left, right = max(size.left, head.left) + 12, max(size.right, head.right + 120) + 12
        x, y = left, 12.0
        y = self._image(x, y)
        self._draw(self.chain, x, y)
        high = y + size.high + 12
        if self.summary.failure is not None:
            self.parts.append(
                f'<text class="name" x="{x + 8:.1f}" y="{high:.1f}">fails here: '
                f"{html.escape(self.summary.failure.module)}</text>"
            )
            high += 14
        wide = left + right
        said = html.escape(f"{self.summary.model}: {len(self.boxes)} boxes, from the input down")
        alone = "" if self.links else f"{GROUND}"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="net" role="img" width="{wide:.0f}" '
            f'height="{high:.0f}" viewBox="0 0 {wide:.0f} {high:.0f}"><title>{said}</title>'
            f"<desc>{SCALE}</desc>"
            f"<style>{alone}{STYLE}</style>{''.join(self.parts)}</svg>"
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
                return Size(size.left, size.right + 84, size.high + 10)

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
        text = max(first * BOLD, *(n * LETTER for n in others)) + 14
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
        wide, deep, thick = self._extent(shape or (1,), size)
        return Size(wide / 2 + deep * 0.3, wide / 2 + deep * 0.3, deep * 0.42 + thick)

    def _extent(
        self, shape: tuple[int, ...], size: tuple[int, int] | None
    ) -> tuple[float, float, float]:
        """Width, depth and thickness of the slab of a tensor."""
        if size is None and len(shape) > 2:
            size = (shape[-2], shape[-1])
        if size is not None and size != (1, 1) and len(shape) > 1:
            channels = max(1, math.prod(shape) // math.prod(size))
            high, wide = (max(7.0, self.scale * math.sqrt(side)) for side in size)
            return wide, high, _thickness(channels)
        if len(shape) == 2:  # tokens, each a vector
            return max(16.0, 5 * math.sqrt(shape[0])), 6.0, _thickness(shape[1])
        return 12 + 11 * math.log2(max(2, math.prod(shape))), 5.0, 9.0

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
            ", ".join(_named(row) for row in part) for part in (rows[:at], rows[at + 1 :])
        )
        lines = ["residual" if main.join == "residual" else _named(main)]
        lines += [f"after {before}"] * bool(before)
        lines += [f"then {after}" if before else after] * bool(after)
        return [*lines, _short(main.name, 34)]

    def _image_shape(self) -> tuple[int, ...]:
        return self.summary.inputs[0] if self.summary.inputs else ()

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
        shape = self._image_shape()
        extent = self._extent(shape, None)
        self._put_slab(x, y, extent, "image")
        slab = self._slab(shape, None)
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
        opened = f'<a href="#{self.links}{box.rows[0]}">' if self.links else "<g>"
        look = f' class="{main.join}"' if main.join else ""
        self.parts.append(f"{opened}<g{look}><title>{html.escape(chr(10).join(tip))}</title>")
        self._line(x, y + gap, x, y + IN, tip="tip")
        top, body = y + IN, size.high - IN - OUT
        if main.join:
            self._ring(x, top + RING, main)
            self._text(x + RING + 8, top + body / 2, self._lines(box))
            bottom = top + 2 * RING
        else:
            extent = self._extent(last.output_shape or (1,), last.size)
            slab = self._slab(last.output_shape, last.size)
            self._put_slab(x, top, extent, _colour(main))
            self._text(x + slab.right + 8, top + body / 2, self._lines(box))
            bottom = top + slab.high
        self.parts.append(f"</g>{'</a>' if self.links else '</g>'}")
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
        at = x + size.right + 6
        self.parts.append(
            f'<path class="times" d="M{at:.1f} {y + 8:.1f}h8V{bottom - 4:.1f}h-8"/>'
            f'<text class="name" x="{at + 14:.1f}" y="{(y + bottom) / 2:.1f}">{part.count} '
            "times<title>"
            f"{html.escape(self._names(part))}</title></text>"
        )
        return bottom + 5

    def _names(self, part: Times) -> str:
        each = len(part.boxes) // part.count
        firsts = [self._main(self.boxes[n]).name for n in part.boxes[::each]]
        return "alike from " + ", ".join(firsts)

    # strokes

    def _put_slab(self, x: float, y: float, extent: tuple[float, float, float], look: str) -> None:
        """A slab whose top is seen from the front and above, centred on x."""
        wide, deep, thick = extent
        skew, back = deep * 0.3, deep * 0.42
        left, right = x - wide / 2 - skew / 2, x + wide / 2 - skew / 2
        top = [(left + skew, y), (right + skew, y), (right, y + back), (left, y + back)]
        side = [(right + skew, y), (right + skew, y + thick), (right, y + back + thick),
                (right, y + back)]  # fmt: skip
        front = [(left, y + back), (right, y + back), (right, y + back + thick),
                 (left, y + back + thick)]  # fmt: skip
        for name, points in (("top", top), ("side", side), ("front", front)):
            corners = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
            self.parts.append(f'<polygon class="{look} {name}" points="{corners}"/>')
            self.parts.append(f'<polygon class="edge" points="{corners}"/>')

    def _ring(self, x: float, y: float, row: Row) -> None:
        self.parts.append(f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="{RING}"/>')
        if row.join == "gate":
            d = "M-4 -4L4 4M-4 4L4 -4"
        elif row.join == "concatenated":
            d = "M-5 -3.5H5M-5 0H5M-5 3.5H5"
        else:
            d = "M-5 0H5M0 -5V5"
        self.parts.append(f'<path class="sign" d="{d}" transform="translate({x:.1f} {y:.1f})"/>')

    def _text(self, x: float, middle: float, lines: Sequence[str]) -> None:
        y = middle - 7 * (len(lines) - 1) + 4
        for i, line in enumerate(lines):
            look = "name" if i == 0 else "quiet"
            self.parts.append(
                f'<text class="{look}" x="{x:.1f}" y="{y + 14 * i:.1f}">{html.escape(line)}</text>'
            )

    def _label(self, x: float, y: float, text: str) -> None:
        self.parts.append(
            f'<text class="quiet" x="{x + 8:.1f}" y="{y + OUT - 8:.1f}">{html.escape(text)}</text>'
        )

    def _line(self, x1: float, y1: float, x2: float, y2: float, tip: str = "") -> None:
        self.parts.append(f'<path class="line" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>')
        if tip:
            self._tip(x2, y2, tip)

    def _tip(self, x: float, y: float, look: str, sideways: bool = False) -> None:
        d = "l-7 -3.5v7z" if sideways else "l-3.5 -7h7z"
        self.parts.append(f'<path class="{look}" d="M{x:.1f} {y:.1f}{d}"/>')

    def _path(self, points: Sequence[tuple[float, float]], look: str) -> None:
        """A line with rounded corners."""
        d = "M{:.1f} {:.1f}".format(*points[0])
        for before, at, after in zip(points, points[1:], points[2:], strict=False):
            near, far = _toward(at, before), _toward(at, after)
            d += "L{:.1f} {:.1f}Q{:.1f} {:.1f} {:.1f} {:.1f}".format(*near, *at, *far)
        d += "L{:.1f} {:.1f}".format(*points[-1])
        self.parts.append(f'<path class="{look}" d="{d}"/>')


def _toward(at: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """A point a little way from one to another."""
    far = math.dist(at, other)
    share = min(8.0, far / 2) / far if far else 0.0
    return at[0] + (other[0] - at[0]) * share, at[1] + (other[1] - at[1]) * share


def _thickness(channels: int) -> float:
    return 4 + 3.4 * math.log2(max(1, channels))


def _colour(row: Row) -> str:
    if row.slides and row.multiply_adds:
        return "conv"
    if row.multiply_adds:
        return "sum"
    return "pool" if row.slides or "pool" in row.label else "other"


def _named(row: Row) -> str:
    """What a row is; of a folded block, whose operators have no one name, its class."""
    return row.label or row.kind


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"…{text[1 - most :]}"
