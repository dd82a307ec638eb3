"""Cross-validation: every image is judged once, by a network that did not learn from it."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convscope import api, files, notebook, run
from convscope import recipe as recipes
from convscope.errors import BadArgument, RunError
from convscope.evaluation.metrics import per_class, wilson_interval
from convscope.events import Emit, Notice, silent
from convscope.formatting import percent
from convscope.recipe import Recipe
from convscope.run import RunFolder
from convscope.studies.page import rows_of
from convscope.studies.plan import plan
from convscope.studies.sweep import begun, quieter

SPEC = "cross_validation.json"
MOST = 20  # classes whose confusion the page has in full


@dataclass(frozen=True)
class CrossValidation:
    """A finished cross-validation: its folder and its figures, as ``results.json`` has them."""

    path: Path
    figures: Mapping[str, Any]

    @property
    def accuracy(self) -> float:
        """The share of all images that the network which did not learn from them told right."""
        return float(self.figures["accuracy"])

    @property
    def page(self) -> Path:
        """The figures as Markdown."""
        return self.path / "README.md"

    def as_json(self) -> dict[str, Any]:
        """What ``convscope train --k-fold --json`` prints."""
        return {"cross_validation": str(self.path), **self.figures}

    def _repr_html_(self) -> str:
        low, high = self.figures["accuracy_ci95"]
        return notebook.card(
            f"{self.figures['k_fold']}-fold cross-validation",
            notebook.figure(f"{self.accuracy:.2%}"),
            notebook.line(
                f"of {self.figures['n']:,} images (95 % interval {low:.2%} to {high:.2%})"
            ),
            notebook.table(COLUMNS, map(cells, self.figures["folds"])),
            notebook.link(self.page, "The page"),
        )


def cross_validate(
    data: str | Path | None = None,
    *,
    k_fold: int = 5,
    model: str | None = None,
    recipe: str | Path | None = None,
    augment: bool | str = True,
    out: str | Path | None = None,
    resume: bool = False,
    emit: Emit = silent,
    **options: Any,
) -> CrossValidation:
    """Train ``k_fold`` networks, each on all folds but one, which it is judged on: the honest
    figure for few images, as each of them is judged once (Stone 1974, JRSS B 36:111).

    Data and ``options`` are those of :func:`convscope.train`; how folds are made says
    :func:`~convscope.data.folds.fold_of`: where the data has a test split of its own it is left
    alone. The folder, ``out``, holds a run a fold, ``predictions.csv`` of all of them,
    ``results.json`` and a page. With ``resume`` and ``out`` what was stopped goes on, and no
    finished fold is trained again.

    The interval (Wilson's) takes the images of all folds as so many draws; it knows nothing of what
    other folds or another seed would give, for which the spread over folds stands beside it.

    Raises BadArgument, before anything is written, for what cannot be trained; and what
    :func:`convscope.train` raises.
    """
    if isinstance(k_fold, bool) or not isinstance(k_fold, int) or not 2 <= k_fold <= 9999:
        rule = "must be how many folds, a whole number of at least 2"
        raise BadArgument("k_fold", k_fold, rule, "try 5")
    if options.get("fold", "none") not in (None, "none"):
        rule = "is one fold, and k_fold (--k-fold) trains all of them"
        raise BadArgument("fold", options["fold"], rule, "leave one of them out")
    folder = None if out is None else Path(out)
    going_on = begun(folder, resume, SPEC, "cross-validation")
    seed = options.pop("seed", None)
    if seed is None:
        seed = (Recipe() if recipe is None else recipes.load(recipe)).train.seed
    try:
        planned = plan(
            data,
            vary={"fold": [f"1/{k_fold}"]},
            seeds=[seed],
            model=model,
            recipe=recipe,
            augment=augment,
            emit=emit,
            **options,
        )
    except BadArgument as why:
        if why.argument != "fold":
            raise
        raise BadArgument("k_fold", k_fold, why.rule, why.remedy) from None
    [(_, asked)] = planned.as_json()["runs"].items()
    spec = {"format_version": 1, "k_fold": k_fold, "options": {**asked, "fold": None}}
    name, classes = planned.name, planned.runs[0].pack.main_classes
    del planned  # and the images of its fold
    if going_on and folder is not None:
        if files.read_json(folder / SPEC, RunError) != spec:
            rule = "was begun with other options"
            remedy = "give those that it was begun with, or another folder"
            raise BadArgument("resume", folder, rule, remedy)
    else:
        folder = run.create("k-fold", name, folder, Path("runs")).path
        files.write_json(folder / SPEC, spec)
    files.make_folder(folder / "runs")
    places = []
    for number in range(1, k_fold + 1):
        place = RunFolder(folder / "runs" / f"fold-{number}")
        places.append(place)
        if not (place.metrics.exists() and place.report.exists()):
            emit(Notice(f"fold {number} of {k_fold}, into {place.path}"))
            one = {**asked, "fold": f"{number}/{k_fold}"}
            api.train(out=place.path, resume=True, look=False, emit=quieter(emit), **one)
    figures = {"k_fold": k_fold, "seed": seed, **_pooled(folder, places, classes)}
    files.write_whole(folder / "predictions.csv", _predictions(places))
    files.write_json(folder / "results.json", figures)
    files.write_whole(folder / "README.md", _page(name, figures, classes))
    return CrossValidation(folder, figures)


def _pooled(folder: Path, places: Sequence[RunFolder], classes: Sequence[str]) -> dict[str, Any]:
    """The figures of all folds together, and a row each."""
    found = [place.read_metrics() for place in places]
    confusion = np.sum([one["confusion"] for one in found], axis=0)
    right, n = int(confusion.trace()), int(confusion.sum())
    folds = [
        {
            "fold": number,
            "n": one["n"],
            "accuracy": one["accuracy"],
            "loss": one["loss"],
            "seconds": one["train_seconds"],
            "run": str(place.path.relative_to(folder)),
        }
        for number, (place, one) in enumerate(zip(places, found, strict=True), 1)
    ]
    return {
        "n": n,
        "accuracy": right / n,
        "accuracy_ci95": list(wilson_interval(right, n)),
        "sd": statistics.stdev(one["accuracy"] for one in found),
        "loss": sum(one["loss"] * one["n"] for one in found) / n,
        "seconds": sum(one["train_seconds"] for one in found),
        "folds": folds,
        "per_class": per_class(confusion, classes),
        "confusion": confusion.tolist(),
    }


def _predictions(places: Sequence[RunFolder]) -> str:
    """What each network said of the fold that it did not learn from, as one table."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for number, place in enumerate(places, 1):
        rows = csv.reader(io.StringIO(place.predictions.read_text(encoding="utf-8")))
        for at, row in enumerate(rows):
            if at or number == 1:
                writer.writerow(["fold" if not at else number, *row])
    return out.getvalue()


COLUMNS = ("fold", "images", "accuracy", "loss", "seconds")


def cells(row: Mapping[str, Any]) -> list[str]:
    """A fold as text, under ``COLUMNS``."""
    figures = percent(row["accuracy"]), f"{row['loss']:.4f}", f"{row['seconds']:,.1f}"
    return [str(row["fold"]), f"{row['n']:,}", *figures]


def in_words(figures: Mapping[str, Any]) -> str:
    """The figures in a sentence.

    >>> found = {"k_fold": 5, "n": 100, "accuracy": 0.9, "accuracy_ci95": [0.83, 0.94], "sd": 0.02}
    >>> in_words(found)
    '90.00% of 100 images (95% interval 83.00% to 94.00%; sd over 5 folds 2.00%)'
    """
    low, high = figures["accuracy_ci95"]
    return (
        f"{figures['accuracy']:.2%} of {figures['n']:,} images (95% interval {low:.2%} to "
        f"{high:.2%}; sd over {figures['k_fold']} folds {figures['sd']:.2%})"
    )


def _page(name: str, figures: Mapping[str, Any], classes: Sequence[str]) -> str:
    """The figures as Markdown."""
    text = [
        f"# {figures['k_fold']}-fold cross-validation of {name}",
        "",
        f"Right: **{in_words(figures)}**. Each image was judged once, by the network that did not "
        "learn from its fold.",
        "",
        *rows_of(COLUMNS, map(cells, figures["folds"])),
        "",
        *rows_of(
            ("class", "images", "precision", "recall", "F1"),
            (
                [
                    row["class"],
                    f"{row['support']:,}",
                    *(percent(row[key]) for key in ("precision", "recall", "f1")),
                ]
                for row in figures["per_class"]
            ),
        ),
    ]
    if len(classes) <= MOST:
        rows = zip(classes, figures["confusion"], strict=True)
        text += ["", "A row is a class, a column what it was taken for.", ""]
        text += rows_of(("", *classes), ([one, *map(str, counts)] for one, counts in rows))
    return "\n".join(text) + "\n"
