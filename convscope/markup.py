"""What the parts of a page are built of: sections, tables, boxes that scroll, names and values."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence


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
    return f'<nav class="sections" aria-label="Sections">{links}</nav>\n<main>\n{body}</main>\n'


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


def esc(text: object) -> str:
    """Anything from a file, safe in HTML; bytes that are no UTF-8 become question marks."""
    return html.escape(str(text).encode(errors="replace").decode())
