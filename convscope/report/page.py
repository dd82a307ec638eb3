"""The page: one file that asks the network for nothing.

Its style is inline, its images are data, no script runs, and its own content security policy would
refuse anything else. The first screen says what was trained, how good it is, what goes wrong and
what to do next; the rest shows why. Everything read from a file is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from convscope import webpage
from convscope.evaluation import targets
from convscope.evaluation.predictions_file import PredictionRow
from convscope.formatting import forgotten, p_value, plural
from convscope.insight.anatomy import Summary
from convscope.markup import esc, facts, note, scroll, sections, table
from convscope.report import calibration, cost, inside, network
from convscope.report.charts import Line, line_chart
from convscope.report.class_findings import class_findings
from convscope.report.confusion import Confusion
from convscope.report.diagnosis import findings
from convscope.report.evidence import Evidence, Finding, evidence
from convscope.report.inside import Look
from convscope.report.run_files import (
    RunFiles,
    count_text,
    digits_for,
    duration,
    percent,
    typeset,
    value_text,
)

ADVICE = 3  # things to do next that are named
COUNTED = {  # what a train loss counts otherwise than that of validation
    "weighted": "The train loss weighs each class by how rare it is; validation does not.",
    "adjusted": "The train loss is that of logits adjusted by how frequent their class is; "
    "validation's is not.",
    "balanced": "Train figures are of images of which each class was drawn equally often; those of "
    "validation are of its images as they are.",
}


def page(
    run: RunFiles,
    rows: Sequence[PredictionRow],
    images: np.ndarray | None,
    summary: Summary | str,
    look: Look | None = None,
    unseen: str = "",
) -> str:
    """The whole page as HTML."""
    style = webpage.base() + webpage.part("convscope.report", "style.css")
    seen = evidence(run, float(np.mean([row.p_predicted for row in rows])))
    found, wrong = findings(seen), class_findings(seen)
    confusion = Confusion(run, rows, images)
    parts = [
        *([("targets", "Targets", _targets(run))] if "targets" in run.metrics else []),
        *([("forgetting", "Old classes", _old(run))] if run.metrics.get("forgetting") else []),
        ("curves", "Training", _curves(run, found, seen)),
        ("confusion", "Confusion", confusion.html() + _told(wrong, "What goes wrong")),
        ("mistakes", "Worst mistakes", confusion.worst()),
        ("classes", "Classes", _classes(run)),
        ("calibration", "Calibration", calibration.html(run, rows)),
        ("network", "Network", network.anatomy(run, summary)),
        ("inside", "Inside", inside.html(confusion, images, look, unseen)),
        ("cost", "Cost", cost.html(run, summary)),
        ("recipe", "Recipe", _recipe(run)),
        ("again", "Run it again", _again(run)),
    ]
    return webpage.whole(
        f"{run.network} on {run.data} · convscope",
        style + confusion.style(),
        '<a class="skip" href="#curves">Skip to the report</a>\n'
        f"{webpage.nav()}{_headline(run, found, wrong, seen)}{sections(parts)}"
        f"<footer>{esc(run.name)}, written by convscope "
        f"{esc(run.model['versions'].get('convscope', ''))}. "
        "This page is one file and loads nothing.</footer>\n",
        pictures=True,
    )


def _targets(run: RunFiles) -> str:
    """The figures of each target, of which the first leads the page."""
    rows = []
    for name, found in run.metrics["targets"].items():
        cells = [typeset(esc(text)) for text in targets.parts(found)]
        rows.append((esc(name), esc(found["kind"]), *cells, f"{found['n']:,}"))
    heads = ("target", "kind", "figure", "95 % interval, or more", "records")
    lead = note(
        "The network tells several targets at once. All that follows is about the first class "
        "among them; predictions.csv has columns for every one. Of "
        f"{percent(run.metrics['all_right'])} of the records every class and label is right."
    )
    each = table("targets", "Each target", heads, rows, words=2)
    return lead + scroll("Each target", each)


def _old(run: RunFiles) -> str:
    """How the classes fare that the run knew which this one began from."""
    found = run.metrics["forgetting"]
    lead = note(
        f"Test images of the classes that it knew before: {forgotten(found)}; McNemar's exact test "
        f"gives {p_value(found['p'], 'p')}. Before, it chose among those classes alone; now it "
        "chooses among all."
    )
    rows = [
        (
            esc(row["class"]),
            f"{row['images']:,}",
            *(percent(row[key] / row["images"], 1) for key in ("a_right", "b_right")),
            p_value(row["p_holm"]),
        )
        for row in found["per_class"]
    ]
    heads = ("class", "images", "right before", "right now", "p, Holm")
    return lead + table("forgetting", "Each class that it knew before", heads, rows)


# the first screen


def _headline(
    run: RunFiles, found: Sequence[Finding], wrong: Sequence[Finding], seen: Evidence
) -> str:
    m, data, machine = run.metrics, run.model["data"], run.model["machine"]
    digits = digits_for(m["n"])
    leads = "balanced_accuracy" if m.get("skewed") else "accuracy"
    low, high = m[f"{leads}_ci95"]
    leading = f"{esc(m['split'])} {leads.replace('_', ' ')}"
    of = f" of {esc(run.leading)}" if run.leading else ""
    train = data.get("train")
    on = f"{count_text(train)} images of " if isinstance(train, int) else ""
    cells = {
        **({"Accuracy": percent(m["accuracy"], digits)} if m.get("skewed") else {}),
        "Right": f"{m['n'] - run.wrong:,} of {m['n']:,}",
        f"Looks at the {esc(m['split'])} split": f"{m['test_looks']:,}",
        "Cross-entropy": f"{m['loss']:.4f}",
        "Parameters": f"{run.model['parameters']:,}",
    }
    return (
        '<header>\n<p class="eyebrow">convscope run</p>\n'
        f"<h1>{esc(run.network)} <span>on {esc(run.data)}</span></h1>\n"
        f'<p class="lede">Trained for {plural(len(run.history), "epoch")} on {on}{esc(run.data)} '
        f"in {duration(m['train_seconds'])}, {esc(_when(run.model['created']))}, on "
        f"{esc(machine.get('processor', 'an unnamed processor'))}.</p>\n"
        f'<div class="headline">\n<div class="score"><p class="label">{leading}'
        f'{of}</p>\n<p class="accuracy">{percent(m[leads], digits)}</p>\n'
        f'<p class="interval">95\u202f% interval {100 * low:.{digits}f} to '
        f"{percent(high, digits)}</p>{facts(cells.items())}</div>\n"
        f'<div class="verdict">{_verdict(found, wrong, seen)}</div>\n</div>\n</header>\n'
    )


def _when(created: str) -> str:
    """The ISO date to the minute, as a person writes it."""
    found = re.match(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)\S*?(Z|\+00:00)?$", created)
    return f"{found[1]} at {found[2]}{' UTC' if found[3] else ''}" if found else created


def _verdict(found: Sequence[Finding], wrong: Sequence[Finding], seen: Evidence) -> str:
    """How training went, what goes wrong, what to do next; the gravest of each."""
    advice = [finding.advice for finding in (*found, *wrong) if finding.advice][:ADVICE]
    if not advice:
        advice = [
            "Nothing in these numbers asks for a change. How much of them is chance, several "
            "seeds would tell: convscope sweep."
        ]
    went = [finding.text for finding in found][:2]
    if not went:
        went = [f"{plural(len(seen.history), 'epoch')} of training say no more than their figures."]
    failed = [finding.text for finding in wrong][:2]
    if not failed:
        failed = ["Its mistakes are spread: no class or pair of classes stands out beyond chance."]
    blocks = (("How it went", went), ("What goes wrong", failed), ("What to do next", advice))
    return "".join(
        f"<div><h2>{title}</h2>{''.join(f'<p>{esc(text)}</p>' for text in texts)}</div>\n"
        for title, texts in blocks
    )


# the sections


def _told(found: Sequence[Finding], title: str) -> str:
    """Sentences, each with the rule that gave it."""
    items = "".join(
        f'<li><p>{esc(finding.text)}</p><p class="rule">Rule: {esc(finding.rule)}.</p></li>\n'
        for finding in found
    )
    return f'<ul class="told" aria-label="{title}">{items}</ul>\n' if found else ""


def _curves(run: RunFiles, found: Sequence[Finding], seen: Evidence) -> str:
    def lines(figure: str, scale: float = 1.0) -> list[Line]:
        found = []
        for name, css in (("train", "train"), ("validation", "val")):
            points = ((e["epoch"], e[f"{css}_{figure}"]) for e in run.history)
            found.append(Line(name, css, [(at, y * scale) for at, y in points if y is not None]))
        return found

    loss = "Loss, cross-entropy in nats"
    charts = line_chart(
        "at-accuracy", "Accuracy, %", lines("accuracy", 100), lambda y: f"{y:.2f}\u202f%"
    )
    charts += line_chart("at-loss", loss, lines("loss"), lambda y: f"{y:.4f}", zero=True)
    notes = [
        "Train figures are gathered during the epoch, while the weights still move"
        + (
            ", and on augmented images, so they usually lie below validation in accuracy and "
            "above it in loss."
            if run.augmented
            else "; validation is judged at its end."
        )
    ]
    if run.fitted:
        notes = ["The last layer was fitted to its optimum; both figures are of what was fitted."]
    if seen.counted in COUNTED:
        notes.append(COUNTED[seen.counted])
    if seen.start_kept:
        notes.append("No epoch is better on validation than what it began with, which was kept.")
    elif seen.best or seen.patience:
        notes.append(
            f"The weights of epoch {seen.kept['epoch']} were kept, the best on validation."
        )
    if seen.ended_at:
        notes.append(f"Training was ended on request, after step {seen.ended_at:,}.")
    if run.smoothing:
        notes.append(f"The train loss counts labels smoothed by {run.smoothing:g}.")
    if all(epoch["val_loss"] is None for epoch in run.history):
        notes.append("This run kept no validation split: all training images were learnt from.")
    heads = "epoch,train loss,train accuracy,val. loss,val. accuracy,learning rate,time,images/s"
    cells = [
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
    epochs = table("history", "Every epoch in figures", heads.split(","), cells)
    return (
        f'<div class="pair">{charts}</div>\n{note(" ".join(notes))}{_told(found, "How it went")}'
        f"<details><summary>Every epoch in figures</summary>{epochs}</details>\n"
    )


def _classes(run: RunFiles) -> str:
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


def _recipe(run: RunFiles) -> str:
    origin = run.table("origin")
    tables = {k: v for k, v in run.recipe.items() if isinstance(v, dict) and k != "origin"}
    loose = {k: v for k, v in run.recipe.items() if not isinstance(v, dict)}
    blocks = []
    for title, values in {**({"recipe": loose} if loose else {}), **tables}.items():
        sources = [str(origin.get(f"{title}.{key}", "")) for key in values]
        lines = []
        for (key, value), source in zip(values.items(), sources, strict=True):
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
    values = {
        "data": f"{run.data}: "
        + ", ".join(f"{count_text(data[k])} {k}" for k in ("train", "val", "test") if k in data),
        "data fingerprint": data.get("fingerprint", ""),
        "weights, SHA-256": model["weights_sha256"],
        "preprocessing": value_text(model["preprocessing"]),
        "versions": value_text(model["versions"]),
        "machine": value_text(model["machine"]),
        "made": model["created"],
    }
    lines = facts((esc(name), esc(value)) for name, value in values.items())
    command = f"<pre><code>{esc(model['command'])}</code></pre>"
    return f"{scroll('Command', command)}\n{lines}\n"
