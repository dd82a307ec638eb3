"""What a unit sees through a stack of layers: its receptive field, stride and centre."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from convscope.errors import BadArgument, nearest
from convscope.insight.reference.windows import axes_of

ALIKE = ("bn", "relu", "gelu", "silu", "elu", "tanh", "sigmoid", "dropout", "drop", "norm")
WHOLE = ("flatten", "fc", "gap", "gmp")
_CONV = re.compile(r"c(\d+)(?:x(\d+))?(?:-(\d+))?((?:[spd]\d+)*)")
_POOL = re.compile(r"([ma])p(\d+)(?:x(\d+))?((?:[spd]\d+)*)")


@dataclass(frozen=True)
class View:
    """What the units of a map see along one axis: the i-th the pixels ``low + i * stride`` to
    ``high + i * stride`` of the image, which may lie in the padding: at the edges it sees less.
    ``size`` units in all."""

    size: int
    low: int = 0
    high: int = 0
    stride: int = 1

    @property
    def field(self) -> int:
        """How many pixels a unit sees."""
        return self.high - self.low + 1

    @property
    def centre(self) -> float:
        """The middle of what the first unit sees, in pixels from that of the image's first."""
        return (self.low + self.high) / 2

    def through(self, kernel: int, stride: int, dilation: int, begin: int, out: int) -> View:
        """What the units of the next layer see (Araujo et al. 2019, section 2).

        >>> View(28).through(5, 1, 1, 2, 28).through(2, 2, 1, 0, 14)
        View(size=14, low=-2, high=3, stride=2)
        """
        low = self.low - begin * self.stride
        high = self.high + (dilation * (kernel - 1) - begin) * self.stride
        return View(out, low, high, self.stride * stride)


@dataclass(frozen=True)
class Seen:
    """A layer, and what its units see along height and width."""

    layer: str
    kind: str
    height: View
    width: View
    whole: bool = False  # it sees the whole image, wherever that ends

    def as_json(self) -> dict[str, Any]:
        """The layer as one object."""
        axes = (self.height, self.width)
        return {
            "layer": self.layer,
            "kind": self.kind,
            "size": [axis.size for axis in axes],
            "receptive_field": [axis.field for axis in axes],
            "stride": [axis.stride for axis in axes],
            "centre": [axis.centre for axis in axes],
            "first_unit": [[axis.low, axis.high] for axis in axes],
            "whole": self.whole,
        }


def start(size: tuple[int, int]) -> Seen:
    """The image itself: every pixel sees itself. Raises BadArgument for a size below 1."""
    if len(size) != 2 or min(size) < 1:
        rule = "must be height and width, at least 1 each"
        raise BadArgument("input", "x".join(map(str, size)), rule, "try 28x28")
    return Seen("input", "image", View(size[0]), View(size[1]))


def slid(
    before: Seen,
    layer: str,
    kind: str,
    *,
    kernel_shape: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    ceil_mode: bool = False,
) -> Seen:
    """A convolution or a pool after another layer. Raises BadArgument where it does not fit."""
    axes = axes_of(
        (before.height.size, before.width.size), kernel_shape, pads=pads, strides=strides,
        dilations=dilations, ceil_mode=ceil_mode,
    )  # fmt: skip
    views = [
        view.through(axis.kernel, axis.stride, axis.dilation, axis.begin, axis.out)
        for view, axis in zip((before.height, before.width), axes, strict=True)
    ]
    return replace(before, layer=layer, kind=kind, height=views[0], width=views[1])


def whole(before: Seen, image: Seen, layer: str, kind: str) -> Seen:
    """A layer that sees all of the map before it: one unit, the whole image."""
    views = [
        View(1, 0, side.size - 1, side.size)
        for _, side in ((before.height, image.height), (before.width, image.width))
    ]
    return Seen(layer, kind, views[0], views[1], whole=True)


def follow(layers: Sequence[str], size: tuple[int, int] = (28, 28)) -> list[Seen]:
    """The layers one after another, each with what its units see.

    ``c5-16`` is a 5x5 convolution that keeps the size (``p0``: no padding; ``s2``, ``d2``: stride,
    dilation), ``mp2`` and ``ap2`` a max- and average-pool, ``bn``, ``relu``, ``drop`` and their
    like change nothing, ``gap``, ``flatten`` and ``fc10`` see the whole image. Raises BadArgument
    for another word, and where a layer does not fit the map before it.

    >>> for seen in follow(["c5-16", "mp2", "c5-32", "mp2"]):
    ...     print(seen.layer, seen.height.size, seen.height.field, seen.height.stride)
    input 28 1 1
    c5-16 28 5 1
    mp2 14 6 2
    c5-32 14 14 2
    mp2 7 16 4
    """
    image = start(size)
    found = [image]
    for word in layers:
        before = found[-1]
        name = word.rstrip("0123456789.")
        if word in WHOLE or name in WHOLE:
            found.append(whole(before, image, word, "all of it"))
        elif before.whole or word in ALIKE or name in ALIKE:
            found.append(replace(before, layer=word, kind="each by itself"))
        else:
            found.append(_sliding(before, word))
    return found


def _sliding(before: Seen, word: str) -> Seen:
    """The layer that a word such as ``c5x3-16s2`` or ``mp3s2p1`` stands for."""
    conv, pooled = _CONV.fullmatch(word), _POOL.fullmatch(word)
    if conv:
        high, wide, marks, kind = conv[1], conv[2], conv[4], "convolution"
    elif pooled:
        high, wide, marks = pooled[2], pooled[3], pooled[4]
        kind = "max pool" if pooled[1] == "m" else "average pool"
    else:
        known = ["c5-16", "c3-16s2", "mp2", "ap2", *ALIKE, *WHOLE]
        raise BadArgument("LAYERS", word, "is no layer", nearest(word, known))
    kernel = int(high), int(wide or high)
    given = {mark[0]: int(mark[1:]) for mark in re.findall(r"[spd]\d+", marks)}
    d = given.get("d", 1)
    if min(*kernel, d, given.get("s", 1)) < 1:
        rule = "has a kernel, stride or dilation of 0"
        raise BadArgument("LAYERS", word, rule, "make it at least 1")
    strides = (given.get("s", 1),) * 2 if conv or "s" in given else kernel
    if "p" in given or pooled:
        pads = (given.get("p", 0),) * 4
    else:  # keeps the size, an odd pixel of padding below and to the right
        around = [d * (k - 1) for k in kernel]
        pads = (around[0] // 2, around[1] // 2, -(-around[0] // 2), -(-around[1] // 2))
    try:
        return slid(before, word, kind, kernel_shape=kernel, strides=strides, dilations=(d, d),
                    pads=pads)  # fmt: skip
    except BadArgument as why:
        raise BadArgument("LAYERS", word, why.rule, why.remedy) from None
