"""Which runs a sweep has."""

from __future__ import annotations

import pytest

from convscope.errors import BadArgument
from convscope.studies.plan import plan

FAST = {"model": "mlp", "hidden": 8, "steps": 3, "val": 0.02}


def test_runs_come_seed_by_seed_each_with_a_folder_and_options_of_its_own(bars):
    found = plan("mnist", vary={"lr": [0.001, 0.01]}, seeds=[3, 7], **FAST)
    assert [one.folder for one in found.runs] == [
        *("1-lr-0.001-seed3", "1-lr-0.01-seed3", "1-lr-0.001-seed7", "1-lr-0.01-seed7"),
    ]
    assert found.runs[3].name == "lr 0.01, seed 7" and found.name == "mnist-mlp"
    assert found.shared == {"data": "mnist", **FAST}
    options = {"data": "mnist", **FAST, "lr": 0.01, "seed": 7}
    assert found.runs[3].options == found.as_json()["runs"]["1-lr-0.01-seed7"] == options
    assert found.runs[3].recipe.train.lr == 0.01 and found.runs[3].pack is bars


def test_networks_that_differ_do_not_name_the_folder(bars):
    found = plan("mnist", vary={"model": ["mlp", "cnn"]}, seeds=1, steps=3, augment=False)
    assert found.name == "mnist" and found.shared["augment"] is False


def test_two_settings_with_one_name_are_refused(bars):
    with pytest.raises(BadArgument, match="vary=1-a-b-seed1: stands for two settings; name its"):
        plan("mnist", vary={"layers": {"a b": "flatten fc", "a-b": "flatten fc8 relu fc"}},
             seeds=1).as_json()  # fmt: skip


def test_quick_says_that_nothing_follows(bars):
    found = plan("mnist", quick=True, model="mlp", hidden=8)
    assert found.study.seeds == (1,) and "nothing follows" in found.study.question
    assert found.runs[0].recipe.train.steps == 20
