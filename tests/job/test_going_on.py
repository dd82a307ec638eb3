"""A training that goes on from a run: with its last layer, by the names of its classes; with new
ones; further."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from listening import notices
from quick import QUICK, same_weights
from torch.nn import BatchNorm2d

import convscope as cs
from convscope import recipe
from convscope.data import pack_writer, sources
from convscope.errors import BadArgument, DataError, RunError
from convscope.evaluation.predictions_file import read_predictions
from convscope.events import silent
from convscope.job.prepare import prepare
from convscope.models import build, pretrained
from convscope.models.pretrained import Weights
from convscope.models.surgery import FrozenBatchNorm2d

PLAIN = {"precision": "float32", "memory_format": "contiguous", "kernels": "plain"}
ON = {"epochs": 1, "batch_size": 40, "augment": False, **PLAIN}


@pytest.fixture
def two(bars, tmp_path_factory, monkeypatch):
    """The bars of two classes, in another order, as fashion-mnist; all of them as mnist."""
    order = [2, 0]  # spot, flat
    splits = {}
    for name, split in bars.splits.items():
        chosen = np.isin(split.labels, order)
        labels = np.array([order.index(n) for n in split.labels[chosen]], np.int64)
        splits[name] = (np.array(split.images)[chosen], labels)
    folder = tmp_path_factory.mktemp("packs") / "two"
    classes = tuple(bars.classes[n] for n in order)
    made = pack_writer.write_pack(folder, "two", classes, splits, "drawn by the tests")
    monkeypatch.setattr(
        sources, "open_data", lambda name, *rest, **named: bars if name == "mnist" else made
    )
    return made


def weights(path):
    return cs.load(path).network.state_dict()


def val_losses(path):
    rows = Path(path, "history.jsonl").read_text().splitlines()
    return [json.loads(row)["val_loss"] for row in rows]


def last_layer(path):
    found = weights(path)
    names = cs.load(path).classes
    rows = zip(found["head.1.weight"], found["head.1.bias"], strict=True)
    return {
        name: torch.cat([row, bias[None]]) for name, (row, bias) in zip(names, rows, strict=True)
    }


def test_the_last_layer_is_kept_by_the_names_of_its_classes(two, events):
    seen, emit = events
    cs.train("fashion-mnist", **QUICK, out="a", look=False)
    still = {"optimizer": "sgd", "lr": 1e-12, "weight_decay": 0.0, "keep": "last"}
    still |= {"start": "a", "freeze": "features", "emit": emit, "look": False}
    run = cs.train("mnist", last_layer="kept", **ON, **still, out="b")
    before, after = last_layer("a"), last_layer("b")
    assert list(after) == ["flat", "upright", "spot"] and list(before) == ["spot", "flat"]
    for name, row in before.items():
        torch.testing.assert_close(after[name], row)
    texts = notices(seen)
    assert "classes: the run and the data both have flat, spot; new: upright; gone: none" in texts
    assert any("its last layer is kept" in text for text in texts)
    assert not any("last layer fitted" in text for text in texts)
    assert run.recipe.origin["train.last_layer"] == "typed"


def test_a_class_that_is_gone_is_refused(two):
    cs.train("mnist", **QUICK, out="a", look=False)
    with pytest.raises(BadArgument) as why:
        cs.train("fashion-mnist", start="a", last_layer="kept", out="b")
    said = str(why.value)
    assert said.startswith("last_layer=kept: needs every class of the run, and upright is not")
    assert "the run has flat, upright, spot; the data have spot, flat; add images of it" in said
    assert not Path("b").exists()


def test_a_last_layer_of_another_width_is_refused():
    model = build("cnn", 2, 1, (12, 12), {"widths": [4, 8]})
    other = {**model.state_dict(), "head.1.weight": torch.ones(2, 9)}
    found = Weights("a", "cnn", other, "", (12, 12), "pad", "a run", classes=("x", "y"))
    with pytest.raises(BadArgument, match=r"head.1.weight should be \(2, 72\), is \(2, 9\)"):
        pretrained.begin(model, found, ("x", "y"))


@pytest.mark.parametrize(("how", "kind"), [("kept", FrozenBatchNorm2d), ("learning", BatchNorm2d)])
def test_statistics_of_batch_norm_are_kept_or_learn(bars, monkeypatch, how, kind):
    small = "resnet18_small", {"width": 4}
    tensors = build(small[0], 3, 1, (12, 12), small[1]).state_dict()
    found = Weights("a", small[0], tensors, "", (12, 12), "pad", "a run")
    monkeypatch.setattr(pretrained, "find", lambda start, model=None: found)
    asked = {"model": small[0], "start": "a", "batch_norm": how, **PLAIN}
    job = prepare(recipe.resolve(asked, small[1]), bars, silent)
    norms = [one for one in job.model.modules() if isinstance(one, BatchNorm2d)]
    assert norms and {type(one) for one in norms} == {kind}


def test_a_finished_run_is_trained_further(bars, events):
    seen, emit = events
    first = cs.train("mnist", **QUICK, val=0.2, split_seed=3, out="a", look=False)
    run = cs.train(start="a", more_epochs=2, out="b", look=False, emit=emit)
    old, new = first.recipe, run.recipe
    assert (new.data, new.model, new.augment) == (old.data, old.model, old.augment)
    assert (new.train.epochs, new.train.lr) == (2, pytest.approx(old.train.lr / 10))
    assert (new.train.last_layer, new.train.batch_norm) == ("kept", "learning")
    assert new.train.precision == old.train.precision and new.train.keep == "accuracy"
    splits = [json.loads(Path(name, "split.json").read_text()) for name in "ab"]
    assert splits[0]["val"] == splits[1]["val"] and len(splits[0]["val"]) == 48
    assert len(val_losses("b")) == 2
    assert not same_weights(Path("a"), Path("b"))
    assert min(val_losses("b")) < val_losses("a")[-1]
    assert not any("last layer fitted" in text for text in notices(seen))
    shutil.copytree("b", "cut")
    for name in ("metrics.json", "model.json", "model.safetensors"):
        Path("cut", name).unlink()
    for late in sorted(Path("cut/checkpoint").glob("step-*"))[1:]:
        shutil.rmtree(late)
    again = cs.train(out="cut", resume=True, start="a", more_epochs=2, look=False)
    assert same_weights(run.path, again.path)


def test_what_does_not_gain_on_validation_is_what_it_began_with(bars, events):
    seen, emit = events
    cs.train("mnist", **QUICK, out="a", look=False)
    wild = {"optimizer": "sgd", "lr": 0.5, "clip_grad": 1.0, "schedule": "constant"}
    run = cs.train(start="a", more_epochs=1, **wild, out="b", look=False, emit=emit)
    assert same_weights(Path("a"), run.path) and run.recipe.train.lr == 0.5
    assert run.metrics.start_kept and any("no epoch is better" in text for text in notices(seen))
    cs.evaluate(run.path)
    assert json.loads(Path("b/metrics.json").read_text())["start_kept"]
    assert "than what it began with, which was kept" in run.report.read_text()
    new = cs.train("mnist", start="a", **ON, lr=0.001, keep="last", out="c", look=False)
    assert not new.metrics.start_kept  # whatever the fitted layer it began with


def test_what_no_run_goes_on_by_is_refused(bars):
    cs.train("mnist", **QUICK, out="a", look=False)
    for typed, said in (
        ({"start": None}, "more_epochs=2: needs the run that goes on"),
        ({"recipe": "mnist-cnn"}, "recipe=mnist-cnn: is not used with more_epochs"),
        ({"epochs": 5}, "epochs=5: is not used with more_epochs"),
        ({"data": "cifar10"}, r"data=cifar10: is not what the run has that goes on \(mnist\)"),
        ({"val": 0.3}, r"val=0.3: is not what the run has that goes on \(0.1\)"),
        ({"widths": [4, 16]}, "widths=.*: is not what the run has that goes on"),
        ({"more_epochs": 0}, "more_epochs=0: must be a whole number of at least 1"),
    ):
        with pytest.raises(BadArgument, match=said):
            cs.train(**{"start": "a", "more_epochs": 2, "out": "b"} | typed)
    kept = json.loads(Path("a/split.json").read_text())
    for changed, kind, said in (
        ({"val": kept["val"][1:]}, RunError, "held out other images for validation"),
        ({"digest": "0"}, DataError, "its images are in another order than when a was made"),
    ):
        Path("a/split.json").write_text(json.dumps(kept | changed))
        with pytest.raises(kind, match=said):
            cs.train(start="a", more_epochs=2, out="b")
    Path("a/metrics.json").unlink()
    with pytest.raises(RunError, match="training was stopped .*--resume"):
        cs.train(start="a", more_epochs=2, out="b")
    assert not Path("b").exists()


def test_what_is_forgotten_when_a_class_is_added(two):
    first = cs.train("fashion-mnist", **QUICK, augment=False, out="a", look=False)
    run = cs.train("mnist", start="a", add_class=True, **ON, lr=0.02, out="b", look=False)
    assert run.recipe.train.last_layer == "kept"
    found = run.metrics.forgetting
    assert found["classes"] == ["spot", "flat"] and found["n"] == 40
    assert found["accuracy_before"] == first.metrics.accuracy  # these are all that it was judged by
    told = read_predictions(run.path / "predictions.csv")
    old = [row for row in told if row.label != "upright"]
    assert found["accuracy_after"] == sum(row.label == row.predicted for row in old) / 40
    assert found["taken_for_new"] == sum(row.predicted == "upright" for row in old)
    low, high = found["difference_ci95"]
    assert low <= found["accuracy_after"] - found["accuracy_before"] <= high
    text = run.report.read_text()
    assert "Old classes" in text and "classes that it knew before: " in text
    cs.evaluate(run.path)
    assert json.loads(Path("b/metrics.json").read_text())["forgetting"] == found


def test_a_class_to_be_added_has_to_be_new(two):
    cs.train("mnist", **QUICK, out="a", look=False)
    for typed, said in (
        ({"start": None}, "add_class=True: needs the run that knows the other classes"),
        ({"last_layer": "new"}, "last_layer=new: is not used with add_class"),
        ({}, "add_class=True: needs a class that the run does not have: .*flat, upright, spot"),
        ({"data": "fashion-mnist"}, "last_layer=kept: needs every class of the run"),
    ):
        with pytest.raises(BadArgument, match=said):
            cs.train(**{"data": "mnist", "start": "a", "add_class": True, "out": "b"} | typed)
    assert not Path("b").exists()
