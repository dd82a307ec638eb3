"""Residual networks for small images: system B's ``resnet``, and ``resnet18_small``."""

from __future__ import annotations

from torch import Tensor, nn

from convscope.models.parts import Classifier, require_size


class PlainResidual(nn.Module):
    """relu(x + conv(relu(conv(x)))), without normalisation: [B,C,h,w] -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(nn.functional.relu(self.conv1(x), inplace=True))
        return nn.functional.relu(x + y, inplace=True)


def resnet(num_classes: int, in_channels: int, image_size: tuple[int, int]) -> Classifier:
    """5x5 convolution to 16 channels, pool, residual block; the same to 32; one linear layer.
    41,514 parameters and 512 features on MNIST.

    >>> resnet(10, 1, (28, 28)).head[1].in_features
    512
    """
    require_size("resnet", image_size, 16)
    height, width = (((side - 4) // 2 - 4) // 2 for side in image_size)
    features = nn.Sequential(
        nn.Conv2d(in_channels, 16, 5),  # [B,16,H-4,W-4]
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        PlainResidual(16),
        nn.Conv2d(16, 32, 5),  # [B,32,h-4,w-4]
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        PlainResidual(32),
    )
    head = nn.Sequential(nn.Flatten(), nn.Linear(32 * height * width, num_classes))  # [B,K]
    return Classifier(in_channels, features, head)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, added to a shortcut: [B,C,h,w] -> [B,width,h/stride,w/stride].

    With batch norm after each convolution (He et al. 2016, fig. 2, option B).
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.channels, self.width, self.stride = channels, width, stride
        self.residual = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.residual(x) + self.shortcut(x), inplace=True)


def resnet18_small(
    num_classes: int, in_channels: int, image_size: tuple[int, int], width: int = 64
) -> Classifier:
    """ResNet-18 with a 3x3 stem that keeps the size, for images of 28 to 64 pixels (He et al.
    2016). 11,173,962 parameters on CIFAR-10.

    ``width``: channels of the first stage.

    >>> sum(p.numel() for p in resnet18_small(10, 3, (32, 32)).parameters())
    11173962
    """
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, width, 3, padding=1, bias=False),  # [B,64,H,W]
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    ]
    channels = width
    for stage in range(4):
        out = width * 2**stage
        stride = 1 if stage == 0 else 2
        layers += [BasicBlock(channels, out, stride), BasicBlock(out, out, 1)]
        channels = out  # [B,64*2**s,H/2**s,W/2**s]
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)
    )  # [B,K]
    return Classifier(in_channels, nn.Sequential(*layers), head)
