"""The rows of networks whose numbers are counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from convscope.insight.anatomy import Row, summarise, total


def rows(model: nn.Module, shape: object) -> tuple[Row, ...]:
    return summarise(model, shape).rows


def system_a() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.BatchNorm2d(32),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1568, 10),
    )


def test_system_a_by_hand() -> None:
    found = rows(system_a(), (1, 28, 28))
    assert [
        (r.kind, r.output_shape, r.parameters, r.multiply_adds, r.activation_bytes, r.sees)
        for r in found
    ] == [
        ("Conv2d", (16, 28, 28), 16 * 25 + 16, 28 * 28 * 16 * 25, 4 * 16 * 28 * 28, "5x5"),
        ("BatchNorm2d", (16, 28, 28), 32, 0, 4 * 16 * 28 * 28, "5x5"),
        ("ReLU", (16, 28, 28), 0, 0, 4 * 16 * 28 * 28, "5x5"),
        ("MaxPool2d", (16, 14, 14), 0, 0, 4 * 16 * 14 * 14, "6x6"),
        ("Conv2d", (32, 14, 14), 32 * 400 + 32, 14 * 14 * 32 * 400, 4 * 32 * 14 * 14, "14x14"),
        ("BatchNorm2d", (32, 14, 14), 64, 0, 4 * 32 * 14 * 14, "14x14"),
        ("ReLU", (32, 14, 14), 0, 0, 0, "14x14"),  # in place
        ("MaxPool2d", (32, 7, 7), 0, 0, 4 * 32 * 7 * 7, "16x16"),
        ("Flatten", (1568,), 0, 0, 0, "16x16"),  # the same memory
        ("Linear", (10,), 15_690, 15_680, 4 * 10, "whole image"),
    ]
    assert [row.name for row in found] == [str(i) for i in range(10)]
    assert [row.why for row in found if row.why] == [
        "16 kernels; floor((28 + 2*2 - 5)/1) + 1 = 28",
        "floor((28 - 2)/2) + 1 = 14",
        "32 kernels; floor((14 + 2*2 - 5)/1) + 1 = 14",
        "floor((14 - 2)/2) + 1 = 7",
        "32 * 7 * 7 = 1568",
        "10 sums of 1568 products",
    ]
    assert [row.work for row in found if row.work] == [
        "16*28*28 * 1*5*5",
        "32*14*14 * 16*5*5",
        "10 * 1568",
    ]
    assert [row.inputs for row in found] == [(i - 1,) for i in range(10)]
    whole = total(found)
    assert (whole.parameters, whole.output_shape) == (29_034, (10,))
    assert whole.multiply_adds == 313_600 + 2_508_800 + 15_680
    assert found[7].as_json() == {
        "name": "7",
        "kind": "MaxPool2d",
        "output_shape": [32, 7, 7],
        "why": "floor((14 - 2)/2) + 1 = 7",
        "parameters": 0,
        "multiply_adds": 0,
        "work": "",
        "activation_bytes": 6272,
        "receptive_field": [16, 16],
        "stride": [4, 4],
        "centre": [1.5, 1.5],
        "sees": "16x16",
        "inputs": [6],
        "join": None,
        "note": "",
    }
    last = found[9].as_json()
    assert (last["receptive_field"], last["stride"], last["centre"]) == ([28, 28], None, None)


class Strange(nn.Module):
    """A layer called twice, one never, one that borrows a weight, and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(3, 3)
        self.twice = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.twice.weight
        self.scale = nn.Parameter(torch.ones(4))
        self.spare = nn.Parameter(torch.ones(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.tied(self.twice(self.twice(x))) * self.scale


def test_counts_every_parameter_once_and_work_each_time() -> None:
    model = Strange()
    found = {(row.name, row.note): row for row in rows(model, (1, 1, 4))}
    assert list(found) == [
        ("twice", ""),
        ("twice", "called again"),
        ("tied", "shares the parameters of twice"),
        ("mul", ""),
        ("Strange", "parameters that no row takes"),
        ("unused", "never called"),
    ]
    assert [row.parameters for row in found.values()] == [20, 0, 4, 4, 5, 12]
    assert [row.multiply_adds for row in found.values()] == [16, 16, 16, 0, 0, 0]
    assert found["unused", "never called"].output_shape is None
    whole = total(list(found.values()))
    assert whole.parameters == sum(p.numel() for p in model.parameters())
    assert whole.output_shape == (1, 1, 4)


class Meeting(nn.Module):
    """A residual, branches of two kinds, a gate, and a way around that no layer is on."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(4, 4, 3, padding=1)
        self.two = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x) + x
        x = self.one(x) + self.two(x)
        x = torch.cat([self.one(x), x, self.two(x)], 1)[:, :4]
        x = x * torch.sigmoid(x.mean((2, 3), keepdim=True))
        x += self.two(functional.dropout(x, training=False))
        return functional.relu(x, inplace=True)


def test_where_branches_meet() -> None:
    found = rows(Meeting(), (4, 6, 6))
    met = [(row.name, row.join, row.why, row.inputs) for row in found if row.join]
    assert met == [
        ("add", "residual", "one + input", (-1, 0)),
        ("add_1", "branches", "one + two", (2, 3)),
        ("cat", "concatenated", "4 + 4 + 4 = 12 of add_1, one, two", (4, 5, 6)),
        ("mul", "gate", "sigmoid * cat", (7, 9)),
        ("add_2", "residual", "two + mul", (10, 11)),
    ]
    assert found[-1].inputs == (12,)  # what was changed in place is made by who changed it
    assert (found[12].activation_bytes, found[-1].activation_bytes) == (0, 0)


class Functional(nn.Module):
    """A network that is all functions."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.rand(4, 1, 3, 3))
        self.table = nn.Parameter(torch.rand(10, 144))
        self.start = nn.Parameter(torch.rand(1, 1, 6))

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel - self.kernel.mean()  # of weights alone: no row
        x = functional.relu(functional.conv2d(x, kernel))
        y = functional.linear(x.view(x.shape[0], -1), self.table)
        z = torch.cat([self.start, x.mean(1)], 1)
        return torch.einsum("bij,bkj->bik", z, z).sum((1, 2)) + y @ self.table[:, :1]


def test_a_network_of_functions() -> None:
    found = rows(Functional(), (1, 8, 8))
    assert [(row.name, row.output_shape, row.parameters, row.multiply_adds) for row in found] == [
        ("conv2d", (4, 6, 6), 36, 4 * 36 * 9),
        ("relu", (4, 6, 6), 0, 0),
        ("view", (144,), 0, 0),
        ("linear", (10,), 1440, 1440),
        ("mean", (6, 6), 0, 0),
        ("cat", (7, 6), 6, 0),
        ("einsum", (7, 7), 0, 7 * 7 * 6),
        ("sum", (), 0, 0),
        ("matmul", (1,), 0, 10),
        ("add", (1,), 0, 0),
    ]
    assert found[2].why == "4 * 6 * 6 = 144"
    assert found[8].note == "shares the parameters of linear"


class Block(nn.Module):
    """A user's module that does one thing is a row; one that does several is a row for each."""

    def __init__(self, several: bool) -> None:
        super().__init__()
        self.several = several
        self.weight = nn.Parameter(torch.rand(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(functional.linear(x, self.weight))
        return functional.linear(x, self.weight) if self.several else x


class Around(nn.Module):
    """One product, and a way around it."""

    def forward(self, x: Tensor) -> Tensor:
        return x + functional.linear(x, torch.ones(4, 4))


class Gated(nn.Module):
    """An activation in two functions is one thing."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


def test_what_is_a_row() -> None:
    found = rows(nn.Sequential(Around(), Gated()), (4,))
    assert [(row.name, row.join) for row in found] == [
        ("0.linear", ""),
        ("0.add", "residual"),
        ("1", ""),
    ]
    found = rows(nn.Sequential(Block(False), Block(True)), (4,))
    assert [(row.name, row.kind, row.parameters) for row in found] == [
        ("0", "Block", 16),
        ("1.linear", "linear", 16),
        ("1.tanh", "tanh", 0),
        ("1.linear_1", "linear", 0),
    ]
    (alone,) = rows(nn.Linear(4, 2), (4,))
    assert (alone.name, alone.kind) == ("Linear", "Linear")


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

    (row,) = rows(Whole(), (1, 2, 3))
    assert (row.name, row.kind, row.output_shape, row.parameters) == ("pair", "Pair", (1, 2, 3), 0)


def test_parametrised_layers_stay_one_row() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 4, 3))
    (row,) = rows(nn.Sequential(layer), (1, 8, 8))
    assert (row.name, row.parameters, row.multiply_adds) == ("0", 44, 4 * 36 * 9)


@pytest.mark.parametrize("bad", [(), [row := Row("a", "b", None, 1, None)]])
def test_sums_of_what_is_not_known(bad: list[Row]) -> None:
    found = total(bad)
    assert (found.output_shape, found.multiply_adds, found.parameters) == (None, 0, len(bad))
    assert found.note == ("without 1 row that cannot be counted" if bad else "")
