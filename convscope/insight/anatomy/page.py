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


def page(summary: Anatomy) -> str:
    """The page: sums, picture and table."""
    return webpage.whole(
        f"{summary.model} · convscope summary",
        webpage.base(),
        f'{webpage.nav()}<header>\n<p class="eyebrow">convscope summary</p>\n'
        f"<h1>{html.escape(summary.model)}</h1>\n{_sums(summary, 'facts')}</header>\n"
        f'<main>\n<div class="split">{_picture(summary, "row-")}{_rows(summary, "row-")}</div>\n'
        "</main>\n<footer>Written by convscope summary. This page is one file and loads nothing."
        "</footer>\n",
    )


def fragment(summary: Anatomy) -> str:
    """What a notebook shows, on its own ground, light or dark."""
    links = f"row-{zlib.crc32(repr((summary.model, summary.inputs)).encode()):x}-"
    style = webpage.part("convscope.insight.anatomy", "page.css")
    return (
        f'<div class="summary">\n<style>{style}</style>\n<h2>{html.escape(summary.model)}</h2>\n'
        f"{_sums(summary)}{_picture(summary, links)}{_rows(summary, links)}</div>\n"
    )


def _sums(summary: Anatomy, look: str = "") -> str:
    """The figures of the whole, and what is noted of them."""
    whole = summary.total
    facts = {
        "Input": " and ".join(map(shapes.text, summary.inputs)),
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
    notes = "".join(f'<p class="note">{html.escape(note)}</p>\n' for note in sums(summary)[1:])
    if summary.failure is not None:
        said = html.escape(f"{summary.model} {summary.failure}")
        notes += f'<p class="failure" role="alert">{said}</p>\n'
    return f'<dl class="{look}">{cards}</dl>\n{notes}'


def _picture(summary: Anatomy, links: str) -> str:
    return (
        '<div><div class="scroll picture" tabindex="0" role="region" aria-label="Picture">'
        f"{drawing.svg(summary, links)}</div>\n"
        f'<p class="note">{drawing.SCALE} {drawing.LEADS}</p></div>\n'
    )


def _rows(summary: Anatomy, links: str) -> str:
    return (
        '<div><div class="scroll" tabindex="0" role="region" aria-label="Rows">'
        f'{_table(summary, links)}</div>\n<p class="note">{COUNTED}. {SEEN}.</p></div>\n'
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
        f'<table class="layers"><thead><tr>{top}</tr></thead>\n<tbody>{"".join(lines)}</tbody>\n'
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
