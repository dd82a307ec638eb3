"""What a unit sees through a stack of layers, given by their words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from convscope import words
from convscope.errors import BadArgument
from convscope.insight.receptive_field import ReceptiveField, slid, start, whole
from convscope.words import Word


def follow(layers: Sequence[str], size: tuple[int, int] = (28, 28)) -> list[ReceptiveField]:
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
    # brackets: how many rows there were, what went in
    opened: list[tuple[Word, int, ReceptiveField]] = []
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


def _added(entered: ReceptiveField, left: ReceptiveField, layer: str) -> ReceptiveField:
    """A unit of a residual sees what its shortcut and its branch see."""
    if entered.whole or left.whole:
        return replace(entered if entered.whole else left, layer=layer, kind="added")
    pairs = ((entered.height, left.height), (entered.width, left.width))
    height, width = (
        replace(two, low=min(one.low, two.low), high=max(one.high, two.high)) for one, two in pairs
    )
    return ReceptiveField(layer, "added", height, width)


def _size(seen: ReceptiveField) -> str:
    return f"{seen.height.size} x {seen.width.size}"


def _after(word: Word, before: ReceptiveField, image: ReceptiveField) -> ReceptiveField:
    """What the units of a word's layer see."""
    layer = word.layer()
    if isinstance(layer, words.GlobalPool | words.Linear) or layer == words.Named("flatten"):
        return whole(image, word.text, "all of it")
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
