"""What the picture of a network is made of: slabs, marks, lines and words, as pieces of SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from convscope.insight.anatomy.rows import Row

OUT = 26  # pixels of the line out of a box, which bears the shape
RING = 11  # radius of the mark where branches meet
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


class Strokes:
    """Pieces of SVG, in the order in which they are drawn."""

    def __init__(self) -> None:
        self.parts: list[str] = []

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


def extent(
    shape: tuple[int, ...] | None, size: tuple[int, int] | None, scale: float
) -> tuple[float, float, float]:
    """Width, depth and thickness of the slab of a tensor, whose map is of that size."""
    shape = shape or (1,)
    if size is None and len(shape) > 2:
        size = (shape[-2], shape[-1])
    if size is not None and size != (1, 1) and len(shape) > 1:
        channels = max(1, math.prod(shape) // math.prod(size))
        high, wide = (max(7.0, scale * math.sqrt(side)) for side in size)
        return wide, high, _thickness(channels)
    if len(shape) == 2:  # tokens, each a vector
        return max(16.0, 5 * math.sqrt(shape[0])), 6.0, _thickness(shape[1])
    return 12 + 11 * math.log2(max(2, math.prod(shape))), 5.0, 9.0


def _thickness(channels: int) -> float:
    return 4 + 3.4 * math.log2(max(1, channels))


def _toward(at: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """A point a little way from one to another."""
    far = math.dist(at, other)
    share = min(8.0, far / 2) / far if far else 0.0
    return at[0] + (other[0] - at[0]) * share, at[1] + (other[1] - at[1]) * share
