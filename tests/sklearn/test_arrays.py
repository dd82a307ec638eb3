"""Arrays as images: which shape, which scale; what may be meant in two ways is refused."""

from __future__ import annotations

import numpy as np
import pytest

from convscope.errors import BadArgument
from convscope.sklearn.arrays import Levels, image_shape, images_of


@pytest.mark.parametrize(
    ("shape", "given", "expected"),
    [
        ((9, 28, 20), None, (28, 20, 1)),
        ((9, 28, 20, 1), (28, 20), (28, 20, 1)),
        ((9, 3, 28, 3), None, (3, 28, 3)),
        ((9, 64), None, (8, 8, 1)),
        ((9, 64), (4, 16), (4, 16, 1)),
        ((9, 48), [4, 4, 3], (4, 4, 3)),
        ((9, 12), None, (1, 12, 1)),  # too small to be meant as 2 x 2 in colour
        ((9, 30), None, (1, 30, 1)),
    ],
)
def test_the_shape_of_an_image(shape, given, expected):
    assert image_shape(shape, given) == expected


@pytest.mark.parametrize(
    ("shape", "given", "said"),
    [
        ((9, 3072), None, r"X=3,072 numbers a row: may be images of 32 x 32 in colour, or strips; "
         r"say image_shape=\(32, 32, 3\) .*reshape\(-1, 3, 32, 32\)"),
        ((9, 3, 32, 32), None, r"with 1 or 3 channels last; give X.transpose\(0, 2, 3, 1\)"),
        ((9, 32, 32, 4), None, r"1 or 3 channels; take the colours alone, X\[..., :3\]"),
        ((9, 2, 2, 2, 2), None, r"X=an array \[9, 2, 2, 2, 2\]: must be \[N,H,W\]"),
        ((9, 28, 28), (28, 20), "image_shape=.*is not that of X, whose images are 28 x 28 x 1"),
        ((9, 60), (8, 8), "image_shape=.*is 8 x 8 x 1 = 64 numbers, and a row of X has 60"),
        ((9, 64), (8, 8, 2), r"image_shape=\(8, 8, 2\): must be \(height, width\), or"),
        ((9, 64), 8, r"image_shape=8: must be \(height, width\)"),
    ],
)  # fmt: skip
def test_a_shape_that_is_none_or_may_be_two(shape, given, said):
    with pytest.raises(BadArgument, match=said):
        image_shape(shape, given)


def test_a_pixel_stays_where_it_is():
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    found = images_of(images.reshape(2, -1), (4, 5, 3))
    assert np.array_equal(found, images.transpose(0, 3, 1, 2))


def test_the_same_image_on_three_scales_has_the_same_pixels():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, -1)
    for values in (pixels, pixels.astype(np.int64), pixels.astype(np.float64), pixels / 255,
                   (pixels / 255).astype(np.float32), pixels / 100 - 1.28):  # fmt: skip
        assert np.array_equal(Levels.of(values).pixels(values), pixels), values.dtype
    given = Levels.of(pixels / 255, (0, 1))
    assert np.array_equal(given.pixels(pixels / 255), pixels)
    assert Levels.of(np.full((2, 2), 7.5)).pixels(np.full((2, 2), 7.5)).tolist() == [[0, 0]] * 2


def test_what_lies_a_little_beyond_is_black_or_white():
    assert Levels(0, 1).pixels(np.array([[-0.2, 1.3]])).tolist() == [[0, 255]]
    assert Levels(0, 255).pixels(np.array([[-12.5, 270.0]])).tolist() == [[0, 255]]
    learnt = Levels.of(np.array([[-1.5, 2.0]]))
    assert learnt.pixels(np.array([[-3.0, -1.5]])).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("seen", "given", "values", "said"),
    [
        ([0.0, 1.0], None, [0.0, 255.0], "X=values of 0 to 255: are not of one scale with that: "
         "the images of fit had 0 to 1"),
        ([0.0, 16.0], None, [-16.0, 0.0], "values of -16 to 0: are not of one scale with that: "
         "the images of fit had 0 to 255"),
        ([0.0, 16.0], None, [-1.0, 1.0], "values of -1 to 1: are not of one scale"),
        ([0, 16], None, [-8, 8], "values of -8 to 8: are not of one scale"),
        ([0.0, 0.5], None, [-0.5, 0.0], "values of -0.5 to 0: are not of one scale"),
        ([0.0, 16.5], None, [-16.5, 0.0], "values of -16.5 to 0: .* had 0 to 16.5"),
        ([0.0, 0.5], (0, 1), [0.0, 1.1], "value_range is 0 to 1; .*or correct value_range"),
        (np.uint8([0, 9]), None, [0.0, 1.0], "array of float64: may be 0 to 1 or 0 to 255, and the "
         "images of fit were uint8; give uint8"),
        ([0.0, 255.0], None, [0.1, 0.9], "array of float64: lies within 0 to 1, and the images of "
         r"fit were 0 to 255; scale it as they were, or say value_range=\(0, 255\)"),
        ([0.0], (1, 0), [0.0], r"value_range=\(1, 0\): must be two numbers, that of black"),
        ([0.0], 3, [0.0], "value_range=3: must be two numbers"),
    ],
)  # fmt: skip
def test_values_of_another_scale(seen, given, values, said):
    with pytest.raises(BadArgument, match=said):
        Levels.of(np.asarray(seen).reshape(1, -1), given).pixels(np.array([values]))
