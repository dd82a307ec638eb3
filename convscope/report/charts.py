"""Inline SVG charts of the page: lines by epoch, and how far probabilities can be believed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from convscope.evaluation.metrics import Bin, wilson_interval
from convscope.formatting import plural
from convscope.report.run_files import percent


@dataclass(frozen=True)
class Line:
    name: str
    css: str
    points: Sequence[tuple[int, float]]  # (epoch, value)


# A chart is drawn in these units and scaled to its column; text grows on narrow screens.
_W, _H, _LEFT, _RIGHT, _TOP, _BOTTOM = 520, 300, 56, 96, 34, 44


def line_chart(
    title: str, lines: Sequence[Line], text: Callable[[float], str], zero: bool = False
) -> str:
    lines = [line for line in lines if line.points]
    values = [value for line in lines for _, value in line.points]
    if not values:
        return f'<figure><p class="note">{title}: no epoch was finished.</p></figure>'
    epochs = sorted({epoch for line in lines for epoch, _ in line.points})
    first, last = epochs[0], epochs[-1]
    ticks = _ticks(0 if zero else min(values), max(values))
    low, high = ticks[0], ticks[-1]

    def x(epoch: float) -> float:
        share = (epoch - first) / (last - first) if last > first else 0.5
        return round(_LEFT + share * (_W - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        return round(_H - _BOTTOM - (value - low) / (high - low) * (_H - _TOP - _BOTTOM), 1)

    parts = [f'<text class="axis" x="0" y="16">{title}</text>']
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    for tick in ticks:
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_W - _RIGHT}" y1="{y(tick)}" y2="{y(tick)}"/>'
            f'<text class="tick" x="{_LEFT - 8}" y="{y(tick) + 4}" text-anchor="end">'
            f"{tick:,.{decimals}f}</text>"
        )
    marks = [t for t in _ticks(first, last) if t == int(t) and first <= t <= last]
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
    half = (_W - _LEFT - _RIGHT) / max(last - first, 1) / 2
    for epoch in epochs:
        here = [(line, value) for line in lines for at, value in line.points if at == epoch]
        said = ", ".join(f"{line.name} {text(value)}" for line, value in here)
        dots = "".join(
            f'<circle class="{line.css}" cx="{x(epoch)}" cy="{y(value)}" r="3.5"/>'
            for line, value in here
        )
        parts.append(
            f'<g class="epoch"><rect x="{x(epoch) - half:.1f}" y="{_TOP}" width="{2 * half:.1f}" '
            f'height="{_H - _TOP - _BOTTOM}"/><line x1="{x(epoch)}" x2="{x(epoch)}" y1="{_TOP}" '
            f'y2="{_H - _BOTTOM}"/>{dots}<title>epoch {epoch}: {said}</title></g>'
        )
    for line, at in zip(lines, _apart([y(line.points[-1][1]) for line in lines]), strict=True):
        parts.append(
            f'<text class="label {line.css}" x="{x(line.points[-1][0]) + 10}" y="{at + 4:.1f}">'
            f"{line.name}</text>"
        )
    ends = ", ".join(f"{line.name} ends at {text(line.points[-1][1])}" for line in lines)
    many = " many" if len(epochs) > 40 else ""
    return (
        f'<figure class="chart{many}"><svg viewBox="0 0 {_W} {_H}" role="img" '
        f'aria-label="{title} by epoch: {ends}">{"".join(parts)}</svg></figure>'
    )


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers that enclose the range, in steps of 1, 2 or 5 times a power of ten.

    >>> _ticks(95.3, 99.2)
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
    bottom, strip = _H - _BOTTOM - 48, _H - _BOTTOM  # the bars' floor, and that of the counts
    right = _W - 16
    most = math.log1p(max(b.count for b in bins))

    def x(p: float) -> float:
        return round(_LEFT + p * (right - _LEFT), 1)

    def y(p: float) -> float:
        return round(bottom - p * (bottom - _TOP), 1)

    parts = ['<text class="axis" x="0" y="16">Share that is right, %</text>']
    for tick in (0, 0.5, 1):
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y(tick)}" y2="{y(tick)}"/>'
            f'<text class="tick" x="{_LEFT - 8}" y="{y(tick) + 4}" text-anchor="end">'
            f"{100 * tick:.0f}</text>"
            f'<text class="tick" x="{x(tick)}" y="{strip + 20}" text-anchor="middle">'
            f"{100 * tick:.0f}</text>"
        )
    for b in bins:
        if b.accuracy is None or b.confidence is None:
            continue
        low, high = wilson_interval(b.correct, b.count)
        left, width = x(b.lower) + 1, x(b.upper) - x(b.lower) - 2
        middle, tall = left + width / 2, 4 + 30 * math.log1p(b.count) / most
        parts.append(
            f'<g class="bin"><rect class="share" x="{left:.1f}" y="{y(b.accuracy)}" '
            f'width="{width:.1f}" height="{bottom - y(b.accuracy):.1f}"/>'
            f'<rect class="count" x="{left:.1f}" y="{strip - tall:.1f}" width="{width:.1f}" '
            f'height="{tall:.1f}"/><line x1="{middle:.1f}" x2="{middle:.1f}" y1="{y(low)}" '
            f'y2="{y(high)}"/><title>{plural(b.count, "image")}: mean probability '
            f"{percent(b.confidence, 1)}, right {percent(b.accuracy, 1)} (95\u202f% interval "
            f"{100 * low:.1f} to {percent(high, 1)})</title></g>"
        )
    parts.append(
        f'<line class="ideal" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>'
        f'<text class="tick" x="{_LEFT + 2}" y="{strip - 8}">images, log scale</text>'
        f'<text class="tick" x="{x(0.5)}" y="{_H - 4}" text-anchor="middle">'
        "probability of the predicted class, %</text>"
    )
    return (
        f'<figure class="chart"><svg viewBox="0 0 {_W} {_H}" role="img" aria-label="Share of right '
        f'predictions by the probability given to them">{"".join(parts)}</svg></figure>'
    )
