"""The network in the report: its picture and its layers."""

from __future__ import annotations

from convscope.insight.anatomy import Row, Summary, drawing
from convscope.markup import esc, note, scroll, table
from convscope.report.run_files import RunFiles

LARGEST_PICTURE = 120_000  # characters of SVG; a larger network is folded into blocks
MOST_ROWS = 160
LINKS = "layer-"


def anatomy(run: RunFiles, summary: Summary | str) -> str:
    """Picture and table; both of blocks where the layers are too many. Or why there are none."""
    if isinstance(summary, str):
        return note(f"{summary}.")
    shown, picture = _bounded(summary)
    folded = len(shown.rows) < len(summary.rows)
    size = run.model["architecture"].get("image_size", [])
    what = " × ".join(map(str, size)) if isinstance(size, list) else ""
    said = f"For one image{' of ' + what + ' pixels' if what else ''}, in the order of the call."
    if folded:
        said += f" Its {len(summary.rows)} layers are folded into blocks."
    drawn = (
        scroll("Picture of the network", picture, "picture")
        + note(f"{drawing.SCALE} {drawing.LEADS}")
        if picture
        else note("It has too many blocks to be drawn.")
    )
    return f'{note(said)}<div class="split"><div>{drawn}</div>{_layers(shown)}</div>'


def _bounded(summary: Summary) -> tuple[Summary, str]:
    """The summary as deep as the page has room for, and its picture, if there is one."""
    deepest = max((row.name.count(".") + 1 for row in summary.rows), default=1)
    for level in range(deepest, 0, -1):
        shown = summary if level == deepest else summary.folded(level)
        if len(shown.rows) <= MOST_ROWS or level == 1:
            picture = drawing.svg(shown, LINKS)
            if len(picture) <= LARGEST_PICTURE:
                return shown, picture
    return summary.folded(1), ""


def _layers(summary: Summary) -> str:
    whole = summary.total
    noted = any(row.note for row in summary.rows)

    def line(row: Row) -> list[str]:
        shape = "–" if row.output_shape is None else " × ".join(map(str, row.output_shape))
        why = f"<small>{esc(row.why)}</small>" if row.why else ""
        cells = [esc(row.name), esc(row.kind), f"{shape}{why}"]
        pairs = (row.parameters, whole.parameters), (row.multiply_adds, whole.multiply_adds)
        for value, sum_ in pairs:
            share = value / sum_ if value and sum_ and row is not whole else 0
            said = "unknown" if value is None else f"{value:,}"
            cells.append(f'<span class="share" style="--p:{share:.3f}">{said}</span>')
        return cells + ([esc(row.note)] if noted else [])

    heads = ["layer", "kind", "output", "parameters", "multiply-adds"] + ["note"] * noted
    return table(
        "layers", "Layers in call order", heads, map(line, summary.rows), words=3,
        foot=line(whole), anchors=LINKS,
    )  # fmt: skip
