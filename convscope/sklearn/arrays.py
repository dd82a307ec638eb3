"""Arrays of images as others hold them -> uint8 ``[N,C,H,W]``: what shape an image has, and which
values are black and white."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convscope.errors import BadArgument

CHANNELS = (1, 3)
TOLD = 4  # pixels a side from which on a row of 3 * side * side numbers may be an image in colour
PIECE = 1 << 20  # values that are scaled at a time

Array = npt.NDArray[Any]


def image_shape(
    shape: Sequence[int], given: Sequence[int] | None = None, argument: str = "X"
) -> tuple[int, int, int]:
    """Height, width and channels of the images in an array of this ``shape``: ``[N,H,W]``,
    ``[N,H,W,C]`` with 1 or 3 channels, or ``[N,D]``, an image a row.

    A row is an image of the shape that is ``given``, (height, width) or (height, width, channels);
    without it a square grey one where D is a square number, else a strip of 1 x D. Raises
    BadArgument, which names the ``argument`` that the array is, for another shape, and for D that
    may as well be a square image in colour.

    >>> image_shape((5, 28, 28)), image_shape((5, 784)), image_shape((5, 30))
    ((28, 28, 1), (28, 28, 1), (1, 30, 1))
    """
    if given is not None:
        given = _given(given)
    if len(shape) == 2:
        return _of_rows(shape[1], given, argument)
    if len(shape) not in (3, 4):
        rule = "must be [N,H,W], [N,H,W,C] or [N,D]"
        raise BadArgument(argument, f"an array {list(shape)}", rule, "reshape it")
    height, width, channels = (*shape[1:], 1)[:3]
    if channels not in CHANNELS:
        rule = "must be [N,H,W,C] with 1 or 3 channels"
        remedy = "take the colours alone, X[..., :3], if the fourth channel is opacity"
        if shape[1] in CHANNELS:
            rule, remedy = f"{rule} last", "give X.transpose(0, 2, 3, 1)"
        raise BadArgument(argument, f"an array {list(shape)}", rule, remedy)
    if given is not None and given != (height, width, channels):
        rule = f"is not that of X, whose images are {height} x {width} x {channels}"
        raise BadArgument("image_shape", given, rule, "leave it out")
    return height, width, channels


def _given(shape: Sequence[int]) -> tuple[int, int, int]:
    """A shape that was given, with its channels. Raises BadArgument."""
    whole = isinstance(shape, Sequence) and all(
        isinstance(one, int | np.integer) and one > 0 for one in shape
    )
    if not whole or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in CHANNELS):
        rule = "must be (height, width), or (height, width, channels) with 1 or 3 channels"
        raise BadArgument("image_shape", shape, rule, "try (28, 28) or (32, 32, 3)")
    height, width, channels = (*map(int, shape), 1)[:3]
    return height, width, channels


def _of_rows(
    numbers: int, given: tuple[int, int, int] | None, argument: str
) -> tuple[int, int, int]:
    """What a row of so many numbers is. Raises BadArgument."""
    if given is not None:
        if math.prod(given) != numbers:
            sides = " x ".join(map(str, given))
            rule = f"is {sides} = {math.prod(given):,} numbers, and a row of X has {numbers:,}"
            raise BadArgument("image_shape", given, rule, "correct one of them")
        return given
    side = math.isqrt(numbers)
    if side * side == numbers and numbers:
        return side, side, 1
    side = math.isqrt(numbers // 3)
    if side >= TOLD and 3 * side * side == numbers:
        rule = f"may be images of {side} x {side} in colour, or strips"
        remedy = (
            f"say image_shape=({side}, {side}, 3) if the three numbers of a pixel stand together, "
            f"image_shape=(1, {numbers}) if it is a strip, and give "
            f"X.reshape(-1, 3, {side}, {side}).transpose(0, 2, 3, 1) if colour comes after colour"
        )
        raise BadArgument(argument, f"{numbers:,} numbers a row", rule, remedy)
    return 1, numbers, 1


@dataclass(frozen=True)
class Levels:
    """Which values are black (``low``) and white (``high``). ``exact`` are bounds that someone
    gave; ``learnt`` ones are those of the values themselves, and others may lie beyond them.
    ``eight_bits`` is whether the values were uint8."""

    low: float
    high: float
    exact: bool = False
    learnt: bool = False
    eight_bits: bool = False

    @classmethod
    def of(cls, values: Array, given: Sequence[float] | None = None) -> Levels:
        """Those of an array of finite numbers: as ``given``; else 0 to 255 of uint8, and of whole
        numbers that all are within; 0 to 1 where all values are within; else its least and greatest
        value. Raises BadArgument.

        >>> levels = [Levels.of(np.array(one)) for one in ([0, 16], [0.1, 0.9], [-1.5, 2])]
        >>> [(one.low, one.high) for one in levels]
        [(0.0, 255.0), (0.0, 1.0), (-1.5, 2.0)]
        """
        eight_bits = values.dtype == np.uint8
        if given is not None:
            low, high = _bounds(given)
            return cls(low, high, exact=True, eight_bits=eight_bits)
        if eight_bits:
            return cls(0.0, 255.0, eight_bits=True)
        low, high = float(values.min()), float(values.max())
        if low >= 0 and high <= 1:
            return cls(0.0, 1.0)
        if low >= 0 and high <= 255 and _whole(values):
            return cls(0.0, 255.0)
        return cls(low, high if high > low else low + 1, learnt=True)

    def pixels(self, values: Array, argument: str = "X") -> npt.NDArray[np.uint8]:
        """The values as 0 (black) to 255 (white), to the nearest whole number, in their shape.

        Raises BadArgument, which names the ``argument`` that they are, for values beyond what is
        ``exact``; elsewhere for such as lie above by more than the whole range, or below by more
        than half of it, or of how far the others rise above a black that is 0, which are of another
        scale; and for fractions where 8 bits were seen, which may be of either.

        >>> Levels(-1, 1).pixels(np.array([[-1, 0.5, 1.5]]))
        array([[  0, 191, 255]], dtype=uint8)
        """
        if values.dtype == np.uint8 and (self.low, self.high) == (0, 255):
            return values
        if self.eight_bits and not self.exact and values.dtype.kind == "f":
            rule = "may be 0 to 1 or 0 to 255, and the images of fit were uint8"
            remedy = "give uint8, or say value_range=(0, 1) or (0, 255)"
            raise BadArgument(argument, f"an array of {values.dtype}", rule, remedy)
        width = self.high - self.low
        if not self.exact and width > 2 and _is_share(values):
            rule = f"lies within 0 to 1, and the images of fit were {self.low:g} to {self.high:g}"
            remedy = f"scale it as they were, or say value_range=({self.low:g}, {self.high:g})"
            raise BadArgument(argument, f"an array of {values.dtype}", rule, remedy)
        if len(values):
            self._check(float(values.min()), float(values.max()), argument)
        found = np.empty(values.shape, np.uint8)
        rows = max(1, PIECE // max(1, values[:1].size))
        for begin in range(0, len(values), rows):
            piece = values[begin : begin + rows].astype(np.float64)
            piece -= self.low
            piece *= 255 / width
            np.rint(piece, out=piece)
            found[begin : begin + rows] = piece.clip(0, 255, out=piece)
        return found

    def _check(self, least: float, greatest: float, argument: str) -> None:
        width = self.high - self.low
        below = above = width / 510  # half a level of 8 bits
        if not self.exact:
            above = width
            rise = width if self.learnt else min(width, greatest - self.low)
            below = max(below, rise / 2)  # as resampling leaves it, and no image with its sign lost
        if self.low - below <= least and greatest <= self.high + above:
            return
        where = "value_range is" if self.exact else "the images of fit had"
        rule = f"are not of one scale with that: {where} {self.low:g} to {self.high:g}"
        remedy = "scale it as the others" + ", or correct value_range" * self.exact
        raise BadArgument(argument, f"values of {least:g} to {greatest:g}", rule, remedy)


def _is_share(values: Array) -> bool:
    """Whether numbers are fractions of 0 to 1."""
    if values.dtype.kind != "f" or not len(values):
        return False
    return bool(values.min() >= 0 and values.max() <= 1 and not _whole(values))


def _bounds(given: Sequence[float]) -> tuple[float, float]:
    """A range that was given. Raises BadArgument."""
    try:
        low, high = map(float, given)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        rule = "must be two numbers, that of black and a greater one, that of white"
        raise BadArgument("value_range", given, rule, "try (0, 1) or (0, 255)")
    return low, high


def _whole(values: Array) -> bool:
    return values.dtype.kind in "biu" or bool((np.rint(values) == values).all())


def images_of(pixels: npt.NDArray[np.uint8], shape: tuple[int, int, int]) -> Array:
    """Rows uint8 ``[N,D]`` as images ``[N,C,H,W]`` of this (height, width, channels)."""
    return np.ascontiguousarray(pixels.reshape(-1, *shape).transpose(0, 3, 1, 2))
