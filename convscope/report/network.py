"""The network in the report: its picture, its layers, and what it cost to train it."""

from __future__ import annotations

from convscope.insight.anatomy import Row, Summary, drawing
from convscope.report.cost import PASSES, WATTS, cost, energy, large
from convscope.report.markup import facts, note, scroll, table
from convscope.report.reading import RunFiles, digits_for, duration, esc, many, percent

LARGEST_PICTURE = 120_000  # characters of SVG; a larger network is folded into blocks
MOST_ROWS = 160
LINKS = "layer-"


def anatomy(run: RunFiles, summary: Summary) -> str:
    """Picture and table; both of blocks where the layers are too many."""
    shown, picture = _bounded(summary)
    folded = len(shown.rows) < len(summary.rows)
    size = run.model["architecture"].get("image_size", [])
    what = " × ".join(map(str, size)) if isinstance(size, list) else ""
    said = f"For one image{' of ' + what + ' pixels' if what else ''}, in the order of the call."
    if folded:
        said += f" Its {len(summary.rows)} layers are folded into blocks."
    drawn = (
        scroll("Picture of the network", picture, "picture")
        + note(f"{drawing.SCALE} A box leads to its row.")
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
        for value, sum_ in (
            (row.parameters, whole.parameters),
            (row.multiply_adds, whole.multiply_adds),
        ):
            share = value / sum_ if value and sum_ and row is not whole else 0
            said = "unknown" if value is None else f"{value:,}"
            cells.append(f'<span class="share" style="--p:{share:.3f}">{said}</span>')
        return cells + ([esc(row.note)] if noted else [])

    heads = ["layer", "kind", "output", "parameters", "multiply-adds"] + ["note"] * noted
    return table(
        "layers", "Layers in call order", heads, map(line, summary.rows), words=3,
        foot=line(whole), anchors=LINKS,
    )  # fmt: skip


def costs(run: RunFiles, summary: Summary) -> str:
    """Time, arithmetic and energy."""
    m, train = run.metrics, run.table("train")
    whole = summary.total
    threads = train.get("threads") or run.model["machine"].get("threads")
    found = cost(
        run.history,
        m["train_seconds"],
        None if whole.note else whole.multiply_adds,
        threads if isinstance(threads, int) else 0,
        str(train.get("device", "cpu")),
    )
    counted = found.multiply_adds is not None
    lines = [
        ("Training, with validation", duration(m["train_seconds"])),
        ("Speed", f"{m['images_per_second']:,.0f} images/s"),
        ("Images learnt from", f"{found.images:,} in {many(len(run.history), 'epoch')}"),
        ("Multiply-adds of training, about", large(found.multiply_adds or 0) if counted else "–"),
        ("Energy, estimated", energy(found.watt_hours) if found.watt_hours is not None else "–"),
        ("Judging the test split", duration(m["eval_seconds"])),
        (
            "One image, forward",
            f"{large(whole.multiply_adds or 0)} multiply-adds" if counted else "–",
        ),
        ("Parameters", f"{run.model['parameters']:,}"),
    ]
    said = (
        f"Multiply-adds of training are {PASSES} times those of the way forward, once forward and "
        "twice back, for every image learnt from."
        if counted
        else "The multiply-adds of some layers cannot be counted."
    )
    if found.watt_hours is None:
        said += " Of this device's energy nothing is assumed."
    else:
        said += (
            f" Energy was not measured. It is an estimate: {duration(m['train_seconds'])} on "
            f"{many(found.threads, 'thread')} at {WATTS:g} watts each, which is assumed for a busy "
            "core with its share of memory and power supply."
        )
    return facts(lines) + note(said)


def quality(run: RunFiles) -> str:
    """Precision, recall and F1 of each class."""
    rows, digits = run.metrics["per_class"], digits_for(run.metrics["n"])
    keys = ("precision", "recall", "f1")
    lowest = {key: min((r[key] for r in rows if r[key] is not None), default=None) for key in keys}
    lines = []
    for row in rows:
        cells = [esc(row["class"]), f"{row['support']:,}"]
        for key in keys:
            said = percent(row[key], digits)
            cells.append(
                f"<strong>{said}</strong>" if row[key] == lowest[key] is not None else said
            )
        lines.append(cells)
    heads = ["class", "images", "precision", "recall", "F1"]
    undefined = any(row[key] is None for row in rows for key in keys)
    said = (
        "Recall is the share of a class's images that are recognised, precision the share of what "
        "was taken for the class that is of it, F1 their harmonic mean. The lowest of each is bold."
    )
    if undefined:
        said += " A dash is undefined: such a class was never predicted, or never occurred."
    return note(said) + table("per-class", "Figures by class", heads, lines)
