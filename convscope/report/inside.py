"""What a look into the network shows: its first filters, what it looks for, where it looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from convscope.report.confusion import Confusion
from convscope.report.markup import note, png, shown
from convscope.report.run_files import esc, probability

if TYPE_CHECKING:
    from convscope.insight.explain import Overview

# images uint8 [n,C,h,w], a class of each -> what is seen, or why nothing is
Look = Callable[[np.ndarray, Sequence[int]], "Overview | str"]

MOST_FILTERS = 64
COLUMNS = 16
WRONG, RIGHT = 6, 6  # images whose heat is shown
LONGEST = 96  # pixels of the longer side of a picture
SIDE = 112  # pixels on the page that it should come near to
# from cold to hot: dark violet, red, orange, pale yellow
_RAMP = np.array([[45, 15, 85], [190, 40, 75], [245, 130, 35], [252, 235, 150]], np.float32)


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
    """The kernels float32 [F,C,k,k] of the first convolution as one picture."""
    count, channels, high, wide = filters.shape
    kernels = filters[:MOST_FILTERS]
    zoom = max(1, round(36 / max(high, wide)))
    columns = min(COLUMNS, len(kernels))
    rows = -(-len(kernels) // columns)
    picture = np.zeros((rows * (high + 1) - 1, columns * (wide + 1) - 1, 4), np.uint8)
    values = kernels if channels == 3 else kernels.mean(axis=1, keepdims=True)
    values = values / np.maximum(np.abs(values).max(axis=(1, 2, 3), keepdims=True), 1e-12)
    levels = np.clip(np.rint(127.5 + 127.5 * values), 0, 255).astype(np.uint8)
    for i, kernel in enumerate(levels):
        y, x = (i // columns) * (high + 1), (i % columns) * (wide + 1)
        picture[y : y + high, x : x + wide, :3] = kernel.transpose(1, 2, 0)
        picture[y : y + high, x : x + wide, 3] = 255  # between kernels the page shows through
    some = f"the first {len(kernels)} of {count}" if count > len(kernels) else f"all {count}"
    how = {1: "", 3: " in their colours"}.get(channels, f", the mean of their {channels} channels")
    said = f"Kernels of {layer}, {some}, {high} x {wide}{how}"
    return (
        f"<h3>Filters</h3>{note(said + '. Middle grey is nought; each has its own scale.')}"
        f'<img class="kernels" src="{png(picture)}" width="{zoom * picture.shape[1]}" '
        f'height="{zoom * picture.shape[0]}" alt="{esc(said)}">\n'
    )


def _sought(images: np.ndarray, names: Sequence[str], sure: np.ndarray, whole: int) -> str:
    """Input that maximises each class: images uint8 [K,C,h,w] and the probability of each."""
    items = (
        f"<li>{_picture(shown(image, LONGEST), f'input that maximises {name}')}"
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
        plain = shown(image, LONGEST)
        how = "rightly" if row.label == row.predicted else f"but it is {row.label}"
        name = f"#{row.file_or_index}" if row.file_or_index.isdecimal() else row.file_or_index
        look = "yes" if row.label == row.predicted else "no"
        words = (
            f'<p class="id">{esc(name)}</p><p>said <b>{esc(row.predicted)}</b> '
            f'{esc(probability(row.p_predicted))}<br><span class="{look}">{esc(how)}</span></p>'
        )
        where = f"where image {row.file_or_index} spoke for {row.predicted}"
        pair = _picture(plain, f"image {row.file_or_index}") + _picture(_warmed(plain, warm), where)
        items.append(f'<li><span class="two">{pair}</span>{words}</li>')
    cold = " A map without any colour: nothing spoke for the class." * bool(
        (heat.max(axis=(1, 2)) == 0).any()
    )
    said = (
        f"Grad-CAM at {layer}, {units} units: beside each image, what spoke for the answer that "
        f"was given, from cold to hot; the surest mistakes first.{cold}"
    )
    return f"<h3>Where it looks</h3>{note(said)}{_list(items)}"


def _warmed(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Pixels uint8 [h,w] or [h,w,3] in grey, coloured by heat [H,W] of 0 to 1."""
    high, wide = pixels.shape[:2]
    levels = np.rint(255 * np.clip(heat, 0, 1)).astype(np.uint8)
    warm = shown(levels[None], max(high, wide)).astype(np.float32)[..., None] / 255
    grey = pixels[..., None] if pixels.ndim == 2 else pixels.mean(axis=2, keepdims=True)
    at = warm * (len(_RAMP) - 1)
    low = np.minimum(at.astype(int), len(_RAMP) - 2)
    colour = _RAMP[low[..., 0]] * (1 - (at - low)) + _RAMP[low[..., 0] + 1] * (at - low)
    mixed = (1 - 0.7 * warm) * (0.25 * grey + 100) + 0.7 * warm * colour
    found: np.ndarray = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return found


def _picture(pixels: np.ndarray, alt: str) -> str:
    high, wide = pixels.shape[:2]
    zoom = max(1, round(SIDE / max(high, wide)))
    return (
        f'<img src="{png(pixels)}" width="{zoom * wide}" height="{zoom * high}" alt="{esc(alt)}">'
    )


def _list(items: Iterable[str]) -> str:
    return f'<ol class="looks">{"".join(items)}</ol>\n'
