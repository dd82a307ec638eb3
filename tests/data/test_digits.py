"""A photographed digit becomes one of MNIST; what is no digit is refused in words."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from written import digit, photographed, put, ruled, sheet

from convscope.data.digits import cut, is_photo, normalised, read_photo
from convscope.errors import ImageError


def alike(one: np.ndarray, two: np.ndarray) -> float:
    """The correlation of two pictures, one of them moved by up to a pixel: a middle is rounded."""
    moves = [(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    moved = (np.roll(one, move, (0, 1)) for move in moves)
    return max(float(np.corrcoef(each.ravel(), two.ravel())[0, 1]) for each in moved)


@pytest.mark.parametrize("lined", [False, True])
def test_a_photographed_digit_is_mnists_again(lined):
    """MNIST's own digits, enlarged, in shadow on paper: what is cut out is near to them."""
    found = []
    for label in range(10):
        ink = put(sheet(), digit(label), 50, 90)
        [one] = cut(photographed(ink, ruled(ink) if lined else None, seed=label))
        found.append(alike(one.pixels, digit(label)))
    assert min(found) > 0.85 and np.mean(found) > 0.93, found


@pytest.mark.parametrize("label", range(10))
def test_it_fills_a_box_of_20_pixels_and_is_centred_by_mass(label):
    ink = np.kron(digit(label) > 127, np.ones((9, 7), bool))
    one = normalised(ink)
    rows, columns = np.nonzero(one)
    long = max(np.ptp(rows), np.ptp(columns)) + 1
    assert one.shape == (28, 28) and one.max() == 255 and long == 20
    for axis, at in ((0, rows), (1, columns)):
        middle = (one.sum(axis=1 - axis) * (np.arange(28))).sum() / one.sum()
        assert abs(middle - 14) <= 0.5 or at.min() == 0 or at.max() == 27
    shape = ink[:, ink.any(axis=0)][ink.any(axis=1)].shape
    kept = (np.ptp(rows) + 1) / (np.ptp(columns) + 1)
    assert kept == pytest.approx(shape[0] / shape[1], rel=0.25)  # a pixel of few is much


def test_paper_around_it_changes_nothing():
    ink = np.kron(digit(5) > 127, np.ones((3, 3), bool))
    assert np.array_equal(normalised(np.pad(ink, ((0, 9), (5, 1)))), normalised(ink))


def test_thin_and_thick_strokes_come_near_to_each_other():
    y, x = np.mgrid[:100, :100] - 50
    ring = np.abs(np.hypot(x, y) - 40)
    thin, thick = (normalised(ring < width) for width in (1, 11))
    assert 0.5 < thin.sum() / thick.sum() < 1.1 and thin.max() == 255
    assert thick[14, 14] == thin[14, 14] == 0  # the hole stays


def test_digits_are_cut_apart_from_left_to_right():
    ink = sheet(200, 500)
    for at, label in enumerate((4, 7, 1, 0)):
        ink = put(ink, digit(label), 30 + 5 * at, 15 + 115 * at, times=4)
    photo = photographed(ink)
    found = cut(photo)
    assert [max(range(10), key=lambda n: alike(digit(n), one.pixels)) for one in found] == [
        4, 7, 1, 0,
    ]  # fmt: skip
    for one in found:
        left, top, right, bottom = one.box
        assert ink[top:bottom, left:right].max() > 0.9
    assert ink.astype(bool).sum() == pytest.approx(
        sum((ink[t:b, le:r] > 0).sum() for le, t, r, b in (one.box for one in found)), rel=0.2
    )


def test_strokes_that_touch_are_cut_and_strokes_of_one_digit_are_kept_together():
    ink = sheet(160, 300)
    ink[40:120, 60:68] = ink[40:48, 60:100] = ink[112:120, 60:100] = 1  # [
    ink[40:120, 108:116] = ink[112:120, 98:168] = 1  # L, which touches it
    assert [one.box[0] for one in cut(photographed(ink))] == pytest.approx([60, 102], abs=8)
    five = sheet(160, 300)
    five[50:120, 100:108] = five[80:88, 100:150] = five[80:120, 142:150] = 1
    five[36:44, 104:150] = 1  # its stroke above, apart
    [one] = cut(photographed(five))
    assert one.box == pytest.approx((100, 36, 150, 120), abs=2)


def disc(radius: int) -> np.ndarray:
    y, x = np.mgrid[:240, :320]
    return (np.hypot(x - 160, y - 120) < radius) * 1.0


NOISE = np.random.default_rng(0).integers(0, 256, (240, 320), np.uint8)


@pytest.mark.parametrize(
    ("photo", "why"),
    [
        (photographed(sheet()), "there is no ink on it; photograph dark ink on plain paper"),
        (NOISE, "it is not of plain paper"),
        (photographed(disc(20)), "its marks are no strokes of a pen"),
        (
            photographed(put(sheet(300), digit(3), 20, 0, times=8)[80:]),
            "the ink runs over its edge",
        ),
        (photographed(disc(4)), "the largest mark is 7 pixels high; go nearer"),
    ],
)
def test_what_is_no_digit_is_refused(photo, why):
    with pytest.raises(ImageError, match=f"a.jpg: shows no digit: {why}"):
        cut(photo, "a.jpg")


def test_boxes_are_in_the_upright_photographs_own_pixels():
    ink = put(sheet(1200, 1600), digit(2), 300, 500, times=20)
    [wanted] = cut(photographed(ink[::4, ::4]))
    upright = Image.fromarray(photographed(ink))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    file = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", exif=exif, quality=95)
    [one] = read_photo(file.getvalue())
    assert one.box == pytest.approx([4 * edge for edge in wanted.box], abs=12)
    assert alike(one.pixels, digit(2)) > 0.85


def test_a_photograph_is_told_from_a_clean_image():
    photo = photographed(put(sheet(), digit(2), 50, 90))
    assert is_photo(Image.fromarray(photo)) and is_photo(Image.fromarray(photo).convert("RGB"))
    assert not is_photo(Image.fromarray(255 - photo))  # light on dark, as MNIST is
    assert not is_photo(Image.fromarray(255 - digit(2)))  # small
