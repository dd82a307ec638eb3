"""The sections of a recipe, their defaults and origins."""

from __future__ import annotations

from convscope import recipe
from convscope.recipe import AUGMENT_BY_DATA, Augment


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
