"""Checkpoints: whole or not at all, told apart when damaged, exact when restored."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
import safetensors.torch
import torch
from power import Disk
from safetensors import SafetensorError
from torch import nn

from convscope.errors import ConvscopeError, RunError
from convscope.events import Notice, silent
from convscope.recipe import Train
from convscope.training import checkpoint, optim
from convscope.training.checkpoint import Position, State


def network(seed: int = 0, kind: str = "adamw", **more: object) -> State:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
    model.to(memory_format=torch.channels_last)
    train = Train(optimizer=kind, lr=0.1, momentum=0.9 if kind == "sgd" else None, **more)
    return State.of(model, optim.optimizer(model, train), train)


def step(run: State, seed: int) -> None:
    torch.manual_seed(seed)
    run.optimizer.zero_grad()
    run.model(torch.randn(5, 2, 4, 4)).square().mean().backward()
    run.optimizer.step()
    if run.average is not None:
        optim.follow(run.average, run.model, 0.9, seed)
    if run.best is not None and seed % 2:
        run.remember()


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize(
    "more", [{}, {"ema": 0.9}, {"early_stopping": 2}, {"ema": 0.9, "early_stopping": 2}]
)
def test_a_restored_run_goes_on_to_the_bit(tmp_path, kind, more):
    run = network(0, kind, **more)
    for seed in range(3):
        step(run, seed)
    position = Position(
        epoch=1, step=3, loss_sum=0.1 + 0.2, correct=7, seen=15, history=[{"epoch": 1}]
    )
    checkpoint.save(tmp_path / "checkpoint", position, run, 3)
    again = network(99, kind, **more)
    assert checkpoint.restore(tmp_path / "checkpoint", again, silent) == position
    for seed in range(3, 6):
        step(run, seed)
        step(again, seed)
    run.keep()
    again.keep()
    for which, one in run.networks().items():
        other = again.networks()[which].state_dict()
        for name, value in one.state_dict().items():
            assert torch.equal(value, other[name]), (which, name)
    assert set(run.networks()) == {
        "model",
        *({"average"} if "ema" in more else ()),
        *({"best"} if "early_stopping" in more else ()),
    }


def test_nothing_saved_yet_is_no_error(tmp_path):
    assert checkpoint.restore(tmp_path / "checkpoint", network(), silent) is None


def test_the_last_two_are_kept(tmp_path):
    run = network()
    for n in range(5):
        checkpoint.save(tmp_path, Position(step=n), run, n)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000000003", "step-000000004"]


def test_one_that_was_passed_over_does_not_count_as_kept(tmp_path):
    run = network()
    for n in (2, 3):
        checkpoint.save(tmp_path, Position(step=n), run, n)
    (tmp_path / "step-000000003" / "state.json").write_text("")
    for n in (1, 2, 3):  # as a run goes on that fell back to the beginning
        checkpoint.save(tmp_path, Position(step=n), run, n)
        assert checkpoint.restore(tmp_path, run, silent) == Position(step=n)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000000002", "step-000000003"]


def test_no_pickle_is_written(tmp_path):
    path = checkpoint.save(tmp_path, Position(), network(), 1)
    assert sorted(p.name for p in path.iterdir()) == ["state.json", "state.safetensors"]


@pytest.mark.parametrize("file", ["state.json", "state.safetensors"])
def test_a_damaged_one_is_passed_over_with_a_warning(tmp_path, file, events):
    """200 places to cut it short, 100 single bits to flip: every one is noticed, the older one
    used."""
    run = network()
    checkpoint.save(tmp_path, Position(step=1), run, 1)
    path = checkpoint.save(tmp_path, Position(step=2), run, 2) / file
    whole = path.read_bytes()
    picks = random.Random(0)
    damaged = [whole[: picks.randrange(len(whole))] for _ in range(200)]
    for _ in range(100):
        bit = picks.randrange(8 * len(whole))
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(changed))
    seen, emit = events
    for content in damaged:
        seen.clear()
        path.write_bytes(content)
        found = checkpoint.restore(tmp_path, run, emit)
        assert found == Position(step=1)
        (notice,) = seen
        assert isinstance(notice, Notice) and notice.warning
        assert "step-000000002: passed over" in notice.text
    # The run goes on, comes to the same step again, and puts a whole one in its place.
    checkpoint.save(tmp_path, Position(step=2), run, 2)
    assert checkpoint.restore(tmp_path, run, silent) == Position(step=2)


def test_all_damaged_is_an_error_and_never_a_fresh_start(tmp_path):
    path = checkpoint.save(tmp_path, Position(), network(), 1)
    (path / "state.json").write_text("")
    with pytest.raises(RunError, match="holds no whole checkpoint to go on from"):
        checkpoint.restore(tmp_path, network(), silent)


def test_a_full_disk_in_the_middle_of_a_save(tmp_path, monkeypatch):
    """The old checkpoint stays whole wherever the disk fills up, and nothing half-written stays."""
    run = network()
    checkpoint.save(tmp_path, Position(step=1), run, 1)
    save_file = safetensors.torch.save_file

    def full(tensors: dict[str, torch.Tensor], path: Path) -> None:
        save_file(tensors, path)
        os.truncate(path, path.stat().st_size // 2)
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(ConvscopeError, match=r"step-000000002: no room left on the disk"):
        checkpoint.save(tmp_path, Position(step=2), run, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000001"]
    assert checkpoint.restore(tmp_path, run, silent) == Position(step=1)


def save_thrice(folder: Path, disk: Disk, cut: Path) -> None:
    """Save three checkpoints; after each, and at every moment between, none that was acknowledged
    is lost."""
    run = network()
    acknowledged = 0

    def check() -> None:
        for entries_survive in (False, True):
            left = disk.after_power_cut(cut, entries_survive)
            try:
                found = checkpoint.restore(left / "checkpoint", network(1), silent)
            except RunError:
                found = None
            assert (found.step if found else 0) >= acknowledged, "lost"

    disk.at_every_call = check
    for n in (1, 2, 3):
        checkpoint.save(folder / "checkpoint", Position(step=n), run, n)
        acknowledged = n
        check()


FSYNCS = (
    1 + 3 * 4
)  # the folder's own entry; then two files, their folder and its parent, three times


def test_a_power_cut_loses_no_acknowledged_checkpoint(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    disk = Disk(tmp_path / "run")
    monkeypatch.setattr(os, "fsync", disk.fsync)
    save_thrice(tmp_path / "run", disk, tmp_path / "cut")
    assert disk.calls == FSYNCS


@pytest.mark.parametrize("dropped", range(FSYNCS))
def test_every_fsync_of_a_save_is_needed(tmp_path, monkeypatch, dropped):
    (tmp_path / "run").mkdir()
    disk = Disk(tmp_path / "run", drop=dropped)
    monkeypatch.setattr(os, "fsync", disk.fsync)
    with pytest.raises(AssertionError, match="lost"):
        save_thrice(tmp_path / "run", disk, tmp_path / "cut")


def test_the_state_is_readable_json(tmp_path):
    path = checkpoint.save(tmp_path, Position(epoch=2), network(), 1)
    state = json.loads((path / "state.json").read_text())
    assert state["position"]["epoch"] == 2
    assert set(state) == {"position", "weights_sha256", "sha256"}


class Tied(nn.Module):
    def __init__(self, tie: bool) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.b.weight = self.a.weight if tie else nn.Parameter(self.a.weight.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x).relu())


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_tied_weights_are_averaged_remembered_and_restored_as_one(tmp_path, kind):
    def begun() -> State:
        torch.manual_seed(0)
        train = Train(optimizer=kind, lr=0.1, momentum=0.9 if kind == "sgd" else None, ema=0.5,
                      early_stopping=2)  # fmt: skip
        model = Tied(tie=True)
        return State.of(model, optim.optimizer(model, train), train)

    def learn(run: State, seed: int) -> None:
        torch.manual_seed(seed)
        run.optimizer.zero_grad()
        run.model(torch.randn(5, 6)).square().mean().backward()
        run.optimizer.step()
        optim.follow(run.average, run.model, 0.5, seed)
        run.remember()

    run = begun()
    expected = run.average.a.weight.detach().clone()
    for seed in range(3):
        learn(run, seed)
        share = 1 - min(0.5, (1 + seed) / (10 + seed))
        expected.lerp_(run.model.a.weight.detach(), share)
    assert torch.allclose(run.average.a.weight, expected, atol=1e-6)
    assert torch.equal(run.best.a.weight, run.average.a.weight)
    checkpoint.save(tmp_path, Position(step=3), run, 3)
    again = begun()
    checkpoint.restore(tmp_path, again, silent)
    for one in (run, again):
        learn(one, 3)
        one.keep()
    for name, network in run.networks().items():
        other = again.networks()[name]
        assert other.b.weight is other.a.weight
        for key, value in network.state_dict().items():
            assert torch.equal(other.state_dict()[key], value), (name, key)
