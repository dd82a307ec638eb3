"""Data and network of a recipe, before anything of it is measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import convscope as cs
from convscope.api.arguments import given, resolved
from convscope.data import pack_writer
from convscope.data.columns import image_and_label
from convscope.data.loader import to_input
from convscope.data.pack import Split
from convscope.engine import choice
from convscope.errors import BadArgument
from convscope.events import silent
from convscope.job import initialise as room
from convscope.job.prepare import Limits, build, prepare
from convscope.models.parts import Classifier
from convscope.models.record import Whitening
from convscope.recipe import Data, Recipe

PLAIN = {"precision": "float32", "memory_format": "contiguous", "kernels": "plain"}


@pytest.fixture
def colours(tmp_path):
    """40 training and 10 test images of noise, in colour."""
    random = np.random.default_rng(0)
    drawn = {
        split: (
            random.integers(0, 256, (n, 3, 28, 28), dtype=np.uint8),
            np.arange(n, dtype=np.int64) % 2,
        )
        for split, n in (("train", 40), ("test", 10))
    }
    return pack_writer.write_pack(
        tmp_path / "colours", "cifar10", ("a", "b"), drawn, "drawn by the tests"
    )


def test_a_layer_is_initialised_from_the_first_training_images_as_the_network_sees_them(
    colours, monkeypatch
):
    monkeypatch.setattr(room, "SEEN", 9)
    asked = resolved(
        *given("cifar10", "record", {"widths": [8], "batch_size": 8, **PLAIN}), None, False
    )
    job = prepare(asked, colours, silent)
    torch.manual_seed(asked.train.seed)
    plain = build(asked, colours)
    plain.normalise.load_state_dict(job.model.normalise.state_dict())
    first = torch.from_numpy(np.array(colours.splits["train"].images))[job.loader.indices[:9]]
    inputs = plain.normalise(to_input(first, "cpu", torch.contiguous_format))
    assert not torch.equal(plain.features[0].weight, job.model.features[0].weight)
    plain.features[0].init_from_images(inputs)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, job.model.state_dict()[name]), name


def test_a_layer_of_convscopes_is_initialised_in_a_users_network_too():
    torch.manual_seed(0)
    layer = Whitening(3)
    network = Classifier(3, None, nn.Sequential(layer, nn.Flatten()))
    before = layer.weight.clone()
    pixels = torch.randint(256, (20, 3, 8, 8), dtype=torch.uint8)
    split = Split(image_and_label((3, 8, 8), ("a",)), {"image": pixels.numpy()})
    asked = Recipe(data=Data(normalise=False))
    room.initialise(network, asked, split, {"image": pixels}, {}, torch.arange(20), bool)
    assert not torch.equal(layer.weight, before)


def test_outliers_are_as_many_whatever_is_judged_at_once(tiny):
    asked = {"hidden": 8, "val": 0.5, "eval_batch": 20, **PLAIN}
    job = prepare(resolved(*given("mnist", "mlp", asked), None, False), tiny, silent)
    assert job.outliers == 100 and job.finally_judged == 120 + 3 * 100 + 60


OWN = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes=3):
        super().__init__(nn.Flatten(), nn.Linear(144, num_classes))

    def init_from_images(self, images, labels):
        raise AssertionError
"""


def test_a_users_class_keeps_the_names_of_its_methods(bars, workplace):
    (workplace / "net.py").write_text(OWN)
    assert cs.train("mnist", model="net.py:Net", epochs=1, out="a", look=False, **PLAIN).path


def test_a_search_for_a_rate_measures_nothing(bars, monkeypatch):
    def measured(*rest, **named):
        raise AssertionError

    monkeypatch.setattr(choice, "choose", measured)
    free = {"model": "mlp", "hidden": 8, "batch_size": 20}
    found = cs.find_lr("mnist", **free, out="auto.png")
    exact = cs.find_lr("mnist", **free, **PLAIN, out="exact.png")
    assert found.losses == exact.losses
    narrow = cs.find_lr("mnist", **free, **PLAIN | {"precision": "bfloat16"}, out="narrow.png")
    assert narrow.losses != exact.losses
    with pytest.raises(
        BadArgument, match="precision=tf32: is not for cpu, which trains in float32"
    ):
        cs.find_lr("mnist", **free, precision="tf32", out="tf32.png")


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(), ""),
        (Limits(seconds=3600.0), ""),
        (Limits(look=False), "Left out, as it was asked for: see convscope explain."),
        (Limits(seconds=30.0), "the time of this run was bounded"),
        (Limits(memory=10**9), "the memory of this run was bounded"),
    ],
)
def test_a_run_looks_into_its_network_where_the_cost_was_allowed_for(limits, said):
    assert said in limits.unseen and bool(said) == bool(limits.unseen)
