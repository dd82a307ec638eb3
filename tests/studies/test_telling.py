"""What a study's numbers support, and what they do not."""

from __future__ import annotations

import pytest
from scipy import stats

from convscope.studies import grid, telling


def rows(name: str, accuracies: list[float], seconds: list[float] | None = None, **more):
    return [
        {
            **{"part": "", "values": {grid.NETWORK: name}, "seed": seed, "accuracy": accuracy},
            **{"loss": 0.1, "val_accuracy": accuracy - 0.01, "val_loss": 0.1, "train_loss": 0.1},
            **{"seconds": took, "epochs": 2, "parameters": 10, "multiply_adds": 20, "run": ""},
            **more,
        }
        for seed, (accuracy, took) in enumerate(
            zip(accuracies, seconds or [1.0] * len(accuracies), strict=True), 1
        )
    ]


CLEAR = rows("good", [0.95, 0.951, 0.949]) + rows("bad", [0.90, 0.902, 0.898])
ALIKE = rows("one", [0.95, 0.94, 0.96]) + rows("two", [0.951, 0.938, 0.958])


def told(found, names, measures=()):
    return telling.tell("part", names, found, measures)


def test_a_clear_difference_is_told_with_its_interval():
    (sentence, *_) = told(CLEAR, ["bad", "good"]).sentences
    test = stats.ttest_ind([0.95, 0.951, 0.949], [0.90, 0.902, 0.898], equal_var=False)
    low, high = (100 * end for end in test.confidence_interval(0.95))
    assert sentence == (
        f"good, at 95.00%, is more accurate than bad by 5.00 points ({low:.2f} to {high:.2f}): "
        "95 % interval, 3 seeds."
    )


def test_what_the_seeds_do_not_tell_apart_is_said_to_be_so():
    sentences = told(ALIKE, ["one", "two"]).sentences
    assert sentences[0] == "3 seeds do not tell one, the best, from two."
    assert not any("more accurate" in sentence for sentence in sentences)


def test_many_comparisons_ask_for_more():
    """Two settings that one comparison tells apart, twenty do not."""
    one, two = [0.95, 0.951, 0.952], [0.9475, 0.9485, 0.9495]
    assert telling.difference(one, two)[1] > 0
    assert telling.difference(one, two, 20)[1] < 0


def test_one_seed_tells_nothing():
    found = told(rows("a", [0.9]) + rows("b", [0.1]), ["a", "b"])
    assert found.sentences == ("With one seed a setting, nothing tells chance from a difference.",)
    assert found.lines[0].interval is None and found.lines[0].sd is None
    assert telling.difference([0.9], [0.1]) is None
    assert telling.difference([0.9], [0.1, 0.2]) is None


def test_a_constant_that_differs_has_no_interval():
    assert telling.difference([0.5, 0.5], [0.1, 0.1]) is None
    assert (
        "do not tell a"
        in told(rows("a", [0.5] * 2) + rows("b", [0.1] * 2), ["a", "b"]).sentences[0]
    )


def test_one_side_that_does_not_vary_is_no_trouble():
    middle, low, high = telling.difference([0.5, 0.5, 0.5], [0.1, 0.2, 0.3])
    assert (middle, low < 0.3 < high) == (pytest.approx(0.3), True)


def test_time_is_told_only_where_every_seed_says_the_same():
    apart = rows("a", [0.9, 0.91], [1.0, 1.1]) + rows("b", [0.9, 0.92], [2.0, 2.2])
    assert told(apart, ["a", "b"]).sentences[-1] == (
        "a is the fastest (1.1 s); b takes 2.00 times as long."
    )
    mixed = rows("a", [0.9, 0.91], [1.0, 3.0]) + rows("b", [0.9, 0.92], [2.0, 2.2])
    assert told(mixed, ["a", "b"]).sentences[-1].startswith("The time of training tells no setting")


def test_validation_chooses_and_the_test_split_does_not():
    found = rows("a", [0.99, 0.98]) + rows("b", [0.95, 0.96])
    for row in found:
        row["val_accuracy"] = 0.9 if row["values"][grid.NETWORK] == "b" else 0.8
    assert told(found, ["a", "b"]).chosen == "b"
    for row in found:
        row["val_accuracy"] = None
    assert told(found, ["a", "b"]).chosen is None


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
    part = told(found, ["good", "bad"], ("shift",))
    assert part.sentences[2:] == (
        "good: 100.0% unshifted, 98.0% shifted by 2 pixels, 80.0% by 4; 2.0% of the predictions "
        "change at 2.",
        "bad: 100.0% unshifted, 90.0% shifted by 2 pixels, 80.0% by 4; 10.0% of the predictions "
        "change at 2.",
        "The predictions of good change less than those of bad.",
        "None of them is invariant: 2.0% change at best.",
    )
    assert set(part.figures()) == {"figure", "shift"}
    for row, near in zip(found, (0.98, 0.9, 0.94, 0.97, 0.9, 0.94), strict=True):
        row["shift"] = curve(near)
    sentences = told(found, ["good", "bad"], ("shift",)).sentences
    assert not any("change less" in sentence for sentence in sentences)


def test_gradients_by_layer():
    gradients = {"layers": ["a", "b"], "begun": [0.001, 0.1], "trained": [0.0, 0.0]}
    found = [row | {"gradients": gradients} for row in CLEAR]
    part = told(found, ["good", "bad"], ("gradients",))
    assert part.sentences[-1] == (
        "bad: the gradient at the first layer is 0.01 of that at the last before training, "
        "no number after (geometric mean over seeds)."
    )
    axes = part.figures()["gradients"].axes[0]
    assert [list(line.get_ydata()) for line in axes.lines] == [[0.001, 0.1]] * 2


def test_branches_by_what_is_lost_without_them():
    found = rows("", [0.9, 0.8])
    for row, without in zip(found, ([0.9, 0.5], [0.7, 0.5]), strict=True):
        row["values"] = {}
        row["branches"] = {"intact": 0.9, "branches": ["b1", "b2"], "without": without}
    said = told(found, [""], ["branches"])
    assert said.sentences[-1] == (
        "90.00% of 1,000 test images with every branch; points lost with one silenced (mean of 2): "
        "b1 10.00, b2 40.00."
    )
    (axes,) = said.figures()["branches"].axes
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([10, 40])


def test_the_page_has_table_sentences_and_pictures():
    part = told(CLEAR, ["bad", "good"])
    study = grid.Study("kernels", (), (1, 2, 3), "Which is better?")
    page = telling.page(study, [part])
    assert page.startswith("# Kernels\n\nWhich is better?\n\n## part\n")
    assert "| **good** | 3 | 95.00% | 94.75% to 95.25% | 0.10 | 94.00% |" in page
    assert "Chosen on validation: **good**." in page and "![figure](figure.svg)" in page
    for sentence in part.sentences:
        assert f"- {sentence}\n" in page


def test_work_that_cannot_be_counted_is_not_nought():
    part = told(
        [*CLEAR[:3], *(row | {"multiply_adds": None} for row in CLEAR[3:])], ["good", "bad"]
    )
    assert [line.multiply_adds for line in part.lines] == [20, None]
    assert [telling.cells(line)[-1] for line in part.lines] == ["20", "-"]
    labels = [axes.get_xlabel() for axes in part.figures()["figure"].axes]
    assert labels == ["seconds of training", "parameters"]


@pytest.mark.parametrize("values", [[0.1, 0.3], [0.9, 0.95, 0.99, 0.91]])
def test_an_interval_is_students(values):
    low, high = stats.t.interval(
        0.95, len(values) - 1, loc=sum(values) / len(values), scale=stats.sem(values)
    )
    assert telling.interval(values) == pytest.approx((max(0, low), min(1, high)))
