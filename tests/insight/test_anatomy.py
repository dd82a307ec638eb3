"""The anatomy of networks whose numbers are counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from convscope.errors import BadArgument
from convscope.insight.anatomy import Row, rows, total


def system_a() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1568, 10),
    )


def test_system_a_by_hand() -> None:
    found = rows(system_a(), (1, 28, 28))
    assert [(row.kind, row.output_shape, row.parameters, row.multiply_adds) for row in found] == [
        ("Conv2d", (16, 28, 28), 16 * 25 + 16, 28 * 28 * 16 * 25),
        ("BatchNorm2d", (16, 28, 28), 32, 0),
        ("ReLU", (16, 28, 28), 0, 0),
        ("MaxPool2d", (16, 14, 14), 0, 0),
        ("Conv2d", (32, 14, 14), 32 * 16 * 25 + 32, 14 * 14 * 32 * 16 * 25),
        ("BatchNorm2d", (32, 14, 14), 64, 0),
        ("ReLU", (32, 14, 14), 0, 0),
        ("MaxPool2d", (32, 7, 7), 0, 0),
        ("Flatten", (1568,), 0, 0),
        ("Linear", (10,), 15_690, 15_680),
    ]
    assert [row.name for row in found] == [str(i) for i in range(10)]
    assert total(found) == Row("total", "", (10,), 29_034, 313_600 + 2_508_800 + 15_680)


@pytest.mark.parametrize(
    ("layer", "shape", "output", "work"),
    [
        (nn.Conv2d(4, 6, 3, stride=2, groups=2), (4, 9, 9), (6, 4, 4), 16 * 6 * 2 * 9),
        (nn.Conv2d(3, 8, (5, 3), bias=False), (3, 7, 7), (8, 3, 5), 15 * 8 * 3 * 15),
        (nn.ConvTranspose2d(2, 3, 2, stride=2), (2, 4, 4), (3, 8, 8), 16 * 2 * 3 * 4),
        (nn.Linear(7, 5), (3, 2, 7), (3, 2, 5), 6 * 7 * 5),
    ],
)
def test_work_of_single_layers(
    layer: nn.Module, shape: tuple[int, int, int], output: tuple[int, ...], work: int
) -> None:
    (row,) = rows(layer, shape)
    assert (row.name, row.output_shape, row.multiply_adds) == (type(layer).__name__, output, work)
    assert row.parameters == sum(p.numel() for p in layer.parameters())


def test_convolution_in_one_dimension() -> None:
    model = nn.Sequential(nn.Flatten(1, 2), nn.Conv1d(6, 2, 3))
    assert rows(model, (3, 2, 10))[1].multiply_adds == 8 * 2 * 6 * 3


class Strange(nn.Module):
    """A layer called twice, one never, one that borrows a weight, and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(3, 3)
        self.twice = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.twice.weight
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.tied(self.twice(self.twice(x))) * self.scale


def test_counts_every_parameter_once_and_work_each_time() -> None:
    model = Strange()
    found = {(row.name, row.note): row for row in rows(model, (1, 1, 4))}
    assert list(found) == [
        ("twice", ""),
        ("twice", "called again"),
        ("tied", "shares the parameters of twice"),
        ("Strange", "parameters of its own beside its layers"),
        ("unused", "never called"),
    ]
    assert [row.parameters for row in found.values()] == [20, 0, 4, 4, 12]
    assert [row.multiply_adds for row in found.values()] == [16, 16, 16, 0, 0]
    assert found["unused", "never called"].output_shape is None
    whole = total(list(found.values()))
    assert whole.parameters == sum(p.numel() for p in model.parameters())
    assert whole.output_shape == (1, 1, 4)


class Counts(nn.Module):
    """Changes two buffers at each call, in place and by a new tensor; refuses to be trained."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("in_place", torch.zeros(1))
        self.register_buffer("replaced", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        self.in_place += 1
        self.replaced = self.replaced + 1
        return x


def test_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), Counts(), nn.Dropout())
    model.train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    buffers = [id(b) for b in model.buffers()]
    rows(model, (1, 5, 5))
    with pytest.raises(BadArgument, match=r"input_shape=2x5x5: the model cannot take it"):
        rows(model, (2, 5, 5))
    assert [module.training for module in model] == [True, False, True, True]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [id(b) for b in model.buffers()] == buffers
    assert not any(module._forward_hooks for module in model.modules())
    model.eval()(torch.rand(2, 1, 5, 5)).sum().backward()  # nothing was left in inference mode


def test_shapes_of_tuples() -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[None, dict[str, Tensor]]:
            return None, {"x": x}

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = Pair()

        def forward(self, x: Tensor) -> Tensor:
            return self.pair(x)[1]["x"]

    assert rows(Whole(), (1, 2, 3)) == [Row("pair", "Pair", (1, 2, 3), 0, 0)]
