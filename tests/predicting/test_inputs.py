"""Images in any form become pixels of the network's own size, each by its name."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from written import digit, photographed, put, sheet

from convscope import machine
from convscope.data.decode import decode
from convscope.errors import BadArgument
from convscope.events import Notice, Progress
from convscope.predicting import inputs
from convscope.predicting.inputs import Input

RANDOM = np.random.default_rng(3)
IMAGE = Image.fromarray(RANDOM.integers(0, 256, (9, 14, 3), np.uint8))


def inputs_of(images, *options, emit=lambda event: None, **named) -> list[Input]:
    """All that is read of images."""
    read = inputs.stream(images, *options, emit=emit, **named)
    return inputs.collected(read, inputs.count(images), emit)


def encoded() -> bytes:
    file = io.BytesIO()
    IMAGE.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("invert", [False, True])
def test_every_form_goes_through_the_one_preprocessing(workplace, fit, invert):
    IMAGE.save("one.png")
    wanted = decode(IMAGE, channels=3, size=(6, 8), fit=fit, invert=invert)
    forms = ["one.png", Path("one.png"), encoded(), IMAGE]
    found = inputs_of(forms, 3, (6, 8), fit, invert)
    assert [one.name for one in found] == ["one.png", "one.png", "2", "3"]
    for one in found:
        assert one.error is None and np.array_equal(one.pixels, wanted)
    for form in forms:
        [one] = inputs_of(form, 3, (6, 8), fit, invert)
        assert np.array_equal(one.pixels, wanted)


def test_what_cannot_be_read_says_why_and_stops_nothing(workplace):
    for name in ("photos", "empty"):
        Path(name).mkdir()
    for name in ("photos/b.png", "photos/a.png"):
        IMAGE.save(name)
    told: list[Progress] = []
    found = inputs_of(
        ["gone.png", "photos", "empty", b"no image"], 1, (4, 4), "pad", emit=told.append
    )
    assert [Path(one.name).name for one in found] == ["gone.png", "a.png", "b.png", "empty", "4"]
    assert found[0] == Input("gone.png", None, "is not there; check the path")
    assert "holds no image" in found[3].error and "is no image" in found[4].error
    assert [one.pixels is None for one in found] == [True, False, False, True, True]
    assert told == [Progress("read", i + 1, 5, "images") for i in range(5)]


def test_an_array_is_taken_as_it_is(workplace):
    array = RANDOM.integers(0, 256, (3, 1, 4, 5), np.uint8)
    for given in (array, array[:, 0]):
        found = inputs_of(given, 1, (4, 5), "pad")
        assert [one.name for one in found] == ["0", "1", "2"]
        assert np.array_equal([one.pixels for one in found], array)
    turned = inputs_of(array, 1, (4, 5), "pad", invert=True)
    assert np.array_equal([one.pixels for one in turned], 255 - array)
    assert inputs_of(array[:0], 1, (4, 5), "pad") == []
    for wrong in (array.astype(np.float32), array[:, :, :3], array[0, 0]):
        with pytest.raises(BadArgument, match=r"must be uint8 \[N,1,4,5\]; give files or Pillow"):
            inputs_of(wrong, 1, (4, 5), "pad")


def test_photographs_are_cut_into_their_digits():
    ink = put(put(sheet(), digit(7), 50, 20), digit(2), 60, 170)
    photo, clean = Image.fromarray(photographed(ink)), Image.fromarray(digit(4))
    seven, two = inputs_of([photo], 1, (28, 28), "pad", digits=True)
    assert (seven.name, two.name, seven.error) == ("0", "0", None)
    assert seven.pixels.shape == (1, 28, 28) and seven.box[2] < two.box[0]
    told: list[object] = []
    found = inputs_of([clean, photo], 1, (28, 28), "pad", emit=told.append, digits=None)
    assert [one.name for one in found] == ["0", "1", "1"] and found[0].box is None
    assert np.array_equal(found[0].pixels[0], digit(4))
    assert np.array_equal(found[1].pixels, seven.pixels) and found[2].box == two.box
    [said] = [event.text for event in told if isinstance(event, Notice)]
    assert said.startswith("1 of 2 images: taken for dark writing on paper") and "--no-dig" in said
    [whole] = inputs_of([photo], 1, (28, 28), "pad", digits=False)
    assert whole.box is None and np.array_equal(
        whole.pixels, decode(photo, channels=1, size=(28, 28))
    )
    [blank] = inputs_of([Image.new("L", (90, 90), 200)], 1, (28, 28), "pad", digits=True)
    assert blank.pixels is None and blank.error.startswith("shows no digit: there is no ink on it")


def test_images_are_decoded_ahead_but_so_many_at_most(workplace):
    taken: list[int] = []

    def endless():
        for at in itertools.count():
            taken.append(at)
            yield np.full((3, 3), at % 256, np.uint8)

    stream = inputs.stream(endless(), 1, (3, 3), "pad")
    found = [one.pixels[0, 0, 0] for _ in range(700) for one in next(stream)]
    assert found == [at % 256 for at in range(700)]
    most = inputs.TOGETHER * (inputs.AHEAD * machine.cores() + 2)
    assert 700 < len(taken) <= 700 + most
    stream.close()
    large = 1 << 20  # bytes that each takes
    taken.clear()
    next(inputs.ahead(endless(), lambda one: one, large))
    assert len(taken) <= 2 + inputs.AHEAD * machine.cores()


def test_so_many_images_are_known_to_come(workplace):
    for name in ("a/1.png", "a/b/2.png", "a/note.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")
    Path("list.csv").write_text("file\n1.png\n2.png\n\n3.png\n")
    assert inputs.count(["a", "gone.png", b"bytes", "list.csv"]) == 2 + 1 + 1 + 3
    assert inputs.count("a") == 2 and inputs.count(np.zeros((5, 2, 2), np.uint8)) == 5
    assert inputs.count(IMAGE) == 1 and inputs.count(iter(["a"])) is None


def test_standard_input_holds_names_or_one_image(workplace):
    def found(content: bytes) -> list:
        return list(inputs.piped(io.BytesIO(content)))

    names = ["a.png", "b c.jpg", "P1000.jpg", "BMW.png", "caf\udce9.png"]
    text = "\n".join(names).encode(errors="surrogateescape")
    for content in (text, text + b"\n\n", text.replace(b"\n", b"\r\n")):
        assert found(content) == names
    assert found(b"P5\n") != ["P5"] and found(b"BMW.png") == ["BMW.png"]
    for kind in ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP"):
        file = io.BytesIO()
        IMAGE.save(file, kind)
        [(name, content)] = found(file.getvalue())
        assert name == "-" and content == file.getvalue(), kind
        [one] = inputs_of([inputs.Named(name, content)], 3, (9, 14), "pad")
        assert one.name == "-" and one.error is None
    Path("P5").write_bytes(b"")
    assert found(b"P5\nb.png\n") == ["P5", "b.png"]  # a file that is there is no image
    Path("a\tb.png").write_bytes(b"")
    assert found(b"a\tb.png\n") == ["a\tb.png"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a.png\n" + b"x" * 70_000, f"no list of names (line 2 begins '{40 * 'x'}'); pipe names"),
        (b"x" * 300 + b"\n", f"is no image and no list of names (line 1 begins '{40 * 'x'}')"),
        (b"\0\xe1\x1b[2J" + bytes(100), r"(line 1 begins '\x00\udce1\x1b[2J\x00"),
        (b"\x1b[31ma.png\x1b[0m\n", r"(line 1 begins '\x1b[31ma.png\x1b[0m')"),
        (b"", "FILES=-: standard input is empty; pipe names of files, a line each, or one image"),
        (b"\r\n\n", "FILES=-: holds no name; pipe names"),
    ],
)
def test_standard_input_without_names_is_refused_in_one_line(workplace, content, said):
    with pytest.raises(BadArgument) as caught:
        list(inputs.piped(io.BytesIO(content)))
    assert said in str(caught.value)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400
