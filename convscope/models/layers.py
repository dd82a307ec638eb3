"""Networks without code: one line of words, a layer a word, from pixels to classes.

======================= ===========================================================================
``c5-16``               convolution, 5x5 to 16 channels, that keeps the size; ``c5x3-16`` has a
                        kernel 5 high and 3 wide
``c5-16p0s2g4``         ... with padding 0, stride 2, in 4 groups; each of them may be left out, and
                        ``p`` and ``s`` may be two numbers, ``p2x1``
``mp2``, ``ap2``        max- or average-pool over windows of 2x2, one beside the other;
                        ``mp3s2p1`` has a stride and a padding of its own
``gmp``, ``gap``        global max- or average-pool: one value a channel
``bn``                  batch normalisation
``relu``                activation; also ``gelu silu elu leaky tanh sigmoid``
``drop0.5``             dropout of half of the values
``[ ... ]+``            residual: what comes out is added to what went in
``flatten``             maps [B,C,h,w] to vectors [B,C*h*w]
``fc500``, ``fc``       linear layer to 500 values; ``fc`` alone: as many as there are classes
======================= ===========================================================================

Letters, not positions, say what a number is, and no layer guesses its input: channels and sizes are
followed from the image on, and what does not fit is refused where it stands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

from torch import Tensor, nn

from convscope.errors import BadArgument, nearest
from convscope.models.parts import Classifier, same_convolution

Shape = tuple[int, ...]  # of one image: (C, h, w), or (F,) once it is flat

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "leaky": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
NUMBER = "[0-9]{1,9}"
PAIR = f"{NUMBER}(?:x{NUMBER})?"
KNOWN = ("c5-16", "mp2", "ap2", "gmp", "gap", "bn", *ACTIVATIONS, "drop0.5", "flatten", "fc10")
MOST = 2**28  # weights of one layer: 1 GiB of them


class Residual(nn.Module):
    """x + branch(x): [B,...] -> the same."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.branch(x)
        return y


def layers(
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    layers: str = "c5-16 bn relu mp2 c5-32 bn relu mp2 flatten fc",
) -> Classifier:
    """A network written as one line of layers, such as
    ``c5-16 bn relu mp2 c5-32 bn relu mp2 flatten fc10``.

    Up to ``flatten``, or a global pool just before it, are the ``features``; the rest is the head.
    Raises BadArgument that points at the word that does not fit and says what shape arrived there.

    >>> layers(10, 1, (28, 28), "c3-32p0 relu mp2 flatten fc10").head
    Sequential(
      (0): Flatten(start_dim=1, end_dim=-1)
      (1): Linear(in_features=5408, out_features=10, bias=True)
    )
    >>> layers(10, 1, (28, 28), "c3-32 relu fc10")
    Traceback (most recent call last):
    convscope.errors.BadArgument: layers=fc10: takes a vector, and [B,32,28,28] arrived; write
    flatten before it
      c3-32 relu fc10
                 ^^^^
    """
    line = " ".join(layers.split())
    found = list(re.finditer(r"\[|\]\+?|[^\s\[\]]+", line))
    words = [_Word(match[0], match.start(), line, num_classes) for match in found]
    if not words:
        raise BadArgument("layers", repr(layers), "names no layer", "try c5-16 relu mp2 flatten fc")
    made, shape = _sequence(iter(words), (in_channels, *image_size), None)
    if shape != (num_classes,):
        words[-1].refuse(
            f"leaves {_text(shape)} at the end, where {num_classes} classes need [B,{num_classes}]",
            "end with fc" if len(shape) == 1 else "end with flatten fc",
        )
    kinds = [type(module) for module in made]
    cut = kinds.index(nn.Flatten)
    if cut and kinds[cut - 1] in (nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d):
        cut -= 1
    features = nn.Sequential(*made[:cut]) if cut else None
    return Classifier(in_channels, features, nn.Sequential(*made[cut:]))


@dataclass
class _Word:
    """A word of the line, where it stands, and what arrives there."""

    text: str
    at: int
    line: str
    classes: int
    shape: Shape = ()

    def refuse(self, rule: str, remedy: str) -> NoReturn:
        """Raise BadArgument with the line and this word marked below it."""
        marked = f"{self.line}\n  {' ' * self.at}{'^' * len(self.text)}"
        raise BadArgument("layers", self.text, rule, f"{remedy}\n  {marked}")

    def pair(self, text: str) -> tuple[int, int]:
        """'5' or '5x3' as height and width."""
        height, _, width = text.partition("x")
        return int(height), int(width or height)

    def options(self, text: str) -> dict[str, tuple[int, int]]:
        """'p0s2' as {'p': (0, 0), 's': (2, 2)}."""
        found = re.findall(f"([psg])({PAIR})", text)
        if len({letter for letter, _ in found}) < len(found):
            self.refuse("says one thing twice", "leave one of them out")
        return {letter: self.pair(numbers) for letter, numbers in found}

    def maps(self) -> tuple[int, int, int]:
        """The maps that arrive: channels, height, width."""
        if len(self.shape) != 3:
            self.refuse(
                f"takes maps [B,C,h,w], and {_text(self.shape)} arrived", "put it before flatten"
            )
        channels, height, width = self.shape
        return channels, height, width

    def weights(self, count: int) -> None:
        """Refuse a layer that no machine of this kind holds."""
        if count > MOST:
            rule = f"would have {count:,} weights, with {_text(self.shape)} arriving"
            self.refuse(rule, "write smaller numbers, or pool before it")


def _text(shape: Shape) -> str:
    return f"[B,{','.join(map(str, shape))}]"


def _sequence(
    unread: Iterator[_Word], shape: Shape, opened: _Word | None
) -> tuple[list[nn.Module], Shape]:
    """The layers up to the end, or to the ``]+`` of the bracket that was ``opened``."""
    made: list[nn.Module] = []
    for word in unread:
        word.shape = shape
        if word.text == "[":
            inner, after = _sequence(unread, shape, word)
            module: nn.Module = Residual(nn.Sequential(*inner))
        elif word.text in ("]+", "]"):
            _closed(word, opened, bool(made))
            return made, shape
        else:
            module, after = _layer(word)
        made.append(module)
        shape = after
    if opened is not None:
        opened.refuse("is never closed", "write ]+ where the residual ends")
    return made, shape


def _closed(word: _Word, opened: _Word | None, made: bool) -> None:
    """Refuse the end of a residual that does not add up."""
    if opened is None:
        word.refuse("closes a bracket that was never opened", "write [ where the residual begins")
    if word.text == "]":
        word.refuse("does not say how the bracket joins what went in", "write ]+ to add the two")
    if not made:
        word.refuse("closes an empty residual", "write layers between [ and ]+")
    if word.shape != opened.shape:
        rule = f"cannot add: {_text(opened.shape)} went in at [ and {_text(word.shape)} came out"
        word.refuse(rule, "keep channels and size within the brackets")


def _layer(word: _Word) -> tuple[nn.Module, Shape]:
    """The layer that a word stands for, and the shape that it leaves."""
    for pattern, make in GRAMMAR.items():
        if match := re.fullmatch(pattern, word.text):
            return make(word, *match.groups())
    return word.refuse(
        f"is no layer, and {_text(word.shape)} arrived there", nearest(word.text, KNOWN)
    )


def _convolution(word: _Word, size: str, out: str, more: str) -> tuple[nn.Module, Shape]:
    channels, height, width = word.maps()
    kernel, filters, options = word.pair(size), int(out), word.options(more)
    stride, (groups, again) = options.get("s", (1, 1)), options.get("g", (1, 1))
    if min(*kernel, *stride, filters, groups) < 1:
        word.refuse("has a kernel, stride, group or channel of 0", "write numbers of at least 1")
    if groups != again or channels % groups or filters % groups:
        rule = f"has groups that do not divide {channels} channels, which arrived, and {filters}"
        word.refuse(f"{rule} ({_text(word.shape)})", "write a g that divides both")
    word.weights(channels // groups * filters * math.prod(kernel))
    if "p" not in options:
        module = same_convolution(channels, filters, kernel, stride, groups)
        after = tuple((n - 1) // s + 1 for n, s in zip((height, width), stride, strict=True))
        return module, (filters, *after)
    after = _windows(word, kernel, stride, options["p"])
    return nn.Conv2d(channels, filters, kernel, stride, options["p"], groups=groups), (
        filters,
        *after,
    )


def _pool(word: _Word, kind: str, size: str, more: str) -> tuple[nn.Module, Shape]:
    channels, _, _ = word.maps()
    kernel, options = word.pair(size), word.options(more)
    stride, padding = options.get("s", kernel), options.get("p", (0, 0))
    if min(*kernel, *stride) < 1:
        word.refuse("has a window or stride of 0", "write numbers of at least 1")
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        word.refuse("has a padding of more than half its window", "write a smaller p")
    after = _windows(word, kernel, stride, padding)
    pool = nn.MaxPool2d if kind == "m" else nn.AvgPool2d
    return pool(_short(kernel), _short(stride), _short(padding)), (channels, *after)


def _short(pair: tuple[int, int]) -> int | tuple[int, int]:
    """One number for two that are equal."""
    return pair[0] if pair[0] == pair[1] else pair


def _windows(
    word: _Word, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> tuple[int, ...]:
    """How many windows there are each way: floor((n + 2p - k) / s) + 1."""
    sides = [n + 2 * p for n, p in zip(word.maps()[1:], padding, strict=True)]
    if any(k > n for k, n in zip(kernel, sides, strict=True)):
        padded = f", {sides[0]}x{sides[1]} with its padding" if any(padding) else ""
        rule = f"is larger than what it slides over: {_text(word.shape)} arrived{padded}"
        word.refuse(rule, "take a smaller kernel, more padding, or fewer pools before it")
    return tuple((n - k) // s + 1 for n, k, s in zip(sides, kernel, stride, strict=True))


def _global_pool(word: _Word, kind: str) -> tuple[nn.Module, Shape]:
    pool = nn.AdaptiveMaxPool2d if kind == "m" else nn.AdaptiveAvgPool2d
    return pool(1), (word.maps()[0], 1, 1)


def _batch_norm(word: _Word) -> tuple[nn.Module, Shape]:
    kind = nn.BatchNorm2d if len(word.shape) == 3 else nn.BatchNorm1d
    return kind(word.shape[0]), word.shape


def _activation(word: _Word, name: str) -> tuple[nn.Module, Shape]:
    return ACTIVATIONS[name](), word.shape


def _dropout(word: _Word, share: str) -> tuple[nn.Module, Shape]:
    if not 0 < float(share) < 1:
        word.refuse("must drop a share between 0 and 1", "write drop0.5, or leave it out")
    return nn.Dropout(float(share)), word.shape


def _flatten(word: _Word) -> tuple[nn.Module, Shape]:
    return nn.Flatten(), (math.prod(word.maps()),)


def _linear(word: _Word, number: str | None) -> tuple[nn.Module, Shape]:
    out = word.classes if number is None else int(number)
    if len(word.shape) != 1:
        word.refuse(f"takes a vector, and {_text(word.shape)} arrived", "write flatten before it")
    if out < 1:
        word.refuse("has no outputs", "write a number of at least 1")
    word.weights(word.shape[0] * out)
    return nn.Linear(word.shape[0], out), (out,)


# what a word looks like -> what makes its layer of its numbers
GRAMMAR: dict[str, Callable[..., tuple[nn.Module, Shape]]] = {
    f"c({PAIR})-({NUMBER})((?:[psg]{PAIR})*)": _convolution,
    f"([ma])p({PAIR})((?:[ps]{PAIR})*)": _pool,
    "g([ma])p": _global_pool,
    "bn": _batch_norm,
    f"({'|'.join(ACTIVATIONS)})": _activation,
    r"drop([0-9]{0,9}\.?[0-9]{1,9})": _dropout,
    "flatten": _flatten,
    f"fc({NUMBER})?": _linear,
}
