"""EfficientNet-Lite: EfficientNet (Tan & Le 2019, arXiv 1905.11946) without squeeze-and-excitation,
with ReLU6 in the place of Swish, and with a stem and a last convolution of one width, as Google
published it in 2020."""

from __future__ import annotations

import math

from torch import Tensor, nn

from convscope.models.parts import Classifier

# A stage: blocks, kernel, stride of the first block, expansion, channels (the paper's table 1).
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, LAST = 32, 1280  # channels, whatever the scaling


class SameConv2d(nn.Conv2d):
    """A square convolution with TensorFlow's SAME padding, of which an odd pixel lies below and to
    the right: [B,C,h,w] -> [B,out,ceil(h/stride),ceil(w/stride)]."""

    def forward(self, x: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        below, right = (max(kernel - stride + -n % stride, 0) for n in x.shape[2:])
        if below % 2 or right % 2:
            x = nn.functional.pad(
                x, (right // 2, right - right // 2, below // 2, below - below // 2)
            )
            below = right = 0
        padding = below // 2, right // 2
        return nn.functional.conv2d(
            x, self.weight, self.bias, self.stride, padding, groups=self.groups
        )


class InvertedResidual(nn.Module):
    """A 1x1 convolution to ``expand`` times the channels, a depthwise one, a 1x1 one to ``out``,
    added to its input where the shapes are one: [B,C,h,w] -> [B,out,h/stride,w/stride] (Sandler et
    al. 2018, arXiv 1801.04381, fig. 4)."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        self.channels, self.out, self.kernel = channels, out, kernel
        self.stride, self.expand = stride, expand
        wide = channels * expand
        self.widen = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False),
            nn.BatchNorm2d(wide, 1e-3, 0.01),
            nn.ReLU6(inplace=True),
        )
        if expand == 1:
            self.widen = nn.Sequential()
        self.depthwise = nn.Sequential(
            SameConv2d(wide, wide, kernel, stride, groups=wide, bias=False),
            nn.BatchNorm2d(wide, 1e-3, 0.01),
            nn.ReLU6(inplace=True),
        )
        self.project = nn.Sequential(
            nn.Conv2d(wide, out, 1, bias=False), nn.BatchNorm2d(out, 1e-3, 0.01)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.widen(x)))
        return x + y if self.stride == 1 and self.channels == self.out else y


def _scaled(
    width: float, depth: float, dropout: float, num_classes: int, in_channels: int
) -> Classifier:
    """The network with its channels times ``width``, to the nearest 8, and its blocks times
    ``depth``, rounded up; the first and the last stage keep their one block."""
    layers: list[nn.Module] = [
        SameConv2d(in_channels, STEM, 3, 2, bias=False),  # [B,32,H/2,W/2]
        nn.BatchNorm2d(STEM, 1e-3, 0.01),
        nn.ReLU6(inplace=True),
    ]
    channels = STEM
    for at, (blocks, kernel, stride, expand, base) in enumerate(STAGES):
        out = _in_eights(base * width)
        count = blocks if at in (0, len(STAGES) - 1) else math.ceil(blocks * depth)
        for n in range(count):
            layers.append(InvertedResidual(channels, out, kernel, 1 if n else stride, expand))
            channels = out
    layers += [
        nn.Conv2d(channels, LAST, 1, bias=False),  # [B,1280,H/32,W/32]
        nn.BatchNorm2d(LAST, 1e-3, 0.01),
        nn.ReLU6(inplace=True),
    ]
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(LAST, num_classes)
    )  # [B,K]
    return Classifier(in_channels, nn.Sequential(*layers), head)


def _in_eights(channels: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth below.

    >>> [_in_eights(c * 1.1) for c in (16, 24, 40, 80, 112, 192, 320)]
    [16, 24, 48, 88, 120, 208, 352]
    """
    found = max(8, int(channels + 4) // 8 * 8)
    return found + 8 if found < 0.9 * channels else found


def efficientnet_lite0(
    num_classes: int, in_channels: int, image_size: tuple[int, int]
) -> Classifier:
    """EfficientNet-Lite0, for photos of about 224 pixels; its weights from ImageNet can be had
    (``--from imagenet``). 3,371,008 parameters before the last layer.

    >>> network = efficientnet_lite0(10, 3, (224, 224))
    >>> sum(p.numel() for p in network.features.parameters())
    3371008
    """
    return _scaled(1.0, 1.0, 0.2, num_classes, in_channels)


def efficientnet_lite2(
    num_classes: int, in_channels: int, image_size: tuple[int, int]
) -> Classifier:
    """EfficientNet-Lite2, for photos of about 260 pixels: a tenth wider and a fifth deeper than
    Lite0, one and a half times the work. 4,811,072 parameters before the last layer.

    >>> network = efficientnet_lite2(10, 3, (260, 260))
    >>> sum(p.numel() for p in network.features.parameters())
    4811072
    """
    return _scaled(1.1, 1.2, 0.3, num_classes, in_channels)
