"""What the views of `explain` show, and each as a figure: no state, and matplotlib is imported
late."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.insight import tiles
from convscope.insight.canvas import blank, matplotlib
from convscope.insight.cells import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _QUIET = "#1c1d21", "#62656d"
_CELL, _GAP, _EDGE = 1.0, 0.1, 0.15  # inches
_LINE = 0.17  # inches of a line of a cell's title
_LETTERS = 150  # of a note, a line of nine inches


@dataclass(frozen=True)
class Strip:
    """Cells in a row below its name."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Sheet:
    """Strips of cells below a title and notes; ``heads`` are names of columns. A figure breaks a
    strip after so many ``columns``; ``large`` cells say more than a word; ``doubt`` is how far what
    is shown can be believed."""

    title: str
    notes: tuple[str, ...]
    strips: tuple[Strip, ...]
    heads: tuple[str, ...] = ()
    columns: int = 99
    large: bool = False
    doubt: str = ""

    def figure(self) -> Figure:
        """As a matplotlib figure."""
        rows: list[Sequence[Cell]] = []
        sides: list[str] = []
        for strip in self.strips:
            parts = range(0, len(strip.cells), self.columns)
            rows += [strip.cells[i : i + self.columns] for i in parts]
            sides += [strip.name, *[""] * (len(parts) - 1)]
        notes = [*self.notes, *[self.doubt] * bool(self.doubt)]
        return sheet(rows, title=self.title, notes=notes, sides=sides, heads=self.heads)


@dataclass(frozen=True)
class Plane:
    """Images uint8 [N,C,H,W] as ``points`` [N,2], with the class that each is of and the one that
    it was taken for, [N], with which probability, and its number among the test images."""

    title: str
    notes: tuple[str, ...]
    points: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    p: np.ndarray
    numbers: np.ndarray
    images: np.ndarray
    classes: tuple[str, ...]
    axes: tuple[str, str]

    def figure(self) -> Figure:
        """As a matplotlib figure."""
        return embedding(
            self.points, self.labels, self.predicted, self.classes,
            title=self.title, note=" ".join(self.notes), axes_names=self.axes,
        )  # fmt: skip


def sheet(
    rows: Sequence[Sequence[Cell | None]],
    *,
    title: str,
    notes: Sequence[str] = (),
    sides: Sequence[str] = (),
    heads: Sequence[str] = (),
) -> Figure:
    """Cells in rows below a title and notes, each row with its name at the side, each column with
    its head; all cells of one size, every pixel crisp.

    >>> figure = sheet([[Cell(np.zeros((1, 4, 4), np.uint8), "a"), None]], title="one")
    >>> len(figure.axes), figure.texts[0].get_text()
    (1, 'one')
    """
    columns = max(len(row) for row in rows)
    side = 0.09 * max((len(line) for s in sides for line in s.split("\n")), default=0)
    width = max(2 * _EDGE + side + columns * (_CELL + _GAP), 5.5)
    letters = round(_LETTERS * (width - 2 * _EDGE) / 9)
    text = [line for note in notes for line in _wrapped(note, letters)]
    titles = _wrapped(title, round(0.65 * letters))
    above = 0.24 * len(titles) + 0.17 * len(text) + 0.12
    head = 0.18 * max((h.count("\n") + 1 for h in heads), default=0)
    lines = [
        max((c.title.count("\n") + 1 for c in row if c and c.title), default=0) for row in rows
    ]
    shape = rows[0][0].image.shape if rows[0] and rows[0][0] else (1, 1)
    tall = _CELL * shape[-2] / shape[-1]
    height = 2 * _EDGE + above + head + sum(tall + _LINE * n + _GAP for n in lines)
    figure = blank(figsize=(width, height), dpi=160, facecolor="white")
    top = height - _EDGE

    def write(x: float, y: float, said: str, **style: Any) -> None:
        figure.text(x / width, y / height, said, parse_math=False, **style)

    for line in titles:
        write(_EDGE, top, line, va="top", size=11, weight="bold", color=_INK)
        top -= 0.24
    for line in text:
        write(_EDGE, top, line, va="top", size=8, color=_QUIET)
        top -= 0.17
    top -= 0.12
    for j, said in enumerate(heads):
        x = _EDGE + side + j * (_CELL + _GAP)
        write(x, top - head + 0.04, said, va="bottom", size=8, weight="bold", color=_INK)
    top -= head
    for i, (row, n) in enumerate(zip(rows, lines, strict=True)):
        bottom = top - _LINE * n - tall
        if i < len(sides):
            style = {"va": "center", "size": 8, "weight": "bold", "color": _INK}
            write(_EDGE, bottom + tall / 2, sides[i], **style)
        for j, cell in enumerate(row):
            if cell is not None:
                left = _EDGE + side + j * (_CELL + _GAP)
                box = (left / width, bottom / height, _CELL / width, tall / height)
                _draw(figure.add_axes(box), cell)
        top = bottom - _GAP
    return figure


def _both_ways() -> Any:
    """Orange by white to blue."""
    ends = [tuple(part / 255 for part in end) for end in (tiles.AGAINST, tiles.FOR)]
    return matplotlib().colors.LinearSegmentedColormap.from_list(
        "both ways", [ends[0], (1, 1, 1), ends[1]]
    )


def _wrapped(text: str, letters: int) -> list[str]:
    return textwrap.wrap(text, max(letters, 20)) or [""]


def _draw(axes: Axes, cell: Cell) -> None:
    image = cell.image
    if image.ndim == 3:
        shown = np.broadcast_to(image, (3, *image.shape[1:])) if len(image) in (1, 3) else image[:1]
        shown = shown.transpose(1, 2, 0)
        if cell.heat is not None:  # grey below the heat, so that colour is heat alone
            shown = np.repeat(shown.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
        axes.imshow(shown if shown.shape[2] == 3 else shown[..., 0], interpolation="nearest")
    else:
        most = float(np.abs(image).max()) or 1.0
        axes.imshow(image, cmap=_both_ways(), vmin=-most, vmax=most, interpolation="nearest")
    if cell.heat is not None:
        alpha = np.clip(np.abs(cell.heat), 0, 1) ** 0.7 * 0.85
        axes.imshow(
            cell.heat, cmap=_both_ways(), vmin=-1, vmax=1, alpha=alpha, interpolation="nearest"
        )
    if cell.box is not None:
        top, left, bottom, right = cell.box
        where = ((left - 0.5, top - 0.5), right - left, bottom - top)
        box = matplotlib().patches.Rectangle
        axes.add_patch(box(*where, fill=False, edgecolor="#ff7f0e", linewidth=1.6))
        axes.set_xlim(-0.5, image.shape[-1] - 0.5)
        axes.set_ylim(image.shape[-2] - 0.5, -0.5)
    if cell.title:
        lines = [s if len(s) <= 18 else s[:17] + "…" for s in cell.title.split("\n")]
        said = "\n".join(lines)
        axes.set_title(said, size=7.5, color=_QUIET, pad=2, loc="left", parse_math=False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#d5d7dc")


def embedding(
    points: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    classes: Sequence[str],
    *,
    title: str,
    note: str,
    axes_names: tuple[str, str],
) -> Figure:
    """Images as points [N,2] in the colour of their true class; mistakes as crosses with a black
    edge, in the colour of what they were taken for.

    >>> labels = np.array([0, 1])
    >>> figure = embedding(np.eye(2), labels, labels, ["a", "b"], title="t", note="n",
    ...                    axes_names=("x", "y"))
    >>> len(figure.axes)
    1
    """
    figure = blank(figsize=(7.5, 6.2), dpi=160, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    colours = matplotlib().colormaps["tab10" if len(classes) <= 10 else "tab20"]
    wrong = labels != predicted
    for k in np.unique(labels)[:20]:
        own = points[(labels == k) & ~wrong]
        x, y = own.T
        axes.scatter(x, y, s=7, color=colours(k % colours.N), alpha=0.55, linewidths=0)
        if len(own):
            box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}
            axes.text(np.median(x), np.median(y), classes[k], size=9, weight="bold", color=_INK,
                      ha="center", va="center", parse_math=False, bbox=box)  # fmt: skip
    for k in np.unique(predicted[wrong]):
        x, y = points[wrong & (predicted == k)].T
        axes.scatter(x, y, s=34, marker="X", color=colours(k % colours.N), edgecolors="black",
                     linewidths=0.7, zorder=3)  # fmt: skip
    axes.set_xlabel(axes_names[0], color=_INK)
    axes.set_ylabel(axes_names[1], color=_INK)
    axes.tick_params(colors=_QUIET, labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    said = "\n".join(_wrapped(note, 100))
    figure.suptitle(title, size=11, weight="bold", color=_INK, x=0.01, ha="left", parse_math=False)
    axes.set_title(said, size=8, color=_QUIET, loc="left", parse_math=False)
    return figure
