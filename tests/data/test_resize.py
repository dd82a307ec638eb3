"""An image is brought to its size once, and keeps what the way of fitting says."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encoded
from PIL import Image

from convscope.data import decode as decoder
from convscope.data.decode import decode


def test_an_image_of_the_size_is_untouched():
    noise = np.random.default_rng(0).integers(0, 256, (31, 17, 3), np.uint8)
    for fit in decoder.FITS:
        for source in (noise, Image.fromarray(noise), encoded(Image.fromarray(noise))):
            image = decode(source, channels=3, size=(31, 17), fit=fit)
            assert np.array_equal(image, noise.transpose(2, 0, 1))
            inverted = decode(source, channels=3, size=(31, 17), fit=fit, invert=True)
            assert np.array_equal(inverted, 255 - image)


def test_pad_keeps_everything_and_continues_the_edge():
    digit = np.full((20, 10), 200, np.uint8)
    digit[5:15, 3:7] = 20
    digit[0, 0] = 0  # a speck does not colour the border
    image = decode(digit, channels=1, size=(40, 40))[0]
    assert (image[:, :10] == 200).all() and (image[:, 30:] == 200).all()
    assert (image[15:25, 18:22] == 20).all()
    assert decode(digit, channels=1, size=(40, 40), invert=True)[0, 0, 0] == 55
    colour = np.full((10, 30, 3), (10, 20, 30), np.uint8)
    assert decode(colour, channels=3, size=(30, 30))[:, 0, 0].tolist() == [10, 20, 30]


def test_crop_fills_from_the_middle():
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 255
    assert (decode(wide, channels=1, size=(10, 10), fit="crop") == 255).all()
    assert (decode(wide.T.copy(), channels=1, size=(5, 5), fit="crop")[0, 1:-1] == 255).all()
    assert not (decode(wide, channels=1, size=(10, 10), fit="pad") == 255).all()


def test_stretch_fills_all():
    half = np.zeros((10, 30), np.uint8)
    half[:, 15:] = 255
    image = decode(half, channels=1, size=(12, 12), fit="stretch")[0]
    assert (image[:, :5] == 0).all() and (image[:, 7:] == 255).all()


def test_reducing_averages():
    board = np.indices((64, 64)).sum(0) % 2 * 255
    image = decode(board.astype(np.uint8), channels=1, size=(8, 8))
    assert image.min() >= 125 and image.max() <= 130


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    fit=st.sampled_from(decoder.FITS),
    grey=st.integers(0, 255),
)
def test_any_shape_fits_any_size_and_a_plain_image_stays_plain(shape, size, fit, grey):
    image = decode(np.full(shape, grey, np.uint8), channels=3, size=size, fit=fit)
    assert image.shape == (3, *size)
    assert (image == grey).all()


def test_a_very_long_image():
    assert decode(np.zeros((1, 5000), np.uint8), channels=1, size=(8, 8)).shape == (1, 8, 8)
