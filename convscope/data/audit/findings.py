"""What an audit finds, by kinds, the gravest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from convscope.data.audit.samples import Samples


class Kind(NamedTuple):
    """Findings of one kind: the check that makes them, what they are, the rule, what to do."""

    check: str
    title: str
    rule: str
    remedy: str


KINDS = {
    "unreadable": Kind(
        "files",
        "Files that cannot be read",
        "the decoder of training refuses them, so that they are left out",
        "save them again as JPEG or PNG, or delete them",
    ),
    "two_labels": Kind(
        "copies",
        "One image under two labels",
        "pixels are identical, or alike, and classes differ",
        "keep the file whose class is right, delete the others",
    ),
    "two_splits": Kind(
        "copies",
        "One image in two splits",
        "pixels are identical, or alike, and one is learnt from where the other is judged",
        "keep one, or keep both on one side",
    ),
    "copies": Kind(
        "copies",
        "Images that are there more than once",
        "pixels are identical, or alike, in one class and one split",
        "keep one of each",
    ),
    "groups": Kind(
        "groups",
        "Files that seem to belong together, and are in two splits",
        "their names have one stem; names are no proof",
        "keep each group on one side",
    ),
    "labels": Kind(
        "labels",
        "Labels that are likely wrong",
        "a classifier that did not learn from the image doubts its label (confident learning), so "
        "that it is wrong with a probability of 25 % or more, given how sure the classifier is of "
        "the others; the most suspicious first",
        "look at each, and move it to the class that it shows",
    ),
    "balance": Kind(
        "balance",
        "Classes of few images",
        "fewer than 20 images to learn from, or fewer than half of the median class",
        "add images, or train with weights by class",
    ),
    "sizes": Kind(
        "sizes",
        "Odd sizes",
        "the area is 4 times the median or more, or a quarter or less; or the long side by the "
        "short one is twice the median or more; and beyond what is usual in this folder",
        "look whether they belong here",
    ),
    "modes": Kind(
        "sizes",
        "Odd modes",
        "pixels are kept in another way than in most files: as grey, with transparency, by a "
        "palette, for print, with 16 bits",
        "look whether they belong here; training brings all to one mode",
    ),
}
CHECKS = tuple(dict.fromkeys(kind.check for kind in KINDS.values()))


class Entry(NamedTuple):
    """A file, or an image by its place, with its class and its split; ``at`` is its number in the
    pack, None where it cannot be read."""

    file: str
    label: str
    split: str
    at: int | None = None


@dataclass(frozen=True)
class Finding:
    """One thing to mend: its files, why, and the figures behind it."""

    entries: tuple[Entry, ...]
    why: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Files with class and split, why, and the figures."""
        files = [{"file": e.file, "label": e.label, "split": e.split} for e in self.entries]
        return {"files": files, "why": self.why, **self.figures}


@dataclass(frozen=True)
class Audit:
    """What was found in a data set. ``findings`` are by kind, ``left_out`` says by check why it was
    not made; ``counts`` has the images of each class by split, ``figures`` what checks measured."""

    name: str
    counts: Mapping[str, Mapping[str, int]]
    findings: Mapping[str, Sequence[Finding]]
    left_out: Mapping[str, str]
    figures: Mapping[str, Any]
    samples: Samples | None = None

    @property
    def images(self) -> int:
        """How many images can be read."""
        return sum(sum(by_class.values()) for by_class in self.counts.values())

    @property
    def suspects(self) -> int:
        """How many files have something said of them."""
        return len(
            {e.file for found in self.findings.values() for one in found for e in one.entries}
        )

    def as_json(self) -> dict[str, Any]:
        """All of it but the pixels."""
        return {
            "name": self.name,
            "images": self.images,
            "counts": {split: dict(by_class) for split, by_class in self.counts.items()},
            "suspects": self.suspects,
            "findings": {
                kind: [one.as_json() for one in found] for kind, found in self.findings.items()
            },
            "left_out": dict(self.left_out),
            **self.figures,
        }


def entries(samples: Samples, members: Iterable[int]) -> tuple[Entry, ...]:
    """Images of a pack by their numbers."""
    return tuple(
        Entry(samples.names[at], samples.label(at), samples.split(at), at) for at in members
    )
