"""Brightness, contrast, saturation and hue, against their formulas and torchvision."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from batches import drawn, seeded
from torchvision.transforms.v2 import functional as vision

from convscope.data import colour
from convscope.recipe import Augment

pytestmark = pytest.mark.usefixtures("one_thread")


def recoloured(image, b, c, s) -> np.ndarray:
    """One image [C,H,W] from 0 to 1: brightness, contrast, saturation, clipped at the end."""
    weights = [0.299, 0.587, 0.114] if len(image) == 3 else [1]
    image = np.asarray(image, float) * b
    grey = np.tensordot(weights, image, 1)
    image = c * image + (1 - c) * grey.mean()
    grey = np.tensordot(weights, image, 1)
    return np.clip(s * image + (1 - s) * grey, 0, 1)


@pytest.mark.parametrize(
    "values", [(0.6, 0, 0), (0, 0.9, 0), (0, 0, 0.8), (0.3, 0.4, 0), (0.5, 0.5, 0.5)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_contrast_and_saturation(values, channels):
    images = drawn(40, channels, 6, 5) / 255
    spec = Augment(brightness=values[0], contrast=values[1], saturation=values[2])
    found = colour.colour(images, spec, seeded(7)).numpy()
    random = seeded(7)
    factors = [
        1 + v * (torch.rand(40, generator=random) * 2 - 1) if v else torch.ones(40) for v in values
    ]
    for image, result, *bcs in zip(images, found, *factors, strict=True):
        wanted = recoloured(image, *(float(f) for f in bcs))
        np.testing.assert_allclose(result, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("brightness", vision.adjust_brightness),
        ("contrast", vision.adjust_contrast),
        ("saturation", vision.adjust_saturation),
    ],
)
def test_a_factor_means_what_it_means_in_torchvision(name, theirs):
    images = drawn(20, 3, 8, 8)
    found = colour.colour(images, Augment(**{name: 0.7}), seeded(7))
    factors = 1 + 0.7 * (torch.rand(20, generator=seeded(7)) * 2 - 1)
    assert float(factors.min()) < 0.5 and float(factors.max()) > 1.5
    for image, result, factor in zip(images, found, factors, strict=True):
        wanted = theirs(image / 255, float(factor)) * 255
        assert float((result - wanted).abs().max()) < 0.6  # they weigh red 0.2989


@pytest.mark.parametrize("turn", [0.1, 0.5])
def test_hue_turns_each_pixel_on_its_circle(turn):
    images = drawn(12, 3, 4, 5) / 255
    images[:, :, 0, 0] = torch.tensor([0.3, 0.3, 0.3])
    images[:, :, 0, 1] = torch.tensor([0.7, 0.2, 0.7])  # two channels alike
    images[:, :, 0, 2] = torch.tensor([0.1, 0.6, 0.6])
    images[:, :, 0, 3] = 0
    found = colour.colour(images, Augment(hue=turn), seeded(8))
    turns = turn * (torch.rand(12, generator=seeded(8)) * 2 - 1)
    assert float(turns.min()) < -0.5 * turn and float(turns.max()) > 0.5 * turn
    for image, result, by in zip(images, found, turns, strict=True):
        for pixel, got in zip(image.flatten(1).T, result.flatten(1).T, strict=True):
            h, s, v = colorsys.rgb_to_hsv(*pixel.tolist())
            wanted = colorsys.hsv_to_rgb((h + float(by)) % 1, s, v)
            np.testing.assert_allclose(got, wanted, atol=2e-5)


def test_colour_comes_before_hue_and_grey_stays_grey():
    images = drawn(10, 3, 6, 6)
    both = colour.colour(images / 255, Augment(brightness=0.9, hue=0.2), seeded(9))
    random = seeded(9)
    bright = colour.colour(images / 255, Augment(brightness=0.9), random)
    torch.testing.assert_close(both, colour.colour(bright, Augment(hue=0.2), random))
    grey = images[:, :1].expand(-1, 3, -1, -1)
    found = colour.colour(grey, Augment(saturation=0.9, hue=0.5), seeded())
    assert torch.equal(found, grey)


def test_factors_reach_their_bounds():
    grey = torch.full((4000, 1, 1, 1), 0.4)
    found = colour.colour(grey, Augment(brightness=0.5), seeded()) / 0.4
    assert 0.5 <= float(found.min()) < 0.51 and 1.49 < float(found.max()) < 1.501
    assert abs(float(found.mean()) - 1) < 0.02


# ---- randaugment
