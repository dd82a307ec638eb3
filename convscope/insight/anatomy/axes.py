"""What runs along the axes of a tensor, and what its units see: the algebra of receptive fields."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from convscope.insight.receptive_field import AxisField


class Run(NamedTuple):
    """What runs along an axis of a tensor: ``size`` units, ``step`` apart, of the map's height
    (``h``), its width (``w``), both (``hw``, in any order) or neither (empty)."""

    along: str
    step: int
    size: int


Axis = tuple[Run, ...]


@dataclass(frozen=True)
class Field:
    """What the units of a tensor see, along height and width; ``axes`` is what runs along each of
    its own, None once that is lost.

    ``varies``: it differs from unit to unit by more than a shift. ``whole``: all of the image.
    """

    height: AxisField
    width: AxisField
    axes: tuple[Axis, ...] | None = None
    varies: bool = False
    whole: bool = False

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the map, wherever its rows and columns lie; None for what is none."""
        runs = [run for axis in self.axes or () for run in axis if run.along]
        if not runs or len(set(runs)) < len(runs) or any(len(run.along) > 1 for run in runs):
            return None
        rows, columns = (math.prod(run.size for run in runs if run.along == side) for side in "hw")
        return rows, columns

    @property
    def views(self) -> tuple[AxisField, AxisField]:
        """Along height and width."""
        return self.height, self.width


class LostError(Exception):
    """It cannot be followed any further."""


def run_along(along: str, size: int) -> Axis:
    return () if size == 1 else (Run(along, 1, size),)


def plain(size: int) -> Axis:
    return run_along("", size)


def runs_of(axes: Sequence[Axis], along: str) -> list[Run]:
    return [run for axis in axes for run in axis if along in run.along]


def spatial(axis: Axis) -> bool:
    return any(run.along for run in axis)


def known(field: Field) -> tuple[Axis, ...]:
    if field.axes is None:
        raise LostError
    return field.axes


def settled(field: Field) -> Field:
    """The same with steps of 1 where all that is left of a direction is further apart."""
    axes = known(field)
    views = []
    for along, view in zip("hw", field.views, strict=True):
        runs = [run for run in runs_of(axes, along) if run.along == along]
        step = math.gcd(*(run.step for run in runs)) if runs else 1
        size = math.prod(run.size for run in runs_of(axes, along))
        views.append(replace(view, stride=view.stride * step, size=size))
        axes = tuple(
            tuple(
                run._replace(step=run.step // step) if run.along == along else run for run in axis
            )
            for axis in axes
        )
    return replace(field, height=views[0], width=views[1], axes=axes)


def gathered(field: Field, at: Sequence[int], keep: bool = False) -> Field:
    """What is seen where the values along some axes are gathered; those axes go to nothing, or stay
    (``keep``), as in a softmax, after which every unit along them sees the same."""
    axes = known(field)
    gone = [axes[i] for i in at]
    if not any(map(spatial, gone)):
        return field if keep else replace(field, axes=without(axes, at))
    views = []
    for along, view in zip("hw", field.views, strict=True):
        reach = sum(run.step * (run.size - 1) for run in runs_of(gone, along))
        views.append(replace(view, high=view.high + reach * view.stride))
    left = without(axes, at)
    whole = not any(map(spatial, left))
    after = replace(field, height=views[0], width=views[1], whole=whole)
    if keep:
        return replace(after, axes=axes, varies=not whole)
    return settled(replace(after, axes=left))


def without(axes: tuple[Axis, ...], at: Sequence[int]) -> tuple[Axis, ...]:
    return tuple(() if i in at else axis for i, axis in enumerate(axes))


def dropped(field: Field, at: Sequence[int]) -> Field:
    return replace(field, axes=tuple(x for i, x in enumerate(known(field)) if i not in at))


def aligned(field: Field, rank: int) -> tuple[Axis, ...]:
    axes = known(field)
    return ((),) * (rank - len(axes)) + axes


def union(fields: Sequence[Field], rank: int) -> Field:
    first = replace(fields[0], axes=aligned(fields[0], rank))
    for other in fields[1:]:
        axes = aligned(other, rank)
        together = tuple(
            one if spatial(one) or not spatial(two) else two
            for one, two in zip(known(first), axes, strict=True)
        )
        same = all(
            not spatial(two) or one == two for one, two in zip(known(first), axes, strict=True)
        ) and all(
            (a.stride, a.size) == (b.stride, b.size)
            for a, b in zip(first.views, other.views, strict=True)
        )
        views = [
            replace(a, low=min(a.low, b.low), high=max(a.high, b.high))
            for a, b in zip(first.views, other.views, strict=True)
        ]
        varies = first.varies or other.varies or not same
        first = Field(views[0], views[1], together, varies, first.whole or other.whole)
    return first


def part(field: Field, at: int, size: int, of: int, start: int, step: int) -> Field:
    axes = known(field)
    axis = axes[at]
    if size == of and step == 1:
        return field
    if not spatial(axis):
        return replace(field, axes=(*axes[:at], plain(size), *axes[at + 1 :]))
    if len(axis) > 1 or len(axis[0].along) > 1:
        raise LostError
    run = axis[0]
    by = start * run.step
    height, width = (
        view.moved(by) if along == run.along else view
        for along, view in zip("hw", field.views, strict=True)
    )
    cut: Axis = (run._replace(step=run.step * step, size=size),) if size > 1 else ()
    after = (*axes[:at], cut, *axes[at + 1 :])
    return settled(replace(field, height=height, width=width, axes=after))
