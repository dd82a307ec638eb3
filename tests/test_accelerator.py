"""Every stage of a job on a device that is not the CPU: what forgets ``.to(device)`` or ``.cpu()``
fails here, with no GPU at hand (:mod:`accelerator`)."""

from __future__ import annotations

import json
from dataclasses import replace

import accelerator
import numpy as np
import pytest
import torch
from batches import drawn, every_spec, seeded
from torch import nn

import convscope as cs
from convscope import api, devices
from convscope.data import augment
from convscope.data.loader import Loader
from convscope.engine import autotune
from convscope.evaluation import predictions
from convscope.models import build
from convscope.recipe import Augment
from convscope.run import RunFolder

FAKE = "fake"
LAYERS = "c3-8 bn relu mp2 drop0.2 flatten fc"
OPTIONS = {"layers": LAYERS, "batch_size": 40, "lr": 0.01, "device": FAKE, "val": 0.2}


@pytest.fixture(autouse=True)
def fake():
    with accelerator.fake() as backend:
        yield backend


def weights(run: cs.Run) -> dict[str, torch.Tensor]:
    return cs.load(run.path).network.state_dict()


def test_the_device_is_told_apart_from_the_cpu():
    there, here = torch.ones(2, 3, device=FAKE), torch.ones(2, 3)
    assert there.device.type == FAKE and there.cpu().device.type == "cpu"
    with pytest.raises(RuntimeError, match="tensors on cpu and on fake:0 meet"):
        there + here
    with pytest.raises(RuntimeError, match="tensors on cpu and on fake:0 meet"):
        nn.Linear(3, 2).to(FAKE)(here)
    with pytest.raises(RuntimeError, match="numpy"):
        there.numpy()


@every_spec
def test_images_are_augmented_where_they_are(spec):
    """On the device the same is drawn; what is copied is the same to the bit, and what is computed
    in floats all but so."""
    source, chosen = drawn(9, 3, 12, 12), torch.tensor([1, 0, 5, 8, 8, 2, 7, 3])
    labels, found = torch.arange(8) % 3, []
    for images in (source, source.to(FAKE)):
        random = seeded(4)
        first = augment.draw(images, chosen, spec, random, epoch=1)
        done, targets = augment.augment(
            first, (labels,), augment.rest(spec), random, indices=chosen, epoch=1, classes=3
        )
        assert done.device == images.device and done.is_contiguous()
        found.append((done.cpu(), targets[0]))
    (one, two), (mine, theirs) = zip(*found, strict=True)
    assert torch.equal(mine, theirs)
    assert torch.equal(one, two), (one.int() - two.int()).abs().max()


@pytest.mark.parametrize("padding", ["black", "edge", "reflect"])
def test_pixels_by_their_index_are_those_of_the_kernel(padding):
    source, chosen = drawn(40, 3, 9, 11), torch.randint(40, (64,), generator=seeded(1))
    spec = Augment(shift=4, flip=True, cutout=5, padding=padding)
    here = augment.draw(source, chosen, spec, seeded(2))
    there = augment.draw(source.to(FAKE), chosen, spec, seeded(2))
    assert there.device.type == FAKE and torch.equal(there.cpu(), here)


@pytest.mark.parametrize("memory", [1 << 30, 100])
def test_batches_are_the_same_whether_images_live_there_or_are_sent(fake, memory):
    fake.memory = memory
    images, labels = drawn(23, 3, 8, 8), torch.arange(23)
    at_home = Loader.of_images(
        images, labels, labels, 5, 0, Augment(shift=2, mixup=0.5), classes=23
    )
    placed = devices.resident(at_home.inputs, FAKE)
    assert placed["image"].device.type == (FAKE if memory > 1000 else "cpu")
    away = replace(at_home, inputs=placed, device=FAKE)
    for start in (0, 3):
        pairs = list(zip(at_home.epoch(1, start), away.epoch(1, start), strict=True))
        assert len(pairs) == 5 - start
        for one, two in pairs:
            image, label = two.inputs["image"], two.targets["label"]
            assert image.device.type == label.device.type == FAKE
            assert torch.equal(one.inputs["image"], image.cpu())
            assert torch.equal(one.targets["label"], label.cpu())


def test_a_batch_is_copied_while_the_device_works_with_the_one_before(fake):
    made: list[int] = []

    def groups():
        for i in range(3):
            made.append(i)
            yield (torch.full((2,), i),)

    for i, (tensor,) in enumerate(devices.ahead(groups(), FAKE)):
        assert made == list(range(min(i + 2, 3)))  # the next is there already
        assert tensor.cpu().tolist() == [i, i] and tensor.used_by == "work"
        assert fake.working.waited == ["event of copies"] * (i + 1)
    assert len(fake.queues) == 1


def test_what_is_sent_goes_through_memory_that_stays(monkeypatch):
    pinned: list[int] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(1) or self.clone())
    assert devices.sent(torch.ones(2), FAKE).device.type == FAKE and pinned
    before = torch.ones(2)
    assert devices.sent(before, "cpu") is before and len(pinned) == 1


def test_images_take_a_quarter_of_the_free_memory_at_most(fake):
    images = torch.zeros(100, 1, 1, 1, dtype=torch.uint8)
    for memory, kind in ((400, FAKE), (399, "cpu")):
        fake.memory = memory
        assert devices.resident({"a": images}, FAKE)["a"].device.type == kind
    assert devices.resident({"a": images}, "cpu")["a"] is images


def test_logits_are_those_of_the_cpu():
    torch.manual_seed(0)
    network = build("cnn", 3, 1, (12, 12))
    images = drawn(50, 1, 12, 12).numpy()
    here = predictions.logits_of(network, images, batch_size=20)
    seen: list[int] = []
    there = predictions.logits_of(
        network.to(FAKE), images, batch_size=20, device=FAKE, emit=lambda e: seen.append(e.done)
    )
    assert np.allclose(here, there, atol=1e-5) and seen == [20, 40, 50]


@pytest.mark.parametrize("memory", [1 << 30, 100])
def test_a_run_from_its_first_batch_to_its_report(bars, fake, memory, events, monkeypatch):
    fake.memory = memory
    # Its weights are of a class of tensors of their own, which elsewhere means somebody's hand.
    monkeypatch.setattr(autotune, "untouched", lambda module, kind: type(module) is kind)
    _, emit = events
    run = cs.train("mnist", epochs=2, shift=1, **OPTIONS, out="run", profile=True, emit=emit)
    assert run.recipe.train.device == FAKE and run.recipe.train.kernels == "plain"
    assert fake.waits and fake.seeds
    report = (run.path / "report.html").read_text()
    assert "What it looks for" in report and "Filters" in report
    found = json.loads((run.path / "profile.json").read_text())["convscope"]
    (row,) = found["convolutions"]
    assert row["forward_gflops"] > 0 and row["forward_gflops_alone"] is None
    assert run.metrics.accuracy > 0.5
    judged = api.evaluate("run", device=FAKE)
    assert (judged["accuracy"], judged["test_looks"]) == (run.metrics.accuracy, 2)
    images = bars.splits["test"].images
    np.save("images.npy", images)
    guesses = cs.load("run", device=FAKE).predict(images[:6])
    assert [g.label for g in guesses] == [g.label for g in cs.load("run").predict(images[:6])]
    assert cs.load("run", device=FAKE).network.normalise.mean.device.type == FAKE


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_run_that_is_stopped_goes_on_to_the_same_weights(bars, optimizer):
    options = OPTIONS | {"optimizer": optimizer, "epochs": 3, "ema": 0.9, "clip_grad": 1.0}
    options |= {"precision": "float32", "memory_format": "channels_last"}
    whole = cs.train("mnist", **options, out="whole", look=False)

    def stop(event: object) -> None:
        if isinstance(event, cs.events.EpochEnd) and event.epoch == 2:
            raise KeyError

    with pytest.raises(KeyError):
        cs.train("mnist", **options, out="parts", look=False, emit=stop)
    assert len(list(RunFolder(whole.path).checkpoints.iterdir())) == 2
    parts = cs.train("mnist", **options, out="parts", look=False, resume=True)
    for (name, one), two in zip(weights(whole).items(), weights(parts).values(), strict=True):
        assert torch.equal(one, two), name


def test_early_stopping_and_micro_batches(bars):
    options = OPTIONS | {"micro_batch": 16, "early_stopping": 2, "label_smoothing": 0.1}
    run = cs.train("mnist", epochs=2, **options, mixup=0.4, out="run", look=False)
    assert run.metrics.accuracy > 0.3


def test_a_time_budget_is_measured_there(bars):
    run = cs.train("mnist", **OPTIONS, time_budget=6, out="run", look=False)
    assert run.recipe.train.steps > 0


def test_a_rate_is_searched_for_there(bars):
    found = cs.find_lr("mnist", **OPTIONS, out="rates.png")
    assert found.rates and found.figure.exists()


def test_a_memory_bound_is_that_of_the_cpu(bars):
    with pytest.raises(cs.errors.BadArgument, match="the network is on fake"):
        cs.train("mnist", **OPTIONS, max_memory="8GB", out="run")
