"""Building by name, with arguments, and from a user's own file."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convscope.errors import BadArgument
from convscope.models import build
from convscope.models.plain import cnn, mlp


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_system_a_has_its_published_size():
    assert parameters(mlp(10, 1, (28, 28))) == 397_510
    assert parameters(cnn(10, 1, (28, 28))) == 29_034


def test_system_a_has_its_published_shapes():
    model, x, shapes = cnn(10, 1, (28, 28)), torch.rand(2, 1, 28, 28), []
    for layer in model.features:
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes[0] == (16, 28, 28)
    assert shapes[3] == (16, 14, 14)
    assert shapes[4] == (32, 14, 14)
    assert shapes[7] == (32, 7, 7)
    assert model.head[1].in_features == 1568


def test_pooling_before_the_relu_is_the_published_network():
    """Values and gradients of conv, batch norm, ReLU, pool, in that order, in float64."""
    torch.manual_seed(0)
    ours = cnn(10, 1, (28, 28)).double()
    f = list(ours.features)
    published = nn.Sequential(f[0], f[1], nn.ReLU(), f[2], f[4], f[5], nn.ReLU(), f[6], ours.head)
    images = torch.rand(8, 1, 28, 28, dtype=torch.float64)
    grads = []
    for model in (ours, published):
        ours.zero_grad()
        logits = model(images)
        logits.square().sum().backward()
        grads.append([logits, *(p.grad.clone() for p in ours.parameters())])
    for one, two in zip(*grads, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 7, (5, 3), (2, 5), (3, 4)])
def test_any_kernel_keeps_the_size(kernel):
    model = build("cnn", 10, 1, (28, 28), {"kernel_size": kernel})
    assert model.feature_maps(torch.rand(2, 1, 28, 28)).shape == (2, 32, 7, 7)


def test_widths_make_stages():
    model = build("cnn", 10, 3, (32, 32), {"widths": [8, 16, 24]})
    assert model.feature_maps(torch.rand(2, 3, 32, 32)).shape == (2, 24, 4, 4)


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("cmn", {}, "model=cmn: is no registered network; did you mean cnn?"),
        (
            "cnn",
            {"kernelsize": 3},
            "kernelsize=3: is no argument of cnn; did you mean kernel_size?",
        ),
        ("mlp", {"kernel_size": 3}, "kernel_size=3: is no argument of mlp; .*Known: hidden"),
        (
            "cnn",
            {"kernel_size": 0},
            "kernel_size=0: must be one or two whole numbers of at least 1",
        ),
        ("cnn", {"kernel_size": [3, 3, 3]}, "kernel_size=.*: must be one or two whole numbers"),
        ("cnn", {"kernel_size": 2.5}, "kernel_size=2.5: must be one int or several whole numbers"),
        ("cnn", {"widths": 16}, "widths=16: must be several whole numbers; try 16,32"),
        ("cnn", {"widths": [16, -1]}, "widths=.*: must be whole numbers of at least 1"),
        ("cnn", {"widths": []}, "widths=.*: must be whole numbers of at least 1"),
        (
            "cnn",
            {"widths": [8] * 6},
            "has more stages than a 28x28 image can be halved; give at most 4",
        ),
        ("mlp", {"hidden": 0}, "hidden=0: must be a whole number of at least 1"),
        ("mlp", {"hidden": "many"}, "hidden=many: must be one int"),
    ],
)
def test_what_does_not_fit_is_refused(name, arguments, text):
    with pytest.raises(BadArgument, match=text):
        build(name, 10, 1, (28, 28), arguments)


OWN = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, width=4):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.Linear(width, num_classes))
    def forward(self, x):
        return self.net(x)

class Needs(nn.Module):
    def __init__(self, what):
        super().__init__()

NotOne = 3
"""


def test_the_users_own_class(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    model = build(f"{tmp_path / 'mine.py'}:Net", 10, 1, (28, 28), {"width": 6})
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    assert model.features is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gone.py:Net", "names no file that is there; give path/to/file.py:ClassName"),
        ("mine.py", "names no class; give .*mine.py:ClassName"),
        ("mine.py:Nett", "has no nn.Module Nett; did you mean Net?"),
        ("mine.py:NotOne", "has no nn.Module NotOne"),
        ("mine.py:Needs", "Needs needs what, which convscope does not know"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, name, text):
    (tmp_path / "mine.py").write_text(OWN)
    with pytest.raises(BadArgument, match=text):
        build(f"{tmp_path}/{name}", 10, 1, (28, 28))


@pytest.mark.parametrize(
    ("name", "channels", "size", "parameters", "maps"),
    [
        ("cnn", 1, 28, 29_034, (32, 7, 7)),
        ("inception", 1, 28, 97_298, (88, 4, 4)),
        ("resnet", 1, 28, 41_514, (32, 4, 4)),
        ("keras_cnn", 1, 28, 34_826, (64, 5, 5)),
        ("cifar_cnn", 3, 32, 4_210_090, (32, 16, 16)),
        ("resnet18_small", 3, 32, 11_173_962, (512, 4, 4)),
        ("record", 3, 32, 1_972_792, (256, 1, 1)),
    ],
)
def test_published_sizes(name, channels, size, parameters, maps):
    model = build(name, 10, channels, (size, size))
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model.feature_maps(torch.rand(2, channels, size, size)).shape[1:] == maps


@pytest.mark.parametrize(
    ("name", "least"), [("inception", 16), ("resnet", 16), ("keras_cnn", 10), ("record", 25)]
)
def test_an_image_that_would_shrink_to_nothing_is_refused(name, least):
    build(name, 3, 1, (least, least))(torch.rand(2, 1, least, least))
    with pytest.raises(
        BadArgument, match=f"model={name}: needs images of at least {least}x{least}"
    ):
        build(name, 3, 1, (least - 1, 40))


def test_whitening_makes_patches_white():
    """Over the images it learnt from, each pair of outputs is +-1 or 0 correlated, each of
    variance near one."""
    torch.manual_seed(0)
    images = torch.nn.functional.avg_pool2d(torch.randn(400, 3, 18, 18), 3, 1)  # neighbours alike
    layer = build("record", 10, 3, (32, 32)).features[0]
    layer.learn(images)
    outputs = layer(images) - layer.bias.view(1, -1, 1, 1)
    outputs = outputs.transpose(0, 1).flatten(1)  # [24,n]
    assert torch.allclose(outputs[:12], -outputs[12:], atol=1e-4)
    covariance = outputs[:12] @ outputs[:12].T / outputs.shape[1]
    assert torch.allclose(covariance, torch.eye(12), atol=0.05)
    assert not layer.weight.requires_grad
