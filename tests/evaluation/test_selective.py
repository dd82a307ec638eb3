"""The threshold below which an answer is unsure: its bound holds, and it leaves few out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binom

from convscope.errors import BadArgument
from convscope.evaluation.selective import NEVER, Selective, check, needed, select


def upper(wrong: int, n: int, level: float = 0.05) -> float:
    """The upper limit of Clopper and Pearson."""
    return float(beta.ppf(1 - level, wrong + 1, n - wrong)) if wrong < n else 1.0


@pytest.mark.parametrize("error", [0.002, 0.02, 0.05, 0.3])
def test_how_many_right_answers_are_needed(error):
    n = needed(error)
    assert upper(0, n) <= error < upper(0, n - 1)
    check(error, n)
    with pytest.raises(
        BadArgument, match=rf"takes {n:,} validation images.* and there are {n - 1:,}"
    ):
        check(error, n - 1)


@pytest.mark.parametrize("error", [0, 1, -0.1, 1.5, float("nan")])
def test_an_error_is_a_rate(error):
    with pytest.raises(BadArgument, match="abstain=.*: must be an error rate between 0 and 1"):
        check(error, 10_000)


def by_hand(confidence: np.ndarray, right: np.ndarray, error: float) -> int:
    """How many are answered, from what is published: limits one by one."""
    n, order = len(right), np.argsort(-confidence)
    starts: list[int] = []
    while n // 2 ** (len(starts) + 1) >= needed(error, 0.05 / (len(starts) + 1)):
        starts.append(n // 2 ** (len(starts) + 1))
    starts, level = starts or [needed(error)], 0.05 / max(1, len(starts))
    best = 0
    for start in starts:
        for m in range(start, n + 1):
            if upper(int((~right[order[:m]]).sum()), m, level) > error:
                break
            best = max(best, m)
    return best


@pytest.mark.parametrize(("n", "error"), [(200, 0.02), (400, 0.05), (400, 0.02), (900, 0.05)])
def test_it_is_the_last_count_whose_limit_keeps_the_bound(n, error):
    random, found = np.random.default_rng(n), []
    for _ in range(3):
        confidence = random.random(n)
        right = random.random(n) > 3 * error * (1 - confidence) ** 3
        one = select(confidence, right, error)
        assert one.answered == by_hand(confidence, right, error)
        found.append(one.answered)
        if one.answered:
            answered = confidence >= one.threshold
            assert (answered.sum(), (~right[answered]).sum()) == (one.answered, one.wrong)
    assert max(found) > 0


def test_the_bound_holds_as_often_as_is_said():
    """All answers are wrong slightly too often: whatever is answered breaks the bound. A pick among
    all counts, each by its own limit, would break it far too often."""
    random, error, broken, picked = np.random.default_rng(0), 0.05, 0, 0
    for _ in range(1000):
        confidence, right = random.random(600), random.random(600) > 0.0501
        broken += select(confidence, right, error).answered > 0
        counts = np.arange(1, 601)
        wrong = np.cumsum(~right[np.argsort(-confidence)])
        picked += (binom.cdf(wrong, counts, error) <= 0.05).any()
    assert 20 < broken < 50 + 2.3 * np.sqrt(0.05 * 0.95 * 1000) < 150 < picked


def test_little_is_left_out():
    """Confidence u is wrong with probability (1 - u)^2: answers above t are wrong (1 - t)^2 / 3 of
    the time, which allows a share of sqrt(3 error)."""
    random, error, answered, broken = np.random.default_rng(0), 0.05, [], 0
    for _ in range(200):
        u = random.random(3000)
        found = select(u, random.random(3000) > (1 - u) ** 2, error)
        answered.append(found.answered / 3000)
        broken += (1 - found.threshold) ** 2 / 3 > error
    assert np.mean(answered) > 0.75 * np.sqrt(3 * error) and broken <= 10


def test_equal_confidences_are_not_torn():
    confidence = np.repeat([1.0, 0.8, 0.6], 200)
    right = np.ones(600, bool)
    right[405::6] = False  # the least sure are wrong too often
    found = select(confidence, right, 0.02)
    assert (found.threshold, found.answered, found.wrong) == (0.8, 400, 0)
    assert found.unsure(np.array([1.0, 0.8, 0.79])).tolist() == [False, False, True]


def test_what_is_never_answered_is_not():
    confidence = np.append(np.linspace(0.5, 1, 300), [NEVER] * 20)
    found = select(confidence, np.ones(320, bool), 0.02)
    assert (found.answered, found.threshold) == (300, 0.5) and found.unsure(confidence).sum() == 20


def test_no_threshold_is_no_claim_unless_it_was_asked_for():
    random = np.random.default_rng(0)
    confidence, right = random.random(400), random.random(400) > 0.5
    for asked, then in ((True, "every answer is unsure"), (False, "is not known")):
        found = select(confidence, right, 0.02, asked)
        assert (found.threshold, found.known) == (None, asked)
        assert found.unsure(confidence).all() and then in found.said
    few = select(confidence[:40], right[:40] | True, 0.02)
    assert not few.known and "takes 149 validation images" in few.said and "are 40" in few.said


@pytest.mark.parametrize("shown", ["0.5", "0.99", "0.9988", "0.99996", "0.9999999953", "1"])
def test_a_threshold_is_never_rounded_to_certainty(shown):
    assert f"top probability of {shown}; " in Selective(0.05, 200, float(shown), 90, 1).said


def test_what_is_answered_is_said():
    found = select(np.linspace(0, 1, 500), np.ones(500, bool), 0.02, asked=True)
    assert "of 500 validation images 500 are answered, 0 of them wrongly" in found.said
