"""Digits by hand on a network's page, and what it says of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> list[Any]:
    """Points of an ellipse, by degrees clockwise from the right."""
    turns = [math.radians(start + (end - start) * n / 14) for n in range(15)]
    return [(x + rx * math.cos(turn), y + ry * math.sin(turn)) for turn in turns]


DIGITS = [  # strokes, in a square of 256
    [arc(128, 128, 55, 82, -90, 270)],
    [[(132, 40), (124, 215)]],
    [[*arc(125, 85, 50, 42, -170, 30), (80, 205)], [(80, 205), (185, 203)]],
    [[*arc(120, 82, 50, 38, -150, 85), *arc(120, 165, 58, 45, -85, 150)]],
    [[(88, 45), (78, 130), (180, 128)], [(165, 45), (158, 215)]],
    [[(180, 48), (95, 50), (88, 115), *arc(118, 158, 58, 50, -110, 150)]],
    [[(150, 40), (100, 110), *arc(125, 165, 45, 45, 200, -160)]],
    [[(70, 55), (185, 55), (120, 215)]],
    [[*arc(126, 82, 38, 38, 90, -270), *arc(126, 168, 46, 46, -90, 270)]],
    [[*arc(120, 90, 45, 42, 0, -360), (165, 90), (150, 215)]],
]


def draw(page: Page, strokes: list[Any]) -> None:
    """Draw with the mouse, and wait for what is said of it."""
    box = page.locator("#pad").bounding_box()
    assert box is not None
    for stroke in strokes:
        points = [(box["x"] + x * box["width"] / 256, box["y"] + y * box["height"] / 256)
                  for x, y in stroke]  # fmt: skip
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()
    settle(page)


def settle(page: Page) -> None:
    """Wait until there is nothing more to answer."""
    page.wait_for_function("() => !busy && !again")


def read(page: Page) -> tuple[str, str]:
    return page.locator("#label").inner_text(), page.locator("#p").inner_text()


def show(page: Page, name: str, data: bytes, kind: str) -> None:
    page.evaluate(
        "() => { globalThis.told = false; "
        "document.addEventListener('convscope:answer', () => { told = true; }, { once: true }); }"
    )
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": data})
    page.wait_for_function("() => told")


def mark(page: Page) -> str:
    """What is said against the answer, as far as it can be seen."""
    return page.locator("#mark").inner_text() if page.locator("#mark").is_visible() else ""
