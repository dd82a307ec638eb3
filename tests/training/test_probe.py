"""A linear probe against scikit-learn's logistic regression."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression

from convscope.evaluation import metrics
from convscope.training import probe


def drawn(seed: int, count: int, width: int = 12, noise: float = 1.5):
    """Features of three classes around three centres, on scales of their own, and labels."""
    centres = np.random.default_rng(0).normal(size=(3, width))
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    x = centres[labels] + noise * random.normal(size=(count, width))
    scales = np.logspace(-1, 1, width)
    return (x * scales + 3).astype(np.float32), labels.astype(np.int64)


def test_its_optimum_is_that_of_scikit_learn():
    x, labels = drawn(1, 300)
    basis = probe._Basis.of(x)
    turned = basis(x)
    weight, bias = probe._optimum(turned, labels, 3, 0.1, basis.spread)
    theirs = LogisticRegression(C=1 / (0.1 * len(x)), tol=1e-8, max_iter=1000).fit(turned, labels)
    np.testing.assert_allclose(weight, theirs.coef_, atol=2e-4)
    shift = theirs.intercept_ - bias
    np.testing.assert_allclose(shift, shift.mean(), atol=2e-4)  # a constant changes nothing


def test_it_takes_features_as_they_are():
    x, labels = drawn(1, 300)
    found = probe.fit(x, labels, 3, *drawn(2, 90))
    standard = x - x.mean(axis=0)
    standard /= standard.std()
    theirs = LogisticRegression(C=1 / (found.penalty * len(x)), tol=1e-8, max_iter=1000)
    wanted = theirs.fit(standard, labels).predict_log_proba(standard)
    np.testing.assert_allclose(metrics.log_softmax(found.logits(x)), wanted, atol=2e-2)


def test_its_penalty_is_the_best_on_validation():
    x, labels = drawn(1, 60, noise=3)
    val, val_labels = drawn(2, 600, noise=3)
    found = probe.fit(x, labels, 3, val, val_labels)
    basis = probe._Basis.of(x)
    losses = []
    for penalty in probe.PENALTIES:
        weight, bias = probe._optimum(basis(x), labels, 3, penalty, basis.spread)
        losses.append(metrics.cross_entropy(basis(val) @ weight.T + bias, val_labels))
    assert found.chosen == "on validation"
    assert found.penalty == probe.PENALTIES[int(np.argmin(losses))]
    assert found.penalty not in (probe.PENALTIES[0], probe.PENALTIES[-1])


def test_of_many_images_some_choose_a_penalty_that_is_as_strong(monkeypatch):
    x, labels = drawn(1, 600, noise=3)
    val, val_labels = drawn(2, 600, noise=3)
    monkeypatch.setattr(probe, "MANY", 300)
    found = probe.fit(x, labels, 3, val, val_labels)
    assert np.isclose(found.penalty * 2, probe.PENALTIES).any()
    own = probe.fitted(x, labels, 3, found.penalty)  # all of them fit the layer
    np.testing.assert_allclose(found.weight, own.weight, rtol=0, atol=1e-3)
    whole = min(
        metrics.cross_entropy(probe.fitted(x, labels, 3, penalty).logits(val), val_labels)
        for penalty in probe.PENALTIES
    )
    assert metrics.cross_entropy(found.logits(val), val_labels) < 1.02 * whole


def test_few_images_choose_by_folds():
    """Labels that say nothing: the more a fold knows of its images, the weaker the penalty."""
    random = np.random.default_rng(0)
    x = random.normal(size=(45, 60)).astype(np.float32)
    labels = random.integers(0, 3, 45)
    found = probe.fit(x, labels, 3, x[:0], labels[:0])
    assert found.chosen == "over 5 folds" and found.penalty >= 0.3


def test_a_feature_that_is_always_the_same_says_nothing():
    x, labels = drawn(1, 90)
    x[:, 3] = 7.0
    found = probe.fit(x, labels, 3, *drawn(2, 90))
    assert np.abs(found.weight[:, 3]).max() < 1e-12 and np.isfinite(found.weight).all()


def test_weights_and_priors_are_those_of_the_loss():
    """Held against scikit-learn's weights, and against labels drawn anew by the prior."""
    x, labels = drawn(1, 300)
    labels = np.where(labels == 2, np.arange(300) % 2, labels)  # two of three classes
    labels[:20] = 2
    basis = probe._Basis.of(x)
    turned, weights = basis(x), np.array([0.5, 1.5, 4.0], np.float32)
    weight, _ = probe._optimum(
        turned, labels, 3, 0.1, basis.spread, balance=probe.Balance(weights=weights)
    )
    theirs = LogisticRegression(
        C=1 / (0.1 * len(x)), tol=1e-8, max_iter=1000, class_weight=dict(enumerate(weights))
    ).fit(turned, labels)
    np.testing.assert_allclose(weight, theirs.coef_, atol=1e-3)
    prior = np.log(np.bincount(labels) / len(labels)).astype(np.float32)
    plain = probe._optimum(turned, labels, 3, 0.1, basis.spread)
    adjusted = probe._optimum(
        turned, labels, 3, 0.1, basis.spread, balance=probe.Balance(prior=prior)
    )
    np.testing.assert_allclose(adjusted[0], plain[0], atol=1e-3)
    shift = plain[1] - adjusted[1] - prior  # what the loss adds, the bias need not
    np.testing.assert_allclose(shift, shift.mean(), atol=1e-3)
