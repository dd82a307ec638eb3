"""The network of the 94 % CIFAR-10 speed record (Jordan 2024, arXiv 2404.00498)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from convscope.models.parts import Classifier, require_size


class Whitening(nn.Conv2d):
    """A frozen 2x2 convolution to whitened patches, both signs: [B,C,H,W] -> [B,8C,H-1,W-1].

    Its kernels are the eigenvectors of the covariance of the training images' 2x2 patches, each
    divided by the root of its eigenvalue; only the bias is learnt. Until
    :meth:`init_from_images` has seen the images they are random.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels, 8 * in_channels, 2)
        self.weight.requires_grad = False

    @torch.no_grad()
    def init_from_images(self, inputs: Tensor) -> None:
        """Set the kernels from normalised images [N,C,H,W]."""
        patches = nn.functional.unfold(inputs, 2).transpose(1, 2).flatten(0, 1)  # [n,4C]
        patches = patches.double()
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        kernels = (vectors / (values + 5e-4).sqrt()).T.flip(0)  # [4C,4C], the largest first
        kernels = kernels.reshape(-1, *self.weight.shape[1:])
        self.weight.copy_(torch.cat([kernels, -kernels]))


class BiasNorm(nn.BatchNorm2d):
    """Batch normalisation that learns a bias and no scale, with statistics that follow quickly."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features, eps=1e-12, momentum=0.4)
        self.weight.requires_grad = False


def _group(channels: int, out: int) -> list[nn.Module]:
    convolutions = [nn.Conv2d(c, out, 3, padding=1, bias=False) for c in (channels, out)]
    for convolution in convolutions:  # the identity, as far as there are channels
        nn.init.dirac_(convolution.weight[:channels].data)
    return [
        convolutions[0],
        nn.MaxPool2d(2),  # [B,out,h/2,w/2]
        BiasNorm(out),
        nn.GELU(),
        convolutions[1],
        BiasNorm(out),
        nn.GELU(),
    ]


class Scaled(nn.Linear):
    """A linear layer without bias whose output is a ninth."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 9


def record(
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    widths: Sequence[int] = (64, 256, 256),
) -> Classifier:
    """Frozen whitening, then a group a width of two 3x3 convolutions, pooled after the first.
    1,972,792 parameters on CIFAR-10, 1,971,352 of them trained.

    ``widths``: channels of each group.

    >>> sum(p.numel() for p in record(10, 3, (32, 32)).parameters() if p.requires_grad)
    1971352
    """
    require_size("record", image_size, 3 * 2 ** len(widths) + 1)
    layers: list[nn.Module] = [Whitening(in_channels), nn.GELU()]  # [B,8C,H-1,W-1]
    channels = 8 * in_channels
    for out in widths:
        layers += _group(channels, out)
        channels = out
    layers.append(nn.MaxPool2d(3))
    size = [((side - 1) >> len(widths)) // 3 for side in image_size]
    head = nn.Sequential(
        nn.Flatten(), Scaled(channels * size[0] * size[1], num_classes, bias=False)
    )  # [B,K]
    return Classifier(in_channels, nn.Sequential(*layers), head)
