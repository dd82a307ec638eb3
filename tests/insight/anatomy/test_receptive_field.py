"""What units see, held against what their gradients reach."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from convscope import models
from convscope.insight.anatomy import Row, summarise


def smooth(model: nn.Module) -> nn.Module:
    """The same network with means for maxima, and weights through which every way is open."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                pool = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode)
                setattr(module, name, pool)
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.data = torch.rand(p.shape, generator=generator, dtype=torch.float64) + 0.1
    return model.double().eval()


def reached(model: nn.Module, layer: str, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """The rows and the columns of an image that the middle unit of a layer's map depends on."""
    found: list[Tensor] = []
    calls = dict(model.named_modules())
    handle = calls[layer].register_forward_hook(lambda module, args, out: found.append(out))
    image = torch.rand(1, *shape, dtype=torch.float64, requires_grad=True)
    model(image)
    handle.remove()
    map_ = found[-1]
    map_ = map_.permute(0, 3, 1, 2) if map_.shape[1] == map_.shape[2] != map_.shape[3] else map_
    unit = map_[0, :, map_.shape[2] // 2, map_.shape[3] // 2].sum()
    (grad,) = torch.autograd.grad(unit, image)
    at = grad[0].abs().sum(0).nonzero()
    return [(int(at[:, i].min()), int(at[:, i].max())) for i in (0, 1)]


def expected(row: Row, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    assert row.seen is not None and row.output_shape is not None
    sides = []
    for view, side in zip((row.seen.height, row.seen.width), shape[1:], strict=True):
        at = 0 if row.seen.whole else view.size // 2 * view.stride
        sides.append((max(view.low + at, 0), min(view.high + at, side - 1)))
    return sides


NETWORKS = [
    *(pytest.param(name, (1, 28, 28), id=name) for name in (
        "cnn", "inception", "resnet", "keras_cnn", "cifar_cnn", "record", "preact_resnet20",
    )),
    *(pytest.param(f"tv:{name}", (3, size, size), id=name) for name, size in (
        ("resnet18", 96), ("squeezenet1_1", 97), ("shufflenet_v2_x0_5", 64), ("mnasnet0_5", 64),
        ("googlenet", 80), ("convnext_tiny", 64),
    )),
]  # fmt: skip


@pytest.mark.parametrize(("name", "shape"), NETWORKS)
def test_gradients_reach_what_is_seen(name: str, shape: tuple[int, int, int]) -> None:
    model = smooth(models.build(name, 3, shape[0], shape[1:]))
    calls = dict(model.named_modules())
    rows = [
        row
        for row in summarise(model, shape).rows
        if isinstance(calls.get(row.name), nn.Conv2d | nn.AvgPool2d | nn.BatchNorm2d)
        and row.seen is not None
        and len(row.output_shape or ()) == 3
        and row.note != "called again"
    ]
    assert len(rows) > 1 or name == "cifar_cnn"
    for row in rows[:: max(1, len(rows) // 6)]:
        assert reached(model, row.name, shape) == expected(row, shape), row.name


class Does(nn.Module):
    def __init__(self, what) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: Tensor) -> Tensor:
        return self.what(x)


def patched(x: Tensor) -> Tensor:
    """[B,C,H,W] -> tokens of 4x4 patches [B,N,16*C]."""
    return functional.unfold(x, 4, stride=4).mT


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).mT


def windows(x: Tensor, side: int) -> Tensor:
    """[B,C,H,W] -> [B*windows, side*side, C]."""
    b, c, h, w = x.shape
    x = x.view(b, c, h // side, side, w // side, side)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(-1, side * side, c)


def attend(x: Tensor) -> Tensor:
    return (x @ x.mT).softmax(-1) @ x


def back(x: Tensor, side: int, h: int, w: int) -> Tensor:
    x = x.view(-1, h // side, w // side, side, side, x.shape[-1])
    return x.permute(0, 5, 1, 3, 2, 4).reshape(-1, x.shape[-1], h, w)


@pytest.mark.parametrize(
    ("what", "sees", "stride"),
    [
        (lambda x: x.permute(0, 2, 3, 1), "1x1", (1, 1)),
        (tokens, "1x1", (1, 1)),
        (lambda x: tokens(x)[:, 1:] * 2, "varies", None),
        (lambda x: torch.cat([torch.zeros(1, 1, 4), tokens(x)], 1), "1x1", (1, 1)),
        (lambda x: attend(tokens(x)), "whole image", None),
        (lambda x: attend(torch.cat([torch.zeros(1, 1, 4), tokens(x)], 1)), "whole image", None),
        (lambda x: functional.scaled_dot_product_attention(*[tokens(x)] * 3), "whole image", None),
        (lambda x: windows(x, 4), "1x1", (1, 1)),
        (lambda x: attend(windows(x, 4)), "varies", None),
        (lambda x: back(attend(windows(x, 4)), 4, 8, 8), "varies", None),
        (lambda x: back(attend(windows(x, 4)), 4, 8, 8).mean((2, 3)), "whole image", None),
        (lambda x: x + back(attend(windows(x, 4)), 4, 8, 8), "varies", None),
        (lambda x: windows(x, 4).mean(1), "4x4", (4, 4)),  # what a pool does
        (lambda x: x.view(1, 4, 2, 4, 2, 4).mean((2, 4)), "5x5", (1, 1)),  # 2 taps, 4 apart
        (lambda x: x.mean(2), "8x1", (1, 1)),
        (lambda x: x.mean((2, 3)), "whole image", None),
        (lambda x: x.amax(), "whole image", None),
        (lambda x: x.sum(1), "1x1", (1, 1)),
        (lambda x: x[:, :, ::2, 1::3], "1x1", (2, 3)),
        (lambda x: x[:, :, 3], "1x1", (1, 1)),
        (lambda x: x[:, 1], "1x1", (1, 1)),
        (lambda x: x.view(1, 2, 2, 8, 8).transpose(1, 2).reshape(1, 4, 8, 8), "1x1", (1, 1)),
        (lambda x: x.softmax(1), "1x1", (1, 1)),
        (lambda x: x.softmax(2), "varies", None),
        (lambda x: x.flatten(2).softmax(2), "whole image", None),
        (lambda x: functional.layer_norm(x, [8]), "varies", None),
        (lambda x: functional.layer_norm(x, [4, 8, 8]), "whole image", None),
        (lambda x: functional.layer_norm(x.permute(0, 2, 3, 1), [4]), "1x1", (1, 1)),
        (lambda x: functional.group_norm(x, 2), "whole image", None),
        (functional.instance_norm, "whole image", None),
        (lambda x: x.roll(1, 2), "varies", None),
        (lambda x: functional.pad(x, (1, 2, 3, 4)), "1x1", (1, 1)),
        (lambda x: functional.interpolate(x, scale_factor=2), "varies", None),
        (lambda x: functional.avg_pool2d(x, 8), "whole image", None),
        (lambda x: functional.adaptive_avg_pool2d(x, 4), "2x2", (2, 2)),
        (lambda x: functional.adaptive_avg_pool2d(x, 3), "varies", None),
        (lambda x: functional.adaptive_max_pool2d(x, 1), "whole image", None),
        (lambda x: x @ x, "varies", None),
        (lambda x: x * x.mean((2, 3), keepdim=True), "whole image", None),
        (lambda x: x + functional.avg_pool2d(x, 3, 1, 1), "3x3", (1, 1)),
        (lambda x: torch.cat([x, functional.max_pool2d(x, 5, 1, 2)], 1), "5x5", (1, 1)),
        (lambda x: torch.stack([x, x], 1), "1x1", (1, 1)),
        (lambda x: torch.cat(x.chunk(2, 1)[::-1], 1), "1x1", (1, 1)),
        (lambda x: functional.linear(x, torch.ones(5, 8)), "1x8", (1, 1)),
        (lambda x: functional.linear(x.flatten(1), torch.ones(5, 256)), "whole image", None),
        (lambda x: functional.conv_transpose2d(x, torch.ones(4, 1, 3, 3)), "varies", None),
        (lambda x: torch.where(x > 0, x, functional.avg_pool2d(x, 3, 1, 1)), "3x3", (1, 1)),
        (lambda x: torch.fft.fft2(x).abs(), "varies", None),
    ],
)  # fmt: skip
def test_operators(what, sees: str, stride) -> None:
    found = summarise(nn.Sequential(Does(what), nn.Hardtanh()), (4, 8, 8))
    assert found.failure is None
    row = found.rows[-1]
    assert row.sees == sees
    if stride is not None:
        assert row.seen is not None
        assert (row.seen.height.stride, row.seen.width.stride) == stride


def test_padding_moves_the_centre() -> None:
    found = summarise(nn.Sequential(nn.ZeroPad2d((1, 0, 3, 0)), nn.Conv2d(4, 1, 3)), (4, 8, 8))
    seen = found.rows[-1].seen
    assert seen is not None and (seen.height.centre, seen.width.centre) == (-2, 0)


class Late(nn.Module):
    """Changes a part of a map in place, and goes on with the whole."""

    def forward(self, x: Tensor) -> Tensor:
        y = functional.max_pool2d(x, 3, 1, 1)
        y[:, :1] = functional.max_pool2d(x, 7, 1, 3)[:, :1]
        return y * 2


def test_a_part_that_is_changed_is_no_longer_known() -> None:
    assert [row.sees for row in summarise(Late(), (4, 8, 8)).rows] == [
        "3x3", "7x7", "7x7", "varies",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "size", "fields"),
    [
        ("resnet50", 224, {"conv1": 7, "maxpool": 11, "layer3.5.add": 267, "layer4.2.add": 427}),
        ("vgg16", 224, {"features.30": 212}),
        ("alexnet", 224, {"features.12": 195}),
        ("densenet121", 224, {"relu": 2071}),
        ("mobilenet_v2", 224, {"features.18.0": 491}),
        ("vit_b_16", 224, {"conv_proj": 16, "encoder.layers.encoder_layer_0.ln_1": 16}),
    ],
)
def test_published_fields(name: str, size: int, fields: dict[str, int]) -> None:
    """As in Araujo et al. 2019, table 1, where it has the network with torchvision's strides."""
    from torchvision import models as published

    from convscope.insight.anatomy import weightless

    with warnings.catch_warnings(), weightless():
        model = published.get_model(name, weights=None)
    found = {row.name: row for row in summarise(model, (3, size, size)).rows}
    assert {key: found[key].seen.height.field for key in fields} == fields
    assert [row for row in found.values() if row.output_shape][-1].sees == "whole image"


def test_windows_of_a_swin_transformer() -> None:
    from torchvision import models as published

    from convscope.insight.anatomy import weightless

    with weightless():
        model = published.swin_t(weights=None)
    found = {row.name: row for row in summarise(model, (3, 224, 224)).rows}
    assert found["features.1.0.attn.linear"].sees == "4x4"
    assert found["features.1.0.attn.matmul_1"].sees == "varies"
    assert found["avgpool"].sees == found["head"].sees == "whole image"
