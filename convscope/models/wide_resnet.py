"""Wide residual networks: ``wide_resnet`` by depth and width."""

from __future__ import annotations

from torch import Tensor, nn

from convscope.errors import BadArgument
from convscope.models.parts import Classifier, initialise


class WideBlock(nn.Module):
    """A pre-activation block of two 3x3 convolutions: [B,C,h,w] -> [B,width,h/stride,w/stride].

    Where the number of channels changes, the shortcut is a 1x1 convolution of what is activated
    (Zagoruyko & Komodakis 2016, arXiv 1605.07146, fig. 1a and section 2).
    """

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.channels, self.width, self.stride = channels, width, stride
        self.activate = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.residual = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )
        self.shortcut: nn.Module | None = None
        if stride > 1 or channels != width:
            self.shortcut = nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activate(x)
        residual: Tensor = self.residual(y)
        return residual + (x if self.shortcut is None else self.shortcut(y))


def wide_resnet(
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    depth: int = 16,
    width: int = 4,
) -> Classifier:
    """Three stages of (depth - 4) / 6 blocks of 16, 32 and 64 times ``width`` channels (Zagoruyko &
    Komodakis 2016, arXiv 1605.07146, table 1). 2,748,890 parameters on CIFAR-10 at depth 16 and
    width 4; 36,479,194 at 28 and 10.

    ``depth``: layers, 6n + 4. ``width``: first channels in units of 16. Raises BadArgument
    for another depth, and for a width below 1.

    >>> sum(p.numel() for p in wide_resnet(10, 3, (32, 32)).parameters())
    2748890
    """
    if depth < 10 or (depth - 4) % 6:
        raise BadArgument("depth", depth, "must be 6n + 4, n from 1", "try 16, 28 or 40")
    if width < 1:
        raise BadArgument("width", width, "must be a whole number of at least 1", "try 4")
    channels = 16
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)  # [B,16,H,W]
    ]
    for stage in range(3):
        out = 16 * width * 2**stage
        for block in range((depth - 4) // 6):
            layers.append(WideBlock(channels, out, 2 if stage and not block else 1))
            channels = out  # [B,16*width*2**s,H/2**s,W/2**s]
    layers += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)
    )  # [B,K]
    return initialise(Classifier(in_channels, nn.Sequential(*layers), head))
