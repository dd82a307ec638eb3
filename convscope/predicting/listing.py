"""Predictions as the rows of a CSV or Parquet file, and counted."""

from __future__ import annotations

import csv
import importlib.util
import io
import itertools
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from convscope import files
from convscope.errors import BadArgument
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
    said = {None: "", False: "false", True: "true"}
    for one in predictions:
        cells = [one.file] if one.files is None else [*one.files.values()]
        if one.targets is None:
            for label, p in one.top:
                cells += (label, f"{p:.6f}")
        for answer in (one.targets or {}).values():
            cells.append(answer.text)
            if answer.kind == "class":
                cells.append(f"{answer.top[0][1]:.6f}")
        if len(cells) < len(heads):  # of what could not be read
            cells += [""] * (len(heads) - len(cells))
        if sets:
            cells.append("|".join(one.prediction_set or ()))
        cells += (said[one.unsure], said[one.ood], one.error or "")
        if boxed:
            cells.append(" ".join(map(str, one.box or ())))
        yield cells


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
        write_csv(file, rows(predictor, predictions, top_k, digits))
    return out


def write_csv(file: IO[bytes], found: Iterable[Iterable[str]]) -> None:
    """Write rows into a file that is open; names that are no text keep their bytes."""
    rows = iter(found)
    while some := list(itertools.islice(rows, 1000)):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(some)
        file.write(text.getvalue().encode("utf-8", "surrogateescape"))


def write_parquet(file: IO[bytes], found: Iterable[Sequence[str]], numbers: Container[str]) -> None:
    """The same as Parquet: what is in the columns of these names is a number, ``unsure`` and
    ``ood`` are true or false, all else is text, in which bytes that are no text are escaped.
    An empty cell is null."""
    import pyarrow as arrow
    from pyarrow import parquet

    heads, *cells = found
    columns: dict[str, Any] = {}
    for at, name in enumerate(heads):
        values = [row[at] for row in cells]
        if name in numbers:
            columns[name] = arrow.array([float(one) if one else None for one in values], "double")
        elif name in ("unsure", "ood"):
            said = [None if one == "" else one == "true" for one in values]
            columns[name] = arrow.array(said, "bool")
        else:
            text = [one.encode("utf-8", "backslashreplace").decode() or None for one in values]
            columns[name] = arrow.array(text, "string")
    parquet.write_table(arrow.table(columns), file)


def need_pyarrow() -> None:
    """Raise BadArgument, which names the extra, where Parquet cannot be written."""
    if importlib.util.find_spec("pyarrow") is None:
        remedy = "install it: pip install 'convscope[tables]'; or take csv"
        raise BadArgument("format", "parquet", "needs pyarrow, which is not installed", remedy)


def numbers(predictor: Predictor | RecordPredictor, top_k: int) -> set[str]:
    """The columns of :func:`rows` that hold numbers: probabilities, and targets that are one."""
    if not isinstance(predictor, RecordPredictor):
        return {f"p_{i}" for i in range(1, top_k + 1)}
    kinds = predictor.kinds
    return {name for name, kind in kinds.items() if kind == "number"} | {
        f"{name}_p" for name, kind in kinds.items() if kind == "class"
    }


@dataclass
class Tally:
    """Predictions, counted as they pass: how many by class (of the leading target), how many of
    these are unsure, how many were cut out of photographs; the first that could not be read, at
    ``most`` so many, and how many these are."""

    classes: Counter[str] = field(default_factory=Counter)
    unsure: Counter[str] = field(default_factory=Counter)
    failed: list[Prediction] = field(default_factory=list)
    failures: int = 0
    cut: int = 0
    most: int = FAILED

    def counted(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """The predictions as they are."""
        for one in predictions:
            if one.error is None:
                label = one.label
                self.classes[label] += 1
                if one.unsure:
                    self.unsure[label] += 1
                self.cut += one.box is not None
            else:
                self.failures += 1
                if len(self.failed) < self.most:
                    self.failed.append(one)
            yield one
