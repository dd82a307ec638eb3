"""What a look into the network shows: its first filters, what it looks for, where it looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from convscope.insight import cells, tiles
from convscope.markup import esc, note
from convscope.report.confusion import Confusion
from convscope.report.run_files import probability

if TYPE_CHECKING:
    from convscope.insight.explain import Overview

# images uint8 [n,C,h,w], a class of each -> what is seen, or why nothing is
Look = Callable[[np.ndarray, Sequence[int]], "Overview | str"]

MOST_FILTERS = 64
WRONG, RIGHT = 6, 6  # images whose heat is shown
LONGEST = 96  # pixels of the longer side of a picture
SIDE = 112  # pixels on the page that it should come near to


def html(confusion: Confusion, images: np.ndarray | None, look: Look | None, unseen: str) -> str:
    """What a look at some mistakes and some right images shows, each for what was said of it, under
    a heading each; what was left out, and why."""
    if look is None:
        return note(unseen or "It was not looked into the network.")
    if images is None or len(images) != len(confusion.rows):
        return note("The test images are not at hand to be looked at.")
    rows = worth_seeing(confusion)
    at = {name: i for i, name in enumerate(confusion.classes)}
    overview = look(images[rows], [at[confusion.rows[i].predicted] for i in rows])
    if isinstance(overview, str):
        return note(f"{overview}.")
    parts = []
    if overview.filters is not None:
        parts.append(_filters(overview.filters, overview.filters_layer))
    if overview.class_images is not None and overview.class_p is not None:
        names = [confusion.classes[k] for k in overview.classes]
        some = len(confusion.classes) if len(names) < len(confusion.classes) else 0
        parts.append(_sought(overview.class_images, names, overview.class_p, some))
    if overview.heat is not None:
        units = " x ".join(map(str, overview.heat_resolution or ()))
        parts.append(_heat(overview.heat, overview.heat_layer, units, rows, confusion, images))
    return "".join(parts) + "".join(map(note, overview.notes))


def worth_seeing(confusion: Confusion) -> list[int]:
    """The surest mistake of each of some pairs of classes, and of some classes the first image that
    is right."""
    rows = confusion.rows
    pairs: dict[tuple[str, str], int] = {}
    for i in confusion.wrong:
        pairs.setdefault((rows[i].label, rows[i].predicted), i)
    right: dict[str, int] = {}
    for i, row in enumerate(rows):
        if row.label == row.predicted:
            right.setdefault(row.label, i)
    known = [right[name] for name in confusion.classes if name in right]
    return list(pairs.values())[:WRONG] + known[:RIGHT]


def _filters(filters: np.ndarray, layer: str) -> str:
    """The kernels float32 [F,C,k,k] of the first convolution."""
    said = f"{layer}: {cells.told_kernels(filters.shape, MOST_FILTERS)}"
    drawn = cells.cells(cells.of_kernels(filters[:MOST_FILTERS]), look="small")
    return f"<h3>Filters</h3>{note(said)}{drawn}"


def _sought(images: np.ndarray, names: Sequence[str], sure: np.ndarray, whole: int) -> str:
    """Input that maximises each class: images uint8 [K,C,h,w] and the probability of each."""
    items = (
        f"<li>{_picture(tiles.shown(image, LONGEST), f'input that maximises {name}')}"
        f"<p><b>{esc(name)}</b> {esc(probability(float(p)))}</p></li>"
        for image, name, p in zip(images, names, sure, strict=True)
    )
    some = f" Shown are the first {len(names)} of {whole} classes." if whole else ""
    said = (
        "Input made from noise, changed until the network answers with the class, and the "
        "probability that it then gives. It shows what speaks for a class, not what a class looks "
        f"like.{some}"
    )
    return f"<h3>What it looks for</h3>{note(said)}{_list(items)}"


def _heat(
    heat: np.ndarray,
    layer: str,
    units: str,
    rows: Sequence[int],
    confusion: Confusion,
    images: np.ndarray,
) -> str:
    """Images beside what spoke for the answer: maps float32 [n,h,w] of 0 to 1."""
    items = []
    for i, warm in zip(rows, heat, strict=True):
        row, image = confusion.rows[i], images[i]
        plain = tiles.shown(image, LONGEST)
        how = "rightly" if row.label == row.predicted else f"but it is {row.label}"
        name = f"#{row.file_or_index}" if row.file_or_index.isdecimal() else row.file_or_index
        look = "yes" if row.label == row.predicted else "no"
        words = (
            f'<p class="id">{esc(name)}</p><p>said <b>{esc(row.predicted)}</b> '
            f'{esc(probability(row.p_predicted))}<br><span class="{look}">{esc(how)}</span></p>'
        )
        where = f"where image {row.file_or_index} spoke for {row.predicted}"
        pair = _picture(plain, f"image {row.file_or_index}") + _picture(
            tiles.heated(image, warm, LONGEST), where
        )
        items.append(f'<li><span class="two">{pair}</span>{words}</li>')
    cold = " A map without blue: nothing spoke for the class." * bool(
        (heat.max(axis=(1, 2)) == 0).any()
    )
    said = (
        f"Grad-CAM at {layer}, {units} units: beside each image, what spoke for the answer that "
        f"was given, in blue; the surest mistakes first.{cold}"
    )
    return f"<h3>Where it looks</h3>{note(said)}{_list(items)}"


def _picture(pixels: np.ndarray, alt: str) -> str:
    high, wide = pixels.shape[:2]
    zoom = max(1, round(SIDE / max(high, wide)))
    size = f'width="{zoom * wide}" height="{zoom * high}"'
    return f'<img src="{tiles.data(pixels)}" {size} alt="{esc(alt)}">'


def _list(items: Iterable[str]) -> str:
    return f'<ol class="looks">{"".join(items)}</ol>\n'
