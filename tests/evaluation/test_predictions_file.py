"""``predictions.csv``, written, read and damaged."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from convscope.data.columns import Class
from convscope.errors import RunError
from convscope.evaluation import metrics
from convscope.evaluation.predictions_file import (
    PredictionRow,
    read_predictions,
    write_predictions,
)


def written(path: Path, names: list[str] | None = None) -> Path:
    logits = np.array([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 40.0]], np.float32)
    found, truth = {"label": logits}, {"label": np.array([0, 2, 2])}
    columns = {"label": Class(('a,"b', "<b>", "ü"))}
    write_predictions(path, found, truth, columns, {"label": 2.0}, names=names)
    return path


def test_writes_a_row_an_image_after_temperature(tmp_path: Path) -> None:
    path = written(tmp_path / "predictions.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    p = metrics.softmax(np.array([[2.0, 0, 0], [0, 3.0, 0]]), 2.0)
    assert rows[0] == ["file_or_index", "label", "predicted", "p_predicted", "p_label"]
    assert rows[1] == ["0", 'a,"b', 'a,"b', f"{p[0, 0]:.6g}", f"{p[0, 0]:.6g}"]
    assert rows[2] == ["1", "ü", "<b>", f"{p[1, 1]:.6g}", f"{p[1, 2]:.6g}"]
    assert len(rows) == 4


def test_reads_what_it_wrote(tmp_path: Path) -> None:
    names = [
        "a b.png",
        "new\nline.png",
        "bad-\udcff.png",
    ]  # the last as Linux gives a name that is not UTF-8
    rows = read_predictions(written(tmp_path / "p.csv", names))
    assert [row.file_or_index for row in rows] == names
    assert rows[2] == PredictionRow(names[2], "ü", "ü", 1.0, 1.0)
    assert rows[1].p_predicted == pytest.approx(0.691421, abs=1e-4)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-2], r"cut short.*convscope eval"),
        (lambda text: text.replace("p_label", "p"), "header is not file_or_index,label"),
        (lambda text: text.replace("\n1,", "\n1,,"), r"row 2: it has 6 cells, its header 5"),
        (lambda text: text.replace("1,1\n", "1\n"), r"row 3: it has 4 cells, its header 5"),
        (lambda text: text.replace("1,1\n", "1,high\n"), r"row 3: could not convert"),
        (lambda text: text.replace("1,1\n", "1,1.5\n"), r"row 3: 1.5 is no probability"),
        (lambda text: text.replace("1,1\n", "nan,1\n"), r"row 3: nan is no probability"),
        (lambda text: "", "cut short"),
        (lambda text: "\n", "header"),
    ],
)
def test_a_damaged_file_says_where(tmp_path: Path, damage: object, message: str) -> None:
    path = written(tmp_path / "p.csv")
    assert callable(damage)
    path.write_bytes(damage(path.read_text("utf-8")).encode())
    with pytest.raises(RunError, match=message) as caught:
        read_predictions(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"p\.csv: cannot be read .*convscope eval"):
        read_predictions(tmp_path / "p.csv")
