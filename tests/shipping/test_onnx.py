"""Networks as ONNX graphs: over the whole registry, they say what PyTorch says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from convscope.data.columns import Class, Columns, Image, Labels, Number, Numbers, image_and_label
from convscope.errors import ConvscopeError
from convscope.models import MODELS, build, build_for
from convscope.models.parts import Classifier
from convscope.predicting.onnx_file import Names
from convscope.shipping.onnx import graph_of
from convscope.shipping.verify import TOLERANCE, answers, differences

SMALLEST = [  # of a family: what is exported in every run; the whole ones are slow
    ("mlp", {}),
    ("cnn", {"widths": (4,)}),
    ("inception", {}),
    ("preact_resnet", {"depth": 8, "width": 1}),
    ("densenet", {"depth": 10, "growth": 1}),
    ("wide_resnet", {"depth": 10, "width": 1}),
    ("record", {"widths": (4,)}),
    ("layers", {"layers": "c3x2-6s2 [ bn gelu c3-6g2 ]+ ap2 elu c1-9 leaky gmp flatten fc"}),
]
TV = ("squeezenet1_1", "mobilenet_v3_small", "googlenet", "densenet121", "convnext_tiny")
TV += ("vit_b_16",)
NETWORKS = [
    *SMALLEST,
    *(pytest.param(name, {}, marks=pytest.mark.slow) for name in MODELS if name != "layers"),
    *(pytest.param(f"tv:{name}", {"small_stem": True}, marks=pytest.mark.slow) for name in TV),
]
COLUMNS: Columns = {
    "front": Image(1, (12, 12)),
    "side": Image(1, (12, 12), "crop"),
    "size": Numbers(("a", "b")),
    "kind": Class(("x", "y", "z")),
    "tags": Labels(("wet", "old")),
    "age": Number(),
}


def stirred(network: nn.Module, columns: Columns) -> nn.Module:
    """The network with statistics of its own in its batch norm, to be evaluated."""
    with torch.no_grad():
        network.train()(*(torch.rand(4, *one.shape) for one in columns.values() if one.is_input))
    return network.eval()


def held(network: nn.Module, columns: Columns, temperatures: dict[str, float]) -> onnx.ModelProto:
    """The graph of a network, which was seen to say what the network says, of one record and of
    five."""
    model = graph_of(network, columns, temperatures)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    random = np.random.default_rng(0)
    for count in (1, 5):
        given = {
            name: random.integers(0, 256, (count, *one.shape), np.uint8)
            if isinstance(one, Image)
            else random.normal(size=(count, *one.shape)).astype(np.float32)
            for name, one in columns.items()
            if one.is_input
        }
        with torch.no_grad():
            said = network(*(
                torch.from_numpy(one) * (1 / 255 if one.dtype == np.uint8 else 1)
                for one in given.values()
            ))  # fmt: skip
        names = Names.of(columns)
        said = said if isinstance(said, dict) else dict(zip(names.outputs, [said], strict=True))
        ends = [one.name for one in session.get_outputs()]
        inputs = {names.inputs[name]: one for name, one in given.items()}
        found = dict(zip(ends, session.run(ends, inputs), strict=True))
        wanted = answers(columns, temperatures, {name: said[name].numpy() for name in said})
        checks = differences("it", columns, found, wanted)
        assert len(checks) >= 3 and all(one.ok for one in checks), checks
    return model


@pytest.mark.parametrize(("name", "arguments"), NETWORKS)
def test_every_network_says_what_it_says_in_pytorch(name: str, arguments: dict) -> None:
    """-m slow: the whole networks of the registry and six of torchvision. Each of them within 2e-7
    of a probability, densenet121 the slowest with 57 seconds, two cores of an AMD EPYC (family 25,
    model 17) beside other work, 2026-11-30."""
    channels, size = (3, (32, 32)) if name in ("cifar_cnn", "record") else (1, (28, 28))
    torch.manual_seed(3)
    columns = image_and_label((channels, *size), [str(i) for i in range(5)], "crop")
    network = stirred(build(name, 5, channels, size, arguments), columns)
    model = held(network, columns, {"label": 1.7})
    assert {node.domain for node in model.graph.node} == {""} and not model.functions


def test_a_network_of_several_inputs_and_targets_has_them_by_name() -> None:
    torch.manual_seed(0)
    network = stirred(build_for("cnn", COLUMNS, {"widths": [4]}, shared=True), COLUMNS)
    model = held(network, COLUMNS, {"kind": 0.6})
    assert [one.name for one in model.graph.input] == ["front", "side", "size"]
    assert [one.name for one in model.graph.output] == [
        *("kind.probabilities", "kind.logits", "tags.probabilities", "tags.logits", "age"),
    ]


def test_outputs_are_told_apart_by_name_whatever_their_order(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "import torch\nfrom torch import nn\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a, self.b, self.c = nn.Linear(290, 1), nn.Linear(290, 2), nn.Linear(290, 3)\n"
        "    def forward(self, front, side, size):\n"
        "        x = torch.cat([front.flatten(1), side.flatten(1), size], 1)\n"
        "        return {'age': self.a(x), 'tags': self.b(x), 'kind': self.c(x)}\n"
    )
    torch.manual_seed(0)
    held(build_for(f"{file}:Net", COLUMNS).eval(), COLUMNS, {})


def test_nodes_keep_the_path_of_their_module_and_no_path_of_this_machine() -> None:
    columns = image_and_label((1, 12, 12), ["a", "b"])
    model = graph_of(build("cnn", 2, 1, (12, 12), {"widths": [4]}).eval(), columns, {})
    where = [one.value for node in model.graph.node for one in node.metadata_props]
    assert any("features.1" in one for one in where) and any("head.1" in one for one in where)
    package = importlib.util.find_spec("convscope").submodule_search_locations[0]
    assert str(Path(package).parent) not in str(model) and "site-packages" not in str(model)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}  # folded


class Odd(nn.Module):
    """A layer that ONNX cannot say, in a sequence."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "operator":
            return torch.linalg.svdvals(x)
        if self.kind == "branch":
            return x.flatten(1) if x.sum() > 0 else -x.flatten(1)
        return x.reshape(2, -1)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("operator", r"its layer head\.1 has the operator aten\.\S*svd\S*, which cannot be expor"),
        ("branch", r"its layer head\.1 cannot be traced"),
        ("batch", r"it cannot be traced \(\w+: it takes batches of one size alone\)"),
    ],
)
def test_what_cannot_be_exported_is_named_with_its_layer(kind: str, text: str) -> None:
    network = Classifier(1, None, nn.Sequential(nn.Conv2d(1, 2, 3), Odd(kind), nn.Flatten()))
    columns = image_and_label((1, 6, 6), ["a", "b"])
    with pytest.raises(ConvscopeError, match=text) as caught:
        graph_of(network.eval(), columns, {})
    assert "convscope script" in str(caught.value) and len(str(caught.value)) < 600


class Recurrent(nn.Module):
    """What asks how many images there are by ``len``, which only one way of tracing follows."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = x.new_zeros(len(x), 2)
        for row in x[:, 0].unbind(1):
            state = self.cell(row, state)
        return state


def test_a_network_that_asks_for_its_batch_is_traced_by_its_bytecode() -> None:
    torch.manual_seed(0)
    columns = image_and_label((1, 6, 6), ["a", "b"])
    held(Classifier(1, None, Recurrent()).eval(), columns, {})


def test_a_difference_is_told() -> None:
    columns = image_and_label((1, 2, 2), ["a", "b"])
    p = np.array([[0.6, 0.4], [0.5 + 4e-6, 0.5 - 4e-6]])
    wanted = {"logits": np.log(p), "probabilities": p}
    tied = {"logits": np.log(p), "probabilities": p.copy()}
    tied["probabilities"][1] = p[1, ::-1]
    assert all(one.ok for one in differences("it", columns, tied, wanted))
    other = {"logits": np.log(p[:, ::-1]), "probabilities": p[:, ::-1]}
    top, probabilities, logits = differences("it", columns, other, wanted)
    assert (top.worst, top.ok) == (1, False) and probabilities.worst == pytest.approx(0.2)
    assert probabilities.limit == TOLERANCE and not logits.ok
    lost = {"logits": np.log(p), "probabilities": np.full_like(p, np.nan)}
    assert [one.ok for one in differences("it", columns, lost, wanted)][1:] == [False, True]
