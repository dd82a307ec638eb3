"""Images copied, mirrored, shifted and cut out in one pass, against one image at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from batches import PAD, SPECS, drawn, every_spec, seeded, slowly
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.data import augment, flip_shift_cutout
from convscope.recipe import Augment

pytestmark = pytest.mark.usefixtures("one_thread")


@given(
    st.tuples(st.integers(1, 3), st.integers(5, 12), st.integers(5, 12)),
    st.integers(0, 4),
    st.sampled_from(sorted(PAD)),
    st.booleans(),
    st.integers(0, 4),
    st.sampled_from([torch.uint8, torch.float32, torch.float64]),
    st.lists(st.integers(0, 6), min_size=1, max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_draw_shifts_mirrors_and_cuts_as_one_image_at_a_time(
    size, shift, padding, flip, cut, dtype, chosen
):
    spec = Augment(shift=shift, padding=padding, flip=flip, cutout=cut)
    source, chosen = drawn(7, *size).to(dtype), torch.tensor(chosen)
    before = source.clone()
    found = augment.draw(source, chosen, spec, seeded(3))
    assert found.dtype == dtype and found.is_contiguous()
    assert np.array_equal(found, slowly(source[chosen], spec, seeded(3)))
    again, _ = augment.augment(source[chosen], (), spec, seeded(3))
    assert torch.equal(again, found)
    assert torch.equal(source, before)


@pytest.mark.parametrize("size", [(3, 32, 32), (1, 28, 28), (3, 64, 64)])  # 64: masks not kept
def test_draw_at_the_sizes_of_real_images(size):
    source, spec = drawn(40, *size), Augment(shift=4, flip=True, cutout=9)
    chosen = torch.randint(1, 39, (100,), generator=seeded(1))
    found = augment.draw(source, chosen, spec, seeded(2))
    assert np.array_equal(found, slowly(source[chosen], spec, seeded(2)))


@pytest.mark.parametrize("kind", ["memory map", "part", "strided", "channels last"])
def test_draw_reads_any_source(kind, tmp_path):
    source = drawn(30, 3, 8, 8)
    if kind == "memory map":
        np.save(tmp_path / "a.npy", source.numpy())
        source = torch.from_numpy(np.load(tmp_path / "a.npy", mmap_mode="c"))
    source = {
        "memory map": source,
        "part": source[10:20],
        "strided": source[::2],
        "channels last": source.to(memory_format=torch.channels_last),
    }[kind]
    for spec in (Augment(), Augment(shift=2), Augment(flip=True), Augment(shift=2, flip=True)):
        for chosen in (torch.tensor([0, 9, 3, 9, 0, 5]), torch.tensor([4, 2, 7, 8])):
            found = augment.draw(source, chosen, spec, seeded(4))
            assert found.is_contiguous()
            assert np.array_equal(found, slowly(source[chosen], spec, seeded(4)))


def test_draw_refuses_images_that_are_not_there():
    for spec in (Augment(), Augment(shift=1), Augment(shift=1, flip=True)):
        with pytest.raises(IndexError):
            augment.draw(drawn(5, 3, 8, 8), torch.tensor([0, 5]), spec, seeded())


@every_spec
def test_what_draw_leaves_is_the_rest(spec):
    source, chosen = drawn(20, 3, 16, 16), torch.tensor([3, 19, 3, 0, 8, 7])
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    random = seeded(5)
    images = augment.draw(source, chosen, spec, random, epoch=3)
    images, (mixed,) = augment.augment(
        images, (labels,), augment.rest(spec), random, indices=chosen, epoch=3, classes=5
    )
    whole, (wanted,) = augment.augment(
        source[chosen], (labels,), spec, seeded(5), indices=chosen, epoch=3, classes=5
    )
    assert torch.equal(images, whole) and torch.equal(mixed, wanted)


@pytest.mark.parametrize("padding", PAD)
def test_each_alone_one_after_the_other_is_all_at_once(images, padding):
    random = seeded(6)
    found = augment.augment(images, (), Augment(flip=True), random)[0]
    found = augment.augment(found, (), Augment(shift=2, padding=padding), random)[0]
    found = flip_shift_cutout.cutout(found, 3, random)
    spec = Augment(shift=2, padding=padding, flip=True, cutout=3)
    assert torch.equal(found, augment.augment(images, (), spec, seeded(6))[0])


@pytest.mark.parametrize("name", ["crop", "shear", "contrast", "hue", "randaugment"])
def test_cutout_comes_after_what_changes_colours_and_places(images, name):
    spec = replace(SPECS[name], flip=True)
    random = seeded(6)
    found, _ = augment.augment(images, (), spec, random)
    found = flip_shift_cutout.cutout(found, 3, random)
    assert torch.equal(found, augment.augment(images, (), replace(spec, cutout=3), seeded(6))[0])


def test_a_square_larger_than_the_image_leaves_nothing(images):
    assert not flip_shift_cutout.cutout(images, 30, seeded()).any()


@pytest.mark.parametrize("size", [28, 32, 64, 224])
def test_masks_take_little_memory(size):
    for masks in (
        flip_shift_cutout._frames(28, size, size, 1),
        flip_shift_cutout._holes(8, size, size, 1),
    ):
        assert masks.windows.untyped_storage().nbytes() <= 4 << 20


def test_shift_and_flip_take_every_place_as_often():
    source = drawn(1, 1, 5, 5).expand(5000, 1, 5, 5)
    found = augment.augment(source, (), Augment(shift=2, flip=True), seeded())[0]
    _, counts = found.flatten(1).unique(dim=0, return_counts=True)
    assert len(counts) == 50 and int(counts.min()) > 55 and int(counts.max()) < 150


def test_cutout_has_its_middle_at_every_pixel_as_often():
    found = flip_shift_cutout.cutout(torch.ones(8000, 1, 5, 4), 3, seeded())
    holes, counts = found.flatten(1).unique(dim=0, return_counts=True)
    assert len(counts) == 20 and int(counts.min()) > 300 and int(counts.max()) < 500
    assert sorted((holes == 0).sum(1).tolist()) == [4] * 4 + [6] * 10 + [9] * 6


def alternating_flip(images: torch.Tensor, indices: torch.Tensor, epoch: int) -> torch.Tensor:
    spec = Augment(alternating_flip=True)
    return augment.augment(images, (), spec, seeded(), indices=indices, epoch=epoch)[0]


def test_alternating_flip_mirrors_each_image_every_other_epoch(images):
    indices = torch.arange(50) + 10**6
    epochs = [alternating_flip(images, indices, epoch) for epoch in range(4)]
    mirrored = [(found == images.flip(3)).flatten(1).all(1) for found in epochs]
    same = [(found == images).flatten(1).all(1) for found in epochs]
    assert torch.equal(mirrored[0], same[1]) and torch.equal(mirrored[1], same[0])
    assert torch.equal(epochs[0], epochs[2]) and torch.equal(epochs[1], epochs[3])
    assert 10 < int(mirrored[0].sum()) < 40


def test_alternating_flip_goes_by_a_hash_that_stays(images):
    """A run that goes on under another version must see the same images."""
    indices = [*range(45), 50_000, 2**31, 2**40 + 1, 2**62, 2**63 - 1]
    wanted = []
    for index in indices:
        for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
            index ^= (index >> 29) | (-(index >> 63) << 35)  # noqa: PLW2901 - the sign moves in
            index = index * factor % 2**64  # noqa: PLW2901
        wanted.append(bool(index >> 40 & 1))
    found = alternating_flip(images, torch.tensor(indices), 0)
    mirrored = (found == images.flip(3)).flatten(1).all(1)
    assert mirrored.tolist() == wanted


def test_alternating_flip_tosses_a_fair_coin_for_each_index():
    coins = flip_shift_cutout._phases(torch.arange(100_000), 0).double() * 2 - 1
    assert abs(float(coins.mean())) < 0.015
    for apart in (*range(1, 20), 64, 100, 1000, 5000):
        assert abs(float((coins[apart:] * coins[:-apart]).mean())) < 0.02


def test_alternating_flip_goes_by_the_index_in_the_data_set(images):
    spec, chosen = Augment(alternating_flip=True), torch.tensor([7, 1, 8, 40, 30])
    whole = alternating_flip(images, torch.arange(50), 1)
    assert torch.equal(augment.draw(images, chosen, spec, seeded(), 1), whole[chosen])
    found, _ = augment.augment(images[chosen], (), spec, seeded(), indices=chosen, epoch=1)
    assert torch.equal(found, whole[chosen])
    found, _ = augment.augment(images, (), spec, seeded(), epoch=1)
    assert torch.equal(found, whole)


# ---- colour
