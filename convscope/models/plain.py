"""Plain networks, one layer after another: ``mlp``, ``cnn``, ``keras_cnn``, ``cifar_cnn``."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from convscope.errors import BadArgument
from convscope.models.parts import Classifier, require_size, same_convolution


def mlp(
    num_classes: int, in_channels: int, image_size: tuple[int, int], hidden: int = 500
) -> Classifier:
    """Pixels -> hidden -> ReLU -> classes, fully connected; 397,510 parameters on MNIST.

    ``hidden``: hidden units.

    >>> sum(p.numel() for p in mlp(10, 1, (28, 28)).parameters())
    397510
    """
    if hidden < 1:
        raise BadArgument("hidden", hidden, "must be a whole number of at least 1", "try 500")
    height, width = image_size
    head = nn.Sequential(
        nn.Flatten(),  # [B,C*H*W]
        nn.Linear(in_channels * height * width, hidden),
        nn.ReLU(),
        nn.Linear(hidden, num_classes),  # [B,K]
    )
    return Classifier(in_channels, None, head)


def cnn(
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    kernel_size: int | tuple[int, int] = 5,
    widths: Sequence[int] = (16, 32),
) -> Classifier:
    """A stage a width: convolution that keeps the size, batch norm, ReLU, 2x2 max-pool; then one
    linear layer.

    ``kernel_size``: kernel of each convolution. ``widths``: channels of each stage.

    An even kernel cannot be centred: it is padded one more below and to the right than above and to
    the left. The pool stands before the ReLU, which gives the same values and gradients (both are
    monotone, and where a window has no positive value the gradient is zero either way) for a
    quarter of the work. 29,034 parameters on MNIST with the published widths and kernel.

    >>> sum(p.numel() for p in cnn(10, 1, (28, 28)).parameters())
    29034
    """
    kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    if len(kernel) != 2 or min(kernel) < 1:
        raise BadArgument(
            "kernel_size",
            kernel_size,
            "must be one or two whole numbers of at least 1",
            "try 5 or 5x3",
        )
    if not widths or min(widths) < 1:
        raise BadArgument(
            "widths", tuple(widths), "must be whole numbers of at least 1", "try 16,32"
        )
    height, width = image_size
    stages, size = len(widths), f"{height}x{width}"
    if min(image_size) < 2**stages:
        if tuple(widths) == (16, 32):  # as they are by default
            rule = f"is too small for the {stages} stages of cnn, each of which halves it"
            raise BadArgument("image_size", size, rule, f"take at least {2**stages}x{2**stages}")
        rule = f"has more stages than a {size} image can be halved"
        most = min(image_size).bit_length() - 1
        raise BadArgument("widths", tuple(widths), rule, f"give at most {most}")
    layers: list[nn.Module] = []
    channels = in_channels
    for out in widths:
        layers += [
            same_convolution(channels, out, kernel),  # [B,out,h,w]
            nn.BatchNorm2d(out),
            nn.MaxPool2d(2),  # [B,out,h/2,w/2]
            nn.ReLU(inplace=True),
        ]
        channels, height, width = out, height // 2, width // 2
    head = nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, num_classes))  # [B,K]
    return Classifier(in_channels, nn.Sequential(*layers), head)


def keras_cnn(num_classes: int, in_channels: int, image_size: tuple[int, int]) -> Classifier:
    """Two 3x3 convolutions to 32 and 64 channels without padding, each with ReLU and 2x2 max-pool;
    one linear layer. 34,826 parameters and 1600 features on MNIST.

    >>> keras_cnn(10, 1, (28, 28)).head[1].in_features
    1600
    """
    height, width = (((side - 2) // 2 - 2) // 2 for side in image_size)
    require_size("keras_cnn", image_size, 10)
    features = nn.Sequential(
        nn.Conv2d(in_channels, 32, 3),  # [B,32,H-2,W-2]
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Conv2d(32, 64, 3),  # [B,64,h-2,w-2]
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
    )
    head = nn.Sequential(nn.Flatten(), nn.Linear(64 * height * width, num_classes))  # [B,K]
    return Classifier(in_channels, features, head)


def cifar_cnn(num_classes: int, in_channels: int, image_size: tuple[int, int]) -> Classifier:
    """Two 3x3 convolutions to 32 channels with dropout between them, 2x2 max-pool, and a hidden
    linear layer of 512 with dropout. 4,210,090 parameters and 8192 features on CIFAR-10.

    >>> cifar_cnn(10, 3, (32, 32)).head[1].in_features
    8192
    """
    require_size("cifar_cnn", image_size, 2)
    height, width = image_size
    features = nn.Sequential(
        nn.Conv2d(in_channels, 32, 3, padding=1),  # [B,32,H,W]
        nn.ReLU(inplace=True),
        nn.Dropout(0.3),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.MaxPool2d(2),  # [B,32,H/2,W/2]
        nn.ReLU(inplace=True),
    )
    head = nn.Sequential(
        nn.Flatten(),
        nn.Linear(32 * (height // 2) * (width // 2), 512),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(512, num_classes),  # [B,K]
    )
    return Classifier(in_channels, features, head)
