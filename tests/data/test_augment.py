"""Augmentation of whole batches, against slow and obvious twins that take an image at a time."""

from __future__ import annotations

import colorsys
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as vision

from convscope.data import augment
from convscope.errors import BadArgument
from convscope.recipe import Augment

PAD = {"black": "constant", "edge": "edge", "reflect": "reflect"}

# Each transformation alone, and what a recipe may put together.
SPECS = {
    "shift": Augment(shift=2),
    "shift-edge": Augment(shift=2, padding="edge"),
    "shift-reflect": Augment(shift=2, padding="reflect"),
    "flip": Augment(flip=True),
    "alternating_flip": Augment(alternating_flip=True),
    "crop": Augment(crop=0.4),
    "rotate": Augment(rotate=30),
    "scale": Augment(scale=0.3),
    "shear": Augment(shear=20, padding="edge"),
    "brightness": Augment(brightness=0.5),
    "contrast": Augment(contrast=0.5),
    "saturation": Augment(saturation=0.5),
    "hue": Augment(hue=0.3),
    "randaugment": Augment(randaugment=2, magnitude=15),
    "cutout": Augment(cutout=4),
    "erase": Augment(erase=0.5),
    "mixup": Augment(mixup=0.8),
    "cutmix": Augment(cutmix=1.0),
    "hot": Augment(shift=2, flip=True, cutout=4),
    "all": Augment(
        crop=0.5,
        rotate=10,
        shift=1,
        padding="reflect",
        flip=True,
        brightness=0.2,
        saturation=0.2,
        randaugment=1,
        cutout=3,
        erase=0.3,
        mixup=0.5,
        cutmix=0.5,
    ),
}
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


@pytest.fixture(autouse=True)
def one_thread():
    """Many small steps are done sooner by one thread than by several that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    """Pixels of which none is black."""
    return torch.randint(1, 256, shape, generator=seeded(seed), dtype=torch.uint8)


@pytest.fixture
def images() -> torch.Tensor:
    return drawn(50, 3, 9, 11)


def slowly(images, spec: Augment, generator: torch.Generator) -> np.ndarray:
    """Flip, shift and cutout, an image at a time; draws what augment draws."""
    batch, _, height, width = images.shape
    places, cut = 2 * spec.shift + 1, spec.cutout
    mirrored = torch.randint(2, (batch,), generator=generator) if spec.flip else torch.zeros(batch)
    place = torch.zeros(batch, dtype=int)
    if spec.shift:
        place = torch.randint(places**2, (batch,), generator=generator)
    if cut:
        middle = torch.randint(height * width, (batch,), generator=generator)
    out = []
    for i, image in enumerate(np.asarray(images)):
        seen = image[:, :, ::-1] if mirrored[i] else image
        padded = np.pad(seen, ((0, 0), (spec.shift,) * 2, (spec.shift,) * 2), PAD[spec.padding])
        top, left = divmod(int(place[i]), places)
        seen = padded[:, top : top + height, left : left + width].copy()
        if cut:
            y, x = divmod(height * width - 1 - int(middle[i]), width)
            top, left = max(y - cut // 2, 0), max(x - cut // 2, 0)
            seen[:, top : y - cut // 2 + cut, left : x - cut // 2 + cut] = 0
        out.append(seen)
    return np.stack(out)


# ---- shift, flip, cutout, and drawing from a source


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
    found = augment.flip(images, random)
    found = augment.shift(found, 2, random, padding)
    found = augment.cutout(found, 3, random)
    spec = Augment(shift=2, padding=padding, flip=True, cutout=3)
    assert torch.equal(found, augment.augment(images, (), spec, seeded(6))[0])


@pytest.mark.parametrize("name", ["crop", "shear", "contrast", "hue", "randaugment"])
def test_cutout_comes_after_what_changes_colours_and_places(images, name):
    spec = replace(SPECS[name], flip=True)
    random = seeded(6)
    found, _ = augment.augment(images, (), spec, random)
    found = augment.cutout(found, 3, random)
    assert torch.equal(found, augment.augment(images, (), replace(spec, cutout=3), seeded(6))[0])


def test_a_square_larger_than_the_image_leaves_nothing(images):
    assert not augment.cutout(images, 30, seeded()).any()


@pytest.mark.parametrize("size", [28, 32, 64, 224])
def test_masks_take_little_memory(size):
    for masks in (augment._frames(28, size, size, 1), augment._holes(8, size, size, 1)):
        assert masks.windows.untyped_storage().nbytes() <= 4 << 20


def test_shift_and_flip_take_every_place_as_often():
    source = drawn(1, 1, 5, 5).expand(5000, 1, 5, 5)
    found = augment.augment(source, (), Augment(shift=2, flip=True), seeded())[0]
    _, counts = found.flatten(1).unique(dim=0, return_counts=True)
    assert len(counts) == 50 and int(counts.min()) > 55 and int(counts.max()) < 150


def test_cutout_has_its_middle_at_every_pixel_as_often():
    found = augment.cutout(torch.ones(8000, 1, 5, 4), 3, seeded())
    holes, counts = found.flatten(1).unique(dim=0, return_counts=True)
    assert len(counts) == 20 and int(counts.min()) > 300 and int(counts.max()) < 500
    assert sorted((holes == 0).sum(1).tolist()) == [4] * 4 + [6] * 10 + [9] * 6


def test_alternating_flip_mirrors_each_image_every_other_epoch(images):
    indices = torch.arange(50) + 10**6
    epochs = [augment.alternating_flip(images, indices, epoch) for epoch in range(4)]
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
    found = augment.alternating_flip(images, torch.tensor(indices), 0)
    mirrored = (found == images.flip(3)).flatten(1).all(1)
    assert mirrored.tolist() == wanted


def test_alternating_flip_tosses_a_fair_coin_for_each_index():
    coins = augment._phases(torch.arange(100_000), 0).double() * 2 - 1
    assert abs(float(coins.mean())) < 0.015
    for apart in (*range(1, 20), 64, 100, 1000, 5000):
        assert abs(float((coins[apart:] * coins[:-apart]).mean())) < 0.02


def test_alternating_flip_goes_by_the_index_in_the_data_set(images):
    spec, chosen = Augment(alternating_flip=True), torch.tensor([7, 1, 8, 40, 30])
    whole = augment.alternating_flip(images, torch.arange(50), 1)
    assert torch.equal(augment.draw(images, chosen, spec, seeded(), 1), whole[chosen])
    found, _ = augment.augment(images[chosen], (), spec, seeded(), indices=chosen, epoch=1)
    assert torch.equal(found, whole[chosen])
    found, _ = augment.augment(images, (), spec, seeded(), epoch=1)
    assert torch.equal(found, whole)


# ---- colour


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
    found = augment.colour(images, spec, seeded(7)).numpy()
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
    found = augment.colour(images, Augment(**{name: 0.7}), seeded(7))
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
    found = augment.colour(images, Augment(hue=turn), seeded(8))
    turns = turn * (torch.rand(12, generator=seeded(8)) * 2 - 1)
    assert float(turns.min()) < -0.5 * turn and float(turns.max()) > 0.5 * turn
    for image, result, by in zip(images, found, turns, strict=True):
        for pixel, got in zip(image.flatten(1).T, result.flatten(1).T, strict=True):
            h, s, v = colorsys.rgb_to_hsv(*pixel.tolist())
            wanted = colorsys.hsv_to_rgb((h + float(by)) % 1, s, v)
            np.testing.assert_allclose(got, wanted, atol=2e-5)


def test_colour_comes_before_hue_and_grey_stays_grey():
    images = drawn(10, 3, 6, 6)
    both = augment.colour(images / 255, Augment(brightness=0.9, hue=0.2), seeded(9))
    random = seeded(9)
    bright = augment.colour(images / 255, Augment(brightness=0.9), random)
    torch.testing.assert_close(both, augment.colour(bright, Augment(hue=0.2), random))
    grey = images[:, :1].expand(-1, 3, -1, -1)
    found = augment.colour(grey, Augment(saturation=0.9, hue=0.5), seeded())
    assert torch.equal(found, grey)


def test_factors_reach_their_bounds():
    grey = torch.full((4000, 1, 1, 1), 0.4)
    found = augment.colour(grey, Augment(brightness=0.5), seeded()) / 0.4
    assert 0.5 <= float(found.min()) < 0.51 and 1.49 < float(found.max()) < 1.501
    assert abs(float(found.mean()) - 1) < 0.02


# ---- randaugment


def in_torchvision(image: torch.Tensor, key: int, magnitude: int) -> torch.Tensor:
    """One image [C,H,W] through one operation."""
    _, height, width = image.shape
    name, sign = augment.OPERATIONS[key // 2], 1 if key % 2 else -1
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
    found = augment.randaugment(images, 1, magnitude, seeded(11))
    keys = torch.randint(28, (100,), generator=seeded(11))
    assert len(set(keys.tolist())) >= 26
    for image, result, key in zip(images, found, keys.tolist(), strict=True):
        wanted = in_torchvision(image, key, magnitude)
        name, worst = augment.OPERATIONS[key // 2], (result.int() - wanted.int()).abs().max()
        cut = 2 if name in ("contrast", "saturation") else 1  # theirs cuts off, greys even twice
        assert int(worst) <= cut, (name, key, int(worst))


def test_randaugment_goes_on_with_what_it_has(images):
    random = seeded(12)
    once = augment.randaugment(images, 1, 20, random)
    twice = augment.randaugment(once, 1, 20, random)
    assert torch.equal(augment.randaugment(images, 2, 20, seeded(12)), twice)


def test_randaugment_rounds_floats(images):
    for less, more in ((0, 0.4), (0.6, 1)):
        one = augment.randaugment((images - 1 + less) / 255, 1, 9, seeded())
        two = augment.randaugment((images - 1 + more) / 255, 1, 9, seeded())
        assert torch.equal(one, two)


def test_randaugment_pads_as_it_is_told():
    bright = torch.full((200, 1, 12, 12), 200, dtype=torch.uint8)
    keys = torch.randint(28, (200,), generator=seeded())
    moved = (keys // 2 >= 1) & (keys // 2 <= 5)
    for padding in PAD:
        found = augment.randaugment(bright, 1, 30, seeded(), padding)[moved]
        assert bool((found == 200).all()) == (padding != "black")


# ---- erase, mixup, cutmix


def test_erase_puts_noise_into_a_rectangle():
    images = drawn(1500, 2, 20, 30).int().add(1000)  # no noise is 1000
    found = augment.erase(images, 0.4, seeded())
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
    assert torch.equal(augment.erase(images, 0.0, seeded()), images)
    changed = augment.erase(images, 1.0, seeded()) != images
    assert bool(changed.flatten(1).any(1).all())


def test_noise_is_alike_in_bytes_and_in_floats(images):
    whole = augment.erase(images, 0.7, seeded(3))
    broken = augment.erase(images / 255, 0.7, seeded(3))
    assert torch.equal(whole, (broken * 255).round().byte())


def test_mixup_blends_with_the_image_before(images):
    labels = torch.arange(50) % 4
    for seed in range(3):
        found, (soft,) = augment.augment(
            images, (labels,), Augment(mixup=1.0), seeded(seed), classes=4
        )
        _, own = augment.mixup(images, 1.0, seeded(seed))
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
    shares = np.array([augment._beta(alpha, random) for _ in range(2000)])
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


@every_spec
def test_a_seed_gives_the_same_images_again(spec):
    images, labels = drawn(60, 3, 16, 16), torch.arange(60) % 5
    runs = [
        augment.augment(images, (labels,), spec, seeded(seed), epoch=epoch, classes=5)
        for seed, epoch in ((5, 0), (5, 0), (6, 1))
    ]
    (one, (first,)), (two, (second,)), (other, _) = runs
    assert torch.equal(one, two) and torch.equal(first, second)
    assert not torch.equal(one, other) and not torch.equal(one, images)


@every_spec
def test_shape_type_and_rows_stay_and_the_input_too(spec):
    labels = torch.arange(12) % 5
    for images in (drawn(12, 3, 16, 12), drawn(12, 3, 16, 12) / 255):
        for given_ in (images, images.to(memory_format=torch.channels_last)):
            before = given_.clone()
            found, _ = augment.augment(given_, (labels,), spec, seeded(), classes=5)
            assert found.shape == images.shape and found.dtype == images.dtype
            assert found.is_contiguous()
            assert torch.equal(given_, before) and torch.equal(labels, torch.arange(12) % 5)
            plain, _ = augment.augment(images, (labels,), spec, seeded(), classes=5)
            assert torch.equal(found, plain)


@every_spec
def test_bytes_and_floats_agree(spec):
    images, labels = drawn(40, 3, 16, 12), torch.arange(40) % 5
    one, (whole,) = augment.augment(images, (labels,), spec, seeded(2), classes=5)
    two, (broken,) = augment.augment(images / 255, (labels,), spec, seeded(2), classes=5)
    assert torch.equal(whole, broken)
    steps = sum(
        getattr(spec, name) != getattr(Augment(), name)
        for name in ("rotate", "brightness", "mixup")
    )
    apart = (one - two * 255).abs()
    assert float(two.min()) >= 0 and float(two.max()) <= 1
    if not spec.randaugment or steps == 0:  # posterize and the like make a great step of a small
        assert float(apart.max()) < 0.51 + steps
    else:
        assert float(apart.median()) < 1.5


@every_spec
def test_the_number_of_threads_changes_nothing(spec):
    images, labels = drawn(70, 3, 32, 32), torch.arange(70) % 5
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(augment.augment(images, (labels,), spec, seeded(4), classes=5)[0])
        found.append(augment.draw(images, labels, spec, seeded(4)))
    assert torch.equal(found[0], found[2]) and torch.equal(found[1], found[3])


def test_none_means_none(images):
    targets, random = (torch.arange(50),), seeded()
    before = random.get_state()
    off = replace(Augment(), padding="reflect", magnitude=20)
    found, same = augment.augment(images, targets, off, random, epoch=3, classes=50)
    assert found is images and same is targets and same[0] is targets[0]
    found = augment.draw(images, torch.tensor([4, 2]), off, random)
    assert torch.equal(found, images[[4, 2]])
    assert torch.equal(random.get_state(), before)


def test_what_is_off_draws_nothing(images):
    random, coins = seeded(), seeded()
    augment.augment(images, (), Augment(flip=True), random)
    torch.randint(2, (50,), generator=coins)
    assert torch.equal(random.get_state(), coins.get_state())
    random, turns = seeded(), seeded()
    augment.augment(images, (), Augment(hue=0.1), random)
    torch.rand(50, generator=turns)
    assert torch.equal(random.get_state(), turns.get_state())


def test_every_field_does_something(images):
    for field in fields(Augment):
        base, values = Augment(), {"int": [2], "float": [0.5], "bool": [True]}.get(str(field.type))
        if field.name == "magnitude":
            base, values = Augment(randaugment=2), [30]
        for using in ("shift", "rotate", "randaugment"):
            if field.name == "padding":
                base, values = Augment(**{using: 4}), ["edge", "reflect"]
            for value in values:
                one, two = (
                    augment.augment(images, (), spec, seeded())[0]
                    for spec in (base, replace(base, **{field.name: value}))
                )
                assert not torch.equal(one, two), (field.name, base)


def test_what_the_images_cannot_bear_is_refused():
    with pytest.raises(BadArgument, match="shift=28: must be smaller than the image, 28x28; try 3"):
        augment.check(Augment(shift=28), (28, 28))
    with pytest.raises(BadArgument, match="cutout=9: must be smaller than the image, 9x11; try 1"):
        augment.check(Augment(cutout=9), (9, 11))
    with pytest.raises(BadArgument, match="saturation=0.1: needs colour, and these images are gr"):
        augment.check(Augment(saturation=0.1), (28, 28), channels=1)
    with pytest.raises(BadArgument, match="hue=0.1: needs colour, and these images are grey; try"):
        augment.check(Augment(hue=0.1), (28, 28), 1)
    rule = "alternating_flip=True: takes the place of flip; leave one of them out"
    with pytest.raises(BadArgument, match=rule):
        augment.check(Augment(flip=True, alternating_flip=True), (28, 28))
    augment.check(Augment(shift=8, cutout=8, alternating_flip=True), (9, 11), 1)
    augment.check(Augment(hue=0.1, saturation=0.1, flip=True), (9, 11), 3)
    augment.check(Augment(hue=0.1, saturation=0.1, shift=8, padding="reflect"), (9, 11))
    for padding in PAD:  # the most that is allowed works
        spec = Augment(shift=8, cutout=8, padding=padding)
        found, _ = augment.augment(drawn(40, 1, 9, 11), (), spec, seeded())
        assert np.array_equal(found, slowly(drawn(40, 1, 9, 11), spec, seeded()))
