"""What a study's numbers support, and what they do not."""

from __future__ import annotations

import pytest
from scipy import stats
from study_rows import ALIKE, CLEAR, analysed, rows

from convscope.studies import grid, page
from convscope.studies.analysis import difference, interval


def test_a_clear_difference_is_told_with_its_interval():
    (sentence, *_) = analysed(CLEAR, ["bad", "good"]).sentences
    test = stats.ttest_ind([0.95, 0.951, 0.949], [0.90, 0.902, 0.898], equal_var=False)
    low, high = (100 * end for end in test.confidence_interval(0.95))
    assert sentence == (
        f"good, at 95.00%, is more accurate than bad by 5.00 points ({low:.2f} to {high:.2f}): "
        "95 % interval, 3 seeds."
    )


def test_what_the_seeds_do_not_tell_apart_is_said_to_be_so():
    sentences = analysed(ALIKE, ["one", "two"]).sentences
    assert sentences[0] == "3 seeds do not tell one, the best, from two."
    assert not any("more accurate" in sentence for sentence in sentences)


def test_many_comparisons_ask_for_more():
    """Two settings that one comparison tells apart, twenty do not."""
    one, two = [0.95, 0.951, 0.952], [0.9475, 0.9485, 0.9495]
    assert difference(one, two)[1] > 0
    assert difference(one, two, 20)[1] < 0


def test_one_seed_tells_nothing():
    found = analysed(rows("a", [0.9]) + rows("b", [0.1]), ["a", "b"])
    assert found.sentences == ("With one seed a setting, nothing tells chance from a difference.",)
    assert found.lines[0].interval is None and found.lines[0].sd is None
    assert difference([0.9], [0.1]) is None
    assert difference([0.9], [0.1, 0.2]) is None


def test_a_constant_that_differs_has_no_interval():
    assert difference([0.5, 0.5], [0.1, 0.1]) is None
    assert (
        "do not tell a"
        in analysed(rows("a", [0.5] * 2) + rows("b", [0.1] * 2), ["a", "b"]).sentences[0]
    )


def test_one_side_that_does_not_vary_is_no_trouble():
    middle, low, high = difference([0.5, 0.5, 0.5], [0.1, 0.2, 0.3])
    assert (middle, low < 0.3 < high) == (pytest.approx(0.3), True)


def test_time_is_told_only_where_every_seed_says_the_same():
    apart = rows("a", [0.9, 0.91], [1.0, 1.1]) + rows("b", [0.9, 0.92], [2.0, 2.2])
    assert analysed(apart, ["a", "b"]).sentences[-1] == (
        "a is the fastest (1.1 s); b takes 2.00 times as long."
    )
    mixed = rows("a", [0.9, 0.91], [1.0, 3.0]) + rows("b", [0.9, 0.92], [2.0, 2.2])
    assert (
        analysed(mixed, ["a", "b"])
        .sentences[-1]
        .startswith("The time of training tells no setting")
    )


def test_validation_chooses_and_the_test_split_does_not():
    found = rows("a", [0.99, 0.98]) + rows("b", [0.95, 0.96])
    for row in found:
        row["val_accuracy"] = 0.9 if row["values"][grid.NETWORK] == "b" else 0.8
    assert analysed(found, ["a", "b"]).chosen == "b"
    for row in found:
        row["val_accuracy"] = None
    assert analysed(found, ["a", "b"]).chosen is None


def test_shifted_images():
    def curve(near: float) -> dict:
        share = [1.0, 0.99, near, 0.9, 0.8, 0.7, 0.6]
        return {"pixels": [0, 1, 2, 3, 4, 6, 8], "accuracy": share, "unchanged": share}

    found = [
        *(
            row | {"shift": curve(v)}
            for row, v in zip(CLEAR[:3], (0.98, 0.981, 0.979), strict=True)
        ),
        *(
            row | {"shift": curve(v)}
            for row, v in zip(CLEAR[3:], (0.90, 0.901, 0.899), strict=True)
        ),
    ]
    part = analysed(found, ["good", "bad"], ("shift",))
    assert part.sentences[2:] == (
        "good: 100.0% unshifted, 98.0% shifted by 2 pixels, 80.0% by 4; 2.0% of the predictions "
        "change at 2.",
        "bad: 100.0% unshifted, 90.0% shifted by 2 pixels, 80.0% by 4; 10.0% of the predictions "
        "change at 2.",
        "The predictions of good change less than those of bad.",
        "None of them is invariant: 2.0% change at best.",
    )
    assert set(page.drawn(part)) == {"figure", "shift"}
    for row, near in zip(found, (0.98, 0.9, 0.94, 0.97, 0.9, 0.94), strict=True):
        row["shift"] = curve(near)
    sentences = analysed(found, ["good", "bad"], ("shift",)).sentences
    assert not any("change less" in sentence for sentence in sentences)


def test_gradients_by_layer():
    gradients = {"layers": ["a", "b"], "begun": [0.001, 0.1], "trained": [0.0, 0.0]}
    found = [row | {"gradients": gradients} for row in CLEAR]
    part = analysed(found, ["good", "bad"], ("gradients",))
    assert part.sentences[-1] == (
        "bad: the gradient at the first layer is 0.01 of that at the last before training, "
        "no number after (geometric mean over seeds)."
    )
    axes = page.drawn(part)["gradients"].axes[0]
    assert [list(line.get_ydata()) for line in axes.lines] == [[0.001, 0.1]] * 2


def test_branches_by_what_is_lost_without_them():
    found = rows("", [0.9, 0.8])
    for row, without in zip(found, ([0.9, 0.5], [0.7, 0.5]), strict=True):
        row["values"] = {}
        row["branches"] = {"intact": 0.9, "branches": ["b1", "b2"], "without": without}
    said = analysed(found, [""], ["branches"])
    assert said.sentences[-1] == (
        "90.00% of 1,000 test images with every branch; points lost with one silenced (mean of 2): "
        "b1 10.00, b2 40.00."
    )
    (axes,) = page.drawn(said)["branches"].axes
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([10, 40])


@pytest.mark.parametrize("values", [[0.1, 0.3], [0.9, 0.95, 0.99, 0.91]])
def test_an_interval_is_students(values):
    low, high = stats.t.interval(
        0.95, len(values) - 1, loc=sum(values) / len(values), scale=stats.sem(values)
    )
    assert interval(values) == pytest.approx((max(0, low), min(1, high)))
