"""The space of a search: typed, checked, suggested; what suits the data."""

from __future__ import annotations

import numpy as np
import pytest

from convscope import recipe as recipes
from convscope.data import pack_writer
from convscope.errors import BadArgument
from convscope.studies.tuning import space
from convscope.studies.tuning.space import Choice, Range, Space

optuna = pytest.importorskip("optuna")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("lr=1e-4..1e-1 log", Range(1e-4, 0.1, log=True)),
        ("weight_decay=0..0.1", Range(0.0, 0.1)),
        ("hidden=16..256 step 16", Range(16, 256, step=16, whole=True)),
        ("batch-size=16 .. 64", Range(16, 64, whole=True)),
        ("flip=true,false", Choice((True, False))),
        ("hidden=8,16", Choice((8, 16))),
    ],
)
def test_a_range_or_values_as_they_are_typed(text, found):
    ((_, one),) = space.typed([text], "mlp").items()
    assert one == found
    assert space.of_json(Space({"it": one}).as_json()).fields["it"] == one


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lr", "must be a field and what it is searched over; write lr=1e-4..1e-1 log"),
        ("lr=0.1", "must be a range or several values"),
        ("lr=0.1,0.10", "must be a range or several values, each once"),
        ("lr=0.1..0.01", "must rise"),
        ("hidden=10..10", "hidden=10..10: has two ends that are the same; give --hidden 10$"),
        ("batch_size=8..8", "give --batch-size 8$"),
        ("lr=1e-4...1e-1", "lr=1e-4...1e-1: has more than .*; write lr=1e-4..1e-1$"),
        ("hidden=8...16", "write hidden=8..16$"),
        ("lrr=1..2", "vary=lrr=1..2: is no argument of mlp, nor an option; did you mean lr"),
        (
            "hiden=8,16",
            "vary=hiden=8,16: is no argument of mlp, nor an option; did you mean",
        ),
        ("lr=0..1 log", "must begin above 0 to be log"),
        ("hidden=8.5..16", "must be whole numbers"),
        ("hidden=8..16 step 9", "has a step outside of it"),
        ("optimizer=1..2", "is no number, so has no range"),
        ("val=0.1..0.2", "trials could not be compared"),
        ("epochs=2..5", "Hyperband"),
        ("seed=1,2", "seed: is luck and no setting; give one value: --seed"),
        ("seed=0..100", "seed: is luck and no setting"),
        ("data=mnist,cifar10", "data: is what a search is of"),
        ("recipe=a.toml,b.toml", "recipe: is what a search begins from"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_words(text, says):
    with pytest.raises(BadArgument, match=says):
        space.typed([text], "mlp")


def test_a_field_that_others_leave_unused_is_left_out_of_a_trial():
    found = space.typed({"optimizer": ["sgd", "adamw"], "momentum": "0.5..0.9"}, "mlp")
    both, base = Space(found), recipes.resolve({"model": "mlp"})
    sgd = optuna.trial.FixedTrial({"optimizer": "sgd", "momentum": 0.7})
    assert both.suggest(sgd, base) == {"optimizer": "sgd", "momentum": 0.7}
    adamw = optuna.trial.FixedTrial({"optimizer": "adamw", "momentum": 0.7})
    assert both.suggest(adamw, base) == {"optimizer": "adamw"}
    assert {"optimizer": "sgd", "momentum": 0.5} in list(both.corners(base))
    assert both.kept(base) == {"optimizer": "adamw"}


def test_an_argument_is_searched_with_its_network_alone():
    both = Space(space.typed(["model=cnn,mlp", "hidden=8..16"], "cnn"))
    base = recipes.resolve({"model": "cnn"})
    cnn = optuna.trial.FixedTrial({"model": "cnn", "hidden": 9})
    assert both.suggest(cnn, base) == {"model": "cnn"}
    assert {"model": "mlp", "hidden": 16} in list(both.corners(base))


def test_what_the_recipe_has_is_the_first_trial_where_it_lies_within():
    base = recipes.resolve({"model": "cnn"})
    widths = {"widths": Choice(([8, 16], [16, 32]))}
    assert Space(widths).kept(base) == {"widths": "16-32"}
    assert Space(widths).values({"widths": "8-16"}) == {"widths": [8, 16]}
    assert Space({**widths, "lr": Range(1.0, 2.0)}).kept(base) is None


def pack_of(folder, channels: int, size: int, count: int = 8):
    images = np.zeros((count, channels, size, size), np.uint8)
    labels = np.arange(count, dtype=np.int64) % 2
    splits = {"train": (images, labels), "test": (images[:2], labels[:2])}
    return pack_writer.write_pack(folder, "mnist", ("a", "b"), splits, "drawn by the tests")


def test_the_default_suits_the_data(tmp_path):
    digits = space.default(recipes.resolve({"data": "mnist"}), pack_of(tmp_path / "d", 1, 28))
    assert digits["shift"] == Range(0, 3, whole=True) and "crop" not in digits
    assert "flip" not in digits and digits["lr"] == Range(0.0004, 0.04, log=True)
    photos = space.default(recipes.resolve({"data": "p/"}), pack_of(tmp_path / "p", 3, 64))
    assert photos["crop"] == Range(0.3, 1.0) and "shift" not in photos
    assert "batch_size" not in photos  # of eight images
    small = space.default(recipes.resolve({"data": "cifar10"}), pack_of(tmp_path / "c", 3, 32))
    assert {"cutout", "mixup", "trivialaugment"} <= set(small) and "crop" not in small
