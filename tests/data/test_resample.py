"""The compiled resize gives Pillow's pixels, or stands back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convscope import kernels
from convscope.data import decode, resample, resize
from convscope.kernels import resize as kernel

needs_it = pytest.mark.skipif(not resample.available(), reason="no kernels on this machine")


def noise(width, height, mode="RGB") -> Image.Image:
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, shape, np.uint8))


@pytest.fixture
def asked_anew():
    """Whether it is available is asked anew, in the test and after it."""
    resample.available.cache_clear()
    yield
    resample.available.cache_clear()


def test_it_is_there_where_kernels_are():
    assert resample.available() or not kernels.available()


sides = st.integers(1, 150)


@needs_it
@settings(max_examples=400, deadline=None)
@given(sides, sides, sides, sides)
def test_every_pixel_is_pillows(width, height, to_width, to_height):
    image, size = noise(width, height), (to_width, to_height)
    assert np.array_equal(resample.resized(image, size), resize.resized(image, size))


@needs_it
@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_do_not_run_over(value):
    pixels = resample.resized(Image.new("RGB", (333, 251), (value,) * 3), (7, 11))
    assert pixels.shape == (3, 11, 7) and (pixels == value).all()


@needs_it
@pytest.mark.parametrize("fit", resize.FITS)
def test_decode_is_the_same_with_it(fit):
    for image in (noise(90, 60), noise(60, 90), noise(32, 48), noise(90, 60, "L")):
        for channels in (1, 3):
            options = {"channels": channels, "size": (48, 32), "fit": fit}
            found = decode.decode(image, **options, resize=resample.resized)
            assert np.array_equal(found, decode.decode(image, **options))
            assert found.flags.c_contiguous


@needs_it
@pytest.mark.parametrize(
    ("image", "size"),
    [
        (noise(90, 60, "L"), (30, 20)),
        (noise(50, 61), (40, 40)),  # whose columns Pillow reduces first
        (noise(39, 41), (40, 40)),
        (noise(2500, 1700), (250, 170)),  # 17 MB, which Pillow keeps in two pieces
    ],
)
def test_what_is_left_to_pillow(monkeypatch, image, size):
    expected = image.resize(size, Image.Resampling.BILINEAR)
    monkeypatch.setattr(resample, "resize", lambda *_: pytest.fail("was resized here"))
    found = resample.resized(image, size)
    assert np.array_equal(found.transpose(1, 2, 0).squeeze(), np.asarray(expected))
    if image.mode == "RGB" and image.width < 2500:
        with pytest.raises(pytest.fail.Exception):
            resample.resized(image, (size[0], size[1] + 1))


@needs_it
@pytest.mark.parametrize("reason", ["off", "other pixels", "no compiler"])
def test_it_stands_back(monkeypatch, asked_anew, reason):
    if reason == "off":
        monkeypatch.setenv("CONVSCOPE_KERNELS", "off")
    elif reason == "other pixels":  # as by a Pillow that resizes in another way
        monkeypatch.setattr(resample, "resize", lambda *given: kernel.resize(*given) ^ 1)
    else:

        def broken(*_, **named):
            raise RuntimeError("no linker here")

        monkeypatch.setenv("CONVSCOPE_KERNELS", "")

        kernel._code.cache_clear()
        monkeypatch.setattr(kernel.compiled, "code", broken)
    assert not resample.available()
    image = noise(90, 60)
    assert np.array_equal(resample.resized(image, (30, 20)), resize.resized(image, (30, 20)))
