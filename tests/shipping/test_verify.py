"""A file held against its golden records and its run, anywhere, without torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from exported import exported
from onnx import numpy_helper
from quick import python

import convscope as cs
from convscope.data import sources
from convscope.errors import BadArgument, ConvscopeError
from convscope.shipping import golden


@pytest.fixture
def file(bars, workplace: Path) -> Path:
    return exported(bars, workplace / "a")


def worst(found: cs.Verified) -> dict[str, float]:
    return {one.what: one.worst for one in found.checks if not one.ok}


def changed(file: Path, factor: float) -> None:
    """Multiply the last layer's weights."""
    model = onnx.load(file)
    (last,) = (one for one in model.graph.initializer if one.name == "head.1.weight")
    last.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(last) * factor, last.name))
    file.write_bytes(model.SerializeToString())


def test_a_file_is_what_its_run_said(file: Path) -> None:
    found = cs.verify(file, "a")
    assert found.ok and found.notes == ()
    assert [one.n for one in found.checks] == [16, 16, 16, 8, 5, 60, 60]
    assert {one["what"]: one["ok"] for one in found.as_json()["checks"]}[
        "predictions.csv, probabilities"
    ]


def test_other_weights_are_found_by_golden_records_and_by_predictions(file: Path) -> None:
    changed(file, 1.01)
    wrong = worst(cs.verify(file, "a"))
    assert {"golden records, probabilities", "predictions.csv, probabilities"} <= set(wrong)
    changed(file, -1 / 1.01)
    wrong = worst(cs.verify(file, "a"))
    assert wrong["golden records, another top-1"] >= 15
    assert wrong["predictions.csv, another top-1"] >= 55


def test_another_run_and_a_calibration_anew_are_told(bars, file: Path) -> None:
    info = json.loads(Path("a/model.json").read_text())
    Path("a/model.json").write_text(json.dumps(info | {"temperature": 0.5}))
    wrong = worst(cs.verify(file, "a"))
    assert wrong == {"parts of model.json that differ (temperature)": 1}


def test_what_is_not_there_is_said(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden.path_of(file).unlink()
    with pytest.raises(BadArgument, match="has no golden records beside it .*or name its run"):
        cs.verify(file)

    def gone(*rest: object, **named: object) -> None:
        raise cs.DataError("nowhere to be had")

    with monkeypatch.context() as patch:
        patch.setattr(sources, "open_data", gone)
        found = cs.verify(file, "a")
    assert found.ok and len(found.checks) == 1
    assert "golden records were not repeated" in found.notes[0]
    assert "nowhere to be had" in found.notes[1] and "were not repeated" in found.notes[1]
    rows = Path("a/predictions.csv").read_text().splitlines(keepends=True)
    Path("a/predictions.csv").write_text("".join(rows[:-1]))
    with pytest.raises(ConvscopeError, match=r"has 59 rows for 60 test images; write it anew"):
        cs.verify(file, "a")


def test_damaged_golden_records_and_graphs_are_named(file: Path) -> None:
    beside = golden.path_of(file)
    content = beside.read_bytes()
    for damaged in (content[:2000], b"", b"PK"):
        beside.write_bytes(damaged)
        with pytest.raises(BadArgument, match=r"model\.golden\.npz: is damaged"):
            cs.verify(file)
    for others in ({"inputs/other": np.zeros(3)}, {"inputs/image": np.zeros((2, 3, 4, 4))}):
        with beside.open("wb") as opened:
            np.savez(opened, **others)
        with pytest.raises(BadArgument, match=r"model\.golden\.npz: is not of this file"):
            cs.verify(file)
    model = onnx.load(file)
    model.graph.node[-1].input[0] = "nothing"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(BadArgument, match="is no valid ONNX"):
        cs.verify(file)


WITHOUT_TORCH = """
import sys
for name in ("torch", "torchvision", "matplotlib"):
    sys.modules[name] = None  # importing it fails
from pathlib import Path
from convscope.cli import main
from convscope.data import pack, sources
folder = Path(sys.argv[1])
sources.open_data = lambda *rest, **named: pack.open_pack(folder)
sys.argv = ["convscope", "verify", "a/model.onnx", "a", *sys.argv[2:]]
main()
"""


def test_the_command_needs_no_torch_and_says_by_its_exit_what_it_found(bars, file: Path) -> None:
    out, err = (process := python(WITHOUT_TORCH, bars.folder, "--json")).communicate(timeout=120)
    assert process.returncode == 0, err
    found = json.loads(out)
    assert found["ok"] and len(found["checks"]) == 7, found["notes"]
    changed(file, 2)
    out, _ = (process := python(WITHOUT_TORCH, bars.folder)).communicate(timeout=120)
    assert process.returncode == 1 and "golden records, probabilities: NOT within 0.0001" in out
