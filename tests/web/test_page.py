"""The page of a network in a real browser, opened from its file: drawn on, shown images, read."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from drawing import DIGITS, draw, mark, read, settle, show
from PIL import Image

from convscope import trained, webpage
from convscope.data.decode import decode
from convscope.predicting.onnx_file import OnnxFile, load_onnx
from convscope.server.limits import Refusal
from convscope.server.studio_pages import TABS
from convscope.shipping.page import page_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

Opened = Callable[..., "Page"]
WEB = Path(webpage.__file__).parent / "web"


def seen(page: Page) -> np.ndarray:
    """The pixels that the network was given, [C,h,w]."""
    about = page.evaluate("() => ({ channels: about.channels, size: about.size })")
    found = page.evaluate("() => Array.from(answer.pixels)")
    return np.array(found).reshape(about["channels"], *about["size"])


def test_ten_digits_are_drawn_and_read(opened: Opened) -> None:
    page = opened()
    assert read(page) == ("", "Nothing to see yet")
    found = []
    for strokes in DIGITS:
        draw(page, strokes)
        found.append(read(page)[0])
        pixels = seen(page)[0]
        assert pixels.max() == 255 and max(np.ptp(np.nonzero(pixels), axis=1)) <= 19
        page.click("#clear")
        settle(page)
    assert sum(label == str(n) for n, label in enumerate(found)) >= 9, found
    assert read(page) == ("", "Nothing to see yet")


def test_it_shows_a_test_image(opened: Opened, shipped: Any) -> None:
    page = opened()
    page.click("#example")
    page.wait_for_function("() => answer")
    images = np.array(shipped.pack.splits["test"].main_images)
    assert (images == seen(page)).all(axis=(1, 2, 3)).any()
    assert page.locator("#picture").is_visible() and read(page)[0] != ""


LOOK = """async (images) => {
  const found = [];
  for (const pixels of images) {
    const { p, unlike, unsure } = await convscope.look({ pixels: Uint8Array.from(pixels) });
    found.push({ p, unlike, unsure });
  }
  return found;
}"""


def said_of(page: Page, images: np.ndarray) -> list[dict[str, Any]]:
    return page.evaluate(LOOK, images.reshape(len(images), -1).tolist())


def test_it_says_what_python_says(opened: Opened, shipped: Any) -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (4, 1, 28, 28), np.uint8)
    images = np.concatenate([shipped.pack.splits["test"].main_images[:20], noise])
    predictor = load_onnx(shipped.file)
    for one, told in zip(said_of(opened(), images), predictor.predict(images, 10), strict=True):
        assert (one["unlike"], one["unsure"]) == (told.ood, told.unsure)
        assert predictor.classes[int(np.argmax(one["p"]))] == told.label
        for label, p in told.top:
            assert abs(one["p"][predictor.classes.index(label)] - p) < 1e-4


@pytest.mark.slow
def test_it_says_what_the_run_says(opened: Opened, shipped: Any) -> None:
    """500 test images against PyTorch. 30 November 2026, two cores of an AMD EPYC: passed in 17 s;
    of `cnn`, trained for an epoch on all of MNIST, top-1 equal and probabilities within 5e-7."""
    images = np.array(shipped.pack.splits["test"].main_images)
    p = trained.load(shipped.run).probabilities(images)
    found = np.array([one["p"] for one in said_of(opened(), images)])
    assert (found.argmax(axis=1) == p.argmax(axis=1)).all()
    assert np.abs(found - p).max() < 1e-4


def photo(seed: int, size: tuple[int, int], kind: str, **options: Any) -> bytes:
    """A picture of soft shapes as an image file; size is (width, height)."""
    random, out = np.random.default_rng(seed), io.BytesIO()
    mode = options.pop("mode", "RGB")
    shapes = random.integers(0, 256, (6, 7, len(mode)), np.uint8)
    image = Image.fromarray(shapes, mode).resize(size, Image.Resampling.BICUBIC)
    image.save(out, kind, **options)
    return out.getvalue()


def files(count: int) -> list[tuple[bytes, str]]:
    """Image files of odd sizes: PNG, some half transparent; JPEG, some lying on a side, some so
    large that Python has its decoder halve them."""
    random, found = np.random.default_rng(1), []
    for n in range(count):
        width, height = (int(side) for side in random.integers(3, 500, 2))
        if n % 4 == 0:
            found.append((photo(n, (width, height), "PNG"), "image/png"))
        elif n % 4 == 1:
            found.append((photo(n, (width, height), "PNG", mode="RGBA"), "image/png"))
        else:
            exif = Image.Exif()
            exif[0x0112] = int(random.integers(1, 9))
            size = (
                (width, height) if n % 4 == 2 else (8 * (width // 4 + 60), 8 * (height // 4 + 60))
            )
            found.append(
                (photo(n, size, "JPEG", quality=95, exif=exif, subsampling=0), "image/jpeg")
            )
    return found


# 100 files: within one level, in 42 s; 30 November 2026, two busy cores of an AMD EPYC
@pytest.mark.parametrize("count", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_pixels_of_a_file_are_those_of_python(opened: Opened, shipped: Any, count: int) -> None:
    page = opened()
    for n, (data, kind) in enumerate(files(count)):
        show(page, "photo", data, kind)
        if page.locator("#cut").is_checked():  # it looks like a photograph of paper
            page.uncheck("#cut")
            settle(page)
        wanted = decode(data, channels=1, size=(28, 28)).astype(int)
        assert np.abs(seen(page) - wanted).max() <= 1, (n, kind)
    page.check("#invert")
    settle(page)
    assert np.abs(seen(page) - (255 - wanted)).max() <= 1


def test_an_image_is_dropped_and_pasted_and_a_bad_one_refused(opened: Opened) -> None:
    page = opened()
    data = base64.b64encode(photo(1, (60, 40), "PNG")).decode()
    give = """([kind, data, name]) => {
      const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
      const held = new DataTransfer();
      held.items.add(new File([bytes], name, { type: "image/png" }));
      const key = kind === "paste" ? "clipboardData" : "dataTransfer";
      const event = kind === "paste" ? ClipboardEvent : DragEvent;
      document.dispatchEvent(new event(kind, { [key]: held, bubbles: true, cancelable: true }));
    }"""
    for kind in ("drop", "paste"):
        page.evaluate(give, [kind, data, "photo.png"])
        page.wait_for_function("() => answer !== null")
        assert read(page)[0] in "0123456789"
        page.click("#clear")
        settle(page)
        assert page.locator("#pad").is_visible() and read(page)[0] == ""
    page.evaluate(give, ["drop", data[:40], "cut.png"])
    page.wait_for_function("() => document.getElementById('why').textContent")
    assert "cannot be read" in page.locator("#why").inner_text()


def test_a_dark_digit_on_light_paper_is_told_from_mnists(opened: Opened) -> None:
    paper = np.full((60, 60), 235, np.uint8)  # too small for a photograph
    paper[12:48, 28:32] = 30
    out = io.BytesIO()
    Image.fromarray(paper).save(out, "PNG")
    page = opened()
    show(page, "one.png", out.getvalue(), "image/png")
    assert "swap dark and light" in page.locator("#note").inner_text()
    page.check("#invert")
    settle(page)
    assert not page.locator("#note").is_visible() and read(page)[0] == "1"


def test_it_is_drawn_on_with_keys_and_strokes_are_taken_back(opened: Opened) -> None:
    page = opened()
    page.focus("#pad")
    page.keyboard.press("Space")
    for _ in range(18):
        page.keyboard.press("ArrowDown")
    settle(page)
    assert read(page)[0] == "1"
    page.keyboard.press("Backspace")
    settle(page)
    assert read(page)[0] == "" and page.locator("#undo").is_disabled()
    draw(page, [DIGITS[4][0], DIGITS[4][1]])
    four = read(page)
    draw(page, [[(20, 20), (236, 236)]])
    assert read(page) != four
    page.click("#undo")
    settle(page)
    assert read(page) == four


def test_it_answers_where_there_are_no_workers(opened: Opened) -> None:
    page = opened(before="delete globalThis.Worker")
    draw(page, DIGITS[7])
    assert read(page)[0] == "7"
    found = page.evaluate("async () => (await convscope.value('logits')).shape")
    assert found == [1, 10]


def test_doubt_is_said(opened: Opened, shipped: Any, tmp_path: Path) -> None:
    file = OnnxFile.open(shipped.file)

    def changed(**parts: Any) -> Page:
        info = {**file.info, "model": {**file.model, **parts}}
        path = tmp_path / "page.html"
        path.write_text(page_of(replace(file, info=info)), encoding="utf-8")
        page = opened(path)
        draw(page, DIGITS[7])
        return page

    abstain = {"error": 0.05, "n": 500, "threshold": 0.99999999, "answered": 0, "wrong": 0}
    page = changed(abstain={**abstain, "asked": False}, ood=None)
    assert mark(page) == "Unsure"
    assert "error of at most 5%" in page.locator("#why").inner_text()
    page = changed(abstain={**abstain, "threshold": None, "asked": True}, ood=None)
    assert "every answer is unsure" in page.locator("#why").inner_text()
    ood = {"score": "energy", "threshold": 1e9, "n": 500, "auroc": {}, "caught": {}}
    page = changed(abstain=None, ood=ood)
    assert mark(page) == "Looks like nothing it was trained on"
    page = changed(abstain={**abstain, "threshold": 0.0, "asked": False}, ood=None)
    assert mark(page) == ""


def test_it_speaks_two_languages(opened: Opened) -> None:
    page = opened(locale="zh-CN")
    assert page.locator("html").get_attribute("lang") == "zh-Hans"
    assert page.locator("#clear").inner_text() == "清除"
    page.click("#language")
    assert page.locator("#clear").inner_text() == "Clear"
    assert page.locator("#facts").inner_text().startswith("Accuracy, 500 test images")


def test_every_word_is_there_in_both() -> None:
    words = webpage.words()
    script = "".join(path.read_text() for path in sorted(WEB.glob("*.js")))
    body = "".join(path.read_text() for path in sorted(WEB.glob("*.html")))
    used = set(re.findall(r'say\(\s*"([\w.]+)"', script)) | set(
        re.findall(r'data-(?:say|label)="([\w.]+)"', body)
    )
    used |= {key for key in words["en"] if f'"{key}"' in script}
    stems = tuple(re.findall(r"say\(`([\w.]+\.)\$\{", script))
    used |= {key for key in words["en"] if key.startswith(stems)}  # one of several
    used -= {"lede", "where", "hint", "zh", "en"}  # made of others
    used |= {"unsure", "unlike"}  # a doubt
    used |= {f"tab.{name}" for name in TABS}
    for one in words.values():
        assert used - set(one) == set()
        there = {key for key in one if not key.startswith("lab.")}  # of which test_lab.py asks
        assert there - used == set()
    for key, text in words["en"].items():
        holes = [set(re.findall(r"\{(\w+)\}", part)) for part in (text, words["zh"][key])]
        assert holes[0] == holes[1], key


def test_a_server_may_answer_instead(browser: Any, shipped: Any) -> None:
    text, posted = page_of(shipped.file, answers="server"), []
    assert len(text) < 250_000 and '<script id="weights" type="text/plain"></script>' in text
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    top = [{"label": str(n), "p": 0.64 if n == 3 else 0.04} for n in (3, 0, 1, 2, 4, 5, 6, 7, 8, 9)]

    def answer(route: Any) -> None:
        posted.append(route.request)
        route.fulfill(json={"model": "a", "top": top, "unsure": True, "ood": False})

    page.route("http://page.test/", lambda r: r.fulfill(body=text, content_type="text/html"))
    page.route("http://page.test/predict*", answer)
    page.goto("http://page.test/")
    draw(page, DIGITS[3])
    assert read(page) == ("3", "64.0%") and mark(page) == "Unsure"
    assert posted[-1].method == "POST" and posted[-1].headers["content-type"] == "image/png"
    sent = decode(posted[-1].post_data_buffer, channels=1, size=(28, 28))
    assert (sent == seen(page)).all()
    page.unroute("http://page.test/predict*")
    refused = json.loads(Refusal(503, "queue", "too many requests").body())
    page.route("http://page.test/predict*", lambda r: r.fulfill(status=503, json=refused))
    page.click("#clear")
    draw(page, DIGITS[1])
    assert "too many requests" in page.locator("#why").inner_text()
    page.close()
