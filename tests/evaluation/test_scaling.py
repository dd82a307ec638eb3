"""A temperature is kept where it helps images that it was not fitted on, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from convscope.evaluation import metrics
from convscope.evaluation.scaling import FEWEST, Scaling, scale


def drawn(n: int, over_confidence: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax(z), and the logits c z: the best temperature is c."""
    random = np.random.default_rng(seed)
    z = 2 * random.normal(size=(n, 4))
    p = metrics.softmax(z)
    labels = (p.cumsum(axis=1) < random.random((n, 1))).sum(axis=1)
    return over_confidence * z, labels


def test_it_is_kept_where_it_helps_others():
    found = scale(*drawn(2000, 3.0))
    assert found.temperature == found.fitted == pytest.approx(3, rel=0.1)
    (loss, loss_after), (ece, ece_after) = found.loss, found.ece
    assert loss_after < loss and ece_after < ece / 3 and found.p < 1e-6
    assert found.loss[0] == pytest.approx(metrics.cross_entropy(*drawn(2000, 3.0)))
    assert f"temperature {found.fitted:.3f}" in found.said and "cross-validated" in found.said


def test_each_image_is_judged_at_the_temperature_of_other_folds():
    """Against the sum written out: one class at a time, image after image into the five folds."""
    logits, labels = drawn(83, 2.0)
    fold = np.empty(83, int)
    for place, i in enumerate(i for c in range(4) for i in np.flatnonzero(labels == c)):
        fold[i] = place % 5
    after = []
    for i in range(83):
        others = fold != fold[i]
        t = metrics.fit_temperature(logits[others], labels[others])
        after.append(metrics.cross_entropy(logits[[i]], labels[[i]], t))
    assert scale(logits, labels).loss[1] == pytest.approx(np.mean(after), rel=1e-9)


def test_chance_keeps_none():
    """Calibrated logits: one of a hundred draws, near enough, keeps one."""
    found = [scale(*drawn(200, 1.0, seed)) for seed in range(100)]
    assert sum(one.temperature != 1 for one in found) <= 4
    assert 1 <= sum(one.p < 0.05 for one in found) <= 12
    assert found[0].temperature == 1 != found[0].fitted and "no temperature: cr" in found[0].said


def test_a_fall_by_chance_alone_keeps_none():
    """The cross-entropy of other folds falls, and yet none is needed."""
    found = [scale(*drawn(60, 1.0, seed)) for seed in range(60)]
    fallen = [one for one in found if one.loss[1] < one.loss[0]]
    assert len(fallen) > 5 and sum(one.temperature != 1 for one in fallen) <= 2


def test_few_images_have_none_and_say_so(monkeypatch):
    logits, labels = drawn(FEWEST, 3.0)
    assert scale(logits, labels).p is not None
    monkeypatch.setattr(metrics, "fit_temperature", lambda *rest: pytest.fail("fitted"))
    few = scale(logits[:-1], labels[:-1])
    assert few == Scaling(FEWEST - 1)
    assert few.said.endswith(
        "50 validation images are needed to fit and test one, and there are 49"
    )


def test_a_network_that_makes_no_mistake_has_none():
    sure = np.eye(3)[np.arange(90) % 3] * 5
    found = scale(sure, np.arange(90) % 3)
    assert (found.temperature, found.p) == (1.0, 1.0) and found.loss[0] == found.loss[1]


def test_an_infinite_loss_of_one_image_stays_a_number():
    logits, labels = drawn(100, 1.0)
    logits[0], labels[0] = [2000, 0, 0, 0], 1
    assert np.isfinite(scale(logits, labels).loss).all()
