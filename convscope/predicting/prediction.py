"""The prediction for one image: labels and probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Prediction:
    """The top-k labels and probabilities of one image, the likeliest first; none of them and an
    ``error`` for an image that could not be read.

    ``unsure`` says whether the answer is below the bound on errors that validation was held to,
    ``ood`` whether the image looks like nothing the network was trained on (and is unsure, too);
    None is where that is not known. ``prediction_set`` are the labels of a conformal set, the
    likeliest first, where one was asked for.

    >>> one = Prediction((("seven", 0.45), ("one", 0.3)), "digit.png", unsure=True)
    >>> one.label, one.p, one.marks
    ('seven', 0.45, 'unsure')
    """

    top: tuple[tuple[str, float], ...]
    file: str = ""
    error: str | None = None
    unsure: bool | None = None
    ood: bool | None = None
    prediction_set: tuple[str, ...] | None = None

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

    def as_json(self) -> dict[str, Any]:
        """``{file, top: [{label, p}], unsure, ood, prediction_set, error}``."""
        return {
            "file": self.file,
            "top": [{"label": label, "p": p} for label, p in self.top],
            "unsure": self.unsure,
            "ood": self.ood,
            "prediction_set": self.prediction_set and list(self.prediction_set),
            "error": self.error,
        }
