"""Predictions as the rows of a CSV file, and counted."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from convscope import files
from convscope.predicting.prediction import Prediction
from convscope.predicting.predictor import Predictor
from convscope.predicting.records import RecordPredictor

FAILED = 20  # of what could not be read, so many are named


def rows(
    predictor: Predictor | RecordPredictor,
    predictions: Iterable[Prediction],
    top_k: int,
    digits: bool | None = None,
) -> Iterator[list[str]]:
    """A header, then a row a prediction.

    Of one image and one class: ``file``, the ``top_k`` likeliest classes as ``label_1``, ``p_1``,
    ``label_2``, ...; of several inputs or targets: the file of each image, what is told of each
    target, by the names of both, and ``TARGET_p`` of a class. Then ``prediction_set`` (between "|")
    where one was asked for, ``unsure`` and ``ood`` (true, false, or nothing where that is not
    known), ``error``, and ``box`` where photographs of digits are cut.
    """
    width = min(top_k, len(predictor.classes))
    sets = [] if predictor.set_threshold is None else ["prediction_set"]
    if isinstance(predictor, RecordPredictor):
        boxed = False
        heads = list(predictor.images)
        for name, kind in predictor.kinds.items():
            heads += [name, f"{name}_p"] if kind == "class" else [name]
    else:
        boxed = digits or (digits is None and predictor.reads_digits)
        heads = ["file", *(h for i in range(1, width + 1) for h in (f"label_{i}", f"p_{i}"))]
    yield [*heads, *sets, "unsure", "ood", "error", *["box"] * boxed]
    for one in predictions:
        cells = [*(one.files or {"file": one.file}).values()]
        if one.targets is None:
            cells += [cell for label, p in one.top for cell in (label, f"{p:.6f}")]
        for answer in (one.targets or {}).values():
            cells.append(answer.text)
            if answer.kind == "class":
                cells.append(f"{answer.top[0][1]:.6f}")
        cells += [""] * (len(heads) - len(cells))  # of what could not be read
        cells += ["|".join(one.prediction_set or ()) for _ in sets]
        cells += ["" if said is None else str(said).lower() for said in (one.unsure, one.ood)]
        yield [*cells, one.error or "", *[" ".join(map(str, one.box or ()))] * boxed]


def write(
    path: str | Path,
    predictor: Predictor | RecordPredictor,
    predictions: Iterable[Prediction],
    *,
    top_k: int,
    digits: bool | None = None,
    force: bool = False,
) -> Path:
    """Write predictions as :func:`rows` has them, as they come; the
    file is there whole or not at all. Raises BadArgument where one is there, but for ``force``."""
    out = files.fresh(Path(path), force, "csv")
    with files.whole_file(out) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        csv.writer(text, lineterminator="\n").writerows(rows(predictor, predictions, top_k, digits))
        text.detach()  # flushed, and left open for whole_file to sync
    return out


@dataclass
class Tally:
    """Predictions, counted as they pass: how many by class (of the leading target), how many of
    these are unsure; the first that could not be read, and how many these are."""

    classes: Counter[str] = field(default_factory=Counter)
    unsure: Counter[str] = field(default_factory=Counter)
    failed: list[Prediction] = field(default_factory=list)
    failures: int = 0

    def counted(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """The predictions as they are."""
        for one in predictions:
            if one.error is None:
                self.classes[one.label] += 1
                self.unsure[one.label] += bool(one.unsure)
            else:
                self.failures += 1
                if len(self.failed) < FAILED:
                    self.failed.append(one)
            yield one
