"""Copies are found whatever was done to their files, and what only looks alike is not accused."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import held, scene
from PIL import Image

from convscope.data.audit import copies
from convscope.data.audit.copies import alike, close_pairs, components, near_pairs
from convscope.data.audit.samples import Samples, shrunk
from convscope.events import silent


def pixels(*pictures: Image.Image) -> np.ndarray:
    """Pictures of one size as ``[n,3,H,W]``."""
    return np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures])


def samples_of(images: np.ndarray, test: np.ndarray | None = None) -> Samples:
    splits = {"train": (images, np.arange(len(images)) % 2)}
    if test is not None:
        splits["test"] = (test, np.arange(len(test)) % 2)
    return Samples(held("x", ("a", "b"), splits))


def saved_again(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    with Image.open(file) as again:
        return again.convert("RGB")


CHANGES = {
    "saved again": lambda picture: saved_again(picture, 60),
    "smaller and back": lambda p: p.resize((40, 30)).resize(p.size),
    "a little lighter": lambda p: p.point(lambda value: min(255, value + 4)),
    "a corner": lambda p: p.copy().crop((1, 0, 64, 48)).resize(p.size),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found(change):
    scenes = [scene(seed) for seed in range(12)]
    images = pixels(*scenes, CHANGES[change](scenes[7]))
    assert [pair[:2] for pair in near_pairs(samples_of(images), silent)] == [(7, 12)]
    across = samples_of(images[:12], images[12:])
    assert [pair[:2] for pair in near_pairs(across, silent)] == [(7, 12)]


def test_the_hash_alone_accuses_nobody(monkeypatch):
    """One scene with something else in it: the low frequencies agree, the pixels do not."""
    base = scene(3)
    other = base.copy()
    other.paste((250, 20, 20), (24, 16, 36, 28))
    images = pixels(base, other, scene(4))
    grey = shrunk(images, copies.GREY, grey=True)
    monkeypatch.setattr(copies, "BITS", 12)
    proposed = list(close_pairs(copies.perceptual_hashes(grey), 12))
    assert [(a.tolist(), b.tolist()) for a, b in proposed] == [([0], [1])]
    assert near_pairs(samples_of(images), silent) == []


def test_even_images_are_not_alike_for_being_even():
    random = np.random.default_rng(0)
    walls = random.integers(118, 124, (2, 3, 48, 48)).astype(np.uint8)
    assert not alike(walls[:1], walls[1:]).any()
    assert alike(walls[:1], walls[:1]).all()
    flat = np.full((1, 3, 8, 8), 7, np.uint8)
    assert alike(flat, flat).all()  # even, and the same


def test_identical_images_are_compared_once():
    images = pixels(scene(1), scene(1), scene(2))
    assert near_pairs(samples_of(images), silent) == []  # the exact check tells them


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 8))
def test_every_close_pair_is_found_once(seed, most):
    random = np.random.default_rng(seed)
    base = random.integers(0, 1 << 63, 8, np.uint64)
    flips = random.integers(0, 64, (60, 6))
    hashes = base[random.integers(0, 8, 60)]
    for at, bits in enumerate(flips):
        for bit in bits[: random.integers(0, 7)]:
            hashes[at] ^= np.uint64(1 << int(bit))
    found = [
        (int(min(pair)), int(max(pair)))
        for a, b in close_pairs(hashes, most)
        for pair in zip(a, b, strict=True)
    ]
    every = np.bitwise_count(hashes[:, None] ^ hashes[None]) <= most
    expected = [(int(a), int(b)) for a, b in np.argwhere(every) if a < b]
    assert sorted(found) == expected


def test_pairs_are_found_in_pieces(monkeypatch):
    hashes = np.zeros(50, np.uint64)
    monkeypatch.setattr(copies, "AT_ONCE", 64)
    assert sum(len(a) for a, _ in close_pairs(hashes, 3)) == 50 * 49 // 2


def test_chains_are_one_set():
    assert components(6, [(4, 2), (5, 4), (0, 1)]).tolist() == [0, 0, 2, 3, 2, 2]
