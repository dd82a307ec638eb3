"""A photograph of digits on paper -> each as MNIST has it: light on dark, in a box of 20 pixels,
centred by mass in 28x28.

What MNIST did to its black and white scans is done here to the ink of a photograph: brought to "a
20x20 pixel box while preserving their aspect ratio", grey "as a result of the anti-aliasing", and
centred in 28x28 by "the center of mass of the pixels" (LeCun, Cortes and Burges,
http://yann.lecun.com/exdb/mnist/; LeCun et al. 1998, section III A). A stroke that is thinner or
thicker than MNIST's is first brought near to those. ``web/cutting.js`` and ``web/digit.js`` do the
same in a browser.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import scipy  # which loads scipy.ndimage when a photograph comes
from numpy.typing import NDArray

from convscope.data.decode import ImageSource, whole
from convscope.data.paper import Floats, Grey, Mask, find_ink, is_light_on_dark
from convscope.errors import ImageError

SIZE, BOX = 28, 20  # pixels each way: of a digit's picture, and of the box that it fills
LONGEST = 640  # pixels of a photograph's longer side, above which it is made smaller
SMALLEST = 64  # pixels of a photograph's shorter side: below, it is no photograph
TALLEST = 0.9  # of the picture: what is larger is no digit on paper
SHORTEST = 12  # pixels a digit is high at least
STROKE = 0.12, 0.17  # of a digit's longer side: MNIST's strokes
THICKEST = 0.4  # of a digit's longer side: no stroke is thicker
MOST_INK = 0.3  # of a picture: where there is more, that is no paper
MOST_UNEVEN = 0.1  # paper's deviation, as a darkness
MOST = 32  # digits in one photograph


Number = TypeVar("Number", np.bool_, np.float64)


class Digit(NamedTuple):
    """A digit's pixels as MNIST's, uint8 [28,28], and its box in the photograph: left, top, right
    and bottom in pixels, the last two just outside."""

    pixels: Grey
    box: tuple[int, int, int, int]


@dataclass
class _Part:
    """Ink that belongs together: its labels, and its rows and columns, from and to."""

    labels: list[int]
    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def long(self) -> int:
        return max(self.height, self.width)

    def gap(self, other: _Part) -> float:
        """Pixels between the two boxes."""
        across = max(0, self.left - other.right, other.left - self.right)
        down = max(0, self.top - other.bottom, other.top - self.bottom)
        return float(np.sqrt(across * across + down * down))

    def above(self, other: _Part) -> float:
        """The share of the narrower one's columns that the other has, too."""
        shared = min(self.right, other.right) - max(self.left, other.left)
        return shared / min(self.width, other.width)

    def join(self, other: _Part) -> None:
        """Take in another part."""
        self.labels += other.labels
        self.top, self.bottom = min(self.top, other.top), max(self.bottom, other.bottom)
        self.left, self.right = min(self.left, other.left), max(self.right, other.right)


def read_photo(source: ImageSource, name: str | None = None) -> list[Digit]:
    """The digits in a photograph of paper, from left to right: what :func:`cut` gives, with boxes
    in the pixels of the upright photograph itself. Raises ImageError."""
    name = name or (str(source) if isinstance(source, Path | str) else "the photo")
    photo, scale = whole(source, channels=1, longest=LONGEST, name=name)
    return [
        Digit(pixels, tuple(round(edge * scale) for edge in box))  # type: ignore[arg-type]
        for pixels, box in cut(photo[0], name)
    ]


def is_photo(source: ImageSource, name: str | None = None) -> bool:
    """Whether an image is like a photograph of writing on paper: at least 64 pixels each way, and
    dark on light. Raises ImageError for what cannot be read."""
    photo, _ = whole(source, channels=1, longest=LONGEST, name=name)
    return min(photo[0].shape) >= SMALLEST and not is_light_on_dark(photo[0])


def cut(photo: Grey, name: str = "the photo") -> list[Digit]:
    """The digits of one line in a photograph, uint8 [H,W], from left to right.

    Raises ImageError, by ``name``, where nothing like a digit is found, with what is there instead.

    >>> photo = np.full((200, 300), 210, np.uint8)
    >>> photo[60:140, 100:108] = photo[60:140, 160:168] = 40  # two ones
    >>> [(left, right) for (left, _, right, _) in (digit.box for digit in cut(photo))]
    [(101, 107), (161, 167)]
    >>> cut(photo[:60])
    Traceback (most recent call last):
    convscope.errors.ImageError: the photo: shows no digit: there is no ink on it; ...
    """

    def refused(why: str, remedy: str) -> ImageError:
        return ImageError(name, f"shows no digit: {why}", remedy)

    whiter = "photograph dark ink on plain paper, in even light"
    ink = find_ink(photo)
    if ink.unevenness > MOST_UNEVEN or ink.mask.mean() > MOST_INK:
        raise refused("it is not of plain paper", whiter)
    labels, count = scipy.ndimage.label(ink.mask, np.ones((3, 3)))
    parts = _parts(labels, count)
    if not parts and ink.cut_off:
        raise refused("the ink runs over its edge", "leave some paper around the digits")
    if not parts:
        raise refused("there is no ink on it", whiter)
    tallest = max(part.height for part in parts)
    if tallest < SHORTEST:
        raise refused(f"the largest mark is {tallest} pixels high", "go nearer, or crop it")
    digits = []
    for part in _split(_grouped(parts, tallest), ink.mask):
        mask = np.isin(labels[part.top : part.bottom, part.left : part.right], part.labels)
        small = part.long <= TALLEST * max(photo.shape)
        if mask.any() and small and _stroke(mask) <= THICKEST * part.long:
            box = (part.left, part.top, part.right, part.bottom)
            digits.append(Digit(normalised(mask), box))
    if not digits:
        raise refused("its marks are no strokes of a pen", whiter)
    if len(digits) > MOST:
        raise refused(f"it has {len(digits)} marks", "photograph one line of digits")
    return digits


def normalised(mask: Mask) -> Grey:
    """Ink, bool [h,w], not all of it False, as a digit of MNIST, uint8 [28,28].

    >>> one = normalised(np.ones((60, 6), bool))
    >>> one.shape, int(one.max()), one[:, 14].nonzero()[0].tolist() == list(range(4, 24))
    ((28, 28), 255, True)
    """
    mask = _cropped(mask)
    long, stroke = max(mask.shape), _stroke(mask)
    wanted = float(np.clip(stroke / long, *STROKE))
    grown = (wanted * long - stroke) / (2 * (1 - wanted))  # it makes the digit larger, too
    around = 2 + max(0, int(np.ceil(grown)))
    mask = np.pad(mask, around)
    outside, inside = (scipy.ndimage.distance_transform_edt(side) for side in (~mask, mask))
    away = np.where(mask, 0.5 - inside, outside - 0.5)  # pixels from the edge of the ink
    soft: Floats = _cropped((0.5 + grown - away).clip(0, 1))  # [h,w], 1 is ink
    scale = BOX / max(soft.shape)
    height, width = (max(1, round(length * scale)) for length in soft.shape)
    small = _means(soft.shape[0], height) @ soft @ _means(soft.shape[1], width).T
    small *= 255 / max(small.max(), 1e-9)
    top, left = (
        int(np.clip(round(SIZE / 2 - _middle(small.sum(axis=axis))), 0, SIZE - length))
        for axis, length in ((1, height), (0, width))
    )
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    canvas[top : top + height, left : left + width] = small.round()
    return canvas


def _cropped(ink: NDArray[Number]) -> NDArray[Number]:
    """The box of what is not 0."""
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _parts(labels: NDArray[np.int32], count: int) -> list[_Part]:
    """The connected strokes, specks left out."""
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    parts = [
        _Part([label], rows.start, rows.stop, columns.start, columns.stop)
        for label, (rows, columns) in enumerate(scipy.ndimage.find_objects(labels), start=1)
    ]
    least = max(6, 0.02 * areas.max(initial=0))
    return [part for part, area in zip(parts, areas, strict=True) if area >= least]


def _grouped(parts: list[_Part], tallest: int) -> list[_Part]:
    """Digits from left to right: strokes above each other, and small ones with what is nearest."""
    whole_ones = [part for part in parts if part.height >= 0.4 * tallest]
    for part in parts:
        if part.height < 0.4 * tallest:
            nearest = min(whole_ones, key=part.gap)
            if part.gap(nearest) <= 0.3 * tallest:
                nearest.join(part)
    digits: list[_Part] = []
    for part in sorted(whole_ones, key=lambda one: one.left):
        for other in digits:
            near = part.gap(other) <= 0.15 * tallest
            if near and part.above(other) > 0.6:
                other.join(part)
                break
        else:
            digits.append(part)
    return digits


def _split(parts: list[_Part], mask: Mask) -> list[_Part]:
    """Digits that touch cut apart, where there is the least ink near to where one would end."""
    found = []
    for part in parts:
        several = round(part.width / (0.7 * part.height)) if part.width > 1.25 * part.height else 1
        ink = mask[part.top : part.bottom, part.left : part.right].sum(axis=0)
        step = part.width / several
        cuts = [0]
        for at in range(1, several):
            low, high = int((at - 0.3) * step), int((at + 0.3) * step) + 1
            cuts.append(low + int(np.argmin(ink[low:high])))
        for left, right in zip(cuts, [*cuts[1:], part.width], strict=True):
            piece = mask[part.top : part.bottom, part.left + left : part.left + right]
            rows = np.flatnonzero(piece.any(axis=1))
            if len(rows):
                top, bottom = part.top + int(rows[0]), part.top + int(rows[-1]) + 1
                edges = part.left + left, part.left + right
                found.append(_Part(part.labels, top, bottom, *edges))
    return found


def _stroke(mask: Mask) -> float:
    """How wide the strokes are, in pixels: a strip has two edges along it."""
    edge = mask & ~scipy.ndimage.binary_erosion(mask)
    return 2 * float(mask.sum()) / max(float(edge.sum()), 1)


def _means(length: int, wanted: int) -> Floats:
    """A matrix [wanted,length] that takes pixels to the means of equal parts of them.

    >>> _means(3, 2).tolist() == [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]]
    True
    """
    edges = np.linspace(0, length, wanted + 1)[:, None]
    pixel = np.arange(length)
    shared = np.minimum(edges[1:], pixel + 1) - np.maximum(edges[:-1], pixel)
    part: Floats = shared.clip(0) * (wanted / length)
    return part


def _middle(masses: Floats) -> float:
    """The centre of masses that lie at 0, 1, 2, ..., to a millionth, so that a half is one in
    whatever order they are added."""
    return round(float((masses * np.arange(len(masses))).sum() / max(masses.sum(), 1e-9)), 6)
