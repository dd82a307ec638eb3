"""Fused networks compute what the plain ones do, over the same weights."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import nn
from torch.nn import functional

from convscope import kernels, models
from convscope.engine import fusion, tuned_network
from convscope.engine.fusion import Activation, FusedBatchNorm, FusedDropout, fuse, twin_of

pytestmark = pytest.mark.skipif(not kernels.available(), reason="no kernels on this machine")


def norm(channels: int = 6) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels)
    nn.init.uniform_(layer.weight, -1, 1)
    nn.init.normal_(layer.bias)
    return layer


torch.manual_seed(0)  # the same chains whatever was drawn before: near a tie, a pool may differ
CHAINS = {
    "norm": [norm()],
    "norm relu": [norm(), nn.ReLU()],
    "norm gelu": [norm(), nn.GELU()],
    "norm pool": [norm(), nn.MaxPool2d(2)],
    "norm relu pool": [norm(), nn.ReLU(), nn.MaxPool2d(2)],
    "norm pool relu": [norm(), nn.MaxPool2d(2), nn.ReLU()],
    "relu pool": [nn.ReLU(), nn.MaxPool2d(2)],
    "pool relu": [nn.MaxPool2d(2), nn.ReLU()],
    "pool": [nn.MaxPool2d(2)],
    "gelu": [nn.GELU()],
    "pool norm gelu": [nn.MaxPool2d(2), norm(), nn.GELU()],
    "norm gelu pool": [norm(), nn.GELU(), nn.MaxPool2d(2)],
    "relu pool norm": [nn.ReLU(), nn.MaxPool2d(2), norm()],
}


APART = ("pool norm gelu", "norm gelu pool", "relu pool norm")  # of two steps


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("size", [(8, 6), (7, 9)])
def test_every_chain_in_training_and_after(chain, size):
    torch.manual_seed(0)
    plain = nn.Sequential(*copy.deepcopy(CHAINS[chain]))
    exact, fused = copy.deepcopy(plain).double(), fuse(twin_of(plain))
    assert all(isinstance(step, Activation | FusedBatchNorm) for step in fused.fused_steps)
    assert len(fused.fused_steps) == (2 if chain in APART else 1)
    for turn in range(2):
        x = torch.randn(5, 6, *size).to(memory_format=torch.channels_last).requires_grad_()
        z = x.detach().double().requires_grad_()
        y, expected = fused(x), exact(z)
        assert torch.allclose(y.double(), expected, atol=1e-5), turn
        g = torch.randn_like(y)
        y.backward(g)
        expected.backward(g.double())
        assert torch.allclose(x.grad.double(), z.grad, atol=2e-5)
    for one, two in zip(plain.parameters(), exact.parameters(), strict=True):
        assert torch.allclose(one.grad.double(), two.grad, atol=2e-4)
    for one, two in zip(plain.buffers(), exact.buffers(), strict=True):
        assert torch.allclose(one.double(), two.double(), atol=1e-6)
    with torch.inference_mode():
        x = torch.randn(3, 6, *size).to(memory_format=torch.channels_last)
        assert torch.allclose(fused.eval()(x).double(), exact.eval()(x.double()), atol=1e-5)


@pytest.mark.parametrize("name", list(models.MODELS))
def test_the_registry_keeps_its_names_and_its_weights(name):
    channels, size = (3, (32, 32)) if name in ("record", "cifar_cnn") else (1, (28, 28))
    torch.manual_seed(0)
    plain = models.build(name, 10, channels, size).eval()
    fused = fuse(twin_of(plain))
    assert list(fused.state_dict()) == list(plain.state_dict())
    assert {id(p) for p in fused.parameters()} == {id(p) for p in plain.parameters()}
    assert {id(b) for b in fused.buffers()} == {id(b) for b in plain.buffers()}
    x = torch.rand(2, channels, *size).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert torch.allclose(fused(x), plain(x), atol=1e-5)


def test_gelu_and_pool_do_not_change_places():
    fused = fuse(nn.Sequential(nn.GELU(), nn.MaxPool2d(2)))
    x = (torch.randn(2, 3, 4, 4) - 2).to(memory_format=torch.channels_last)
    assert torch.allclose(fused(x), functional.max_pool2d(functional.gelu(x), 2), atol=1e-6)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout(relu, p):
    """The share that is kept, its scale, the same mask on the way back, and seeded by torch."""
    fused = fuse(nn.Sequential(*[nn.ReLU()] * relu, nn.Dropout(p)))
    assert [type(step) for step in fused.fused_steps] == [FusedDropout]
    x = (torch.randn(40, 8, 25, 25) + 0.1).to(memory_format=torch.channels_last).requires_grad_()
    torch.manual_seed(3)
    y = fused(x)
    live = (x > 0) if relu else torch.ones_like(x, dtype=torch.bool)
    kept = (y != 0) & live
    share = float(kept.sum() / live.sum())
    assert abs(share - (1 - p)) < 5 * (p * (1 - p) / int(live.sum())) ** 0.5
    assert torch.allclose(y, torch.where(kept, x / (1 - p), 0.0))
    g = torch.randn(40, 8, 25, 25)
    y.backward(g)
    assert torch.allclose(x.grad, torch.where(kept, g / (1 - p), 0.0))
    torch.manual_seed(3)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    assert torch.equal(fused(x), y)
    torch.set_num_threads(before)
    assert not torch.equal(fused(x), y)
    for dim in range(4):  # no channel, row or image is dropped more than another
        others = [d for d in range(4) if d != dim]
        shares = kept.sum(others) / live.sum(others)
        assert float((shares - (1 - p)).abs().max()) < 0.06
    assert torch.equal(fused.eval()(x), torch.relu(x) if relu else x)


def test_neighbours_in_a_mask_are_independent():
    fused = fuse(nn.Sequential(nn.Dropout(0.5)))
    kept = (fused(torch.ones(400_000)) != 0).double() - 0.5
    for lag in (1, 2, 3, 8, 16, 32, 1024):
        correlation = float((kept[lag:] * kept[:-lag]).mean() * 4)
        assert abs(correlation) < 0.01, lag
    again = (fused(torch.ones(400_000)) != 0).double() - 0.5
    assert abs(float((kept * again).mean() * 4)) < 0.01


def test_what_is_not_usual_is_left_alone():
    layers = [
        nn.MaxPool2d(3),
        nn.MaxPool2d(2, 1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.BatchNorm2d(3, affine=False),
        nn.BatchNorm2d(3, momentum=None),
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.GELU("tanh"),
        nn.ReLU(),
    ]
    fused = fuse(nn.Sequential(*layers))
    assert fused.fused_steps == [*fused]


def hooked(layer: nn.Module, register: str) -> nn.Module:
    getattr(layer, register)(lambda *rest: None)
    return layer


def renamed(kind: type[nn.Module], *rest: object) -> nn.Module:
    """A layer of a class of one's own, which does the same."""
    return type("Mine", (kind,), {})(*rest)


def replaced(layer: nn.Module) -> nn.Module:
    layer.forward = functools.partial(type(layer).forward, layer)
    return layer


ALTERED = {
    "forward hook": lambda: hooked(norm(3), "register_forward_hook"),
    "forward pre-hook": lambda: hooked(norm(3), "register_forward_pre_hook"),
    "backward hook": lambda: hooked(nn.ReLU(), "register_full_backward_hook"),
    "backward pre-hook": lambda: hooked(nn.MaxPool2d(2), "register_full_backward_pre_hook"),
    "subclass": lambda: renamed(nn.BatchNorm2d, 3),
    "subclass of dropout": lambda: renamed(nn.Dropout, 0.5),
    "forward of its own": lambda: replaced(nn.GELU()),
    "parametrised": lambda: nn.utils.parametrize.register_parametrization(
        norm(3), "weight", nn.Softplus()
    ),
}


@pytest.mark.parametrize("altered", ALTERED)
def test_what_someone_altered_is_left_alone(altered):
    layer = ALTERED[altered]()
    fused = fuse(nn.Sequential(layer))
    assert fused.fused_steps == [fused[0]]


def test_layers_that_are_called_by_themselves_stay_what_they_are():
    """By an index, a slice, in a loop, or in another sequence."""
    torch.manual_seed(0)
    plain = nn.Sequential(norm(), nn.ReLU(), nn.MaxPool2d(2), nn.GELU()).eval()
    whole = nn.Sequential(plain, nn.Sequential(plain[0], plain[3])).eval()
    fused, x = (
        fuse(twin_of(whole))[0],
        torch.randn(2, 6, 8, 8).to(memory_format=torch.channels_last),
    )
    assert len(fused.fused_steps) == 2
    with torch.inference_mode():
        for at in range(4):
            assert torch.equal(fused[at](x), plain[at](x))
        for one, two in zip(fused, plain, strict=True):
            assert torch.equal(one(x), two(x))
        assert torch.equal(fused[:2](x), plain[:2](x))
        assert torch.allclose(fuse(twin_of(whole))[1](x), whole[1](x), atol=1e-5)


def test_other_numbers_and_layouts_fall_back():
    plain = nn.Sequential(norm(), nn.ReLU(), nn.MaxPool2d(2))
    fused = fuse(copy.deepcopy(plain))
    for x in (torch.randn(2, 6, 4, 4), torch.randn(2, 6, 4, 4, dtype=torch.bfloat16)):
        assert torch.allclose(fused(x).float(), plain(x).float(), atol=1e-2)
    x = torch.randn(2, 6, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    assert torch.allclose(fused.eval()(x), plain.eval()(x), atol=1e-6)
    fused(x).sum().backward()
    assert x.grad is not None


def test_one_value_a_channel_is_refused_as_batch_norm_does():
    fused = fuse(nn.Sequential(norm()))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        fused(torch.randn(1, 6, 1, 1).to(memory_format=torch.channels_last))


def test_without_kernels_it_is_the_network_itself(monkeypatch):
    plain = nn.Sequential(norm())
    monkeypatch.setattr(kernels, "available", lambda: False)
    assert tuned_network.engine(plain, "fused") is plain


def test_the_way_back_is_that_of_its_own_output_once():
    """What the compiled way back does not hold for is refused, not computed wrongly."""
    x = torch.rand(2, 6, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = Activation(fusion.RELU, pool=True)(x)
    (g,) = torch.autograd.grad((y * y).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()
    scale, shift = torch.rand(6, requires_grad=True), torch.zeros(6)
    judged = fusion._Fused.apply(x, scale.detach(), shift, None, fusion.RELU, False)
    with pytest.raises(AssertionError, match="a scale without a norm is for judging alone"):
        judged.sum().backward()
    ones, zeros = fusion._identity(6)
    ones = ones.view(6).requires_grad_()  # the same memory
    with pytest.raises(AssertionError, match="has no gradient here"):
        fusion._Fused.apply(x, ones, zeros, None, fusion.RELU, False).sum().backward()


def test_an_input_that_was_changed_since_is_noticed():
    x = torch.rand(2, 6, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    within = x * 1.0
    y = Activation(fusion.GELU, pool=False)(within)
    with torch.no_grad():
        within.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("channels", [6, 16, 24])
@pytest.mark.parametrize("kind", [fusion.RELU, fusion.LINEAR])
@pytest.mark.parametrize("at", range(4))
def test_what_is_no_number_stays_none_in_a_pool(channels, kind, at):
    """Or nobody would notice that training broke down."""
    x = torch.rand(2, channels, 2, 2).contiguous(memory_format=torch.channels_last)
    x[1, 3, at // 2, at % 2] = torch.nan
    y = Activation(kind, pool=True)(x)
    assert torch.equal(y.isnan(), functional.max_pool2d(x, 2).isnan()) and bool(y.isnan().any())
