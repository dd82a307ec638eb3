"""What a 1x1 convolution saves: multiplications and weights, with and without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from convscope.errors import BadArgument
from convscope.insight import reference


@dataclass(frozen=True)
class Layer:
    """A convolution that keeps the size, and what it costs for one image."""

    kernel: tuple[int, int]
    channels: int
    out: int
    size: tuple[int, int]

    @property
    def weights(self) -> int:
        """Numbers of all its kernels, without biases."""
        return self.kernel[0] * self.kernel[1] * self.channels * self.out

    @property
    def multiplications(self) -> int:
        """One a weight and pixel."""
        return self.weights * self.size[0] * self.size[1]

    @property
    def text(self) -> str:
        """Its multiplications as a product."""
        (kh, kw), (h, w) = self.kernel, self.size
        product = f"{h}·{w} pixels · {kh}·{kw}·{self.channels} weights · {self.out} kernels"
        return f"{product} = {self.multiplications:,}"


@dataclass(frozen=True)
class OneByOne:
    """A convolution straight on, and by way of a 1x1 convolution to fewer channels.

    ``difference`` is how far that 1x1 convolution and a linear layer over the channels of every
    pixel lie apart, on random numbers: rounding alone.
    """

    straight: Layer
    narrow: Layer
    wide: Layer
    difference: float

    @property
    def multiplications(self) -> tuple[int, int]:
        """Straight on, and by way of the 1x1."""
        through = self.narrow.multiplications + self.wide.multiplications
        return self.straight.multiplications, through

    @property
    def weights(self) -> tuple[int, int]:
        """Straight on, and by way of the 1x1."""
        return self.straight.weights, self.narrow.weights + self.wide.weights

    @property
    def saving(self) -> float:
        """The share of the multiplications that is saved; below zero where it costs more."""
        straight, detour = self.multiplications
        return 1 - detour / straight

    def as_json(self) -> dict[str, Any]:
        """The counts as one object."""
        (h, w), layer = self.straight.size, self.straight
        return {
            "input_shape": [layer.channels, h, w],
            "kernel_shape": list(layer.kernel),
            "through": self.narrow.out,
            "one_by_one_shape": [self.narrow.out, h, w],
            "output_shape": [layer.out, h, w],
            "multiplications": {
                "straight": self.multiplications[0],
                "through": self.multiplications[1],
                "one_by_one": self.narrow.multiplications,
                "after_it": self.wide.multiplications,
            },
            "weights": dict(zip(("straight", "through"), self.weights, strict=True)),
            "saving": self.saving,
            "linear_difference": self.difference,
        }


def one_by_one(
    channels: int = 192,
    size: tuple[int, int] = (28, 28),
    kernel: tuple[int, int] = (5, 5),
    out: int = 32,
    through: int = 16,
) -> OneByOne:
    """Count a convolution that keeps the size, straight on and by way of a 1x1 convolution.

    Szegedy et al. 2015, section 4. Raises BadArgument for numbers below 1.

    >>> found = one_by_one()
    >>> found.multiplications, found.weights
    ((120422400, 12443648), (153600, 15872))
    """
    for name, least, example in (
        ("input", min(channels, *size), "192x28x28"), ("kernel", min(kernel), "5"),
        ("out_channels", out, "32"), ("through", through, "16"),
    ):  # fmt: skip
        if least < 1:
            raise BadArgument(name, least, "must be at least 1", f"try {example}")
    random = np.random.default_rng(0)
    X = random.normal(size=(1, channels, 3, 3))
    W = random.normal(size=(through, channels))
    over = reference.conv2d(X, W[:, :, None, None])  # [1,through,3,3]
    apart = over - reference.linear(X.transpose(0, 2, 3, 1), W).transpose(0, 3, 1, 2)
    return OneByOne(
        Layer(kernel, channels, out, size),
        Layer((1, 1), channels, through, size),
        Layer(kernel, through, out, size),
        float(np.abs(apart).max()),
    )
