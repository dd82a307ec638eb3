"""Networks of networks: a trunk an input, a head a target, and what is shared is one."""

from __future__ import annotations

import pytest
import torch

from convscope.data.columns import Class, Image, Labels, Number, Numbers
from convscope.errors import BadArgument
from convscope.models import build, build_for
from convscope.models.joined import Joined, NumberHead, NumbersTrunk, normalisers
from convscope.models.parts import Classifier

COLUMNS = {
    "front": Image(1, (12, 12)),
    "side": Image(1, (12, 12)),
    "size": Numbers(("a", "b")),
    "kind": Class(("x", "y", "z")),
    "tags": Labels(("wet", "old")),
    "age": Number(),
}
OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, inputs, targets):
        super().__init__()
        self.inputs, self.heads = inputs, nn.ModuleDict(
            {name: nn.Linear(144 + 144 + 2, width) for name, width in targets.items()}
        )

    def forward(self, front, side, size):
        x = torch.cat([front.flatten(1), side.flatten(1), size], 1)
        return {name: head(x) for name, head in self.heads.items()}
"""


def batch(count: int = 4) -> list[torch.Tensor]:
    shapes = [one.shape for one in COLUMNS.values() if one.is_input]
    return [torch.rand(count, *shape) for shape in shapes]


@pytest.mark.parametrize("shared", [False, True])
def test_every_target_has_its_head_and_every_parameter_a_gradient(shared):
    network = build_for("cnn", COLUMNS, {"widths": [4]}, shared)
    outputs = network(*batch())
    assert {name: tuple(one.shape) for name, one in outputs.items()} == {
        "kind": (4, 3),
        "tags": (4, 2),
        "age": (4, 1),
    }
    sum(one.square().sum() for one in outputs.values()).backward()
    assert all(p.grad is not None for p in network.parameters())
    assert [*network.trunks] == (["front", "size"] if shared else ["front", "side", "size"])
    assert isinstance(network.trunk("size"), NumbersTrunk)
    assert (network.trunk("front") is network.trunk("side")) == shared
    assert [*normalisers(network, COLUMNS)] == [*network.trunks]


def test_inputs_go_by_their_order_and_each_to_its_trunk():
    torch.manual_seed(0)
    network = build_for("mlp", COLUMNS, {}).eval()
    front, side, size = batch()
    before = network(front, side, size)["kind"]
    assert not torch.allclose(network(side, front, size)["kind"], before)
    network.trunk("size").normalise.set([5.0, 5.0], [2.0, 2.0])
    moved = network(front, side, size * 2 + 5)["kind"]
    torch.testing.assert_close(moved, before)


def test_a_number_is_told_in_its_own_unit():
    head = NumberHead(3)
    x = torch.rand(5, 3)
    before = head(x)
    head.set(mean=100.0, std=20.0)
    torch.testing.assert_close(head(x), before * 20 + 100)
    head.set(mean=1.0, std=0.0)  # a target that does not vary
    torch.testing.assert_close(head(x), before + 1)


def test_one_image_and_one_class_is_the_network_itself():
    alone = {"image": COLUMNS["front"], "label": COLUMNS["kind"]}
    network = build_for("cnn", alone, {"widths": [4]})
    assert isinstance(network, Classifier) and not isinstance(network, Joined)
    assert str(network) == str(build("cnn", 3, 1, (12, 12), {"widths": [4]}))
    told = build_for("cnn", {"image": COLUMNS["front"], "age": Number()}, {"widths": [4]})
    assert told(torch.rand(2, 1, 12, 12)).shape == (2, 1)  # a single target comes alone


def test_a_users_class_gets_its_inputs_normalised_and_in_order(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    network = build_for(f"{tmp_path / 'mine.py'}:Net", COLUMNS).eval()
    front, side, size = batch()
    before = network(front, side, size)["age"]
    for name, layer in normalisers(network, COLUMNS).items():
        width = COLUMNS[name].shape[0]
        layer.set([0.5] * width, [2.0] * width)
    after = network(front * 2 + 0.5, side * 2 + 0.5, size * 2 + 0.5)["age"]
    torch.testing.assert_close(after, before)
    assert network.head.inputs == {"front": (1, 12, 12), "side": (1, 12, 12), "size": (2,)}
    (tmp_path / "other.py").write_text(OWN.replace("inputs, targets", "inputs, targets, depth"))
    with pytest.raises(BadArgument, match=r"Net needs depth, .*\(inputs, targets are passed"):
        build_for(f"{tmp_path / 'other.py'}:Net", COLUMNS)
