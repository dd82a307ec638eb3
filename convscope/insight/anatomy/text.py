"""A summary in words: as plain text for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from convscope.formatting import binary_size, plural
from convscope.insight.anatomy import shapes
from convscope.insight.anatomy.rows import Anatomy, Row, taken
from convscope.language import columns, told

HEADS = (
    "name", "kind", "output", "parameters", "multiply-adds", "memory", "sees", "apart", "centre",
)  # fmt: skip
WORDS = 3  # the first columns, which hold words
COUNTED = "Counted are the multiply-adds of convolutions and products of matrices"
SEEN = (
    "sees: what a unit sees of the image; apart: how far units lie from each other; centre: the "
    "middle of what the first one sees; in pixels. What takes a mean over the map, as some "
    "normalisations do, sees the whole image. varies: it differs from unit to unit"
)


def cells(row: Row) -> list[str]:
    """What a row shows in each column."""
    axes = [] if row.seen is None or row.seen.whole else [row.seen.height, row.seen.width]
    return [
        row.name,
        row.kind,
        shapes.text(row.output_shape),
        f"{row.parameters:,}",
        "unknown" if row.multiply_adds is None else f"{row.multiply_adds:,}",
        binary_size(row.activation_bytes),
        row.sees or "-",
        _both([f"{axis.stride}" for axis in axes]),
        _both([f"{axis.centre:g}" for axis in axes]),
    ]


def _both(values: Sequence[str]) -> str:
    return "x".join(values if len(set(values)) > 1 else values[:1]) or "-"


JOINS = {
    "residual": "residual",
    "gate": "gate",
    "branches": "branches meet",
    "concatenated": "branches concatenated",
}


def more(rows: Sequence[Row]) -> list[str]:
    """What else there is to say of each row: the formula of its shape, what meets in it, where it
    comes from if not from the row before it."""
    ends = {i for row in rows for i in row.inputs}
    found, last = [], -1  # the last row that another one takes
    for at, row in enumerate(rows):
        said = [row.why] if row.why else []
        if row.join:
            said = [": ".join([JOINS[row.join], *said])]
        elif row.inputs and row.inputs != (last,):
            said.append(f"from {' and '.join(taken(rows, i) for i in row.inputs)}")
        if row.note:
            said.append(row.note)
        found.append("; ".join(said))
        last = at if at in ends else last
    return found


def sums(summary: Anatomy) -> list[str]:
    """The sums in words, and what is to be known of them."""
    whole = summary.total
    said = [plural(whole.parameters, "parameter")]
    if summary.unused:
        why = "are never called" if summary.failure is None else "were not reached"
        said[0] += f", {summary.unused:,} of them in layers that {why}"
    least = "at least " if whole.note else ""
    inputs = " and ".join(map(shapes.text, summary.inputs))
    said[0] += (
        f"; {least}{whole.multiply_adds:,} multiply-adds and {binary_size(whole.activation_bytes)} "
        f"of activations for an input of {inputs}"
    )
    if whole.note:
        said.append(f"{COUNTED}, {whole.note}.")
    return [said[0] + ".", *said[1:], *summary.notes]


def text(summary: Anatomy, width: int | None = None) -> str:
    """The table, no wider than ``width`` columns where that can be: the formulas go below their
    rows, and the least of the columns go."""
    grid = [list(map(told, HEADS)), *(list(map(told, cells(row))) for row in summary.rows)]
    every = zip(HEADS, *grid, cells(summary.total), strict=True)  # as wide in every language
    wide = [max(map(columns, column)) for column in every]
    notes = ["; ".join(map(told, note.split("; "))) for note in more(summary.rows)]
    beside = (
        width is None or sum(wide) + 2 * len(wide) + max(map(columns, notes), default=0) <= width
    )
    kept = list(range(len(HEADS)))
    for least in ("centre", "apart", "memory"):
        if width is not None and sum(wide[i] + 2 for i in kept) - 2 > width:
            kept.remove(HEADS.index(least))
    lines = []
    for row, note in zip(grid, ["", *notes], strict=True):
        line = "  ".join(
            row[i] + blank if i < WORDS else blank + row[i]
            for i in kept
            if [blank := " " * (wide[i] - columns(row[i]))]
        )
        lines.append(f"{line}  {note}".rstrip() if beside else line.rstrip())
        lines += [f"  = {note}"] * bool(note and not beside)
    return "\n".join([*lines, "", *map(told, sums(summary))])


def markdown(summary: Anatomy) -> str:
    """The table in Markdown, its sums below it."""
    lines = [
        f"| {' | '.join((*HEADS, 'why'))} |",
        f"|{'|'.join(['---'] * WORDS + ['--:'] * (len(HEADS) - WORDS) + ['---'])}|",
    ]
    for row, said in zip(summary.rows, more(summary.rows), strict=True):
        line = [*cells(row), said]
        lines.append(f"| {' | '.join(_escaped(cell) for cell in line)} |")
    foot = cells(summary.total)
    lines.append(
        f"| {' | '.join(f'**{cell}**' if cell not in ('', '-') else cell for cell in foot)} | |"
    )
    lines += ["", *sums(summary), "", f"{COUNTED}. {SEEN}."]
    if summary.failure is not None:
        lines += ["", f"**{_escaped(summary.model)} {_escaped(str(summary.failure))}**"]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Text that Markdown takes for nothing else."""
    for mark in ("\\", "|", "*", "_", "<", "`"):
        text = text.replace(mark, f"\\{mark}")
    return text
