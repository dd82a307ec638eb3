"""A rehearsal does what a run does, on copies: nothing of it stays."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from convscope.data.loader import Loader
from convscope.recipe import Augment, Train
from convscope.training.rehearsal import Rehearsal, endless

TRAIN = Train(batch_size=20, lr=0.01, warmup=0.25, precision="float32", ema=0.9)


@pytest.fixture
def loader(tiny) -> Loader:
    train = tiny.splits["train"]
    pixels, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    return Loader.of_images(pixels, labels, torch.arange(50), 20, 0, Augment())


def test_nothing_of_it_stays(loader, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(400, 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rehearsal = Rehearsal(model, loader, TRAIN, loader.inputs)
    took = [rehearsal.step(), rehearsal.step(images=7), rehearsal.judge(30), rehearsal.save()]
    assert all(seconds > 0 for seconds in took)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    twin = rehearsal.state.model.state_dict()
    assert not torch.equal(twin["3.weight"], before["3.weight"])  # it did learn
    assert int(twin["1.num_batches_tracked"]) == 2
    assert not list(Path(tmp_path).glob("convscope-*"))


def test_batches_are_full_and_never_end(loader):
    batches = endless(loader)
    assert [len(next(batches)) for _ in range(9)] == [20] * 9
    few = replace(loader, indices=torch.arange(7))
    assert [len(next(endless(few))) for _ in range(3)] == [7] * 3
