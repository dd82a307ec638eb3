"""A training that goes on from a run: with its last layer, by the names of its classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from listening import notices
from quick import QUICK
from torch.nn import BatchNorm2d

import convscope as cs
from convscope import recipe
from convscope.data import pack_writer, sources
from convscope.errors import BadArgument
from convscope.events import silent
from convscope.job.prepare import prepare
from convscope.models import build, pretrained
from convscope.models.pretrained import Weights
from convscope.models.surgery import FrozenBatchNorm2d

PLAIN = {"precision": "float32", "memory_format": "contiguous", "kernels": "plain"}
ON = {"epochs": 1, "batch_size": 40, "augment": False, "look": False, **PLAIN}


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
    still |= {"start": "a", "freeze": "features", "emit": emit}
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
