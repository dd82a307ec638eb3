"""The figures against scikit-learn, published values, and slow, obvious code."""

from __future__ import annotations

import json
import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from convscope.errors import ConvscopeError
from convscope.evaluation import metrics


def draw(n: int, k: int, seed: int = 0, skill: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that know their labels somewhat, and labels drawn uniformly."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, k, n)
    logits = random.normal(size=(n, k)).astype(np.float32)
    logits[np.arange(n), labels] += skill
    return logits, labels


sets = st.integers(1, 40).flatmap(
    lambda n: st.integers(2, 6).flatmap(
        lambda k: st.tuples(
            hnp.arrays(np.float32, (n, k), elements=st.floats(-1e4, 1e4, width=32)),
            hnp.arrays(np.int64, n, elements=st.integers(0, k - 1)),
        )
    )
)


@given(sets)
@settings(max_examples=40, deadline=None)
def test_balanced_accuracy_is_scikit_learns(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = drawn
    share, (low, high) = metrics.balanced_accuracy(metrics.confusion_matrix(logits, labels))
    with warnings.catch_warnings():  # of classes that are said and never occur
        warnings.simplefilter("ignore")
        assert share == pytest.approx(sk.balanced_accuracy_score(labels, logits.argmax(1)))
    assert low <= share <= high


def test_the_interval_of_balanced_accuracy_holds_what_it_says() -> None:
    random, held = np.random.default_rng(0), 0
    sizes, recalls = np.array([200, 40, 12]), np.array([0.97, 0.8, 0.6])
    for _ in range(1000):
        hits = random.binomial(sizes, recalls)
        confusion = np.diag(hits)
        confusion[:, 0] += sizes - hits  # of the first class, more than there are; sums are right
        confusion[0] = [hits[0], sizes[0] - hits[0], 0]
        _, (low, high) = metrics.balanced_accuracy(confusion)
        held += low <= recalls.mean() <= high
    assert 0.93 < held / 1000 < 0.98


def test_balanced_accuracy_is_of_the_classes_that_occur() -> None:
    share, _ = metrics.balanced_accuracy(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 2]]))
    assert share == pytest.approx((0.75 + 1) / 2)
    assert metrics.skewed(np.array([[6, 0], [0, 2]])) and not metrics.skewed(np.diag([5, 2]))
    assert not metrics.skewed(np.diag([5, 0]))
    with pytest.raises(ConvscopeError, match="confusion: counts no image"):
        metrics.balanced_accuracy(np.zeros((2, 2), int))


def test_log_softmax_is_stable_and_softmax_sums_to_one() -> None:
    logits = np.array([[1e30, 0.0, -1e30], [-1000.0, -1000.0, -1001.0]], np.float32)
    assert np.isfinite(metrics.log_softmax(logits)).all()
    probabilities = metrics.softmax(logits)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(
        probabilities[1], np.array([1, 1, math.exp(-1)]) / (2 + math.exp(-1))
    )


def test_temperature_divides_the_logits() -> None:
    logits, labels = draw(50, 4)
    np.testing.assert_allclose(
        metrics.softmax(logits, 2.5), metrics.softmax(logits.astype(float) / 2.5)
    )
    assert metrics.cross_entropy(logits, labels, 2.5) == pytest.approx(
        metrics.cross_entropy(logits.astype(float) / 2.5, labels)
    )


@pytest.mark.parametrize("k", [2, 3, 10])
def test_agrees_with_scikit_learn(k: int) -> None:
    logits, labels = draw(500, k, seed=k)
    found = metrics.measure(logits, labels, [f"c{i}" for i in range(k)])
    predicted = logits.argmax(axis=1)
    precision, recall, f1, support = sk.precision_recall_fscore_support(labels, predicted)
    assert found["confusion"] == sk.confusion_matrix(labels, predicted).tolist()
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(labels, predicted))
    assert found["loss"] == pytest.approx(sk.log_loss(labels, metrics.softmax(logits)))
    for i, row in enumerate(found["per_class"]):
        assert row == {
            "class": f"c{i}",
            "support": support[i],
            "precision": pytest.approx(precision[i]),
            "recall": pytest.approx(recall[i]),
            "f1": pytest.approx(f1[i]),
        }


def test_undefined_is_none_and_not_zero() -> None:
    never_predicted, never_seen, neither = metrics.per_class(
        np.array([[0, 2, 0], [0, 0, 0], [0, 0, 0]]), ["a", "b", "c"]
    )
    assert never_predicted == {
        "class": "a",
        "support": 2,
        "precision": None,
        "recall": 0.0,
        "f1": 0.0,
    }
    assert never_seen == {"class": "b", "support": 0, "precision": 0.0, "recall": None, "f1": 0.0}
    assert neither == {"class": "c", "support": 0, "precision": None, "recall": None, "f1": None}


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_values_of_newcombe_1998(correct: int, n: int, low: float, high: float) -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    found = metrics.wilson_interval(correct, n)
    assert found == pytest.approx((low, high), abs=5e-5)
    mirrored = metrics.wilson_interval(n - correct, n)
    assert mirrored == pytest.approx((1 - found[1], 1 - found[0]))


def slow_ece(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> float:
    """Equation 3 of Guo et al. as it stands: for every bin, walk over every image."""
    total = 0.0
    edges = np.linspace(0, 1, bins + 1)
    for lower, upper in pairwise(edges):
        inside = [
            (p.max(), p.argmax() == y)
            for p, y in zip(probabilities, labels, strict=True)
            if lower < p.max() <= upper
        ]
        if inside:
            confidence = sum(p for p, _ in inside) / len(inside)
            right = sum(hit for _, hit in inside) / len(inside)
            total += len(inside) / len(labels) * abs(right - confidence)
    return total


@given(sets, st.integers(1, 20), st.floats(0.1, 1e4))
@settings(deadline=None)
def test_ece_is_the_slow_one(
    data: tuple[np.ndarray, np.ndarray], bins: int, temperature: float
) -> None:
    logits, labels = data
    probabilities = metrics.softmax(logits, temperature)
    assert metrics.ece(probabilities, labels, bins) == pytest.approx(
        slow_ece(probabilities, labels, bins), abs=1e-12
    )


def test_bins_hold_every_image_once() -> None:
    bins = metrics.reliability(
        np.array([0.0, 0.5, 0.50001, 1.0]), np.array([True, False, True, True]), bins=2
    )
    assert [b.count for b in bins] == [2, 2]
    assert [b.correct for b in bins] == [1, 2]
    assert [b.confidence for b in bins] == [0.25, pytest.approx(0.750005)]
    empty = metrics.reliability(np.array([0.9]), np.array([True]), bins=2)[0]
    assert (empty.count, empty.confidence, empty.accuracy) == (0, None, None)


@pytest.mark.parametrize("over_confidence", [0.3, 1.0, 4.0])
def test_temperature_is_recovered(over_confidence: float) -> None:
    """Labels drawn from softmax(z) and logits c z: the temperature is c."""
    random = np.random.default_rng(1)
    honest = random.normal(size=(20_000, 5)) * 2
    labels = (metrics.softmax(honest).cumsum(axis=1) > random.random((20_000, 1))).argmax(axis=1)
    logits = (honest * over_confidence).astype(np.float32)
    found = metrics.fit_temperature(logits, labels)
    assert found == pytest.approx(over_confidence, rel=0.03)
    assert metrics.ece(metrics.softmax(logits, found), labels) < 0.012
    assert metrics.cross_entropy(logits, labels, found) <= metrics.cross_entropy(
        logits, labels, found * 1.01
    )
    assert metrics.cross_entropy(logits, labels, found) <= metrics.cross_entropy(
        logits, labels, found / 1.01
    )


def test_temperature_of_separable_data_is_one() -> None:
    logits = np.array([[3.0, 1.0], [0.0, 2.0]])
    assert metrics.fit_temperature(logits, np.array([0, 1])) == 1.0
    assert metrics.fit_temperature(np.zeros((3, 2)), np.array([0, 1, 1])) == 1.0


def test_temperature_stays_in_its_range() -> None:
    logits = np.array([[3.0, 1.0], [0.0, 2.0]])
    assert metrics.fit_temperature(logits, np.array([1, 0])) == pytest.approx(100, rel=1e-6)
    tiny = np.array([[1e-9, 0.0]] * 9 + [[0.0, 1e-9]])
    assert metrics.fit_temperature(tiny, np.zeros(10, int)) == pytest.approx(0.01, rel=1e-6)


@given(sets)
@settings(deadline=None)
def test_measure_is_json_and_consistent(data: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = data
    k = logits.shape[1]
    temperature = metrics.fit_temperature(logits, labels)
    found = metrics.measure(logits, labels, [str(i) for i in range(k)], temperature)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found) == [
        "n",
        "accuracy",
        "accuracy_ci95",
        "loss",
        "ece",
        "ece_raw",
        "per_class",
        "confusion",
    ]
    assert found["n"] == len(labels) == sum(map(sum, found["confusion"]))
    assert found["accuracy"] == metrics.accuracy(logits, labels)
    low, high = found["accuracy_ci95"]
    assert 0 <= low <= found["accuracy"] <= high <= 1
    assert metrics.cross_entropy(logits, labels, temperature) <= found["loss"] * (1 + 1e-9) + 1e-12


def test_loss_and_raw_ece_ignore_the_temperature() -> None:
    logits, labels = draw(300, 3)
    cold, hot = (metrics.measure(logits, labels, ["a", "b", "c"], t) for t in (0.5, 5.0))
    assert cold["loss"] == hot["loss"]
    assert cold["ece_raw"] == hot["ece_raw"]
    assert cold["ece"] != hot["ece"]


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (
            np.array([[math.nan, 0.0], [1.0, 0.0]]),
            [0, 0],
            "not finite for 1 of 2 images.*lower learning rate",
        ),
        (np.array([[math.inf, 0.0]]), [0], "not finite for 1 of 1"),
        (np.zeros((0, 3)), [], r"shape \[0, 3\].*at least one image"),
        (np.zeros(3), [0, 1, 2], r"shape \[3\]"),
        (np.zeros((2, 3)), [0], r"labels: int64 of shape \[1\] for 2 images"),
        (np.zeros((1, 3)), [0.0], "labels: float64"),
        (np.zeros((2, 3)), [0, 3], "labels: 0 to 3, and with 3 classes they must be 0 to 2"),
        (np.zeros((2, 3)), [-1, 2], "labels: -1 to 2"),
    ],
)
def test_what_cannot_be_judged_says_why(
    logits: np.ndarray, labels: list[int], message: str
) -> None:
    with pytest.raises(ConvscopeError, match=message):
        metrics.measure(logits, np.array(labels), ["a", "b", "c"][: logits.shape[-1]])


def test_other_refusals() -> None:
    logits, labels = draw(5, 3)
    with pytest.raises(ConvscopeError, match=r"temperature=0.0: must be a finite number above 0"):
        metrics.measure(logits, labels, ["a", "b", "c"], 0.0)
    with pytest.raises(ConvscopeError, match="3 names, 2 of them different, for 3 logits"):
        metrics.measure(logits, labels, ["a", "b", "b"])
    with pytest.raises(ConvscopeError, match="n of at least 1"):
        metrics.wilson_interval(0, 0)
    with pytest.raises(ConvscopeError, match="correct=4, n=3"):
        metrics.wilson_interval(4, 3)
