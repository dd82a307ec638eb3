"""Defaults that suit the data, under what is typed."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from listening import notices
from photos import opened, photos

from convscope.api.arguments import given, resolved
from convscope.job import defaults
from convscope.job.defaults import suited
from convscope.recipe import AUGMENT_BY_NAME, Augment

LIGHT = AUGMENT_BY_NAME["light"]


@pytest.fixture(scope="module", params=["RGB", "L"])
def own(request, tmp_path_factory):
    """A folder of images, its pack, and whether they are in colour."""
    folder = photos(tmp_path_factory.mktemp("own"), mode=request.param)
    return folder, opened(folder)[0], request.param == "RGB"


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A folder of 200 images to learn from, and its pack."""
    folder = tmp_path_factory.mktemp("few")
    photos(folder / "train", count=100, classes=("cat", "dog"), size=(8, 8))
    photos(folder / "test", count=1, classes=("cat", "dog"), size=(8, 8))
    return folder, opened(folder)[0]


def asked(data, augment=True, **typed):
    return resolved(*given(data, None, typed), None, augment)


def test_colour_images_are_augmented_and_grey_ones_are_not(own, events):
    folder, pack, colour = own
    seen, emit = events
    recipe = suited(asked(folder), pack, emit)
    assert recipe.augment == (LIGHT if colour else Augment())
    assert {recipe.origin[f"augment.{f.name}"] for f in fields(Augment)} == {"default"}
    said = [text for text in notices(seen) if "--aug light" in text]
    assert len(said) == colour


@pytest.mark.parametrize(
    ("augment", "typed", "wanted"),
    [
        ("none", {}, Augment()),
        (False, {"shift": 2}, Augment(shift=2)),
        ("strong", {"crop": 0.0}, Augment(flip=True, trivialaugment=True)),
        ("light", {}, LIGHT),
        (True, {"flip": False}, replace(LIGHT, flip=False)),
        (True, {"crop": 0.5, "rotate": 5}, replace(LIGHT, crop=0.5, rotate=5)),
        (True, {"alternating_flip": True}, replace(LIGHT, flip=False, alternating_flip=True)),
    ],
)
def test_what_is_typed_stands(own, augment, typed, wanted, events):
    folder, pack, colour = own
    recipe = suited(asked(folder, augment, **typed), pack, events[1])
    if colour:
        assert recipe.augment == wanted
    for name, value in typed.items():
        assert getattr(recipe.augment, name) == value
        assert recipe.origin[f"augment.{name}"] == "typed"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ({}, "best"),
        ({"keep": "last"}, "last"),
        ({"early_stopping": 3}, "last"),
        ({"val": 0.1}, "last"),  # 20 images tell no epoch from another
        ({"val": 0}, "last"),
    ],
)
def test_few_images_keep_the_best_weights(few, typed, kept, events):
    folder, pack = few
    seen, emit = events
    recipe = suited(asked(folder, **{"val": 0.3} | typed), pack, emit)
    assert recipe.train.keep == kept
    said = [text for text in notices(seen) if "--keep last" in text]
    assert len(said) == (kept == "best")
    if said:
        assert said[0].startswith("142 images are few")


def test_many_images_keep_the_last_weights(few, events, monkeypatch):
    folder, pack = few
    monkeypatch.setattr(defaults, "SMALL", 140)
    assert suited(asked(folder, val=0.3), pack, events[1]).train.keep == "last"


def test_published_data_keep_their_own_defaults(own, events):
    _, pack, _ = own
    published = asked("cifar10")
    assert suited(published, pack, events[1]) is published and not events[0]
