"""``predictions.csv``: what was said of each test image, a row an image."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convscope import files
from convscope.data.columns import Columns
from convscope.errors import RunError
from convscope.evaluation import targets


class PredictionRow(NamedTuple):
    """A row of ``predictions.csv``: the fields are its header, both classes are names."""

    file_or_index: str
    label: str
    predicted: str
    p_predicted: float
    p_label: float


def write_predictions(
    path: Path,
    found: Mapping[str, np.ndarray],
    truth: Mapping[str, np.ndarray],
    columns: Columns,
    temperatures: Mapping[str, float],
    *,
    names: Sequence[str] | None = None,
) -> None:
    """Write ``predictions.csv`` whole or not at all: what was ``found`` of each target beside the
    truth, the leading one first; probabilities are after the temperature of each.

    ``names`` are the files the images come from; without them a row holds the image's index.
    """
    main = targets.main_target(columns)
    table = {"file_or_index": list(names or range(len(truth[main])))}
    for name in (main, *(one for one in found if one != main)):
        heat = temperatures.get(name, 1.0)
        cells = targets.cells(columns[name], found[name], truth[name], heat)
        table |= {f"{name}_{key}" if name != main else key: cell for key, cell in cells.items()}
    with files.whole_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
        text.detach()  # flushed, and left open for whole_file to sync


def read_predictions(path: Path) -> list[PredictionRow]:
    """Read ``predictions.csv``, of which the leading target alone.

    Raises RunError, naming file and row, where it is missing, cut short or edited.
    """
    remedy = "write it anew with: convscope eval RUN"
    try:
        text = path.read_bytes().decode("utf-8", errors="surrogateescape")
    except OSError as why:
        raise RunError(f"{path}: cannot be read ({why.strerror}); {remedy}") from None
    if not text.endswith("\n"):
        raise RunError(f"{path}: is damaged (cut short); {remedy}")
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    found: list[PredictionRow] = []
    try:
        header = next(rows)
        if tuple(header[: len(PredictionRow._fields)]) != PredictionRow._fields:
            raise ValueError(f"its header is not {','.join(PredictionRow._fields)}")
        for cells in rows:
            if len(cells) != len(header):
                raise ValueError(f"it has {len(cells)} cells, its header {len(header)}")
            name, label, predicted, first, second, *_ = cells
            row = PredictionRow(name, label, predicted, _probability(first), _probability(second))
            found.append(row)
    except (ValueError, csv.Error) as why:
        raise RunError(f"{path}: is damaged (row {len(found) + 1}: {why}); {remedy}") from None
    return found


def _probability(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(f"{text} is no probability")
    return value
