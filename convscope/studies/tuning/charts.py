"""Inline SVG charts of a search: accuracy against another number, and all trials as lines across
their values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from convscope.formatting import percent
from convscope.markup import esc
from convscope.report.charts import Told, figure, ticks
from convscope.studies.tuning.outcome import Row, shown
from convscope.studies.tuning.space import Choice, Range

_W, _H, _LEFT, _RIGHT, _TOP, _BOTTOM = 520, 280, 56, 24, 14, 44  # as report.charts scales them
WIDE = 10  # times the smallest, from which on an axis is logarithmic
SPREAD = 0.1  # of the whole trials may be far below the others, which they would press together


def scatter(
    key: str,
    title: str,
    label: str,
    rows: Sequence[Row],
    place: Callable[[Row], float],
    line: Sequence[Row],
    said: Callable[[Row], str],
    even: bool = False,
) -> str:
    """Accuracy on validation against the number that ``place`` gives of a trial, called ``label``;
    ``line`` are the trials that are joined, and told one by one. The axis along the bottom is
    logarithmic where that number spreads, unless it is to be ``even``."""
    rows = [row for row in rows if row["val_accuracy"] is not None]
    places = [place(row) for row in rows]
    log = not even and min(places) > 0 and max(places) > WIDE * min(places)
    whole = [row for row in rows if row["state"] == "complete"]
    height = sorted(row["val_accuracy"] for row in whole)
    least = height[int(SPREAD * (len(height) - 1))]
    base = min([least, *(row["val_accuracy"] for row in line)])
    grid = ticks(100 * min(base, height[-1] - 0.001), 100 * height[-1])
    low, high = grid[0], min(grid[-1], 100.0)

    def at(value: float) -> float:
        first, last, value = (math.log(v) if log else v for v in (min(places), max(places), value))
        share = (value - first) / (last - first) if last > first else 0.5
        return round(_LEFT + 8 + share * (_W - _LEFT - _RIGHT - 16), 1)

    def y(accuracy: float) -> float:
        share = (max(low, 100 * accuracy) - low) / (high - low)
        return round(_H - _BOTTOM - share * (_H - _TOP - _BOTTOM), 1)

    decimals = max(0, -math.floor(math.log10(grid[1] - grid[0]) + 1e-9))
    parts = [
        f'<line class="grid" x1="{_LEFT}" x2="{_W - _RIGHT}" y1="{y(t / 100)}" y2="{y(t / 100)}"/>'
        f'<text class="tick" x="{_LEFT - 8}" y="{y(t / 100) + 4}" text-anchor="end">'
        f"{t:.{decimals}f}</text>"
        for t in grid
        if t <= high
    ]
    for mark in _marks(min(places), max(places), log):
        parts.append(
            f'<text class="tick" x="{at(mark)}" y="{_H - _BOTTOM + 20}" text-anchor="middle">'
            f"{mark:g}</text>"
        )
    parts.append(
        f'<text class="tick" x="{(_LEFT + _W - _RIGHT) / 2}" y="{_H - 4}" text-anchor="middle">'
        f"{label}</text>"
    )
    for row, where in zip(rows, places, strict=True):
        below = " below" * (100 * row["val_accuracy"] < low)
        parts.append(
            f'<circle class="{row["state"]}{below}" cx="{at(where)}" cy="{y(row["val_accuracy"])}" '
            'r="4"/>'
        )
    joined: list[str] = []
    before: float | None = None
    for row in line:
        x, here = at(place(row)), y(row["val_accuracy"])
        joined += [f"{x},{before}"] if before is not None else []
        joined.append(f"{x},{here}")
        before = here
    parts.append(f'<polyline class="front" points="{" ".join(joined)}"/>')
    told: list[Told] = [
        (said(row), at(place(row)), [("front", y(row["val_accuracy"]))]) for row in line
    ]
    return figure(key, title, f"{title}, against {label}", parts, told)


def _marks(low: float, high: float, log: bool) -> list[float]:
    """Where an axis along the bottom is marked."""
    if not log:
        return [t for t in ticks(low, high) if low <= t <= high] or [low]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    often = (1, 2, 5) if len(powers) < 4 else (1,)
    found = [times * 10.0**power for power in powers for times in often]
    return [mark for mark in found if low <= mark <= high] or [low]


def parallel(fields: Mapping[str, Range | Choice], rows: Sequence[Row], best: set[int]) -> str:
    """Every trial as a line across the axes of its values, accuracy last; the ``best`` trials are
    drawn over the others."""
    rows = [row for row in rows if row["state"] == "complete"]
    wide, high = 130 * (len(fields) + 1), 260
    left, top, bottom = 60, 46, 232
    names = [*fields, "validation"]
    step = (wide - 2 * left) / (len(names) - 1)
    low, most = (pick(row["val_accuracy"] for row in rows) for pick in (min, max))

    def y(share: float) -> float:
        return round(bottom - share * (bottom - top), 1)

    parts = []
    for i, name in enumerate(names):
        x = left + i * step
        ends = (percent(low, 1), percent(most, 1)) if name == "validation" else _ends(fields[name])
        parts.append(
            f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
            f'<text class="name" x="{x:.1f}" y="16" text-anchor="middle">{esc(name)}</text>'
            f'<text class="tick" x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">'
            f"{esc(ends[0])}</text>"
            f'<text class="tick" x="{x:.1f}" y="{top - 10}" text-anchor="middle">'
            f"{esc(ends[1])}</text>"
        )
    for row in sorted(rows, key=lambda row: (row["trial"] in best, row["val_accuracy"])):
        points = [
            (left + i * step, _share(fields[name], row["values"][name]))
            for i, name in enumerate(fields)
            if name in row["values"]
        ]
        share = (row["val_accuracy"] - low) / (most - low) if most > low else 1.0
        points.append((left + len(fields) * step, share))
        path = " ".join(f"{x:.1f},{y(share)}" for x, share in points)
        look = "best" if row["trial"] in best else "other"
        parts.append(
            f'<polyline class="{look}" points="{path}"><title>trial {row["trial"]}, '
            f"{percent(row['val_accuracy'])}: "
            f"{esc(', '.join(f'{n} {shown(v)}' for n, v in row['values'].items()))}</title>"
            "</polyline>"
        )
    about = "Every trial as a line across its values; the best are drawn over the others"
    width = f"min-width:{wide // 16}rem; max-width:{wide // 11}rem"
    return (
        f'<svg class="parallel" viewBox="0 0 {wide} {high}" style="{width}" '
        f'role="img" aria-label="{about}">{"".join(parts)}</svg>'
    )


def _ends(where: Range | Choice) -> tuple[str, str]:
    """What stands below and above an axis."""
    if isinstance(where, Range):
        return shown(where.low), shown(where.high)
    names = where.names
    return names[0], names[-1]


def _share(where: Range | Choice, kept: Any) -> float:
    """Where a value lies along its axis."""
    if isinstance(where, Choice):
        return where.names.index(kept) / (len(where.names) - 1)
    low, high, value = where.low, where.high, float(kept)
    if where.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)
