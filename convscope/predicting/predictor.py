"""Pixels -> logits, by whatever computes them -> calibrated probabilities with names."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from convscope.data.digits import SIZE
from convscope.errors import BadArgument
from convscope.evaluation import conformal, metrics
from convscope.evaluation.calibration import Calibration
from convscope.events import Emit, Progress, silent
from convscope.predicting import inputs
from convscope.predicting.inputs import Input
from convscope.predicting.prediction import Prediction

BATCH = 256  # images that go through the network together
BATCH_BYTES = 8 << 20  # of their pixels, if that is fewer

Item = TypeVar("Item")
Pixels: TypeAlias = NDArray[np.uint8]
Place: TypeAlias = tuple[str, tuple[int, int, int, int] | None]  # a file, and a box in it
NOWHERE: Iterable[Place] = itertools.repeat(("", None))


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

    @property
    def reads_digits(self) -> bool:
        """Whether it is a network of digits as they are cut out of photographs."""
        return self._takes_digits and set(self.classes) <= set("0123456789")

    @property
    def _takes_digits(self) -> bool:
        return (self.channels, self.size) == (1, (SIZE, SIZE))

    def read(
        self,
        images: NDArray[np.uint8] | Iterable[Any],
        invert: bool = False,
        emit: Emit = silent,
        digits: bool | None = False,
    ) -> Iterator[list[Input]]:
        """What each image gives as the network takes it: see
        :func:`~convscope.predicting.inputs.stream`. Raises BadArgument for an array of another
        shape, and for ``digits`` where the network does not take what is cut out of photographs."""
        if digits and not self._takes_digits:
            takes = f"{self.channels} x {self.size[0]} x {self.size[1]}"
            rule = f"gives images of 1 x {SIZE} x {SIZE}, and the network takes {takes}"
            raise BadArgument("digits", digits, rule, "leave it out")
        if digits and (invert or isinstance(images, np.ndarray)):
            name, value = ("invert", invert) if invert else ("images", "(an array)")
            rule = "does not go with digits, which are cut out of photographs, dark or light"
            raise BadArgument(name, value, rule, "leave one of them out")
        if digits is None:
            digits = None if self.reads_digits else False
        return inputs.stream(images, self.channels, self.size, self.fit, invert, emit, digits)

    def inputs(
        self,
        images: NDArray[np.uint8] | Iterable[Any],
        invert: bool = False,
        emit: Emit = silent,
        digits: bool | None = False,
    ) -> list[Input]:
        """All that :meth:`read` gives, image by image. Reports Progress in images."""
        read = self.read(images, invert, emit, digits)
        return inputs.collected(read, inputs.count(images), emit)

    def probabilities(self, images: NDArray[np.uint8], emit: Emit = silent) -> NDArray[np.float64]:
        """Calibrated probabilities float64 [N,K] of uint8 images [N,C,H,W] of the network's own
        size: the softmax of logits over the temperature (Guo et al. 2017, eq. 9)."""
        return metrics.softmax(self.logits(images, emit), self.calibration.temperature)

    def predict(
        self,
        images: NDArray[np.uint8] | Iterable[Any],
        top_k: int = 5,
        invert: bool = False,
        emit: Emit = silent,
        digits: bool | None = None,
    ) -> list[Prediction]:
        """All predictions that :meth:`stream` gives."""
        return list(self.stream(images, top_k, invert, emit, digits))

    def stream(
        self,
        images: NDArray[np.uint8] | Iterable[Any],
        top_k: int = 5,
        invert: bool = False,
        emit: Emit = silent,
        digits: bool | None = None,
    ) -> Iterator[Prediction]:
        """A prediction an image, in their order; of a photograph of digits, one a digit, from left
        to right. Images are decoded ahead and go through the network some at a time, so that any
        number of them takes the same memory.

        ``images`` is uint8 [N,C,H,W] or [N,H,W] of the network's own size, or any mix of paths,
        bytes, Pillow images, folders and tables of files (:mod:`convscope.predicting.tables`),
        which go through the one preprocessing; it may be an iterator that does not end. An image
        that cannot be read gets a prediction that holds its ``error``; the others go on. ``digits``
        says that images are photographs of digits on paper (:mod:`convscope.data.digits`), or that
        none is; None leaves that to each image, where the network is one of 28x28 grey digits.
        Reports Progress in images. Raises BadArgument at once for an array of another shape, and
        DataError or BadArgument for a table that cannot be read.
        """
        check_top_k(top_k)
        read = self.read(images, invert, emit, digits)
        return self.answers(read, inputs.count(images), top_k, emit)

    def answers(
        self, read: Iterator[list[Input]], total: int | None, k: int, emit: Emit = silent
    ) -> Iterator[Prediction]:
        """The predictions of what each image gave, the ``k`` likeliest classes each."""
        done = 0
        for some in together(read, self.channels * self.size[0] * self.size[1]):
            given = [one for of_image in some for one in of_image]
            readable = [one for one in given if one.pixels is not None]
            found: Iterator[Prediction] = iter(())
            if readable:
                logits = self.logits(np.stack([cast(Pixels, one.pixels) for one in readable]))
                found = self.described(logits, k, ((one.name, one.box) for one in readable))
            done += len(some)
            emit(Progress("predict", done, total, "images"))
            for name, pixels, error, box in given:
                yield Prediction((), name, error, box) if pixels is None else next(found)

    def described(
        self, logits: NDArray[np.float32], k: int, places: Iterable[Place] = NOWHERE
    ) -> Iterator[Prediction]:
        """A prediction a row of raw logits [N,K], its ``k`` likeliest classes, each of a file and
        a box in it."""
        return predictions_of(logits, self.classes, self.calibration, self.set_threshold, k, places)


def predictions_of(
    logits: NDArray[np.float32],
    classes: Sequence[str],
    calibration: Calibration,
    set_threshold: float | None,
    k: int,
    places: Iterable[Place] = NOWHERE,
) -> Iterator[Prediction]:
    """A prediction a row of logits [N,K], each of a place: see :class:`Predictor`."""
    rows, _, ood, unsure = calibration.answers(logits)
    order = np.argsort(-rows, axis=1, kind="stable")
    within = None
    if set_threshold is not None:
        within = conformal.prediction_sets(metrics.softmax(logits), set_threshold)
    likeliest = order[:, :k]
    p = np.take_along_axis(rows, likeliest, axis=1).tolist()  # Python's own numbers, all at once
    unlike = [None] * len(rows) if ood is None else ood.tolist()
    doubted = [one or None for one in unlike] if unsure is None else unsure.tolist()
    places = itertools.islice(places, len(rows))
    for i, best, chances, (file, box) in zip(
        range(len(rows)), likeliest.tolist(), p, places, strict=True
    ):
        labels = None
        if within is not None:
            labels = tuple(classes[j] for j in order[i] if within[i, j])
        top = tuple(zip([classes[j] for j in best], chances, strict=True))
        yield Prediction(top, file, None, box, doubted[i], unlike[i], labels)


def check_top_k(top_k: int) -> None:
    """Raise BadArgument for no number of classes."""
    if top_k < 1:
        raise BadArgument("top_k", top_k, "must be a whole number of at least 1", "try 5")


def together(items: Iterable[Item], bytes_each: int) -> Iterator[list[Item]]:
    """The items, as many at a time as go through a network together: at most ``BATCH``, and about
    ``BATCH_BYTES`` of pixels."""
    items, most = iter(items), max(1, min(BATCH, BATCH_BYTES // bytes_each))
    return iter(lambda: list(itertools.islice(items, most)), [])
