"""Run folder -> ``report.html``, the run in pictures, and ``README.md``, its model card.

The page is one file that asks the network for nothing: its style is inline, its images are data,
it has no script, and its own content security policy would refuse anything else. A count in the
confusion matrix opens its images by ``:target``. Everything read from a file is escaped.
"""

from __future__ import annotations

import base64
import html
import io
import json
import math
import re
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convscope import files
from convscope.errors import RunError
from convscope.evaluation.metrics import Bin, reliability, wilson_interval
from convscope.evaluation.predictions import Prediction, read_predictions
from convscope.insight.anatomy import Row, total
from convscope.run import RunFolder

LARGEST_MATRIX = 100  # more classes than that are shown as their most confused pairs alone
WORST = 24  # mistakes shown below the matrix
PER_CELL = 12  # mistakes shown for one count of the matrix
MISTAKE_BYTES = 700_000  # for all mistakes together, so that the page stays below 2 MB
THUMBNAIL = 96  # pixels of the longer side; larger images are scaled down

_NUMBER = (int, float)
_METRICS: Mapping[str, Any] = {
    "split": str,
    "n": int,
    "accuracy": _NUMBER,
    "accuracy_ci95": list,
    "loss": _NUMBER,
    "ece": _NUMBER,
    "ece_raw": _NUMBER,
    "per_class": list,
    "confusion": list,
    "test_looks": int,
    "train_seconds": _NUMBER,
    "eval_seconds": _NUMBER,
    "images_per_second": _NUMBER,
}
_MODEL: Mapping[str, Any] = {
    "architecture": dict,
    "classes": list,
    "preprocessing": dict,
    "temperature": _NUMBER,
    "parameters": int,
    "weights_sha256": str,
    "versions": dict,
    "machine": dict,
    "data": dict,
    "created": str,
    "command": str,
}
_EPOCH: Mapping[str, Any] = {
    "epoch": int,
    "train_loss": _NUMBER,
    "train_accuracy": _NUMBER,
    "val_loss": (*_NUMBER, type(None)),
    "val_accuracy": (*_NUMBER, type(None)),
    "lr": _NUMBER,
    "seconds": _NUMBER,
    "images_per_second": _NUMBER,
}
_CLASS: Mapping[str, Any] = {
    "class": str,
    "support": int,
    "precision": (*_NUMBER, type(None)),
    "recall": (*_NUMBER, type(None)),
    "f1": (*_NUMBER, type(None)),
}


@dataclass(frozen=True)
class _Run:
    """What the page and the card are written from, read and checked."""

    name: str
    recipe: dict[str, Any]
    model: dict[str, Any]
    history: list[dict[str, Any]]
    metrics: dict[str, Any]

    @property
    def network(self) -> str:
        return str(self.model["architecture"].get("name", "network"))

    @property
    def data(self) -> str:
        return str(self.model["data"].get("name", "data"))

    @property
    def classes(self) -> list[str]:
        return list(self.model["classes"])

    @property
    def augmented(self) -> bool:
        """Whether the training images were changed on the way."""
        return any(value not in (0, False, "", "none") for value in self._table("augment").values())

    @property
    def smoothing(self) -> float:
        return float(self._table("train").get("label_smoothing") or 0)

    @property
    def wrong(self) -> int:
        """How many images of the split got another class than their own."""
        confusion = self.metrics["confusion"]
        return int(self.metrics["n"] - sum(row[i] for i, row in enumerate(confusion)))

    def _table(self, name: str) -> dict[str, Any]:
        table = self.recipe.get(name)
        return table if isinstance(table, dict) else {}


def write_report(folder: Path, *, test_images: np.ndarray | None, anatomy: Sequence[Row]) -> Path:
    """Write ``report.html`` from the files of a run folder, and give its path.

    ``test_images`` are uint8 [N,C,H,W] in the order of ``predictions.csv``; without them mistakes
    are listed in words. The same files give the same bytes. Raises RunError, naming the file and
    the remedy, where one is missing, damaged, or does not belong to the others.
    """
    run = _read(folder)
    place = RunFolder(folder)
    rows = read_predictions(place.predictions)
    known = set(run.classes)
    if len(rows) != run.metrics["n"] or any({r.label, r.predicted} - known for r in rows):
        raise RunError(
            f"{place.predictions}: {len(rows)} rows that do not belong to the {run.metrics['n']} "
            f"images and {len(known)} classes of the other files; write it anew with: "
            "convscope eval RUN"
        )
    files.write_whole(place.report, _page(run, rows, test_images, anatomy).encode())
    return place.report


def write_card(folder: Path) -> Path:
    """Write ``README.md``, the model card, from the files of a run folder, and give its path.

    Raises RunError, naming the file and the remedy, where one is missing or damaged.
    """
    run = _read(folder)
    files.write_whole(RunFolder(folder).card, _card(run).encode(errors="replace"))
    return RunFolder(folder).card


# Reading


def _read(folder: Path) -> _Run:
    place = RunFolder(folder)
    for path in (place.recipe, place.model, place.history, place.metrics):
        if not path.is_file():
            raise RunError(f"{path}: is not there; {_ANEW}")
    path = place.recipe
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
        path = place.history
        epochs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as why:
        raise RunError(f"{path}: is damaged ({why}); {_ANEW}") from None
    model = _checked(place.model, place.read_model(), _MODEL)
    metrics = _checked(place.metrics, place.read_metrics(), _METRICS)
    for row in metrics["per_class"]:
        _checked(place.metrics, row, _CLASS)
    k, confusion = len(model["classes"]), metrics["confusion"]
    if (
        len(confusion) != k
        or len(metrics["per_class"]) != k
        or len(metrics["accuracy_ci95"]) != 2
        or any(not isinstance(row, list) or len(row) != k for row in confusion)
        or sum(map(sum, confusion)) != metrics["n"]
    ):
        raise RunError(
            f"{place.metrics}: does not belong to the {k} classes of {place.model.name}, or its "
            "confusion matrix does not add up to n; write it anew with: convscope eval RUN"
        )
    return _Run(
        name=folder.resolve().name,
        recipe=recipe,
        model=model,
        history=[_checked(place.history, epoch, _EPOCH) for epoch in epochs],
        metrics=metrics,
    )


_ANEW = "restore it from a copy, or train again into a new folder"


def _checked(path: Path, value: Any, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The dictionary, if it holds every wanted key with a value of its kind."""
    if not isinstance(value, dict):
        raise RunError(f"{path}: is damaged (no table of names and values); {_ANEW}")
    for key, kind in wanted.items():
        item = value.get(key, ...)
        if not isinstance(item, kind) or (isinstance(item, float) and not math.isfinite(item)):
            found = "is not there" if item is ... else f"is {item!r:.40}"
            raise RunError(f"{path}: was edited or damaged ({key} {found}); {_ANEW}")
    return value


# Words and numbers


def _e(text: object) -> str:
    """Anything from a file, safe in HTML; bytes that are no UTF-8 become question marks."""
    return html.escape(str(text).encode(errors="replace").decode())


def _percent(share: float | None, digits: int = 2) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f}\u202f%"


def _digits(n: int) -> int:
    """As many decimals of a percentage as n images can tell apart."""
    return 2 if n >= 2000 else 1


def _probability(p: float) -> str:
    """A probability in words that never says that something is certain or impossible."""
    if p < 0.001:
        return "<0.1\u202f%"
    return ">99.9\u202f%" if p > 0.999 else _percent(p, 1)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}\u202fs"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}\u202fmin {rest:02}\u202fs"
    return f"{minutes // 60}\u202fh {minutes % 60:02}\u202fmin"


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def _looks(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _value(value: Any) -> str:
    """A value of the recipe as its reader would type it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} = {_value(item)}" for key, item in value.items())
    return str(value)


# The page


def _page(
    run: _Run, rows: Sequence[Prediction], images: np.ndarray | None, anatomy: Sequence[Row]
) -> str:
    style = resources.files("convscope").joinpath("report.css").read_text(encoding="utf-8")
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
        f"<title>{_e(run.network)} on {_e(run.data)} · convscope</title>\n"
        f"<style>\n{style}</style>\n</head>\n<body>\n"
        f'{_headline(run)}<nav aria-label="Sections">{links}</nav>\n'
        f"<main>\n{body}</main>\n"
        f"<footer>{_e(run.name)}, written by convscope "
        f"{_e(run.model['versions'].get('convscope', ''))}. "
        "This page is one file and loads nothing.</footer>\n</body>\n</html>\n"
    )


def _headline(run: _Run) -> str:
    m, data, machine = run.metrics, run.model["data"], run.model["machine"]
    n, digits = m["n"], _digits(m["n"])
    low, high = m["accuracy_ci95"]
    train = data.get("train")
    on = f"{_count(train)} images of " if isinstance(train, int) else ""
    facts = [
        ("Right", f"{n - run.wrong:,} of {n:,}"),
        (f"Looks at the {_e(m['split'])} split", f"{m['test_looks']:,}"),
        ("Training", _duration(m["train_seconds"])),
        ("Speed", f"{m['images_per_second']:,.0f} images/s"),
        ("Parameters", f"{run.model['parameters']:,}"),
        ("Cross-entropy", f"{m['loss']:.4f}"),
        ("Calibration error", _percent(m["ece"])),
        ("Judging", _duration(m["eval_seconds"])),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return (
        '<header>\n<p class="eyebrow">convscope run</p>\n'
        f"<h1>{_e(run.network)} <span>on {_e(run.data)}</span></h1>\n"
        f'<p class="lede">Trained for {_many(len(run.history), "epoch")} on {on}{_e(run.data)} in '
        f"{_duration(m['train_seconds'])}, {_e(_when(run.model['created']))}, on "
        f"{_e(machine.get('processor', 'an unnamed processor'))}.</p>\n"
        f'<div class="headline">\n<div><p class="label">{_e(m["split"])} accuracy</p>\n'
        f'<p class="accuracy">{_percent(m["accuracy"], digits)}</p>\n'
        f'<p class="interval">95\u202f% interval {100 * low:.{digits}f} to '
        f"{_percent(high, digits)}</p></div>\n<dl>{cells}</dl>\n</div>\n</header>\n"
    )


def _when(created: str) -> str:
    """The ISO date to the minute, as a person writes it."""
    found = re.match(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)\S*?(Z|\+00:00)?$", created)
    return f"{found[1]} at {found[2]}{' UTC' if found[3] else ''}" if found else created


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else _e(value)


# Training curves


@dataclass(frozen=True)
class _Line:
    name: str
    css: str
    points: Sequence[tuple[int, float]]  # (epoch, value)


def _curves(run: _Run) -> str:
    def line(name: str, css: str, key: str, scale: float = 1.0) -> _Line:
        points = [(e["epoch"], e[key] * scale) for e in run.history if e[key] is not None]
        return _Line(name, css, points)

    charts = [
        _line_chart(
            "Accuracy, %",
            [
                line("train", "train", "train_accuracy", 100),
                line("validation", "val", "val_accuracy", 100),
            ],
            lambda value: f"{value:.2f}\u202f%",
        ),
        _line_chart(
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
            _percent(e["train_accuracy"]),
            "–" if e["val_loss"] is None else f"{e['val_loss']:.4f}",
            _percent(e["val_accuracy"]),
            f"{e['lr']:.3g}",
            _duration(e["seconds"]),
            f"{e['images_per_second']:,.0f}",
        )
        for e in run.history
    ]
    table = _table("history", "Every epoch in figures", heads.split(","), lines)
    return (
        f'<div class="pair">{"".join(charts)}</div>\n<p class="note">{" ".join(notes)}</p>\n'
        f"<details><summary>Every epoch in figures</summary>{table}</details>\n"
    )


# A chart is drawn in these units and scaled to its column; text grows on narrow screens.
_W, _H, _LEFT, _RIGHT, _TOP, _BOTTOM = 520, 300, 56, 96, 34, 44


def _line_chart(
    title: str, lines: Sequence[_Line], text: Callable[[float], str], zero: bool = False
) -> str:
    lines = [line for line in lines if line.points]
    values = [value for line in lines for _, value in line.points]
    if not values:
        return f'<figure><p class="note">{title}: no epoch was finished.</p></figure>'
    epochs = sorted({epoch for line in lines for epoch, _ in line.points})
    first, last = epochs[0], epochs[-1]
    ticks = _ticks(0 if zero else min(values), max(values))
    low, high = ticks[0], ticks[-1]

    def x(epoch: float) -> float:
        share = (epoch - first) / (last - first) if last > first else 0.5
        return round(_LEFT + share * (_W - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        return round(_H - _BOTTOM - (value - low) / (high - low) * (_H - _TOP - _BOTTOM), 1)

    parts = [f'<text class="axis" x="0" y="16">{title}</text>']
    for tick in ticks:
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_W - _RIGHT}" y1="{y(tick)}" y2="{y(tick)}"/>'
            f'<text class="tick" x="{_LEFT - 8}" y="{y(tick) + 4}" text-anchor="end">'
            f"{_tick(tick, ticks)}</text>"
        )
    marks = [t for t in _ticks(first, last) if t == int(t) and first <= t <= last]
    for mark in marks if last > first else [first]:
        parts.append(
            f'<text class="tick" x="{x(mark)}" y="{_H - _BOTTOM + 20}" text-anchor="middle">'
            f"{mark:.0f}</text>"
        )
    parts.append(
        f'<text class="tick" x="{x((first + last) / 2)}" y="{_H - 4}" text-anchor="middle">'
        "epoch</text>"
    )
    for line in lines:
        path = " ".join(f"{x(epoch)},{y(value)}" for epoch, value in line.points)
        parts.append(f'<polyline class="{line.css}" points="{path}"/>')
    half = (_W - _LEFT - _RIGHT) / max(last - first, 1) / 2
    for epoch in epochs:
        here = [(line, value) for line in lines for at, value in line.points if at == epoch]
        said = ", ".join(f"{line.name} {text(value)}" for line, value in here)
        dots = "".join(
            f'<circle class="{line.css}" cx="{x(epoch)}" cy="{y(value)}" r="3.5"/>'
            for line, value in here
        )
        parts.append(
            f'<g class="epoch"><rect x="{x(epoch) - half:.1f}" y="{_TOP}" width="{2 * half:.1f}" '
            f'height="{_H - _TOP - _BOTTOM}"/><line x1="{x(epoch)}" x2="{x(epoch)}" y1="{_TOP}" '
            f'y2="{_H - _BOTTOM}"/>{dots}<title>epoch {epoch}: {said}</title></g>'
        )
    for line, at in zip(lines, _apart([y(line.points[-1][1]) for line in lines]), strict=True):
        parts.append(
            f'<text class="label {line.css}" x="{x(line.points[-1][0]) + 10}" y="{at + 4:.1f}">'
            f"{line.name}</text>"
        )
    ends = ", ".join(f"{line.name} ends at {text(line.points[-1][1])}" for line in lines)
    many = " many" if len(epochs) > 40 else ""
    return (
        f'<figure class="chart{many}"><svg viewBox="0 0 {_W} {_H}" role="img" '
        f'aria-label="{title} by epoch: {ends}">{"".join(parts)}</svg></figure>'
    )


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers that enclose the range, in steps of 1, 2 or 5 times a power of ten.

    >>> _ticks(95.3, 99.2)
    [95.0, 96.0, 97.0, 98.0, 99.0, 100.0]
    """
    raw = ((high - low) or abs(high) or 1.0) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= raw * 0.999)
    start = math.floor(low / step + 1e-9)
    stop = max(math.ceil(high / step - 1e-9), start + 1)
    return [round(i * step, 10) for i in range(start, stop + 1)]


def _tick(value: float, ticks: Sequence[float]) -> str:
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return f"{value:,.{decimals}f}"


def _apart(heights: Sequence[float], gap: float = 20) -> list[float]:
    """Places for two labels that do not overlap, in the order of their lines."""
    if len(heights) != 2 or abs(heights[0] - heights[1]) >= gap:
        return list(heights)
    middle = min(max(sum(heights) / 2, _TOP + gap / 2), _H - _BOTTOM - gap / 2)
    first_above = heights[0] < heights[1]
    above, below = middle - gap / 2, middle + gap / 2
    return [above, below] if first_above else [below, above]


# Confusion and mistakes


def _confusion(run: _Run, cells: Mapping[tuple[str, str], str]) -> str:
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
                _e(classes[i]),
                _e(classes[j]),
                _linked(anchors, (classes[i], classes[j]), f"{-count:,}"),
                _percent(-count / sum(matrix[i]), 1),
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
    head = "".join(f'<th scope="col" title="{_e(c)}"><span>{_e(c)}</span></th>' for c in classes)
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
        name = f'<th scope="row" title="{_e(classes[i])}">{_e(classes[i])}</th>'
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
    run: _Run, rows: Sequence[Prediction], images: np.ndarray | None
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
            f"<h3>{_e(pair[0])} taken for {_e(pair[1])} <small>{_many(counts[pair], 'image')}"
            f'{some}</small></h3><ol class="mistakes">{"".join(items)}</ol>'
        )
    return worst, cells


def _mistake(row: Prediction, images: np.ndarray | None, split: str) -> str:
    index = int(row.file_or_index) if row.file_or_index.isdecimal() else -1
    picture = ""
    if images is not None and 0 <= index < len(images):
        said = f"{split} image {index}: {row.label}, taken for {row.predicted}"
        picture = f'<img src="{_png(images[index])}" alt="{_e(said)}">'
    name = f"#{index}" if index >= 0 else row.file_or_index
    return (
        f'<li>{picture}<p class="id">{_e(name)}</p><dl>'
        f'<div class="no"><dt>said <b>{_e(row.predicted)}</b></dt>{_bar(row.p_predicted)}</div>'
        f"<div><dt>is <b>{_e(row.label)}</b></dt>{_bar(row.p_label)}</div></dl></li>"
    )


def _bar(p: float) -> str:
    return f'<dd style="--p:{p:.3f}">{_e(_probability(p))}</dd>'


def _png(image: np.ndarray) -> str:
    """A uint8 image [C,H,W] as a data URI; of other than 3 channels the first is shown."""
    pixels = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _worst(run: _Run, worst: Sequence[str]) -> str:
    if not worst:
        return f'<p class="note">None: all {run.metrics["n"]:,} images are right.</p>'
    shown = f"The {len(worst)} of {run.wrong:,} mistakes" if len(worst) < run.wrong else "Those"
    return (
        f'<p class="note">{shown} of which the network was surest, with the probability it gave '
        "to the class it said and to the class it is.</p>"
        f'<ol class="mistakes">{"".join(worst)}</ol>'
    )


# Classes, calibration, network, recipe


def _classes(run: _Run) -> str:
    rows, digits = run.metrics["per_class"], _digits(run.metrics["n"])
    keys = ("precision", "recall", "f1")
    lowest = {key: min((r[key] for r in rows if r[key] is not None), default=None) for key in keys}
    lines = []
    for row in rows:
        cells = [_e(row["class"]), f"{row['support']:,}"]
        for key in keys:
            said = _percent(row[key], digits)
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


def _calibration(run: _Run, rows: Sequence[Prediction]) -> str:
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
        f'<div class="pair">{_reliability_chart(bins)}<div><dl class="facts">'
        f"<div><dt>Calibration error (ECE)</dt><dd>{_percent(m['ece'])}</dd></div>"
        f"<div><dt>before temperature</dt><dd>{_percent(m['ece_raw'])}</dd></div>"
        f"<div><dt>Temperature</dt><dd>{temperature:.3f}</dd></div></dl>"
        '<p class="note">Of the images that were given a probability of about 90\u202f%, nine in '
        "ten should be right: then a bar ends on the diagonal. The thin lines are 95\u202f% "
        "intervals; a bin of few images says little. Shown are the probabilities "
        f"{fitted}. ECE is the mean gap, over 15 equal bins.</p></div></div>\n"
    )


def _reliability_chart(bins: Sequence[Bin]) -> str:
    bottom, strip = _H - _BOTTOM - 48, _H - _BOTTOM  # the bars' floor, and that of the counts
    right = _W - 16
    most = math.log1p(max(b.count for b in bins))

    def x(p: float) -> float:
        return round(_LEFT + p * (right - _LEFT), 1)

    def y(p: float) -> float:
        return round(bottom - p * (bottom - _TOP), 1)

    parts = ['<text class="axis" x="0" y="16">Share that is right, %</text>']
    for tick in (0, 0.5, 1):
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y(tick)}" y2="{y(tick)}"/>'
            f'<text class="tick" x="{_LEFT - 8}" y="{y(tick) + 4}" text-anchor="end">'
            f"{100 * tick:.0f}</text>"
            f'<text class="tick" x="{x(tick)}" y="{strip + 20}" text-anchor="middle">'
            f"{100 * tick:.0f}</text>"
        )
    for b in bins:
        if b.accuracy is None or b.confidence is None:
            continue
        low, high = wilson_interval(b.correct, b.count)
        left, width = x(b.lower) + 1, x(b.upper) - x(b.lower) - 2
        middle, tall = left + width / 2, 4 + 30 * math.log1p(b.count) / most
        parts.append(
            f'<g class="bin"><rect class="share" x="{left:.1f}" y="{y(b.accuracy)}" '
            f'width="{width:.1f}" height="{bottom - y(b.accuracy):.1f}"/>'
            f'<rect class="count" x="{left:.1f}" y="{strip - tall:.1f}" width="{width:.1f}" '
            f'height="{tall:.1f}"/><line x1="{middle:.1f}" x2="{middle:.1f}" y1="{y(low)}" '
            f'y2="{y(high)}"/><title>{_many(b.count, "image")}: mean probability '
            f"{_percent(b.confidence, 1)}, right {_percent(b.accuracy, 1)} (95\u202f% interval "
            f"{100 * low:.1f} to {_percent(high, 1)})</title></g>"
        )
    parts.append(
        f'<line class="ideal" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>'
        f'<text class="tick" x="{x(0.05)}" y="{y(0.88)}">on the diagonal: as sure as right</text>'
        f'<text class="tick" x="{_LEFT + 2}" y="{strip - 8}">images, log scale</text>'
        f'<text class="tick" x="{x(0.5)}" y="{_H - 4}" text-anchor="middle">'
        "probability of the predicted class, %</text>"
    )
    return (
        f'<figure class="chart"><svg viewBox="0 0 {_W} {_H}" role="img" aria-label="Share of right '
        f'predictions by the probability given to them">{"".join(parts)}</svg></figure>'
    )


def _network(run: _Run, anatomy: Sequence[Row]) -> str:
    whole = total(anatomy)
    noted = any(row.note for row in anatomy)

    def line(row: Row) -> list[str]:
        shape = "–" if row.output_shape is None else " × ".join(map(str, row.output_shape))
        cells = [_e(row.name), _e(row.kind), shape]
        for value, sum_ in (
            (row.parameters, whole.parameters),
            (row.multiply_adds, whole.multiply_adds),
        ):
            share = value / sum_ if sum_ and row is not whole else 0
            cells.append(f'<span class="share" style="--p:{share:.3f}">{value:,}</span>')
        return cells + ([_e(row.note)] if noted else [])

    heads = ["layer", "kind", "output", "parameters", "multiply-adds"] + ["note"] * noted
    table = _table(
        "layers", "Layers in call order", heads, map(line, anatomy), words=2, foot=line(whole)
    )
    size = run.model["architecture"].get("image_size", [])
    what = " × ".join(map(str, size)) if isinstance(size, list) else ""
    note = f"For one image{' of ' + what + ' pixels' if what else ''}, in the order of the call."
    return f'<p class="note">{_e(note)}</p>{table}'


def _recipe(run: _Run) -> str:
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
            cell = f'<td class="{look}">{_e(source)}</td>' if any(sources) else ""
            name = f'<th scope="row">{_e(key)}</th>'
            lines.append(f"<tr>{name}<td>{_e(_value(value))}</td>{cell}</tr>\n")
        heads = ["name", "value", "from"] if any(sources) else ["name", "value"]
        top = "".join(f'<th scope="col">{head}</th>' for head in heads)
        blocks.append(
            f"<table><caption>{_e(title)}</caption><thead><tr>{top}</tr></thead>\n"
            f"<tbody>{''.join(lines)}</tbody></table>\n"
        )
    return f'<div class="blocks">{"".join(blocks)}</div>\n'


def _again(run: _Run) -> str:
    data, model = run.model["data"], run.model
    facts = {
        "data": f"{run.data}: "
        + ", ".join(f"{_count(data[k])} {k}" for k in ("train", "val", "test") if k in data),
        "data fingerprint": data.get("fingerprint", ""),
        "weights, SHA-256": model["weights_sha256"],
        "preprocessing": _value(model["preprocessing"]),
        "versions": _value(model["versions"]),
        "machine": _value(model["machine"]),
        "made": model["created"],
    }
    lines = "".join(
        f"<div><dt>{_e(name)}</dt><dd>{_e(value)}</dd></div>" for name, value in facts.items()
    )
    command = f"<pre><code>{_e(model['command'])}</code></pre>"
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


# The card


def _card(run: _Run) -> str:
    m, model, data = run.metrics, run.model, run.model["data"]
    n, digits = m["n"], _digits(m["n"])
    low, high = m["accuracy_ci95"]
    network, dataset, split = _md(run.network), _md(run.data), _md(m["split"])
    interval = f"{100 * low:.{digits}f} % to {100 * high:.{digits}f} %"
    accuracy = f"{100 * m['accuracy']:.{digits}f} %"
    own = ".py:" in run.network
    flag = f" --model {run.network}" if own else ""
    argument = f", model={json.dumps(run.network)}" if own else ""
    names = ", ".join(map(_md, run.classes[:20]))
    names += f" and {len(run.classes) - 20} more" if len(run.classes) > 20 else ""
    met = [row for row in m["per_class"] if row["recall"] is not None]
    hardest = min(met, key=lambda row: row["recall"])
    size = model["preprocessing"].get("size", [])
    shape = " x ".join(map(str, size)) if isinstance(size, list) else size
    channels = model["preprocessing"].get("channels", "?")
    colour = {1: "grey", 3: "colour"}.get(channels, f"{_md(channels)}-channel")
    table = "\n".join(
        f"| {_md(row['class'])} | {row['support']:,} | "
        + " | ".join(
            "undefined" if row[key] is None else f"{100 * row[key]:.{digits}f} %"
            for key in ("precision", "recall", "f1")
        )
        + " |"
        for row in m["per_class"]
    )
    recipe = "\n".join(
        f"- **{_md(key)}**: " + ", ".join(f"{_md(k)} {_md(_value(v))}" for k, v in table_.items())
        for key, table_ in run.recipe.items()
        if isinstance(table_, dict) and key != "origin"
    )
    sizes = ", ".join(f"{_count(data[k])} {k}" for k in ("train", "val", "test") if k in data)
    return f"""---
library_name: convscope
pipeline_tag: image-classification
tags:
- convscope
- pytorch
- image-classification
- {_yaml(run.network)}
datasets:
- {_yaml(run.data)}
metrics:
- accuracy
model-index:
- name: {_yaml(run.name)}
  results:
  - task:
      type: image-classification
    dataset:
      name: {_yaml(run.data)}
      type: {_yaml(run.data)}
      split: {_yaml(m["split"])}
    metrics:
    - type: accuracy
      value: {m["accuracy"]}
---

# {network} on {dataset}

An image classifier of {len(run.classes)} classes with {model["parameters"]:,} parameters. It gets \
{accuracy} of {n:,} {split} images right (95 % interval {interval}).

## Model details

- **Network**: {network}, {model["parameters"]:,} parameters, weights in `model.safetensors`
  (SHA-256 `{_md(model["weights_sha256"])}`)
- **Input**: {colour} images, fitted to {_md(shape)} pixels; it normalises them itself
- **Output**: a probability for each of {names}
- **Made**: {_md(model["created"])} with {_md(_value(model["versions"]))}

## Uses

It tells the classes above apart in images like those of {dataset}. It is not made for images of \
other kinds, nor for decisions about people without a person who checks them.

## Bias, risks and limitations

- Whatever it is shown, it answers with one of its {len(run.classes)} classes; a low probability \
is its only way to say that it does not know.
- The hardest class is {_md(hardest["class"])}: {100 * hardest["recall"]:.{digits}f} % of \
{hardest["support"]:,} are recognised.
- The interval covers chance in the choice of {split} images. It does not cover another camera, \
another hand or another place: measure on images of your own before you rely on it.
- What {dataset} shows seldom, or shows one-sidedly, the network has learnt the same way.

## Training

Trained for {_many(len(run.history), "epoch")} in {m["train_seconds"]:.1f} s \
({m["images_per_second"]:,.0f} images a second) on {_md(_value(model["machine"]))}.

- **Data**: {dataset} ({sizes}), fingerprint `{_md(data.get("fingerprint", "unknown"))}`
{recipe}

```sh
{model["command"].replace(chr(10), " ")}
```

## Evaluation

The {split} split was looked at {_looks(m["test_looks"])}; training and selection never used it.

| figure | value |
|---|---|
| accuracy | {accuracy} of {n:,} ({n - run.wrong:,} right) |
| 95 % interval (Wilson) | {interval} |
| cross-entropy of the raw logits | {m["loss"]:.4f} |
| expected calibration error, 15 bins | {100 * m["ece"]:.2f} % \
(before temperature scaling {100 * m["ece_raw"]:.2f} %) |
| temperature | {model["temperature"]:.3f} |

| class | images | precision | recall | F1 |
|---|---|---|---|---|
{table}

`report.html` shows the same in pictures, `predictions.csv` has a row for each image.

## How to get started

In this folder, with convscope installed:

```sh
convscope predict .{flag} image.png
```

```python
import convscope as cs

[guess] = cs.load("."{argument}).predict(["image.png"])
print(guess.label, guess.p)
```
"""


def _yaml(text: str) -> str:
    """A text as a YAML scalar; a JSON string is one."""
    return json.dumps(text.encode(errors="replace").decode())


def _md(text: object) -> str:
    """A text as it stands, in one line of Markdown."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(text).split()))
