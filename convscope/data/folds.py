"""A fold of a data set as data: what is in it is judged by what is learnt from the others."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from convscope.data.division import Units, class_targets
from convscope.data.duplicates import firsts
from convscope.data.pack import Pack, Split
from convscope.errors import BadArgument
from convscope.formatting import listed


def fold_of(pack: Pack, fold: str, seed: int = 0, own_test: bool = True) -> Pack:
    """The data whose test split is a fold, as "2/5" is the second of five, and whose training
    split are the others.

    Folds are of all records; of those of training and validation where the data has its
    ``own_test``, which is then left alone. They are stratified, a group or identical images are in
    one of them, and they are a function of names and the ``seed``
    (:class:`~convscope.data.division.Units`). Their records are copied into memory. Raises
    BadArgument where a class has fewer images or groups than two, or the data fewer than folds.
    """
    number, count = map(int, fold.split("/"))
    names = [n for n in ("train", "val", *(() if own_test else ("test",))) if n in pack.splits]
    splits = [(name, pack.splits[name]) for name in names]
    values = {
        column: np.concatenate([split.values[column] for _, split in splits])
        for column, one in pack.columns.items()
        if not one.is_input
    }
    hashes = np.concatenate([split.hashes for _, split in splits])
    files = _all([split.files for _, split in splits])
    groups = _all([split.groups for _, split in splits])
    places = [f"{name} {at}" for name, split in splits for at in range(len(split))]
    targets = class_targets(pack.columns, values)
    units = Units.of(groups or files or places, targets, seed, firsts(hashes))
    _check(pack, units, fold, count)
    judged = units.folds(count) == number - 1
    starts = np.cumsum([0, *(len(split) for _, split in splits)])

    def part(chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> Split:
        at = np.flatnonzero(chosen)
        inputs = {
            column: np.concatenate([
                split.values[column][at[(at >= begin) & (at < begin + len(split))] - begin]
                for begin, (_, split) in zip(starts, splits, strict=False)
            ])
            for column, one in pack.columns.items()
            if one.is_input
        }  # fmt: skip
        held = {name: inputs[name] if name in inputs else values[name][at] for name in pack.columns}
        listing, grouping = (
            None if some is None else tuple(some[n] for n in at) for some in (files, groups)
        )
        return Split(pack.columns, held, listing, hashes[at], grouping)

    about = f" fold {fold} of seed {seed}"
    fingerprint, digest = (
        hashlib.sha256(f"{whole}{about}".encode()).hexdigest()
        for whole in (pack.fingerprint, pack.digest)
    )
    parts = {"train": part(~judged), "test": part(judged)}
    return Pack(pack.name, pack.columns, parts, fingerprint, digest, None)


def _all(lists: list[tuple[str, ...] | None]) -> list[str] | None:
    """What several splits list; None where one of them lists nothing."""
    if any(some is None for some in lists):
        return None
    return [name for some in lists for name in some or ()]


def _check(pack: Pack, units: Units, fold: str, count: int) -> None:
    """Raise BadArgument unless every class is learnt in every fold."""
    things = "images" if len(units.draw) == len(units.unit) else "images or groups"
    if len(units.draw) < count:
        rule = f"makes more folds than {pack.name} has {things} ({len(units.draw):,})"
        raise BadArgument("fold", fold, rule, "make fewer")
    lone = [
        name
        for name, having in zip(pack.main_classes, units.having, strict=False)
        if len(having) < 2
    ]
    if lone:
        rule = f"leaves none to learn from of {listed(lone)}, which has one of the {things}"
        raise BadArgument("fold", fold, rule, "add images of it, or leave that class out")
