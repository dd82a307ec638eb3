"""Inception for small images: four branches side by side, system B's ``inception``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from convscope.models.parts import Classifier, require_size

WIDTH = 88  # channels of a block: 16 + 24 + 24 + 24


class InceptionA(nn.Module):
    """1x1 | 1x1, 5x5 | 1x1, 3x3, 3x3 | average-pool, 1x1, concatenated: [B,C,h,w] -> [B,88,h,w].

    There is no activation inside a branch (Szegedy et al. 2015, fig. 2b, has one after each
    convolution; the tutorial that this network is from has not).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.branch1x1 = nn.Conv2d(channels, 16, 1)
        self.branch5x5 = nn.Sequential(nn.Conv2d(channels, 16, 1), nn.Conv2d(16, 24, 5, padding=2))
        self.branch3x3 = nn.Sequential(
            nn.Conv2d(channels, 16, 1),
            nn.Conv2d(16, 24, 3, padding=1),
            nn.Conv2d(24, 24, 3, padding=1),
        )
        self.branch_pool = nn.Sequential(
            nn.AvgPool2d(3, stride=1, padding=1), nn.Conv2d(channels, 24, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.branch1x1, self.branch5x5, self.branch3x3, self.branch_pool)
        return torch.cat([branch(x) for branch in branches], 1)  # [B,88,h,w]

    def branch_names(self) -> tuple[str, ...]:
        """The branches in the order that ``forward`` concatenates them in."""
        return "branch1x1", "branch5x5", "branch3x3", "branch_pool"


def inception(num_classes: int, in_channels: int, image_size: tuple[int, int]) -> Classifier:
    """5x5 convolution to 10 channels, pool, block; 5x5 to 20, pool, block; one linear layer.
    97,298 parameters and 1408 features on MNIST.

    >>> inception(10, 1, (28, 28)).head[1].in_features
    1408
    """
    require_size("inception", image_size, 16)
    height, width = (((side - 4) // 2 - 4) // 2 for side in image_size)
    features = nn.Sequential(
        nn.Conv2d(in_channels, 10, 5),  # [B,10,H-4,W-4]
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        InceptionA(10),  # [B,88,h,w]
        nn.Conv2d(WIDTH, 20, 5),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        InceptionA(20),
    )
    head = nn.Sequential(nn.Flatten(), nn.Linear(WIDTH * height * width, num_classes))  # [B,K]
    return Classifier(in_channels, features, head)
