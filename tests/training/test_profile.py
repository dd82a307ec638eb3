"""Where the time goes: it adds up, by kind and direction, and leaves the network as it was."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from convscope import kernels
from convscope.data.loader import Loader
from convscope.engine import timing, tuned_network
from convscope.errors import BadArgument
from convscope.models import build
from convscope.models.parts import Classifier
from convscope.recipe import Augment, Train
from convscope.training.profile import KINDS, Profile, profile

taken_apart = importlib.import_module("convscope.training.profile")
TRAIN = Train(epochs=1, batch_size=40, lr=0.01, warmup=0.0, precision="float32")


def network() -> Classifier:
    torch.manual_seed(0)
    features = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.GELU(),
    )
    return Classifier(1, features, nn.Sequential(nn.Flatten(), nn.Linear(288, 3)))


@pytest.fixture
def loader(tiny) -> Loader:
    train = tiny.splits["train"]
    images, labels = torch.tensor(train.images), torch.tensor(train.labels)
    return Loader.of_images(images, labels, torch.arange(240), 40, 0, Augment(shift=1), classes=3)


@pytest.fixture(scope="module")
def plain(tiny) -> Profile:
    train = tiny.splits["train"]
    images, labels = torch.tensor(train.images), torch.tensor(train.labels)
    loader = Loader.of_images(images, labels, torch.arange(240), 40, 0, Augment(shift=1), classes=3)
    return profile(network(), loader, TRAIN, steps=8)


def test_every_kind_of_work_is_found(plain):
    kinds = {kind for kind in plain.kinds if sum(plain.kinds[kind].values()) > 0}
    wanted = {"convolution", "linear", "normalisation", "pooling", "activation", "dropout"}
    assert wanted | {"loss", "optimiser", "data"} <= kinds <= set(KINDS)
    for kind in ("convolution", "linear", "normalisation", "pooling", "activation"):
        assert plain.kinds[kind]["forward"] > 0 and plain.kinds[kind]["backward"] > 0, kind
    for kind in ("optimiser", "data"):
        assert plain.kinds[kind]["backward"] == 0


def test_it_adds_up_and_is_told(plain):
    told = plain.as_json()
    assert json.loads(json.dumps(told)) == told
    total = sum(row["forward_seconds"] + row["backward_seconds"] for row in told["kinds"])
    # What Python takes is the rest of the step; the recorder makes operators a little slower.
    assert told["step_seconds"] * 0.95 < total < told["step_seconds"] * 3
    assert told["images_per_second"] == pytest.approx(40 / told["step_seconds"])
    assert sum(plain.milliseconds().values()) == pytest.approx(1e3 * total)
    text = plain.table()
    assert "convolution" in text and "features.5" in text and "images/s" in text


def test_convolutions_have_their_speed_beside_the_best_alone(plain):
    first, second = plain.convolutions
    assert (first["layer"], second["layer"]) == ("features.0", "features.5")
    assert first["gflop"] == pytest.approx(2 * 40 * 8 * 144 * 9 / 1e9)
    assert second["gflop"] == pytest.approx(2 * 40 * 8 * 36 * 72 / 1e9)
    ways = [(row, way) for row in plain.convolutions for way in ("forward", "backward")]
    assert all(row[f"{way}_gflops"] > 0 for row, way in ways)


@pytest.mark.parametrize("quiet", [True, False])
def test_a_busy_machine_hides_what_a_convolution_takes_alone(loader, monkeypatch, quiet):
    monkeypatch.setattr(timing, "QUIET", 1e9 if quiet else -1e9)
    rows = profile(network(), loader, TRAIN, steps=8).convolutions
    alone = [row[f"{way}_gflops_alone"] for row in rows for way in ("forward", "backward")]
    assert len(alone) == 4 and all(one > 0 if quiet else one is None for one in alone)


def test_the_network_stays_as_it_is(loader):
    model = network()
    before = copy.deepcopy(model.state_dict())
    profile(model, loader, TRAIN, steps=2)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.skipif(not kernels.available(), reason="no kernels on this machine")
def test_what_is_fused_has_a_kind_of_its_own(loader):
    model = network().to(memory_format=torch.channels_last)
    found = profile(tuned_network.engine(model, "fused"), loader, TRAIN, steps=4)
    assert found.kinds["normalisation, activation and pooling in one"]["backward"] > 0
    assert "normalisation" not in found.kinds and "pooling" not in found.kinds
    assert found.kinds["convolution"]["forward"] > 0 and len(found.convolutions) == 2


@pytest.mark.skipif(not kernels.available(), reason="no kernels on this machine")
def test_layers_that_a_block_computes_together_have_no_speed_of_their_own():
    images, labels = torch.zeros(40, 1, 28, 28, dtype=torch.uint8), torch.arange(40) % 3
    model = build("inception", 3, 1, (28, 28)).to(memory_format=torch.channels_last)
    loader = Loader.of_images(images, labels, torch.arange(40), 20, 0, Augment(), classes=3)
    found = profile(tuned_network.engine(model, "fused"), loader, TRAIN, steps=2)
    told = [row["layer"] for row in found.convolutions]
    assert len(told) == 8 and all(".branch" in layer for layer in told[1:4]), told
    assert not any("branch1x1" in layer for layer in told)


def test_on_a_gpu_the_time_of_its_kernels_counts_on_whatever_thread():
    """As PyTorch records it: the backward pass has a thread of its own, and kernels are events."""

    def event(name, start, end, device, *inner, thread=1, kind="CPU"):
        made = SimpleNamespace(
            name=name,
            cpu_children=list(inner),
            cpu_parent=None,
            thread=thread,
            device_type=SimpleNamespace(name=kind),
            time_range=SimpleNamespace(start=start, end=end),
            cpu_time_total=end - start,
            device_time_total=device,
        )
        for child in inner:
            child.cpu_parent = made
        return made

    events = []
    for start in (0, 1000):
        forward = event("aten::conv2d", start + 10, start + 20, 300.0)
        loss = event("aten::log_softmax", start + 20, start + 30, 50.0)
        step = event(taken_apart.STEP, start, start + 900, 350.0, forward, loss)
        back = event("ConvolutionBackward0", start + 100, start + 110, 400.0, thread=2)
        lost = event("ConvolutionBackward0", start + 950, start + 960, 9000.0, thread=2)
        kernel = event("gemm", start + 40, start + 340, 300.0, kind="CUDA")
        shadow = event(taken_apart.STEP, start, start + 900, 350.0, kind="CUDA")
        events += [step, forward, loss, back, lost, kernel, shadow]
    recorder = SimpleNamespace(events=lambda: events)
    found = taken_apart._kinds(recorder, 1e-3, 1e-5, torch.device("cuda"))
    assert found["convolution"] == pytest.approx({"forward": 300e-6, "backward": 400e-6})
    assert found["loss"]["forward"] == pytest.approx(50e-6)
    assert found["Python"]["forward"] == pytest.approx(250e-6)  # the GPU waits
    assert set(found) == {"convolution", "loss", "Python"}


def test_mps_does_not_tell_what_an_operator_takes(loader):
    with pytest.raises(BadArgument, match="profile=True: takes a step apart on the CPU and on NVI"):
        profile(network(), dataclasses.replace(loader, device="mps"), TRAIN)
