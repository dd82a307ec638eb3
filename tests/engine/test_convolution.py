"""Every algorithm of every part of a convolution against PyTorch's in float64."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn

from convscope import kernels
from convscope.engine import autotune, convolution, tuned_network
from convscope.engine.convolution import TunedConv2d
from convscope.engine.tuned import PARTS

pytestmark = pytest.mark.skipif(not kernels.available(), reason="no kernels on this machine")
CASES = [  # kernel, padding, stride, channels, out, height, width
    (3, 1, 1, 8, 16, 9, 7),
    (3, 0, 1, 16, 8, 12, 13),
    (3, 2, 1, 9, 8, 5, 5),
    (5, 2, 1, 8, 11, 14, 14),
    (5, 0, 1, 20, 12, 12, 5),
    (5, 4, 1, 8, 8, 3, 4),
    (5, 2, 1, 1, 16, 28, 28),
    (3, 1, 2, 3, 8, 9, 9),
    (1, 0, 1, 10, 16, 6, 6),
    (2, 0, 1, 3, 24, 8, 8),
    ((3, 1), (1, 0), 1, 4, 6, 5, 6),
    (3, 1, 1, 3, 32, 9, 8),
    (7, 3, 2, 3, 48, 21, 19),
    (5, 0, 1, 1, 16, 5, 11),
    (3, 1, 1, 2, 16, 4, 7),
]


def far(one: torch.Tensor, two: torch.Tensor) -> float:
    return float(((one - two).norm() / two.norm()).detach())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("bias", [True, False])
def test_every_way_of_every_part(case, bias):
    kernel, padding, stride, channels, out, height, width = case
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, out, kernel, stride, padding, bias=bias)
    layer.to(memory_format=torch.channels_last)
    x = torch.randn(5, channels, height, width).to(memory_format=torch.channels_last)
    x.requires_grad_()
    inputs = [x, *layer.parameters()]
    exact = layer.double()(x.double())
    g = torch.randn_like(exact)
    expected = torch.autograd.grad(exact, inputs, g)
    layer.float()
    tried = set()
    for algorithms in itertools.product(TunedConv2d.ALGORITHMS, repeat=3):
        if not all(
            TunedConv2d.suits(layer, part, algorithm)
            for part, algorithm in zip(PARTS, algorithms, strict=True)
        ):
            continue
        tried.update(zip(PARTS, algorithms, strict=True))
        planned = TunedConv2d.of(
            nn.Conv2d(channels, out, kernel, stride, padding, bias=bias), algorithms
        )
        planned.load_state_dict(layer.state_dict())
        y = planned(x)
        assert far(y, exact) < 3e-6, algorithms
        found = torch.autograd.grad(y, [x, *planned.parameters()], g.float())
        for one, two in zip(found, expected, strict=True):
            assert far(one, two) < 1e-5, algorithms
    assert ("forward", "im2col") in tried
    square = kernel in (3, 5) and stride == 1 and min(channels, out) >= 8
    assert (("grad_weight", "winograd") in tried) == square
    assert (("grad_input", "flipped") in tried) == (stride == 1)
    assert (("grad_weight", "small_channels") in tried) == (channels <= 4 and out % 16 == 0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"groups": 2},
        {"dilation": 2},
        {"padding_mode": "reflect"},
        {"padding": "same"},
        {"stride": (1, 2)},
    ],
)
def test_what_is_not_plain_stays_direct(arguments):
    layer = nn.Conv2d(8, 8, 3, **{"padding": 1, **arguments})
    for part in PARTS:
        assert [
            algorithm
            for algorithm in TunedConv2d.ALGORITHMS
            if TunedConv2d.suits(layer, part, algorithm)
        ] == ["aten"]


def test_other_numbers_and_layouts_fall_back():
    layer = TunedConv2d.of(nn.Conv2d(8, 8, 3), ("winograd", "winograd", "winograd"))
    x = torch.randn(2, 8, 6, 6)
    plain = nn.functional.conv2d(x, layer.weight, layer.bias)
    assert torch.equal(layer(x), plain)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x.to(memory_format=torch.channels_last)).dtype is torch.bfloat16


def test_in_bfloat16_every_way_is_as_near_as_pytorchs_own():
    torch.manual_seed(0)
    plain = nn.Conv2d(17, 20, 3, padding=1).to(memory_format=torch.channels_last)
    images = torch.randn(4, 17, 9, 9).to(memory_format=torch.channels_last)
    exact = copy.deepcopy(plain).double()
    expected = exact(images.double())
    g = torch.randn_like(expected)
    expected.backward(g)
    for algorithm in ("aten", "im2col", "winograd"):
        layer = TunedConv2d.of(
            copy.deepcopy(plain), (algorithm, algorithm, algorithm), torch.bfloat16
        )
        with tuned_network.autocast("cpu", "bfloat16"):
            y = layer(images)
        assert y.dtype is torch.bfloat16 and far(y.double(), expected) < 0.01
        y.backward(g.to(torch.bfloat16))
        for (name, one), two in zip(layer.named_parameters(), exact.parameters(), strict=True):
            assert far(one.grad.double(), two.grad) < 0.01, name


@pytest.mark.parametrize("stride, height, width", [(1, 11, 12), (2, 17, 18), (1, 3, 5)])
def test_few_channels_in_bfloat16(stride, height, width):
    """The last is narrower than the pixels that are computed at a time, and PyTorch's."""
    torch.manual_seed(0)
    x, weight = torch.randn(5, 3, height, width), torch.randn(32, 3, 3, 3)
    x, weight = (t.bfloat16().to(memory_format=torch.channels_last) for t in (x, weight))
    bias, strides = torch.randn(32).bfloat16(), (stride, stride)
    y = torch.conv2d(x.double(), weight.double(), bias.double(), strides, 1)
    assert (
        far(convolution.forward(x, weight, bias, strides, (1, 1), "small_channels").double(), y)
        < 0.003
    )
    g = torch.randn_like(y).bfloat16().contiguous(memory_format=torch.channels_last)
    algorithms = "aten", "small_channels"
    _, found, _ = convolution.gradients(
        g, x, weight, strides, (1, 1), algorithms, (False, True, False)
    )
    _, expected, _ = torch.ops.aten.convolution_backward(
        *(t.double() for t in (g, x, weight)),
        None,
        strides,
        (1, 1),
        (1, 1),
        False,
        (0, 0),
        1,
        (False, True, False),
    )
    assert found.dtype is torch.bfloat16 and far(found.double(), expected) < 0.003


def test_ways_of_one_number_format_are_not_taken_in_another(monkeypatch):
    layer = TunedConv2d.of(nn.Conv2d(8, 8, 3), ("im2col",) * 3, torch.bfloat16)
    monkeypatch.setattr(convolution, "_rows", lambda *rest: pytest.fail("another algorithm"))
    layer(torch.rand(2, 8, 6, 6).to(memory_format=torch.channels_last))


@pytest.mark.parametrize("between", [[], [nn.MaxPool2d(2)], [nn.MaxPool2d(3, 1)]])
def test_a_bias_before_batch_norm_has_no_gradient(between):
    """PyTorch finds nothing but rounding there; in evaluation mode the bias counts."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), *copy.deepcopy(between), nn.BatchNorm2d(8), nn.ReLU()
    plain = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    twin = tuned_network.engine(copy.deepcopy(plain), "fused")
    images = torch.rand(4, 3, 8, 8).to(memory_format=torch.channels_last)
    for network in (plain, twin):
        network(images).square().sum().backward()
    assert float(plain[0].bias.grad.abs().max()) < 1e-4 * float(plain[0].weight.grad.abs().max())
    assert twin[0].bias.grad.tolist() == [0.0] * 8
    assert far(twin[0].weight.grad, plain[0].weight.grad) < 1e-4
    for network in (plain.eval(), twin.eval()):
        network.zero_grad()
        network(images).square().sum().backward()
    assert far(twin[0].bias.grad, plain[0].bias.grad) < 1e-3


class Shared(nn.Module):
    """A convolution that a batch norm follows in one of the sequences that it is in."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        follows = self.convolution, nn.BatchNorm2d(3)
        made = {"followed": follows, "not": (self.convolution, nn.ReLU())}
        for name in order.split():
            setattr(self, f"when_{name}", nn.Sequential(*made[name]))
        self.order = order.split()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [getattr(self, f"when_{name}")(x) for name in self.order]
        return sum(part * (i + 1) for i, part in enumerate(parts)) + self.convolution(x).square()


class Alone(nn.Module):
    """A sequence whose convolution is called by itself, too, without the batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.one(x) + self.one[0](x).square()


@pytest.mark.parametrize(
    "make", [lambda: Shared("followed not"), lambda: Shared("not followed"), Alone]
)
def test_a_convolution_that_no_norm_follows_elsewhere_keeps_its_bias_gradient(make):
    """In whatever order its modules come."""
    torch.manual_seed(0)
    plain = make().to(memory_format=torch.channels_last)
    twin = tuned_network.engine(copy.deepcopy(plain), "fused")
    images = torch.rand(4, 3, 8, 8).to(memory_format=torch.channels_last)
    for network in (plain, twin):
        network(images).square().sum().backward()
    for (name, one), two in zip(plain.named_parameters(), twin.parameters(), strict=True):
        assert float(one.grad.norm()) > 1 and far(two.grad, one.grad) < 1e-4, name


ALTERED = {
    "weight norm": nn.utils.parametrizations.weight_norm,
    "spectral norm": nn.utils.parametrizations.spectral_norm,
    "orthogonal": nn.utils.parametrizations.orthogonal,
    "hook": lambda layer: layer.register_forward_hook(lambda m, x, y: y * 2) and layer,
}


@pytest.mark.parametrize("altered", ALTERED)
@pytest.mark.parametrize("kind", ["convolution", "linear"])
def test_what_someone_altered_is_left_to_pytorch(altered, kind):
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 16, 3, padding=1) if kind == "convolution" else nn.Linear(3, 16)
    plain = nn.Sequential(ALTERED[altered](layer)).to(memory_format=torch.channels_last)
    kept = type(plain[0])
    shape = (4, 3, 8, 8) if kind == "convolution" else (4, 3)
    assert autotune.shapes(plain, torch.rand(shape)) == {}
    twin = tuned_network.engine(copy.deepcopy(plain), "fused")
    assert type(twin[0]).__name__ == kept.__name__
    images = torch.rand(shape)
    for network in (plain, twin):
        network(images).square().sum().backward()
    for (name, one), two in zip(plain.named_parameters(), twin.parameters(), strict=True):
        assert far(two.grad, one.grad) < 1e-5, name


@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (1, 16, 13, 11), (2, 24, 1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_totals(shape, dtype):
    torch.manual_seed(0)
    g = torch.randn(shape).to(dtype).to(memory_format=torch.channels_last)
    found = convolution.grad_bias(g)
    assert torch.allclose(found.double(), g.double().sum((0, 2, 3)), atol=1e-4)


@pytest.mark.parametrize("algorithm", ["aten", "im2col", "winograd"])
def test_a_layer_after_it_may_work_in_place(algorithm):
    size = 3 if algorithm == "winograd" else 1
    layer = TunedConv2d.of(nn.Conv2d(8, 8, size), (algorithm, "aten", "aten"))
    images = torch.rand(2, 8, 6, 6).to(memory_format=torch.channels_last)
    nn.Sequential(layer, nn.ReLU(inplace=True))(images).sum().backward()
    assert layer.weight.grad is not None
