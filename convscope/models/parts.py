"""What every network of the registry is made of.

A block keeps the arguments it was made with under their names, as PyTorch's own layers do, so that
``convscope script`` can write the call that makes it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from convscope.errors import BadArgument, ConvscopeError


class Normalise(nn.Module):
    """(x - mean) / std by channel, as the network's first layer: [B,C,H,W] -> [B,C,H,W], or of
    numbers [B,d] with 1 dimension.

    Mean and standard deviation are those of the training pixels (0..1), kept with the weights, so
    that training, evaluation, prediction and export cannot disagree about them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, dimensions: int = 3) -> None:
        super().__init__()
        shape = (1, channels, *[1] * (dimensions - 1))
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))

    def set(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take the statistics of the training pixels; a constant channel keeps its scale."""
        self.mean.copy_(torch.tensor(mean).view_as(self.mean))
        scale = torch.tensor(std).view_as(self.std)
        self.std.copy_(torch.where(scale > 0, scale, torch.ones_like(scale)))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Classifier(nn.Module):
    """normalise -> features -> head: float 0..1 [B,C,H,W] -> logits [B,K].

    ``features`` gives maps [B,F,h,w]; a network without any (``mlp``, a user's own module) has None
    there, and :meth:`feature_maps` says so.
    """

    def __init__(self, in_channels: int, features: nn.Module | None, head: nn.Module) -> None:
        super().__init__()
        self.normalise = Normalise(in_channels)
        self.features = features
        self.head = head

    def feature_maps(self, x: Tensor) -> Tensor:
        """The last feature maps [B,F,h,w]. Raises ConvscopeError for a network that has none."""
        if self.features is None:
            raise ConvscopeError(
                "this network has no feature maps; use one with a `features` part, such as cnn"
            )
        maps: Tensor = self.features(self.normalise(x))
        return maps

    def forward(self, x: Tensor) -> Tensor:
        x = self.normalise(x)
        if self.features is not None:
            x = self.features(x)
        logits: Tensor = self.head(x)
        return logits


def is_ours(module: nn.Module) -> bool:
    """Whether a module is of a class of convscope's, not of a user's or PyTorch's."""
    return type(module).__module__.startswith("convscope.")


@runtime_checkable
class InitialisedFromImages(Protocol):
    """A layer with a data-dependent initialisation: it sees training images before training."""

    def init_from_images(self, inputs: Tensor) -> None:
        """Set the weights from normalised training images [N,C,H,W]."""


@runtime_checkable
class ParallelBranches(Protocol):
    """A block that gives all its branches the same maps and concatenates theirs."""

    def branch_names(self) -> tuple[str, ...]:
        """The children that ``torch.cat([branch(x) for branch in children], 1)`` makes ``forward``
        of, in that order: 1x1 convolutions that begin them can be computed as one product."""


def require_size(model: str, image_size: tuple[int, int], least: int) -> None:
    """Refuse an image that a network would shrink to nothing. Raises BadArgument."""
    if min(image_size) < least:
        raise BadArgument(
            "model",
            model,
            f"needs images of at least {least}x{least} pixels, and these have "
            f"{image_size[0]}x{image_size[1]}",
            "take another network, or larger images",
        )


def same_convolution(
    channels: int,
    out: int,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    groups: int = 1,
    dilation: tuple[int, int] = (1, 1),
) -> nn.Module:
    """A convolution with bias that keeps the size at stride 1: [B,C,h,w] -> [B,out,h,w]. A kernel
    that spans an even number of pixels cannot be centred: it is padded one more below and to the
    right.

    >>> same_convolution(1, 16, (5, 3))
    Conv2d(1, 16, kernel_size=(5, 3), stride=(1, 1), padding=(2, 1))
    """
    around_h, around_w = (d * (k - 1) for k, d in zip(kernel, dilation, strict=True))
    before_h, before_w = around_h // 2, around_w // 2
    if around_h % 2 == 0 and around_w % 2 == 0:
        padding = before_h, before_w
        return nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups)
    sides = (before_w, around_w - before_w, before_h, around_h - before_h)
    return nn.Sequential(
        nn.ZeroPad2d(sides), nn.Conv2d(channels, out, kernel, stride, 0, dilation, groups)
    )


def initialise(model: Classifier) -> Classifier:
    """Draw every convolution from a normal distribution of variance 2 / fan-out (He et al. 2015,
    arXiv 1502.01852, eq. 14), in place."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return model
