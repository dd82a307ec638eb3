"""The checks of a data set that need its pixels and names alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from convscope.data import groups as names
from convscope.data.audit.copies import components, near_pairs
from convscope.data.audit.findings import Finding, entries
from convscope.data.audit.samples import Samples
from convscope.data.duplicates import Positions, firsts
from convscope.events import Emit
from convscope.formatting import plural

FEW = 20  # images to learn from
SMALL = 0.5  # of the median class


def copies(samples: Samples, emit: Emit) -> tuple[dict[str, list[Finding]], Positions]:
    """Sets of identical images, and of such as are nearly so, by kind; and for each image the first
    one that it belongs to."""
    same = firsts(samples.hashes)
    pairs = near_pairs(samples, emit)
    together = components(
        len(samples), [*((int(a), at) for at, a in enumerate(same)), *((a, b) for a, b, _ in pairs)]
    )
    apart: dict[int, float] = defaultdict(float)  # the largest difference within a set
    for one, _, error in pairs:
        root = int(together[one])
        apart[root] = max(apart[root], error)
    found: dict[str, list[Finding]] = {"two_labels": [], "two_splits": [], "copies": []}
    for members in _sets(together):
        error = apart[members[0]]
        twins = len(members) - len(set(same[members]))  # identical to another one before them
        why = f"alike: pixels differ by {error:.1f} of 255" if error else "identical"
        why += f"; {plural(twins, 'identical copy', 'identical copies')}" * bool(error and twins)
        figures = {"identical": twins, "difference": error}
        finding = Finding(entries(samples, members), why, figures)
        found[_kind(samples, members)].append(finding)
    for some in found.values():
        some.sort(key=lambda one: float(one.figures["difference"]))
    return found, together


def _kind(samples: Samples, members: Sequence[int]) -> str:
    """What is wrong with a set of copies, the gravest of it."""
    if len(set(samples.labels[members])) > 1:
        return "two_labels"
    return "two_splits" if len(set(samples.where[members])) > 1 else "copies"


def grouped(samples: Samples) -> tuple[list[Finding], Positions]:
    """Files that seem to belong together and are in two splits; for each file the first one of its
    group."""
    first = names.groups(samples.names) if samples.have_files else np.arange(len(samples))
    found = [
        Finding(entries(samples, members), f"one stem: {names.stem(samples.names[members[0]])}")
        for members in _sets(first)
        if len(set(samples.where[members])) > 1
    ]
    unknown: dict[str, list[int]] = defaultdict(list)
    alone = np.bincount(first, minlength=len(first))[first] == 1
    for at in np.flatnonzero(alone).tolist() if samples.have_files else ():
        if begin := names.augmented(samples.names[at]):
            unknown[begin].append(at)
    found += [
        Finding(
            entries(samples, members),
            f"{plural(len(members), 'file')} named {begin}*: of which image each was made its "
            "name does not say, and that one may be in another split",
        )
        for begin, members in unknown.items()
        if len(samples.splits) > 1
    ]
    return found, first


def small_classes(samples: Samples) -> list[Finding]:
    """Classes that have few images to learn from."""
    learnt = samples.labels[samples.where == samples.splits.index("train")]
    counts = np.bincount(learnt, minlength=len(samples.classes))
    median = float(np.median(counts))
    return [
        Finding(
            (),
            f"{samples.classes[at]}: {plural(int(counts[at]), 'image')} to learn from, where the "
            f"median class has {median:,.0f}",
            {"class": samples.classes[at], "images": int(counts[at])},
        )
        for at in np.argsort(counts, kind="stable").tolist()
        if counts[at] < max(FEW, SMALL * median)
    ]


def _sets(first: Positions) -> Iterable[list[int]]:
    """The sets of more than one, each in order."""
    by_first: dict[int, list[int]] = defaultdict(list)
    counts = np.bincount(first, minlength=len(first))
    for at in np.flatnonzero(counts[first] > 1).tolist():
        by_first[int(first[at])].append(at)
    return by_first.values()
