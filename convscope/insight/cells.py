"""Cells: images and maps side by side, each with a word below it, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from convscope.formatting import plural
from convscope.insight import tiles
from convscope.markup import esc

LONGEST = 96  # pixels of the longer side of an image in a page


@dataclass(frozen=True)
class Cell:
    """One place: an image uint8 [C,H,W], or numbers [H,W]; what stands beside it; a box (top, left,
    bottom, right in pixels) around a part of it; heat [H,W] from -1 to 1 laid over it; ``about``,
    what it is in words, for those who do not see it."""

    image: np.ndarray
    title: str = ""
    box: tuple[int, ...] | None = None
    heat: np.ndarray | None = None
    about: str = ""


def of_kernels(kernels: np.ndarray) -> list[Cell]:
    """Kernels float [F,C,k,k], each scaled by itself: in colour where they take three channels,
    else as numbers, of the first channel."""
    found = []
    for n, kernel in enumerate(kernels):
        about = f"kernel {n}: {kernel.min():.2f} to {kernel.max():.2f}"
        if len(kernel) == 3:
            reach = float(np.abs(kernel).max()) or 1.0
            found.append(
                Cell((127.5 + 127.5 * kernel / reach).astype(np.uint8), f"{n}", about=about)
            )
        else:
            found.append(Cell(kernel[0], f"{n}", about=about))
    return found


def told_kernels(shape: tuple[int, ...], most: int) -> str:
    """What is shown of kernels of a shape (F, C, k, k), of which the first ``most`` are."""
    count, channels, high, wide = shape
    said = f"{plural(count, 'kernel')} of {high} x {wide} over {plural(channels, 'channel')}"
    said += f", the first {most} here. " if count > most else ". "
    said += "Grey is nought" if channels == 3 else "Blue is positive, orange negative"
    said += "; each is scaled by itself."
    return said + ("" if channels in (1, 3) else " Shown is the first channel.")


def cells(row: Iterable[Cell | None], heads: Sequence[str] = (), look: str = "") -> str:
    """A list of cells, as many side by side as there is room for; ``heads`` are names of the first
    of them, ``look`` classes of the list."""
    items = []
    for i, cell in enumerate(row):
        if cell is None:
            continue
        head = f"<b>{esc(heads[i])}</b>" if i < len(heads) else ""
        said = "<br>".join(filter(None, [head, *map(esc, cell.title.split("\n"))]))
        kind = "image" if cell.heat is None else "heat map"
        about = esc(cell.about or ", ".join([kind, *heads[i : i + 1], *cell.title.split("\n")]))
        items.append(
            f'<li><span class="frame"><img src="{_source(cell)}" alt="{about}">{_box(cell)}</span>'
            f"<p>{said}</p></li>\n"
        )
    return f'<ol class="cells{" " * bool(look)}{look}">{"".join(items)}</ol>\n'


def _source(cell: Cell) -> str:
    if cell.heat is not None:
        return tiles.data(tiles.heated(cell.image, cell.heat, LONGEST))
    if cell.image.ndim == 2:
        return tiles.signed(cell.image)
    return tiles.data(tiles.shown(cell.image, LONGEST))


def _box(cell: Cell) -> str:
    """The box, in percent of the image; none around all of it."""
    high, wide = cell.image.shape[-2:]
    if cell.box is None or cell.box == (0, 0, high, wide):
        return ""
    top, left, bottom, right = cell.box
    edges = (top / high, 1 - right / wide, 1 - bottom / high, left / wide)
    return f'<i style="inset:{" ".join(f"{100 * edge:.1f}%" for edge in edges)}"></i>'
