"""Random erasing, mixup and cutmix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from batches import drawn, seeded

from convscope.data import augment, mixing
from convscope.errors import BadArgument
from convscope.recipe import Augment

pytestmark = pytest.mark.usefixtures("one_thread")


def test_erase_puts_noise_into_a_rectangle():
    images = drawn(1500, 2, 20, 30).int().add(1000)  # no noise is 1000
    found = mixing.erase(images, 0.4, seeded())
    erased = (found < 1000).all(1)
    assert torch.equal(found[~erased[:, None].expand_as(found)], images[found >= 1000])
    assert torch.equal(erased, (found < 1000).any(1))  # all channels or none
    hit = erased.flatten(1).any(1)
    assert 0.36 < float(hit.float().mean()) < 0.44
    shapes = []
    for mask in erased[hit].numpy():
        rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        shapes.append((len(rows), len(columns), rows[0], columns[0]))
    high, wide, top, left = np.array(shapes).T
    area, aspect = high * wide / 600, high / wide
    assert area.min() > 0.015 and area.max() < 0.35 and abs(area.mean() - 0.175) < 0.01
    clear = (area > 0.1) & (high < 20)
    assert 0.25 < aspect[clear].min() < 0.4 and 2.7 < aspect[clear].max() < 3.8
    assert top.min() == left.min() == 0 and (top + high).max() == 20 and (left + wide).max() == 30
    noise = found[found < 1000]
    assert int(noise.min()) == 0 and int(noise.max()) == 255
    assert abs(float(noise.float().mean()) - 127.5) < 1
    counts = torch.bincount(noise, minlength=256) / len(noise) * 256
    assert float(counts.min()) > 0.8 and float(counts.max()) < 1.2


def test_erase_always_and_never(images):
    assert torch.equal(mixing.erase(images, 0.0, seeded()), images)
    changed = mixing.erase(images, 1.0, seeded()) != images
    assert bool(changed.flatten(1).any(1).all())


def test_noise_is_alike_in_bytes_and_in_floats(images):
    whole = mixing.erase(images, 0.7, seeded(3))
    broken = mixing.erase(images / 255, 0.7, seeded(3))
    assert torch.equal(whole, (broken * 255).round().byte())


def test_mixup_blends_with_the_image_before(images):
    labels = torch.arange(50) % 4
    for seed in range(3):
        found, (soft,) = augment.augment(
            images, (labels,), Augment(mixup=1.0), seeded(seed), classes=4
        )
        _, own = mixing.mixup(images, 1.0, seeded(seed))
        assert 0 < own < 1
        for i in range(50):
            blend = own * images[i].double() + (1 - own) * images[i - 1].double()
            assert float((found[i] - blend).abs().max()) < 0.501
            wanted = np.zeros(4)
            wanted[labels[i]] += own
            wanted[labels[i - 1]] += 1 - own
            np.testing.assert_allclose(soft[i], wanted, atol=1e-6)


def test_cutmix_takes_a_rectangle_of_the_image_before():
    images = torch.arange(1, 7, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 2, 20, 30)
    labels, shares, places = torch.arange(6), [], set()
    for seed in range(150):
        found, (soft,) = augment.augment(
            images, (labels,), Augment(cutmix=1.0), seeded(seed), classes=6
        )
        taken = found != images
        assert bool((taken == taken[0, 0]).all())  # one rectangle a batch
        assert torch.equal(found[taken], images.roll(1, 0)[taken])
        mask = taken[0, 0].numpy()
        rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
        assert mask.sum() == len(rows) * len(columns)
        share = 1 - mask.mean()
        wanted = share * np.eye(6) + (1 - share) * np.eye(6)[[5, 0, 1, 2, 3, 4]]
        np.testing.assert_allclose(soft, wanted, atol=1e-6)
        shares.append(share)
        if len(rows):
            places.add((rows[0], columns[0], rows[-1], columns[-1]))
            within = rows[0] > 0 and columns[0] > 0 and rows[-1] < 19 and columns[-1] < 29
            if within:  # not cut off: the image's aspect
                assert abs(len(rows) * 1.5 - len(columns)) <= 5
    assert len(places) > 100
    top, left, bottom, right = np.array(sorted(places)).T
    assert top.min() == left.min() == 0 and bottom.max() == 19 and right.max() == 29
    assert min(shares) < 0.2 and max(shares) > 0.95 and 0.5 < np.mean(shares) < 0.8


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_the_share_is_beta_distributed(alpha):
    random = seeded(13)
    shares = np.array([mixing._beta(alpha, random) for _ in range(2000)])
    assert abs(shares.mean() - 0.5) < 0.03
    assert shares.var() == pytest.approx(1 / (8 * alpha + 4), rel=0.1)


def test_mixup_and_cutmix_take_turns_evenly():
    """A blend has new values, a rectangle has none."""
    images, spec = drawn(4, 1, 8, 8), Augment(mixup=5.0, cutmix=5.0)
    blended = 0
    for seed in range(300):
        found, _ = augment.augment(images, (), spec, seeded(seed))
        blended += not bool(((found == images) | (found == images.roll(1, 0))).all())
    assert 120 < blended < 180


def test_mixed_targets_are_shares_of_every_class(images):
    targets = (torch.arange(50) % 7, torch.arange(50) % 3)
    for spec in (Augment(mixup=0.4), Augment(cutmix=1.0), Augment(mixup=0.2, cutmix=0.2)):
        _, soft = augment.augment(images, targets, spec, seeded(), classes=10)
        for target in soft:
            assert target.shape == (50, 10) and target.dtype == torch.float32
            assert bool((target >= 0).all())
            torch.testing.assert_close(target.sum(1), torch.ones(50))
    with pytest.raises(BadArgument, match="classes=None: must be given with mixup and cutmix; say"):
        augment.augment(images, targets, Augment(mixup=0.4), seeded())


# ---- what holds for all of them
