"""The cells of a table of image files as arrays, and which rows are learnt from and which judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from convscope.data.columns import Array, Class, Column, Labels, Number
from convscope.data.division import Units
from convscope.data.layout import TEST, held_out
from convscope.data.pack import SPLITS
from convscope.data.rows import Table, labels_in
from convscope.formatting import listed


def targets(table: Table) -> tuple[dict[str, Column], dict[str, Array]]:
    """The columns that are targets, and the values of each. Raises BadArgument."""
    columns: dict[str, Column] = {}
    values: dict[str, Array] = {}
    for name in table.targets:
        cells = [row[name] for row in table.rows]
        if table.kinds[name] == "number":
            columns[name], values[name] = Number(), numbers(table, [name])[:, 0]
        elif table.kinds[name] == "class":
            classes = sorted(set(cells), key=in_order_of)
            if len(classes) == 1:
                rule = f"has one class only in {name} ({classes[0]})"
                raise table.refused(rule, "a classifier tells two or more apart")
            at = {label: n for n, label in enumerate(classes)}
            columns[name] = Class(tuple(classes))
            values[name] = np.array([at[cell] for cell in cells], np.int64)
        else:
            sets = [set(labels_in(cell)) for cell in cells]
            labels = sorted(set().union(*sets), key=in_order_of)
            columns[name] = Labels(tuple(labels))
            values[name] = np.array([[one in has for one in labels] for has in sets], np.uint8)
    return columns, values


def in_order_of(label: str) -> tuple[int, int, str]:
    """Numbers by their size, before words."""
    return (0, int(label), label) if label.isdecimal() else (1, 0, label)


def numbers(table: Table, names: Sequence[str]) -> Array:
    """The columns of these names as float32 [N,d]."""
    return np.array([[row[name] for name in names] for row in table.rows]).astype(np.float32)


def splits(
    table: Table,
    columns: Mapping[str, Column],
    values: Mapping[str, Array],
    groups: Sequence[str] | None,
    own_test: bool,
    say: Callable[[str, bool], None],
) -> dict[str, list[int]]:
    """The rows of each split: as the table says; without a test of its own, some of those to train
    on are held out for it. Raises BadArgument."""
    found: dict[str, list[int]] = {split: [] for split in SPLITS}
    classes = {n: one for n, one in columns.items() if isinstance(one, Class | Labels)}
    column = table.of_kind("split")
    for at, row in enumerate(table.rows):
        found[row[column[0]] if column else "train"].append(at)
    if not own_test and found["train"]:
        held = _test_rows(table, found["train"], [values[n] for n in classes], groups)
        found["test"] = [at for at in found["train"] if at in held]
        found["train"] = [at for at in found["train"] if at not in held]
        say(
            f"no test split: {len(held):,} rows, a fifth by their names, are held out as test",
            False,
        )
    for split in ("train", "test"):
        if not found[split]:
            rule = f"has no row to {'train on' if split == 'train' else 'judge'}"
            raise table.refused(rule, f"write {split} into split of some")
    found = {split: wanted for split, wanted in found.items() if wanted}
    for name, one in classes.items():
        for split, wanted in found.items():
            _say_what_is_missing(table, one, name, split, values[name][wanted], say)
    return found


def _test_rows(
    table: Table, among: Sequence[int], of: Sequence[Array], groups: Sequence[str] | None
) -> set[int]:
    """About a fifth of some rows, by the hashes of their names; what is told apart by name is there
    to be learnt: a label of one row alone is not held out."""
    names = [groups[at] if groups else table.rows[at][table.of_kind("image")[0]] for at in among]
    of = [one[list(among)] for one in of] or [np.zeros(len(among), np.int64)]
    if groups is not None or len(of) > 1 or of[0].ndim > 1:
        return {among[at] for at in Units.of(names, of).held_out(TEST).tolist()}
    by_class: dict[int, set[str]] = {}
    for name, one in zip(names, of[0].tolist(), strict=True):
        by_class.setdefault(one, set()).add(name)
    test = set().union(*(held_out(sorted(some)) for some in by_class.values()))
    return {at for at, name in zip(among, names, strict=True) if name in test}


def _say_what_is_missing(
    table: Table,
    column: Class | Labels,
    called: str,
    split: str,
    there: Array,
    say: Callable[[str, bool], None],
) -> None:
    """Say which classes or labels a split has no row of. Raises BadArgument for a class that cannot
    be learnt."""
    is_class = isinstance(column, Class)
    counts = np.bincount(there, minlength=len(column.classes)) if is_class else there.sum(axis=0)
    missing = listed([column.classes[at] for at in np.flatnonzero(counts == 0)])
    if missing and split == "train" and is_class:
        remedy = f"write train into split of some, or leave that {called} out"
        raise table.refused(f"has no row of {missing} to train on", remedy)
    if missing:
        say(f"{split} has no image of {missing}", is_class)
