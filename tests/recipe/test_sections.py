"""The sections of a recipe, their defaults and origins."""

from __future__ import annotations

import ast
import inspect
from dataclasses import fields

from convscope import recipe
from convscope.recipe import AUGMENT_BY_DATA, Augment
from convscope.recipe.sections import HEADINGS, default_as_typed


def test_what_is_measured_drops_a_claim_that_it_breaks(claimed):
    r = recipe.resolve({}, {}, claimed)
    assert r.claim and r.measured(precision="bfloat16", image_size="28x28", eval_batch=8).claim
    assert r.measured(steps=0).claim and not r.measured(steps=9).claim
    assert not r.measured(micro_batch=9).claim


def test_no_digit_is_mirrored():
    assert not recipe.resolve({"data": "mnist"}).augment.flip
    assert recipe.resolve({"data": "cifar10"}).augment.flip
    assert recipe.resolve({"data": "something-else"}).augment == Augment()
    assert AUGMENT_BY_DATA["mnist"].rotate <= 15


def test_every_field_has_all_that_is_to_be_said_beside_it():
    table = recipe.options()
    for section, kind in recipe.SECTIONS.items():
        for f in fields(kind):
            if f.name == "arguments":
                continue
            one = table[section if f.name == "name" else f.name]
            assert (one.section, one.name, one.default) == (section, f.name, f.default)
            assert one.heading in HEADINGS and one.help.endswith(".") and "{" not in one.help
            assert f"``{f.name}``: {one.help}" in inspect.getdoc(kind)
            assert default_as_typed(section if f.name == "name" else f.name)
    assert len(table) == sum(len(fields(kind)) for kind in recipe.SECTIONS.values()) - 1


def test_defaults_and_remedies_keep_their_own_rules():
    for name, one in recipe.options().items():
        assert recipe.checked(name, one.default, one) == one.default
        if one.rule is None:
            assert one.remedy == "correct it" and one.kind in (bool, str), name
            continue
        for tried in one.remedy.removeprefix("try ").split(" or "):
            value = tried if one.kind is str else ast.literal_eval(tried)
            assert recipe.checked(name, value, one) == value, name


def test_what_a_claim_leaves_open():
    assert {name for name, one in recipe.options().items() if not one.claimed} == {
        *("seed", "precision", "memory_format", "kernels", "device", "threads"),
        *("checkpoint_seconds", "eval_batch", "abstain"),
    }


def test_defaults_by_another_field_in_words():
    assert default_as_typed("momentum") == "sgd 0.9"
    assert default_as_typed("warmup") == "constant 0, cosine 0.05, one-cycle 0.25"
    assert default_as_typed("shift") == "0; mnist 1, fashion-mnist 2, cifar10 4, cifar100 4"
