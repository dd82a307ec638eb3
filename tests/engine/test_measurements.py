"""What is kept of a machine: when, with what versions; it ages, and what is damaged is none."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path

import pytest

from convscope.engine import measurements
from convscope.engine.measurements import Candidate, Measurement

TEXTS = "float32 channels_last plain", "bfloat16 channels_last fused"
PLAIN, HALF = map(Candidate.read, TEXTS)
ONE = Measurement(
    *("cnn", {"kernel_size": 5, "widths": [16, 32]}, 10, (100, 1, 28, 28), "cpu"),
    *(("auto", "auto", "auto"), 100, {PLAIN: 0.02, HALF: 0.008}, (), HALF, 0.9),
    *(measurements.today(), {"torch": "2.14.1"}, {"key": 0.009}),
)


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path))
    return tmp_path


def test_what_is_kept_is_read_again_until_it_is_forgotten():
    measurements.write("k", ONE)
    assert measurements.read("k") == ONE and measurements.all_kept() == [("k", ONE)]
    assert ONE.gain() == pytest.approx(2.5)
    measurements.forget("k")
    measurements.forget("k")
    assert measurements.read("k") is None and measurements.all_kept() == []


@pytest.mark.parametrize("days", [-1.5, measurements.DAYS + 0.1])
def test_what_is_too_old_or_of_tomorrow_counts_no_more(days):
    when = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
    measurements.write("k", replace(ONE, measured=when.isoformat()))
    assert measurements.read("k") is None and measurements.all_kept() == []
    young = when + datetime.timedelta(days=1 if days > 0 else -1)
    measurements.write("k", replace(ONE, measured=young.isoformat()))
    assert measurements.read("k") is not None


@pytest.mark.parametrize(
    "damage",
    [
        {"chosen": "float64 channels_last plain"},
        {"seconds": {TEXTS[1]: "fast"}},
        {"seconds": {TEXTS[1]: 0.0}},
        {"shape": [1, 2]},
        {"asked": "auto"},
        {"steps": {"key": None}},
        {"measured": None},
        {"unknown": 1},
    ],
)
def test_what_is_damaged_is_none(fresh, damage):
    measurements.write("k", ONE)
    (path,) = (fresh / "precision").iterdir()
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    assert measurements.read("k") is None
    path.write_text("{")
    assert measurements.read("k") is None
    path.write_text("[]")
    assert measurements.read("k") is None
