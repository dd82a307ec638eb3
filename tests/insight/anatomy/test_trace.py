"""What is recorded of a forward pass, that it computes nothing, and that it leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, library, nn
from torch.nn import functional

from convscope.insight.anatomy import summarise, weightless
from convscope.insight.anatomy.trace import trace


class Counts(nn.Module):
    """Changes two buffers at each call, in place and by a new tensor; keeps what it saw; refuses to
    be trained."""

    def __init__(self, on_data: bool = False) -> None:
        super().__init__()
        self.register_buffer("in_place", torch.zeros(1))
        self.register_buffer("replaced", torch.zeros(1))
        self.last: Tensor | None = None
        self.on_data = on_data

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        self.in_place += 1
        self.replaced = self.replaced + x.mean()
        self.last = x
        return -x if self.on_data and x.sum() > 0 else x


@pytest.mark.parametrize("on_data", [False, True])
def test_leaves_the_model_as_it_was(on_data: bool) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), Counts(on_data), nn.Dropout())
    model.train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    held = [id(tensor) for tensor in (*model.buffers(), *model.parameters())]
    summarise(model, (1, 5, 5))
    assert summarise(model, (2, 5, 5)).failure is not None
    assert [module.training for module in model] == [True, False, True, True]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [id(tensor) for tensor in (*model.buffers(), *model.parameters())] == held
    assert model[2].last is None
    assert not any(module._forward_hooks for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert torch.backends.mha.get_fastpath_enabled()
    model.eval()(torch.rand(2, 1, 5, 5)).sum().backward()  # nothing was left in inference mode


class Notes:
    """An object that is no module, and keeps a tensor."""

    __slots__ = ("__dict__", "last")

    def __init__(self) -> None:
        self.sum = torch.zeros(1)
        self.last = 0


class Keeps(nn.Module):
    """Changes whatever it holds: lists, dicts, objects, arrays, generators, its own weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.calls: list[dict[str, list[int]]] = [{"calls": []}]
        self.notes = Notes()
        self.array = np.zeros(2)
        self.source = torch.Generator()

    def forward(self, x: Tensor) -> Tensor:
        self.calls[0]["calls"].append(1)
        self.notes.sum += 1
        self.notes.last += 1
        self.array += 1
        torch.rand(1), torch.rand(1, generator=self.source)
        with torch.no_grad():
            self.weight.clamp_(max=0.5)
        return x * self.weight.sum()


def test_gives_back_what_lies_deep_within() -> None:
    model = Keeps()
    kept = model.calls[0]["calls"]
    states = torch.get_rng_state(), model.source.get_state()
    assert summarise(model, (1, 5, 5)).failure is None
    assert kept == [] and model.calls[0]["calls"] is kept
    assert (float(model.notes.sum), model.notes.last, model.array.tolist()) == (0, 0, [0, 0])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert torch.equal(model.source.get_state(), states[1])
    assert model.weight.tolist() == [1, 1, 1]
    with torch.inference_mode():
        model.last = torch.zeros(1)
    assert summarise(model, (1, 5, 5)).failure is None  # such a tensor may be kept, too


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
def test_a_recurrent_layer_is_called_again(kind: type[nn.RNNBase]) -> None:
    """PyTorch keeps its weights a second time, in a list."""
    layer = kind(6, 4, batch_first=True)
    before = layer(torch.ones(2, 5, 6))[0]
    assert summarise(layer, (5, 6)).total.parameters == sum(p.numel() for p in layer.parameters())
    assert torch.equal(layer(torch.ones(2, 5, 6))[0], before)


SEEN: list[str] = []  # not the module's own, which is given back


class Constants(nn.Module):
    """Looks at the values of tables and weights, which do not depend on the image."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.Parameter(torch.full((), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        for share in torch.linspace(0, 1, int(self.steps.item())).tolist():
            x = x + share
        SEEN.append(x.device.type)
        table = torch.arange(4).view(2, 2)
        if bool((table > 2).any()):
            x = x[..., table.flatten()]
        return x


def test_only_what_depends_on_the_image_is_left_out() -> None:
    SEEN.clear()
    found = summarise(Constants(), (1, 4, 4))
    assert found.notes == () and found.failure is None
    assert SEEN == ["meta"]
    assert [row.name for row in found.rows] == ["add", "add_1", "getitem", "Constants"]
    assert found.rows[-1].note == "parameters that no row takes"


@pytest.mark.parametrize(
    ("look", "what"),
    [
        (lambda x: x.sum().item(), "item"),
        (lambda x: bool(x.sum() > 0), "bool"),
        (lambda x: int(x.argmax()), "int"),
        (lambda x: x.tolist(), "tolist"),
        (lambda x: x.numpy(), "numpy"),
        (lambda x: x[x > 0], "getitem"),
        (lambda x: x.nonzero(), "nonzero"),
    ],
)
def test_control_flow_on_data_is_said(look, what: str) -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.body(x)
            look(x)
            return self.body(x)

    found = summarise(nn.Sequential(nn.ReLU(), Looks()), (4,))
    assert found.notes == (
        f"The path depends on the values of the input (1, {what}): shown is that of zeros, and "
        "another input may take another.",
    )
    assert found.failure is None and found.total.multiply_adds == 32
    with weightless():
        bare = Looks()
    cut = summarise(bare, (4,))
    assert cut.failure is not None and cut.failure.module == "Looks"
    assert (
        cut.notes == (f"The path depends on the values of the input (Looks, {what}).",)
        or what in cut.failure.reason
    )
    assert [row.name for row in cut.rows][:1] == ["body"]
    whole = summarise(bare, (4,), rebuild=Looks)
    assert whole.failure is None and whole.total.multiply_adds == 32 and whole.notes


def test_weights_are_shapes() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            weight = nn.Parameter(torch.randn(3, 3))
            self.first, self.second = weight, weight
            self.layer = nn.Linear(3, 3)
            self.table = torch.arange(3).tolist()
            self.lazy = nn.LazyLinear(2)

    with weightless():
        tied = Tied()
        huge = nn.Sequential(nn.Linear(300_000, 300_000), nn.Linear(300_000, 2))
    assert tied.first is tied.second and tied.table == [0, 1, 2]
    assert {p.device.type for p in (tied.first, tied.layer.weight)} == {"meta"}
    assert nn.Linear(2, 2).weight.device.type == "cpu"
    assert summarise(huge, (300_000,)).total.multiply_adds == 300_000 * 300_002


class Broken(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(100, 10))
        self.after = nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "layer":
            return self.after(self.body(x))
        x = self.body[0](x)
        if self.how == "sum":
            return x + torch.ones(1, 4, 5, 5)
        raise ValueError("three channels\n are wanted")


@pytest.mark.parametrize(
    ("how", "rows", "said"),
    [
        (
            "layer",
            ["body.0", "body.1", "body.2", "body.3", "after"],
            "fails in body.3 (Linear), in linear, where [1,144] and [10,100] met: mat1 and mat2",
        ),
        ("sum", ["body.0"], "fails in Broken, in add, where [1,4,6,6] and [1,4,5,5] met: The size"),
        ("python", ["body.0"], "fails in Broken, which got [1,1,8,8]: three channels are wanted"),
    ],
)
def test_a_model_that_fails_shows_the_rows_up_to_there(
    how: str, rows: list[str], said: str
) -> None:
    found = summarise(Broken(how), (1, 8, 8))
    assert str(found.failure).startswith(said)
    names = [row.name for row in found.rows]
    assert names[: len(rows)] == rows
    assert found.rows[0].multiply_adds == 4 * 36 * 9
    if how == "layer":
        assert [row.note for row in found.rows[3:]] == ["fails here", "not reached"]
        assert [row.parameters for row in found.rows[3:]] == [1010, 22]
    assert repr(found).splitlines()[-1].startswith(f"Broken {said}")


class Half(nn.Module):
    """Fails between its functions."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(functional.conv2d(x, torch.ones(2, 1, 3, 3)))
        return x + torch.ones(5, 5)


def test_a_module_of_functions_that_fails_shows_those_that_did_not() -> None:
    found = summarise(nn.Sequential(nn.ReLU(), Half(), nn.ReLU()), (1, 8, 8))
    assert [row.name for row in found.rows] == ["0", "1.conv2d", "1.tanh"]
    assert found.failure is not None and found.failure.module == "1"
    assert found.failure.shapes == ((1, 2, 6, 6), (5, 5))


class Caught(nn.Module):
    """Tries one layer, and takes the other."""

    def __init__(self) -> None:
        super().__init__()
        self.bad, self.good = nn.Linear(3, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        try:
            torch.ones(3) @ x[0]
        except RuntimeError:
            x = x * 2
        try:
            x = self.bad(x)
        except RuntimeError:
            x = self.good(x)
        return x * 2


def test_an_error_that_the_model_catches_is_none() -> None:
    found = summarise(nn.Sequential(Caught(), nn.ReLU()), (4,))
    assert found.failure is None
    assert [row.name for row in found.rows] == ["0.mul", "0.bad", "0.good", "0.mul_1", "1"]
    assert (found.rows[1].note, found.rows[1].parameters) == ("fails here", 8)


class Inference(nn.Module):
    """Its forward pass is in inference mode, in which operators are not taken apart."""

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        y = functional.conv2d(x, torch.ones(2, 1, 3, 3))
        return functional.linear(y, torch.ones(5, 6)).matmul(torch.ones(5, 2))


def test_inference_mode() -> None:
    found = summarise(Inference(), (1, 8, 8))
    assert [row.multiply_adds for row in found.rows] == [2 * 36 * 9, 12 * 5 * 6, 12 * 2 * 5]


class Writes(nn.Module):
    """Writes what it makes into a tensor that it has made before."""

    def forward(self, x: Tensor) -> Tensor:
        out = torch.zeros(2, 4)
        out[:1] = x * 2
        out[1:] = torch.relu(x)
        return out @ torch.ones(4, 3)


def test_what_is_written_into_a_constant_is_of_the_image() -> None:
    found = summarise(Writes(), (4,))
    assert [(row.name, row.inputs) for row in found.rows] == [
        ("mul", (-1,)),
        ("setitem", (0,)),
        ("relu", (-1,)),
        ("setitem_1", (1, 2)),
        ("matmul", (3,)),
    ]
    root = trace(Writes(), [torch.zeros(1, 4)]).root
    assert all(value.image for op in root.ops() if op.name == "mm" for value in op.outputs)


@library.custom_op("own::doubled", mutates_args=())
def doubled(x: Tensor) -> Tensor:
    """An operator that PyTorch knows no shape of."""
    return x * 2


class Custom(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(doubled(x))


def test_an_operator_without_a_shape_rule_is_run() -> None:
    found = summarise(nn.Sequential(nn.Linear(4, 3), Custom()), (4,))
    assert found.failure is None and found.notes == ()
    assert [row.output_shape for row in found.rows] == [(3,)] * len(found.rows)
    assert [row.multiply_adds for row in found.rows][:2] == [12, None]
    assert "no counting rule for own::doubled" in found.text()


def test_half_precision_and_other_devices() -> None:
    (row,) = summarise(nn.Conv2d(1, 4, 3).half(), (1, 8, 8)).rows
    assert row.activation_bytes == 2 * 4 * 36
    with torch.device("meta"):
        layer = nn.Linear(3, 2)
    assert summarise(layer, (3,)).total.multiply_adds == 6
