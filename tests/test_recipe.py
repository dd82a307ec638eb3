"""Recipes: defaults, origins, rules, TOML."""

from __future__ import annotations

import pytest

from convscope import recipe
from convscope.errors import BadArgument, RunError
from convscope.recipe import AUGMENT_BY_DATA, LR_BY_OPTIMIZER, Augment, Claim, Recipe

CLAIMED = """
[data]
name = "mnist"
[model]
name = "cnn"
kernel_size = 3
[train]
epochs = 2
lr = 1
[claim]
accuracy = 0.99
sd = 0.001
seeds = 5
seconds = 60.0
machine = "a machine"
date = "2026-11-22"
command = "convscope train"
"""


def test_each_value_says_where_it_came_from():
    base = recipe.parse(CLAIMED, "x.toml")
    r = recipe.resolve({"batch_size": 50}, {}, base)
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


def test_what_is_measured_drops_a_claim_that_it_breaks():
    r = recipe.resolve({}, {}, recipe.parse(CLAIMED, "x.toml"))
    assert r.claim and r.measured(precision="bfloat16", image_size="28x28", eval_batch=8).claim
    assert r.measured(steps=0).claim and not r.measured(steps=9).claim
    assert not r.measured(micro_batch=9).claim


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


FIRST = {  # the fields of the first version
    *("name", "val", "split_seed", "epochs", "batch_size", "optimizer", "lr", "momentum"),
    *("weight_decay", "schedule", "warmup", "label_smoothing", "seed", "precision"),
    *("memory_format", "device", "threads", "checkpoint_seconds"),
    *("shift", "rotate", "flip", "cutout"),
}


def test_a_run_of_an_older_version_had_what_is_the_default(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.dumps(recipe.resolve({})))
    whole = recipe.of_run(tmp_path)
    left = [
        line
        for line in path.read_text().splitlines()
        if " = " not in line or line.split(" = ")[0].strip('"').rpartition(".")[2] in FIRST
    ]
    path.write_text("\n".join(left))
    older = recipe.of_run(tmp_path)
    assert (older.data, older.train, older.augment) == (whole.data, whole.train, whole.augment)
    path.write_text("\n".join(line for line in left if "epochs" not in line))
    with pytest.raises(RunError, match="it lacks train.epochs"):
        recipe.of_run(tmp_path)


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
def test_a_claim_holds_only_for_what_was_measured(typed, kept):
    r = recipe.resolve(typed, {}, recipe.parse(CLAIMED, "x.toml"))
    assert (r.claim is not None) is kept


def test_a_claim_does_not_hold_for_another_argument():
    base = recipe.parse(CLAIMED, "x.toml")
    assert recipe.resolve({}, {"kernel_size": 3}, base).claim
    assert not recipe.resolve({}, {"kernel_size": 5}, base).claim


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
    with pytest.raises(BadArgument, match="split_seed=3: is not used with val=0"):
        recipe.resolve({"val": 0, "split_seed": 3})


def test_a_recipe_file_in_another_encoding_is_named(tmp_path):
    (tmp_path / "mine.toml").write_bytes("[train]".encode("utf-16"))
    with pytest.raises(BadArgument, match="is not UTF-8; save it again as UTF-8"):
        recipe.load(tmp_path / "mine.toml")


def test_another_network_does_not_inherit_arguments():
    r = recipe.resolve({"model": "mlp"}, {}, recipe.parse(CLAIMED, "x.toml"))
    assert r.model.arguments == {}
    assert "model.kernel_size" not in r.origin


def test_what_the_optimiser_decides():
    assert recipe.resolve({}).train.lr == LR_BY_OPTIMIZER["adamw"]
    sgd = recipe.resolve({"optimizer": "sgd"}).train
    assert (sgd.lr, sgd.momentum) == (LR_BY_OPTIMIZER["sgd"], 0.9)
    assert recipe.resolve({"schedule": "constant"}).train.warmup == 0


def test_no_digit_is_mirrored():
    assert not recipe.resolve({"data": "mnist"}).augment.flip
    assert recipe.resolve({"data": "cifar10"}).augment.flip
    assert recipe.resolve({"data": "something-else"}).augment == Augment()
    assert AUGMENT_BY_DATA["mnist"].rotate <= 15


def test_no_augmentation_means_none_but_what_is_typed():
    assert recipe.resolve({"data": "cifar10"}, augment=False).augment == Augment()
    assert recipe.resolve({"shift": 3}, augment=False).augment == Augment(shift=3)


def test_a_recipe_survives_toml():
    r = recipe.resolve({"data": "cifar10", "lr": 0.1}, {"widths": [8, 8]}, None)
    again = recipe.parse(recipe.dumps(r), "again")
    assert recipe.dumps(again) == recipe.dumps(r)
    assert again.train == r.train and again.origin == r.origin and again.augment == r.augment
    assert recipe.parse(recipe.dumps(recipe.parse(CLAIMED, "x")), "y").claim == Claim(
        0.99, 0.001, 5, 60.0, "a machine", "2026-11-22", "convscope train"
    )


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ({"epochs": 0}, "epochs=0: must be a whole number of at least 1; try 5"),
        ({"epochs": 2.5}, "epochs=2.5: must be a whole number of at least 1"),
        ({"epochs": True}, "epochs=True: must be a whole number"),
        ({"lr": float("nan")}, "lr=nan: must be a finite number above 0; try 0.001"),
        ({"lr": float("inf")}, "lr=inf: must be a finite number above 0"),
        ({"lr": 0}, "lr=0.0: must be a finite number above 0"),
        ({"lr": "fast"}, "lr=fast: must be a finite number above 0"),
        ({"val": 1}, "val=1.0: must be a share of the training data, 0 <= val < 1"),
        ({"batch_size": 0}, "batch_size=0: must be a whole number of at least 1"),
        ({"optimizer": "adamm"}, "optimizer=adamm: must be sgd, adam or adamw"),
        ({"momentum": 0.9}, "momentum=0.9: is not used by adamw; leave it out, or choose"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0: must be 0 <= label_smoothing < 1"),
        ({"seed": -1}, "seed=-1: must be a whole number, 0 <= seed"),
        ({"shift": -2}, "shift=-2: must be a whole number of pixels"),
        ({"schedule": "step"}, "schedule=step: must be constant, cosine or one-cycle"),
        ({"precision": "float16"}, "precision=float16: must be auto, float32 or bfloat16"),
        ({"warmup": 1.0}, "warmup=1.0: must be a share of all steps"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds=-1.0: must be a finite number >= 0"),
        ({"image_size": "64by64"}, "image_size=64by64: must be auto, N or HxW in pixels; try 64"),
        ({"eval_batch": 0}, "eval_batch=0: must be a whole number of at least 1; try 250"),
        ({"randaugment": 11}, "randaugment=11: must be 0 to 10 operations an image; try 2"),
        ({"crop": 1.5}, "crop=1.5: must be a share of the area, 0 <= crop <= 1; try 0.5"),
        ({"epohcs": 3}, "epohcs=3: is no option; did you mean epochs?"),
    ],
)
def test_a_value_that_breaks_its_rule_is_refused(typed, text):
    with pytest.raises(BadArgument, match=text):
        recipe.resolve(typed)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[train", "is not TOML"),
        ("[trian]\nlr = 1", r"has an unknown table \[trian\]; did you mean train?"),
        ("[train]\nlearning_rate = 1", r"unknown field learning_rate in \[train\]"),
        ("[train]\nepochs = '3'", r"\[train\] epochs=3: must be a whole number of at least 1"),
        ("lr = 1", r"has an unknown table \[lr\]"),
        ("[claim]\naccuracy = 1", r"has a \[claim\] with other fields, or of other kinds"),
    ],
)
def test_a_recipe_file_that_is_wrong_is_refused(tmp_path, text, said):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(BadArgument, match=said):
        recipe.load(path)


def test_recipes_by_name():
    for name in recipe.names():
        assert isinstance(recipe.load(name), Recipe)
        data = recipe.load(name).data.name
        assert name.startswith(data)
    with pytest.raises(
        BadArgument, match="recipe=mnist-cn: is no recipe .* did you mean mnist-cnn?"
    ):
        recipe.load("mnist-cn")
    with pytest.raises(BadArgument, match=r"gone.toml: cannot be read"):
        recipe.load("gone.toml")


def test_an_edited_recipe_of_a_run_is_named(tmp_path):
    with pytest.raises(RunError, match=r"recipe.toml: is not there; is .* a run folder\?"):
        recipe.of_run(tmp_path)
    (tmp_path / "recipe.toml").write_text("[train]\nepochs = 3")
    with pytest.raises(RunError, match="was edited or damaged: it lacks data.name"):
        recipe.of_run(tmp_path)
    (tmp_path / "recipe.toml").write_text("[train]\nepochs = 0")
    with pytest.raises(RunError, match="was edited or damaged: .*epochs=0"):
        recipe.of_run(tmp_path)
