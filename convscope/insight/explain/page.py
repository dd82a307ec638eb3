"""The views of `explain` as one page: one file that asks the network for nothing, whose text is
text and whose images are small."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from convscope import webpage
from convscope.formatting import percent
from convscope.insight.cells import cells
from convscope.insight.explain.pictures import Plane, Sheet, Strip
from convscope.insight.explain.views import View
from convscope.insight.sprites import sprites
from convscope.markup import esc, note, sections

NAMES = {"maps": "Feature maps", "heat": "Heat maps"}  # where more than a word is needed
WIDE, HIGH, EDGE = 1000, 640, 30  # of the plane, in units of its picture
CROSS = 7  # units from the middle of a cross to its ends
NAMED = 20  # classes whose names stand in the plane
THUMBS = 400_000  # bytes of pixels of the images that are shown of it
# ten colours that are told apart on light and dark; further classes get colours around the circle
COLOURS = (
    *("#4e79a7", "#f28e2b", "#e15759", "#3fa7a3", "#59a14f"),
    *("#c9a227", "#b07aa1", "#e377a2", "#9c755f", "#8b8f94"),
)


def page(name: str, about: str, views: Mapping[str, View], left_out: Mapping[str, str]) -> str:
    """One HTML page of what a run has learnt: ``about`` is a line on it, ``views`` what is shown,
    by name; and of what was left out, by name, and why."""
    parts = [
        (key, NAMES.get(key, key.capitalize()), view.shown.title, _shown(view))
        for key, view in views.items()
    ]
    if left_out:
        lines = "".join(
            f"<li><b>{esc(NAMES.get(key, key.capitalize()))}</b>: {esc(why)}</li>"
            for key, why in left_out.items()
        )
        parts.append(("left-out", "Left out", "Left out", f"<ul>{lines}</ul>\n"))
    planes = [view.shown for view in views.values() if isinstance(view.shown, Plane)]
    style = webpage.base() + webpage.part("convscope.insight.explain", "page.css")
    style += "".join(_thumbs(plane).style() for plane in planes)
    script = webpage.part("convscope.insight.explain", "plane.js") if planes else ""
    named = {key: short for key, short, _, _ in parts}
    body = sections(((key, esc(title), content) for key, _, title, content in parts), named)
    return webpage.whole(
        f"What {name} has learnt · convscope explain",
        style,
        f'{webpage.nav()}<header>\n<p class="eyebrow">convscope explain</p>\n'
        f'<h1>What {esc(name)} has learnt</h1>\n<p class="lede">{esc(about)}</p>\n</header>\n{body}'
        "<footer>Written by convscope explain. This page is one file and loads nothing; its "
        "numbers are in explain.json, and each view is a picture beside it.</footer>\n"
        + f"<script>\n{script}</script>\n"
        * bool(script),
        pictures=True,
        scripts=bool(script),
    )


def _shown(view: View) -> str:
    if isinstance(view.shown, Plane):
        return _plane(view.shown)
    sheet = view.shown
    notes = "".join(map(note, sheet.notes))
    against = view.numbers.get("against_random_weights")
    doubt = _doubt(sheet.doubt, against) if against else ""
    plain = "" if any(strip.name for strip in sheet.strips) else " plain"
    strips = "".join(_strip(strip, sheet) for strip in sheet.strips)
    return f'{notes}{doubt}<div class="strips{plain}">{strips}</div>\n'


def _strip(strip: Strip, sheet: Sheet) -> str:
    """A row of cells; as wide as the page where it is the only one."""
    first, *rest = strip.name.split("\n")
    more = f"<small>{esc(', '.join(rest))}</small>" if rest else ""
    head = f"<h3>{esc(first)}{more}</h3>" if strip.name else ""
    heads = [head.replace("\n", " ") for head in sheet.heads]
    drawn = cells(strip.cells, heads, "large" * sheet.large)
    return f'<div class="strip">{head}<div>{drawn}</div></div>\n'


def _doubt(verdict: str, against: Mapping[str, Any]) -> str:
    """How often the maps are better than those of random weights, with its interval, against
    chance."""
    share, (low, high) = against["deletion_better"], against["deletion_better_ci95"]

    def x(part: float) -> float:
        return round(20 + 560 * part, 1)

    marks = "".join(
        f'<text x="{x(part)}" y="62" text-anchor="middle">{said}</text>'
        for part, said in ((0, "0 %"), (0.5, "chance, 50 %"), (1, "100 %"))
    )
    return (
        f'<div class="doubt{"" if low > 0.5 else " bad"}"><h3>Can they be believed?</h3>'
        f'<p>{esc(verdict)}</p><svg viewBox="0 0 600 70" role="img" aria-label="Better than random '
        f"weights on {percent(share, 0)} of the images, interval {percent(low, 0)} to "
        f'{percent(high, 0)}"><path class="scale" d="M{x(0)} 36H{x(1)}"/>'
        f'<path class="chance" d="M{x(0.5)} 22V48"/>'
        f'<path class="interval" d="M{x(low)} 36H{x(high)}"/>'
        f'<circle cx="{x(share)}" cy="36" r="7"/>'
        f'<text class="own" x="{x(min(max(share, 0.05), 0.95))}" y="16" text-anchor="middle">'
        f"{percent(share, 0)}</text>{marks}</svg></div>\n"
    )


def _colour(k: int, count: int) -> str:
    """The colour of a class, one of so many."""
    if count <= len(COLOURS):
        return COLOURS[k]
    return f"hsl({k * 137.508 % 360:.0f} 55% {(48, 58, 66)[k % 3]}%)"  # the golden angle


def _thumbs(plane: Plane) -> Any:
    """The images of the plane that the page has room for: mistakes first."""
    wrong = np.flatnonzero(plane.labels != plane.predicted)
    right = np.flatnonzero(plane.labels == plane.predicted)
    return sprites(plane.images, [*wrong.tolist(), *right.tolist()], THUMBS)


def _plane(plane: Plane) -> str:
    """Images as points in the colour of their class, mistakes as crosses in the colour of what they
    were taken for; and what a script tells of each."""
    x, y = _placed(plane.points)
    classes, wrong = plane.classes, plane.labels != plane.predicted
    parts, names = [], []
    present = np.unique(plane.labels).tolist()
    for k in present:
        own = np.flatnonzero((plane.labels == k) & ~wrong)
        dots = "".join(f"M{x[i]} {y[i]}h0" for i in own)
        parts.append(_path(k, "right", dots, len(classes)))
        if len(own) and len(present) <= NAMED:
            middle = int(np.median(x[own])), int(np.median(y[own]))
            names.append(
                f'<text data-class="{k}" x="{middle[0]}" y="{middle[1] + 6}">'
                f"{esc(classes[k])}</text>"
            )
    for k in np.unique(plane.predicted[wrong]).tolist():
        crosses = "".join(
            f"M{x[i] - CROSS} {y[i] - CROSS}l{2 * CROSS} {2 * CROSS}m0 {-2 * CROSS}"
            f"l{-2 * CROSS} {2 * CROSS}"
            for i in np.flatnonzero(wrong & (plane.predicted == k))
        )
        parts.append(_path(k, "wrong rim", crosses, len(classes)))
        parts.append(_path(k, "wrong", crosses, len(classes)))
    thumbs = _thumbs(plane)
    told = {
        "x": x.tolist(), "y": y.tolist(), "n": plane.numbers.tolist(),
        "label": plane.labels.tolist(), "said": plane.predicted.tolist(),
        "p": np.rint(100 * plane.p).astype(int).tolist(), "classes": list(classes),
        "tiles": {str(i): place for i, place in thumbs.places.items()},
    }  # fmt: skip
    data = json.dumps(told, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    options = "".join(f'<option value="{k}">{esc(classes[k])}</option>' for k in present)
    along, down = plane.axes
    return (
        f'{"".join(map(note, plane.notes))}<div class="images">'
        '<p class="controls" hidden><button type="button">Next mistake</button>'
        f'<label>Class <select><option value="">all</option>{options}</select></label></p>\n'
        '<div class="told-of"><span class="tile" hidden></span><output>Point at an image, touch '
        "one, or move among them with the arrow keys.</output></div>\n"
        f'<div class="plane" tabindex="0" role="group" aria-label="{esc(plane.title)}: arrow keys '
        f'tell image by image"><svg viewBox="0 0 {WIDE} {HIGH}" role="img" '
        f'aria-label="{esc(plane.title)}, by their {along} and {down}">'
        f"{''.join(parts)}{''.join(names)}"
        '<circle class="ring" r="13" transform="translate(-99 -99)"/></svg></div>\n'
        f'<p class="note">Across: {along}. Up: {down}.</p>'
        f'<script type="application/json">{data}</script></div>\n'
    )


def _path(k: int, look: str, d: str, count: int) -> str:
    own = "" if look.endswith("rim") else f' style="--own:{_colour(k, count)}"'
    return f'<path class="{look}" data-class="{k}" d="{d}"{own}/>' if d else ""


def _placed(points: np.ndarray) -> Sequence[np.ndarray]:
    """Points [N,2] as whole units of the picture, x and y; the second axis goes up."""
    low, high = points.min(axis=0), points.max(axis=0)
    shares = (points - low) / np.maximum(high - low, 1e-12)
    x = np.rint(EDGE + shares[:, 0] * (WIDE - 2 * EDGE)).astype(int)
    y = np.rint(HIGH - EDGE - shares[:, 1] * (HIGH - 2 * EDGE)).astype(int)
    return x, y
