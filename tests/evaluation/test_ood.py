"""Images that look like nothing a network was trained on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from convscope.evaluation import ood
from convscope.run import CALIBRATED


def test_energy_is_that_of_the_paper():
    logits = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32) * 300
    np.testing.assert_allclose(ood.energy(logits), logsumexp(logits.astype(float), axis=1))


@pytest.mark.parametrize("shape", [(1, 9, 13), (3, 8, 8), (1, 2, 3)])
def test_outliers_are_made_of_the_images(shape):
    images = np.random.default_rng(0).integers(0, 256, (250, *shape), np.uint8)
    some = images[np.linspace(0, 249, 100).astype(int)]  # from the first to the last
    inverted, shuffled, noise = ood.outliers(images, 100)
    assert (inverted == 255 - some).all()
    for one, again in zip((inverted, shuffled, noise), ood.outliers(images, 100), strict=True):
        assert one.shape == some.shape and one.dtype == np.uint8 and (one == again).all()
    assert (shuffled != some).any(axis=(1, 2, 3)).mean() > 0.9
    for one, was in zip(shuffled, some, strict=True):  # each keeps its own pixels
        assert (np.sort(one, axis=None) == np.sort(was, axis=None)).all()
    assert abs(noise.mean() - 127.5) < 10


def test_tiles_are_moved_whole():
    image = np.arange(16, dtype=np.uint8).repeat(4).reshape(4, 4, 2, 2)  # tiles of 2 x 2
    image = image.transpose(0, 2, 1, 3).reshape(1, 1, 8, 8)
    _, shuffled, _ = ood.outliers(image, 1)
    tiles = shuffled.reshape(4, 2, 4, 2).transpose(0, 2, 1, 3).reshape(16, 4)
    assert (tiles == tiles[:, :1]).all() and sorted(tiles[:, 0]) == list(range(16))


def test_one_percent_of_what_is_like_validation_is_flagged():
    random, shares = np.random.default_rng(0), []
    for _ in range(200):
        logits = 5 * random.normal(size=(299, 4))
        found = ood.detector(logits, [random.normal(size=(9, 4))] * 3)
        shares.append(found.flags(5 * random.normal(size=(2000, 4))).mean())
    assert 0.008 < np.mean(shares) < 0.012
    assert ood.count(98) == 0 < ood.count(99)
    assert CALIBRATED["ood"]["score"] == set(ood.SCORES)  # what a run folder is checked for
    fewest = ood.detector(logits[:99], [random.normal(size=(9, 4))] * 3)
    assert not fewest.flags(logits[:99]).any()  # below the lowest of all


def test_the_better_score_is_taken():
    random = np.random.default_rng(0)
    sure = 9 * np.eye(4)[random.integers(0, 4, 200)] + random.normal(size=(200, 4))
    low = 3 * random.normal(size=(100, 4))  # sure, and low
    assert ood.detector(sure, [low] * 3).score == "energy"
    level = np.full((100, 4), 20.0) + random.normal(size=(100, 4)) / 9  # high, and undecided
    found = ood.detector(sure, [level] * 3)
    assert found.score == "max_softmax" and found.auroc["max_softmax"] > 0.99
    assert found.auroc["energy"] < 0.01 and found.caught["noise"] > 0.9
