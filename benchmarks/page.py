"""How fast the page of a network answers, and how many drawn digits it reads:
`python benchmarks/page.py RUN [--forty]`.

The page is written anew, opened from its file in headless chromium, and the digits of paper.py are
drawn on it with the mouse. A stroke's delay is the time from a movement of the mouse, as the page
is told of it, until the probabilities that hold it are in the page. A movement that comes while an
answer is on its way waits for that one, too. Nothing is left out: the first strokes run code that
the browser has not compiled yet.

Wanted of `cnn` on MNIST, on two cores: less than 30 ms at the 95th percentile, a file of less than
300 KB, a first paint in less than 1 s. 30 November 2026, two cores of an AMD EPYC (family 25, model
17), `--rounds 5`: median 6.8 ms, 95th percentile 12.5 ms, 99th 17.6 ms, 236 KB, first paint after
0.20 s; 75 of 75 digits read. (With ten processes waiting for the cores: 11, 23 and 31 ms.)

With ``--forty`` forty digits are drawn instead, by strokes.py: half traced from test images of
MNIST, half written by a copybook, each somewhere on the pad in some size. Wanted of a network of
`convscope train --recipe mnist-cnn`: at least 37 read. Nothing was tuned on them.
30 November 2026, the same machine with 15 other processes waiting for it, by a network of 99.41 %
on MNIST's test images: 40 of 40. (Four other seeds: 39, 40, 40, 40.)
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import strokes
from paper import HANDS
from playwright.sync_api import Page, sync_playwright
from scipy.interpolate import CubicSpline

import convscope as cs
from convscope.data import sources

FORTY = 20261130  # the seed of what is drawn
WATCH = """() => {
  globalThis.delays = [];
  let asked = [], waiting = [];
  const noted = (event) => {
    if (!event.buttons) return;
    (busy ? waiting : asked).push(performance.now());
  };
  for (const kind of ["pointerdown", "pointermove"]) {
    document.addEventListener(kind, noted, { capture: true });
  }
  document.addEventListener("convscope:answer", () => {
    delays.push(...asked.map((began) => performance.now() - began));
    [asked, waiting] = [waiting, []];
  });
}"""
PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"


def draw(page: Page, digit: str, way: int) -> None:
    """A digit as a hand draws it."""
    box = page.locator("#pad").bounding_box()
    assert box is not None
    for points in HANDS[digit][way]:
        turns = np.linspace(0, len(points) - 1, 12 * (len(points) - 1) + 1)
        curve = CubicSpline(range(len(points)), points)(turns) if len(points) > 2 else points
        for n, (x, y) in enumerate(curve):
            at = (
                box["x"] + (0.25 + x / 2) * box["width"],
                box["y"] + (0.15 + 0.7 * y) * box["height"],
            )
            page.mouse.move(*at)
            if n == 0:
                page.mouse.down()
        page.mouse.up()
    page.wait_for_function("() => !busy && !again")


def measured(path: Path, rounds: int) -> dict[str, Any]:
    """What the page takes, in milliseconds and bytes, and how many digits it reads."""
    place = shutil.which("chromium") or shutil.which("chromium-browser")
    delays: list[float] = []
    paints, right, drawn = [], 0, 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=place, args=["--no-sandbox"])
        for _ in range(rounds):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(path.resolve().as_uri())
            page.wait_for_timeout(300)
            paints.append(page.evaluate(PAINT))
            page.evaluate(WATCH)
            for digit, ways in HANDS.items():
                for way in range(len(ways)):
                    draw(page, digit, way)
                    right += page.locator("#label").inner_text() == digit
                    drawn += 1
                    page.click("#clear")
            delays += page.evaluate("() => delays")
            page.close()
        browser.close()
    return {
        "strokes": len(delays),
        "delay_ms": dict(
            zip(("p50", "p95", "p99"), np.percentile(delays, (50, 95, 99)), strict=True)
        ),
        "first_paint_ms": float(np.median(paints)),
        "bytes": path.stat().st_size,
        "read": f"{right} of {drawn}",
        "load": os.getloadavg()[0],
    }


def forty(path: Path, seed: int = FORTY) -> dict[str, Any]:
    """What the page reads of forty digits, and what it says of those that it does not."""
    random = np.random.default_rng(seed)
    test = sources.open_data("mnist").splits["test"]
    labels = np.asarray(test.targets["label"])
    counts: dict[str, Any] = {"traced": 0, "written": 0, "wrong": []}
    place = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=place, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(path.resolve().as_uri())
        for n in range(40):
            label, kind = n // 2 % 10, ("traced", "written")[n % 2]
            image = test.main_images[random.choice(np.flatnonzero(labels == label))]
            lines = strokes.traced(image[0]) if n % 2 == 0 else strokes.written(str(label), random)
            sketch(page, lines, random)
            read = page.locator("#label").inner_text()
            counts[kind] += read == str(label)
            if read != str(label):
                doubt = page.locator("#mark").inner_text() or "sure"
                p = page.locator("#p").inner_text()
                counts["wrong"].append(f"{n}: {label} ({kind}): {read}, {p}, {doubt}")
            page.click("#clear")
        browser.close()
    return {"read": f"{counts['traced'] + counts['written']} of 40", **counts}


def sketch(page: Page, lines: strokes.Strokes, random: np.random.Generator) -> None:
    """Strokes on the pad, in half to three quarters of it."""
    box = page.locator("#pad").bounding_box()
    assert box is not None
    size = random.uniform(0.5, 0.75) * box["width"]
    left, top = (
        box[edge] + random.uniform(0.05, 0.95) * (box["width"] - 1.1 * size) + 0.05 * size
        for edge in ("x", "y")
    )
    for line in lines:
        for n, (x, y) in enumerate(line):
            page.mouse.move(left + size * x, top + size * y)
            if n == 0:
                page.mouse.down()
        page.mouse.up()
    page.wait_for_function("() => !busy && !again")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", help="a run, or the page of one (.html)")
    parser.add_argument("--rounds", type=int, default=3, help="how often the page is opened")
    parser.add_argument("--forty", action="store_true", help="draw forty digits")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(options.run)
        if path.suffix != ".html":
            path = cs.export(path, "page", out=Path(folder) / "page.html").path
        found = forty(path) if options.forty else measured(path, options.rounds)
        print(json.dumps(found, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
