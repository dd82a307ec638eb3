"""The plan: measured once a shape, right before fast, PyTorch's algorithm unless clearly worse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from convscope import kernels
from convscope.engine import autotune, convolution, measurements, timing, tuned_network
from convscope.events import silent
from convscope.models import build

pytestmark = pytest.mark.skipif(not kernels.available(), reason="no kernels on this machine")


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path))
    monkeypatch.setattr(timing, "QUIET", 1e9)  # a machine on which nobody else is at work
    monkeypatch.setattr(autotune, "PATIENCE", 600.0)
    monkeypatch.setattr(autotune, "LIMIT", 600.0)
    return tmp_path


class Odd(nn.Module):
    """A network with what a plan must leave alone."""

    def __init__(self) -> None:
        super().__init__()
        self.usual = nn.Conv2d(3, 8, 3, padding=1)
        self.shared = nn.Conv2d(8, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, groups=4)
        self.same = nn.Conv2d(8, 8, 3, padding="same")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.shared(self.shared(self.usual(x)))
        return self.same(self.grouped(x)).mean((2, 3))


def test_shapes_are_those_of_a_step():
    found = autotune.shapes(build("cnn", 10, 1, (12, 12)), torch.rand(4, 1, 12, 12))
    assert {name: (shape, learns) for name, (_, shape, learns) in found.items()} == {
        "features.0": ((4, 1, 12, 12), False),
        "features.4": ((4, 16, 6, 6), True),
        "head.1": ((4, 288), True),
    }
    odd = autotune.shapes(Odd(), torch.rand(2, 3, 6, 6))
    assert list(odd) == ["usual", "grouped", "same"]


def test_a_plan_is_measured_once_and_kept_by_shape(fresh, monkeypatch, events):
    _, emit = events
    network, images = build("cnn", 10, 1, (12, 12)), torch.rand(4, 1, 12, 12)
    first = autotune.plan(network, images, emit)
    assert first.split()[0] == "fused"
    (kept,) = fresh.glob("precision/layers-*.json")
    table = json.loads(kept.read_text())
    parts = [algorithms for one in table.values() for algorithms in one["parts"].values()]
    assert len(table) == 3 and all("aten" in algorithms for algorithms in parts)
    monkeypatch.setattr(autotune, "measure", lambda *rest: pytest.fail("measured again"))
    assert autotune.plan(network, images, emit) == first


def test_what_is_measured_in_one_format_is_not_taken_for_the_other(fresh, monkeypatch):
    network, images = nn.Sequential(nn.Conv2d(8, 8, 3)), torch.rand(4, 8, 6, 6)
    asked: list[torch.dtype] = []

    def timed(layer, shape, learns, dtype, limit):
        asked.append(dtype)
        best = "winograd" if dtype is torch.float32 else "im2col"
        suitable = autotune._suitable(layer, learns, dtype)
        parts = {p: {w: 0.1 if w == best else 1.0 for w in suitable[p]} for p in suitable}
        return autotune.Measured(parts, True)

    monkeypatch.setattr(autotune, "measure", timed)
    for _ in range(2):  # the second time from the cache
        for dtype, algorithm in ((torch.float32, "winograd"), (torch.bfloat16, "im2col")):
            assert autotune.plan(network, images, silent, dtype).split("=")[1].startswith(algorithm)
    assert asked == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("damage", ["{", "[]", '{"x": 1}'])
def test_a_damaged_table_is_measured_anew(fresh, damage):
    network, images = build("cnn", 10, 1, (12, 12)), torch.rand(4, 1, 12, 12)
    autotune.plan(network, images, silent)
    (kept,) = fresh.glob("precision/layers-*.json")
    kept.write_text(damage)
    assert autotune.plan(network, images, silent).startswith("fused")


def test_what_others_spoilt_is_pytorchs_own_way_and_not_kept(fresh, monkeypatch):
    monkeypatch.setattr(timing, "QUIET", -1.0)
    monkeypatch.setattr(timing, "SLACK", -1.0)
    monkeypatch.setattr(autotune, "PATIENCE", 0.01)
    network, images = build("cnn", 10, 1, (12, 12)), torch.rand(4, 1, 12, 12)
    assert autotune.plan(network, images, silent) == "fused"
    assert not [*fresh.glob("precision/layers-*.json")]


def test_once_the_time_is_over_no_layer_is_run(fresh, monkeypatch):
    network, images = build("cnn", 10, 1, (12, 12)), torch.rand(4, 1, 12, 12)
    monkeypatch.setattr(autotune, "measure", lambda *rest: pytest.fail("measured"))
    assert autotune.plan(network, images, silent, limit=0.0) == "fused"
    assert not [*fresh.glob("precision/layers-*.json")]


def test_a_table_ages(fresh, monkeypatch):
    network, images = build("cnn", 10, 1, (12, 12)), torch.rand(4, 1, 12, 12)
    autotune.plan(network, images, silent)
    measured, measure = [], autotune.measure
    monkeypatch.setattr(autotune, "measure", lambda *r: measured.append(r) or measure(*r))
    autotune.plan(network, images, silent)
    assert not measured
    monkeypatch.setattr(measurements, "DAYS", -1)
    autotune.plan(network, images, silent)
    assert len(measured) == 3


def test_timings_of_one_format_are_not_taken_for_the_others(fresh, monkeypatch):
    network, images = build("cnn", 10, 1, (12, 12)), torch.rand(4, 1, 12, 12)
    dtypes, measure = [], autotune.measure
    monkeypatch.setattr(autotune, "measure", lambda *r: dtypes.append(r[3]) or measure(*r))
    for _ in range(2):
        for dtype in (torch.float32, torch.bfloat16):
            autotune.plan(network, images, silent, dtype)
    assert dtypes == [torch.float32] * 3 + [torch.bfloat16] * 3


def test_a_table_without_a_way_that_suits_is_measured_anew(fresh, monkeypatch):
    """Such as one that was kept before there was that algorithm."""
    network, images = nn.Sequential(nn.Conv2d(8, 8, 3)), torch.rand(4, 8, 6, 6)
    autotune.plan(network, images, silent)
    (kept,) = fresh.glob("precision/layers-*.json")
    table = json.loads(kept.read_text())
    for timings in table.values():
        del timings["parts"]["forward"]["winograd"]
    kept.write_text(json.dumps(table))
    measured, measure = [], autotune.measure
    monkeypatch.setattr(autotune, "measure", lambda *r: measured.append(r) or measure(*r))
    autotune.plan(network, images, silent)
    autotune.plan(network, images, silent)
    assert len(measured) == 1


def test_the_fastest_right_way_is_taken(fresh, monkeypatch, events):
    _, emit = events
    times = {
        "forward": {"aten": 1.0, "winograd": 0.5, "im2col": None},
        "grad_input": {"aten": 1.0, "flipped": 0.97},
        "grad_weight": {"aten": 1.0, "im2col": 0.1},
    }
    monkeypatch.setattr(autotune, "measure", lambda *rest: autotune.Measured(times, True))
    text = autotune.plan(nn.Sequential(nn.Conv2d(8, 8, 3)), torch.rand(2, 8, 6, 6), emit)
    assert text == "fused 0=winograd,aten,im2col"
    twin = tuned_network.engine(nn.Sequential(nn.Conv2d(8, 8, 3)), text)
    assert twin[0].algorithms == ("winograd", "aten", "im2col")


def test_a_way_that_computes_something_else_is_not_taken(fresh, monkeypatch):
    output = convolution.forward

    def wrong(x, weight, bias, stride, padding, algorithm):
        return output(x, weight, bias, stride, padding, "aten") * (
            1.01 if algorithm == "im2col" else 1
        )

    monkeypatch.setattr(convolution, "forward", wrong)
    for dtype in (torch.float32, torch.bfloat16):
        layer, limit = nn.Conv2d(8, 8, 3), autotune.LIMIT
        found = autotune.measure(layer, (2, 8, 6, 6), True, dtype, limit).parts
        assert (found["forward"]["im2col"] is None) == (dtype is torch.float32)
        assert found["forward"]["aten"] is not None


def test_where_pytorchs_own_way_is_wrong_another_is_taken():
    algorithms = {"aten": None, "im2col": 3.0, "flipped": 2.0}
    assert autotune.fastest(algorithms) == "flipped"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layer", [Odd().usual, Odd().grouped, Odd().same, nn.Linear(8, 3)])
def test_every_kind_of_layer_can_be_measured(layer, dtype):
    shape = (2, 8) if isinstance(layer, nn.Linear) else (2, layer.in_channels, 6, 6)
    found = autotune.measure(layer, shape, True, dtype).parts
    assert set(found) in ({"forward", "grad_input", "grad_weight"}, set())
    for algorithms in found.values():
        assert all(seconds is None or seconds > 0 for seconds in algorithms.values())
