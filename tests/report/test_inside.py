"""What the report shows of a look into the network: from plain arrays, each of which may be
missing."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convscope.insight.anatomy import Row, Summary
from convscope.insight.explain import Overview
from convscope.report import write_report

ANATOMY = Summary("Net", ((1, 12, 12),), (Row("a", "Linear", (3,), 9, 9),))
NAMES = ["cat", "dog", "<b>ship"]
SIDE = 12


def glanced(**changes: Any) -> Overview:
    random = np.random.default_rng(0)
    found: dict[str, Any] = {
        "filters": random.normal(size=(70, 1, 5, 5)).astype(np.float32),
        "filters_layer": "features.0",
        "classes": (0, 1, 2),
        "class_images": random.integers(0, 256, (3, 1, SIDE, SIDE), np.uint8),
        "class_p": np.array([0.5, 0.99999, 0.25]),
        "heat": None,
        "heat_layer": "features.3",
        "heat_resolution": (6, 6),
        "notes": ("A note <i>.",),
    }
    return Overview(**{**found, **changes})


def inside(folder: Path, images: np.ndarray | None, **more: Any) -> str:
    text = write_report(folder, test_images=images, anatomy=ANATOMY, **more).read_text()
    return text[text.index('<section id="inside"') : text.index('<section id="cost"')]


def pictures(text: str) -> list[tuple[str, np.ndarray]]:
    found = re.findall(r'<img [^>]*src="data:image/png;base64,([^"]+)"[^>]*alt="([^"]+)"', text)
    return [(alt, np.asarray(Image.open(io.BytesIO(base64.b64decode(d))))) for d, alt in found]


def test_it_looks_at_the_surest_mistakes_and_at_right_images(make: Any) -> None:
    folder, images = make(NAMES, n=300, skill=1.0)
    asked: list[tuple[np.ndarray, list[int]]] = []

    def look(given: np.ndarray, classes: list[int]) -> Overview:
        heat = np.zeros((len(given), SIDE, SIDE), np.float32)
        heat[:, 3, 4] = 1.0
        heat[0] = 0
        asked.append((given, classes))
        return glanced(heat=heat)

    text = inside(folder, images, look=look)
    given, classes = asked[0]
    rows = [line.split(",") for line in (folder / "predictions.csv").read_text().splitlines()[1:]]
    wrong = sorted((r for r in rows if r[1] != r[2]), key=lambda r: -float(r[3]))
    pairs: dict[tuple[str, str], int] = {}
    for row in wrong:
        pairs.setdefault((row[1], row[2]), int(row[0]))
    right = [next(int(r[0]) for r in rows if r[1] == r[2] == name) for name in NAMES]
    wanted = [*pairs.values(), *right]
    np.testing.assert_array_equal(given, images[wanted])
    assert classes == [NAMES.index(rows[i][2]) for i in wanted]
    shown = pictures(text)
    heats = [picture for alt, picture in shown if alt.startswith("where image")]
    assert len(heats) == len(wanted)
    assert "nothing spoke for the class" in text
    assert (heats[0] == heats[0][..., :1]).all()  # no heat, no colour
    at = heats[1][3, 4].astype(int)
    assert at[2] > at[0] + 30  # the hottest place is blue
    assert (np.ptp(heats[1].astype(int), axis=2) > 0).sum() == 1
    plain = dict(shown)[f"image {wanted[1]}"]
    np.testing.assert_array_equal(plain, images[wanted[1], 0])


def test_filters_and_class_images(make: Any) -> None:
    folder, images = make(NAMES, n=60, skill=1.0)
    found = glanced()
    text = inside(folder, images, look=lambda *_: found)
    kernels, sought = pictures(text)[:64], pictures(text)[64:]
    assert "features.0: 70 kernels of 5 x 5 over 1 channel, the first 64 here" in text
    values = found.filters[0, 0]  # type: ignore[index]
    assert kernels[0][0] == f"kernel 0: {values.min():.2f} to {values.max():.2f}"
    levels = kernels[0][1] / 16.0 - 1  # of the largest magnitude
    np.testing.assert_allclose(levels, values / np.abs(values).max(), atol=1 / 32)
    assert [alt for alt, _ in sought] == [
        "input that maximises cat",
        "input that maximises dog",
        "input that maximises &lt;b&gt;ship",
    ]
    np.testing.assert_array_equal(sought[1][1], found.class_images[1, 0])  # type: ignore[index]
    assert "&gt;99.9" in text and "50.0\u202f%" in text
    assert "Where it looks" not in text
    assert "A note &lt;i&gt;." in text


def test_what_cannot_be_shown_is_said_in_a_line(make: Any) -> None:
    folder, images = make(NAMES, n=60, skill=1.0)
    bare = glanced(filters=None, class_images=None, class_p=None, notes=("No filters: why.",))
    text = inside(folder, images, look=lambda *_: bare)
    assert "No filters: why." in text and "<h3>" not in text and "<img" not in text
    assert "Memory was bounded." in inside(folder, images, unseen="Memory was bounded.")
    assert "not at hand" in inside(folder, None, look=lambda *_: glanced())
