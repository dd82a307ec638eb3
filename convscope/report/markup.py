"""What the parts of the page are built of: tables, boxes that scroll, pictures as data."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from convscope import webpage
from convscope.report.run_files import esc


def table(
    key: str,
    title: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    words: int = 1,
    caption: bool = False,
    foot: Sequence[str] = (),
    anchors: str = "",
) -> str:
    """A table whose first ``words`` columns are words and the others numbers; cells are HTML.
    ``anchors`` names its rows, with their number behind."""

    def cells(row: Sequence[str], anchor: str = "") -> str:
        head, *rest = row
        drawn = [
            f'<td class="word">{cell}</td>' if i < words else f"<td>{cell}</td>"
            for i, cell in enumerate(rest, 1)
        ]
        return f'<tr{anchor}><th scope="row">{head}</th>{"".join(drawn)}</tr>\n'

    top = "".join(
        f'<th scope="col"{" class=word" if i < words else ""}>{head}</th>'
        for i, head in enumerate(heads)
    )
    body = "".join(
        cells(row, f' id="{anchors}{i}"' if anchors else "") for i, row in enumerate(rows)
    )
    quiet = "" if caption else ' class="hidden"'
    ending = f"<tfoot>{cells(foot)}</tfoot>" if foot else ""
    return scroll(
        title,
        f'<table class="{key}"><caption{quiet}>{title}</caption><thead><tr>{top}</tr></thead>\n'
        f"<tbody>{body}</tbody>{ending}</table>",
    )


def sections(parts: Iterable[tuple[str, str, str]], names: Mapping[str, str] = {}) -> str:
    """The body of a page, links to its sections first: each a key, a title, and HTML. ``names`` are
    shorter words for links, by key."""
    links, body = "", ""
    for key, title, content in parts:
        links += f'<a href="#{key}">{names.get(key, title)}</a>'
        body += (
            f'<section id="{key}" aria-labelledby="{key}-title">'
            f'<h2 id="{key}-title">{title}</h2>\n{content}</section>\n'
        )
    return f'<nav aria-label="Sections">{links}</nav>\n<main>\n{body}</main>\n'


def scroll(title: str, content: str, look: str = "") -> str:
    """A box in which wide content scrolls, by touch and by key, so that the page need not."""
    return (
        f'<div class="scroll{" " * bool(look)}{look}" tabindex="0" role="region" '
        f'aria-label="{title}">{content}</div>'
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values; both are HTML."""
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in pairs)
    return f'<dl class="facts">{cells}</dl>'


def note(text: str) -> str:
    """A line of explanation; its text is escaped."""
    return f'<p class="note">{esc(text)}</p>\n'


def png(pixels: np.ndarray) -> str:
    """Pixels uint8 [h,w] or [h,w,3] as the data URI of a PNG."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return webpage.png(file.getvalue())


def shown(image: np.ndarray, longest: int) -> np.ndarray:
    """An image uint8 [C,h,w] as [h,w] or [h,w,3], scaled down where it is larger than ``longest``
    pixels; of other than 3 channels the first is shown.

    >>> shown(np.zeros((3, 128, 64), np.uint8), 64).shape
    (64, 32, 3)
    """
    pixels = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
    high, wide = pixels.shape[:2]
    if max(high, wide) <= longest:
        return pixels
    scale = longest / max(high, wide)
    size = (max(1, round(wide * scale)), max(1, round(high * scale)))
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize(size, Image.Resampling.BOX))
