"""Batches: every image once an epoch, in an order that a resumed run finds again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convscope.data.loader import Loader, balanced, seed_of, stratified, tensor_of, to_input
from convscope.recipe import Augment


def loader(n: int = 23, batch_size: int = 5, seed: int = 0, spec: Augment = Augment()) -> Loader:  # noqa: B008
    images = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 1, 4, 4).contiguous()
    every = torch.arange(n)
    return Loader.of_images(images, every, every, batch_size, seed, spec, classes=n)


def seen(batches) -> list[list[int]]:
    return [batch.targets["label"].tolist() for batch in batches]


def test_every_image_once_an_epoch():
    batches = seen(loader().epoch(0))
    assert [len(b) for b in batches] == [5, 5, 5, 5, 3]
    assert sorted(index for batch in batches for index in batch) == list(range(23))


def test_images_and_labels_stay_together():
    for batch in loader().epoch(3):
        pixels = (batch.inputs["image"][:, 0, 0, 0] * 255).round().long()
        assert torch.equal(pixels, batch.targets["label"])


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
    spec = Augment(shift=1, alternating_flip=True, rotate=9, cutout=1, erase=0.5, cutmix=1)
    whole = list(loader(spec=spec).epoch(2))[start:]
    rest = list(loader(spec=spec).epoch(2, start))
    assert len(rest) == 5 - start
    for one, two in zip(whole, rest, strict=True):
        assert torch.equal(one.inputs["image"], two.inputs["image"])
        assert torch.equal(one.targets["label"], two.targets["label"])


def test_balanced_batches_draw_each_class_as_often():
    labels = torch.tensor([0] * 90 + [1] * 7 + [2] * 6)
    images = torch.zeros(103, 1, 4, 4, dtype=torch.uint8)
    batches = Loader.of_images(
        images, labels, torch.arange(103), 10, 0, Augment(), classes=3, sampler="balanced"
    )
    counts = []
    for epoch in range(6):
        drawn = torch.cat([batch.targets["label"] for batch in batches.epoch(epoch)])
        counts.append(torch.bincount(drawn, minlength=3).tolist())
        assert sorted(counts[-1]) == [34, 34, 35] and batches.sizes() == [10] * 10 + [3]
    assert len({tuple(one) for one in counts}) > 1  # whose turn it is to have one more is drawn


def test_balanced_batches_use_the_images_of_a_class_evenly():
    labels = torch.tensor([0] * 90 + [1] * 7 + [2] * 6)
    drawn = balanced(labels, torch.Generator().manual_seed(1))
    times = torch.bincount(drawn, minlength=103)
    assert times[:90].max() == 1 and set(times[90:97].tolist()) <= {4, 5}
    assert set(times[97:].tolist()) <= {5, 6}
    again = balanced(labels, torch.Generator().manual_seed(1))
    other = balanced(labels, torch.Generator().manual_seed(2))
    assert torch.equal(drawn, again) and not torch.equal(drawn, other)


@pytest.mark.parametrize("start", [1, 3])
def test_balanced_batches_go_on_in_the_middle(start):
    images = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).expand(40, 1, 4, 4)
    labels = (torch.arange(40) > 34).long()
    batches = Loader.of_images(
        images, labels, torch.arange(40), 8, 3, Augment(shift=1), classes=2, sampler="balanced"
    )
    whole, rest = list(batches.epoch(2))[start:], list(batches.epoch(2, start))
    assert len(whole) == len(rest) == 5 - start
    for one, two in zip(whole, rest, strict=True):
        assert torch.equal(one.inputs["image"], two.inputs["image"])
        assert torch.equal(one.targets["label"], two.targets["label"])


def test_mixed_targets_are_shares_of_every_class():
    for batch in loader(spec=Augment(mixup=0.5)).epoch(0):
        assert batch.targets["label"].shape == (len(batch), 23)
        torch.testing.assert_close(batch.targets["label"].sum(1), torch.ones(len(batch)))


def test_an_image_is_mirrored_every_other_epoch():
    images = torch.arange(4 * 16, dtype=torch.uint8).view(4, 1, 4, 4)
    spec = Augment(alternating_flip=True)
    batches = Loader.of_images(images, torch.arange(4), torch.arange(4), 4, 0, spec)

    def first_pixels(epoch: int) -> list[int]:
        (batch,) = batches.epoch(epoch)
        pixels = (batch.inputs["image"][:, 0, 0, 0] * 255).round().int()
        return pixels[batch.targets["label"].argsort()].tolist()

    for index, (even, odd) in enumerate(zip(first_pixels(0), first_pixels(1), strict=True)):
        assert {even, odd} == {16 * index, 16 * index + 3}
    assert first_pixels(2) == first_pixels(0)


def test_seeds_of_other_lengths_are_others():
    found = [seed_of(), seed_of(0), seed_of(0, 0), seed_of(1), seed_of(1, 0), seed_of(0, 1)]
    assert len(set(found)) == 6


def test_a_read_only_array_is_taken_in_silence():
    array = np.zeros((2, 1, 2, 2), np.uint8)
    array.flags.writeable = False
    assert tensor_of(array).shape == (2, 1, 2, 2)  # a warning would be an error here


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_inputs_have_the_layout_that_is_asked_for(layout):
    images = torch.randint(256, (3, 3, 5, 7), dtype=torch.uint8)
    found = to_input(images, "cpu", layout)
    assert found.dtype == torch.float32 and found.is_contiguous(memory_format=layout)
    assert torch.equal(found, images.float() * (1 / 255))


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


def test_copies_are_on_one_side_of_the_split():
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 200)
    first = np.arange(600)
    copies = random.permutation(600)[:300].reshape(100, 3)  # 100 kinds of three, across classes
    first[copies] = copies.min(1, keepdims=True)
    held = np.isin(np.arange(600), stratified(labels, 0.2, 0, first))
    assert np.array_equal(held, held[first])
    for label in range(3):  # the share is one of pictures, however often each is there
        kinds = (labels == label) & (first == np.arange(600))
        assert held[kinds].sum() == round(0.2 * kinds.sum())
    apart = np.isin(np.arange(600), stratified(labels, 0.2, 0))
    assert not np.array_equal(apart, apart[first])


def test_without_copies_the_split_is_what_it_was():
    labels = np.random.default_rng(0).integers(0, 5, 300)
    for share in (0, 0.1, 0.5):
        together = stratified(labels, share, 3, np.arange(300))
        assert np.array_equal(together, stratified(labels, share, 3))


@pytest.mark.parametrize("seed", range(8))
def test_a_class_of_copies_alone_is_learnt_from(seed):
    labels = np.array([0, 0, 0, 1, 1, 2])
    first = np.array([0, 0, 2, 2, 2, 2])  # all images of 1 and 2 are the third of 0
    held = stratified(labels, 0.5, seed, first)
    assert set(labels) == set(np.delete(labels, held))
