"""One decoder for every file: right where it can be read, and one kind of error where it cannot."""

import contextlib
import functools
import hashlib
import io
import itertools
import struct
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import as_is, encoded, grey16, picture, pixels, png
from PIL import Image, ImageFile, JpegImagePlugin
from quick import python

from convscope.data import decode as decoder
from convscope.data.decode import decode, look, whole
from convscope.errors import BadArgument, ImageError

# The real files


def corpus(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_every_real_file_is_read_or_refused(test_images, capfd):
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
    assert capfd.readouterr().err == ""


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
            image, _ = decoder._flat(path, str(path), (10**6, 10**6), "pad")
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
        (
            {"size": (100_000, 100_000)},
            "would be 10,000,000,000 pixels an image, 30.00 GB; at most 89,478,485 are decoded",
        ),
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


def test_libtiff_says_nothing_and_later_what_it_said_before(capfd):
    damaged = bytearray(encoded(picture(), "TIFF", compression="tiff_adobe_deflate"))
    damaged[20:200] = bytes(180)
    with ThreadPoolExecutor(4) as pool:
        for one in [pool.submit(as_is, bytes(damaged)) for _ in range(8)]:
            assert isinstance(one.exception(), ImageError)
    assert capfd.readouterr().err == ""
    with pytest.raises(OSError, match="decoder error"):
        Image.open(io.BytesIO(damaged)).load()
    assert "ZIPDecode" in capfd.readouterr().err


def test_pillow_logs_nothing_on_stderr_where_nobody_asked(tmp_path):
    many = encoded(picture(), "TIFF")
    tag = struct.pack("<HHI", 277, 3, 1)  # SamplesPerPixel, a short
    at = many.index(tag) + len(tag)
    (tmp_path / "many.tif").write_bytes(many[:at] + struct.pack("<H", 60_000) + many[at + 2 :])
    code = "import sys; from convscope.data import decode; decode.head(sys.argv[1])"
    said = python(code, tmp_path / "many.tif").communicate(timeout=60)[1]
    assert "ImageError" in said and "More samples" not in said


def test_a_whole_image_keeps_its_shape_and_is_upright():
    large = picture(size=(400, 200))
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = encoded(large.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)
    found, scale = whole(lying, channels=3, longest=100)
    assert found.shape == (3, 50, 100) and scale == 4
    wanted = decode(large, channels=3, size=(50, 100)).astype(int)
    assert np.abs(found - wanted).mean() < 3
    same, scale = whole(large, channels=1, longest=400)
    assert scale == 1 and np.array_equal(same, as_is(large, 1))
    with pytest.raises(ImageError, match="a.png: is no image"):
        whole(b"no image", channels=1, longest=100, name="a.png")


@pytest.mark.parametrize("mode", ["L", "P"])
def test_a_bitmap_of_a_byte_a_pixel_is_grey_as_pillow_has_it(mode):
    image = picture().convert("L") if mode == "L" else picture().convert("P")
    found = decode(encoded(image, "BMP"), channels=1, size=image.size[::-1])
    assert found.shape == (1, *image.size[::-1])
    assert np.array_equal(found[0], np.asarray(image.convert("L")))
