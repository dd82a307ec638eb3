"""RandAugment and TrivialAugment on whole batches, held against torchvision image by image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from batches import PAD, drawn, seeded
from torchvision.transforms.v2 import InterpolationMode, TrivialAugmentWide
from torchvision.transforms.v2 import functional as vision

from convscope.data import randaugment

pytestmark = pytest.mark.usefixtures("one_thread")


def in_torchvision(image: torch.Tensor, key: int, magnitude: int) -> torch.Tensor:
    """One image [C,H,W] through one operation."""
    _, height, width = image.shape
    name, sign = randaugment.OPERATIONS[key // 2], 1 if key % 2 else -1
    strength = sign * magnitude / 30
    straight = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    lean = math.degrees(math.atan(0.3 * strength))
    right, down = (int(150 / 331 * n * strength) for n in (width, height))
    # A map's signs are those of reading, a picture's those of moving: against each other.
    given = {
        "shear-x": {"shear": [lean, 0.0], "center": [0, 0]},
        "shear-y": {"shear": [0.0, lean], "center": [0, 0]},
        "translate-x": {"translate": [-right, 0]},
        "translate-y": {"translate": [0, -down]},
        "rotate": {"angle": -30.0 * strength},
    }
    if name in given:
        bilinear = InterpolationMode.BILINEAR
        return vision.affine(image, **{**straight, **given[name]}, interpolation=bilinear)
    return {
        "identity": lambda: image,
        "brightness": lambda: vision.adjust_brightness(image, 1 + 0.9 * strength),
        "contrast": lambda: vision.adjust_contrast(image, 1 + 0.9 * strength),
        "saturation": lambda: vision.adjust_saturation(image, 1 + 0.9 * strength),
        "sharpness": lambda: vision.adjust_sharpness(image, 1 + 0.9 * strength),
        "posterize": lambda: vision.posterize(image, int(8 - np.round(magnitude / 7.5))),
        "solarize": lambda: vision.solarize(image, 255 - 8.5 * magnitude),
        "autocontrast": lambda: vision.autocontrast(image),
        "equalize": lambda: vision.equalize(image),
    }[name]()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("magnitude", [0, 9, 30])
def test_randaugment_does_what_torchvision_does_image_by_image(magnitude, channels):
    y, x = np.mgrid[:17, :14]
    smooth = 90 + 60 * np.sin(x / 3 + np.arange(channels)[:, None, None]) + 3 * y
    images = torch.from_numpy(smooth.astype(np.uint8)).repeat(100, 1, 1, 1)
    images[50:] = drawn(50, channels, 17, 14) // 2 + 40
    found = randaugment.randaugment(images, 1, magnitude, seeded(11))
    keys = torch.randint(28, (100,), generator=seeded(11))
    assert len(set(keys.tolist())) >= 26
    for image, result, key in zip(images, found, keys.tolist(), strict=True):
        wanted = in_torchvision(image, key, magnitude)
        name, worst = randaugment.OPERATIONS[key // 2], (result.int() - wanted.int()).abs().max()
        cut = 2 if name in ("contrast", "saturation") else 1  # theirs cuts off, greys even twice
        assert int(worst) <= cut, (name, key, int(worst))


@pytest.mark.parametrize("channels", [1, 3])
def test_trivialaugment_does_what_torchvision_does_image_by_image(channels):
    theirs = TrivialAugmentWide()
    named = {
        **{"shear-x": "ShearX", "shear-y": "ShearY", "saturation": "Color"},
        **{"translate-x": "TranslateX", "translate-y": "TranslateY"},
        "autocontrast": "AutoContrast",
    }
    y, x = np.mgrid[:40, :45]
    smooth = 90 + 60 * np.sin(x / 6 + np.arange(channels)[:, None, None]) + 2 * y
    images = torch.from_numpy(smooth.astype(np.uint8)).repeat(600, 1, 1, 1)
    images[::2] = drawn(300, channels, 40, 45) // 2 + 40
    found = randaugment.trivialaugment(images, seeded(11))
    keys = torch.randint(14 * 62, (600,), generator=seeded(11))
    assert len(set((keys // 62).tolist())) == 14 and len(set((keys % 62).tolist())) == 62
    for image, result, key in zip(images, found, keys.tolist(), strict=True):
        name, strength, sign = randaugment.OPERATIONS[key // 62], key % 62 // 2, key % 2 * 2 - 1
        their_name = named.get(name, name.capitalize())
        magnitudes, signed = theirs._AUGMENTATION_SPACE[their_name]
        given = magnitudes(31, 40, 45)
        if their_name.startswith("Translate"):
            sign = -sign  # of reading, and of moving: against each other
        amount = 0.0 if given is None else round(float(given[strength]), 5)  # a whole 16 is 16
        amount *= sign if signed else 1
        wanted = theirs._apply_image_or_video_transform(
            image, their_name, amount, InterpolationMode.BILINEAR, {torch.Tensor: None}
        )
        apart = (result.int() - wanted.int()).abs()
        if name == "solarize":  # their thresholds are off by a rounding where they are whole
            apart = apart[image != 255 - 8.5 * strength]
        # theirs cuts off where ours rounds, greys even twice
        cut = {"contrast": 2, "saturation": 2}.get(name, 1)
        assert int(apart.max()) <= cut, (name, key, int(apart.max()))


def test_randaugment_goes_on_with_what_it_has(images):
    random = seeded(12)
    once = randaugment.randaugment(images, 1, 20, random)
    twice = randaugment.randaugment(once, 1, 20, random)
    assert torch.equal(randaugment.randaugment(images, 2, 20, seeded(12)), twice)


def test_randaugment_rounds_floats(images):
    for less, more in ((0, 0.4), (0.6, 1)):
        one = randaugment.randaugment((images - 1 + less) / 255, 1, 9, seeded())
        two = randaugment.randaugment((images - 1 + more) / 255, 1, 9, seeded())
        assert torch.equal(one, two)


def test_randaugment_pads_as_it_is_told():
    bright = torch.full((200, 1, 12, 12), 200, dtype=torch.uint8)
    keys = torch.randint(28, (200,), generator=seeded())
    moved = (keys // 2 >= 1) & (keys // 2 <= 5)
    for padding in PAD:
        found = randaugment.randaugment(bright, 1, 30, seeded(), padding)[moved]
        assert bool((found == 200).all()) == (padding != "black")


# ---- erase, mixup, cutmix
