"""A run's network as a predictor: loaded once, and lazily where it was sent to."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from quick import QUICK
from torch import nn

import convscope as cs
from convscope.errors import BadArgument, RunError
from convscope.evaluation import metrics
from convscope.models import store


def test_pickled_it_is_the_path_of_its_run(bars, monkeypatch, tmp_path):
    run = cs.train("mnist", **QUICK)
    trained = cs.load(run.path)
    sent = pickle.dumps(trained)
    assert len(sent) < run.path.joinpath("model.safetensors").stat().st_size / 2
    read: list[object] = []
    real = store.load
    monkeypatch.setattr(store, "load", lambda *given: read.append(given) or real(*given))
    again = pickle.loads(sent)
    assert (again.classes, again.size, again.calibration) == (
        trained.classes, trained.size, trained.calibration
    )  # fmt: skip
    assert not read  # nothing is read before it is asked
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)  # as in another process
    images = bars.splits["test"].images
    assert again.predict(images) == trained.predict(images) and len(read) == 1
    assert again.network is again.network and len(read) == 1
    (again.logits.place.path / "model.safetensors").unlink()
    with pytest.raises(RunError, match="is not there; restore it or train again"):
        _ = pickle.loads(sent).network


def test_many_images_go_through_the_network_as_it_was_judged(bars, monkeypatch):
    trained = cs.load(cs.train("mnist", **QUICK).path)
    asked, passed = [], []

    class Twin(nn.Module):
        def forward(self, x):
            passed.append(len(x))
            return trained.network(x)

    def engine(network, *given):
        assert network is trained.network
        asked.append(given)
        return Twin()

    monkeypatch.setattr("convscope.engine.tuned_network.engine", engine)
    monkeypatch.setattr("convscope.trained.MANY", 100)
    images = bars.splits["test"].images
    first = trained.predict(images)
    assert asked == passed == []
    assert trained.predict(images) == first and passed == [60]
    assert trained.predict(images[:1])[0].label == first[0].label and passed == [60, 1]
    assert asked == [("plain", "float32")]  # as the run's recipe has it


def test_a_tensor_is_taken_like_an_array(bars):
    trained = cs.load(cs.train("mnist", **QUICK).path)
    images = np.array(bars.splits["test"].images)
    assert trained.predict(torch.from_numpy(images)) == trained.predict(images)
    assert np.array_equal(
        trained.probabilities(images),
        metrics.softmax(
            trained.logits(images), trained.calibration.temperature
        ),  # as predictions.csv has it
    )


def test_an_exported_file_is_another_door():
    with pytest.raises(BadArgument, match=r"a\.onnx: is a file that was exported.*load_onnx"):
        cs.load("a.onnx")
