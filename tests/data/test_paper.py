"""Ink is found whatever the light, the lines and the colour of the paper."""

from __future__ import annotations

import numpy as np
import pytest
from written import digit, photographed, put, ruled, sheet

from convscope.data.paper import find_ink, otsu


def overlap(one: np.ndarray, two: np.ndarray) -> float:
    """Intersection over union."""
    return (one & two).sum() / (one | two).sum()


WRITTEN = put(put(sheet(), digit(5), 40, 30), digit(3), 60, 160)


def test_a_shadow_is_no_ink():
    photo = photographed(WRITTEN)
    dark, light = photo[WRITTEN > 0.9].max(), photo[WRITTEN == 0].min()
    assert dark > light - 40  # no threshold of the whole picture tells one from the other so well
    ink = find_ink(photo)
    assert overlap(ink.mask, WRITTEN > 0.5) > 0.85 and not ink.light
    assert not find_ink(photographed(sheet())).mask.any()


@pytest.mark.parametrize("share", [0.8, 0.3])  # of the light that a line leaves; ink leaves 0.25
@pytest.mark.parametrize("squared", [False, True])
def test_ruled_lines_are_erased_and_strokes_across_them_are_not(share, squared):
    lines = ruled(WRITTEN, share=share)
    if squared:
        lines = np.minimum(lines, ruled(WRITTEN.T, share=share, slope=-0.06).T)
    mask = find_ink(photographed(WRITTEN, lines)).mask
    assert overlap(mask, WRITTEN > 0.5) > (0.75 if share > 0.5 else 0.6)
    assert (mask & (WRITTEN == 0)).sum() < (0.05 if share > 0.5 else 0.15) * mask.sum()


def test_chalk_is_as_ink():
    photo = photographed(WRITTEN)
    ink, chalk = find_ink(photo), find_ink(255 - photo)
    assert chalk.light and np.array_equal(chalk.mask, ink.mask)


def test_the_threshold_parts_the_values_best():
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(0.2, 0.05, 900), random.normal(0.7, 0.1, 80)])

    def between(at: float) -> float:
        low, high = values[values <= at], values[values > at]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2

    best = max(between(at) for at in np.linspace(values.min(), values.max(), 400)[1:-1])
    assert between(otsu(values)) > 0.995 * best
