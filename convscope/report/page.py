"""The page: one file that asks the network for nothing.

Its style is inline, its images are data, it has no script, and its own content security policy
would refuse anything else. A count in the confusion matrix opens its images by ``:target``.
Everything read from a file is escaped.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources

import numpy as np
from PIL import Image

from convscope.evaluation.metrics import reliability
from convscope.evaluation.predictions import Prediction
from convscope.insight.anatomy import Row, total
from convscope.report.charts import Line, line_chart, reliability_chart
from convscope.report.reading import (
    RunFiles,
    count_text,
    digits_for,
    duration,
    esc,
    many,
    percent,
    probability,
    value_text,
)

LARGEST_MATRIX = 100  # more classes than that are shown as their most confused pairs alone
WORST = 24  # mistakes shown below the matrix
PER_CELL = 12  # mistakes shown for one count of the matrix
MISTAKE_BYTES = 700_000  # for all mistakes together, so that the page stays below 2 MB
THUMBNAIL = 96  # pixels of the longer side; larger images are scaled down


def page(
    run: RunFiles, rows: Sequence[Prediction], images: np.ndarray | None, anatomy: Sequence[Row]
) -> str:
    style = resources.files("convscope.report").joinpath("style.css").read_text(encoding="utf-8")
    worst, cells = _mistakes(run, rows, images)
    sections = [
        ("curves", "Training", _curves(run)),
        ("confusion", "Confusion", _confusion(run, cells)),
        ("mistakes", "Worst mistakes", _worst(run, worst)),
        ("classes", "Classes", _classes(run)),
        ("calibration", "Calibration", _calibration(run, rows)),
        ("network", "Network", _network(run, anatomy)),
        ("recipe", "Recipe", _recipe(run)),
        ("again", "Run it again", _again(run)),
    ]
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in sections)
    body = "".join(
        f'<section id="{key}" aria-labelledby="{key}-title">'
        f'<h2 id="{key}-title">{title}</h2>\n{content}</section>\n'
        for key, title, content in sections
    )
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{esc(run.network)} on {esc(run.data)} · convscope</title>\n"
        f"<style>\n{style}</style>\n</head>\n<body>\n"
        f'{_headline(run)}<nav aria-label="Sections">{links}</nav>\n'
        f"<main>\n{body}</main>\n"
        f"<footer>{esc(run.name)}, written by convscope "
        f"{esc(run.model['versions'].get('convscope', ''))}. "
        "This page is one file and loads nothing.</footer>\n</body>\n</html>\n"
    )


def _headline(run: RunFiles) -> str:
    m, data, machine = run.metrics, run.model["data"], run.model["machine"]
    n, digits = m["n"], digits_for(m["n"])
    low, high = m["accuracy_ci95"]
    train = data.get("train")
    on = f"{count_text(train)} images of " if isinstance(train, int) else ""
    facts = [
        ("Right", f"{n - run.wrong:,} of {n:,}"),
        (f"Looks at the {esc(m['split'])} split", f"{m['test_looks']:,}"),
        ("Training", duration(m["train_seconds"])),
        ("Speed", f"{m['images_per_second']:,.0f} images/s"),
        ("Parameters", f"{run.model['parameters']:,}"),
        ("Cross-entropy", f"{m['loss']:.4f}"),
        ("Calibration error", percent(m["ece"])),
        ("Judging", duration(m["eval_seconds"])),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return (
        '<header>\n<p class="eyebrow">convscope run</p>\n'
        f"<h1>{esc(run.network)} <span>on {esc(run.data)}</span></h1>\n"
        f'<p class="lede">Trained for {many(len(run.history), "epoch")} on {on}{esc(run.data)} in '
        f"{duration(m['train_seconds'])}, {esc(_when(run.model['created']))}, on "
        f"{esc(machine.get('processor', 'an unnamed processor'))}.</p>\n"
        f'<div class="headline">\n<div><p class="label">{esc(m["split"])} accuracy</p>\n'
        f'<p class="accuracy">{percent(m["accuracy"], digits)}</p>\n'
        f'<p class="interval">95\u202f% interval {100 * low:.{digits}f} to '
        f"{percent(high, digits)}</p></div>\n<dl>{cells}</dl>\n</div>\n</header>\n"
    )


def _when(created: str) -> str:
    """The ISO date to the minute, as a person writes it."""
    found = re.match(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)\S*?(Z|\+00:00)?$", created)
    return f"{found[1]} at {found[2]}{' UTC' if found[3] else ''}" if found else created


def _curves(run: RunFiles) -> str:
    def line(name: str, css: str, key: str, scale: float = 1.0) -> Line:
        points = [(e["epoch"], e[key] * scale) for e in run.history if e[key] is not None]
        return Line(name, css, points)

    charts = [
        line_chart(
            "Accuracy, %",
            [
                line("train", "train", "train_accuracy", 100),
                line("validation", "val", "val_accuracy", 100),
            ],
            lambda value: f"{value:.2f}\u202f%",
        ),
        line_chart(
            "Loss, cross-entropy in nats",
            [line("train", "train", "train_loss"), line("validation", "val", "val_loss")],
            lambda value: f"{value:.4f}",
            zero=True,
        ),
    ]
    notes = [
        "Train figures are gathered during the epoch, while the weights still move"
        + (
            ", and on augmented images, so they usually lie below validation in accuracy and "
            "above it in loss."
            if run.augmented
            else "; validation is judged at its end."
        )
    ]
    if run.smoothing:
        notes.append(f"The train loss counts labels smoothed by {run.smoothing:g}.")
    if all(epoch["val_loss"] is None for epoch in run.history):
        notes.append("This run kept no validation split: all training images were learnt from.")
    heads = "epoch,train loss,train accuracy,val. loss,val. accuracy,learning rate,time,images/s"
    lines = [
        (
            f"{e['epoch']}",
            f"{e['train_loss']:.4f}",
            percent(e["train_accuracy"]),
            "–" if e["val_loss"] is None else f"{e['val_loss']:.4f}",
            percent(e["val_accuracy"]),
            f"{e['lr']:.3g}",
            duration(e["seconds"]),
            f"{e['images_per_second']:,.0f}",
        )
        for e in run.history
    ]
    table = _table("history", "Every epoch in figures", heads.split(","), lines)
    return (
        f'<div class="pair">{"".join(charts)}</div>\n<p class="note">{" ".join(notes)}</p>\n'
        f"<details><summary>Every epoch in figures</summary>{table}</details>\n"
    )


def _confusion(run: RunFiles, cells: Mapping[tuple[str, str], str]) -> str:
    classes, matrix = run.classes, run.metrics["confusion"]
    anchors = {pair: at for at, pair in enumerate(cells)}
    pairs = sorted(
        (-count, i, j)
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
        if i != j and count
    )
    if not pairs:
        most = '<p class="note">No image was taken for another class.</p>'
    else:
        items = [
            (
                esc(classes[i]),
                esc(classes[j]),
                _linked(anchors, (classes[i], classes[j]), f"{-count:,}"),
                percent(-count / sum(matrix[i]), 1),
            )
            for count, i, j in pairs[:10]
        ]
        heads = ["true class", "taken for", "images", "of the class"]
        most = _table("pairs", "Most confused pairs", heads, items, caption=True, words=2)
    if len(classes) > LARGEST_MATRIX:
        note = (
            f"A matrix of {len(classes)} classes would show nothing; these are its largest cells."
        )
        return f'<p class="note">{note}</p>{most}{_cells(cells)}'
    look = "matrix" + " long" * (max(map(len, classes)) > 4) + " huge" * (len(classes) > 25)
    head = "".join(f'<th scope="col" title="{esc(c)}"><span>{esc(c)}</span></th>' for c in classes)
    worst = -pairs[0][0] if pairs else 1
    body = []
    for i, row in enumerate(matrix):
        drawn = []
        for j, count in enumerate(row):
            if not count:
                drawn.append("<td></td>")
            elif i == j:
                drawn.append(f'<td class="hit h{_level(count / sum(row))}">{count}</td>')
            else:
                linked = _linked(anchors, (classes[i], classes[j]), str(count))
                drawn.append(f'<td class="m{_level(count / worst)}">{linked}</td>')
        name = f'<th scope="row" title="{esc(classes[i])}">{esc(classes[i])}</th>'
        body.append(f"<tr>{name}{''.join(drawn)}</tr>\n")
    table = (
        f'<table class="{look}"><caption class="hidden">Confusion matrix</caption>'
        f'<thead><tr><td class="corner"></td>{head}</tr></thead>\n'
        f"<tbody>{''.join(body)}</tbody></table>"
    )
    note = "Images by true class (rows) and predicted class (columns); empty is none."
    note += " Choose a count off the diagonal to see its images." if cells else ""
    return (
        f'<p class="note">{note}</p><div class="wide">{_scroll("Confusion matrix", table)}{most}'
        f"</div>{_cells(cells)}"
    )


def _level(share: float) -> int:
    """One of nine tints; the square root keeps a single mistake visible beside hundreds."""
    return max(1, min(9, round(9 * math.sqrt(share))))


def _linked(anchors: Mapping[tuple[str, str], int], pair: tuple[str, str], text: str) -> str:
    return f'<a href="#cell-{anchors[pair]}">{text}</a>' if pair in anchors else text


def _cells(cells: Mapping[tuple[str, str], str]) -> str:
    """The images behind each count, hidden until a link points at them."""
    return "".join(
        f'<div class="cell" id="cell-{at}">{content}<a href="#confusion">Close</a></div>\n'
        for at, content in enumerate(cells.values())
    )


def _mistakes(
    run: RunFiles, rows: Sequence[Prediction], images: np.ndarray | None
) -> tuple[list[str], dict[tuple[str, str], str]]:
    """The worst mistakes, and those behind each count of the matrix, the surest first."""
    numbered = [(row, i) for i, row in enumerate(rows) if row.label != row.predicted]
    numbered.sort(key=lambda item: (-item[0].p_predicted, item[1]))
    drawn = {i: _mistake(row, images, run.metrics["split"]) for row, i in numbered[:WORST]}
    worst = list(drawn.values())
    room = MISTAKE_BYTES - sum(map(len, worst))
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for row, i in numbered:
        pair = (row.label, row.predicted)
        counts[pair] += 1
        if counts[pair] <= PER_CELL and room > 0:
            item = drawn[i] if i in drawn else _mistake(row, images, run.metrics["split"])
            groups[pair].append(item)
            room -= len(item)
    cells = {}
    for pair, items in groups.items():
        some = f", the surest {len(items)} here" if len(items) < counts[pair] else ""
        cells[pair] = (
            f"<h3>{esc(pair[0])} taken for {esc(pair[1])} <small>{many(counts[pair], 'image')}"
            f'{some}</small></h3><ol class="mistakes">{"".join(items)}</ol>'
        )
    return worst, cells


def _mistake(row: Prediction, images: np.ndarray | None, split: str) -> str:
    index = int(row.file_or_index) if row.file_or_index.isdecimal() else -1
    picture = ""
    if images is not None and 0 <= index < len(images):
        said = f"{split} image {index}: {row.label}, taken for {row.predicted}"
        picture = f'<img src="{_png(images[index])}" alt="{esc(said)}">'
    name = f"#{index}" if index >= 0 else row.file_or_index
    return (
        f'<li>{picture}<p class="id">{esc(name)}</p><dl>'
        f'<div class="no"><dt>said <b>{esc(row.predicted)}</b></dt>{_bar(row.p_predicted)}</div>'
        f"<div><dt>is <b>{esc(row.label)}</b></dt>{_bar(row.p_label)}</div></dl></li>"
    )


def _bar(p: float) -> str:
    return f'<dd style="--p:{p:.3f}">{esc(probability(p))}</dd>'


def _png(image: np.ndarray) -> str:
    """A uint8 image [C,H,W] as a data URI; of other than 3 channels the first is shown."""
    pixels = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _worst(run: RunFiles, worst: Sequence[str]) -> str:
    if not worst:
        return f'<p class="note">None: all {run.metrics["n"]:,} images are right.</p>'
    shown = f"The {len(worst)} of {run.wrong:,} mistakes" if len(worst) < run.wrong else "Those"
    return (
        f'<p class="note">{shown} of which the network was surest, with the probability it gave '
        "to the class it said and to the class it is.</p>"
        f'<ol class="mistakes">{"".join(worst)}</ol>'
    )


# Classes, calibration, network, recipe


def _classes(run: RunFiles) -> str:
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
    note = "The lowest of each column is set in bold." + (
        " A dash is undefined: such a class was never predicted, or never occurred."
        if undefined
        else ""
    )
    table = _table("per-class", "Figures by class", heads, lines)
    return f'<p class="note">{note}</p>{table}'


def _calibration(run: RunFiles, rows: Sequence[Prediction]) -> str:
    confidence = np.array([row.p_predicted for row in rows], dtype=np.float64)
    right = np.array([row.label == row.predicted for row in rows])
    bins = reliability(confidence, right)
    m, temperature = run.metrics, run.model["temperature"]
    fitted = (
        f"after the temperature {temperature:.3f}, fitted on validation"
        if temperature != 1
        else "with temperature 1, which leaves the logits as they are"
    )
    return (
        f'<div class="pair">{reliability_chart(bins)}<div><dl class="facts">'
        f"<div><dt>Calibration error (ECE)</dt><dd>{percent(m['ece'])}</dd></div>"
        f"<div><dt>before temperature</dt><dd>{percent(m['ece_raw'])}</dd></div>"
        f"<div><dt>Temperature</dt><dd>{temperature:.3f}</dd></div></dl>"
        '<p class="note">Of the images that were given a probability of about 90\u202f%, nine in '
        "ten should be right: then a bar ends on the diagonal. The thin lines are 95\u202f% "
        "intervals; a bin of few images says little. Shown are the probabilities "
        f"{fitted}. ECE is the mean gap, over 15 equal bins.</p></div></div>\n"
    )


def _network(run: RunFiles, anatomy: Sequence[Row]) -> str:
    whole = total(anatomy)
    noted = any(row.note for row in anatomy)

    def line(row: Row) -> list[str]:
        shape = "–" if row.output_shape is None else " × ".join(map(str, row.output_shape))
        cells = [esc(row.name), esc(row.kind), shape]
        for value, sum_ in (
            (row.parameters, whole.parameters),
            (row.multiply_adds, whole.multiply_adds),
        ):
            share = value / sum_ if value and sum_ and row is not whole else 0
            said = "unknown" if value is None else f"{value:,}"
            cells.append(f'<span class="share" style="--p:{share:.3f}">{said}</span>')
        return cells + ([esc(row.note)] if noted else [])

    heads = ["layer", "kind", "output", "parameters", "multiply-adds"] + ["note"] * noted
    table = _table(
        "layers", "Layers in call order", heads, map(line, anatomy), words=2, foot=line(whole)
    )
    size = run.model["architecture"].get("image_size", [])
    what = " × ".join(map(str, size)) if isinstance(size, list) else ""
    note = f"For one image{' of ' + what + ' pixels' if what else ''}, in the order of the call."
    return f'<p class="note">{esc(note)}</p>{table}'


def _recipe(run: RunFiles) -> str:
    origin = run.recipe.get("origin")
    origin = origin if isinstance(origin, dict) else {}
    tables = {k: v for k, v in run.recipe.items() if isinstance(v, dict) and k != "origin"}
    loose = {k: v for k, v in run.recipe.items() if not isinstance(v, dict)}
    blocks = []
    for title, table in {**({"recipe": loose} if loose else {}), **tables}.items():
        sources = [str(origin.get(f"{title}.{key}", "")) for key in table]
        lines = []
        for (key, value), source in zip(table.items(), sources, strict=True):
            look = "from quiet" if source == "default" else "from"
            cell = f'<td class="{look}">{esc(source)}</td>' if any(sources) else ""
            name = f'<th scope="row">{esc(key)}</th>'
            lines.append(f"<tr>{name}<td>{esc(value_text(value))}</td>{cell}</tr>\n")
        heads = ["name", "value", "from"] if any(sources) else ["name", "value"]
        top = "".join(f'<th scope="col">{head}</th>' for head in heads)
        blocks.append(
            f"<table><caption>{esc(title)}</caption><thead><tr>{top}</tr></thead>\n"
            f"<tbody>{''.join(lines)}</tbody></table>\n"
        )
    return f'<div class="blocks">{"".join(blocks)}</div>\n'


def _again(run: RunFiles) -> str:
    data, model = run.model["data"], run.model
    facts = {
        "data": f"{run.data}: "
        + ", ".join(f"{count_text(data[k])} {k}" for k in ("train", "val", "test") if k in data),
        "data fingerprint": data.get("fingerprint", ""),
        "weights, SHA-256": model["weights_sha256"],
        "preprocessing": value_text(model["preprocessing"]),
        "versions": value_text(model["versions"]),
        "machine": value_text(model["machine"]),
        "made": model["created"],
    }
    lines = "".join(
        f"<div><dt>{esc(name)}</dt><dd>{esc(value)}</dd></div>" for name, value in facts.items()
    )
    command = f"<pre><code>{esc(model['command'])}</code></pre>"
    return f'{_scroll("Command", command)}\n<dl class="facts">{lines}</dl>\n'


def _table(
    key: str,
    title: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    words: int = 1,
    caption: bool = False,
    foot: Sequence[str] = (),
) -> str:
    """A table whose first ``words`` columns are words and the others numbers; cells are HTML."""

    def cells(row: Sequence[str]) -> str:
        head, *rest = row
        drawn = [
            f'<td class="word">{cell}</td>' if i < words else f"<td>{cell}</td>"
            for i, cell in enumerate(rest, 1)
        ]
        return f'<tr><th scope="row">{head}</th>{"".join(drawn)}</tr>\n'

    top = "".join(
        f'<th scope="col"{" class=word" if i < words else ""}>{head}</th>'
        for i, head in enumerate(heads)
    )
    quiet = "" if caption else ' class="hidden"'
    ending = f"<tfoot>{cells(foot)}</tfoot>" if foot else ""
    return _scroll(
        title,
        f'<table class="{key}"><caption{quiet}>{title}</caption><thead><tr>{top}</tr></thead>\n'
        f"<tbody>{''.join(map(cells, rows))}</tbody>{ending}</table>",
    )


def _scroll(title: str, content: str) -> str:
    """A box in which wide content scrolls, by touch and by key, so that the page need not."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">{content}</div>'
