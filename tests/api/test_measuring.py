"""This machine: what was measured, what it led to, and anew."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from listening import notices

from convscope import api, machine
from convscope.engine import choice, measurements, timing
from convscope.engine.measurements import Candidate, Measurement

TEXTS = "float32 channels_last plain", "bfloat16 channels_last plain"
PLAIN, HALF = map(Candidate.read, TEXTS)
ONE = Measurement(
    *("cnn", {"kernel_size": 3}, 3, (8, 1, 12, 12), "cpu", ("auto", "channels_last", "plain"), 8),
    *({PLAIN: 0.02, HALF: 0.008}, (), HALF, 0.9, measurements.today(), {"torch": "2.14.1"}),
)


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path))
    monkeypatch.setattr(timing, "QUIET", 1e9)
    monkeypatch.setattr(choice, "PATIENCE", 600.0)
    return tmp_path


def test_what_was_measured_and_what_it_led_to():
    measurements.write("k", ONE)
    found = api.describe_machine()
    assert found["processor"] == machine.processor() and found["kept_days"] == measurements.DAYS
    (one,) = found["measurements"]
    assert one["gain"] == pytest.approx(2.5) and one["quiet"] == 0.9
    assert one["said"] == "bfloat16, 2.5x as fast as float32 here"
    assert json.loads(json.dumps(found))["measurements"][0]["seconds"] == ONE.as_json()["seconds"]


@pytest.mark.parametrize("has", [{"avx512_bf16", "avx2"}, {"avx2"}, set()])
def test_the_prior_is_that_of_the_processor(monkeypatch, has):
    monkeypatch.setattr(machine, "features", lambda: frozenset(has))
    found = api.describe_machine()
    fast = "avx512_bf16" in has
    assert found["prior"].split()[0] == ("bfloat16" if fast else "float32")
    assert list(found["prior_why"]) == (["avx512_bf16"] if fast else [])
    assert found["measurements"] == [] and found["instructions"] == sorted(has)


def test_again_measures_each_network_once_more_and_drops_what_it_cannot_build(events):
    seen, emit = events
    measurements.write("k", replace(ONE, measured="2026-01-01T00:00:00+00:00"))  # too old
    measurements.write("l", replace(ONE, quiet=0.1))
    measurements.write("m", replace(ONE, network="mine.py:Net"))
    found = api.describe_machine(again=True, emit=emit)
    (one,) = found["measurements"]
    assert (one["network"], one["shape"], one["arguments"]) == (
        *("cnn", (8, 1, 12, 12), {"kernel_size": 3}),
    )
    assert one["asked"] == ("auto", "channels_last", "plain") and one["quiet"] == 1.0
    assert one["seconds"].keys() <= {*TEXTS} and one["seconds"] != ONE.as_json()["seconds"]
    own, measured = sorted(notices(seen), reverse=True)
    assert own.startswith("mine.py:Net: dropped") and "cnn, 8 images of 1x12x12: " in measured


def test_again_with_nothing_kept_measures_the_demos_network(monkeypatch):
    wanted = []
    monkeypatch.setattr(choice, "choose", lambda *given: wanted.append(given))
    api.describe_machine(again=True)
    ((recipe, network, batch, _, _),) = wanted
    assert recipe.model.name == "cnn" and batch.inputs["image"].shape == (100, 1, 28, 28)
    assert recipe.train.precision == "auto" and len(batch) == recipe.train.batch_size == 100
    assert sum(p.numel() for p in network.parameters()) == 29_034
