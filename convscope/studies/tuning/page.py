"""A search as one page, in the style of the report, and the short of it as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from convscope import files, webpage
from convscope.formatting import duration, percent, plural
from convscope.markup import esc, facts, note, scroll, sections, table
from convscope.studies.page import rows_of
from convscope.studies.tuning import charts
from convscope.studies.tuning.outcome import COLUMNS, FEW, Row, Tuned, cells, shown

BEST = 5  # trials that are drawn over the others
FIRST = 10  # rows of the short table
SHORT = {"front": "Accuracy and time", "importance": "What matters", "trials": "Every trial"}


def write(done: Tuned) -> None:
    """Write ``tune.html`` and ``README.md`` into the folder of a search."""
    files.write_whole(done.page, html(done))
    files.write_whole(done.path / "README.md", markdown(done))


def html(done: Tuned) -> str:
    """The whole page."""
    styles = (("convscope.report", "style.css"), ("convscope.studies.tuning", "page.css"))
    parts = [
        ("front", "Accuracy against seconds", _front(done)),
        ("importance", "What matters", _importance(done)),
        ("values", "Values of the trials", _values(done)),
        ("trials", "Every trial", _trials(done)),
        ("space", "What was searched", _space(done)),
        ("next", "What comes next", _next(done)),
    ]
    return webpage.whole(
        f"Search on {done.spec.name} · convscope",
        "".join([webpage.base(), *(webpage.part(*one) for one in styles)]),
        f'<a class="skip" href="#front">Skip to the trials</a>\n{_headline(done)}'
        f"{sections(parts, SHORT)}"
        "<footer>Written by convscope tune. The test split was not looked at. "
        "This page is one file and loads nothing.</footer>\n",
    )


def _headline(done: Tuned) -> str:
    best = done.best
    values = facts([(esc(name), esc(shown(value))) for name, value in best["values"].items()])
    said = "".join(f"<li><p>{esc(sentence)}</p></li>" for sentence in done.sentences)
    of = f"trial {best['trial']} of {len(done.rows)}, {duration(best.get('seconds', 0))}"
    return (
        '<header>\n<p class="eyebrow">convscope tune</p>\n'
        f"<h1>{esc(done.spec.name)} <span>{plural(len(done.rows), 'trial')}</span></h1>\n"
        '<div class="headline"><div class="score"><p class="label">best on validation</p>'
        f'<p class="accuracy">{percent(best["val_accuracy"])}</p>'
        f'<p class="interval">{of}</p></div>\n'
        f'<div class="verdict"><div><h2>Its values</h2>{values}</div>'
        f'<ul class="told">{said}</ul></div></div>\n</header>\n'
    )


def _front(done: Tuned) -> str:
    def said(row: Row) -> str:
        return (
            f'<b class="front">trial {row["trial"]}: {percent(row["val_accuracy"])}</b> in '
            f"{duration(row['seconds'])}"
        )

    timed = [row for row in done.rows if "seconds" in row]
    best_so_far: list[Row] = []
    for row in done.rows:
        if row["state"] == "complete" and (
            not best_so_far or row["val_accuracy"] > best_so_far[-1]["val_accuracy"]
        ):
            best_so_far.append(row)
    against = charts.scatter(
        "seconds", "Accuracy on validation, %", "seconds of training", timed,
        lambda row: float(row["seconds"]), done.front, said,
    )  # fmt: skip
    along = charts.scatter(
        "along", "The best so far, %", "trial", done.rows,
        lambda row: float(row["trial"]), best_so_far, said, even=True,
    )  # fmt: skip
    lead = note(
        "Filled: trained to the end. Hollow: ended early, or far below, at the foot. The line "
        "joins the trials that no other beats in both. Seconds are those of the machine that "
        "trained a trial, and of what else ran there."
    )
    rows = [[esc(cell) for cell in cells(row)] for row in done.front]
    heads = [*COLUMNS, "values"]
    front = table("front-table", "Trials that no other beats in both", heads, rows, caption=True)
    return f'{lead}<div class="pair">{against}{along}</div>{front}'


def _importance(done: Tuned) -> str:
    if not done.importance:
        return note(
            f"Nothing is said of what matters: {FEW} trials that are trained to their end, and "
            f"differ, are needed; there are {len(done.whole)}."
        )
    rows = [
        [esc(name), f'<span class="share" style="--p:{share:.3f}">{share:.0%}</span>']
        for name, share in done.importance.items()
    ]
    rule = note(
        "How much it matters where a value lies for being among the best trials: PED-ANOVA over "
        f"the {plural(len(done.whole), 'trial')} that were trained to the end, as shares of one. "
        "Of so few it tells the large from the small, not the third from the fourth."
    )
    return rule + table("importance-table", "Share of each field", ["field", "share"], rows)


def _values(done: Tuned) -> str:
    best = {row["trial"] for row in done.whole[:BEST]}
    drawn = charts.parallel(done.spec.space.fields, done.rows, best)
    lead = note(
        f"Each trial that was trained to its end is a line across its values; the best {len(best)} "
        "are blue."
    )
    return lead + scroll("Values of the trials", drawn)


def _trials(done: Tuned) -> str:
    rest = [row for row in done.rows if row["state"] != "complete"]
    order = [*done.whole, *sorted(rest, key=lambda row: -(row["val_accuracy"] or 0))]
    fields = list(done.spec.space.fields)
    rows = []
    for row in order:
        *first, _ = cells(row)
        ending = {"complete": "trained", "pruned": "ended early"}.get(row["state"], "failed")
        why = f"<small>{esc(row['failure'])}</small>" if "failure" in row else ""
        values = [esc(shown(row["values"].get(name, ""))) for name in fields]
        rows.append([first[0], ending + why, *first[1:], *values])
    heads = [COLUMNS[0], "", *COLUMNS[1:], *map(esc, fields)]
    return table("trials-table", "Every trial, the best first", heads, rows, words=2)


def _space(done: Tuned) -> str:
    spec = done.spec
    rows = [[esc(name), esc(where)] for name, where in spec.space.fields.items()]
    given = [(esc(name), esc(value)) for name, value in spec.options.items()]
    how = note(
        "Trials are proposed by a Gaussian process (expected improvement, Jones et al. 1998), and "
        f"ended early by Hyperband (Li et al. 2018) over up to {plural(spec.epochs, 'epoch')}, "
        f"both Optuna's. All trials judge the same images of validation, in {spec.precision}."
    )
    data = [("data", esc(spec.data)), ("fingerprint", esc(spec.fingerprint[:16]))]
    fields = table("space-table", "Fields", ["field", "searched over"], rows, words=2)
    return how + fields + facts([*data, *given])


def _next(done: Tuned) -> str:
    lines = "".join(f"# {what}\n{command}\n" for what, command in done.commands)
    return scroll("Commands", f"<pre>{esc(lines)}</pre>")


def markdown(done: Tuned) -> str:
    """The short of a search."""
    heads = [*COLUMNS, "values"]
    return "\n".join(
        [
            f"# Search on {done.spec.name}",
            "",
            *(f"- {sentence}" for sentence in done.sentences),
            "",
            *_section("The best trials", heads, done.whole[:FIRST]),
            *_section("No other is better in both accuracy and seconds", heads, done.front),
            "## What comes next",
            "",
            *(f"- {what}: `{command}`" for what, command in done.commands),
            "",
            f"The whole of it: [{done.page.name}]({done.page.name}).",
            "",
        ]
    )


def _section(title: str, heads: Sequence[str], rows: Sequence[Row]) -> list[str]:
    return [f"## {title}", "", *rows_of(heads, map(cells, rows)), ""]
