"""Paired figures: published ones, the definitions worked out another way, what holds whatever the
numbers, and what is said of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from convscope.evaluation.paired import (
    Pairs,
    difference_interval,
    holm,
    mcnemar,
    pairs,
    per_class,
    verdict,
)

Z = 1.959963984540054

tables = st.tuples(*[st.integers(0, 60)] * 4).filter(sum).map(lambda t: Pairs(*t))

# figures


@pytest.mark.parametrize(
    ("table", "low", "high", "p", "places"),
    [  # Fagerland, Lydersen & Laake 2014: Bentur et al. 2009; their book's: Cavo et al. 2012
        (Pairs(1, 7, 1, 12), -0.517, -0.026, 0.0703, 3),
        (Pairs(59, 16, 6, 80), -0.1240, -0.0054, 0.052479, 4),
    ],
)
def test_published_examples(table, low, high, p, places):
    found = difference_interval(table)
    assert (round(found[0], places), round(found[1], places)) == (low, high)
    assert mcnemar(table) == pytest.approx(p, abs=5e-5)


@given(tables)
def test_mcnemar_is_the_binomial_tail_twice(table):
    apart, few = table.only_a + table.only_b, min(table.only_a, table.only_b)
    tail = sum(math.comb(apart, i) for i in range(few + 1)) / 2**apart
    assert mcnemar(table) == pytest.approx(min(1.0, 2 * tail), rel=1e-9)


def score(table: Pairs, difference: float) -> float:
    """Tango's statistic, its share of images lost found by maximising the likelihood."""

    def unlikely(q: float) -> float:
        shares = (q, q + difference, 1 - 2 * q - difference)
        counts = (table.only_a, table.only_b, table.both + table.neither)
        return -sum(n * math.log(max(s, 1e-300)) for n, s in zip(counts, shares, strict=True) if n)

    least, most = max(0.0, -difference), (1 - difference) / 2
    q = minimize_scalar(unlikely, bounds=(least, most), method="bounded",
                        options={"xatol": 1e-13}).x  # fmt: skip
    variance = (2 * q + difference * (1 - difference)) / table.n
    return (table.difference - difference) / math.sqrt(variance)


@settings(max_examples=60, deadline=None)
@given(tables)
def test_the_ends_of_the_interval_are_just_not_rejected(table):
    low, high = difference_interval(table)
    assert -1 <= low <= table.difference <= high <= 1
    if low > -1 + 1e-6:
        assert score(table, low) == pytest.approx(Z, abs=2e-3)
    if high < 1 - 1e-6:
        assert score(table, high) == pytest.approx(-Z, abs=2e-3)


@pytest.mark.parametrize("n", [1, 5, 50, 10_000])
def test_intervals_of_extreme_tables(n):
    """None that only one gets right, in closed form; then all of them."""
    low, high = difference_interval(Pairs(n, 0, 0, 0))
    assert high == pytest.approx(Z**2 / (n + Z**2)) and low == pytest.approx(-high)
    low, high = difference_interval(Pairs(0, 0, n, 0))
    assert low == pytest.approx((n - Z**2) / (n + Z**2)) and high == pytest.approx(1)


def test_the_interval_holds_what_it_says_in_small_samples():
    """Its exact coverage over all tables of 14 images, for many true shares."""
    n, covered = 14, []
    counts = [(b, c) for b in range(n + 1) for c in range(n + 1 - b)]
    ends = [difference_interval(Pairs(n - b - c, b, c, 0)) for b, c in counts]
    ways = [math.comb(n, b) * math.comb(n - b, c) for b, c in counts]
    for lost, gained in itertools.product((0.02, 0.05, 0.1, 0.2, 0.3), repeat=2):
        rest = 1 - lost - gained
        covered.append(sum(
            way * lost**b * gained**c * rest ** (n - b - c)
            for way, (b, c), (low, high) in zip(ways, counts, ends, strict=True)
            if low <= gained - lost <= high
        ))  # fmt: skip
    assert min(covered) > 0.92 and np.mean(covered) > 0.95


def test_a_large_sample_is_quick_and_agrees_with_walds():
    table = Pairs(900_000, 40_000, 41_000, 19_000)
    low, high = difference_interval(table)
    half = Z * math.sqrt(81_000 - 1_000**2 / table.n) / table.n
    assert (low, high) == pytest.approx((0.001 - half, 0.001 + half), abs=1e-6)
    assert mcnemar(table) == pytest.approx(0.00044, abs=2e-5)


def test_holm():
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.4, 0.001, 0.9]) == pytest.approx([0.8, 0.003, 0.9])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni(ps):
    found = holm(ps)
    for i, j in itertools.product(range(len(ps)), repeat=2):
        assert ps[i] >= ps[j] or found[i] <= found[j]
    for p, adjusted in zip(ps, found, strict=True):
        assert p <= adjusted <= min(1.0, p * len(ps)) or adjusted == pytest.approx(p)


cases = st.lists(st.tuples(*[st.sampled_from("xyz")] * 3), min_size=1, max_size=60)


@settings(deadline=None)
@given(cases)
def test_swapping_the_two_changes_signs_only(rows):
    labels, a, b = zip(*rows, strict=True)
    one, two = pairs(labels, a, b), pairs(labels, b, a)
    assert one == Pairs(two.both, two.only_b, two.only_a, two.neither)
    assert one.difference == -two.difference and mcnemar(one) == mcnemar(two)
    low, high = difference_interval(two)
    assert difference_interval(one) == pytest.approx((-high, -low), abs=1e-12)
    for this, that in zip(per_class(labels, a, b, "xyz"), per_class(labels, b, a, "xyz"),
                          strict=True):  # fmt: skip
        assert this["a_right"] == that["b_right"] and this["only_a"] == that["only_b"]
        assert this["difference"] == -that["difference"]
        assert (this["p"], this["p_holm"]) == (that["p"], that["p_holm"])


@settings(deadline=None)
@given(cases)
def test_classes_add_up_to_the_whole(rows):
    labels, a, b = zip(*rows, strict=True)
    counts, found = pairs(labels, a, b), per_class(labels, a, b, "xyz")
    assert {row["class"] for row in found} == set(labels)
    assert sum(row["images"] for row in found) == counts.n == len(rows)
    assert sum(row["only_a"] for row in found) == counts.only_a
    assert sum(row["b_right"] for row in found) == counts.both + counts.only_b
    assert [row["p_holm"] for row in found] == holm([row["p"] for row in found])


# words


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (
            Pairs(900, 10, 40, 50),
            "B is right more often: on images like these by 1.68 to 4.50 points (95% interval), "
            "which chance alone seldom gives (p < 0.001).",
        ),
        (Pairs(900, 40, 10, 50), "A is right more often: on images like these by 1.68 to 4.50 "),
        (
            Pairs(900, 10, 12, 78),
            "No difference is shown: chance alone may give this one (p = 0.832), and on images "
            "like these B may be up to 0.78 points worse than A or up to 1.21 points better "
            "(95% interval).",
        ),
        (
            Pairs(59, 16, 6, 80),
            "Undecided: the interval, -12.40 to -0.54 points, and the exact test (p = 0.052) "
            "disagree on whether this is more than chance.",
        ),
        (
            Pairs(90, 0, 0, 10),
            "A and B get the same images right: no difference is shown, and on images like these "
            "there may be one of up to 3.70 points either way (95% interval).",
        ),
    ],
)
def test_it_says_no_more_than_the_numbers_support(table, text):
    said = verdict(table, difference_interval(table), mcnemar(table))
    assert said.startswith(text)
