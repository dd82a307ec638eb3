"""Batches: every image once an epoch, in an order that a resumed run finds again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convscope.data.loader import Loader, stratified, to_input
from convscope.recipe import Augment


def loader(n: int = 23, batch_size: int = 5, seed: int = 0, spec: Augment = Augment()) -> Loader:  # noqa: B008
    images = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 1, 4, 4).contiguous()
    return Loader(images, torch.arange(n), torch.arange(n), batch_size, seed, spec)


def seen(batches) -> list[list[int]]:
    return [batch.targets[0].tolist() for batch in batches]


def test_every_image_once_an_epoch():
    batches = seen(loader().epoch(0))
    assert [len(b) for b in batches] == [5, 5, 5, 5, 3]
    assert sorted(index for batch in batches for index in batch) == list(range(23))


def test_images_and_labels_stay_together():
    for batch in loader().epoch(3):
        pixels = (batch.inputs[0][:, 0, 0, 0] * 255).round().long()
        assert torch.equal(pixels, batch.targets[0])


def test_one_image_left_over_joins_the_batch_before():
    assert loader(21).sizes() == [5, 5, 5, 6]
    assert [len(b) for b in seen(loader(21).epoch(0))] == [5, 5, 5, 6]
    assert loader(3, 5).sizes() == [3]
    assert loader(3, 1).sizes() == [1, 1, 1]


def test_each_epoch_and_each_seed_has_its_order():
    orders = [seen(loader(seed=seed).epoch(epoch)) for seed in (0, 1) for epoch in (0, 1)]
    assert len({str(order) for order in orders}) == 4
    assert seen(loader(seed=1).epoch(1)) == orders[3]


@pytest.mark.parametrize("start", [0, 1, 4])
def test_going_on_in_the_middle_gives_the_same_batches(start):
    spec = Augment(shift=1, flip=True)
    whole = list(loader(spec=spec).epoch(2))[start:]
    rest = list(loader(spec=spec).epoch(2, start))
    assert len(rest) == 5 - start
    for one, two in zip(whole, rest, strict=True):
        assert torch.equal(one.inputs[0], two.inputs[0])
        assert torch.equal(one.targets[0], two.targets[0])


def test_pixels_become_numbers_from_0_to_1():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    found = to_input(images, "cpu", torch.channels_last)
    torch.testing.assert_close(found.flatten(), torch.arange(256) / 255)
    assert images.dtype == torch.uint8  # untouched


def test_validation_takes_its_share_of_every_class():
    labels = np.repeat(np.arange(4), [100, 50, 10, 2])
    chosen = stratified(labels, 0.1, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [10, 5, 1, 1]
    assert np.array_equal(chosen, stratified(labels, 0.1, seed=0))
    assert not np.array_equal(chosen, stratified(labels, 0.1, seed=1))
    assert stratified(labels, 0, seed=0).size == 0


def test_validation_leaves_something_to_learn_from():
    assert np.bincount(stratified(np.array([0, 0, 1]), 0.9, seed=0), minlength=3).sum() == 1
