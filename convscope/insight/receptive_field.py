"""Receptive fields: what the units of a map see of the image, their stride and their centre."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from convscope.errors import BadArgument
from convscope.insight.reference.windows import axes_of


@dataclass(frozen=True)
class AxisField:
    """What the units of a map see along one axis: the i-th the pixels ``low + i * stride`` to
    ``high + i * stride`` of the image, which may lie in the padding: at the edges it sees less.
    ``size`` units in all."""

    size: int
    low: int = 0
    high: int = 0
    stride: int = 1

    @property
    def field(self) -> int:
        """How many pixels a unit sees."""
        return self.high - self.low + 1

    @property
    def centre(self) -> float:
        """The middle of what the first unit sees, in pixels from that of the image's first."""
        return (self.low + self.high) / 2

    @property
    def whole(self) -> AxisField:
        """One unit that sees all of it."""
        return AxisField(1, 0, self.size - 1, self.size)

    def moved(self, by: int) -> AxisField:
        """The same, so many units further on."""
        by *= self.stride
        return replace(self, low=self.low + by, high=self.high + by)

    def through(self, kernel: int, stride: int, dilation: int, begin: int, out: int) -> AxisField:
        """What the units of the next layer see (Araujo et al. 2019, section 2).

        >>> AxisField(28).through(5, 1, 1, 2, 28).through(2, 2, 1, 0, 14)
        AxisField(size=14, low=-2, high=3, stride=2)
        """
        low = self.low - begin * self.stride
        high = self.high + (dilation * (kernel - 1) - begin) * self.stride
        return AxisField(out, low, high, self.stride * stride)


@dataclass(frozen=True)
class ReceptiveField:
    """A layer, and what its units see along height and width."""

    layer: str
    kind: str
    height: AxisField
    width: AxisField
    whole: bool = False  # it sees the whole image, wherever that ends

    @property
    def sees(self) -> tuple[AxisField, AxisField, bool]:
        """Along height and width, and whether it is all of it."""
        return self.height, self.width, self.whole

    @property
    def size(self) -> str:
        """How much it sees, in words."""
        return "the whole image" if self.whole else f"{self.height.field} x {self.width.field}"

    def as_json(self) -> dict[str, Any]:
        """The layer as one object."""
        axes = (self.height, self.width)
        return {
            "layer": self.layer,
            "kind": self.kind,
            "size": [axis.size for axis in axes],
            "receptive_field": [axis.field for axis in axes],
            "stride": [axis.stride for axis in axes],
            "centre": [axis.centre for axis in axes],
            "first_unit": [[axis.low, axis.high] for axis in axes],
            "whole": self.whole,
        }


def start(size: tuple[int, int]) -> ReceptiveField:
    """The image itself: every pixel sees itself. Raises BadArgument for a size below 1."""
    if len(size) != 2 or min(size) < 1:
        rule = "must be height and width, at least 1 each"
        raise BadArgument("input", "x".join(map(str, size)), rule, "try 28x28")
    return ReceptiveField("input", "image", AxisField(size[0]), AxisField(size[1]))


def slid(
    before: ReceptiveField,
    layer: str,
    kind: str,
    *,
    kernel_shape: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    ceil_mode: bool = False,
) -> ReceptiveField:
    """A convolution or a pool after another layer. Raises BadArgument where it does not fit."""
    axes = axes_of(
        (before.height.size, before.width.size), kernel_shape, pads=pads, strides=strides,
        dilations=dilations, ceil_mode=ceil_mode,
    )  # fmt: skip
    views = [
        view.through(axis.kernel, axis.stride, axis.dilation, axis.begin, axis.out)
        for view, axis in zip((before.height, before.width), axes, strict=True)
    ]
    return replace(before, layer=layer, kind=kind, height=views[0], width=views[1])


def whole(image: ReceptiveField, layer: str, kind: str) -> ReceptiveField:
    """A layer that sees all of the map before it: one unit, the whole image."""
    return ReceptiveField(layer, kind, image.height.whole, image.width.whole, whole=True)
