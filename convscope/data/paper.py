"""A photograph of writing on paper -> where there is ink.

Plain steps, each of a few lines over arrays: light evened out, lines of ruled paper erased, ink
told from paper by a threshold. ``web/paper.js`` takes them one by one in a browser, with the same
result to the bit: what is summed are whole numbers, which no order of adding changes. Grey values
are 0 to 255; *darkness* is the share of the paper's light that a place swallows, 0 to 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy  # which loads scipy.ndimage when a photograph comes
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

BLOCK = 4  # pixels: the light of the paper is looked at in blocks of so many each way
WIDEST = 0.16  # of the shorter side: what is dark and narrower than this is ink, not a shadow
FAINTEST = 0.06  # darkness that no ink's edge is below
PALEST = 0.15  # darkness of the darkest tenth of what may be ink: paler, it is none
DARKEST = 0.3  # darkness of what reaches the picture's edge: paler, it is a shadow or a ruled line
SPREADS = 5.0  # ink is so many deviations darker than paper is uneven
SLOPES = 46, 128  # a ruled line leans by so many 128ths at most, about 20 degrees
RULED = 0.5  # a ruled line is seen along this share of the picture
THICKEST = 0.016  # of the longer side: no ruled line is thicker


class Ink(NamedTuple):
    """Where there is ink, bool [H,W]; whether it is light on dark; how uneven the paper is, as a
    darkness; whether there is more ink, which the edge of the picture cuts off."""

    mask: Mask
    light: bool
    unevenness: float
    cut_off: bool


def find_ink(photo: Grey) -> Ink:
    """The ink in a photograph of paper, uint8 [H,W]: the writing without shadows and ruled lines,
    and without what reaches the edge of the picture.

    >>> photo = np.full((64, 96), 200, np.uint8) - np.arange(96, dtype=np.uint8)  # a shadow
    >>> photo[20:44, 40:44] //= 3
    >>> ink = find_ink(photo)
    >>> bool(ink.mask[21:43, 41:43].all()), bool(ink.mask[:, 46:].any()), ink.light
    (True, False, False)
    """
    light = is_light_on_dark(photo)
    dark = darkness(255 - photo if light else photo)
    middle = float(np.median(dark))
    unevenness = 1.4826 * float(np.median(np.abs(dark - middle)))  # the deviation of a normal law
    floor = middle + max(FAINTEST, SPREADS * unevenness)
    mask = _inked(dark, floor)
    inside = _inside(mask)
    cut_off = bool((dark[mask & ~inside] > DARKEST).any())
    return Ink(inside, light, unevenness, cut_off)


def is_light_on_dark(photo: Grey) -> bool:
    """Whether the writing is lighter than what it is on: writing is what departs most from the
    median around it, since there is less of it than of paper. What is light and reaches the edge of
    the picture is no writing but paper in the sun; what is dark there may be either."""
    small = np.round(_blocks(_sums_of_nine(photo), 2 * BLOCK) / 9)
    around = 2 * (min(small.shape) // 4) + 1
    away = small - scipy.ndimage.median_filter(small, around, mode="reflect")
    strong = 0.3 * np.abs(away).max()
    light, dark = _inside(away > strong), away < -strong
    return bool((away[light] ** 3).sum() > -(away[dark] ** 3).sum())


def _inside(mask: Mask) -> Mask:
    """Those connected parts that do not reach the edge of the picture."""
    labels, _ = scipy.ndimage.label(mask, np.ones((3, 3)))
    at_edge = np.concatenate([labels[[0, -1]].ravel(), labels[:, [0, -1]].ravel()])
    inside: Mask = mask & ~np.isin(labels, at_edge)
    return inside


def darkness(photo: Grey) -> Floats:
    """The share of the paper's light that is swallowed, [H,W] from 0 to 1, of a photograph whose
    writing is dark: 1 minus the photograph over its paper.

    The paper is the morphological closing of the means of blocks: what is dark is filled where it
    is narrower than the window, and a wider shadow stays.
    """
    nine = _sums_of_nine(photo)
    small = _blocks(nine, BLOCK)
    window = 2 * max(1, round(WIDEST / 2 * min(small.shape))) + 1
    paper = scipy.ndimage.minimum_filter(scipy.ndimage.maximum_filter(small, window), window)
    found: Floats = 1 - nine / np.maximum(_enlarged(paper, photo.shape), 9)
    return found.clip(0, 1)


def otsu(values: Floats) -> float:
    """The threshold between two kinds of values for which the variance between them is largest
    (Otsu 1979), to a 64th of their range.

    >>> otsu(np.array([0.1, 0.1, 0.2, 0.8, 0.9])) > 0.2
    True
    """
    low, high = float(values.min()), float(values.max())
    kinds = ((values - low) * (64 / max(high - low, 1e-9))).astype(np.int64).clip(0, 63)
    counts = np.bincount(kinds, minlength=64).astype(np.float64)
    masses = counts * np.arange(64)
    below, mass = np.cumsum(counts)[:-1], np.cumsum(masses)[:-1]
    split = (mass * counts.sum() - masses.sum() * below) ** 2
    between = split / np.maximum(below * (counts.sum() - below), 1)
    best = np.flatnonzero(between == between.max())
    return low + float(best[len(best) // 2] + 1) * (high - low) / 64


class _Line(NamedTuple):
    """A line y = offset + slope * x across a picture, its thickness in pixels, its darkness."""

    slope: float
    offset: float
    thickness: float
    level: float


def _inked(dark: Floats, floor: float) -> Mask:
    """What is ink of what is darker than ``floor``: ruled lines are erased, but for the strokes
    that cross them, which are darker than a line or go on on both sides of it."""
    weak = dark > floor
    across, down = _ruled(weak, dark), _ruled(weak.T, dark.T)
    bands = _band(across, weak.shape), _band(down, weak.T.shape).T
    ruled: Mask = bands[0] | bands[1]
    values = dark[weak & ~ruled]
    if not len(values) or (ink := _darkest_tenth(values)) < PALEST:
        return np.zeros_like(weak)
    threshold = otsu(values)
    mask: Mask = (dark > threshold) & ~ruled
    if not ruled.any():
        return mask
    level = float(np.median([line.level for line in (*across, *down)]))
    if ink > 1.5 * level:
        mask |= dark > max(threshold, (level + ink) / 2)
    for lines, band, axis in ((across, bands[0], 0), (down, bands[1], 1)):
        if lines:
            long = 2 * _reach(lines) + 3
            shape = (long, 1) if axis == 0 else (1, long)
            mask |= scipy.ndimage.binary_closing(mask, np.ones(shape)) & band & weak
    return mask


def _darkest_tenth(values: Floats) -> float:
    """What nine of ten values are at most."""
    at = 9 * (len(values) - 1) // 10
    return float(np.partition(values, at)[at])


def _ruled(weak: Mask, dark: Floats) -> list[_Line]:
    """The ruled lines that go across a picture from edge to edge, by a Hough transform of the
    middles of what is thin from above to below."""
    height, width = weak.shape
    edges = np.diff(np.pad(weak, ((1, 1), (0, 0))).astype(np.int8), axis=0).T  # [W,H+1]
    x, first = np.nonzero(edges == 1)
    _, end = np.nonzero(edges == -1)
    thin = end - first <= max(3, THICKEST * max(weak.shape))
    x, y, thickness = x[thin], (first + end - 1)[thin] / 2, (end - first)[thin]
    slopes = np.arange(-SLOPES[0], SLOPES[0] + 1) / SLOPES[1]
    room = SLOPES[0] * width // SLOPES[1] + 2  # what a slope adds to an offset at most
    cells = (height + 2 * room) // 2 + 2  # of 2 pixels each
    votes = np.stack([
        np.bincount(((y - slope * x + room) / 2).astype(np.int64), minlength=cells)[:cells]
        for slope in slopes
    ])  # fmt: skip
    pairs = votes[:, :-1] + votes[:, 1:]  # a line lies in two cells
    likely = np.argwhere(pairs >= RULED * width)
    likely = likely[np.argsort(-pairs[tuple(likely.T)], kind="stable")]
    found: list[_Line] = []
    left = np.ones(len(x), np.bool_)
    for at, cell in likely:
        near = left & (np.abs(y - slopes[at] * x - (2 * cell + 2 - room)) <= 4)
        if len(np.unique(x[near])) < RULED * width:
            continue
        slope, offset = _fitted(x[near], y[near])
        near = left & (np.abs(y - slope * x - offset) <= 3)
        columns = np.unique(x[near])
        if len(columns) < RULED * width or columns[0] > 0.08 * width or columns[-1] < 0.92 * width:
            continue
        level = float(np.median(dark[y[near].astype(np.int64), x[near]]))
        found.append(_Line(slope, offset, float(np.median(thickness[near])), level))
        left &= ~near
    return found


def _fitted(x: NDArray[np.int64], y: Floats) -> tuple[float, float]:
    """Slope and offset of the line of least squares through whole x and half y."""
    n, sum_x, sum_xx = len(x), int(x.sum()), int((x * x).sum())
    twice = (2 * y).astype(np.int64)
    sum_y, sum_xy = int(twice.sum()), int((x * twice).sum())
    slope = (n * sum_xy - sum_x * sum_y) / (2 * (n * sum_xx - sum_x * sum_x))
    return slope, (sum_y / 2 - slope * sum_x) / n


def _reach(lines: list[_Line]) -> int:
    """How many pixels a line lies to each side of its middle, its soft edge included."""
    return round(max(line.thickness for line in lines) / 2 + 1)


def _band(lines: list[_Line], shape: tuple[int, ...]) -> Mask:
    """Where lines across a picture lie."""
    band = np.zeros(shape, np.bool_)
    x = np.arange(shape[1])
    for line in lines:
        reach = _reach([line])
        middle = np.round(line.offset + line.slope * x).astype(np.int64)
        for away in range(-reach, reach + 1):
            rows = middle + away
            inside = (rows >= 0) & (rows < shape[0])
            band[rows[inside], x[inside]] = True
    return band


def _sums_of_nine(photo: Grey) -> NDArray[np.int64]:
    """The sum of each pixel and the eight around it; beyond an edge its pixels are there twice."""
    around = np.pad(photo.astype(np.int64), 1, mode="edge")
    rows = around[:-2] + around[1:-1] + around[2:]
    sums: NDArray[np.int64] = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return sums


def _blocks(pixels: NDArray[np.int64], side: int) -> Floats:
    """The means of blocks of ``side`` pixels each way; those at the end may be smaller."""
    starts = [np.arange(0, length, side) for length in pixels.shape]
    sums = np.add.reduceat(np.add.reduceat(pixels, starts[0], axis=0), starts[1], axis=1)
    down, across = (
        np.diff([*start, length]) for start, length in zip(starts, pixels.shape, strict=True)
    )
    means: Floats = sums / np.outer(down, across)
    return means


def _enlarged(blocks: Floats, shape: tuple[int, ...]) -> Floats:
    """Values of blocks at every pixel, bilinear between the middles of blocks."""
    for axis, length in enumerate(shape):
        at = ((np.arange(length) + 0.5) / BLOCK - 0.5).clip(0, blocks.shape[axis] - 1)
        low = np.minimum(at.astype(np.int64), max(blocks.shape[axis] - 2, 0))
        high = np.minimum(low + 1, blocks.shape[axis] - 1)
        share = np.expand_dims(at - low, 1 - axis)
        blocks = blocks.take(low, axis) * (1 - share) + blocks.take(high, axis) * share
    return blocks
