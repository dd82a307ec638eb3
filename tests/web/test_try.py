"""Several digits in the page: cut apart as Python does, read, chosen; photographs; the camera."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from drawing import DIGITS, draw, mark, read, settle, show
from PIL import Image
from written import digit, photographed, put, ruled, sheet

from convscope.data.digits import is_photo, normalised, read_photo
from convscope.errors import ImageError
from convscope.predicting.onnx_file import OnnxFile
from convscope.shipping.page import page_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

Opened = Callable[..., "Page"]

# in an engine's page: photographs as Python has them -> boxes, pixels, why there are none
CUT = """(photos) => photos.map(([text, width, height]) => {
  const grey = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const { digits = [], why = "" } = photographedDigits(grey, width, height);
  const found = digits.map(({ box, pixels }) => [box, Array.from(pixels)]);
  return { found, why, photo: isPhoto(grey, width, height) };
})"""
WHY = {
    "plain paper;": "paper", "no ink": "ink", "its edge": "edge", "pixels high": "small",
    "no strokes": "strokes", "marks;": "many",
}  # fmt: skip


def sheets(count: int) -> list[np.ndarray]:
    """Photographs of rows of MNIST's digits: plain and lined, ink and chalk, small and so large
    that they are made smaller; after them what shows no digit."""
    made = []
    for n in range(count):
        random = np.random.default_rng([19, n])
        ink = sheet(int(random.integers(150, 240)), int(random.integers(200, 330)))
        for left in range(10, ink.shape[1] - 100, int(random.integers(70, 130))):
            one = digit(int(random.integers(10)), int(random.integers(20)))
            ink = put(ink, one, int(random.integers(5, ink.shape[0] - 86)), left, times=3)
        lines = ruled(ink, share=float(random.uniform(0.4, 0.9))) if n % 3 == 1 else None
        photo = photographed(ink, lines, seed=n)
        if n % 4 == 2:
            photo = 255 - photo
        made.append(np.kron(photo, np.ones((3, 3), np.uint8)) if n % 5 == 4 else photo)
    y, x = np.mgrid[:160, :240]
    discs = [(np.hypot(x - 120, y - 80) < radius) * 1.0 for radius in (4, 14)]
    over = sheet(160, 240)
    over[100:, 100:110] = 1
    many = sheet(160, 400)
    many[60:80, 10:390:10] = many[60:80, 11:390:10] = 1
    noise = np.random.default_rng(0).integers(0, 256, (160, 240), np.uint8)
    return [*made, noise, *map(photographed, (sheet(160), over, *discs, many))]


def compare(engine: Page, photos: list[np.ndarray]) -> list[int]:
    """Boxes, pixels and reasons in the page against Python's; how many digits each has."""
    rows = [[base64.b64encode(one.tobytes()).decode(), *one.shape[::-1]] for one in photos]
    counts = []
    for n, (photo, told) in enumerate(zip(photos, engine.evaluate(CUT, rows), strict=True)):
        assert told["photo"] == is_photo(photo), n
        try:
            wanted, why = read_photo(photo), ""
        except ImageError as refused:
            wanted, why = [], next(WHY[said] for said in WHY if said in str(refused))
        assert told["why"].removeprefix("cut.") == why, n
        assert [tuple(box) for box, _ in told["found"]] == [one.box for one in wanted], n
        for (_, pixels), one in zip(told["found"], wanted, strict=True):
            assert np.abs(np.array(pixels) - one.pixels.ravel()).max() <= 1, n
        counts.append(len(wanted))
    return counts


def test_photographs_are_cut_as_python_does(engine: Page) -> None:
    photos = sheets(10)
    counts = compare(engine, photos)
    assert min(counts[:10]) > 0 and max(counts[10:]) == 0


@pytest.mark.slow
def test_many_photographs_are_cut_as_python_does(engine: Page, benchmarks: Path) -> None:
    """100 of 640 x 480 from benchmarks/paper.py, of rows of digits and of one. 30 November 2026,
    two busy cores of an AMD EPYC: the same boxes, pixels within a level, in 172 s."""
    import paper

    photos = []
    for n in range(100):
        random = np.random.default_rng([23, n])
        row = "".join(map(str, random.integers(0, 10, 1 if n % 2 else random.integers(2, 6))))
        made = paper.photo(row, "hand" if n % 3 else paper.TUNING[n % 4], random)
        grey = np.array(Image.open(io.BytesIO(made.jpeg)).convert("L"))
        photos.append(255 - grey if n % 5 == 0 else grey)
    counts = [count for at in range(0, 100, 20) for count in compare(engine, photos[at : at + 20])]
    assert np.mean(np.array(counts) > 0) > 0.9


# drawn


def placed(label: int, at: float, width: float = 0.3) -> list[Any]:
    """A digit's strokes at a part of the pad's width."""
    return [[(256 * at + width * x, 60 + 0.45 * y) for x, y in stroke] for stroke in DIGITS[label]]


def tiles(page: Page) -> list[str]:
    texts = "(all) => all.map(({ children: [, , ...rest] }) => rest.map((one) => one.innerText))"
    return [" ".join(one) for one in page.locator("#digits button:visible").evaluate_all(texts)]


def test_a_row_of_digits_is_read_and_each_can_be_chosen(opened: Opened) -> None:
    page = opened()
    draw(page, placed(4, 0.02))
    assert len(read(page)[0]) == 1 and tiles(page) == []  # one digit alone has no row
    draw(page, [*placed(0, 0.34), *placed(7, 0.66)])
    assert read(page) == ("407", "3 digits")
    assert [one.split()[0] for one in tiles(page)] == ["4", "0", "7"]
    whole = "() => answer.digits.map((one) => [one.chosen, ...one.pixels])"
    pixels = page.evaluate(whole)
    page.locator("#digits button").first.press("Enter")
    settle(page)
    assert page.locator("#which").inner_text().startswith("Digit 1 of 3: 4")
    assert page.evaluate(whole) == pixels
    seen = page.evaluate("() => [answer.p, [...answer.pixels]]")
    alone = page.evaluate(
        "async (pixels) => (await convscope.look({ pixels: Uint8Array.from(pixels) })).p", seen[1]
    )
    assert seen[0] == alone and np.argmax(alone) == 4
    assert page.locator("#bars tr.top th").inner_text() == "4"
    assert page.locator("#digits button").first.get_attribute("aria-pressed") == "true"
    page.click("#undo")
    settle(page)  # the chosen one is the last again
    assert read(page) == ("40", "2 digits")
    assert page.locator("#which").inner_text().startswith("Digit 2 of 2: 0")


def test_values_are_of_the_chosen_digit(opened: Opened) -> None:
    page = opened()
    draw(page, [*placed(1, 0.1), *placed(7, 0.5)])
    same = """async () => {
      const { data } = await convscope.value("logits");
      return answer.digits.map(({ logits }) => logits.every((one, i) => one === data[i]));
    }"""
    assert page.evaluate(same) == [False, True]
    page.locator("#digits button").first.click()
    settle(page)
    assert page.evaluate(same) == [True, False]


def boxes(page: Page) -> list[list[float]]:
    return page.evaluate("() => answer.digits.map((one) => one.box)")


def test_a_stroke_is_never_cut_and_touching_ones_are_where_they_stand_apart(opened: Opened) -> None:
    page = opened()
    wave = [(20 + 4 * n, 128 + 30 * np.sin(n / 5)) for n in range(54)]
    draw(page, [wave])
    assert len(boxes(page)) == 1
    page.click("#clear")
    one, two = [(60, 80), (60, 180), (110, 180)], [(118, 80), (118, 180), (170, 180)]
    draw(page, [one, two])  # two Ls whose pens touch
    assert len(boxes(page)) == 2
    first, second = page.evaluate("() => answer.digits.map((one) => [...one.pixels])")
    mask = np.zeros((160, 160), bool)
    y, x = np.mgrid[:160, :160] + 0.5
    near = np.minimum(  # each of them is all of its own strokes
        np.hypot(x - 37.5, y - y.clip(50, 112.5)), np.hypot(x - x.clip(37.5, 68.75), y - 112.5)
    )
    wanted = normalised(mask | (near <= 5.5)).ravel().astype(int)
    assert np.abs(np.array(first) - wanted).max() <= 1
    assert abs(np.mean(first) - np.mean(second)) < 3
    page.click("#clear")
    draw(page, DIGITS[5])  # strokes of one digit that touch
    assert len(boxes(page)) == 1


def test_each_digit_has_its_own_doubt(opened: Opened, shipped: Any, tmp_path: Path) -> None:
    file, page = OnnxFile.open(shipped.file), opened()
    draw(page, [*placed(1, 0.05), *placed(7, 0.5)])
    sure = page.evaluate("() => answer.digits.map((one) => Math.max(...one.p))")
    middle = sum(sure) / 2
    abstain = {"error": 0.05, "n": 500, "threshold": middle, "answered": 0, "wrong": 0}
    info = {**file.model, "abstain": {**abstain, "asked": False}, "ood": None}
    path = tmp_path / "page.html"
    path.write_text(page_of(replace(file, info={**file.info, "model": info})), encoding="utf-8")
    page = opened(path)
    draw(page, [*placed(1, 0.05), *placed(7, 0.5)])
    doubted = [p < middle for p in sure]
    assert sum(doubted) == 1 and ["unsure" in one for one in tiles(page)] == doubted
    page.locator("#digits button").nth(doubted.index(True)).click()
    settle(page)
    assert mark(page) == "Unsure" and page.locator("#label .doubted").count() == 1
    page.wait_for_function("() => document.getElementById('status').textContent")
    said = f"digit {doubted.index(True) + 1}"
    assert said in page.locator("#status").inner_text()
    page.locator("#digits button").nth(doubted.index(False)).click()
    settle(page)
    assert mark(page) == ""


# photographed


def file_of(photo: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(photo).save(out, "PNG")
    return out.getvalue()


def test_a_photograph_of_digits_is_cut_and_may_be_taken_whole(opened: Opened) -> None:
    page = opened()
    photo = photographed(put(put(sheet(), digit(7), 50, 10), digit(0), 60, 160))
    show(page, "a.png", file_of(photo), "image/png")
    assert read(page) == ("70", "2 digits") and page.locator("#cut").is_checked()
    wanted = [one.box for one in read_photo(photo)]
    assert [tuple(one) for one in boxes(page)] == wanted
    assert page.locator("#boxes rect").count() == 2 and not page.locator("#invert").is_visible()
    page.locator("#boxes rect").first.click()
    settle(page)
    assert page.locator("#which").inner_text().startswith("Digit 1 of 2: 7")
    page.uncheck("#cut")
    settle(page)
    assert tiles(page) == [] and len(read(page)[0]) == 1 and page.locator("#invert").is_visible()
    show(page, "b.png", file_of(photographed(sheet())), "image/png")
    assert "there is no ink" in page.locator("#why").inner_text() and read(page)[0] == ""
    page.click("#language")
    assert "没有找到数字" in page.locator("#why").inner_text()
    show(page, "c.png", file_of(np.asarray(digit(3))), "image/png")  # as MNIST's own are
    assert not page.locator("#cut").is_checked() and len(read(page)[0]) == 1


# A camera that sees a photograph, and how often it was let go.
CAMERA = """(() => {
  const sees = document.createElement("canvas"), image = new Image();
  image.onload = () => {
    [sees.width, sees.height] = [image.width, image.height];
    setInterval(() => sees.getContext("2d").drawImage(image, 0, 0), 30);
  };
  globalThis.released = 0;
  navigator.mediaDevices.getUserMedia = async (asked) => {
    globalThis.asked = asked;
    image.src = "data:image/png;base64,%s";
    await new Promise((done) => setTimeout(done, 100));
    const stream = sees.captureStream(), [track] = stream.getVideoTracks(), stop = track.stop;
    track.stop = () => { released++; stop.call(track); };
    return stream;
  };
})()"""


def test_the_camera_is_opened_shoots_and_is_let_go(opened: Opened) -> None:
    # a data: image is what only this test's own camera needs of the page
    photo = photographed(put(put(sheet(), digit(7), 50, 10), digit(0), 60, 160))
    page = opened(before=CAMERA % base64.b64encode(file_of(photo)).decode(), bypass_csp=True)
    page.click("#live")
    page.wait_for_selector("#shoot:enabled")
    assert page.locator("#film").is_visible() and not page.locator("#clear").is_visible()
    assert page.evaluate("() => asked.video.facingMode") == "environment"
    page.keyboard.press("Escape")
    assert page.locator("#pad").is_visible() and page.evaluate("() => released") == 1
    page.click("#live")
    page.wait_for_selector("#shoot:enabled")
    page.wait_for_timeout(100)
    page.click("#shoot")
    page.wait_for_function("() => answer?.digits.length === 2")
    assert read(page)[0] == "70" and page.evaluate("() => released") == 2
    assert not page.locator("#film").is_visible() and page.locator("#picture").is_visible()


@pytest.mark.parametrize(
    ("camera", "said"),
    [
        ("Promise.reject(new DOMException('', 'NotAllowedError'))", "was not allowed"),
        ("Promise.reject(new DOMException('', 'NotFoundError'))", "No camera was found"),
        ("Promise.reject(new DOMException('', 'NotReadableError'))", "another program"),
        (None, "opened from a file"),
    ],
)
def test_without_a_camera_it_says_how_to_go_on(
    opened: Opened, camera: str | None, said: str
) -> None:
    told = f"() => {camera}" if camera else "undefined"
    page = opened(before=f"navigator.mediaDevices.getUserMedia = {told}", has_touch=True)
    page.click("#live")
    page.wait_for_selector("#trouble:visible")
    text = page.locator("#trouble").inner_text()
    assert said in text and "choose the file" in text
    assert page.locator("#pad").is_visible() and page.locator("#controls").is_visible()
    draw(page, DIGITS[1])
    assert read(page)[0] == "1"
