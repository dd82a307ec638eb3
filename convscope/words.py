"""The words of a network in one line, read: one layer a word, and what its letters say.

:data:`WORDS` says what each stands for. Letters, not positions, say what a number is.
`models.layers` makes networks of them, and `insight.lab.stack` follows what a unit sees through
them; a word is read once it is known what arrives there, so that an error can say it. Nothing here
needs torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from convscope.errors import BadArgument, nearest

Pair = tuple[int, int]  # height and width

ACTIVATIONS = ("relu", "gelu", "silu", "elu", "leaky", "tanh", "sigmoid")
WORDS = {  # what is typed -> what it stands for
    "c5-16": "Convolution, 5x5 to 16 channels, that keeps the size; c5x3-16: 5 high, 3 wide.",
    "c5-16p0s2g4d2": "With padding 0, stride 2, in 4 groups, dilation 2; each may be left out, and "
    "p, s and d may be two numbers: p2x1.",
    "mp2, ap2": "Max- or average-pool over 2x2; mp3s2p1: with a stride and a padding.",
    "gmp, gap": "Global max- or average-pool: one value a channel.",
    "bn": "Batch normalisation.",
    "relu": f"Activation; also {', '.join(ACTIVATIONS[1:])}.",
    "drop0.5": "Dropout of half of the values.",
    "[ ... ]+": "Residual: what comes out is added to what went in.",
    "flatten": "Maps [B,C,h,w] to vectors [B,C*h*w].",
    "fc500, fc": "Linear layer to 500 values; fc alone: as many as there are classes.",
}
KNOWN = ("c5-16", "mp2", "ap2", "gmp", "gap", "bn", *ACTIVATIONS, "drop0.5", "flatten", "fc10")
NUMBER = "[0-9]{1,9}"
PAIR = f"{NUMBER}(?:x{NUMBER})?"


@dataclass(frozen=True)
class Convolution:
    """``c5-16``; ``out`` is None where no channels are named, ``padding`` where size is kept."""

    kernel: Pair
    out: int | None
    padding: Pair | None = None
    stride: Pair = (1, 1)
    groups: int = 1
    dilation: Pair = (1, 1)

    @property
    def spans(self) -> Pair:
        """How many pixels the kernel reaches over: d (k - 1) + 1."""
        high, wide = (d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        return high, wide


@dataclass(frozen=True)
class Pool:
    """``mp2``, ``ap2``: ``kind`` is "max" or "average"."""

    kind: str
    window: Pair
    stride: Pair
    padding: Pair = (0, 0)

    @property
    def spans(self) -> Pair:
        """How many pixels the window reaches over."""
        return self.window


@dataclass(frozen=True)
class GlobalPool:
    """``gmp``, ``gap``."""

    kind: str


@dataclass(frozen=True)
class Dropout:
    """``drop0.5``: the share of values that are dropped, above 0 and below 1."""

    share: float


@dataclass(frozen=True)
class Linear:
    """``fc500``; None: as many as there are classes."""

    out: int | None


@dataclass(frozen=True)
class Named:
    """A word without a number: ``bn``, an activation, ``flatten``, ``[`` or ``]+``."""

    name: str


Layer = Convolution | Pool | GlobalPool | Dropout | Linear | Named


@dataclass
class Word:
    """A word of a line and where it stands in it; ``argument`` is what the line was given as,
    ``arrived`` what comes in there, in words, once that is known."""

    text: str
    at: int
    line: str
    argument: str
    arrived: str = ""

    def refuse(self, rule: str, remedy: str) -> NoReturn:
        """Raise BadArgument with the line and this word marked below it."""
        marked = f"{self.line}\n  {' ' * self.at}{'^' * len(self.text)}"
        raise BadArgument(self.argument, self.text, rule, f"{remedy}\n  {marked}")

    def layer(self) -> Layer:
        """What the word says. Raises BadArgument for another word, and for a number that no layer
        can have.

        >>> split("c5x3-16s2", "layers")[0].layer()
        Convolution(kernel=(5, 3), out=16, padding=None, stride=(2, 2), groups=1, dilation=(1, 1))
        """
        for pattern, read in GRAMMAR.items():
            if match := re.fullmatch(pattern, self.text):
                return read(self, *match.groups())
        arrived = f", and {self.arrived} arrived there" if self.arrived else ""
        return self.refuse(f"is no layer{arrived}", nearest(self.text, KNOWN))


def split(line: str, argument: str) -> list[Word]:
    """The words of a line, none of them read yet. Raises BadArgument for a line without any.

    >>> [word.text for word in split("c3-8  [relu]+", "layers")]
    ['c3-8', '[', 'relu', ']+']
    """
    even = " ".join(line.split())
    found = re.finditer(r"\[|\]\+?|[^\s\[\]]+", even)
    words = [Word(match[0], match.start(), even, argument) for match in found]
    if not words:
        raise BadArgument(argument, repr(line), "names no layer", "try c5-16 relu mp2 flatten fc")
    return words


def closed(word: Word, opened: Word | None, inside: bool) -> Word:
    """The bracket that a ``]`` closes: the one last opened, with layers ``inside``. Raises
    BadArgument where there is none, it is empty, or it is not said how the two are joined."""
    if opened is None:
        word.refuse("closes a bracket that was never opened", "write [ where the residual begins")
    if word.text == "]":
        word.refuse("does not say how the bracket joins what went in", "write ]+ to add the two")
    if not inside:
        word.refuse("closes an empty residual", "write layers between [ and ]+")
    return opened


def left_open(opened: Word) -> NoReturn:
    """Raise BadArgument for a bracket that the line does not close."""
    opened.refuse("is never closed", "write ]+ where the residual ends")


def _pair(text: str) -> Pair:
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def _options(word: Word, text: str) -> dict[str, Pair]:
    """'p0s2x1' as {'p': (0, 0), 's': (2, 1)}."""
    found = re.findall(f"([psgd])({PAIR})", text)
    if len({letter for letter, _ in found}) < len(found):
        word.refuse("says one thing twice", "leave one of them out")
    return {letter: _pair(numbers) for letter, numbers in found}


def _convolution(word: Word, size: str, out: str | None, more: str) -> Convolution:
    kernel, options = _pair(size), _options(word, more)
    filters = None if out is None else int(out)
    stride, dilation = options.get("s", (1, 1)), options.get("d", (1, 1))
    groups = options.get("g", (1, 1))[0]
    if min(*kernel, *stride, *dilation, groups, 1 if filters is None else filters) < 1:
        rule = "has a kernel, stride, dilation, group or channel of 0"
        word.refuse(rule, "write numbers of at least 1")
    return Convolution(kernel, filters, options.get("p"), stride, groups, dilation)


def _pool(word: Word, kind: str, size: str, more: str) -> Pool:
    window, options = _pair(size), _options(word, more)
    stride, padding = options.get("s", window), options.get("p", (0, 0))
    if min(*window, *stride) < 1:
        word.refuse("has a window or stride of 0", "write numbers of at least 1")
    if any(2 * p > k for p, k in zip(padding, window, strict=True)):
        word.refuse("has a padding of more than half its window", "write a smaller p")
    return Pool(KINDS[kind], window, stride, padding)


def _dropout(word: Word, share: str) -> Dropout:
    if not 0 < float(share) < 1:
        word.refuse("must drop a share between 0 and 1", "write drop0.5, or leave it out")
    return Dropout(float(share))


def _linear(word: Word, number: str | None) -> Linear:
    if number is not None and int(number) < 1:
        word.refuse("has no outputs", "write a number of at least 1")
    return Linear(None if number is None else int(number))


KINDS = {"m": "max", "a": "average"}

# what a word looks like -> what reads its numbers
GRAMMAR: dict[str, Callable[..., Layer]] = {
    f"c({PAIR})(?:-({NUMBER}))?((?:[psd]{PAIR}|g{NUMBER})*)": _convolution,
    f"([ma])p({PAIR})((?:[ps]{PAIR})*)": _pool,
    "g([ma])p": lambda word, kind: GlobalPool(KINDS[kind]),
    r"drop([0-9]{0,9}\.?[0-9]{1,9})": _dropout,
    f"fc({NUMBER})?": _linear,
    rf"({'|'.join(('bn', *ACTIVATIONS, 'flatten'))}|\[|\]\+?)": lambda word, name: Named(name),
}
