"""A summary as HTML: a part of a notebook, and a page of its own that asks the network for
nothing."""

from __future__ import annotations

import html
import zlib

from convscope import webpage
from convscope.formatting import binary_size
from convscope.insight.anatomy import drawing, shapes
from convscope.insight.anatomy.rows import Anatomy, Row
from convscope.insight.anatomy.text import COUNTED, HEADS, SEEN, WORDS, cells, more, sums

GROUND = """
:root { color-scheme: light dark; --paper: #fcfbf9; --ink: #1d1e22; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #15171a; --ink: #e9e7e2; } }
body { margin: 0 auto; padding: clamp(1rem, 4vw, 2.5rem); max-width: 96rem;
  background: var(--paper); color: var(--ink); }
.summary thead th { background: var(--paper); }
@media screen and (prefers-color-scheme: dark) {
  body .summary .join .word:first-child { color: #f2994a; }
}
"""


def page(summary: Anatomy) -> str:
    """The page: sums, picture and table."""
    return webpage.whole(
        f"{summary.model} · convscope summary",
        GROUND,
        f"<main>\n{_body(summary, 'row-', 'h1')}</main>\n"
        '<footer class="summary"><p class="quiet">Written by convscope summary. This page is one '
        "file and loads nothing.</p></footer>\n",
    )


def fragment(summary: Anatomy) -> str:
    """What a notebook shows, on its own ground, light or dark."""
    links = f"row-{zlib.crc32(repr((summary.model, summary.inputs)).encode()):x}-"
    return _body(summary, links, "h2")


def _body(summary: Anatomy, links: str, heading: str) -> str:
    style = webpage.part("convscope.insight.anatomy", "page.css")
    whole = summary.total
    inputs = " and ".join(map(shapes.text, summary.inputs))
    facts = {
        "Input": inputs,
        "Parameters": f"{whole.parameters:,}",
        "Multiply-adds": f"{'at least ' * bool(whole.note)}{whole.multiply_adds:,}",
        "Activations": binary_size(whole.activation_bytes),
        "Output": shapes.text(whole.output_shape),
    }
    if summary.unused:
        name = "never called" if summary.failure is None else "not reached"
        facts[f"Parameters {name}"] = f"{summary.unused:,}"
    cards = "".join(
        f"<div><dt>{name}</dt><dd>{html.escape(said)}</dd></div>" for name, said in facts.items()
    )
    notes = "".join(f"<p>{html.escape(note)}</p>\n" for note in sums(summary)[1:])
    if summary.failure is not None:
        said = html.escape(f"{summary.model} {summary.failure}")
        notes += f'<p class="failure" role="alert">{said}</p>\n'
    return (
        f'<div class="summary">\n<style>{style}</style>\n'
        f"<{heading}>{html.escape(summary.model)}</{heading}>\n<dl>{cards}</dl>\n{notes}"
        f'<div class="scroll picture" tabindex="0" role="region" aria-label="Picture">'
        f"{drawing.svg(summary, links)}</div>\n"
        f'<p class="quiet">{drawing.SCALE} A box leads to its row.</p>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-label="Rows">{_table(summary, links)}'
        f'</div>\n<p class="quiet">{COUNTED}. {SEEN}.</p>\n</div>\n'
    )


def _table(summary: Anatomy, links: str) -> str:
    whole = summary.total
    top = "".join(
        f'<th scope="col"{" class=word" if i < WORDS else ""}>{head}</th>'
        for i, head in enumerate(HEADS)
    )
    lines = [
        _line(row, said, f' id="{links}{i}"', whole)
        for i, (row, said) in enumerate(zip(summary.rows, more(summary.rows), strict=True))
    ]
    return (
        f"<table><thead><tr>{top}</tr></thead>\n<tbody>{''.join(lines)}</tbody>\n"
        f"<tfoot>{_line(whole, whole.note, '', whole)}</tfoot></table>"
    )


def _line(row: Row, said: str, anchor: str, whole: Row) -> str:
    """A row, with the formulas below its shape and its multiply-adds."""
    name, kind, output, parameters, work, *others = map(html.escape, cells(row))
    look = ' class="join"' if row.join else ""
    parts = _share(parameters, row.parameters, whole.parameters, row is whole)
    works = _share(work, row.multiply_adds or 0, whole.multiply_adds or 0, row is whole)
    return (
        f'<tr{anchor}{look}><th scope="row" class="word">{name}</th><td class="word">{kind}</td>'
        f'<td class="word">{output}{_small(said)}</td><td>{parts}</td>'
        f"<td>{works}{_small(row.work)}</td>"
        f"{''.join(f'<td>{cell}</td>' for cell in others)}</tr>\n"
    )


def _small(said: str) -> str:
    return f"<small>{html.escape(said)}</small>" if said else ""


def _share(text: str, part: int, whole: int, bare: bool) -> str:
    share = 0 if bare or not whole else part / whole
    return f'<span class="share" style="--p:{share:.3f}">{text}</span>'
