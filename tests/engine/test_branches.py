"""An Inception block as one product: the same function, forward and back."""

from __future__ import annotations

import copy

import pytest
import torch

from convscope import kernels
from convscope.engine import branches, tuned_network
from convscope.engine.branches import Branches
from convscope.models.inception import InceptionA

pytestmark = pytest.mark.skipif(not kernels.available(), reason="no kernels on this machine")


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 7, 5), (10, 12, 12), (4, 1, 6)])
def test_it_computes_what_the_block_does(channels, height, width):
    torch.manual_seed(0)
    plain = InceptionA(channels).to(memory_format=torch.channels_last)
    exact, joined = copy.deepcopy(plain).double(), tuned_network.engine(plain, "fused")
    assert type(joined) is Branches and type(plain) is InceptionA
    assert {id(p) for p in joined.parameters()} == {id(p) for p in plain.parameters()}
    images = torch.randn(3, channels, height, width).to(memory_format=torch.channels_last)
    x, z = images.clone().requires_grad_(), images.double().requires_grad_()
    y, expected = joined(x), exact(z)
    assert torch.allclose(y.double(), expected, atol=1e-5)
    g = torch.randn_like(y)
    y.backward(g)
    expected.backward(g.double())
    assert torch.allclose(x.grad.double(), z.grad, atol=1e-5)
    for (name, one), two in zip(plain.named_parameters(), exact.parameters(), strict=True):
        assert torch.allclose(one.grad.double(), two.grad, atol=1e-4), name


def test_in_bfloat16_it_is_as_near_as_pytorch():
    torch.manual_seed(0)
    plain = InceptionA(10).to(memory_format=torch.channels_last)
    exact, joined = copy.deepcopy(plain).double(), tuned_network.engine(plain, "fused", "bfloat16")
    x = torch.randn(8, 10, 12, 12).to(memory_format=torch.channels_last)
    expected = exact(x.double()).detach()
    distances = []
    for network in (plain, joined):
        with tuned_network.autocast("cpu", "bfloat16"):
            y = network(x).detach()
        assert y.dtype is torch.bfloat16
        distances.append(float((y - expected).norm() / expected.norm()))
    assert distances[1] < 1.2 * distances[0] < 0.02


def test_what_it_cannot_take_goes_through_the_block_itself():
    torch.manual_seed(0)
    joined = tuned_network.engine(InceptionA(3), "fused").double()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    assert joined(x).shape == (2, 88, 6, 6)


def hooked(block):
    block.branch3x3.register_forward_hook(lambda *rest: None)


def averaging_otherwise(block):
    block.branch_pool[0].count_include_pad = False


def without_a_bias(block):
    block.branch1x1.bias = None


def wider(block):
    block.branch5x5[0] = torch.nn.Conv2d(3, 16, 3, padding=1)


@pytest.mark.parametrize("altered", [hooked, averaging_otherwise, without_a_bias, wider])
def test_a_block_that_someone_altered_is_computed_as_it_is(altered):
    torch.manual_seed(0)
    block = InceptionA(3).to(memory_format=torch.channels_last)
    altered(block)
    x = torch.randn(2, 3, 6, 6).to(memory_format=torch.channels_last)
    expected = block(x)
    engine = tuned_network.engine(block, "fused")
    assert type(engine) is InceptionA and torch.allclose(engine(x), expected, atol=1e-5)


class Mine(InceptionA):
    def forward(self, x):
        return 2 * super().forward(x)


def test_a_users_block_with_a_forward_of_its_own_is_no_such_block():
    assert type(tuned_network.engine(Mine(3), "fused")) is Mine


@pytest.mark.parametrize("shape", [(2, 5, 4, 6), (1, 8, 1, 1), (3, 3, 2, 1)])
def test_average(shape):
    torch.manual_seed(0)
    maps, shift = torch.randn(shape).to(memory_format=torch.channels_last), torch.randn(shape[1])
    expected = torch.nn.functional.avg_pool2d(maps, 3, 1, 1) + shift.view(1, -1, 1, 1)
    assert torch.allclose(branches.average(maps, shift), expected, atol=1e-6)
