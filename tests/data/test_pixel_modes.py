"""Samples of every depth and mode become 8 bits, grey or RGB, on white."""

import struct

import numpy as np
import pytest
from pictures import as_is, encoded, grey16, picture, pixels, png
from PIL import Image

from convscope.data.decode import decode
from convscope.errors import ImageError


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_and_not_clipped(form):
    levels = as_is(encoded(grey16(), form), channels=1)
    assert len(np.unique(levels)) == 256
    expected = np.rint(np.linspace(0, 65535, 4096).round() / 257)
    assert np.array_equal(levels[0, 0], expected)
    assert np.array_equal(as_is(encoded(grey16(), form), channels=3)[2, 0], expected)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L"])
def test_every_order_of_bytes(mode):
    values = np.array([[0, 1, 128, 129, 257, 32768, 65535]])
    raw = values.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    image = Image.frombytes(mode, (7, 1), raw)
    assert as_is(image, channels=1).tolist() == [[[0, 0, 0, 1, 1, 128, 255]]]


def test_thirty_two_bits_are_read_as_sixteen_where_they_fit():
    fits = Image.fromarray(np.array([[0, 65535]], np.int32))
    assert as_is(encoded(fits, "TIFF"), channels=1).tolist() == [[[0, 255]]]
    for values in ([0, 65536], [-1, 5]):
        image = Image.fromarray(np.array([values], np.int32))
        with pytest.raises(ImageError, match=r"holds values from .* not 16 bits; save it again"):
            as_is(image)


def test_floats_have_no_known_white():
    image = encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    with pytest.raises(ImageError, match=r"numbers without a known white \(mode F\); save it"):
        as_is(image)


def tiff(values: bytes, bits: int, photometric: int) -> bytes:
    """A grey TIFF of one row, uncompressed, which Pillow would not write."""
    width = len(values) * 8 // bits
    entries = {256: width, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 1}
    entries[279] = len(values)
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, entries[tag]) for tag in entries)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(values))
    return head + values + struct.pack("<H", len(entries)) + directory + bytes(4)


def test_tiff_of_twelve_bits_and_of_white_as_zero():
    assert as_is(tiff(bytes([0xFF, 0xF0, 0x00]), 12, 1), channels=1).tolist() == [[[255, 0]]]
    white_is_zero = np.array([0, 65535, 257], "<u2").tobytes()
    assert as_is(tiff(white_is_zero, 16, 0), channels=1).tolist() == [[[255, 0, 254]]]


def test_colour_of_sixteen_bits(test_images):
    for name in ("basn2c16", "basn6a16", "basn4a16"):
        path = test_images / "pngsuite" / f"{name}.png"
        assert len(np.unique(decode(path, channels=3, size=(32, 32)))) > 20


def test_cmyk_is_its_rgb_twin():
    for form, options in (("JPEG", {"quality": 100, "subsampling": 0}), ("TIFF", {})):
        twin = as_is(encoded(picture("CMYK"), form, **options)).astype(int)
        assert np.abs(twin - pixels(picture())).max() <= 6


def test_cmyk_of_photoshop_is_not_inverted(test_images):
    image = decode(test_images / "pillow" / "pil_sample_cmyk.jpg", channels=3, size=(100, 100))
    assert image[0, 0, 0] > 200 and image[1:, 0, 0].max() < 90  # a red corner
    assert image[:, -1, -1].max() < 60  # on black


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "RGBX", "RGBA", "RGBa", "CMYK"])
def test_other_colour_modes_are_close_to_rgb(mode):
    image = picture("RGBA").convert("RGBa") if mode == "RGBa" else picture(mode)
    assert np.abs(as_is(image).astype(int) - pixels(picture())).mean() < 10


@pytest.mark.parametrize("mode", ["L", "LA", "La", "PA", "1"])
def test_grey_modes_keep_their_grey(mode):
    grey = picture("L").point(lambda value: 255 * (value > 99)) if mode == "1" else picture("L")
    image = grey.convert("LA").convert(mode) if mode in ("La", "PA") else grey.convert(mode)
    assert np.array_equal(as_is(image, channels=1), pixels(grey))
    assert np.array_equal(as_is(image, channels=3), np.repeat(pixels(grey), 3, 0))


def test_one_bit_files():
    black_and_white = Image.fromarray(np.array([[True, False], [False, True]]))
    for form in ("PNG", "BMP", "TIFF", "PPM"):
        image = as_is(encoded(black_and_white, form), channels=1)
        assert image.tolist() == [[[255, 0], [0, 255]]]


def test_transparent_pixels_become_white():
    half = np.zeros((1, 3, 4), np.uint8)
    half[0, :, 3] = (0, 128, 255)
    for form in ("PNG", "TIFF", "WEBP"):
        options = {"lossless": True, "exact": True} if form == "WEBP" else {}
        image = as_is(encoded(Image.fromarray(half), form, **options))
        assert image[:, 0].tolist() == [[255, 127, 0]] * 3
    grey = Image.fromarray(half).convert("LA")
    assert as_is(encoded(grey), channels=1).tolist() == [[[255, 127, 0]]]


@pytest.mark.parametrize(
    ("mode", "values", "clear"),
    [("L", [0, 9], 9), ("RGB", [(1, 2, 3), (9, 9, 9)], (9, 9, 9)), ("1", [0, 1], 1)],
)
def test_one_transparent_colour(mode, values, clear):
    image = Image.new(mode, (2, 1))
    image.putdata(values)
    first, second = as_is(encoded(image, transparency=clear))[0, 0]
    assert first < 2 and second == 255


def test_transparent_colour_in_the_depth_of_the_file():
    four_bits = png(4, 0, bytes([0x25]), bytes([0, 2]), 2)
    assert as_is(four_bits, channels=1).tolist() == [[[255, 85]]]
    two_bits = png(2, 0, bytes([0b01100000]), bytes([0, 1]), 2)
    assert as_is(two_bits, channels=1).tolist() == [[[255, 170]]]
    sixteen = png(16, 0, bytes([1, 1, 2, 2]), bytes([1, 1]), 2)
    assert as_is(sixteen, channels=1).tolist() == [[[255, 2]]]
    colours = bytes([1, 0, 2, 0, 3, 0]) + bytes([1, 0, 2, 0, 4, 0])
    assert as_is(png(16, 2, colours, colours[:6], 2))[2].tolist() == [[255, 4]]


def test_palette_with_and_without_transparency():
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 0])
    image.putdata([0, 1, 2])
    for form in ("PNG", "GIF", "BMP", "TIFF"):
        colours = as_is(encoded(image, form)).transpose(1, 2, 0)[0]
        assert colours.tolist() == [[10, 20, 30], [200, 100, 50], [0, 0, 0]]
    for form in ("PNG", "GIF"):
        colours = as_is(encoded(image, form, transparency=1)).transpose(1, 2, 0)[0]
        assert colours.tolist() == [[10, 20, 30], [255, 255, 255], [0, 0, 0]]
    half = as_is(encoded(image, transparency=bytes([255, 255, 0]))).transpose(1, 2, 0)[0]
    assert half.tolist() == [[10, 20, 30], [200, 100, 50], [255, 255, 255]]
