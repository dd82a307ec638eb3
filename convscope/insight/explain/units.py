"""What a unit answers to: the images of the data to which it answers most, and the patch of each
that it sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from convscope.errors import BadArgument
from convscope.events import Emit, silent
from convscope.insight import anatomy
from convscope.insight.explain.map_layers import Stage, batches, maps_of


@dataclass(frozen=True)
class Answers:
    """What some units of a stage answer to most: for each of ``units`` [U] the ``images`` [U,k]
    (their places in what was searched), how strongly (``values`` [U,k]), at which unit of its map
    (``places`` [U,k,2]), and the patch that this unit sees: ``boxes`` [U,k,4] are top, left, bottom
    and right in pixels, the last two beyond it, cut at the image's edge."""

    stage: Stage
    units: tuple[int, ...]
    images: np.ndarray
    values: np.ndarray
    places: np.ndarray
    boxes: np.ndarray


def check(stage: Stage, units: Sequence[int]) -> None:
    """Refuse a unit that the stage does not have. Raises BadArgument."""
    most = stage.shape[0] - 1
    for unit in units:
        if not 0 <= unit <= most:
            rule = f"{stage.name} has the units 0 to {most}"
            raise BadArgument("unit", unit, rule, f"try {min(max(unit, 0), most)}")


def strongest(
    network: nn.Module, images: np.ndarray, stage: Stage, emit: Emit = silent
) -> tuple[np.ndarray, np.ndarray]:
    """The strongest answer of each unit to each image uint8 [N,C,H,W], float [N,F], and where on
    its map it is, as one number [N,F]."""
    values, places = [], []
    for inputs in batches(images, "units", emit):
        best = maps_of(network, inputs, stage.name).flatten(2).max(dim=2)
        values.append(best.values.numpy())
        places.append(best.indices.numpy())
    return np.concatenate(values), np.concatenate(places)


def telling(values: np.ndarray, count: int) -> tuple[int, ...]:
    """The units whose strongest answers [N,F] stand out most from what they usually give.

    >>> telling(np.array([[1.0, 0.0], [1.1, 0.0], [0.9, 5.0]]), 1)
    (1,)
    """
    spread = values.std(axis=0)
    above = (values.max(axis=0) - values.mean(axis=0)) * (spread > 0)
    order = np.argsort(-above, kind="stable")[:count]
    return tuple(sorted(int(unit) for unit in order))


def answers(
    network: nn.Module,
    images: np.ndarray,
    stage: Stage,
    units: Sequence[int] = (),
    *,
    count: int = 8,
    best: int = 8,
    emit: Emit = silent,
) -> Answers:
    """The ``best`` images uint8 [N,C,H,W] of each unit, an image once; without ``units`` those
    ``count`` that stand out most. Raises BadArgument for a unit that is not there."""
    check(stage, units)
    values, places = strongest(network, images, stage, emit)
    chosen = tuple(units) or telling(values, count)
    order = np.argsort(-values[:, chosen], axis=0, kind="stable")[:best].T  # [U,k]
    columns = np.array(chosen)[:, None]
    rows, along = np.divmod(places[order, columns], stage.size[1])
    at = np.stack([rows, along], axis=2)
    size = (images.shape[1], images.shape[2], images.shape[3])
    return Answers(
        stage, chosen, order, values[order, columns], at, patches(network, size, stage, at)
    )


def patches(
    network: nn.Module, size: tuple[int, int, int], stage: Stage, places: np.ndarray
) -> np.ndarray:
    """The patch that the unit at each place [...,2] of a stage's map sees of an image [C,H,W]: top,
    left, bottom, right [...,4], cut at the image's edge; the whole image where that is not known.
    """
    inside = [
        row
        for row in anatomy.summarise(network, size).rows
        if row.name == stage.name or row.name.startswith(f"{stage.name}.")
    ]
    seen = inside[-1].seen if inside else None
    found = np.zeros((*places.shape[:-1], 4), np.int64)
    for axis, length in enumerate(size[1:]):
        view = None if seen is None or seen.whole else (seen.height, seen.width)[axis]
        if view is None:
            found[..., axis + 2] = length
            continue
        begin = view.low + places[..., axis] * view.stride
        found[..., axis] = np.clip(begin, 0, length)
        found[..., axis + 2] = np.clip(begin + view.field, 0, length)
    return found
