"""What is varied, as it is typed and as it stands ready."""

from __future__ import annotations

import pytest

from convscope.errors import BadArgument
from convscope.studies import grid


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("lr=0.01,1", "lr", [0.01, 1.0]),
        ("--batch-size=1,10", "batch_size", [1, 10]),
        ("optimizer=sgd, adam", "optimizer", ["sgd", "adam"]),
        ("flip=true,false", "flip", [True, False]),
        ("kernel_size=1,5x3", "kernel_size", [1, [5, 3]]),
        ("widths=8,16;16,32,64", "widths", [[8, 16], [16, 32, 64]]),
        ("layers=flatten fc;gap flatten fc", "layers", ["flatten fc", "gap flatten fc"]),
        ("compression=0.5,1", "compression", [0.5, 1]),
        ("bottleneck=true,false", "bottleneck", [True, False]),
        ("model=mlp,cnn", "model", ["mlp", "cnn"]),
    ],
)
def test_a_field_and_its_values_as_they_are_typed(text, name, values):
    found, got = grid.typed(text)
    assert (found, got) == (name, values)
    assert [type(value) for value in got] == [type(value) for value in values]


@pytest.mark.parametrize("text", ["lr", "lr=", "=1,2", "lr=1,,2", ""])
def test_what_is_no_field_with_values_is_refused(text):
    with pytest.raises(BadArgument, match="vary=.*must be a field and its values; write lr=0.01"):
        grid.typed(text)


def test_what_cannot_be_varied_is_refused():
    with pytest.raises(BadArgument, match="cannot vary seed; use --seeds N"):
        grid.typed("seed=1,2")
    with pytest.raises(BadArgument, match="names a value twice"):
        grid.typed("lr=1,1")


def test_every_combination_is_a_setting():
    found = grid.settings([("lr", [0.1, 0.2]), ("layers", {"short": "fc", "long": "fc9 fc"})])
    assert [setting.name for setting in found] == [
        *("lr 0.1, short", "lr 0.1, long", "lr 0.2, short", "lr 0.2, long"),
    ]
    assert found[1].options == {"lr": 0.1, "layers": "fc9 fc"}
    assert grid.settings([]) == [grid.Setting({}, {})]


def test_the_studies_that_are_ready():
    assert grid.names() == [
        *("batch-norm", "batch-size", "branches", "depth", "fully-connected"),
        *("kernel-size", "pooling", "shift", "stride"),
    ]
    for name in grid.names():
        study = grid.load(name)
        assert study.question.endswith("?") and study.parts and len(study.seeds) >= 3
        for part in study.parts:
            names = [setting.name for setting in part.settings]
            assert (len(names) > 1 or part.measures) and len(set(names)) == len(names), name
    with pytest.raises(BadArgument, match="study=kernel: is no study that is ready; .*kernel-size"):
        grid.load("kernel")
