"""Images that are there more than once: pixel for pixel, or nearly so.

A perceptual hash proposes pairs, and the pixels of both confirm them: of photos of one scene, such
as hands before one wall, the hash alone would accuse many.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from convscope.data.audit.samples import Samples, shrunk
from convscope.data.duplicates import Hashes, Positions, firsts
from convscope.data.pack import Images
from convscope.events import Emit, Progress

GREY = 32  # pixels a side of what is hashed
SIDE = 64  # pixels a side of what is compared
BITS = 6  # of 64 that may differ between the hashes of a pair that is proposed
ERROR = 12.0  # of 255: root mean square of the difference, at most
SHARE = 0.25  # of the contrast, at most: two nearly even images are not alike for being even
AT_ONCE = 1 << 22  # pairs that are compared at once


def perceptual_hashes(grey: Images) -> Hashes:
    """64 bits that tell what an image ``[n,1,32,32]`` looks like: which of its lowest 8 x 8
    frequencies lie above their median (pHash; Zauner 2010, Implementation and Benchmarking of
    Perceptual Image Hash Functions, 3.2.1).

    >>> cell = np.random.default_rng(0).integers(0, 200, (1, 1, 8, 8)).astype(np.uint8)
    >>> grey = cell.repeat(4, axis=2).repeat(4, axis=3)
    >>> one, lighter, turned = perceptual_hashes(np.concatenate([grey, grey + 9, grey[..., ::-1]]))
    >>> int(np.bitwise_count(one ^ lighter)) <= BITS < int(np.bitwise_count(one ^ turned))
    True
    """
    from scipy.fft import dctn

    low = dctn(grey[:, 0].astype(np.float32), axes=(1, 2), norm="ortho")[:, :8, :8]
    low = np.round(low.reshape(len(low), 64), 2)  # what is nought but for rounding says nothing
    above = low > np.median(low[:, 1:], axis=1, keepdims=True)
    return np.packbits(above, axis=1).view(np.uint64)[:, 0]


def close_pairs(hashes: Hashes, most: int = BITS) -> Iterator[tuple[Positions, Positions]]:
    """All pairs of hashes that differ in at most so many bits, each once, as two arrays at a time.

    Cut into one band more than there may be differences, two such hashes agree in a whole band.

    >>> hashes = np.array([7, 0, 6, 1 << 40], np.uint64)
    >>> sorted((a.tolist(), b.tolist()) for a, b in close_pairs(hashes, 1))
    [([0], [2]), ([1], [3])]
    """
    edges = np.linspace(0, 64, most + 2).astype(int)
    masks = [np.uint64(sum(1 << bit for bit in range(low, high))) for low, high in pairwise(edges)]
    for band, mask in enumerate(masks):
        values = hashes & mask
        order = np.argsort(values, kind="stable")
        cuts = np.flatnonzero(np.diff(values[order])) + 1
        for group in np.split(order, cuts):
            rows = max(1, AT_ONCE // len(group))
            for begin in range(0, len(group) - 1, rows):
                some = group[begin : begin + rows]
                differ = hashes[some][:, None] ^ hashes[group][None]  # [rows,n]
                close = np.bitwise_count(differ) <= most
                for earlier in masks[:band]:  # where they were found already
                    close &= (differ & earlier) != 0
                left, right = np.nonzero(close)
                later = right > left + begin
                if later.any():
                    yield some[left[later]], group[right[later]]


def differences(one: Images, other: Images) -> tuple[npt.NDArray[np.float64], ...]:
    """How far images ``[n,C,H,W]`` lie from others: the root mean square of the difference of
    pixels, of 255, and that as a share of the lower contrast (the standard deviation) of the two.

    >>> dark, light = np.zeros((1, 1, 2, 2), np.uint8), np.full((1, 1, 2, 2), 9, np.uint8)
    >>> [float(value[0]) for value in differences(dark, light)]
    [9.0, inf]
    """
    a, b = (part.reshape(len(part), -1).astype(np.float32) for part in (one, other))
    error = np.sqrt(np.square(a - b).mean(axis=1, dtype=np.float64))
    contrast = np.minimum(a.std(axis=1, dtype=np.float64), b.std(axis=1, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        return error, np.where(error == 0, 0.0, error / contrast)


def near_pairs(samples: Samples, emit: Emit) -> list[tuple[int, int, float]]:
    """Pairs of images that look alike and are not identical: both numbers, and the root mean square
    of their difference, of 255. Of identical images the first stands for all."""
    stage = "look for copies"
    grey = np.concatenate(samples.each(lambda some: shrunk(some, GREY, grey=True), stage, emit))
    alone = np.flatnonzero(firsts(samples.hashes) == np.arange(len(samples)))
    found: list[tuple[int, int, float]] = []
    proposed = 0
    for left, right in close_pairs(perceptual_hashes(grey)[alone]):
        one, other = alone[left], alone[right]
        proposed += len(one)
        for begin in range(0, len(one), 4096):
            a, b = one[begin : begin + 4096], other[begin : begin + 4096]
            likely = alike(grey[a], grey[b])
            found += _confirmed(samples, a[likely], b[likely])
        emit(Progress("compare what looks alike", proposed, None, "pairs"))
    return sorted(found)


def alike(one: Images, other: Images) -> npt.NDArray[np.bool_]:
    """Which of the images ``[n,C,H,W]`` show what the others show."""
    error, share = differences(one, other)
    return (error <= ERROR) & (share <= SHARE)


def _confirmed(
    samples: Samples, one: Positions, other: Positions
) -> Iterator[tuple[int, int, float]]:
    """Of the pairs those whose pixels agree, in colour, at ``SIDE`` pixels a side."""
    for begin in range(0, len(one), 256):
        a, b = one[begin : begin + 256], other[begin : begin + 256]
        first, second = (shrunk(samples.images(part), SIDE) for part in (a, b))
        error = differences(first, second)[0]
        for at in np.flatnonzero(alike(first, second)):
            yield int(min(a[at], b[at])), int(max(a[at], b[at])), float(error[at])


def components(count: int, pairs: list[tuple[int, int]]) -> Positions:
    """For each of so many images the first one that pairs lead to from it.

    >>> components(5, [(1, 3), (3, 4)]).tolist()
    [0, 1, 2, 1, 1]
    """
    found = np.arange(count)

    def first(at: int) -> int:
        while found[at] != at:
            found[at] = at = found[found[at]]
        return at

    for one, other in pairs:
        low, high = sorted((first(one), first(other)))
        found[high] = low
    return np.array([first(at) for at in range(count)], np.int64)
