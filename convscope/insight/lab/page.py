"""The experiments of the lab as pages: one file each, with its script and style inside, that asks
the network for nothing; the kernel follows the mouse, a finger and the arrow keys."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from convscope import webpage
from convscope.errors import BadArgument
from convscope.insight.lab.counting import OneByOne
from convscope.insight.lab.sliding import Sliding
from convscope.insight.receptive_field import ReceptiveField
from convscope.insight.reference import Learnt
from convscope.insight.reference.windows import Array

MOST = 300_000  # numbers of an input that a page holds


def moves(found: Sliding, name: str) -> str:
    """A kernel or pool that is moved over the input by hand. Raises BadArgument for an input that
    is too large for a page."""
    _small(found.X)
    _small(found.Y)
    M = len(found.Y)
    channels = [list(found.channels(m)) for m in range(M)]
    deep = len(channels[0])
    picture = max(found.X.shape[1:]) > 40
    data = {
        "page": "moves",
        "kind": found.kind,
        "X": _short(found.X),
        "Y": _short(found.Y),
        "W": None if found.W is None else _short(found.W),
        "B": None if found.B is None else found.B.tolist(),
        "counts": None if found.counts is None else found.counts.tolist(),
        "with_pads": found.with_pads,
        "axes": [{**vars(axis), "reach": axis.reach} for axis in found.axes],
        "channels": channels,
        "picture": picture,
    }
    formulas = "".join(
        f"{axis:6} {html.escape(text)}<br>"
        for axis, text in zip(("height", "width"), found.formula(), strict=True)
    )
    choice = ""
    if M > 1:
        options = "".join(f'<option value="{m}">{m + 1} of {M}</option>' for m in range(M))
        choice = f'<label>output channel <select id="channel">{options}</select></label>'
    boards = []
    for c in range(deep):
        said = "input" if deep == 1 else f"input, channel {c + 1} of its {deep}"
        boards.append(_board(f"input{c}", said))
        if found.W is not None:
            said = name if deep == 1 else f"{name}, for that channel"
            boards.append(_board(f"kernel{c}", said, still=True, narrow=True))
    boards.append(_board("output", "output"))
    body = (
        f'<p class="formula">{formulas}</p>'
        "<p>Move over the output or the input, or use the arrow keys on either.</p>"
        f'<div class="controls"><button id="play" type="button">Play</button>{choice}</div>'
        f'<p class="said" id="said" role="status"></p><div class="boards">{"".join(boards)}</div>'
    )
    size = " x ".join(map(str, found.X.shape))
    title = f"{name} over {size}" if found.W is not None else f"{name} of {size}"
    return _page(title, body, data)


def fields(rows: Sequence[ReceptiveField]) -> str:
    """What the units of each layer see: a layer is chosen, a unit pointed at."""
    layers = [row.as_json() for row in rows]
    lines = []
    for n, row in enumerate(rows):
        lines.append(
            f'<tr><td><button type="button" data-layer="{n}" aria-pressed="false">'
            f"{html.escape(row.layer)}</button></td><td>{html.escape(row.kind)}</td>"
            f"<td>{row.height.size} x {row.width.size}</td><td>{row.size}</td></tr>"
        )
    heads = "".join(f"<th>{head}</th>" for head in ("layer", "what it is", "units", "a unit sees"))
    table = (
        f'<div class="scroll"><table class="layers"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
    body = (
        "<p>Choose a layer, then move over its units or the image, or use the arrow keys.</p>"
        f'<p class="said" id="said" role="status"></p><div class="boards">'
        f"{_board('image', 'image, and the padding that is seen')}"
        f"{_board('map', 'units', name='map-name')}</div>{table}"
    )
    size = f"{rows[0].height.size} x {rows[0].width.size}"
    return _page(f"What a unit sees of {size} pixels", body, {"page": "fields", "layers": layers})


def learning(x: Array, y: Array, learnt: Learnt) -> str:
    """A kernel that is learnt, step by step."""
    _small(x)
    last = len(learnt.losses) - 1
    data = {
        "page": "learning",
        "x": _short(x),
        "y": _short(y),
        "kernels": _short(learnt.kernels),
        "losses": learnt.losses.tolist(),
        "picture": max(x.shape) > 40,
    }
    boards = [
        _board("image", "image", still=True),
        _board("kernel", "kernel", still=True, narrow=True),
        _board("made", "map that the kernel makes", still=True),
        _board("wanted", "map that is wanted", still=True),
    ]
    body = (
        f"<p>Gradient descent with a rate of {learnt.lr:.4g}: each step moves the kernel against "
        "the gradient of the mean squared difference between both maps.</p>"
        '<div class="controls"><button id="play" type="button">Play</button>'
        f'<label for="step">step</label><input id="step" type="range" min="0" max="{last}" '
        f'value="0"></div><p class="said" id="said" role="status"></p>'
        f'<div class="boards">{"".join(boards)}</div>'
    )
    return _page("A kernel learnt from an image and its map", body, data)


def counts(found: OneByOne) -> str:
    """What a 1x1 convolution saves, for every number of channels that it leaves."""
    layer, (h, w) = found.straight, found.straight.size
    kernel = "x".join(map(str, layer.kernel))
    most = max(layer.channels, found.narrow.out)
    data = {
        "page": "counts",
        "channels": layer.channels,
        "out": layer.out,
        "pixels": h * w,
        "taps": layer.kernel[0] * layer.kernel[1],
    }
    body = (
        "<p>Multiplications for one image: straight on, and by way of a 1x1 convolution to fewer "
        "channels, which is a linear layer over the channels of each pixel.</p>"
        '<div class="controls"><label for="through">channels that the 1x1 leaves</label>'
        f'<input id="through" type="range" min="1" max="{most}" value="{found.narrow.out}"></div>'
        '<p class="said" id="said" role="status"></p><div class="bars">'
        f'<div><h2>{kernel} straight on</h2><div class="bar"><span id="straight" class="straight">'
        '</span></div><span id="straight-text"></span></div>'
        f"<div><h2>1x1, then {kernel}</h2>"
        '<div class="bar"><span id="narrow" class="narrow"></span>'
        '<span id="wide" class="wide"></span></div><span id="detour-text"></span></div></div>'
    )
    return _page(f"{layer.channels} x {h} x {w} to {layer.out} x {h} x {w}", body, data)


def _board(
    key: str, title: str, still: bool = False, narrow: bool = False, name: str | None = None
) -> str:
    style = ' style="flex: 0 1 9rem"' if narrow else ""
    focus = "" if still else ' tabindex="0"'
    label = html.escape(title, quote=True)
    known = f' id="{name}"' if name else ""
    return (
        f'<div class="board"{style}><h2{known}>{html.escape(title)}</h2>'
        f'<canvas id="{key}" role="img" aria-label="{label}"{focus}></canvas></div>'
    )


def _page(title: str, body: str, data: dict[str, Any]) -> str:
    style, script = (webpage.part("convscope.insight.lab", f"page.{k}") for k in ("css", "js"))
    values = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return webpage.whole(
        f"{title} · convscope lab",
        style,
        f"<main>\n<h1>{html.escape(title)}</h1>\n{body}\n</main>\n"
        "<footer>Written by convscope lab. This page is one file and loads nothing.</footer>\n"
        f'<script type="application/json" id="data">{values}</script>\n'
        f"<script>\n{script}</script>\n",
        scripts=True,
    )


def _small(values: Array) -> None:
    if values.size > MOST:
        rule = f"has {values.size:,} numbers, and a page holds {MOST:,}"
        raise BadArgument("save", "a page", rule, "make the input smaller, or save a .gif")


def _short(values: Array) -> Any:
    """Nested lists of numbers in six digits: what is shown, in a third of the room."""
    array = np.asarray(values, np.float64)
    with np.errstate(divide="ignore"):
        digits = np.where(array == 0, 0, np.floor(np.log10(np.abs(array))))
    scale = 10.0 ** (5 - digits)
    rounded = np.round(array * scale) / scale
    whole = rounded == np.round(rounded)
    return np.where(whole, rounded.astype(np.int64).astype(object), rounded).tolist()
