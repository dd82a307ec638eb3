"""The experiments of the lab as matplotlib figures, and as figures that move."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.insight.canvas import blank, matplotlib
from convscope.insight.lab import gif
from convscope.insight.lab.counting import OneByOne
from convscope.insight.lab.sliding import Sliding, written
from convscope.insight.receptive_field import ReceptiveField
from convscope.insight.reference import Learnt, corr2d
from convscope.insight.reference.windows import Array, padded

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FRAMES = 72  # of a GIF, at most; more steps are passed over evenly
SHOWN = 3  # channels of an input that are drawn
_INK, _QUIET, _BLUE, _RED, _EMPTY = "#1c1d21", "#62656d", "#0072b2", "#c04b00", "#eceae5"


def step(found: Sliding, name: str) -> Figure:
    """One step of a kernel or pool, the one in the middle, beside the whole output."""
    board = _Board(found, name)
    n = found.Y[0].size // 2 + found.Y.shape[2] // 2
    board.place(min(n, found.Y[0].size - 1), found.Y[0].size)
    return board.figure


def moves(found: Sliding, name: str) -> bytes:
    """A GIF in which the kernel or pool moves and the output fills up."""
    board = _Board(found, name)
    count = found.Y[0].size
    chosen = np.unique(np.linspace(0, count - 1, min(count, FRAMES)).round().astype(int))
    frames = (board.place(int(n), int(n) + 1) for n in chosen)
    return gif.of_moving(board.figure, board.moving, frames, 4000 // len(chosen) + 60)


def counts(found: OneByOne, done: float = 1.0) -> Figure:
    """Multiplications straight on and by way of a 1x1 convolution, as bars; ``done`` of them."""
    figure = blank(figsize=(8, 3.2), dpi=100, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    straight, narrow, wide = (
        done * layer.multiplications / 1e6 for layer in (found.straight, found.narrow, found.wide)
    )
    kernel = "x".join(map(str, found.straight.kernel))
    axes.barh(0, straight, color=_RED, label=f"{kernel} straight on")
    axes.barh(1, narrow, color=_QUIET, label=f"1x1 to {found.narrow.out} channels")
    axes.barh(1, wide, left=narrow, color=_BLUE, label=f"{kernel} after it")
    for row, total in enumerate(found.multiplications):
        text = f"  {round(done * total):,}"
        axes.text(done * total / 1e6, row, text, va="center", color=_INK, size=10)
    axes.set_yticks([0, 1], ["straight on", "through 1x1"], color=_INK)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.3 * max(found.multiplications) / 1e6)
    axes.set_xlabel("million multiplications for one image", color=_QUIET)
    h, w = found.straight.size
    title = f"{found.straight.channels} x {h} x {w} to {found.straight.out} x {h} x {w}"
    saved = f"{found.saving:.1%} saved" if found.saving >= 0 else f"{-found.saving:.1%} more"
    axes.set_title(f"{title}: {saved}", loc="left", size=11, color=_INK)
    _bare(axes)
    axes.legend(
        frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.45, -0.22), ncols=3
    )
    return figure


def counts_growing(found: OneByOne) -> bytes:
    """A GIF in which both bars grow as the rows of the image are worked through."""
    return gif.of_figures((counts(found, done) for done in np.linspace(0.04, 1, 24)), 90)


def learning(x: Array, y: Array, learnt: Learnt) -> Figure:
    """The image, the map that was wanted, what the learnt kernel makes, and the loss by step."""
    return _lesson(x, y, learnt)[0]


def learning_moves(x: Array, y: Array, learnt: Learnt) -> bytes:
    """A GIF in which the kernel converges."""
    figure, parts = _lesson(x, y, learnt)
    last = len(learnt.losses) - 1
    chosen = np.unique((np.linspace(0, 1, min(last + 1, FRAMES // 2)) ** 2 * last).round())
    frames = (_set_lesson(parts, x, learnt, int(n)) for n in chosen)
    return gif.of_moving(figure, _set_lesson(parts, x, learnt, last), frames, 140)


def fields(rows: Sequence[ReceptiveField], upto: int | None = None) -> Figure:
    """The image, and on it what the middle unit of each layer sees."""
    image, layers = rows[0], _distinct(rows)
    height, width = image.height.size, image.width.size
    figure = blank(figsize=(8, 4.8), dpi=100, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    rectangle = matplotlib().patches.Rectangle
    axes.add_patch(rectangle((-0.5, -0.5), width, height, color=_EMPTY))
    if max(height, width) <= 64:
        lines: dict[str, Any] = {"color": "white", "linewidth": 0.6}
        axes.vlines(np.arange(width + 1) - 0.5, -0.5, height - 0.5, **lines)
        axes.hlines(np.arange(height + 1) - 0.5, -0.5, width - 0.5, **lines)
    colours = matplotlib().colormaps["viridis"]
    for i, row in enumerate(layers):
        lows, sizes = zip(*(_middle(view) for view in (row.width, row.height)), strict=True)
        colour = colours(0.9 * i / max(1, len(layers) - 1))
        hidden = upto is not None and i > upto
        axes.add_patch(
            rectangle((lows[0] - 0.5, lows[1] - 0.5), *sizes, fill=False, edgecolor=colour,
                      linewidth=2.2, zorder=3, label=f"{row.layer}: {row.size}", visible=not hidden)
        )  # fmt: skip
    views = [_middle(view) for row in layers for view in (row.width, row.height)]
    low = min(-0.5, *(v[0] - 0.5 for v in views)) - 0.5
    most = max([height, width, *(v[0] + v[1] for v in views)]) + 0.5
    axes.set_xlim(low, most)
    axes.set_ylim(most, low)
    axes.set_aspect("equal")
    axes.tick_params(colors=_QUIET)
    axes.set_xlabel("column of pixels", color=_QUIET)
    axes.set_ylabel("row of pixels", color=_QUIET)
    axes.spines[:].set_visible(False)
    title = f"What the middle unit of each layer sees of {height} x {width} pixels"
    axes.set_title(title, loc="left", size=11, color=_INK)
    figure.legend(frameon=False, fontsize=8, loc="outside right upper")
    return figure


def fields_growing(rows: Sequence[ReceptiveField]) -> bytes:
    """A GIF in which the receptive field grows layer by layer."""
    return gif.of_figures((fields(rows, upto) for upto in range(len(_distinct(rows)))), 900)


def _distinct(rows: Sequence[ReceptiveField]) -> list[ReceptiveField]:
    """The image and each layer that sees something else than the one before it, 16 at most."""
    kept = [rows[0]]
    for row in rows[1:]:
        if row.sees != kept[-1].sees:
            kept.append(row)
    if len(kept) > 16:
        chosen = np.linspace(0, len(kept) - 1, 16).round().astype(int)
        kept = [kept[i] for i in chosen]
    return kept


def _middle(view: Any) -> tuple[int, int]:
    """First pixel and count of what the middle unit sees."""
    return view.low + view.size // 2 * view.stride, view.field


class _Board:
    """Input, kernel and output side by side, drawn once, and what moves on it."""

    def __init__(self, found: Sliding, name: str) -> None:
        self.found = found
        self.channels = list(found.channels(0))[:SHOWN]
        deep = len(self.channels)
        side = [axis.padded for axis in found.axes]
        self.numbers = max(side) <= 14
        columns = 2 if found.W is None else 3
        ratio = side[1] / side[0]
        wide = [1.0] * columns if found.W is None else [1.0, 0.55, 1.0]
        cell = 3.2 if deep == 1 else 2.3
        tall = cell * deep / max(1.0, ratio) + 1.5
        figure = blank(figsize=(cell * sum(wide) * min(1.4, max(0.8, ratio)) + 1, tall), dpi=100,
                        facecolor="white")  # fmt: skip
        grid = figure.add_gridspec(
            deep, columns, width_ratios=wide, left=0.04, right=0.97, top=1 - 0.62 / tall,
            bottom=0.72 / tall, wspace=0.12, hspace=0.12,
        )  # fmt: skip
        self.figure = figure
        self.windows: list[Any] = []
        kernel = found.W
        for row, c in enumerate(self.channels):
            axes = figure.add_subplot(grid[row, 0])
            self._input(axes, found.X[c])
            if not row:
                _named(axes, _many("input", self.channels, len(found.X)))
            if kernel is not None:
                beside = figure.add_subplot(grid[row, 1])
                _cells(beside, kernel[0, row], 12, _BLUE, signed=True)
                if not row:
                    _named(beside, name if not kernel.shape[0] > 1 else f"{name}, kernel 1")
        axes = figure.add_subplot(grid[:, columns - 1])
        _named(axes, _many("output", [0], len(found.Y)))
        self.values = found.Y[0]
        low, high = _range(found.Y[0], picture=not self.numbers)
        self.image = axes.imshow(
            np.ma.masked_array(self.values, True), cmap=_cmap(self.numbers), vmin=low, vmax=high,
            interpolation="nearest",
        )  # fmt: skip
        axes.set_facecolor(_EMPTY)
        _frame(axes)
        size = _text_size(self.values.shape, self.values)
        shown = np.ndenumerate(self.values) if self.numbers else ()
        self.texts = [_text(axes, j, i, written(value), size) for (i, j), value in shown]
        self.windows.append(_outline(axes, _BLUE))
        self.said = figure.text(0.04, 0.08 / tall, "", size=11, color=_INK, va="bottom",
                                family="monospace", parse_math=False)  # fmt: skip
        self.moving = [self.image, *self.texts, *self.windows, self.said]

    def _input(self, axes: Axes, X: Array) -> None:
        height, width = self.found.axes
        whole = padded(X, self.found.axes, np.nan)
        at = (-0.5 - width.begin, width.reach - width.begin - 0.5,
              height.reach - height.begin - 0.5, -0.5 - height.begin)  # fmt: skip
        low, high = _range(X, picture=not self.numbers)
        axes.imshow(np.ma.masked_invalid(whole), cmap=_cmap(self.numbers), vmin=low, vmax=high,
                    extent=at, interpolation="nearest")  # fmt: skip
        axes.set_facecolor(_EMPTY)
        _frame(axes)
        if self.numbers:
            size = _text_size(whole.shape, X)
            for (i, j), value in np.ndenumerate(whole):
                inside = not np.isnan(value)
                text = written(value) if inside else "0" if self.found.kind == "conv" else ""
                y, x = i - height.begin, j - width.begin
                _text(axes, x, y, text, size, _INK if inside else "#a9a59c")
        dense = height.dilation == width.dilation == 1
        taps = 1 if dense or height.kernel * width.kernel > 49 else height.kernel * width.kernel
        self.windows += [_outline(axes, _RED) for _ in range(taps)]

    def place(self, n: int, upto: int) -> list[Any]:
        """Move to the n-th place; the first ``upto`` outputs are there. What moved is returned."""
        height, width = self.found.axes
        i, j = divmod(n, width.out)
        top, left = i * height.stride - height.begin, j * width.stride - width.begin
        each = (len(self.windows) - 1) // len(self.channels)
        for at, window in enumerate(self.windows[:-1]):
            if each == 1:
                window.set_bounds(left - 0.5, top - 0.5, width.span, height.span)
            else:
                u, v = divmod(at % each, width.kernel)
                x, y = left + v * width.dilation, top + u * height.dilation
                window.set_bounds(x - 0.5, y - 0.5, 1, 1)
        self.windows[-1].set_bounds(j - 0.5, i - 0.5, 1, 1)
        hidden = np.arange(self.values.size).reshape(self.values.shape) >= upto
        self.image.set_data(np.ma.masked_array(self.values, hidden))
        for at, text in enumerate(self.texts):
            text.set_visible(at < upto)
        room = int(self.figure.get_size_inches()[0] * 9.5)
        lines = textwrap.wrap(f"row {i}, column {j}: {self.found.arithmetic(0, i, j)}", room)
        lines = lines if len(lines) <= 2 else [lines[0], "... " + lines[-1]]
        self.said.set_text("\n".join(lines))
        return self.moving


def _lesson(x: Array, y: Array, learnt: Learnt) -> tuple[Figure, tuple[Any, ...]]:
    """The board of a kernel that is learnt, and its parts that move."""
    figure = blank(figsize=(9.5, 4.6), dpi=100, facecolor="white")
    grid = figure.add_gridspec(2, 3, left=0.03, right=0.97, top=0.9, bottom=0.12, wspace=0.16,
                               hspace=0.3)  # fmt: skip
    panels = [figure.add_subplot(grid[i, j]) for i in (0, 1) for j in (0, 1)]
    low, high = _range(y)
    for axes, values, name in ((panels[0], x, "image"), (panels[1], y, "map that is wanted")):
        bounds = (low, high) if values is y else _range(x)
        axes.imshow(values, cmap=_cmap(True), vmin=bounds[0], vmax=bounds[1])
        _named(axes, name)
        _frame(axes)
    made = panels[3].imshow(np.zeros_like(y), cmap=_cmap(True), vmin=low, vmax=high)
    _named(panels[3], "map that the kernel makes")
    reach = float(np.abs(learnt.kernels).max())
    kernel = panels[2].imshow(learnt.kernel, cmap="RdBu", vmin=-2 * reach, vmax=2 * reach)
    _named(panels[2], "kernel")
    size = min(11, _text_size(learnt.kernel.shape, learnt.kernel))
    texts = [_text(panels[2], j, i, "", size) for i, j in np.ndindex(learnt.kernel.shape)]
    for axes in panels[2:]:
        _frame(axes)
    curve = figure.add_subplot(grid[:, 2])
    losses = np.maximum(learnt.losses, 1e-16)
    curve.plot(losses, color=_BLUE, linewidth=2)
    curve.set_yscale("log")
    curve.set_xlabel("step", color=_QUIET)
    _named(curve, "loss")
    _bare(curve)
    (dot,) = curve.plot([], [], "o", color=_RED)
    title = figure.text(0.03, 0.03, "", color=_INK, size=10)
    parts = (made, kernel, texts, dot, title)
    _set_lesson(parts, x, learnt, len(learnt.losses) - 1)
    return figure, parts


def _set_lesson(parts: tuple[Any, ...], x: Array, learnt: Learnt, n: int) -> list[Any]:
    """Show the n-th step; what moved is returned."""
    made, kernel, texts, dot, title = parts
    made.set_data(corr2d(x, learnt.kernels[n]))
    kernel.set_data(learnt.kernels[n])
    for text, value in zip(texts, learnt.kernels[n].ravel(), strict=True):
        text.set_text(f"{value:.3f}" if len(texts) <= 25 else "")
    dot.set_data([n], [max(learnt.losses[n], 1e-16)])
    title.set_text(f"step {n} of {len(learnt.losses) - 1}, loss {learnt.losses[n]:.3g}")
    return [made, kernel, *texts, dot, title]


def _cells(axes: Axes, values: Array, most: int, edge: str, signed: bool = False) -> None:
    """A small matrix with its numbers."""
    reach = 2.2 * max(1e-12, float(np.abs(values).max()))
    axes.imshow(values, cmap="RdBu" if signed else _cmap(True), vmin=-reach, vmax=reach)
    _frame(axes, edge)
    if max(values.shape) <= most:
        size = 0.75 * _text_size(values.shape, values)
        for (i, j), value in np.ndenumerate(values):
            _text(axes, j, i, f"{value:.3g}", size)


def _text(axes: Axes, x: float, y: float, text: str, size: float, colour: str = _INK) -> Any:
    return axes.text(x, y, text, ha="center", va="center", size=size, color=colour)


def _range(values: Array, picture: bool = False) -> tuple[float, float]:
    """Least and largest of a colour scale: grey from 0 to 255, or zero in the middle."""
    low, high = float(values.min()), float(values.max())
    if picture and low >= 0:
        return 0.0, max(255.0, high) if high > 1 else 1.0
    if low < 0 and picture:
        reach = max(-low, high)
        return -reach, reach
    return low, high + 1.6 * max(high - low, 1e-9)


def _cmap(pale: bool) -> str:
    return "Blues" if pale else "gray"


def _text_size(shape: Sequence[int], values: Array) -> float:
    longest = max(len(written(value)) for value in np.asarray(values).ravel()[:400])
    return float(np.clip(150 / max(shape) / max(2, 0.62 * longest), 4.5, 13))


def _many(what: str, shown: Sequence[int], count: int) -> str:
    if count == 1:
        return what
    numbers = f"{shown[0] + 1}" if len(shown) == 1 else f"{shown[0] + 1} to {shown[-1] + 1}"
    return f"{what}, channel {numbers} of {count}"


def _named(axes: Axes, name: str) -> None:
    axes.set_title(name, loc="left", size=10, color=_QUIET, parse_math=False)


def _frame(axes: Axes, colour: str = "#c9c5bc") -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(colour)


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_QUIET)


def _outline(axes: Axes, colour: str) -> Any:
    rectangle = matplotlib().patches.Rectangle
    return axes.add_patch(
        rectangle((0, 0), 1, 1, fill=False, edgecolor=colour, linewidth=2.4, clip_on=False)
    )
