"""Recipes as TOML: of the package, of one's own, of runs."""

from __future__ import annotations

import pytest

from convscope import recipe
from convscope.errors import BadArgument, RunError
from convscope.recipe import Claim, Recipe

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


def test_a_recipe_file_in_another_encoding_is_named(tmp_path):
    (tmp_path / "mine.toml").write_bytes("[train]".encode("utf-16"))
    with pytest.raises(BadArgument, match="is not UTF-8; save it again as UTF-8"):
        recipe.load(tmp_path / "mine.toml")


def test_a_recipe_survives_toml(claimed):
    r = recipe.resolve({"data": "cifar10", "lr": 0.1}, {"widths": [8, 8]}, None)
    again = recipe.parse(recipe.dumps(r), "again")
    assert recipe.dumps(again) == recipe.dumps(r)
    assert again.train == r.train and again.origin == r.origin and again.augment == r.augment
    assert recipe.parse(recipe.dumps(claimed), "y").claim == Claim(
        0.99, 0.001, 5, 60.0, "a machine", "2026-11-22", "convscope train"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[train", "is not TOML"),
        ("[trian]\nlr = 1", r"has an unknown table \[trian\]; did you mean train?"),
        ("[train]\nlearning_rate = 1", r"unknown field learning_rate in \[train\]"),
        ("[train]\nepochs = '3'", r"\[train\] epochs='3': must be a whole number of at least 1"),
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
