"""Pre-activation residual networks: ``preact_resnet`` of any depth, ``preact_resnet20``."""

from __future__ import annotations

from torch import Tensor, nn

from convscope.errors import BadArgument
from convscope.models.parts import Classifier, initialise


class PreactBlock(nn.Module):
    """x + conv(f(conv(f(x)))), f: batch norm, ReLU: [B,C,h,w] -> [B,width,h/stride,w/stride].

    Nothing stands on the way of x (He et al. 2016, arXiv 1603.05027, eq. 5 and fig. 4e); where the
    shape changes it is subsampled, and padded with channels of zeros (He et al. 2015, arXiv
    1512.03385, section 3.3, option A). The ``first`` block gets what is activated already.
    """

    def __init__(self, channels: int, width: int, stride: int = 1, first: bool = False) -> None:
        super().__init__()
        self.channels, self.width, self.stride, self.first = channels, width, stride, first
        self.residual = nn.Sequential(
            *([] if first else [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]),
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.residual(x)
        if self.stride > 1 or self.channels < self.width:
            x = x[:, :, :: self.stride, :: self.stride]  # [B,C,h/stride,w/stride]
            x = nn.functional.pad(x, (0, 0, 0, 0, 0, self.width - self.channels))
        return x + y


def preact_resnet(
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    depth: int = 110,
    width: int = 16,
) -> Classifier:
    """Three stages of (depth - 2) / 6 pre-activation blocks, at the whole, half and quarter of the
    size and ``width``, twice and four times as many channels (He et al. 2016, arXiv 1603.05027,
    section 3 and appendix). 1,727,962 parameters on CIFAR-10 at 110 layers.

    ``depth``: layers, 6n + 2. ``width``: channels of the first stage. Raises BadArgument for
    another depth, and for a width below 1.

    >>> sum(p.numel() for p in preact_resnet(10, 3, (32, 32)).parameters())
    1727962
    """
    if depth < 8 or (depth - 2) % 6:
        raise BadArgument("depth", depth, "must be 6n + 2, n from 1", "try 20, 32, 56 or 110")
    if width < 1:
        raise BadArgument("width", width, "must be a whole number of at least 1", "try 16")
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, width, 3, padding=1, bias=False),  # [B,16,H,W]
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    ]
    channels = width
    for stage in range(3):
        out = width * 2**stage
        for block in range((depth - 2) // 6):
            stride = 2 if stage and not block else 1
            layers.append(PreactBlock(channels, out, stride, first=not stage and not block))
            channels = out  # [B,16*2**s,H/2**s,W/2**s]
    layers += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)
    )  # [B,K]
    return initialise(Classifier(in_channels, nn.Sequential(*layers), head))


def preact_resnet20(
    num_classes: int, in_channels: int, image_size: tuple[int, int], width: int = 16
) -> Classifier:
    """:func:`preact_resnet` of 20 layers; 269,722 parameters on CIFAR-10.

    >>> sum(p.numel() for p in preact_resnet20(10, 3, (32, 32)).parameters())
    269722
    """
    return preact_resnet(num_classes, in_channels, image_size, 20, width)
