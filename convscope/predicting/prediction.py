"""The prediction for one image: labels and probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from convscope.data.rows import cell_of


@dataclass(frozen=True)
class Answer:
    """What a network tells of one target by its ``kind``: of a class the likeliest classes as
    ``top``, of labels those that a record has, each with its probability; or a ``number``.

    >>> Answer("class", (("seven", 0.9), ("one", 0.1))).text, Answer("number", number=2.5).text
    ('seven', '2.5')
    """

    kind: str
    top: tuple[tuple[str, float], ...] = ()
    number: float | None = None

    @property
    def text(self) -> str:
        """What is told, as a table of files has it: see :func:`~convscope.data.rows.labels_in`."""
        if self.number is not None:
            return f"{self.number:.6g}"
        names = [name for name, _ in self.top]
        return names[0] if self.kind == "class" else cell_of(names)

    @property
    def said(self) -> str:
        """The same in words, with the probability of a class."""
        return f"{self.text} {self.top[0][1]:.1%}" if self.kind == "class" else self.text or "none"

    def as_json(self) -> dict[str, Any]:
        """``{top}`` or ``{labels}``, both of ``{label, p}``, or ``{number}``."""
        if self.number is not None:
            return {"number": self.number}
        return {"top" if self.kind == "class" else "labels": _pairs(self.top)}


@dataclass(frozen=True)
class Prediction:
    """The top-k labels and probabilities of one image, the likeliest first; none of them and an
    ``error`` for an image that could not be read. Of a digit that was cut out of a photograph,
    ``box`` is where: left, top, right, bottom, in pixels of the upright photograph.

    ``unsure`` says whether the answer is below the bound on errors that validation was held to,
    ``ood`` whether the image looks like nothing the network was trained on (and is unsure, too);
    None is where that is not known. ``prediction_set`` are the labels of a conformal set, the
    likeliest first, where one was asked for.

    Of a network of several inputs or targets ``files`` are the images of the record by input, and
    ``targets`` the answers by target; what is said of one class is said of the leading target's.

    >>> one = Prediction((("seven", 0.45), ("one", 0.3)), "digit.png", unsure=True)
    >>> one.label, one.p, one.marks
    ('seven', 0.45, 'unsure')
    """

    top: tuple[tuple[str, float], ...]
    file: str = ""
    error: str | None = None
    box: tuple[int, int, int, int] | None = None
    unsure: bool | None = None
    ood: bool | None = None
    prediction_set: tuple[str, ...] | None = None
    files: Mapping[str, str] | None = None
    targets: Mapping[str, Answer] | None = None

    @property
    def label(self) -> str:
        """The likeliest class; empty for an image that could not be read."""
        return self.top[0][0] if self.top else ""

    @property
    def p(self) -> float:
        """Its probability, after temperature scaling; 0 for an image that could not be read."""
        return self.top[0][1] if self.top else 0.0

    @property
    def marks(self) -> str:
        """In words, what is to be said against the answer; nothing where nothing is."""
        if self.ood:
            return "unsure: looks like nothing it was trained on"
        return "unsure" if self.unsure else ""

    @property
    def said(self) -> list[str]:
        """In words: the likeliest classes, or what is told of each target; the set; the marks."""
        found = [f"{label} {p:.1%}" for label, p in self.top] or ["not read"]
        if self.targets is not None:
            found = [f"{name} {one.said}" for name, one in self.targets.items()]
        found += [f"{{{', '.join(self.prediction_set)}}}"] if self.prediction_set else []
        return found + [f"({self.marks})"] * bool(self.marks)

    def as_json(self) -> dict[str, Any]:
        """``{file, top: [{label, p}], unsure, ood, prediction_set, error}``; and ``box``, ``files``
        and ``targets`` where there are such."""
        found: dict[str, Any] = {
            "file": self.file,
            "top": _pairs(self.top),
            "unsure": self.unsure,
            "ood": self.ood,
            "prediction_set": self.prediction_set and list(self.prediction_set),
            "error": self.error,
        }
        if self.box is not None:
            found["box"] = list(self.box)
        if self.files is not None:
            found["files"] = dict(self.files)
        if self.targets is not None:
            found["targets"] = {name: one.as_json() for name, one in self.targets.items()}
        return found


def _pairs(top: Iterable[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"label": label, "p": p} for label, p in top]


def string_of(predictions: Iterable[Prediction]) -> str:
    """The labels of predictions in a row, as of the digits of one photograph; "?" where unsure.

    >>> string_of([Prediction((("4", 0.99),)), Prediction((("7", 0.4),), unsure=True)])
    '4?'
    """
    return "".join("?" if one.unsure or one.error else one.label for one in predictions)
