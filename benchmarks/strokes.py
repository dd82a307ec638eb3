"""Digits as strokes of a pen: written by a script of its own, or traced from an image.

For measuring only: nothing that reads digits was tuned on either of them.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.interpolate import CubicSpline

Strokes = list[np.ndarray]  # points [N,2] of x and y, in a box of 1 x 1

# Through points (x, y) in a box of 1 x 1, as a copybook has them; several ways to write one.
COPYBOOK: dict[str, tuple[tuple[tuple[tuple[float, float], ...], ...], ...]] = {
    "0": ((((0.62, 0.05), (0.3, 0.08), (0.1, 0.42), (0.14, 0.78), (0.42, 1.0), (0.76, 0.86),
            (0.9, 0.5), (0.8, 0.15), (0.55, 0.02)),),),
    "1": ((((0.28, 0.22), (0.42, 0.12), (0.52, 0.0)), ((0.52, 0.0), (0.52, 0.5), (0.52, 1.0)),
           ((0.26, 1.0), (0.5, 1.0), (0.78, 1.0))),
          (((0.64, 0.0), (0.52, 0.5), (0.4, 1.0)),)),
    "2": ((((0.1, 0.3), (0.22, 0.06), (0.55, 0.0), (0.84, 0.16), (0.8, 0.42), (0.5, 0.72),
            (0.08, 1.0)), ((0.08, 1.0), (0.5, 1.0), (0.92, 1.0))),
          (((0.16, 0.16), (0.5, 0.0), (0.82, 0.2), (0.7, 0.52), (0.34, 0.9), (0.14, 0.9),
            (0.2, 0.76), (0.42, 0.84), (0.66, 0.98), (0.94, 0.88)),)),
    "3": ((((0.12, 0.02), (0.5, 0.02), (0.84, 0.02)), ((0.84, 0.02), (0.64, 0.2), (0.45, 0.4)),
           ((0.45, 0.4), (0.8, 0.5), (0.9, 0.74), (0.68, 0.97), (0.3, 1.0), (0.06, 0.86))),
          (((0.1, 0.14), (0.4, 0.0), (0.78, 0.1), (0.76, 0.34), (0.42, 0.46)),
           ((0.42, 0.46), (0.84, 0.58), (0.86, 0.86), (0.5, 1.0), (0.08, 0.9)))),
    "4": ((((0.2, 0.0), (0.16, 0.28), (0.12, 0.55)), ((0.12, 0.55), (0.5, 0.55), (0.92, 0.55)),
           ((0.7, 0.1), (0.7, 0.5), (0.7, 1.0))),
          (((0.72, 0.0), (0.4, 0.35), (0.06, 0.7)), ((0.06, 0.7), (0.5, 0.7), (0.96, 0.7)),
           ((0.72, 0.0), (0.72, 0.5), (0.72, 1.0)))),
    "5": ((((0.84, 0.0), (0.54, 0.0), (0.24, 0.0)), ((0.24, 0.0), (0.21, 0.22), (0.18, 0.42)),
           ((0.18, 0.42), (0.52, 0.34), (0.86, 0.52), (0.84, 0.84), (0.5, 1.0), (0.1, 0.9))),),
    "6": ((((0.66, 0.0), (0.3, 0.28), (0.12, 0.66), (0.28, 0.96), (0.62, 0.98), (0.84, 0.76),
            (0.7, 0.54), (0.38, 0.54), (0.16, 0.74)),),
          (((0.58, 0.0), (0.38, 0.28), (0.2, 0.6), (0.26, 0.94), (0.6, 1.0), (0.84, 0.78),
            (0.66, 0.56), (0.3, 0.62)),)),
    "7": ((((0.06, 0.02), (0.5, 0.02), (0.92, 0.02)), ((0.92, 0.02), (0.66, 0.5), (0.4, 1.0))),
          (((0.06, 0.02), (0.5, 0.02), (0.92, 0.02)), ((0.92, 0.02), (0.62, 0.5), (0.42, 1.0)),
           ((0.32, 0.5), (0.6, 0.5), (0.86, 0.5)))),
    "8": ((((0.5, 0.46), (0.2, 0.28), (0.3, 0.06), (0.6, 0.02), (0.8, 0.2), (0.72, 0.38),
            (0.5, 0.46)), ((0.5, 0.46), (0.12, 0.68), (0.2, 0.94), (0.55, 1.0), (0.88, 0.82),
            (0.8, 0.58), (0.5, 0.46))),
          (((0.76, 0.1), (0.42, 0.02), (0.22, 0.22), (0.52, 0.47), (0.84, 0.74), (0.5, 1.0),
            (0.16, 0.76), (0.46, 0.5), (0.78, 0.26), (0.76, 0.1)),)),
    "9": ((((0.8, 0.26), (0.6, 0.02), (0.24, 0.08), (0.14, 0.34), (0.4, 0.52), (0.72, 0.4),
            (0.8, 0.26)), ((0.8, 0.26), (0.8, 0.6), (0.78, 1.0))),
          (((0.8, 0.2), (0.5, 0.0), (0.16, 0.2), (0.34, 0.48), (0.68, 0.42), (0.8, 0.2)),
           ((0.8, 0.2), (0.84, 0.6), (0.64, 0.94), (0.2, 0.92)))),
}  # fmt: skip


def written(digit: str, random: np.random.Generator) -> Strokes:
    """A digit as the copybook has it, by a hand that is not steady: each point moved by 3.5 % of
    the box, leaning, narrower or wider."""
    ways = COPYBOOK[digit]
    way = ways[random.integers(len(ways))]
    moved = {point: random.normal(0, 0.035, 2) for stroke in way for point in stroke}
    wide, slant = random.uniform(0.5, 0.85), random.uniform(-0.1, 0.3)
    strokes = []
    for stroke in way:
        points = np.array([np.add(point, moved[point]) for point in stroke])
        along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T) + 1e-3)])
        line = CubicSpline(along, points)(np.linspace(0, along[-1], 24))
        line[:, 0] = wide * line[:, 0] + slant * (1 - line[:, 1])
        strokes.append(line)
    return _boxed(strokes)


def traced(image: np.ndarray) -> Strokes:
    """The strokes of a digit of MNIST, uint8 [28,28]: its skeleton, followed from end to end."""
    large = ndimage.zoom(image / 255.0, 4, order=1) > 0.45
    left = {(int(y), int(x)) for y, x in np.argwhere(_skeleton(large))}
    around = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)]
    whole = frozenset(left)

    def near(at: tuple[int, int], among: set[tuple[int, int]] | frozenset[tuple[int, int]]):
        return [(at[0] + y, at[1] + x) for y, x in around if (at[0] + y, at[1] + x) in among]

    strokes: Strokes = []
    while left:
        ends = sorted(one for one in left if len(near(one, left)) <= 1)
        at = ends[0] if ends else min(left)
        line = [at]
        left.discard(at)
        while onward := near(at, left):
            back = np.subtract(line[-1], line[max(0, len(line) - 6)])
            at = max(onward, key=lambda one: float(np.dot(np.subtract(one, line[-1]), back)))
            line.append(at)
            left.discard(at)
        for end, place in ((line[0], 0), (line[-1], len(line))):  # back to where it met another
            met = [one for one in near(end, whole) if one not in line[-3:] + line[:3]]
            if met and len(line) > 2:
                line.insert(place, met[0])
        if len(line) > 6 or not strokes:  # shorter ones are the skeleton's hairs
            points = np.array(line, float)[:, ::-1]
            smooth = ndimage.uniform_filter1d(points, 5, axis=0, mode="nearest")
            strokes.append(np.concatenate([smooth[::3], smooth[-1:]]))
    return _boxed(strokes)


def _skeleton(mask: np.ndarray) -> np.ndarray:
    """Lines of one pixel in the middle of strokes (Zhang and Suen 1984)."""
    mask = np.pad(mask, 1).astype(np.uint8)
    while True:
        before = mask.sum()
        for first in (True, False):
            n = [np.roll(mask, shift, (0, 1)) for shift in (
                (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1),
            )]  # fmt: skip  # from above on, clockwise
            neighbours = sum(one.astype(int) for one in n)
            turns = sum((n[i] == 0) & (n[(i + 1) % 8] == 1) for i in range(8))
            up, right, down, left = n[0], n[2], n[4], n[6]
            one, two = (
                (up * right * down, right * down * left) if first
                else (up * right * left, up * down * left)
            )  # fmt: skip
            gone = (neighbours >= 2) & (neighbours <= 6) & (turns == 1) & (one == 0) & (two == 0)
            mask[(mask == 1) & gone] = 0
        if mask.sum() == before:
            return mask[1:-1, 1:-1].astype(bool)


def _boxed(strokes: Strokes) -> Strokes:
    """Moved and made so large that the longer side of all is 1, the other in the middle."""
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = max(float((high - low).max()), 1e-9)
    return [(stroke - (low + high) / 2) / scale + 0.5 for stroke in strokes]
