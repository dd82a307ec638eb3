"""Densely connected networks (Huang et al. 2017, arXiv 1608.06993): ``densenet`` of any depth and
growth, ``densenet40``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from convscope.errors import BadArgument
from convscope.models.parts import Classifier, initialise, require_size


class DenseLayer(nn.Module):
    """Everything so far, and ``growth`` new maps made of it: [B,C,h,w] -> [B,C+growth,h,w].

    Batch norm, ReLU, 3x3 convolution (section 3, 'composite function'); with ``bottleneck`` a 1x1
    convolution to 4 growth maps, batch norm and ReLU come before the 3x3 ('bottleneck layers').
    """

    def __init__(self, channels: int, growth: int, bottleneck: bool = False) -> None:
        super().__init__()
        self.channels, self.growth, self.bottleneck = channels, growth, bottleneck
        layers: list[nn.Module] = [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
        if bottleneck:
            layers.append(nn.Conv2d(channels, 4 * growth, 1, bias=False))
            layers += [nn.BatchNorm2d(4 * growth), nn.ReLU(inplace=True)]
            channels = 4 * growth
        layers.append(nn.Conv2d(channels, growth, 3, padding=1, bias=False))
        self.new = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.new(x)], 1)  # [B,C+growth,h,w]


def densenet(
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    depth: int = 100,
    growth: int = 12,
    bottleneck: bool = True,
    compression: float = 0.5,
) -> Classifier:
    """Three blocks of dense layers; between them a 1x1 convolution that keeps the share
    ``compression`` of the maps, and a 2x2 average-pool (Huang et al. 2017, section 3). 769,162
    parameters on CIFAR-10 at 100 layers and growth 12 with bottleneck and compression.

    ``depth``: layers, 6n + 4 with bottleneck, 3n + 4 without. ``growth``: maps that a layer adds.
    ``bottleneck``: a 1x1 convolution before each 3x3. ``compression``: share of maps kept between
    blocks. Raises BadArgument for another depth, a growth below 1 and a compression outside
    0 < compression <= 1.

    >>> sum(p.numel() for p in densenet(10, 3, (32, 32)).parameters())
    769162
    """
    unit = 6 if bottleneck else 3
    if depth < unit + 4 or (depth - 4) % unit:
        what = "with bottleneck" if bottleneck else "without bottleneck"
        raise BadArgument("depth", depth, f"must be {unit}n + 4 {what}, n from 1", "try 40 or 100")
    if growth < 1:
        raise BadArgument("growth", growth, "must be a whole number of at least 1", "try 12")
    if not 0 < compression <= 1:
        rule = "must be a share of the maps, 0 < compression <= 1"
        raise BadArgument("compression", compression, rule, "try 0.5")
    require_size("densenet", image_size, 4)
    channels = 2 * growth if bottleneck else 16
    layers: list[nn.Module] = [nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)]
    for block in range(3):
        if block:
            kept = max(1, int(channels * compression))
            layers += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
            layers += [nn.Conv2d(channels, kept, 1, bias=False), nn.AvgPool2d(2)]
            channels = kept  # [B,kept,h/2,w/2]
        for _ in range((depth - 4) // unit):
            layers.append(DenseLayer(channels, growth, bottleneck))
            channels += growth
    layers += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)
    )  # [B,K]
    return initialise(Classifier(in_channels, nn.Sequential(*layers), head))


def densenet40(
    num_classes: int, in_channels: int, image_size: tuple[int, int], growth: int = 12
) -> Classifier:
    """:func:`densenet` of 40 layers, plain: no bottleneck, no compression. 1,019,722 parameters on
    CIFAR-10 at growth 12.

    >>> sum(p.numel() for p in densenet40(10, 3, (32, 32)).parameters())
    1019722
    """
    return densenet(num_classes, in_channels, image_size, 40, growth, False, 1.0)
