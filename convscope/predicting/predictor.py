"""Pixels -> logits, by whatever computes them -> calibrated probabilities with names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from convscope.data.digits import SIZE
from convscope.errors import BadArgument
from convscope.evaluation import conformal, metrics
from convscope.evaluation.calibration import Calibration
from convscope.events import Emit, silent
from convscope.predicting.inputs import Input, inputs_of
from convscope.predicting.prediction import Prediction


class Provider(Protocol):
    """What computes a network's logits, normalisation included: raw float32 [N,K] of uint8 images
    [N,C,H,W], N at least 1."""

    def __call__(self, images: NDArray[np.uint8], emit: Emit = silent) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Predictor:
    """A classifier: ``logits`` computes those of pixels, and the rest says which pixels it takes
    and what its logits mean. ``size`` is (height, width); the ``calibration`` has the temperature
    that divides the logits, and tells, where that is known, which answers are unsure and which
    images look like nothing it was trained on. A class of at least the probability
    ``set_threshold``, before the temperature (which was fitted on the images that gave the
    threshold), is in the prediction set, if one is asked for.

    >>> def bright(images, emit=silent):
    ...     mean = images.mean(axis=(1, 2, 3), dtype=np.float32)
    ...     return np.stack([mean, 255 - mean], axis=1)
    >>> predictor = Predictor(bright, ("light", "dark"), 1, (4, 4), "pad", Calibration(255.0))
    >>> [one] = predictor.predict(np.full((1, 4, 4), 255, np.uint8))
    >>> one.label, round(one.p, 3)
    ('light', 0.731)
    """

    logits: Provider
    classes: tuple[str, ...]
    channels: int
    size: tuple[int, int]
    fit: str
    calibration: Calibration
    set_threshold: float | None = None

    @classmethod
    def of(cls, info: Mapping[str, Any], logits: Provider) -> Self:
        """The classifier that a run's ``model.json`` describes, with what computes its logits."""
        fitted = info["preprocessing"]
        return cls(
            logits,
            tuple(info["classes"]),
            fitted["channels"],
            tuple(fitted["size"]),
            fitted["fit"],
            Calibration.of(info),
        )

    def inputs(
        self,
        images: NDArray[np.uint8] | Sequence[Any],
        invert: bool = False,
        emit: Emit = silent,
        digits: bool | None = False,
    ) -> list[Input]:
        """Each image as the network takes it: see :func:`~convscope.predicting.inputs.inputs_of`.
        Raises BadArgument for an array of another shape, and for ``digits`` where the network does
        not take what is cut out of photographs."""
        fits = (self.channels, self.size) == (1, (SIZE, SIZE))
        if digits and not fits:
            takes = f"{self.channels} x {self.size[0]} x {self.size[1]}"
            rule = f"gives images of 1 x {SIZE} x {SIZE}, and the network takes {takes}"
            raise BadArgument("digits", digits, rule, "leave it out")
        if digits and (invert or isinstance(images, np.ndarray)):
            name, value = ("invert", invert) if invert else ("images", "(an array)")
            rule = "does not go with digits, which are cut out of photographs, dark or light"
            raise BadArgument(name, value, rule, "leave one of them out")
        if digits is None:
            digits = None if fits and set(self.classes) <= set("0123456789") else False
        return inputs_of(images, self.channels, self.size, self.fit, invert, emit, digits)

    def probabilities(self, images: NDArray[np.uint8], emit: Emit = silent) -> NDArray[np.float64]:
        """Calibrated probabilities float64 [N,K] of uint8 images [N,C,H,W] of the network's own
        size: the softmax of logits over the temperature (Guo et al. 2017, eq. 9)."""
        return metrics.softmax(self.logits(images, emit), self.calibration.temperature)

    def predict(
        self,
        images: NDArray[np.uint8] | Sequence[Any],
        top_k: int = 5,
        invert: bool = False,
        emit: Emit = silent,
        digits: bool | None = None,
    ) -> list[Prediction]:
        """A prediction an image; of a photograph of digits, one a digit, from left to right.

        ``images`` is uint8 [N,C,H,W] or [N,H,W] of the network's own size, or any mix of paths,
        bytes, Pillow images and folders, which go through the one preprocessing. An image that
        cannot be read gets a prediction that holds its ``error``; the others go on. ``digits``
        says that images are photographs of digits on paper (:mod:`convscope.data.digits`), or that
        none is; None leaves that to each image, where the network is one of 28x28 grey digits.
        Raises BadArgument for an array of another shape.
        """
        if top_k < 1:
            raise BadArgument("top_k", top_k, "must be a whole number of at least 1", "try 5")
        inputs = self.inputs(images, invert, emit, digits)
        readable = [one.pixels for one in inputs if one.pixels is not None]
        stacked = np.stack(readable) if readable else None
        found = iter(() if stacked is None else self.described(self.logits(stacked, emit), top_k))
        return [
            replace(next(found), file=name, box=box)
            if pixels is not None
            else Prediction((), name, error, box)
            for name, pixels, error, box in inputs
        ]

    def described(self, logits: NDArray[np.float32], k: int) -> Iterator[Prediction]:
        """A prediction a row of raw logits [N,K], its ``k`` likeliest classes, without its file."""
        rows, _, ood, unsure = self.calibration.answers(logits)
        order = np.argsort(-rows, axis=1, kind="stable")
        lowest = self.set_threshold
        within = None
        if lowest is not None:
            within = conformal.prediction_sets(metrics.softmax(logits), lowest)
        for i, likeliest in enumerate(order):
            unlike = None if ood is None else bool(ood[i])
            labels = None
            if within is not None:
                labels = tuple(self.classes[j] for j in likeliest if within[i, j])
            yield Prediction(
                tuple((self.classes[j], float(rows[i, j])) for j in likeliest[:k]),
                unsure=(unlike or None) if unsure is None else bool(unsure[i]),
                ood=unlike,
                prediction_set=labels,
            )
