"""A whole run on a real GPU: from the first batch to the report, stopped and resumed, predicted
with, taken apart. Skipped where PyTorch sees none; ``tests/test_accelerator.py`` goes the same way
without one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import convscope as cs
from convscope import api, devices
from convscope.data.loader import Loader
from convscope.errors import BadArgument
from convscope.evaluation import predictions
from convscope.models import build
from convscope.recipe import Augment

THERE = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}


def _on(kind: str) -> object:
    why = f"PyTorch sees no {kind} device on this machine"
    return pytest.param(kind, marks=pytest.mark.skipif(not THERE[kind], reason=why))


cuda = pytest.mark.skipif(not THERE["cuda"], reason="PyTorch sees no cuda device on this machine")
mps = pytest.mark.skipif(not THERE["mps"], reason="PyTorch sees no mps device on this machine")
gpu = pytest.mark.parametrize("gpu", [_on("cuda"), _on("mps")])

LAYERS = "c3-8 bn relu mp2 drop0.2 c3-8 gelu gap fc"
OPTIONS = {"layers": LAYERS, "batch_size": 40, "lr": 0.01, "val": 0.2}
FIXED = {"precision": "float32", "memory_format": "channels_last"}


def weights(run: cs.Run) -> dict[str, torch.Tensor]:
    return cs.load(run.path).network.state_dict()


@gpu
def test_a_run_from_its_first_batch_to_its_report(bars, gpu):
    options = OPTIONS | {"epochs": 6, "shift": 1, "rotate": 5, "erase": 0.2, "ema": 0.9}
    run = cs.train("mnist", **options, device=gpu, out="run")
    assert run.recipe.train.device == gpu and run.recipe.train.kernels == "plain"
    assert run.recipe.train.precision in devices.formats(gpu)
    report = (run.path / "report.html").read_text()
    assert "What it looks for" in report and "Filters" in report
    assert run.metrics.accuracy > 0.6 and run.metrics.images_per_second > 0
    judged = api.evaluate("run", device=gpu)
    assert (judged["accuracy"], judged["test_looks"]) == (run.metrics.accuracy, 2)
    assert abs(api.evaluate("run", device="cpu")["accuracy"] - run.metrics.accuracy) < 0.05
    for i, image in enumerate(bars.splits["test"].images[:4]):
        Image.fromarray(image[0]).save(f"{i}.png")
    names = [f"{i}.png" for i in range(4)]
    here, there = (api.predict("run", names, device=device) for device in ("cpu", gpu))
    assert [g.label for g in here] == [g.label for g in there]
    assert np.allclose([g.p for g in here], [g.p for g in there], atol=0.01)
    assert api.explain("run", names, only=["filters", "classes"])


@cuda
def test_auto_means_it(bars):
    run = cs.train("mnist", epochs=1, **OPTIONS, out="run", look=False)
    assert run.recipe.train.device == "cuda"
    assert "gpu" in json.loads((run.path / "model.json").read_text())["machine"]


@gpu
def test_a_run_that_is_stopped_goes_on_to_the_same_weights(bars, gpu):
    options = OPTIONS | FIXED | {"epochs": 3, "device": gpu, "look": False}
    whole, again = (cs.train("mnist", **options, out=out) for out in ("whole", "again"))

    def stop(event: object) -> None:
        if isinstance(event, cs.events.EpochEnd) and event.epoch == 2:
            raise KeyError

    with pytest.raises(KeyError):
        cs.train("mnist", **options, out="parts", emit=stop)
    parts = cs.train("mnist", **options, out="parts", resume=True)
    for other in (again, parts):
        for (name, one), two in zip(weights(whole).items(), weights(other).values(), strict=True):
            assert torch.equal(one, two), name


@gpu
def test_a_rate_is_searched_for(bars, gpu):
    found = cs.find_lr("mnist", **OPTIONS, device=gpu, out="rates.png")
    assert len(found.rates) > 20 and found.figure.exists()


@gpu
def test_a_time_budget_is_kept(bars, gpu):
    run = cs.train("mnist", **OPTIONS, device=gpu, time_budget=20, out="run", look=False)
    assert run.recipe.train.steps > 0


@cuda
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_every_format_trains_and_says_what_takes_the_time(bars, precision):
    options = OPTIONS | {"precision": precision, "device": "cuda", "epochs": 4}
    run = cs.train("mnist", **options, out="run", profile=True, look=False)
    found = json.loads((run.path / "profile.json").read_text())["convscope"]
    kinds = {row["kind"]: row for row in found["kinds"]}
    for kind in ("convolution", "normalisation"):
        assert kinds[kind]["forward_seconds"] > 0 and kinds[kind]["backward_seconds"] > 0, kind
    total = sum(row["forward_seconds"] + row["backward_seconds"] for row in found["kinds"])
    assert total == pytest.approx(found["step_seconds"], rel=0.5)
    assert all(row["forward_gflops"] > 0 for row in found["convolutions"])


@mps
def test_what_mps_cannot_do_is_refused(bars):
    for typed in ({"precision": "bfloat16"}, {"profile": True}):
        with pytest.raises(BadArgument):
            cs.train("mnist", epochs=1, **OPTIONS, **typed, device="mps", out="run")
    assert not Path("run").exists()


@gpu
@pytest.mark.parametrize("room", [True, False])
def test_batches_are_those_of_the_cpu(gpu, room, monkeypatch):
    if not room:
        monkeypatch.setattr(devices, "free", lambda device: 0)
    torch.manual_seed(0)
    images = torch.randint(256, (203, 3, 16, 16), dtype=torch.uint8)
    spec = Augment(shift=2, flip=True, cutout=4, cutmix=1.0)
    here = Loader.of_images(images, torch.arange(203), torch.arange(203), 20, 0, spec, classes=203)
    placed = devices.resident(here.inputs, gpu)
    assert placed["image"].device.type == (gpu if room else "cpu")
    there = replace(here, inputs=placed, device=gpu)
    for one, two in zip(here.epoch(1), there.epoch(1), strict=True):
        assert two.inputs["image"].device.type == gpu
        assert torch.allclose(one.inputs["image"], two.inputs["image"].cpu(), atol=1e-6)
        assert torch.allclose(one.targets["label"], two.targets["label"].cpu())


@gpu
def test_logits_are_those_of_the_cpu(gpu):
    torch.manual_seed(0)
    network, images = build("cnn", 3, 1, (12, 12)), np.zeros((50, 1, 12, 12), np.uint8)
    images[:] = np.random.default_rng(0).integers(256, size=images.shape)
    here = predictions.logits_of(network, images, batch_size=20)
    there = predictions.logits_of(network.to(gpu), images, batch_size=20, device=gpu)
    assert np.allclose(here, there, atol=1e-4)
