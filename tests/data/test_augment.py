"""Augmentation of whole batches, against slow and obvious twins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.data import augment
from convscope.errors import BadArgument
from convscope.recipe import Augment


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(1, 256, (50, 3, 9, 11), generator=seeded(), dtype=torch.uint8)


def moved(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """Pixel by pixel: what is at (y, x) comes from (y - down, x - right), black from beyond."""
    out = np.zeros_like(image)
    _, height, width = image.shape
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                out[:, y, x] = image[:, y - down, x - right]
    return out


def test_shift_moves_each_image_by_its_own_amount(images):
    found = augment.shift(images, 2, seeded(1)).numpy()
    places = set()
    for before, after in zip(images.numpy(), found, strict=True):
        fits = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if np.array_equal(moved(before, down, right), after)
        ]
        assert len(fits) == 1
        places.add(fits[0])
    assert len(places) > 15  # of 25: not all alike


def test_flip_mirrors_about_half(images):
    found = augment.flip(images, seeded(1))
    mirrored = (found == images.flip(3)).flatten(1).all(1)
    same = (found == images).flatten(1).all(1)
    assert bool((mirrored ^ same).all())
    assert 10 < int(mirrored.sum()) < 40


def test_cutout_blacks_out_one_square(images):
    found = augment.cutout(images, 4, seeded(1))
    assert torch.equal(found[found != 0], images[found != 0])
    for black in (found == 0).all(1).numpy():
        rows, columns = black.any(1).nonzero()[0], black.any(0).nonzero()[0]
        assert 2 <= len(rows) <= 4 and 2 <= len(columns) <= 4  # cut off at the edge
        assert black[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert black.sum() == len(rows) * len(columns)


@pytest.mark.parametrize("size", [(28, 28), (20, 36)])
def test_rotate_turns_as_pillow_does(size):
    """A smooth picture, turned by the angle that was drawn; oblong ones keep their proportions."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    blob = 255 * np.exp(-(((y - height * 0.4) / 2.5) ** 2 + ((x - width * 0.65) / 2.5) ** 2))
    picture = blob.astype(np.uint8)
    found = augment.rotate(torch.from_numpy(picture)[None, None], 30, seeded(3))[0, 0].numpy()
    angle = float(torch.rand(1, generator=seeded(3)) * 2 - 1) * 30
    theirs = [
        np.asarray(Image.fromarray(picture).rotate(turn, Image.Resampling.BILINEAR), dtype=int)
        for turn in (angle, -angle)
    ]
    assert abs(angle) > 3
    assert min(np.abs(turned - found).max() for turned in theirs) <= 2


def test_a_seed_gives_the_same_images_again(images):
    spec = Augment(shift=2, rotate=10, flip=True, cutout=3)
    one, _ = augment.augment(images, (), spec, seeded(5))
    two, _ = augment.augment(images, (), spec, seeded(5))
    other, _ = augment.augment(images, (), spec, seeded(6))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert one.shape == images.shape and one.dtype == torch.uint8


def test_none_means_none(images):
    found, _ = augment.augment(images, (), Augment(), seeded())
    assert found is images


def test_what_the_size_cannot_bear_is_refused():
    with pytest.raises(BadArgument, match="shift=28: must be smaller than the image, 28x28; try 3"):
        augment.check(Augment(shift=28), (28, 28))
    with pytest.raises(BadArgument, match="cutout=9: must be smaller than the image, 9x11"):
        augment.check(Augment(cutout=9), (9, 11))
    augment.check(Augment(shift=8, cutout=8), (9, 11))
