"""An analysed study as a page: a table, figures and sentences for each of its grids."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convscope import files
from convscope.formatting import percent
from convscope.insight import figures
from convscope.studies.analysis import Analysis, Line, Settings, branch_losses
from convscope.studies.grid import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("setting", "seeds", "test accuracy", "95 % interval", "sd", "validation", "test loss",
           "seconds", "an epoch", "parameters", "multiply-adds")  # fmt: skip


def write(folder: Path, study: Study, parts: Sequence[Analysis]) -> None:
    """Write the page and its figures into a sweep's folder."""
    for part in parts:
        for name, figure in drawn(part).items():
            for kind in ("png", "svg"):
                with files.whole_file(folder / f"{name}.{kind}") as file:
                    figure.savefig(file, format=kind, dpi=120)
    files.write_whole(folder / "README.md", markdown(study, parts))


def markdown(study: Study, parts: Sequence[Analysis]) -> str:
    """A sweep as Markdown: for each grid its table, its figures, its sentences."""
    text = [f"# {study.title[:1].upper()}{study.title[1:]}", ""]
    text += [study.question, ""] if study.question else []
    for part in parts:
        text += [f"## {part.title}", ""] if part.title else []
        text += table(part.lines, part.chosen)
        text += ["", *(f"- {sentence}" for sentence in part.sentences), ""]
        if part.chosen is not None:
            text += [f"Chosen on validation: **{part.chosen}**.", ""]
        for name in ("figure", *part.measures) if part.lines else ():
            text += [f"![{name}]({name}{part.suffix}.svg)", ""]
    text.append(
        "Test accuracy is the mean over seeds, with its 95 % interval; the test split chose "
        "nothing. Time is the median over seeds. A multiply-add is a multiplication and an "
        "addition; they are counted for one image, forward."
    )
    return "\n".join(text) + "\n"


def cells(line: Line) -> list[str]:
    """A line of the table as text, under ``COLUMNS``."""
    return [
        line.name or "as given",
        str(line.seeds),
        f"{line.accuracy:.2%}",
        "-" if line.interval is None else f"{line.interval[0]:.2%} to {line.interval[1]:.2%}",
        "-" if line.sd is None else f"{100 * line.sd:.2f}",
        percent(line.val_accuracy),
        f"{line.loss:.4f}",
        f"{line.seconds:.1f}",
        f"{line.seconds_an_epoch:.1f}",
        f"{line.parameters:,}",
        "-" if line.multiply_adds is None else f"{line.multiply_adds:,}",
    ]


def table(lines: Sequence[Line], chosen: str | None) -> list[str]:
    """The lines in Markdown; the chosen one is bold."""
    rows = []
    for line in lines:
        first, *rest = cells(line)
        rows.append([f"**{first}**" if line.name == chosen else first, *rest])
    return rows_of(COLUMNS, rows)


def rows_of(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown, line by line.

    >>> rows_of(["a", "b|c"], [["1", "2"]])
    ['| a | b\\\\|c |', '|---|---|', '| 1 | 2 |']
    """
    told = (" | ".join(cell.replace("|", "\\|") for cell in row) for row in (columns, *rows))
    first, *others = (f"| {row} |" for row in told)
    return [first, "|---" * len(columns) + "|", *others]


def drawn(part: Analysis) -> dict[str, Figure]:
    """The pictures of a grid by the names of their files; none where every run failed."""
    lines = part.lines
    if not lines:
        return {}
    names = [line.name or "as given" for line in lines]
    points = [line.interval or (line.accuracy, line.accuracy) for line in lines]
    costs = {"seconds of training": [line.seconds for line in lines]}
    work = [line.multiply_adds for line in lines if line.multiply_adds is not None]
    if len(work) == len(lines):  # known of every setting
        costs["multiply-adds an image"] = [float(number) for number in work]
    costs["parameters"] = [float(line.parameters) for line in lines]
    means = [line.accuracy for line in lines]
    return {
        f"figure{part.suffix}": figures.trade_offs(names, means, points, costs, part.title),
        **{f"{name}{part.suffix}": DRAWN[name](part.by_setting) for name in part.measures},
    }


def _means(by_setting: Settings, measure: str, key: str) -> dict[str, list[float]]:
    """Of each setting the numbers of a measure, each the mean over seeds."""
    found = {}
    for name, rows in by_setting.items():
        each = zip(*(row[measure][key] for row in rows), strict=True)
        found[name] = list(map(statistics.mean, each))
    return found


def _draw_shift(by_setting: Settings) -> Figure:
    pixels = next(rows[0]["shift"]["pixels"] for rows in by_setting.values())
    curves = _means(by_setting, "shift", "accuracy")
    return figures.curves(pixels, curves, "pixels of shift", "accuracy", share=True)


def _draw_gradients(by_setting: Settings) -> Figure:
    curves = _means(by_setting, "gradients", "begun")
    layers = range(1, max(map(len, curves.values())) + 1)
    height = "norm of the gradient before training"
    return figures.curves(layers, curves, "layer with weights, from the input", height, log=True)


def _draw_branches(by_setting: Settings) -> Figure:
    points = {
        f"{name}, {branch}" if name else branch: [100 * loss for loss in losses]
        for name, rows in by_setting.items()
        for branch, losses in branch_losses(rows)
    }
    return figures.bars(points, "points of accuracy lost without it")


DRAWN = {"shift": _draw_shift, "gradients": _draw_gradients, "branches": _draw_branches}
