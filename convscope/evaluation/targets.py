"""How good the outputs of a network are, target by target: a class, several labels, a number.

Outputs are float ``[n,k]`` as the network gave them, truth ``[n]`` or, of labels, ``[n,k]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from convscope.data.columns import Class, Column, Columns, Labels
from convscope.errors import ConvscopeError
from convscope.evaluation import metrics

Array = npt.NDArray[Any]


def measure(
    column: Column, outputs: Array, truth: Array, temperature: float = 1.0
) -> dict[str, Any]:
    """The figures of one target, ready for JSON, by its kind: those of
    :func:`~convscope.evaluation.metrics.measure` for a class, of :func:`of_labels` for several
    labels, of :func:`of_number` for a number."""
    if isinstance(column, Class):
        return {"kind": "class", **metrics.measure(outputs, truth, column.classes, temperature)}
    if isinstance(column, Labels):
        return {"kind": "labels", **of_labels(outputs, truth, column.classes)}
    return {"kind": "number", **of_number(outputs, truth)}


def of_labels(outputs: Array, truth: Array, classes: tuple[str, ...]) -> dict[str, Any]:
    """Several labels: the share of records whose labels are all right, where a label is told by a
    logit above 0, and precision, recall, F1 and average precision of each; None where undefined.

    Average precision is the mean over a label's records of the precision at each one's rank.

    >>> outputs, truth = np.array([[2.0], [1.0], [-1.0]]), np.array([[1], [0], [1]])
    >>> found = of_labels(outputs, truth, ("wet",))
    >>> found["all_right"].__round__(3), round(found["per_label"][0]["average_precision"], 3)
    (0.333, 0.833)
    """
    outputs, truth = finite(outputs), np.asarray(truth, bool)
    told = outputs > 0
    rows: list[dict[str, Any]] = []
    for i, name in enumerate(classes):
        hits = int((told[:, i] & truth[:, i]).sum())
        support, predicted = int(truth[:, i].sum()), int(told[:, i].sum())
        order = np.argsort(-outputs[:, i], kind="stable")
        ranked = truth[order, i]
        precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
        rows.append({
            "label": name,
            "support": support,
            "precision": hits / predicted if predicted else None,
            "recall": hits / support if support else None,
            "f1": 2 * hits / (support + predicted) if support + predicted else None,
            "average_precision": float(precision[ranked].mean()) if support else None,
        })  # fmt: skip
    known = [row["average_precision"] for row in rows if row["average_precision"] is not None]
    return {
        "n": len(truth),
        "all_right": float((told == truth).all(axis=1).mean()),
        "mean_average_precision": float(np.mean(known)) if known else None,
        "per_label": rows,
    }


def of_number(outputs: Array, truth: Array) -> dict[str, Any]:
    """A number: mean absolute error, root mean squared error, and R2, the share of its variance
    that is told; None where it does not vary.

    >>> of_number(np.array([[1.0], [3.0]]), np.array([1.0, 2.0]))["mae"]
    0.5
    """
    outputs, truth = finite(outputs)[:, 0], np.asarray(truth, np.float64)
    off, spread = outputs - truth, float(((truth - truth.mean()) ** 2).sum())
    return {
        "n": len(truth),
        "mae": float(np.abs(off).mean()),
        "rmse": float(np.sqrt((off**2).mean())),
        "r2": 1 - float((off**2).sum()) / spread if spread else None,
    }


def figures(
    columns: Columns,
    found: Mapping[str, Array],
    truth: Mapping[str, Array],
    temperatures: Mapping[str, float],
) -> dict[str, Any]:
    """Those of the leading target; where there are others, those of each beside it, by name, as
    ``targets``, and the share of records of which every class and label is right."""
    each = {
        name: measure(columns[name], found[name], truth[name], temperatures.get(name, 1.0))
        for name in found
    }
    main = main_target(columns)
    leading = {key: value for key, value in each[main].items() if key != "kind"}
    if len(each) == 1:
        return leading
    right = [
        outputs.argmax(axis=1) == truth[name]
        if isinstance(columns[name], Class)
        else ((outputs > 0) == truth[name].astype(bool)).all(axis=1)
        for name, outputs in found.items()
        if isinstance(columns[name], Class | Labels)
    ]
    return leading | {"targets": each, "all_right": float(np.all(right, axis=0).mean())}


def parts(found: Mapping[str, Any]) -> tuple[str, str]:
    """The figures of one target: the first, and its 95 % interval or what else there is.

    >>> parts({"kind": "class", "accuracy": 0.9, "accuracy_ci95": [0.8, 0.95]})
    ('90.00% right', '80.00% to 95.00%')
    """
    if found["kind"] == "class":
        low, high = found["accuracy_ci95"]
        return f"{found['accuracy']:.2%} right", f"{low:.2%} to {high:.2%}"
    if found["kind"] == "labels":
        average = found["mean_average_precision"]
        also = "" if average is None else f"mean average precision {average:.2%}"
        return f"all labels right {found['all_right']:.2%}", also
    also = "" if found["r2"] is None else f", R2 {found['r2']:.3f}"
    return (
        f"mean absolute error {found['mae']:.4g}",
        f"root mean squared error {found['rmse']:.4g}{also}",
    )


def in_words(found: Mapping[str, Any]) -> str:
    """The figures of one target in a line.

    >>> in_words({"kind": "number", "mae": 0.51, "rmse": 0.7, "r2": None})
    'mean absolute error 0.51, root mean squared error 0.7'
    """
    first, also = parts(found)
    if found["kind"] == "class":
        return f"{first} (95 % interval {also})"
    return f"{first}, {also}" if also else first


def lines(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What ``metrics.json`` has of each target and of all of them, by name and in words; nothing
    where there is one target."""
    each = [(name, in_words(one)) for name, one in (found.get("targets") or {}).items()]
    return [*each, ("all of them", f"{found['all_right']:.2%} right")] if each else []


def main_target(columns: Columns) -> str:
    """The target that leads: the first that is a class. Raises ConvscopeError where none is."""
    for name, one in columns.items():
        if isinstance(one, Class):
            return name
    raise ConvscopeError(
        "targets: none of them is a class, and a classifier needs one; add a column of classes"
    )


def cells(
    column: Column, outputs: Array, truth: Array, temperature: float
) -> Mapping[str, list[Any]]:
    """Columns of ``predictions.csv`` for one target, by the ends of their names."""
    if isinstance(column, Class):
        p = metrics.softmax(outputs, temperature)
        predicted, rows = p.argmax(axis=1), np.arange(len(p))
        return {
            "label": [column.classes[i] for i in truth],
            "predicted": [column.classes[i] for i in predicted],
            "p_predicted": [f"{value:.6g}" for value in p[rows, predicted]],
            "p_label": [f"{value:.6g}" for value in p[rows, truth]],
        }
    if isinstance(column, Labels):
        return {
            "label": [_names(column, row) for row in np.asarray(truth, bool)],
            "predicted": [_names(column, row) for row in outputs > 0],
        }
    return {
        "label": [f"{value:.6g}" for value in truth],
        "predicted": [f"{value:.6g}" for value in outputs[:, 0]],
    }


def _names(column: Labels, row: Array) -> str:
    return " ".join(name for name, has in zip(column.classes, row, strict=True) if has)


def finite(outputs: Array) -> Array:
    """Outputs as float64 [n,k]. Raises ConvscopeError for others, and for what is no number."""
    outputs = np.asarray(outputs, np.float64)
    if outputs.ndim != 2 or not np.isfinite(outputs).all():
        raise ConvscopeError(
            f"outputs: {list(outputs.shape)}, must be [n,k] and finite; the network has diverged "
            "or its weights are damaged: train with a lower learning rate, or restore the weights"
        )
    return outputs
