"""Figures of each kind of target, against those that are reckoned by hand or by another library."""

import numpy as np
import pytest

from convscope.data.columns import Class, Labels, Number
from convscope.errors import ConvscopeError
from convscope.evaluation import metrics, targets


def test_of_labels_by_hand():
    outputs = np.array([[3.0, -1.0], [2.0, 1.0], [1.0, 2.0], [-1.0, -2.0]])
    truth = np.array([[1, 0], [0, 1], [1, 1], [1, 0]], np.uint8)
    found = targets.of_labels(outputs, truth, ("wet", "old"))
    assert found["all_right"] == 0.5  # the first and the third
    wet, old = found["per_label"]
    assert (wet["support"], wet["precision"], wet["recall"]) == (3, 2 / 3, 2 / 3)
    assert wet["average_precision"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert (old["precision"], old["recall"], old["average_precision"]) == (1, 1, 1)
    assert found["mean_average_precision"] == pytest.approx((wet["average_precision"] + 1) / 2)


def test_a_label_that_never_occurs_has_no_figures():
    found = targets.of_labels(np.full((2, 1), -1.0), np.zeros((2, 1)), ("wet",))
    (row,) = found["per_label"]
    assert row["precision"] is row["recall"] is row["f1"] is row["average_precision"] is None
    assert found["mean_average_precision"] is None and found["all_right"] == 1


def test_of_a_number_by_hand():
    found = targets.of_number(np.array([[1.0], [2.0], [6.0]]), np.array([1.0, 4.0, 4.0]))
    assert found["mae"] == pytest.approx(4 / 3) and found["rmse"] == pytest.approx((8 / 3) ** 0.5)
    assert found["r2"] == pytest.approx(1 - 8 / 6)
    assert targets.of_number(np.ones((2, 1)), np.ones(2))["r2"] is None


def test_the_first_class_leads_and_others_stand_beside_it():
    columns = {"age": Number(), "kind": Class(("a", "b")), "tags": Labels(("x",))}
    found = {"age": np.ones((2, 1)), "kind": np.eye(2), "tags": np.ones((2, 1))}
    truth = {"age": np.ones(2), "kind": np.array([0, 0]), "tags": np.ones((2, 1))}
    figures = targets.figures(columns, found, truth, {"kind": 2.0})
    leading = metrics.measure(found["kind"], truth["kind"], ("a", "b"), 2.0)
    assert {key: figures[key] for key in leading} == leading and figures["accuracy"] == 0.5
    assert figures["targets"]["age"]["mae"] == 0 and figures["targets"]["tags"]["all_right"] == 1
    assert figures["targets"]["kind"]["ece"] == leading["ece"]
    assert figures["all_right"] == 0.5
    alone = targets.figures({"kind": columns["kind"]}, {"kind": np.eye(2)}, truth, {})
    assert "targets" not in alone and "kind" not in alone


def test_a_classifier_needs_a_class():
    with pytest.raises(ConvscopeError, match="none of them is a class"):
        targets.main_target({"age": Number(), "tags": Labels(("x",))})


def test_what_is_not_finite_is_no_figure():
    with pytest.raises(ConvscopeError, match="must be .* finite"):
        targets.of_number(np.array([[np.nan]]), np.ones(1))
