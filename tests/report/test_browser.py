"""The report in a real browser: opened, clicked and typed through. Debian's chromium is driven by
Playwright, which brings no browser of its own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from quick import QUICK

import convscope as cs
from convscope.data import sources
from convscope.data.pack import Pack

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def report(tiny: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run that was trained for a moment, and still makes mistakes."""
    folder = tmp_path_factory.mktemp("runs") / "bars"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "open_data", lambda *rest, **named: tiny)
        run = cs.train("mnist", **{**QUICK, "epochs": 2, "lr": 0.002}, out=folder, threads=1)
    assert 0.4 < run.metrics.accuracy < 1
    return run.report.resolve()


@pytest.fixture
def opened(browser: Browser, report: Path) -> Iterator[Any]:
    """Open the report in a window; whatever it asks for or complains of fails the test."""
    contexts, asked, complaints = [], [], []

    def opened(scheme: str = "light", size: dict[str, int] = DESK, **more: Any) -> Page:
        context = browser.new_context(color_scheme=scheme, viewport=size, **more)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(report.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert {url for url in asked if not url.startswith("data:image/png")} == {report.as_uri()}
    assert complaints == []


def mistaken(page: Page) -> Any:
    """The first count off the diagonal."""
    return page.locator(".matrix td:not(.hit) button").first


def images_of(panel: Any) -> list[str]:
    """What the images of an open panel are called, each seen to have something in it."""
    tiles = panel.locator(".tile")
    names = [tiles.nth(i).get_attribute("aria-label") for i in range(tiles.count())]
    for i in range(tiles.count()):
        box = tiles.nth(i).bounding_box()
        assert box is not None and box["width"] >= 96 and box["height"] >= 96
        sheet = tiles.nth(i).evaluate("tile => getComputedStyle(tile).backgroundImage")
        assert sheet.startswith('url("data:image/png')
    return [str(name) for name in names]


def test_a_click_opens_the_images_of_a_count(opened: Any) -> None:
    page = opened()
    button = mistaken(page)
    label, count = button.get_attribute("aria-label"), int(button.inner_text())
    what = label.split(":")[0]
    true, taken = what.split(" taken for ")
    panel = page.locator(f"#{button.get_attribute('popovertarget')}")
    assert not panel.is_visible()
    button.click()
    assert panel.is_visible()
    assert what in panel.locator("h3").inner_text()
    names = images_of(panel)
    assert len(names) == min(count, 18)
    assert all(name.endswith(f": {true}, taken for {taken}") for name in names)
    other = page.locator(".matrix td.hit button").first
    other.evaluate("button => button.click()")
    assert not panel.is_visible()  # one at a time
    right = page.locator(f"#{other.get_attribute('popovertarget')}")
    assert all(name.endswith("rightly") for name in images_of(right))
    right.get_by_role("button", name="Close").click()
    assert not right.is_visible()


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_a_key_opens_and_closes_them(opened: Any, key: str) -> None:
    page = opened()
    button = mistaken(page)
    panel = page.locator(f"#{button.get_attribute('popovertarget')}")
    button.focus()
    page.keyboard.press(key)
    assert panel.is_visible()
    page.keyboard.press("Tab")  # from the count into what it opened
    assert page.evaluate("document.activeElement.textContent") == "Close"
    page.keyboard.press("Escape")
    assert not panel.is_visible()
    assert button.evaluate("button => button === document.activeElement")


def test_a_curve_tells_its_values_under_pointer_finger_and_keys(opened: Any) -> None:
    def told(page: Page) -> list[str]:
        says = page.locator(".chart").first.locator(".says")
        every = [says.nth(i) for i in range(says.count())]
        look = "one => getComputedStyle(one).opacity"
        return [one.inner_text().split(":")[0] for one in every if one.evaluate(look) == "1"]

    page = opened()
    places = page.locator(".chart").first.locator("label")
    assert told(page) == ["epoch 2"]
    places.first.hover()
    assert told(page) == ["epoch 1", "epoch 2"]  # the one under the pointer lies above
    places.nth(1).hover()
    places.nth(1).locator("input").focus()
    page.keyboard.press("ArrowUp")
    page.mouse.move(0, 0)
    assert told(page) == ["epoch 1"]
    dots = places.first.locator("i.val")
    assert dots.evaluate("one => getComputedStyle(one).opacity") == "1"
    phone = opened(size=PHONE, has_touch=True)
    phone.locator(".chart").first.locator("label").first.tap()
    phone.locator("h1").tap()
    assert told(phone)[0] == "epoch 1"


def test_every_place_that_the_keyboard_reaches_can_be_seen(opened: Any) -> None:
    page = opened(scheme="dark")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        outline, name = page.evaluate(
            "(at => [getComputedStyle(at.tagName === 'INPUT' ? at.nextSibling : at).outline, "
            "at.tagName])(document.activeElement)"
        )
        if name == "BODY":  # past the last
            continue
        assert "solid" in outline and " 0px" not in outline, (name, outline)
        seen.add(name)
    assert {"A", "BUTTON", "DIV"} <= seen  # links, counts, boxes that scroll


def test_headings_in_order_and_a_text_for_every_image(opened: Any) -> None:
    page = opened()
    headings = page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(h => [+h.tagName[1], h.innerText])"
    )
    levels = [level for level, _ in headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    texts = [text for _, text in headings]
    for text in ("How it went", "What goes wrong", "What to do next", "Confusion", "Filters"):
        assert text in texts
    unnamed = page.evaluate(
        "[...document.querySelectorAll('img,[role=img]')].filter(image => !"
        "(image.alt || image.getAttribute('aria-label') || image.querySelector('title'))).length"
    )
    assert unnamed == 0
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")


@pytest.mark.parametrize("width", [320, 390, 820, 1440])
def test_the_page_is_as_wide_as_its_window(opened: Any, width: int) -> None:
    page = opened(size={"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    mistaken(page).click()
    assert page.evaluate("document.documentElement.scrollWidth") == width


def contrast(page: Page, selector: str) -> float:
    """The contrast of a text with the page behind it (WCAG 2.2, 1.4.3)."""
    ink, paper = page.evaluate(
        "selector => [getComputedStyle(document.querySelector(selector)).color, "
        "getComputedStyle(document.body).backgroundColor]",
        selector,
    )
    lights = sorted(map(luminance, (ink, paper)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.strip("rgb()").split(",")]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_can_both_be_read(opened: Any, scheme: str) -> None:
    page = opened(scheme=scheme)
    paper = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert paper > 0.8 if scheme == "light" else paper < 0.05
    for selector in (
        "h1",
        ".verdict p",
        ".note",
        ".rule",
        ".accuracy",
        ".sections a",
        ".mistakes dt",
    ):
        assert contrast(page, selector) >= 4.5, selector


def test_nothing_needs_a_script(opened: Any) -> None:
    page = opened(java_script_enabled=False)
    button = mistaken(page)
    button.click()
    assert page.locator(f"#{button.get_attribute('popovertarget')}").is_visible()


def test_it_prints_on_white_without_what_only_a_screen_can_do(opened: Any) -> None:
    page = opened(scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator(".sections").is_visible()
    assert page.locator("#mistakes .tile").first.is_visible()
    assert len(page.pdf()) > 20_000
