"""Make the two pictures of README anew, in light and in dark: docs/pictures/*.webp.

    python scripts/screenshots.py RUN

RUN is a run of digits, such as `make demo` leaves. The first picture is the top of its report, the
second the inside of its page, where a seven is drawn. Both are what Chromium shows.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import convscope as cs

KEPT = Path(__file__).resolve().parent.parent / "docs" / "pictures"
VIEW = {"width": 1120, "height": 840}
SEVEN = [(70, 55), (185, 55), (120, 215)]  # of a pad of 256 x 256


def main(run: Path) -> None:
    """Open the report and the page in Chromium, and keep what is seen."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = Path(folder) / "page.html"
        cs.export(run, format="page", out=page)
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for theme, suffix in (("light", ""), ("dark", "-dark")):
            keep(opened(browser, theme, run.resolve() / "report.html"), f"report{suffix}")
            keep(inside(opened(browser, theme, page)), f"page{suffix}")
        browser.close()


def opened(browser: Browser, theme: str, file: Path) -> Page:
    """A file in a window of its own, light or dark."""
    page = browser.new_context(viewport=VIEW, color_scheme=theme, locale="en").new_page()
    page.goto(file.as_uri())
    return page


def inside(page: Page) -> Page:
    """The inside of the page of a network, and a seven drawn."""
    page.click('#tabs a[href="#inside"]')
    box = page.locator("#pad").bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"] / 256, box["y"] + y * box["height"] / 256)
              for x, y in SEVEN]  # fmt: skip
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()
    page.wait_for_function("() => !document.querySelector('.stages.empty') && !busy && !again")
    page.wait_for_timeout(1000)
    return page


def keep(page: Page, name: str) -> None:
    """Write what is seen as a WebP file."""
    path = KEPT / f"{name}.webp"
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(path, quality=80, method=6)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
