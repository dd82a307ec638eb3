"""The page of `explain`, in a browser: its plane of images under pointer, finger and keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from convscope.insight.cells import Cell
from convscope.insight.explain import page as pages
from convscope.insight.explain.pictures import Plane, Sheet, Strip
from convscope.insight.explain.views import View

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CLASSES = ("cat", "<i>dog", "owl")


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images in a row, of which the last two are mistakes; one heat map, and its doubt."""
    points = np.stack([np.arange(5.0), np.zeros(5)], axis=1)
    points[0, 1] = 1
    images = np.arange(5 * 16, dtype=np.uint8).reshape(5, 1, 4, 4)
    labels, said = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 1, 0, 1])
    plane = Plane(
        "Where they lie", ("Five.",), points, labels, said, np.full(5, 0.9), np.arange(10, 15),
        images, CLASSES, ("first", "second"),
    )  # fmt: skip
    hot = Cell(images[0], "deletion 0.10", heat=np.eye(4), box=(0, 2, 2, 4))
    doubt = "Hardly <b>."
    sheet = Sheet("Which pixels", ("How.",), (Strip("", (hot,)),), ("image",), doubt=doubt)
    against = {"deletion_better": 0.55, "deletion_better_ci95": [0.4, 0.7]}
    views = {
        "heat": View("heat", sheet, {"against_random_weights": against}),
        "embedding": View("plane", plane, {}),
    }
    path = tmp_path_factory.mktemp("explained") / "index.html"
    path.write_text(pages.page("a-cnn-1", "A <net>.", views, {"maps": "no <maps>"}))
    return path


@pytest.fixture
def opened(browser: Browser, explained: Path) -> Iterator[Any]:
    """Open it in a window; whatever it asks for or complains of fails the test."""
    contexts, asked, complaints = [], [], []

    def opened(**given: Any) -> Page:
        contexts.append(browser.new_context(viewport={"width": 390, "height": 844}, **given))
        page = contexts[-1].new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(explained.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert {url for url in asked if not url.startswith("data:image/")} == {explained.as_uri()}
    assert complaints == []


def test_headings_are_there_once_and_names_are_whole(opened: Any) -> None:
    page = opened()
    texts = page.locator("h1, h2").all_inner_texts()
    assert texts == ["What a-cnn-1 has learnt", "Which pixels", "Where they lie", "Left out"]
    assert page.locator(".sections a").all_inner_texts() == ["Heat maps", "Embedding", "Left out"]
    assert page.locator(".lede").inner_text() == "A <net>."
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("[...document.images].every(image => image.naturalWidth && image.alt)")
    box = page.locator(".frame i").evaluate("box => box.style.inset")
    assert box == "0% 0% 50% 50%"


def test_heat_maps_come_with_their_doubt(opened: Any) -> None:
    doubt = opened().locator(".doubt.bad")  # the interval holds chance
    assert doubt.locator("p").inner_text() == "Hardly <b>."
    said = doubt.locator("svg").get_attribute("aria-label")
    assert said == "Better than random weights on 55% of the images, interval 40% to 70%"


def test_an_image_of_the_plane_is_told(opened: Any) -> None:
    page = opened(has_touch=True)
    told, tile = page.locator("output"), page.locator(".told-of .tile")
    rect = page.locator(".plane svg").bounding_box()
    assert rect is not None

    def place(share: float) -> tuple[float, float]:
        return rect["x"] + share * rect["width"], rect["y"] + 0.9 * rect["height"]

    page.locator(".plane").scroll_into_view_if_needed()
    rect = page.locator(".plane svg").bounding_box()
    page.mouse.move(*place(0.5))
    assert told.inner_text() == "Test image 12 is <i>dog, said rightly (90 %)"
    assert tile.is_visible()
    page.touchscreen.tap(*place(0.98))
    assert told.inner_text() == "Test image 14 is owl, taken for <i>dog (90 %)"
    page.locator(".plane").focus()
    page.keyboard.press("ArrowLeft")
    assert told.inner_text().startswith("Test image 13 is <i>dog, taken for cat")
    page.keyboard.press("ArrowRight")
    assert told.inner_text().startswith("Test image 14")


def test_mistakes_one_by_one_and_of_one_class(opened: Any) -> None:
    page = opened(color_scheme="dark")
    told, more = page.locator("output"), page.get_by_role("button", name="Next mistake")
    for number in (13, 14, 13):
        more.click()
        assert told.inner_text().startswith(f"Test image {number} ")
    page.get_by_label("Class").select_option("owl")
    assert page.locator(".plane path").count() > page.locator(".plane path:not(.faint)").count()
    more.click()
    assert told.inner_text().startswith("Test image 14 is owl")


def test_without_a_script_it_can_still_be_read(opened: Any) -> None:
    page = opened(java_script_enabled=False)
    assert page.locator(".plane path.wrong").first.is_visible()
    assert not page.locator(".controls").is_visible()
