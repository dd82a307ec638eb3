"""docs/batch.md as a stranger reads it: its commands and its Python run as they are written; inside
Ray and Spark where these are installed, which CI's environment does not have.

Last run: `python -m pytest -m slow tests/test_batch.py` with ray 2.60.0 and pyspark 4.3.0 on Java
17, two cores of an AMD EPYC (family 25, model 17, Zen 4), 2026-11-30: 2 passed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import documents
import pytest
from exported import exported
from PIL import Image

PAGE = (Path(__file__).parent.parent / "docs" / "batch.md").read_text(encoding="utf-8")
BLOCKS = documents.blocks(PAGE)
RAY, SPARK = (
    next(
        block for block in BLOCKS if f"import {name}" in block.text or f"from {name}" in block.text
    )
    for name in ("ray", "pyspark")
)


@pytest.fixture
def photos(bars, workplace: Path) -> Path:
    """A run as ``runs/a``, its ``model.onnx``, and 30 images in ``photos``."""
    file = exported(bars, workplace / "runs" / "a")
    shutil.copy(file, "model.onnx")
    Path("photos").mkdir()
    for n in range(30):
        Image.fromarray(bars.splits["test"].images[n, 0]).save(f"photos/{n:02}.png")
    return workplace


def test_what_is_written_runs(photos):
    reader = documents.Reader()
    for block in BLOCKS:
        if block not in (RAY, SPARK):
            printed = reader.run(block, lambda line: f"{line} --workers 1")
            assert block.said is None or documents.agrees(block.said, printed), printed
    assert {row.split(",")[0] for row in _lines("answers/predictions/part-00000.csv")} == {
        f"photos/{n:02}.png" for n in range(30)
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()[1:]


@pytest.mark.slow
@pytest.mark.parametrize("name, block", [("ray", RAY), ("pyspark", SPARK)])
def test_inside_an_engine_of_many_machines_it_says_the_same(photos, monkeypatch, name, block):
    pytest.importorskip(name)
    documents.command("convscope predict model.onnx photos --into answers --workers 1 --top-k 1")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    Path("engine.py").write_text(block.text)  # a process of its own, which ends what it began
    subprocess.run([sys.executable, "-W", "ignore", "engine.py"], check=True, timeout=900)
    from pyarrow import parquet

    table = parquet.read_table(f"{name.removeprefix('py')}-answers").to_pylist()
    found = {Path(row["path"]).name: (row["label"], row["p"], row["error"]) for row in table}
    wanted = [row.split(",") for row in _lines("answers/predictions/part-00000.csv")]
    assert len(table) == len(found) == len(wanted) == 30
    for file, label, p, *_ in wanted:
        assert found[Path(file).name] == (label, pytest.approx(float(p), abs=1e-5), "")
