"""A training that goes on from a run: the classes of both side by side."""

from __future__ import annotations

from collections.abc import Sequence

from convscope.formatting import listed, plural

NAMED = 10  # classes that a notice names of each kind


def classes_said(before: Sequence[str], classes: Sequence[str]) -> str:
    """In words, the classes of a run and those of the data that go on from it, side by side.

    >>> classes_said(["cat", "dog"], ["cat", "cow", "dog"])
    'classes: the run and the data both have cat, dog; new: cow; gone: none'
    """
    if set(before) == set(classes):
        count = plural(len(classes), "class", "classes")
        return f"classes: the data have those of the run, {count}"
    kinds = {
        "the run and the data both have ": [name for name in classes if name in before],
        "new: ": [name for name in classes if name not in before],
        "gone: ": [name for name in before if name not in classes],
    }
    said = [f"{kind}{listed(names, NAMED) or 'none'}" for kind, names in kinds.items()]
    return f"classes: {'; '.join(said)}"
