"""Augmentation of whole batches as a recipe asks for it: what holds of every transformation."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from batches import PAD, drawn, every_spec, seeded, slowly

from convscope.data import augment
from convscope.errors import BadArgument
from convscope.recipe import Augment

pytestmark = pytest.mark.usefixtures("one_thread")


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
    if (
        not (spec.randaugment or spec.trivialaugment) or steps == 0
    ):  # posterize and the like make a great step of a small
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
        for using in ("shift", "rotate", "randaugment", "trivialaugment"):
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
    with pytest.raises(BadArgument, match="trivialaugment=True: draws an image's operation, and"):
        augment.check(Augment(randaugment=1, trivialaugment=True), (28, 28))
    augment.check(Augment(shift=8, cutout=8, alternating_flip=True), (9, 11), 1)
    augment.check(Augment(hue=0.1, saturation=0.1, flip=True), (9, 11), 3)
    augment.check(Augment(hue=0.1, saturation=0.1, shift=8, padding="reflect"), (9, 11))
    for padding in PAD:  # the most that is allowed works
        spec = Augment(shift=8, cutout=8, padding=padding)
        found, _ = augment.augment(drawn(40, 1, 9, 11), (), spec, seeded())
        assert np.array_equal(found, slowly(drawn(40, 1, 9, 11), spec, seeded()))
