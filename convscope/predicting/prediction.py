"""The prediction for one image: labels and probabilities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

UNSURE = 0.5  # a likeliest class below this probability is marked as unsure


@dataclass(frozen=True)
class Prediction:
    """The top-k labels and probabilities of one image, the likeliest first; none of them and an
    ``error`` for an image that could not be read. Of a digit that was cut out of a photograph,
    ``box`` is where: left, top, right, bottom, in pixels of the upright photograph.

    >>> one = Prediction((("seven", 0.45), ("one", 0.3)), "digit.png")
    >>> one.label, one.p, one.unsure
    ('seven', 0.45, True)
    """

    top: tuple[tuple[str, float], ...]
    file: str = ""
    error: str | None = None
    box: tuple[int, int, int, int] | None = None

    @property
    def label(self) -> str:
        """The likeliest class; empty for an image that could not be read."""
        return self.top[0][0] if self.top else ""

    @property
    def p(self) -> float:
        """Its probability, after temperature scaling; 0 for an image that could not be read."""
        return self.top[0][1] if self.top else 0.0

    @property
    def unsure(self) -> bool:
        """Whether even the likeliest class has less than an even chance."""
        return self.error is None and self.p < UNSURE

    def as_json(self) -> dict[str, Any]:
        """``{file, top: [{label, p}], unsure, error}``, and ``box`` where there is one."""
        top = [{"label": label, "p": p} for label, p in self.top]
        found = {"file": self.file, "top": top, "unsure": self.unsure, "error": self.error}
        return found if self.box is None else {**found, "box": list(self.box)}


def string_of(predictions: Iterable[Prediction]) -> str:
    """The labels of predictions in a row, as of the digits of one photograph; "?" where unsure.

    >>> string_of([Prediction((("4", 0.99),)), Prediction((("7", 0.4),))])
    '4?'
    """
    return "".join("?" if one.unsure or one.error else one.label for one in predictions)
