"""The experiments of the lab as pages: one file each, in which the experiment can be edited, and
that asks the network for nothing. What is asked for is what a page opens with."""

from __future__ import annotations

import importlib
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
MOST_PRODUCTS = 100_000_000  # multiplications that it computes (MOST_PRODUCTS of web/sliding.js)
MOST_PIXELS = 4_000_000  # of an image whose receptive fields it shows (that of web/seeing.js)


def moves(found: Sliding) -> str:
    """A kernel or pool that is moved over the input, both edited by hand. Raises BadArgument for
    what is too large for a page."""
    _small(found.X.size, "has {0:,} numbers, and a page holds {1:,}", MOST)
    _small(found.Y.size, "has {0:,} numbers in its output, and a page holds {1:,}", MOST)
    products = found.places * found.products
    _small(products, "takes {0:,} multiplications, and a page does {1:,}", MOST_PRODUCTS)
    axes = found.axes
    words = {"do": found.kind, "x": _text(found.X), "s": _each(axis.stride for axis in axes)}
    words["d"] = _each(axis.dilation for axis in axes)
    if max(found.X.shape[1:]) > 40:
        words["grey"] = "1"
    if found.same:
        upper = all(axis.begin <= axis.end for axis in axes)
        words["p"] = "same" if upper else "same-lower"
    else:
        words["p"] = _each([*(axis.begin for axis in axes), *(axis.end for axis in axes)])
    if found.W is None:
        words["w"] = _each(axis.kernel for axis in axes)
        words |= {"ceil": "1"} if found.ceil_mode else {}
        words |= {"count": "1"} if found.with_pads else {}
    else:
        words |= {"g": str(found.group), "k": _text(found.W), "b": _each(found.B)}
    m, i, j = 0, found.Y.shape[1] // 2, found.Y.shape[2] // 2
    return _page({**words, "at": _each((m, i, j))})


def fields(rows: Sequence[ReceptiveField], layers: str = "") -> str:
    """What the units of each layer see: a layer is chosen, a unit pointed at; ``layers`` are their
    words, where they have some, which can be edited."""
    h, w = rows[0].height.size, rows[0].width.size
    _small(h * w, "has {0:,} pixels, and a page shows {1:,}", MOST_PIXELS)
    size = f"{h}x{w}"
    if layers:
        return _page({"do": "fields", "size": size, "layers": layers})
    seen = [
        {
            "layer": row.layer,
            "kind": row.kind,
            "whole": row.whole,
            "axes": [{k: getattr(axis, k) for k in ("size", "low", "high", "stride")}
                     for axis in (row.height, row.width)],
        }
        for row in rows
    ]  # fmt: skip
    return _page({"do": "fields", "size": size, "rows": seen})


def learning(x: Array, K: Array, learnt: Learnt) -> str:
    """A kernel that is learnt, step by step, from an image x [H,W] and what K [h,w] makes of it."""
    _small(x.size, "has {0:,} numbers, and a page holds {1:,}", MOST)
    steps = len(learnt.losses) - 1
    _small(steps * x.size * K.size * 2, "takes {0:,} multiplications, and a page does {1:,}",
           MOST_PRODUCTS)  # fmt: skip
    words = {"x": _text(x), "k": _text(K), "start": _text(learnt.kernels[0])}
    return _page({"do": "learning", **words, "rate": repr(learnt.lr), "steps": str(steps)})


def counts(found: OneByOne) -> str:
    """What a 1x1 convolution saves, for every number of channels that it leaves."""
    layer = found.straight
    size, kernel = (f"{a}x{b}" for a, b in (layer.size, layer.kernel))
    words = {"x": f"{layer.channels}x{size}", "k": kernel, "out": str(layer.out)}
    return _page({"do": "counts", **words, "through": str(found.narrow.out)})


def _page(opens: dict[str, Any]) -> str:
    """The page that opens with an experiment, in the words of its address."""
    words = webpage.words("lab.", "language", "choose", "failed.image", "footer")
    version = importlib.import_module("convscope").__version__
    about = {"words": words, "lab": opens, "version": version}
    style = "".join(webpage.part("convscope", f"web/{name}.css") for name in ("page", "lab"))
    return webpage.whole(
        "convscope lab",
        webpage.theme() + style,
        webpage.part("convscope", "web/lab.html")
        + webpage.data("about", about)
        + f"<script>\n{webpage.script('convscope', 'web/lab_page.js')}</script>\n",
        scripts=True,
    )


def _small(size: int, rule: str, most: int) -> None:
    if size > most:
        remedy = "make the input smaller, or save a .gif"
        raise BadArgument("save", "a page", rule.format(size, most), remedy)


def _text(values: Array) -> str:
    """Numbers [...,h,w] between commas, rows between semicolons, maps between bars.

    >>> _text(np.arange(8.0).reshape(2, 2, 2))
    '0,1;2,3|4,5;6,7'
    """
    maps = np.asarray(values, np.float64).reshape(-1, *values.shape[-2:])
    return "|".join(";".join(_each(row) for row in one) for one in maps)


def _each(values: Any) -> str:
    """Whole numbers without their point, others to the last digit."""
    return ",".join(str(int(v)) if float(v).is_integer() else repr(float(v)) for v in values)
