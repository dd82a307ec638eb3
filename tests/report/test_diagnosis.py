"""What is said of a training: each sentence from a history that was planted for it, and its silence
where the numbers do not support it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from convscope.report import diagnosis
from convscope.report.class_findings import class_findings
from convscope.report.evidence import Evidence, Finding


def history(
    train: Sequence[float],
    val: Sequence[float] | None,
    train_accuracy: float = 0.90,
    val_accuracy: float = 0.88,
    lr: Sequence[float] | None = None,
) -> list[dict[str, Any]]:
    """Losses of each epoch; the accuracies, which are those of every epoch."""
    return [
        {
            "epoch": i + 1,
            "train_loss": loss,
            "train_accuracy": train_accuracy,
            "val_loss": None if val is None else val[i],
            "val_accuracy": None if val is None else val_accuracy,
            "lr": 0.01 if lr is None else lr[i],
        }
        for i, loss in enumerate(train)
    ]


def seen(
    train: Sequence[float] = (0.9, 0.6, 0.5, 0.45),
    val: Sequence[float] | None = (0.8, 0.6, 0.52, 0.5),
    *,
    sizes: tuple[int, int] = (50_000, 5_000),
    right: float = 0.88,
    test: int = 10_000,
    lr: Sequence[float] | None = None,
    train_accuracy: float = 0.90,
    val_accuracy: float = 0.88,
    **more: Any,
) -> Evidence:
    """Evidence of two classes whose test images are right as often as told."""
    hits = round(right * test / 2)
    matrix = [[hits, test // 2 - hits], [test // 2 - hits, hits]]
    epochs = history(train, val, train_accuracy, val_accuracy, lr)
    given = {"classes": ["cat", "dog"], "confusion": matrix} | more
    return Evidence(epochs, *sizes, **given)


def said(evidence: Evidence) -> dict[str, Finding]:
    return {finding.name: finding for finding in diagnosis.findings(evidence)}


FALLING = (0.9, 0.5, 0.3, 0.2, 0.12, 0.06)
BACK_UP = (0.8, 0.5, 0.4, 0.44, 0.52, 0.60)


def test_overfitting_is_a_validation_loss_that_rises_while_that_of_training_falls():
    found = said(seen(FALLING, BACK_UP, train_accuracy=0.99))["overfitting"]
    assert "after epoch 3 the validation loss rose from 0.400 to 0.600" in found.text
    assert "training loss fell from 0.300 to 0.060" in found.text
    assert "11.0 points above that of validation (interval 10.1 to 11.9)" in found.text
    assert "--early-stopping" in found.advice
    assert "Newcombe" in found.rule


@pytest.mark.parametrize(
    "evidence",
    [
        seen(FALLING, (0.8, 0.5, 0.4, 0.41, 0.41, 0.41), train_accuracy=0.99),  # hardly rises
        seen(FALLING, (0.8, 0.6, 0.5, 0.45, 0.40, 0.60), train_accuracy=0.99),  # one epoch alone
        seen(BACK_UP, BACK_UP, train_accuracy=0.99),  # training rose too
        seen(FALLING, BACK_UP, train_accuracy=0.88),  # no gap
        seen(FALLING, BACK_UP, train_accuracy=0.99, sizes=(400, 40)),  # few images
        seen(FALLING, None, train_accuracy=0.99),
        seen(FALLING[:2], BACK_UP[2:4], train_accuracy=0.99),
    ],
)
def test_overfitting_is_not_told_without_that(evidence):
    assert "overfitting" not in said(evidence)


RARE = [[940, 10], [30, 20]]


def test_rare_classes_that_fare_worse_are_named_with_the_flags_that_help():
    found = {one.name: one for one in class_findings(seen(confusion=RARE))}["skewed"]
    assert "96.0\u202f% of all images are right, and 69.5\u202f% of a class" in found.text
    assert "from 50 (dog) to 950 test images" in found.text
    assert found.advice.startswith("Let rare classes count more: --class-weights auto, --sampler b")
    done = class_findings(seen(confusion=RARE, counted="weighted"))
    assert done[0].advice == "More images of dog would help most."


@pytest.mark.parametrize("matrix", [[[940, 10], [1, 49]], [[400, 10], [90, 60]], [[6, 0], [1, 1]]])
def test_rare_classes_that_do_as_well_or_are_not_rare_are_not_named(matrix):
    assert "skewed" not in {one.name for one in class_findings(seen(confusion=matrix))}


def test_training_figures_of_balanced_batches_are_not_held_against_validation():
    memorised = {"train_accuracy": 0.99, "val_accuracy": 0.88}
    assert "memorising" in said(seen(**memorised))
    assert "memorising" not in said(seen(**memorised, counted="balanced"))


def test_early_stopping_kept_the_best_epoch_and_the_sentence_says_so():
    found = said(seen(FALLING, BACK_UP, train_accuracy=0.99, patience=3))["overfitting"]
    assert found.text.endswith("Early stopping kept epoch 3.")


def test_memorising_is_most_of_the_error():
    found = said(seen(train_accuracy=0.998, val_accuracy=0.993))["memorising"]
    assert "0.20\u202f% of those are wrong, and 0.70\u202f% on validation" in found.text
    assert "a gap of 0.50 points (interval 0.30 to 0.77)" in found.text
    assert "memorising" not in said(seen(train_accuracy=0.995, val_accuracy=0.993))  # a small part
    few = seen(train_accuracy=0.998, val_accuracy=0.993, sizes=(2000, 200))
    assert "memorising" not in said(few)  # may be chance
    assert "memorising" not in said(seen(FALLING, BACK_UP, train_accuracy=0.99))  # is overfitting


def test_underfitting_is_wrong_on_what_it_learnt_from():
    found = said(seen(train_accuracy=0.73, val_accuracy=0.74, augmented=True))["underfitting"]
    assert "27.0\u202f% of the images it learnt from, as augmented, are wrong" in found.text
    assert "and 26.0\u202f% of those on validation" in found.text
    assert "--epochs 8" in found.advice and "less augmentation" in found.advice
    plain = said(seen(train_accuracy=0.73, val_accuracy=0.74))["underfitting"]
    assert "augment" not in plain.text + plain.advice
    for train, val in ((0.97, 0.97), (0.80, 0.70)):  # nearly all right; a gap
        assert "underfitting" not in said(seen(train_accuracy=train, val_accuracy=val))
    few = seen(train_accuracy=0.73, val_accuracy=0.74, sizes=(200, 20))
    assert "underfitting" not in said(few)


def test_no_overfitting_is_told_only_where_it_would_be_seen():
    good: dict[str, Any] = {"train_accuracy": 0.97, "val_accuracy": 0.96}
    found = said(seen(**good))["balanced"]
    assert "ended at 0.500, within 5 % of its lowest" in found.text
    assert "1.00 points above that of validation (interval 0.5 to 1.6)" in found.text
    assert "balanced" not in said(seen(**good, sizes=(500, 50)))
    assert "balanced" not in said(seen(**good, val=None))
    assert "balanced" not in said(seen(FALLING, BACK_UP, train_accuracy=0.99, val_accuracy=0.96))
    assert "balanced" not in said(seen(**good, val=(0.8, 0.5, 0.6, 0.56)))


def test_a_validation_split_that_is_too_small():
    found = said(seen(sizes=(450, 50)))["small validation"]
    assert "50 images" in found.text and "88.0\u202f% are right" in found.text
    assert "from 76.2 to 94.4\u202f%" in found.text
    assert "small validation" not in said(seen())
    # an interval of half a point is enough for an error of a tenth, and not for one of a thousandth
    assert "small validation" in said(seen(sizes=(9000, 150), val_accuracy=1.0))
    assert "small validation" not in said(seen(sizes=(9000, 3000), val_accuracy=1.0))


def test_no_validation_at_all():
    found = said(seen(val=None, sizes=(50_000, 0)))
    assert "No image was held out" in found["no validation"].text
    assert not {"overfitting", "memorising", "underfitting", "balanced", "harder"} & set(found)


def test_a_loss_that_rises_in_training():
    found = said(seen((0.9, 0.5, 0.8, 0.6)))
    assert "rose from 0.500 to 0.800 at epoch 3" in found["unstable"].text
    assert "--find-lr" in found["unstable"].advice
    assert "unstable" not in said(seen((0.9, 0.5, 0.53, 0.5)))
    few = seen((0.9, 0.5, 0.8, 0.6), sizes=(60, 20))
    assert "unstable" not in said(few)  # six wrong images more or less


def test_a_validation_loss_that_jumps_and_comes_back():
    found = said(seen(val=(0.8, 0.5, 1.4, 0.45)))
    assert "jumped from 0.500 to 1.400 at epoch 3, and came back" in found["unstable"].text
    assert "unstable" not in said(seen(val=(0.8, 0.5, 0.6, 0.45)))
    assert "unstable" not in said(seen(val=(0.8, 0.5, 1.4, 1.5)))  # did not come back
    assert "unstable" not in said(seen(val=(0.8, 0.5, 1.4, 0.45), sizes=(450, 20)))


def test_the_rate_to_try_is_half_of_the_recipes():
    evidence = seen((0.9, 0.5, 0.8, 0.6))
    found = diagnosis.unstable(Evidence(**{**vars(evidence), "lr": 0.3}))
    assert found is not None and "--lr 0.15" in found.advice


def test_still_improving_is_a_slope_beyond_its_noise():
    found = said(seen(val=(0.9, 0.8, 0.71, 0.6)))["improving"]
    assert "over the last 4 epochs the validation loss fell by 0.099 an epoch" in found.text
    assert "(interval 0.088 to 0.110)" in found.text
    assert "--epochs 8" in found.advice
    assert "improving" not in said(seen(val=(0.9, 0.5, 0.8, 0.6)))  # noise
    assert "improving" not in said(seen(val=(0.503, 0.502, 0.501, 0.500)))  # hardly
    assert "improving" not in said(seen((0.9, 0.7, 0.5), (0.9, 0.8, 0.7)))  # too few epochs
    alone = said(seen((0.9, 0.8, 0.71, 0.6), None))["improving"]
    assert "the training loss fell" in alone.text


def test_a_schedule_that_ends_flattens_every_curve():
    down = (0.004, 0.01, 0.005, 0.0001)
    good: dict[str, Any] = {"train_accuracy": 0.97, "val_accuracy": 0.96}
    found = said(seen(val=(0.9, 0.8, 0.71, 0.6), lr=down, **good))
    assert "improving" not in found
    assert "ended at its lowest, 0.600" in found["annealed"].text
    assert "--epochs 8 stretches the schedule" in found["annealed"].advice
    assert "annealed" not in said(seen(val=(0.9, 0.8, 0.71, 0.6)))
    assert "annealed" not in said(seen(val=(0.9, 0.7, 0.6, 0.63), lr=down, **good))
    more = said(seen(train_accuracy=0.998, val_accuracy=0.993, lr=down))
    assert not more["annealed"].advice  # what it lacks is images


def test_guessing():
    found = said(seen(right=0.505, test=1000))["guessing"]
    assert "always saying cat gets 50.0\u202f%" in found.text
    assert "--find-lr" in found.advice
    assert "guessing" not in said(seen(right=0.88))
    few = said(seen(right=0.7, test=20))["guessing"]
    assert few.advice == "Judge it on more images."


def test_test_images_that_are_harder():
    found = said(seen(right=0.80))["harder"]
    assert "80.00\u202f% are right, and 88.00\u202f% on validation" in found.text
    assert "harder" not in said(seen(right=0.875))
    assert "harder" not in said(seen(right=0.80, sizes=(450, 50)))


def test_confidence_beyond_the_accuracy():
    found = said(seen(confidence=0.95))["confidence"]
    assert "too sure of itself" in found.text and "95.0\u202f%" in found.text
    assert not found.advice
    bare = said(seen(confidence=0.80, val=None))["confidence"]
    assert "too modest" in bare.text and not bare.advice
    advice = said(seen(confidence=0.80, val=None))["no validation"].advice
    assert "--val 0.1" in advice and "temperature" in advice
    assert "confidence" not in said(seen(confidence=0.887))
    assert "confidence" not in said(seen(confidence=0.95, test=40))


def test_every_finding_has_its_rule_and_nothing_is_said_of_no_epochs():
    for evidence in (seen(), seen(FALLING, BACK_UP, train_accuracy=0.99), seen(val=None)):
        for finding in diagnosis.findings(evidence) + class_findings(evidence):
            assert finding.rule and finding.text.endswith(".")
    assert diagnosis.findings(seen((), ())) == []


def wrong(matrix: list[list[int]], *names: str) -> dict[str, Finding]:
    evidence = Evidence(history([0.5], [0.5]), 100, 100, list(names), matrix)
    return {finding.name: finding for finding in class_findings(evidence)}


def test_what_goes_wrong():
    found = wrong([[900, 90, 10], [30, 960, 10], [1, 2, 997]], "cat", "dog", "ship")
    assert "cat and dog are mixed up most: 90 times cat was taken for dog" in found["mixed up"].text
    assert "30 times the other way; 84\u202f% of all 143 mistakes" in found["mixed up"].text
    assert "cat is the hardest class: 90.0\u202f% of 1,000" in found["weakest"].text
    assert "missing" not in found


def test_what_may_be_chance_is_no_weakness():
    found = wrong([[9, 1, 0], [0, 10, 0], [0, 0, 10]], "a", "b", "c")
    assert not found
    spread = [[90 if i == j else 1 + (i + j == 3) for j in range(10)] for i in range(10)]
    assert not wrong(spread, *map(str, range(10)))
    spread[3][7] = 15
    assert "3 and 7 are mixed up most" in wrong(spread, *map(str, range(10)))["mixed up"].text


def test_two_classes_can_only_be_mixed_up_with_each_other():
    found = wrong([[9, 1], [0, 10]], "a", "b")
    assert "once a was taken for b; 100" in found["mixed up"].text


def test_of_two_classes_none_is_the_hardest():
    assert "weakest" not in wrong([[800, 200], [0, 1000]], "a", "b")
    three = [[800, 200, 0], [0, 1000, 0], [0, 0, 1000]]
    assert "weakest" in wrong(three, "a", "b", "c")


def test_of_many_classes_without_images_three_are_named():
    for names, listed in (("abcd", "(b, c, d)"), ("abcdef", "(b, c, d and 2 more)")):
        matrix = [[int(i == j == 0) * 50 for j in range(len(names))] for i in range(len(names))]
        assert listed in wrong(matrix, *names)["missing"].text


def test_nothing_is_said_of_validation_of_unknown_size():
    found = said(seen(sizes=(0, 0)))
    assert not {"no validation", "small validation", "balanced", "underfitting"} & set(found)


def test_nothing_wrong_is_not_perfection():
    found = wrong([[50, 0], [0, 50]], "a", "b")
    assert "all 100 test images are right" in found["faultless"].text
    assert "more than 96.3\u202f% are" in found["faultless"].text


def test_a_class_without_test_images():
    found = wrong([[50, 9, 0], [5, 50, 0], [0, 0, 0]], "a", "b", "c")
    assert "1 class had no test image (c)" in found["missing"].text


NONE = dict.fromkeys(("test_in_train", "val_in_train", "test_repeated", "two_labels"), 0)
NONE |= {"n_without": 10_000, "accuracy_without": 0.88}


def test_leaked_test_images_come_first_from_one_in_a_thousand_on():
    more = NONE | {"test_in_train": 11, "n_without": 9_989, "accuracy_without": 0.8791}
    found = diagnosis.findings(seen(duplicates=more))[0]
    assert found.name == "leaked" and found.advice.startswith("Delete one of each pair")
    assert found.text == (
        "Test images were seen in training: 11 of 10,000 (0.1\u202f%) are among the training "
        "images, pixel for pixel. Without them 87.91\u202f% of 9,989 are right (interval 87.3 to "
        "88.5\u202f%)."
    )
    assert "more than 0.1 % of the test images" in found.rule
    guessed = diagnosis.findings(seen(right=0.5, duplicates=more))
    assert [finding.name for finding in guessed[:2]] == ["leaked", "guessing"]
    every = NONE | {"test_in_train": 10_000, "n_without": 0, "accuracy_without": None}
    assert "None is left without them" in said(seen(duplicates=every))["leaked"].text


def test_few_copies_are_said_last_and_without_alarm():
    few = NONE | {"test_in_train": 10, "n_without": 9_990, "accuracy_without": 0.8799}
    *_, last = diagnosis.findings(seen(duplicates=few))
    assert (last.name, last.advice) == ("copies", "") and "leaked" not in said(seen(duplicates=few))
    assert last.text == (
        "Some images are there more than once: 10 test images of 10,000 among the training images, "
        "without which 87.99\u202f% of 9,990 are right."
    )
    others = NONE | {"val_in_train": 3, "test_repeated": 1, "two_labels": 2}
    assert said(seen(duplicates=others))["copies"].text == (
        "Some images are there more than once: 3 validation images among the training images; "
        "1 test image that repeats another test image; 2 images under two labels, of which one at "
        "most is right."
    )
    both = others | {"test_in_train": 11, "n_without": 9_989}
    assert "among the training images, without" not in said(seen(duplicates=both))["copies"].text


@pytest.mark.parametrize("duplicates", [{}, NONE])
def test_nothing_is_said_of_copies_that_are_not_there(duplicates):
    assert not {"leaked", "copies"} & said(seen(duplicates=duplicates)).keys()


def test_of_several_equal_ones_none_is_picked():
    even = [[200 if i == j else 0 for j in range(6)] for i in range(6)]
    for i, j, count in ((0, 1, 60), (1, 0, 20), (2, 3, 80), (3, 0, 1)):
        even[i][j] += count
    found = wrong(even, *"abcdef")
    assert (
        "2 pairs of classes are mixed up most, 80 times each, of all 161 mistakes: a and b; "
        in (found["mixed up"].text + " ")
    )
    assert "c and d." in found["mixed up"].text and "these pairs" in found["mixed up"].advice
    hard = [[10, 40, 0, 0], [40, 10, 0, 0], [0, 0, 50, 0], [0, 0, 0, 50]]
    text = wrong(hard, *"abcd")["weakest"].text
    assert text.startswith("2 classes are the hardest, and equally hard (a, b): 20.0")


MANY = (10**12, 10**12)  # images so many that nothing is left to chance
DOWN = (0.004, 0.01, 0.005, 0.0001)
GOOD: dict[str, Any] = {"train_accuracy": 0.97, "val_accuracy": 0.96}

# What is said, and evidence a little beyond each of its thresholds, and a little within.
EDGES: dict[str, tuple[str, Evidence, Evidence]] = {
    "guessing, interval": (
        "guessing",
        seen(right=0.530, test=1000),
        seen(right=0.532, test=1000),
    ),
    "unstable, training, 10 %": (
        "unstable",
        seen((0.9, 0.5, 0.5 * 1.102, 0.4), sizes=MANY),
        seen((0.9, 0.5, 0.5 * 1.098, 0.4), sizes=MANY),
    ),
    "unstable, training, 3 errors": (
        "unstable",
        seen((0.9, 0.5, 0.5 * 1.165, 0.4)),  # 5,000 wrong: 10 % and 3 * 1.41 * 1.41 %
        seen((0.9, 0.5, 0.5 * 1.155, 0.4)),
    ),
    "unstable, training, none wrong": (  # an error is of one image at least
        "unstable",
        seen((0.9, 0.1, 0.1 * 5.4, 0.1), train_accuracy=1.0),
        seen((0.9, 0.1, 0.1 * 5.3, 0.1), train_accuracy=1.0),
    ),
    "unstable, validation, 50 %": (
        "unstable",
        seen(val=(0.8, 0.5, 0.5 * 1.502, 0.45), sizes=MANY),
        seen(val=(0.8, 0.5, 0.5 * 1.498, 0.45), sizes=MANY),
    ),
    "unstable, validation, 3 errors": (
        "unstable",
        seen(val=(0.8, 0.5, 0.5 * 1.68, 0.45)),  # 600 wrong: 50 % and 3 * 1.41 * 4.08 %
        seen(val=(0.8, 0.5, 0.5 * 1.66, 0.45)),
    ),
    "unstable, validation, comes back": (
        "unstable",
        seen(val=(0.8, 0.5, 1.4, 0.5), sizes=MANY),
        seen(val=(0.8, 0.5, 1.4, 0.501), sizes=MANY),
    ),
    "validation, 5 points": (
        "small validation",
        seen(sizes=(50_000, 640)),
        seen(sizes=(50_000, 656)),
    ),
    "validation, 1 point": (
        "small validation",
        seen(sizes=(50_000, 940), val_accuracy=0.995),
        seen(sizes=(50_000, 980), val_accuracy=0.995),
    ),
    "validation, its error": (
        "small validation",
        seen(sizes=(50_000, 480), val_accuracy=0.97),
        seen(sizes=(50_000, 540), val_accuracy=0.97),
    ),
    "overfitting, 5 %": (
        "overfitting",
        seen(FALLING, (0.8, 0.5, 0.4, 0.41, 0.41, 0.4 * 1.052), sizes=MANY),
        seen(FALLING, (0.8, 0.5, 0.4, 0.41, 0.41, 0.4 * 1.048), sizes=MANY),
    ),
    "overfitting, 2 errors": (
        "overfitting",
        seen(FALLING, (0.8, 0.5, 0.4, 0.41, 0.41, 0.4 * 1.12)),  # 600 wrong: 2 * 1.41 * 4.08 %
        seen(FALLING, (0.8, 0.5, 0.4, 0.41, 0.41, 0.4 * 1.11)),
    ),
    "overfitting, for two epochs": (
        "overfitting",
        seen(FALLING, (0.9, 0.8, 0.6, 0.4, 0.5, 0.6), sizes=MANY),
        seen(FALLING, (0.9, 0.8, 0.7, 0.6, 0.4, 0.6), sizes=MANY),
    ),
    "overfitting, of three epochs": (
        "overfitting",
        seen(FALLING[:3], (0.4, 0.5, 0.6), sizes=MANY),
        seen(FALLING[:2], (0.4, 0.6), sizes=MANY),
    ),
    "overfitting, gap": (
        "overfitting",
        seen(FALLING, BACK_UP, train_accuracy=0.890),
        seen(FALLING, BACK_UP, train_accuracy=0.888),
    ),
    "memorising, half of the error": (
        "memorising",
        seen(sizes=MANY, train_accuracy=0.9901, val_accuracy=0.98),
        seen(sizes=MANY, train_accuracy=0.9899, val_accuracy=0.98),
    ),
    "memorising, gap": (
        "memorising",
        seen(sizes=(50_000, 1000), train_accuracy=0.998, val_accuracy=0.995),
        seen(sizes=(50_000, 1000), train_accuracy=0.998, val_accuracy=0.9955),
    ),
    "underfitting, 5 %": (
        "underfitting",
        seen(sizes=MANY, train_accuracy=0.9499, val_accuracy=0.9499),
        seen(sizes=MANY, train_accuracy=0.9501, val_accuracy=0.9501),
    ),
    "underfitting, a quarter": (
        "underfitting",
        seen(sizes=MANY, train_accuracy=0.8499, val_accuracy=0.80),
        seen(sizes=MANY, train_accuracy=0.8501, val_accuracy=0.80),
    ),
    "balanced, 5 %": (
        "balanced",
        seen(val=(0.8, 0.6, 0.5, 0.5 * 1.048), sizes=MANY, **GOOD),
        seen(val=(0.8, 0.6, 0.5, 0.5 * 1.052), sizes=MANY, **GOOD),
    ),
    "improving, 1 %": (
        "improving",
        seen(val=(0.5153, 0.5102, 0.5051, 0.5)),
        seen(val=(0.5147, 0.5098, 0.5049, 0.5)),
    ),
    "improving, of four epochs": (
        "improving",
        seen((0.9, 0.8, 0.7, 0.6), (0.9, 0.8, 0.7, 0.6)),
        seen((0.9, 0.8, 0.7), (0.9, 0.8, 0.7)),
    ),
    "improving, beyond its noise": (
        "improving",
        seen(val=(0.90, 0.80, 0.79, 0.70)),
        seen(val=(0.90, 0.80, 0.80, 0.70)),
    ),
    "annealed, 2 %": (
        "annealed",
        seen(val=(0.8, 0.6, 0.5, 0.5 * 1.019), lr=DOWN, **GOOD),
        seen(val=(0.8, 0.6, 0.5, 0.5 * 1.021), lr=DOWN, **GOOD),
    ),
    "annealed, 5 % of the rate": (
        "annealed",
        seen(lr=(0.01, 0.01, 0.005, 0.000499), **GOOD),
        seen(lr=(0.01, 0.01, 0.005, 0.000501), **GOOD),
    ),
    "harder, interval": (
        "harder",
        seen(right=0.868),
        seen(right=0.870),
    ),
    "confidence, a point": (
        "confidence",
        seen(confidence=0.8901, test=10**8),
        seen(confidence=0.8899, test=10**8),
    ),
    "confidence, interval": (
        "confidence",
        seen(confidence=0.900, test=1000),
        seen(confidence=0.898, test=1000),
    ),
}


@pytest.mark.parametrize(("name", "beyond", "within"), EDGES.values(), ids=EDGES)
def test_a_threshold_lies_between_what_is_said_and_what_is_not(name, beyond, within):
    assert name in said(beyond)
    assert name not in said(within)


def test_how_many_epochs_a_slope_is_taken_from():
    for epochs, taken in ((4, 4), (14, 4), (15, 5)):
        losses = [2 - 0.05 * i for i in range(epochs)]
        assert f"over the last {taken} epochs" in said(seen(losses, losses))["improving"].text


def test_advice_goes_by_the_number_of_test_images():
    advice = {}
    for n in (99, 100):
        matrix = [[n // 4, n // 2 - n // 4], [n - n // 2 - n // 4, n // 4]]
        advice[n] = said(seen(confusion=matrix))["guessing"].advice
    assert advice[99] == "Judge it on more images." and "--find-lr" in advice[100]


def test_what_is_mixed_up_or_weak_is_so_beyond_an_interval_for_all():
    """The 97.5 % point of a normal, shared among all pairs of classes or all classes."""
    for count in (20, 21):
        matrix = [[900 if i == j else 8 for j in range(4)] for i in range(4)]
        matrix[0][1] = count
        assert ("mixed up" in wrong(matrix, *"abcd")) == (count == 21), count
    for missed in (44, 45):
        matrix = [[1000 - 2 * missed, missed, missed], [30, 940, 30], [30, 30, 940]]
        assert ("weakest" in wrong(matrix, *"abc")) == (missed == 45), missed
