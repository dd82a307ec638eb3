"""Inline SVG charts of the page: lines by epoch, and how far probabilities can be believed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from convscope.evaluation.metrics import Bin, wilson_interval
from convscope.formatting import plural
from convscope.report.run_files import percent


@dataclass(frozen=True)
class Line:
    """A curve: its name, the class of its colour, and its points (epoch, value)."""

    name: str
    css: str
    points: Sequence[tuple[int, float]]


Told = tuple[str, float, list[tuple[str, float]]]  # what is said of a place; where; its marks

# A chart is drawn in these units and scaled to its column; text grows on narrow screens.
_W, _H, _LEFT, _RIGHT, _TOP, _BOTTOM = 520, 280, 56, 96, 14, 44
LINE = 60  # letters that a phone has room for in a line
MANY = 40  # epochs, from which on points are no longer drawn one by one


def line_chart(
    key: str, title: str, lines: Sequence[Line], text: Callable[[float], str], zero: bool = False
) -> str:
    """Curves by epoch, which tell the values of an epoch; ``key`` is a word of its own on the page,
    ``text`` a value in words. The last epoch is told first."""
    lines = [line for line in lines if line.points]
    values = [value for line in lines for _, value in line.points]
    if not values:
        return f'<figure><p class="note">{title}: no epoch was finished.</p></figure>'
    epochs = sorted({epoch for line in lines for epoch, _ in line.points})
    first, last = epochs[0], epochs[-1]
    grid = ticks(0 if zero else min(values), max(values))
    low, high = grid[0], grid[-1]

    def x(epoch: float) -> float:
        share = (epoch - first) / (last - first) if last > first else 0.5
        return round(_LEFT + share * (_W - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        return round(_H - _BOTTOM - (value - low) / (high - low) * (_H - _TOP - _BOTTOM), 1)

    parts = []
    decimals = max(0, -math.floor(math.log10(grid[1] - grid[0]) + 1e-9))
    for tick in grid:
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_W - _RIGHT}" y1="{y(tick)}" y2="{y(tick)}"/>'
            f'<text class="tick" x="{_LEFT - 8}" y="{y(tick) + 4}" text-anchor="end">'
            f"{tick:,.{decimals}f}</text>"
        )
    marks = [t for t in ticks(first, last) if t == int(t) and first <= t <= last]
    for mark in marks if last > first else [first]:
        parts.append(
            f'<text class="tick" x="{x(mark)}" y="{_H - _BOTTOM + 20}" text-anchor="middle">'
            f"{mark:.0f}</text>"
        )
    parts.append(
        f'<text class="tick" x="{x((first + last) / 2)}" y="{_H - 4}" text-anchor="middle">'
        "epoch</text>"
    )
    for line in lines:
        path = " ".join(f"{x(epoch)},{y(value)}" for epoch, value in line.points)
        parts.append(f'<polyline class="{line.css}" points="{path}"/>')
    told: list[Told] = []
    for epoch in epochs:
        here = [(line, value) for line in lines for at, value in line.points if at == epoch]
        said = ", ".join(
            f'<b class="{line.css}">{line.name} {text(value)}</b>' for line, value in here
        )
        dots = [(line.css, y(value)) for line, value in here]
        told.append((f"epoch {epoch}: {said}", x(epoch), dots))
        if len(epochs) <= MANY:
            parts += [
                f'<circle class="{line.css}" cx="{x(epoch)}" cy="{y(value)}" r="3.5"/>'
                for line, value in here
            ]
    for line, at in zip(lines, _apart([y(line.points[-1][1]) for line in lines]), strict=True):
        parts.append(
            f'<text class="label {line.css}" x="{x(line.points[-1][0]) + 10}" y="{at + 4:.1f}">'
            f"{line.name}</text>"
        )
    ends = ", ".join(f"{line.name} ends at {text(line.points[-1][1])}" for line in lines)
    return figure(key, title, f"{title} by epoch: {ends}", parts, told)


def figure(
    key: str,
    title: str,
    about: str,
    parts: Sequence[str],
    told: Sequence[Told],
    bottom: float = _H - _BOTTOM,
) -> str:
    """A chart that tells what it shows at each place, from left to right, under a pointer, a finger
    and arrow keys: a radio button a place, so that no script is needed. A place is what is said of
    it, which is HTML, where it is, and its marks, each a class and a height."""
    middles = [(one + other) / 2 for (_, one, _), (_, other, _) in pairwise(told)]
    places = []
    for i, (said, at, marks) in enumerate(told):
        wide = (*middles, _W)[i] - (0, *middles)[i]
        dots = "".join(
            f'<i class="{css}" style="top:{100 * (high - _TOP) / (bottom - _TOP):.1f}%"></i>'
            for css, high in marks
        )
        chosen = " checked" * (i == len(told) - 1)
        places.append(
            f'<label style="flex:{wide:.2f}"><input type="radio" name="{key}"{chosen}>'
            f'<span class="at" style="left:{100 * at / _W:.2f}%">{dots}</span>'
            f'<span class="says">{said}</span></label>'
        )
    wordy = " wordy" * any(len(re.sub("<.*?>", "", said)) > LINE for said, _, _ in told)
    top, low = (100 * edge / _W for edge in (_TOP, _H - bottom))  # a margin is of the width
    return (
        f'<figure class="chart{wordy}"><figcaption>{title}</figcaption><div class="plot">'
        f'<svg viewBox="0 0 {_W} {_H}" role="img" aria-label="{about}">{"".join(parts)}</svg>'
        f'<fieldset style="margin:{top:.2f}% 0 {low:.2f}%">'
        f'<legend class="hidden">{title}, place by place</legend>'
        f"{''.join(places)}</fieldset></div></figure>"
    )


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers that enclose the range, in steps of 1, 2 or 5 times a power of ten.

    >>> ticks(95.3, 99.2)
    [95.0, 96.0, 97.0, 98.0, 99.0, 100.0]
    """
    raw = ((high - low) or abs(high) or 1.0) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= raw * 0.999)
    start = math.floor(low / step + 1e-9)
    stop = max(math.ceil(high / step - 1e-9), start + 1)
    return [round(i * step, 10) for i in range(start, stop + 1)]


def _apart(heights: Sequence[float], gap: float = 20) -> list[float]:
    """Places for two labels that do not overlap, in the order of their lines."""
    if len(heights) != 2 or abs(heights[0] - heights[1]) >= gap:
        return list(heights)
    middle = min(max(sum(heights) / 2, _TOP + gap / 2), _H - _BOTTOM - gap / 2)
    first_above = heights[0] < heights[1]
    above, below = middle - gap / 2, middle + gap / 2
    return [above, below] if first_above else [below, above]


def reliability_chart(bins: Sequence[Bin]) -> str:
    """The share that is right, by the probability that was given, and how many images."""
    bottom, strip = _H - _BOTTOM - 48, _H - _BOTTOM  # the bars' floor, and that of the counts
    right = _W - 16
    most = math.log1p(max(b.count for b in bins))

    def x(p: float) -> float:
        return round(_LEFT + p * (right - _LEFT), 1)

    def y(p: float) -> float:
        return round(bottom - p * (bottom - _TOP), 1)

    parts: list[str] = []
    told: list[Told] = []
    for tick in (0, 0.5, 1):
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y(tick)}" y2="{y(tick)}"/>'
            f'<text class="tick" x="{_LEFT - 8}" y="{y(tick) + 4}" text-anchor="end">'
            f"{100 * tick:.0f}</text>"
            f'<text class="tick" x="{x(tick)}" y="{strip + 20}" text-anchor="middle">'
            f"{100 * tick:.0f}</text>"
        )
    for b in bins:
        middle = round((x(b.lower) + x(b.upper)) / 2, 1)
        if b.accuracy is None or b.confidence is None:
            said = f"{percent(b.lower, 0)} to {percent(b.upper, 0)}: no image"
            told.append((said, middle, []))
            continue
        low, high = wilson_interval(b.correct, b.count)
        left, width = x(b.lower) + 1, x(b.upper) - x(b.lower) - 2
        tall = 4 + 30 * math.log1p(b.count) / most
        parts.append(
            f'<g class="bin"><rect class="share" x="{left:.1f}" y="{y(b.accuracy)}" '
            f'width="{width:.1f}" height="{bottom - y(b.accuracy):.1f}"/>'
            f'<rect class="count" x="{left:.1f}" y="{strip - tall:.1f}" width="{width:.1f}" '
            f'height="{tall:.1f}"/><line x1="{middle:.1f}" x2="{middle:.1f}" y1="{y(low)}" '
            f'y2="{y(high)}"/></g>'
        )
        said = (
            f"{plural(b.count, 'image')} of mean probability {percent(b.confidence, 1)}: right "
            f"{percent(b.accuracy, 1)} (interval {100 * low:.1f} to {percent(high, 1)})"
        )
        told.append((said, middle, []))
    parts.append(
        f'<line class="ideal" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>'
        f'<text class="tick" x="{_LEFT + 2}" y="{strip - 8}">images, log scale</text>'
        f'<text class="tick" x="{x(0.5)}" y="{_H - 4}" text-anchor="middle">'
        "probability of the predicted class, %</text>"
    )
    about = "Share of right predictions by the probability given to them"
    return figure("reliability", "Share that is right, %", about, parts, told, strip)
