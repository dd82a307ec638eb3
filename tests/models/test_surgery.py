"""Parts of networks: cut where they say, joined only where shapes fit, frozen to the bit."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from convscope.errors import BadArgument
from convscope.models import build, surgery

SIZE = (32, 32)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build("resnet18_small", 5, 3, SIZE, {"width": 4}).eval()


def test_a_stage_is_what_gives_maps_of_one_size(network):
    assert surgery.stages(network, SIZE) == [5, 7, 9, 11]
    images = torch.rand(2, 3, *SIZE)
    x = network.normalise(images)
    for stage, end in enumerate((5, 7, 9, 11), 1):
        part = surgery.cut(network, f"stage:{stage}", SIZE)
        torch.testing.assert_close(part(images), network.features[:end](x))
    torch.testing.assert_close(surgery.cut(network)(images), network.feature_maps(images))
    torch.testing.assert_close(
        surgery.cut(network, "stem", SIZE)(images), network.features[:3](x), rtol=0, atol=0
    )


def test_a_part_shares_nothing_with_the_network(network):
    part = surgery.cut(network, "features")
    with torch.no_grad():
        part[1][0].weight.zero_()
    assert network.features[0].weight.abs().sum() > 0
    assert type(surgery.cut(network, "features.3.shortcut")) is nn.Identity


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("stage:5", "where=stage:5: is not there: the network has stages 1 to 4; try stage:4"),
        ("features.3.shortcuts", "did you mean features.3.shortcut"),
        ("", "must be features, stem, stage:N or a layer's name"),
    ],
)
def test_a_part_that_is_not_there_is_said(network, where, said):
    with pytest.raises(BadArgument, match=said):
        surgery.cut(network, where, SIZE)


def test_a_network_without_features_says_so():
    with pytest.raises(BadArgument, match="needs a network with `features`, and this one has none"):
        surgery.cut(build("mlp", 3, 1, (8, 8)), "features")


def test_parts_of_two_networks_are_one(network):
    trunk = surgery.cut(network, "stage:1", SIZE)
    other = build("cnn", 10, 4, (32, 32), {"widths": [6, 8]})
    joined = surgery.join(trunk, other.features, classes=7, size=(3, *SIZE), freeze=[0])
    images = torch.rand(4, 3, *SIZE)
    before = copy.deepcopy(joined.state_dict())
    logits = joined(images)
    assert logits.shape == (4, 7)
    maps = other.features(network.features[:5](network.normalise(images)))
    torch.testing.assert_close(joined.features(joined.normalise(images)), maps)
    logits.sum().backward()
    learning = {name for name, p in joined.named_parameters() if p.grad is not None}
    assert learning and not any(name.startswith("features.0.") for name in learning)
    for name, value in joined.features[0].state_dict().items():  # batch norm's statistics, too
        assert torch.equal(value, before[f"features.0.{name}"]), name


def test_parts_that_do_not_fit_name_both_shapes(network):
    trunk = surgery.cut(network, "stage:1", SIZE)
    with pytest.raises(BadArgument, match=r"part 1: cannot take the \[2, 4, 32, 32\] of part 0"):
        surgery.join(trunk, nn.Conv2d(5, 6, 3), classes=2, size=(3, *SIZE))
    with pytest.raises(BadArgument, match=r"part 0: takes images of 3 channels, and these have 1"):
        surgery.join(trunk, classes=2, size=(1, *SIZE))
    with pytest.raises(BadArgument, match=r"gives \[2, 3, 1024\], where maps"):
        surgery.join(nn.Flatten(2), classes=2, size=(3, *SIZE))


@pytest.mark.parametrize("where", ["stem", "stage:2", "features"])
def test_what_is_frozen_stays_to_the_bit(network, where):
    surgery.freeze(network, where, SIZE)
    before, count = copy.deepcopy(network.state_dict()), {"stem": 3, "stage:2": 7}.get(where, 99)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
    for _ in range(2):
        network.train()
        network(torch.rand(6, 3, *SIZE)).square().mean().backward()
        optimizer.step()
    moved = {
        name.split(".")[1]
        for name, value in network.state_dict().items()
        if not torch.equal(value, before[name]) and name.startswith("features.")
    }
    assert all(int(layer) >= count for layer in moved)
    assert bool(moved) == (where != "features")


def test_features_of_one_image_do_not_depend_on_its_batch(network):
    surgery.freeze(network, "features", SIZE)
    images = torch.rand(6, 3, *SIZE)
    network.train()
    maps = network.features(network.normalise(images))
    torch.testing.assert_close(network.features(network.normalise(images[:1])), maps[:1])


def test_folded_it_computes_the_same(network):
    network.train()
    network(torch.rand(8, 3, *SIZE))  # statistics of its own
    images = torch.rand(3, 3, *SIZE)
    found = surgery.folded(network)
    assert not any(isinstance(one, nn.BatchNorm2d) for one in found.modules())
    torch.testing.assert_close(found(images), network.eval()(images), rtol=1e-4, atol=1e-5)


def test_a_backbone_is_all_but_the_last_layer(network):
    images = torch.rand(2, 3, *SIZE)
    last = network.get_submodule(surgery.output_layer(network)[0])
    torch.testing.assert_close(last(surgery.backbone(network)(images)), network(images))
    squeezed = build("tv:squeezenet1_1", 3, 3, (64, 64))
    assert surgery.backbone(squeezed) is None


def test_a_network_that_names_no_features_is_frozen_but_for_its_last_layer():
    network = build("tv:resnet18", 3, 3, (32, 32))
    surgery.freeze(network, "features", (32, 32))
    learning = [name for name, p in network.named_parameters() if p.requires_grad]
    assert learning == ["head.fc.weight", "head.fc.bias"]
    with pytest.raises(BadArgument, match="whose `features` are a sequence of layers"):
        surgery.freeze(network, "stem", (32, 32))
