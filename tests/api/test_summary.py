"""`cs.summary` of modules, names, files and runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import convscope as cs
from convscope.errors import BadArgument, RunError
from convscope.models import MODELS, build

OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, in_channels, width=4):
        super().__init__()
        print("made")
        self.conv = nn.Conv2d(in_channels, width, 3)
        self.head = nn.Linear(width, num_classes)
    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.vector = nn.Conv2d(3, 4, 3), nn.Linear(10, 4)
    def forward(self, x, y):
        return self.conv(x).mean((2, 3)) + self.vector(y)

class Looks(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(1, 2, 3), nn.Flatten())
        self.first = self[0].weight.sum().item()
    def forward(self, x):
        x = super().forward(x)
        return x if x.sum() > 1e9 else -x

class Lazy(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Flatten(), nn.LazyLinear(num_classes))

class Bad(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(1, 2, 3), nn.Linear(7, 2))
"""


@pytest.fixture
def own(workplace: Path) -> Path:
    Path("mine.py").write_text(OWN)
    return workplace


def test_a_module() -> None:
    found = cs.summary(nn.Conv2d(3, 8, 3), (3, 8, 8))
    assert (found.model, found.total.multiply_adds) == ("Conv2d", 8 * 36 * 27)
    with pytest.raises(BadArgument, match=r"input_shape=\(not given\): is needed for a module"):
        cs.summary(nn.ReLU())
    with pytest.raises(BadArgument, match="num_classes=3: does not go with a module"):
        cs.summary(nn.ReLU(), (3,), num_classes=3)


@pytest.mark.parametrize("name", MODELS)
def test_networks_of_the_registry(name: str) -> None:
    found = cs.summary(name)
    model = build(name, 10, 1, (28, 28))
    assert found.model == name and found.inputs == ((1, 28, 28),) and found.failure is None
    assert found.total.parameters == sum(p.numel() for p in model.parameters())
    assert found.total.output_shape == (10,) and found.notes == ()
    assert found.rows == cs.summary(model, (1, 28, 28)).rows
    assert found.rows[0].name == "normalise"


def test_arguments_of_networks() -> None:
    found = cs.summary("cnn", (3, 32, 32), num_classes=7, widths=[8, 16], kernel_size=3)
    assert found.total.output_shape == (7,)
    assert [row.parameters for row in found.rows if row.kind == "Conv2d"] == [224, 1168]
    line = cs.summary("layers", layers="c3-4 relu mp2 flatten fc")
    assert line.total.parameters == 40 + 4 * 14 * 14 * 10 + 10
    assert cs.summary("wide_resnet", (3, 32, 32), depth=10, width=1).total.parameters < 100_000


def test_classifiers_of_torchvision() -> None:
    found = cs.summary("tv:resnet18")
    assert found.inputs == ((3, 224, 224),) and found.total.output_shape == (1000,)
    assert found.rows[0].name == "conv1"
    assert found.notes == (
        "torchvision publishes 11,689,512 parameters and 1.814 G multiply-adds.",
    )
    small = cs.summary("tv:resnet18", (3, 32, 32), num_classes=10, small_stem=True)
    assert small.total.parameters == 11_173_962 and small.notes == ()
    assert cs.summary("tv:resnet18", (3, 64, 64)).notes == ()
    (note,) = cs.summary("tv:inception_v3").notes
    assert note.endswith(
        "27,161,264 parameters and 5.713 G multiply-adds; 3,326,696 of the parameters are those of "
        "an auxiliary head, which is for training alone and left out here."
    )
    (note,) = cs.summary("tv:googlenet").notes
    assert note.endswith("6,624,904 parameters and 1.498 G multiply-adds.")
    failed = cs.summary("tv:vgg11", (3, 28, 28))
    assert failed.failure is not None and failed.failure.module == "features.20"
    assert [row.output_shape for row in failed.rows if row.kind == "MaxPool2d"][-2:] == [
        (512, 1, 1), None,
    ]  # fmt: skip


def test_a_class_in_a_file(own: Path) -> None:
    found = cs.summary("mine.py:Net", (3, 16, 16), num_classes=5, width=6)
    assert [row.name for row in found.rows] == ["conv", "mean", "head"]
    assert found.total.parameters == 3 * 9 * 6 + 6 + 35
    two = cs.summary("mine.py:Two", ((3, 8, 8), (10,)))
    assert two.failure is None and len(two.rows) == 4
    with pytest.raises(BadArgument, match=r"input_shape=1x28x28: Two takes 2 inputs \(x, y\)"):
        cs.summary("mine.py:Two")
    looks = cs.summary("mine.py:Looks")
    assert looks.failure is None and "depends on the values" in looks.notes[0]
    assert looks.rows[-1].name == "neg"
    assert cs.summary("mine.py:Lazy").total.parameters == 7850
    bad = cs.summary("mine.py:Bad").failure
    assert bad is not None and "mat1 and mat2 shapes cannot be multiplied" in bad.reason


def test_no_weights_are_made(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network by name is made of shapes; a class, too, where it allows that."""
    made: list[torch.device] = []
    kept = nn.Module.register_parameter

    def register(self, name, parameter):
        kept(self, name, parameter)
        if parameter is not None:
            made.append(self._parameters[name].device)

    monkeypatch.setattr(nn.Module, "register_parameter", register)
    cs.summary("cifar_cnn", (3, 32, 32))
    cs.summary("tv:alexnet")
    cs.summary("mine.py:Net")
    assert made and set(map(str, made)) == {"meta"}


def test_a_run(bars, own: Path) -> None:
    small = {"epochs": 1, "batch_size": 60, "precision": "float32", "kernels": "plain"}
    small["memory_format"] = "contiguous"
    run = cs.train("mnist", model="mlp", hidden=16, **small)
    found = cs.summary(run.path)
    assert found.inputs == ((1, 12, 12),) and found.total.output_shape == (3,)
    assert found.total.parameters == 144 * 16 + 16 + 16 * 3 + 3
    assert found.rows == cs.summary(str(run.path)).rows
    with pytest.raises(BadArgument, match="input_shape=.*: does not go with a run, which has its"):
        cs.summary(run.path, (1, 8, 8))
    with pytest.raises(RunError, match="nothing: is no run folder"):
        cs.summary(Path("runs/nothing"))
    mine = cs.train("mnist", model="mine.py:Net", **small)
    with pytest.raises(BadArgument, match="no code is loaded that you do not name"):
        cs.summary(mine.path)
    assert cs.summary(mine.path, model="mine.py:Net").total.parameters == 40 + 15
    report = run.report.read_text()
    assert "2,320" in report and "whole image" not in report.split("<table")[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"network": "cn"}, "network=cn: is no registered network; did you mean cnn"),
        ({"network": "tv:resnext"}, "network=tv:resnext: is no classifier of torchvision"),
        ({"network": "mine.py:Nat"}, "network=mine.py:Nat: names no file that is there"),
        ({"network": "cnn", "hidden": 3}, "hidden=3: is no argument of cnn"),
        ({"network": "cnn", "num_classes": 0}, "num_classes=0: must be at least 1"),
        ({"network": "cnn", "model": "mine.py:Net"}, "model=mine.py:Net: is for a run of a class"),
        ({"network": "cnn", "input_shape": (1, 0, 3)}, "input_shape=1x0x3: must be a shape"),
        ({"network": "record", "input_shape": (1, 9, 9)}, "network=record: needs images of at"),
        (
            {"network": "tv:vit_b_16", "input_shape": (3, 50, 50)},
            "network=tv:vit_b_16: cuts square",
        ),
    ],
)
def test_what_is_refused(workplace: Path, arguments: dict, said: str) -> None:
    with pytest.raises(BadArgument) as caught:
        cs.summary(**arguments)
    assert str(caught.value).startswith(said)
