"""What a result looks like in a notebook: HTML that brings its own style, on light and dark."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from convscope import webpage

_STYLE = """
.convscope { font: 0.95rem/1.45 system-ui, "Segoe UI", Roboto, sans-serif;
  font-variant-numeric: tabular-nums; }
.convscope .title { font-size: 1.05rem; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
.convscope .figure { font-size: 1.8rem; font-weight: 650; margin: 0.1rem 0 0; line-height: 1.2; }
.convscope p { margin: 0 0 0.4rem; max-width: 48rem; }
.convscope dl { display: flex; flex-wrap: wrap; gap: 0.4rem 2rem; margin: 0.6rem 0; }
.convscope dt { font-size: 0.8rem; opacity: 0.7; font-weight: 400; }
.convscope dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.convscope .wide { overflow-x: auto; }
.convscope table { border-collapse: collapse; font-size: 0.85rem; margin: 0.5rem 0; }
.convscope caption { text-align: left; opacity: 0.7; padding: 0.2rem 0; }
.convscope th, .convscope td { padding: 0.25rem 0.9rem 0.25rem 0; text-align: right;
  font-weight: 400; background: none; border: 0; }
.convscope thead th { font-weight: 600; }
.convscope th:first-child { text-align: left; }
.convscope tbody tr { border-top: 1px solid rgba(128, 128, 128, 0.3); }
.convscope img { max-width: 100%; }
"""


def card(title: str, *parts: str) -> str:
    """A title and what stands below it; ``parts`` are HTML, the title is not.

    >>> '<p class="title">a &lt;b&gt;</p>' in card("a <b>")
    True
    """
    return (
        f'<div class="convscope"><style>{_STYLE}</style><p class="title">{html.escape(title)}</p>'
        f"{''.join(parts)}</div>"
    )


def figure(text: str) -> str:
    """The one number that matters."""
    return f'<p class="figure">{html.escape(text)}</p>'


def line(text: str) -> str:
    """A sentence."""
    return f"<p>{html.escape(text)}</p>"


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values.

    >>> facts([("seconds", 1)])
    '<dl><div><dt>seconds</dt><dd>1</dd></div></dl>'
    """
    cells = (
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd></div>"
        for name, value in pairs
    )
    return f"<dl>{''.join(cells)}</dl>"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """A table whose first column names its rows."""
    top = "".join(f'<th scope="col">{html.escape(head)}</th>' for head in heads)
    body = "".join(
        f'<tr><th scope="row">{html.escape(str(row[0]))}</th>'
        + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    said = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide"><table>{said}<thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def link(path: Path, text: str) -> str:
    """A file to open; the path is shown, too, as not every notebook opens one."""
    where = html.escape(path.as_posix())
    return f'<p><a href="{where}">{html.escape(text)}</a> ({where})</p>'


def picture(path: Path, said: str) -> str:
    """A PNG that is there, shown; another file as a link."""
    if path.suffix != ".png" or not path.is_file():
        return link(path, said)
    return f'<img src="{webpage.png(path.read_bytes())}" alt="{html.escape(said)}">'
