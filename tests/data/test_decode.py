"""One decoder for every file: right where it can be read, and one kind of error where it cannot."""

import contextlib
import functools
import hashlib
import io
import itertools
import struct
import time
import warnings
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, JpegImagePlugin

from convscope.data import decode as decoder
from convscope.data.decode import decode, find_images, look
from convscope.errors import BadArgument, ImageError


def picture(mode="RGB", size=(24, 16)) -> Image.Image:
    """A smooth picture: red grows to the right, green downwards, blue with both."""
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    rgb = np.stack([x, y, (x + y) / 2], -1).round().astype(np.uint8)
    return Image.fromarray(rgb).convert(mode)


def encoded(image: Image.Image, form="PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def as_is(source, channels=3):
    """Decode at the image's own size (width, height)."""
    image = Image.open(io.BytesIO(source)) if isinstance(source, bytes) else source
    return decode(source, channels=channels, size=(image.height, image.width))


def pixels(image: Image.Image) -> np.ndarray:
    """An RGB or grey image as ``[C,H,W]``."""
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


# The real files


def corpus(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_every_real_file_is_read_or_refused(test_images):
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in corpus(test_images)}
    outcome: Counter[str] = Counter()
    for path, channels in itertools.product(before, (1, 3)):
        start = time.monotonic()
        try:
            image = decode(path, channels=channels, size=(20, 30))
        except ImageError as why:
            assert str(path) in str(why)
            outcome["refused"] += 1
        else:
            assert image.shape == (channels, 20, 30) and image.dtype == np.uint8
            assert image.flags.c_contiguous
            outcome["read"] += 1
        assert time.monotonic() - start < 5, path
    after = {path: hashlib.sha256(path.read_bytes()).digest() for path in before}
    assert after == before
    assert outcome["read"] > 700 and outcome["refused"] < 100


def test_corrupt_pngs_are_refused_and_only_they(test_images):
    files = corpus(test_images / "pngsuite")
    assert len(files) == 175
    for path in files:
        if path.name.startswith("x"):
            with pytest.raises(ImageError, match="is damaged"):
                decode(path, channels=3, size=(32, 32))
        else:
            decode(path, channels=3, size=(32, 32))


@pytest.mark.parametrize("shape", ["Landscape", "Portrait"])
def test_all_nine_exif_orientations_are_one_picture(test_images, shape):
    folder = test_images / "exif-orientation"
    size = (60, 90) if shape == "Landscape" else (90, 60)
    first, *others = (
        decode(folder / f"{shape}_{number}.jpg", channels=3, size=size) for number in range(9)
    )
    for number, other in enumerate(others, 1):
        difference = np.abs(first.astype(int) - other)
        # The number is written into each picture, hence a few pixels that differ.
        assert np.median(difference) <= 3, number
        assert difference.mean() < 6, number


def test_real_names_that_say_what_must_happen(test_images):
    pillow = test_images / "pillow"
    for name, problem in {
        "decompression_bomb.gif": "claims more than",
        "truncated_jpeg.jpg": "is damaged or cut short",
        "truncated_image.png": "is damaged or cut short",
        "broken.png": "is no image",
        "hopper.Lab.tif": "holds Lab colours",
        "png_decompression_dos.png": "is damaged",
        "bmp/b/badwidth.bmp": "claims more than",
    }.items():
        with pytest.raises(ImageError, match=problem):
            decode(pillow / name, channels=3, size=(32, 32))
    upright = decode(pillow / "hopper.jpg", channels=3, size=(32, 32)).astype(int)
    for form, number in itertools.product(("jpg", "webp"), range(2, 9)):
        turned = decode(pillow / f"hopper_orientation_{number}.{form}", channels=3, size=(32, 32))
        assert np.abs(upright - turned).mean() < 12, (form, number)


# Bits and modes


def grey16(mode="I;16", top=65535) -> Image.Image:
    """A ramp over 16 bits, 4096 pixels wide."""
    ramp = np.linspace(0, top, 4096).round().astype(np.uint16)
    return Image.fromarray(np.broadcast_to(ramp, (4, 4096)).copy()).convert(mode)


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


# Transparency


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


def png(depth, colour, row, clear, width) -> bytes:
    """A PNG of one row, with a transparent colour."""
    head = width.to_bytes(4, "big") + bytes([0, 0, 0, 1, depth, colour, 0, 0, 0])
    data = zlib.compress(b"\0" + row)
    whole = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", head), (b"tRNS", clear), (b"IDAT", data), (b"IEND", b"")):
        whole += struct.pack(">I", len(body)) + kind + body
        whole += struct.pack(">I", zlib.crc32(kind + body))
    return whole


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


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation(form):
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if form == "WEBP" else {}
    movie = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert as_is(movie)[:, 3, 3].tolist() == [255, 0, 0]


# Upright


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_is_applied_once(form, orientation):
    upright = picture()
    turn = decoder._UPRIGHT.get(orientation)
    undo = {Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270}
    undo |= {after: before for before, after in undo.items()}
    stored = upright.transpose(undo.get(turn, turn)) if turn is not None else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {"quality": 100} if form == "JPEG" else {}
    source = encoded(stored, form, exif=exif, **options)
    image = decode(source, channels=3, size=(16, 24))
    assert np.abs(image.astype(int) - pixels(upright)).mean() < 3


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"x"])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_not_break_the_image(form, exif):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = as_is_size(encoded(picture(), form, quality=100, exif=exif))
    assert np.abs(image.astype(int) - pixels(picture())).mean() < 3


def test_an_orientation_that_means_nothing_is_passed_over():
    exif = Image.Exif()
    exif[0x0112] = 77
    assert np.array_equal(as_is(encoded(picture(), exif=exif)), pixels(picture()))


# Fitting


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


# Large JPEGs


@functools.cache
def photograph(size=(1600, 1200), seed=0) -> Image.Image:
    """Something with edges, slopes and fine noise, as a photograph has."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).astype(int)
    blocks = np.asarray(coarse.resize(size, Image.Resampling.NEAREST))
    noise = random.normal(0, 9, smooth.shape)
    return Image.fromarray(((smooth + blocks) / 2 + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture
def halvings(monkeypatch) -> list[tuple[int, int]]:
    """The sizes that JPEGs were asked to have while they were decoded."""
    asked: list[tuple[int, int]] = []
    draft = JpegImagePlugin.JpegImageFile.draft

    def spy(image, mode, size):
        asked.append(size)
        return draft(image, mode, size)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", spy)
    return asked


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("size", "fit", "halved"),
    [
        ((64, 64), "pad", (200, 150)),
        ((64, 64), "crop", (400, 300)),
        ((60, 40), "stretch", (400, 300)),
        ((40, 60), "stretch", (200, 150)),
        ((128, 128), "pad", (400, 300)),
        ((200, 200), "pad", (800, 600)),
        ((266, 266), "pad", (800, 600)),
        ((268, 268), "pad", None),
        ((201, 201), "crop", None),
    ],
)
def test_halving_a_large_jpeg_first_is_not_seen(
    monkeypatch, halvings, size, fit, halved, orientation
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    if orientation == 6:
        size = size[::-1]
    options = {"channels": 3, "size": size, "fit": fit}
    file = encoded(photograph(), "JPEG", quality=92, exif=exif)
    image = decode(file, **options).astype(int)
    assert halvings == ([halved] if halved else [])
    monkeypatch.setattr(decoder, "KEPT", 1e9)
    difference = np.abs(image - decode(file, **options))
    assert halvings == ([halved] if halved else [])
    assert difference.max() <= 5 and difference.mean() < 0.5
    assert difference.any() or not halved  # the comparison compares


def test_only_large_jpeg_files_whose_sides_come_out_even_are_halved(halvings):
    small = {"channels": 3, "size": (32, 32)}
    for size in ((1202, 800), (1201, 800), (1200, 799), (64, 64)):
        decode(encoded(photograph(size), "JPEG"), **small)
    image = photograph()
    given = Image.open(io.BytesIO(encoded(image, "JPEG")))
    for source in (given, encoded(image, "BMP"), np.asarray(image)):
        decode(source, **small)
    assert halvings == [(601, 400)]
    assert given.size == (1600, 1200)
    two = encoded(image, "MPO", save_all=True, append_images=[image])  # as telephones write them
    assert Image.open(io.BytesIO(two)).format == "MPO"
    decode(two, **small)
    decode(encoded(image.convert("L"), "JPEG"), **small)
    decode(encoded(image.convert("CMYK"), "JPEG"), **small)
    assert halvings[1:] == [(200, 150)] * 3


def test_a_large_jpeg_is_refused_when_cut_or_a_bomb(monkeypatch, halvings):
    whole = encoded(photograph(), "JPEG")
    with pytest.raises(ImageError, match="is damaged or cut short"):
        decode(whole[: len(whole) // 2], channels=3, size=(32, 32))
    monkeypatch.setattr(decoder, "MAX_PIXELS", 1600 * 1200 - 1)
    halvings.clear()
    with pytest.raises(ImageError, match="claims 1600 x 1200 pixels"):
        decode(whole, channels=3, size=(32, 32))
    assert not halvings


# A look at the head


def test_a_look_says_what_decode_will_find(test_images):
    known = 0
    for path in corpus(test_images):
        try:
            image = decoder._flat(path, str(path), (10**6, 10**6), "pad")
        except Exception:
            continue
        channels, (height, width) = look(path)
        assert (width, height) == image.size, path
        if channels == 1:
            pixels = decode(path, channels=3, size=(height, width)).astype(int)
            assert (pixels[0] == pixels[1]).all() and (pixels[1] == pixels[2]).all(), path
        known += channels == 1
    assert known > 50


@pytest.mark.parametrize(
    ("mode", "form", "channels"),
    [
        *(("L", "JPEG", 1), ("L", "PNG", 1), ("1", "PNG", 1), ("LA", "PNG", 1), ("I;16", "PNG", 1)),
        *(("RGB", "JPEG", 3), ("RGBA", "PNG", 3), ("P", "GIF", 3), ("CMYK", "JPEG", 3)),
    ],
)
def test_a_look_reads_the_head_only(tmp_path, monkeypatch, mode, form, channels):
    image = grey16() if mode == "I;16" else picture(mode)
    path = tmp_path / "a"
    path.write_bytes(encoded(image, form))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("was loaded"))
    assert look(path) == (channels, (image.height, image.width))


def test_a_look_at_what_is_no_image_says_so(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(ImageError, match=r"a\.png: is no image, is damaged"):
        look(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"b\.png: is not there"):
        look(tmp_path / "b.png")


# What is given


def test_every_kind_of_source_is_the_same(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(picture()))
    sources = [path, str(path), path.read_bytes(), Image.open(path), np.asarray(Image.open(path))]
    images = [as_is_size(source) for source in sources]
    assert all(np.array_equal(images[0], image) for image in images)


def as_is_size(source):
    return decode(source, channels=3, size=(16, 24))


def test_a_given_pillow_image_is_left_as_it_was():
    image = picture("P")
    image.info["transparency"] = 3
    before = (image.mode, image.size, dict(image.info), image.tobytes())
    decode(image, channels=1, size=(9, 9), invert=True)
    assert (image.mode, image.size, dict(image.info), image.tobytes()) == before
    four_bits = Image.open(io.BytesIO(png(4, 0, bytes([0x25]), bytes([0, 2]), 2)))
    assert as_is(four_bits, channels=1).tolist() == [[[255, 85]]]
    assert four_bits.info["transparency"] == 2


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 8, 8), np.float32),
        np.zeros((8, 8), np.int64),
        np.zeros((2, 2, 2), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_arrays_of_doubtful_meaning_are_refused(array):
    with pytest.raises(ImageError, match=r"is an array .*; give \[H,W\] of uint8 or uint16"):
        decode(array, channels=1, size=(8, 8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 2}, r"channels=2: must be 1 \(grey\) or 3 \(RGB\); take one of these"),
        ({"size": (0, 5)}, r"size=\(0, 5\): must be \(height, width\), at least 1 each"),
        ({"fit": "padd"}, "fit=padd: is not a way to fit an image; did you mean pad"),
    ],
)
def test_arguments_that_make_no_sense(options, message):
    with pytest.raises(BadArgument, match=message):
        decode(picture(), **({"channels": 3, "size": (4, 4)} | options))


# What is broken


def test_what_is_no_image_says_so(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not a picture at all\n" * 9)
    (tmp_path / "page.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    for name, message in {
        "empty.png": r"empty\.png: is empty; copy it again",
        "text.jpg": r"text\.jpg: is no image, is damaged, or is none of JPEG, .*; save it again",
        "page.eps": r"page\.eps: is no image",
        "gone.png": r"gone\.png: is not there; check the path",
        ".": r": is not a file; check the path",
    }.items():
        with pytest.raises(ImageError, match=message) as caught:
            decode(tmp_path / name, channels=3, size=(8, 8))
        assert str(tmp_path) in str(caught.value)
    with pytest.raises(ImageError, match="upload 7: is empty"):
        decode(b"", channels=3, size=(8, 8), name="upload 7")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", "WEBP", "AVIF"])
def test_cut_anywhere_it_is_refused_or_still_whole(form):
    whole = encoded(picture(size=(60, 40)), form)
    expected = as_is(whole)
    refused = 0
    for length in range(0, len(whole), max(1, len(whole) // 61)):
        try:
            image = decode(whole[:length], channels=3, size=(40, 60))
        except ImageError as why:
            assert "; " in str(why)
            refused += 1
        else:  # only what follows the pixels is missing
            assert np.array_equal(image, expected), length
    assert refused >= 55


@settings(max_examples=150, deadline=None)
@given(
    form=st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", "WEBP"]),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1),
)
def test_flipped_bits_give_an_image_or_an_image_error(form, flips):
    content = bytearray(encoded(picture(size=(9, 7)), form))
    for place, flip in flips:
        content[int(place * len(content))] ^= flip
    with contextlib.suppress(ImageError):
        assert decode(bytes(content), channels=1, size=(5, 5)).shape == (1, 5, 5)


def test_bombs_are_refused_before_their_pixels_are_made(monkeypatch):
    small = encoded(Image.new("L", (10, 10)), "BMP")
    for width, height in ((9460, 9460), (30_000, 30_000), (2_000_000_000, 5)):
        sizes = width.to_bytes(4, "little") + height.to_bytes(4, "little")
        bomb = small[:18] + sizes + small[26:]
        with pytest.raises(ImageError, match=r"claims .*; make it smaller, or leave it out"):
            decode(bomb, channels=1, size=(8, 8))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("was loaded"))
    with pytest.raises(ImageError, match=r"claims 9460 x 9460 pixels, more than 89,478,485"):
        decode(small[:18] + (9460).to_bytes(4, "little") * 2 + small[26:], channels=1, size=(8, 8))


PILLOW_RAISES = [
    *(OSError, ValueError, SyntaxError, IndexError, NotImplementedError, OverflowError),
    *(EOFError, KeyError, RecursionError, MemoryError, struct.error, AssertionError),
]


@pytest.mark.parametrize("kind", PILLOW_RAISES)
def test_whatever_pillow_raises_is_an_image_error(monkeypatch, kind):
    def broken(image):
        raise kind("because")

    monkeypatch.setattr(ImageFile.ImageFile, "load", broken)
    with pytest.raises(ImageError, match=r"^the image: (is damaged|needs more memory)") as caught:
        as_is(encoded(picture(), "BMP"))
    assert isinstance(caught.value.__cause__, kind)


def test_warnings_are_dropped_and_the_filters_restored():
    noisy = encoded(picture(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        with ThreadPoolExecutor(4) as pool:
            images = [pool.submit(as_is_size, noisy) for _ in range(40)]
        assert all(np.array_equal(image.result(), images[0].result()) for image in images)
        assert list(warnings.filters) == before


# Finding files


def test_find_images_in_order(tmp_path):
    for name in ("b/2.JPG", "b/1.png", "a/x.webp", "a/notes.txt", ".hidden/h.png", "a/.h.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "odd.bin").write_bytes(b"")
    found = find_images([tmp_path / "odd.bin", tmp_path, tmp_path / "b" / "1.png"])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "odd.bin", "a/x.webp", "b/1.png", "b/2.JPG", "b/1.png",
    ]  # fmt: skip


def test_find_images_follows_links_once(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_bytes(b"")
    try:
        (tmp_path / "real" / "loop").symlink_to(tmp_path, target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    assert len(find_images([tmp_path])) == 1
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "in").symlink_to(tmp_path / "real", target_is_directory=True)
    assert find_images([tmp_path / "linked"])


def test_find_images_says_what_is_missing(tmp_path):
    with pytest.raises(ImageError, match=r"gone: is not there; check the path"):
        find_images([tmp_path / "gone"])
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ImageError, match=r"holds no image; known are files named \.apng"):
        find_images([tmp_path])
