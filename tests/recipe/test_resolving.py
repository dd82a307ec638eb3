"""What was typed, over a recipe, over the defaults: values, origins, claims."""

from __future__ import annotations

import pytest

from convscope import recipe
from convscope.errors import BadArgument
from convscope.recipe import LR_BY_OPTIMIZER, Augment, Recipe


def test_each_value_says_where_it_came_from(claimed):
    r = recipe.resolve({"batch_size": 50}, {}, claimed)
    origin = r.origin
    assert (r.train.batch_size, origin["train.batch_size"]) == (50, "typed")
    assert (r.train.lr, origin["train.lr"]) == (1.0, "recipe")
    assert (r.train.seed, origin["train.seed"]) == (0, "default")
    assert (r.model.arguments, origin["model.kernel_size"]) == ({"kernel_size": 3}, "recipe")
    measured = r.measured(precision="bfloat16", seed=0)
    assert measured.origin["train.precision"] == "measured"
    assert measured.origin["train.seed"] == "default"  # it was that already
    sized = r.measured(image_size="28x28", steps=7)
    assert (sized.data.image_size, sized.origin["data.image_size"]) == ("28x28", "measured")
    assert (sized.train.steps, sized.origin["train.steps"]) == (7, "measured")


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ({"nesterov": False}, "nesterov=False: is not used without momentum; leave it out"),
        ({"nesterov": True, "optimizer": "sgd", "momentum": 0}, "nesterov=True: is not used"),
        ({"magnitude": 9}, "magnitude=9: is not used without randaugment"),
        ({"padding": "edge"}, "padding=edge: is not used where nothing is moved"),
    ],
)
def test_what_is_typed_and_changes_nothing_is_refused(typed, text):
    with pytest.raises(BadArgument, match=text):
        recipe.resolve({"data": "photos", **typed})


@pytest.mark.parametrize(
    "typed",
    [
        {"nesterov": False, "optimizer": "sgd"},
        {"magnitude": 5, "randaugment": 2},
        *({"padding": "edge", moves: 1} for moves in ("shift", "rotate", "crop", "randaugment")),
    ],
)
def test_what_is_typed_and_used_is_taken(typed):
    assert recipe.resolve({"data": "photos", **typed})
    assert recipe.resolve({}, augment=False)  # switched off is not typed
    again = recipe.parse(recipe.dumps(recipe.resolve(typed)), "run")
    assert recipe.resolve({"optimizer": "adam"}, {}, again)  # what a file says is no typing


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ({}, True),
        ({"seed": 7, "threads": 1, "checkpoint_seconds": 1.0}, True),
        ({"epochs": 2}, True),
        ({"epochs": 3}, False),
        ({"model": "mlp"}, False),
        ({"shift": 1}, True),  # what MNIST's own augmentation is
        ({"shift": 0}, False),
        ({"shift": 2}, False),
    ],
)
def test_a_claim_holds_only_for_what_was_measured(typed, kept, claimed):
    r = recipe.resolve(typed, {}, claimed)
    assert (r.claim is not None) is kept


def test_a_claim_does_not_hold_for_another_argument(claimed):
    assert recipe.resolve({}, {"kernel_size": 3}, claimed).claim
    assert not recipe.resolve({}, {"kernel_size": 5}, claimed).claim


def test_a_recipe_made_in_python_counts_as_written():
    r = recipe.resolve({}, {}, Recipe(train=recipe.Train(epochs=1, lr=0.5)))
    assert (r.train.epochs, r.train.lr, r.origin["train.lr"]) == (1, 0.5, "recipe")
    with pytest.raises(BadArgument, match="epochs=0: must be a whole number of at least 1"):
        recipe.resolve({}, {}, Recipe(train=recipe.Train(epochs=0)))


def test_momentum_that_the_recipes_own_optimiser_does_not_use_is_refused():
    text = "[train]\noptimizer = '{}'\nmomentum = 0.5"
    with pytest.raises(BadArgument, match="momentum=0.5: is not used by adam"):
        recipe.resolve({}, {}, recipe.parse(text.format("adam"), "x.toml"))
    sgd = recipe.parse(text.format("sgd"), "x.toml")
    assert recipe.resolve({"optimizer": "adam"}, {}, sgd).train.momentum is None


def test_a_split_seed_without_a_split_is_refused():
    assert (
        recipe.resolve({"val": 0, "abstain": 0.1}).train.abstain == 0.1
    )  # data may have its own split
    with pytest.raises(BadArgument, match="split_seed=3: is not used with val=0"):
        recipe.resolve({"val": 0, "split_seed": 3})


def test_another_network_does_not_inherit_arguments(claimed):
    r = recipe.resolve({"model": "mlp"}, {}, claimed)
    assert r.model.arguments == {}
    assert "model.kernel_size" not in r.origin


def test_what_the_optimiser_decides():
    assert recipe.resolve({}).train.lr == LR_BY_OPTIMIZER["adamw"]
    sgd = recipe.resolve({"optimizer": "sgd"}).train
    assert (sgd.lr, sgd.momentum) == (LR_BY_OPTIMIZER["sgd"], 0.9)
    assert recipe.resolve({"schedule": "constant"}).train.warmup == 0


def test_no_augmentation_means_none_but_what_is_typed():
    assert recipe.resolve({"data": "cifar10"}, augment=False).augment == Augment()
    assert recipe.resolve({"shift": 3}, augment=False).augment == Augment(shift=3)
