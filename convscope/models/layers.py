"""Networks without code: one line of words, a layer a word, from pixels to classes.

:mod:`convscope.words` says what the words are. No layer guesses its input: channels and sizes are
followed from the image on, and what does not fit is refused where it stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from torch import Tensor, nn

from convscope import words
from convscope.models.parts import Classifier, same_convolution
from convscope.words import Word

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

    ``layers``: a network in one line, a word a layer.

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
    line = words.split(layers, "layers")
    made, shape = _sequence(iter(line), (in_channels, *image_size), num_classes, None)
    if shape != (num_classes,):
        line[-1].refuse(
            f"leaves {_text(shape)} at the end, where {num_classes} classes need [B,{num_classes}]",
            "end with fc" if len(shape) == 1 else "end with flatten fc",
        )
    kinds = [type(module) for module in made]
    cut = kinds.index(nn.Flatten)
    if cut and kinds[cut - 1] in (nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d):
        cut -= 1
    features = nn.Sequential(*made[:cut]) if cut else None
    return Classifier(in_channels, features, nn.Sequential(*made[cut:]))


def _text(shape: Shape) -> str:
    return f"[B,{','.join(map(str, shape))}]"


def _sequence(
    unread: Iterator[Word], shape: Shape, classes: int, opened: Word | None
) -> tuple[list[nn.Module], Shape]:
    """The layers up to the end, or to the ``]+`` of the bracket that was ``opened``."""
    made: list[nn.Module] = []
    before = shape
    for word in unread:
        word.arrived = _text(shape)
        if word.text == "[":
            inner, shape = _sequence(unread, shape, classes, word)
            made.append(Residual(nn.Sequential(*inner)))
        elif word.text in ("]+", "]"):
            words.closed(word, opened, bool(made))
            if shape != before:
                rule = f"cannot add: {_text(before)} went in at [ and {_text(shape)} came out"
                word.refuse(rule, "keep channels and size within the brackets")
            return made, shape
        else:
            module, shape = _layer(word, shape, classes)
            made.append(module)
    if opened is not None:
        words.left_open(opened)
    return made, shape


def _layer(word: Word, shape: Shape, classes: int) -> tuple[nn.Module, Shape]:
    """The layer that a word stands for, and the shape that it leaves."""
    module: nn.Module
    after = shape
    match word.layer():
        case words.Convolution() as one:
            module, after = _convolution(word, one, _maps(word, shape))
        case words.Pool() as one:
            after = (shape[0], *_windows(word, one, _maps(word, shape)))
            pool = nn.MaxPool2d if one.kind == "max" else nn.AvgPool2d
            module = pool(_short(one.window), _short(one.stride), _short(one.padding))
        case words.GlobalPool(kind):
            after = (_maps(word, shape)[0], 1, 1)
            module = nn.AdaptiveMaxPool2d(1) if kind == "max" else nn.AdaptiveAvgPool2d(1)
        case words.Dropout(share):
            module = nn.Dropout(share)
        case words.Linear(out):
            after = (classes if out is None else out,)
            module = _linear(word, shape, after[0])
        case words.Named("bn"):
            module = (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(shape[0])
        case words.Named("flatten"):
            module, after = nn.Flatten(), (math.prod(_maps(word, shape)),)
        case words.Named(name):
            module = ACTIVATIONS[name]()
    return module, after


def _linear(word: Word, shape: Shape, out: int) -> nn.Module:
    if len(shape) != 1:
        word.refuse(f"takes a vector, and {word.arrived} arrived", "write flatten before it")
    _weights(word, shape[0] * out)
    return nn.Linear(shape[0], out)


def _maps(word: Word, shape: Shape) -> tuple[int, int, int]:
    """The maps that arrive: channels, height, width."""
    if len(shape) != 3:
        rule = f"takes maps [B,C,h,w], and {word.arrived} arrived"
        word.refuse(rule, "put it before flatten")
    channels, height, width = shape
    return channels, height, width


def _weights(word: Word, count: int) -> None:
    """Refuse a layer that no machine of this kind holds."""
    if count > MOST:
        rule = f"would have {count:,} weights, with {word.arrived} arriving"
        word.refuse(rule, "write smaller numbers, or pool before it")


def _convolution(
    word: Word, one: words.Convolution, shape: tuple[int, int, int]
) -> tuple[nn.Module, Shape]:
    channels, height, width = shape
    if one.out is None:
        word.refuse("does not say to how many channels", "write them after a dash, as in c5-16")
    if channels % one.groups or one.out % one.groups:
        rule = f"has groups that do not divide {channels} channels, which arrived, and {one.out}"
        word.refuse(f"{rule} ({word.arrived})", "write a g that divides both")
    _weights(word, channels // one.groups * one.out * math.prod(one.kernel))
    if one.padding is None:
        module = same_convolution(
            channels, one.out, one.kernel, one.stride, one.groups, one.dilation
        )
        after = tuple((n - 1) // s + 1 for n, s in zip((height, width), one.stride, strict=True))
    else:
        after = _windows(word, one, shape)
        module = nn.Conv2d(
            *(channels, one.out, one.kernel, one.stride, one.padding, one.dilation, one.groups)
        )
    return module, (one.out, *after)


def _short(pair: tuple[int, int]) -> int | tuple[int, int]:
    """One number for two that are equal."""
    return pair[0] if pair[0] == pair[1] else pair


def _windows(
    word: Word, one: words.Convolution | words.Pool, shape: tuple[int, int, int]
) -> tuple[int, ...]:
    """How many windows there are each way: floor((n + 2p - d (k - 1) - 1) / s) + 1."""
    padding = one.padding or (0, 0)
    spans = one.spans
    sides = [n + 2 * p for n, p in zip(shape[1:], padding, strict=True)]
    if any(k > n for k, n in zip(spans, sides, strict=True)):
        padded = f", {sides[0]}x{sides[1]} with its padding" if any(padding) else ""
        rule = f"is larger than what it slides over: {word.arrived} arrived{padded}"
        word.refuse(rule, "take a smaller kernel, more padding, or fewer pools before it")
    return tuple((n - k) // s + 1 for n, k, s in zip(sides, spans, one.stride, strict=True))
