"""What a unit sees through a stack of layers: its receptive field, stride and centre."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from convscope import words
from convscope.errors import BadArgument
from convscope.insight.reference.windows import axes_of
from convscope.words import Word


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
    """The layers one after another, each with what its units see; :mod:`convscope.words` says what
    the words are, and here a convolution need not name its channels.

    Activations and their like change nothing, ``gap``, ``flatten`` and ``fc10`` see the whole
    image, and ``]+`` what its branch or its shortcut sees. Raises BadArgument that points at the
    word that is none, or does not fit the map before it.

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
    opened: list[tuple[Word, int, Seen]] = []  # brackets: how many rows there were, what went in
    for word in words.split(" ".join(layers), "LAYERS"):
        before = found[-1]
        word.arrived = f"a map of {_size(before)}"
        if word.text == "[":
            opened.append((word, len(found), before))
        elif word.text in ("]+", "]"):
            bracket, rows, entered = opened.pop() if opened else (None, 0, before)
            words.closed(word, bracket, len(found) > rows)
            if _size(entered) != _size(before):
                rule = f"cannot add: {_size(entered)} went in at [ and {_size(before)} came out"
                word.refuse(rule, "keep the size within the brackets")
            found.append(_added(entered, before, word.text))
        else:
            found.append(_after(word, before, image))
    if opened:
        words.left_open(opened[-1][0])
    return found


def _added(entered: Seen, left: Seen, layer: str) -> Seen:
    """A unit of a residual sees what its shortcut and its branch see."""
    if entered.whole or left.whole:
        return replace(entered if entered.whole else left, layer=layer, kind="added")
    pairs = ((entered.height, left.height), (entered.width, left.width))
    height, width = (
        replace(two, low=min(one.low, two.low), high=max(one.high, two.high)) for one, two in pairs
    )
    return Seen(layer, "added", height, width)


def _size(seen: Seen) -> str:
    return f"{seen.height.size} x {seen.width.size}"


def _after(word: Word, before: Seen, image: Seen) -> Seen:
    """What the units of a word's layer see."""
    layer = word.layer()
    if isinstance(layer, words.GlobalPool | words.Linear) or layer == words.Named("flatten"):
        return whole(before, image, word.text, "all of it")
    if before.whole or isinstance(layer, words.Named | words.Dropout):
        return replace(before, layer=word.text, kind="each by itself")
    if isinstance(layer, words.Pool):
        kind, kernel, dilation = f"{layer.kind} pool", layer.window, (1, 1)
    else:
        kind, kernel, dilation = "convolution", layer.kernel, layer.dilation
    high, wide = layer.spans
    if layer.padding is None:  # keeps the size, an odd pixel of padding below and to the right
        pads = ((high - 1) // 2, (wide - 1) // 2, high // 2, wide // 2)
    else:
        pads = layer.padding * 2
    try:
        return slid(before, word.text, kind, kernel_shape=kernel, strides=layer.stride,
                    dilations=dilation, pads=pads)  # fmt: skip
    except BadArgument as why:
        word.refuse(why.rule, why.remedy)
