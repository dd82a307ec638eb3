"""What a network gets wrong, in sentences: which classes it mixes up, which is the hardest, and of
which nothing is known."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from convscope.evaluation.metrics import SKEWED, balanced_accuracy, skewed, wilson_interval
from convscope.formatting import listed, plural
from convscope.report.evidence import Evidence, Finding, points
from convscope.report.run_files import digits_for, looks, percent

NAMED = 3  # of several that are equal


def class_findings(seen: Evidence) -> list[Finding]:
    """Which classes are mixed up, which are the hardest, and of which nothing is known."""
    found = [_skewed(seen), _mixed(seen), _weakest(seen), _missing(seen)]
    return [finding for finding in found if finding is not None]


def _skewed(seen: Evidence) -> Finding | None:
    """An accuracy that common classes make and rare ones do not reach."""
    counts = np.asarray(seen.confusion)
    share, (_, high) = balanced_accuracy(counts)
    if not skewed(counts) or high >= seen.right / seen.n:
        return None
    sizes = {name: sum(row) for name, row in zip(seen.classes, seen.confusion, strict=True)}
    rare, common = min((n, name) for name, n in sizes.items() if n), max(sizes.values())
    flags = "--class-weights auto, --sampler balanced or --logit-adjustment 1"
    return Finding(
        "skewed",
        f"Rare classes fare worse than common ones: {percent(seen.right / seen.n, 1)} of all "
        f"images are right, and {percent(share, 1)} of a class, on average over classes (balanced "
        f"accuracy), which have from {rare[0]:,} ({rare[1]}) to {common:,} test images.",
        f"one class has at least {SKEWED} times the test images of another, and accuracy is above "
        "the 95 % interval of balanced accuracy, that of each recall (Wilson's) put together (Zou "
        "& Donner 2008)",
        f"More images of {rare[1]} would help most."
        if seen.counted
        else f"Let rare classes count more: {flags}.",
    )


def _mixed(seen: Evidence) -> Finding | None:
    """The two classes that are taken for each other most often."""
    k, wrong = len(seen.classes), seen.n - seen.right
    digits = digits_for(seen.n)
    low, _ = wilson_interval(seen.right, seen.n)
    if not wrong:
        return Finding(
            "faultless",
            f"Nothing: all {plural(seen.n, 'test image')} are right. So many show that more than "
            f"{percent(low, digits)} are.",
            "the lower end of the 95 % interval (Wilson)",
        )
    both = [(seen.confusion[i][j] + seen.confusion[j][i], i, j) for i in range(k) for j in range(i)]
    count, i, j = max(both, key=lambda item: (item[0], -item[1], -item[2]))
    alike = [(b, a) for number, a, b in both if number == count]  # one, or several equal ones
    z = NormalDist().inv_cdf(1 - 0.025 / len(both))
    if k > 2 and wilson_interval(count, wrong, z)[0] <= 1 / len(both):
        return None
    rule = (
        "the pair of classes with the most mistakes, both ways; of more than two classes, where "
        "the interval of its share, at a level that holds for all pairs, is above an even share"
    )
    if len(alike) > 1:
        pairs = [f"{seen.classes[a]} and {seen.classes[b]}" for a, b in sorted(alike)]
        shown = "; ".join(pairs[:NAMED]) + f"; and {len(pairs) - NAMED} more" * (len(pairs) > NAMED)
        return Finding(
            "mixed up",
            f"{len(pairs)} pairs of classes are mixed up most, {looks(count)} each, of all "
            f"{plural(wrong, 'mistake')}: {shown}.",
            rule,
            "Look at these pairs below: are the labels right, and could you tell them apart?",
        )
    i, j = (i, j) if seen.confusion[i][j] >= seen.confusion[j][i] else (j, i)
    said = f"{seen.classes[i]} was taken for {seen.classes[j]}"
    parts = [f"{looks(seen.confusion[i][j])} {said}"]
    if seen.confusion[j][i]:
        parts.append(f"{looks(seen.confusion[j][i])} the other way")
    return Finding(
        "mixed up",
        f"{seen.classes[i]} and {seen.classes[j]} are mixed up most: {', '.join(parts)}; "
        f"{percent(count / wrong, 0)} of all {plural(wrong, 'mistake')}.",
        rule,
        f"Look at {seen.classes[i]} taken for {seen.classes[j]} below: are the labels right, and "
        "could you tell them apart?",
    )


def _weakest(seen: Evidence) -> Finding | None:
    """The class that is recognised least, where that is beyond chance."""
    share, k = seen.right / seen.n, len(seen.classes)
    z = NormalDist().inv_cdf(1 - 0.025 / k)
    rows = [(row[i], sum(row), i) for i, row in enumerate(seen.confusion) if sum(row)]
    hits, n, i = min(rows, key=lambda row: (row[0] / row[1], row[2]))
    alike = [seen.classes[k] for right, of, k in rows if right / of == hits / n]
    low, high = wilson_interval(hits, n, z)
    if high >= share or k < 3:
        return None
    rule = (
        f"the interval of its recall, at a level that holds for all {k} classes together, is below "
        "the accuracy over all images"
    )
    if len(alike) > 1:
        names = listed(alike, NAMED)
        return Finding(
            "weakest",
            f"{len(alike)} classes are the hardest, and equally hard ({names}): "
            f"{percent(hits / n, 1)} of each are recognised, and {percent(share, 1)} of all.",
            rule,
            "If you can add images, add those of these classes first.",
        )
    return Finding(
        "weakest",
        f"{seen.classes[i]} is the hardest class: {percent(hits / n, 1)} of {n:,} are recognised "
        f"(interval {points(low, high)}\u202f%), and {percent(share, 1)} of all.",
        rule,
        f"If you can add images, add those of {seen.classes[i]} first.",
    )


def _missing(seen: Evidence) -> Finding | None:
    """Classes that the test split does not show."""
    names = [name for name, row in zip(seen.classes, seen.confusion, strict=True) if not sum(row)]
    if not names:
        return None
    return Finding(
        "missing",
        f"{plural(len(names), 'class', 'classes')} had no test image "
        f"({listed(names, NAMED)}): nothing is known of how well it recognises them.",
        "their rows of the confusion matrix are empty",
        "Add test images of every class.",
    )
