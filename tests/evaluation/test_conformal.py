"""Sets of classes that hold the right one as often as is asked."""

from __future__ import annotations

import re

import numpy as np
import pytest

from convscope.errors import BadArgument
from convscope.evaluation import conformal, metrics


def drawn(n: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    labels = random.integers(0, 5, n)
    return metrics.softmax(random.normal(size=(n, 5)) + 2 * np.eye(5)[labels]), labels


@pytest.mark.parametrize(("n", "coverage"), [(19, 0.95), (60, 0.9), (200, 0.8)])
def test_coverage_is_as_published(n, coverage):
    """Mean coverage over draws of validation is between coverage and 1 / (n + 1) more."""
    random, shares = np.random.default_rng(n), []
    p, labels = drawn(4000, random)
    for _ in range(600):
        lowest = conformal.threshold(*drawn(n, random), coverage)
        shares.append((p[np.arange(4000), labels] >= lowest).mean())
    error = 3 * np.std(shares) / np.sqrt(600) + 0.01
    assert coverage - error < np.mean(shares) < coverage + 1 / (n + 1) + error


def test_a_set_is_never_empty_and_holds_what_is_likely():
    random = np.random.default_rng(0)
    p, labels = drawn(500, random)
    lowest = conformal.threshold(p, labels, 0.7)
    sets = conformal.prediction_sets(p, lowest)
    assert sets[np.arange(500), p.argmax(1)].all() and (p.max(1) < lowest).any()
    assert (sets == (p >= lowest) | (p == p.max(1, keepdims=True))).all()
    larger = conformal.prediction_sets(p, conformal.threshold(p, labels, 0.99))
    assert (larger >= sets).all() and larger.sum() > sets.sum()


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_too_few_images_are_refused(coverage):
    n = conformal.needed(coverage)
    p, labels = drawn(n, np.random.default_rng(0))
    assert conformal.threshold(p, labels, coverage) == p[np.arange(n), labels].min()
    with pytest.raises(BadArgument, match=rf"takes {n} validation images?, and there are {n - 1}"):
        conformal.threshold(p[1:], labels[1:], coverage)


@pytest.mark.parametrize("n", [1, 2, 3, 19, 24, 98])
def test_what_it_tells_to_ask_for_is_borne(n):
    with pytest.raises(BadArgument, match="or train with more") as why:
        conformal.check(0.999, n)
    conformal.check(float(re.search(r"--set (\S+)\)", str(why.value))[1]), n)
    with pytest.raises(BadArgument, match="and there are 0; train with more of them"):
        conformal.check(0.1, 0)


@pytest.mark.parametrize("coverage", [0, 1, 95, float("nan")])
def test_a_coverage_is_a_share(coverage):
    with pytest.raises(BadArgument, match="must be a share between 0 and 1"):
        conformal.threshold(*drawn(50, np.random.default_rng(0)), coverage)
