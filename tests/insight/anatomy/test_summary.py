"""A summary as a whole: what it takes, what it says, how it folds."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from torch import Tensor, nn

from convscope.errors import BadArgument
from convscope.insight.anatomy import summarise
from convscope.models import build


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.maps, self.vector = nn.Conv2d(3, 4, 3), nn.Linear(10, 4)

    def forward(self, x: Tensor, y: Tensor, scale: float = 1.0) -> Tensor:
        return self.maps(x).mean((2, 3)) + scale * self.vector(y)


def test_several_inputs() -> None:
    shapes = summarise(Two(), ((3, 8, 8), (10,)))
    tensors = summarise(Two(), (torch.rand(1, 3, 8, 8), torch.rand(1, 10)))
    mixed = summarise(Two(), [(3, 8, 8), torch.rand(1, 10)])
    assert shapes.inputs == ((3, 8, 8), (10,)) and tensors.inputs == ((1, 3, 8, 8), (1, 10))
    assert shapes.total.multiply_adds == tensors.total.multiply_adds == 4 * 36 * 27 + 40
    assert mixed.total == tensors.total
    assert shapes.total.output_shape == (4,) and tensors.total.output_shape == (1, 4)
    assert "for an input of 3 x 8 x 8 and 10" in shapes.text()


def test_numbers_that_only_a_tensor_has() -> None:
    model = nn.Sequential(nn.Embedding(100, 8), nn.Linear(8, 3))
    assert summarise(model, torch.zeros(1, 7, dtype=torch.long)).rows[0].parameters == 800
    refused = summarise(model, torch.zeros(1, 7))
    assert refused.failure is not None
    assert [(row.name, row.note, row.parameters) for row in refused.rows] == [
        ("0", "fails here", 800),
        ("1", "not reached", 27),
    ]


class Named(nn.Module):
    def forward(self, x: Tensor, *, mask: Tensor) -> Tensor:
        return x * mask


@pytest.mark.parametrize(
    ("model", "given", "said"),
    [
        (Two(), (3, 8, 8), r"=3x8x8: Two takes 2 inputs \(x, y\), and 1 was given; give a shape "
         r"for each: --input 3x32x32 --input 10, or from Python a tuple of shapes or tensors"),
        (nn.ReLU(), ((3,), (4,)), r"=3, 4: ReLU takes 1 input \(input\), and 2 were given"),
        (Named(), (3,), "Named takes 2 inputs .*; wrap it in a module that gives mask"),
        (nn.ReLU(), 3, "=3: must be a shape without the batch, several of them, or tensors; try"),
        (nn.ReLU(), (), r"=\(\): must be a shape"),
        (nn.ReLU(), (3, 0, 3), "=3x0x3: must be a shape"),
        (nn.ReLU(), (3, 2.5), "must be a shape"),
        (nn.ReLU(), "3x3", "=3x3: must be a shape"),
    ],
)  # fmt: skip
def test_what_is_refused(model: nn.Module, given: object, said: str) -> None:
    with pytest.raises(BadArgument, match=said) as caught:
        summarise(model, given)
    assert caught.value.argument == "input_shape"


def test_compiled_code_cannot_be_watched() -> None:
    with warnings.catch_warnings(action="ignore"):
        compiled = torch.jit.trace(nn.ReLU(), torch.zeros(1))
    with pytest.raises(BadArgument, match="is compiled to TorchScript, whose layers cannot be"):
        summarise(compiled, (3,))


def test_lazy_layers_stay_lazy() -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(10))
    found = summarise(model, (3, 8, 8))
    assert found.total.parameters == 3 * 4 * 9 + 4 + 1440 + 10
    assert isinstance(model[2], nn.LazyLinear)


def test_the_json_contract() -> None:
    found = summarise(build("inception", 10, 1, (28, 28)), (1, 28, 28), name="inception").as_json()
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again == found and found["model"] == "inception" and found["inputs"] == [[1, 28, 28]]
    keys = {"name", "kind", "output_shape", "parameters", "multiply_adds", "activation_bytes",
            "receptive_field", "stride"}  # fmt: skip
    assert all(keys < set(row) for row in found["rows"])
    total = found["total"]
    for key in ("parameters", "multiply_adds", "activation_bytes"):
        assert total[key] == sum(row[key] for row in found["rows"])
    assert total["output_shape"] == [10] and total["parameters"] == 97_298
    failed = summarise(nn.Linear(3, 2), (4,)).as_json()["failure"]
    assert failed["module"] == "Linear" and failed["shapes"][:2] == [[1, 4], [2, 3]]


def test_folding_keeps_the_sums() -> None:
    found = summarise(build("inception", 10, 1, (28, 28)), (1, 28, 28))
    for level in (1, 2, 3, 9):
        folded = found.folded(level)
        one, two = folded.total, found.total
        assert (one.parameters, one.multiply_adds) == (two.parameters, two.multiply_adds)
        assert one.activation_bytes == two.activation_bytes
        assert all(i < n for n, row in enumerate(folded.rows) for i in row.inputs)
    blocks = {row.name: row for row in found.folded(2).rows}
    assert blocks["features.3"].kind == "InceptionA"
    assert (
        blocks["features.3"].output_shape == (88, 12, 12) and blocks["features.3"].sees == "14x14"
    )
    assert blocks["features.3"].parameters == 176 * 3 + 9624 + 3480 + 5208 + 264
    assert found.folded(9).rows == found.rows
    with pytest.raises(BadArgument, match="level=0: must be a whole number of at least 1"):
        found.folded(0)


def test_how_it_shows_itself() -> None:
    found = summarise(build("cnn", 10, 1, (28, 28)), (1, 28, 28))
    assert repr(found) == found.text() == str(found)
    assert found._repr_html_().startswith('<div class="summary">')
    assert found.svg().startswith("<svg ") and found.html().startswith("<!doctype html>")


def test_a_table_is_indexed_with_whole_numbers() -> None:
    """Which a shape does not say."""
    words = nn.Sequential(nn.Embedding(100, 16), nn.Flatten(), nn.Linear(160, 2))
    found = summarise(words, (10,))
    assert found.failure is None and found.total.multiply_adds == 320
    assert found.notes == ("Input 1 is taken to be whole numbers, as an index is.",)

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.table = nn.Linear(5, 4), nn.Embedding(7, 4)

        def forward(self, x: Tensor, index: Tensor) -> Tensor:
            return self.body(x) + self.table(index).mean(1)

    found = summarise(Both(), ((5,), (3,)))
    assert found.failure is None and found.total.parameters == 24 + 28
    assert found.notes == ("Input 2 is taken to be whole numbers, as an index is.",)
    found = summarise(Both(), ((5,), (5,)))  # the first of them is a vector of numbers
    assert found.failure is None and found.notes == (
        "Input 2 is taken to be whole numbers, as an index is.",
    )
    broken = summarise(nn.Sequential(nn.Linear(5, 5), nn.Embedding(7, 4)), (5,))
    assert broken.failure is not None and broken.failure.module == "1"


def test_lazy_layers_get_their_sizes_and_stay_lazy() -> None:
    layers = [nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)]
    model = nn.Sequential(*layers)
    found = summarise(model, (3, 16, 16))
    assert [row.parameters for row in found.rows] == [224, 16, 0, 0, 8 * 14 * 14 * 2 + 2]
    assert type(model[0]) is nn.LazyConv2d and model[1].has_uninitialized_params()


def test_weights_that_are_made_of_others() -> None:
    from torch.nn.utils import parametrizations

    norm = parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    found = summarise(nn.Sequential(norm, nn.Flatten()), (3, 8, 8))
    assert found.rows[0].parameters == sum(p.numel() for p in norm.parameters()) == 116
    assert found.rows[0].multiply_adds == 36 * 4 * 27 and found.rows[0].label == "conv 3x3"
    spectral = parametrizations.spectral_norm(nn.Linear(8, 4))
    before = [value.clone() for value in spectral.state_dict().values()]
    (row,) = summarise(spectral, (8,)).rows
    assert (row.why, row.parameters, row.label) == ("4 sums of 8 products", 36, "linear")
    assert all(map(torch.equal, before, spectral.state_dict().values()))


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x * x

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad


class Unusual(nn.Module):
    """A function with a gradient of its own, a checkpoint, and a dictionary of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> dict[str, object]:
        x = torch.utils.checkpoint.checkpoint(self.body, x, use_reentrant=False)
        return {"squares": [Square.apply(x)], "logits": self.last(x)}


def test_functions_with_gradients_checkpoints_and_nested_outputs() -> None:
    found = summarise(Unusual(), (8,))
    assert found.failure is None and found.total.multiply_adds == 64 + 16
    assert [row.kind for row in found.rows] == ["Linear", "mul", "Linear"]
    assert [row.inputs for row in found.rows] == [(-1,), (0,), (0,)]


def test_what_was_compiled_is_refused_by_name() -> None:
    with warnings.catch_warnings(action="ignore"):
        traced = torch.jit.trace(nn.Linear(3, 2), torch.zeros(1, 3))
    with pytest.raises(
        BadArgument, match="has in 1 what is compiled to TorchScript.* before torch"
    ):
        summarise(nn.Sequential(nn.ReLU(), traced), (3,))
    with pytest.raises(BadArgument, match="ReLU takes 1 input .* leave some out; .* a list"):
        summarise(nn.ReLU(), ((3,), (3,)))
