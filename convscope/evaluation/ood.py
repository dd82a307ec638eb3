"""Out-of-distribution detection: whether an image looks like nothing that a network was trained on,
by its logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convscope.evaluation import metrics

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

    Logits = Float[np.ndarray, "n k"]
    Scores = Float[np.ndarray, " n"]
    Flags = Bool[np.ndarray, " n"]
    Images = UInt8[np.ndarray, "n c h w"]

FALSE_ALARMS = 0.01  # of images like those of training, at most so many are taken for others
FEWEST = 99  # validation images that such a share takes
MOST = 100  # validation images that outliers are made of
TILES = 4  # along each side


def energy(logits: Logits) -> Scores:
    """The negative energy, the log of the sum of the exponentials of the logits (Liu et al. 2020,
    at T = 1): lower is more unlike.

    >>> energy(np.log(np.array([[1.0, 2.0, 5.0]]))).round(4).tolist()  # ln 8
    [2.0794]
    """
    logits = np.asarray(logits, np.float64)
    top = logits.max(axis=1)
    found: Scores = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return found


def max_softmax(logits: Logits) -> Scores:
    """The largest probability, without temperature (Hendrycks & Gimpel 2017): lower is more unlike.

    >>> max_softmax(np.log(np.array([[1.0, 2.0, 5.0]]))).round(4).tolist()
    [0.625]
    """
    found: Scores = metrics.softmax(logits).max(axis=1)
    return found


SCORES: dict[str, Callable[[Logits], Scores]] = {"energy": energy, "max_softmax": max_softmax}


def _shuffled(images: Images, random: np.random.Generator) -> Images:
    """The tiles of each image in another order."""
    n, c, h, w = images.shape
    tall, wide = max(1, h // TILES), max(1, w // TILES)
    rows, columns = h // tall, w // wide
    tiles = images[:, :, : rows * tall, : columns * wide]
    tiles = tiles.reshape(n, c, rows, tall, columns, wide).transpose(0, 2, 4, 1, 3, 5)
    order = random.permuted(np.tile(np.arange(rows * columns), (n, 1)), axis=1)
    tiles = np.take_along_axis(tiles.reshape(n, rows * columns, -1), order[:, :, None], axis=1)
    tiles = tiles.reshape(n, rows, columns, c, tall, wide).transpose(0, 3, 1, 4, 2, 5)
    found = images.copy()
    found[:, :, : rows * tall, : columns * wide] = tiles.reshape(n, c, rows * tall, columns * wide)
    return found


OUTLIERS: dict[str, Callable[[Images, np.random.Generator], Images]] = {
    "inverted": lambda images, _: 255 - images,
    "shuffled": _shuffled,
    "noise": lambda images, random: random.integers(0, 256, images.shape, np.uint8),
}


def count(n: int) -> int:
    """How many outliers of each kind there are to judge for ``n`` validation images.

    >>> count(50), count(6000)
    (0, 100)
    """
    return min(n, MOST) if n >= FEWEST else 0


def outliers(images: Images, number: int) -> Iterator[Images]:
    """So many images [number,C,H,W] like none of these, made of some of them, spread over all, for
    each kind of :data:`OUTLIERS`: light and dark swapped, a 4 x 4 grid of tiles shuffled, noise."""
    spread = np.linspace(0, len(images) - 1, number).astype(np.int64)
    some, random = np.array(images[spread]), np.random.default_rng(0)
    return (make(some, random) for make in OUTLIERS.values())


@dataclass(frozen=True)
class OutOfDistribution:
    """An image whose ``score`` is below the ``threshold`` looks like nothing the network was
    trained on; so does at most 1 % of what is like it.

    The score is energy, unless max-softmax tells ``n`` validation images from outliers as well:
    ``auroc`` has the mean area under the curve of each, ``caught`` the share of each kind of
    outliers that is below the threshold.
    """

    score: str
    threshold: float
    n: int
    auroc: Mapping[str, float]
    caught: Mapping[str, float]

    def flags(self, logits: Logits) -> Flags:
        """Which images look like nothing it was trained on."""
        below: Flags = SCORES[self.score](logits) < self.threshold
        return below

    @property
    def said(self) -> str:
        """In a sentence, what the score is worth."""
        shares = ", ".join(f"{share:.0%} {kind}" for kind, share in self.caught.items())
        return (
            f"{self.score.replace('_', '-')} tells what looks like nothing it was trained on: at "
            f"most 1% of images like those of validation, and of images that it was shown changed "
            f"{shares}"
        )


def detector(validation: Logits, of_outliers: Sequence[Logits]) -> OutOfDistribution:
    """The better score, and its threshold, from the logits of at least 99 validation images and
    those of each kind of :func:`outliers` made of them.

    The threshold is a conformal one (Bates et al. 2023): below it is a p value of at most 1 %.

    >>> random = np.random.default_rng(0)
    >>> known, other = np.eye(4)[random.integers(0, 4, 200)] * 9, 3 * random.normal(size=(100, 4))
    >>> found = detector(known + random.normal(size=(200, 4)), [other] * 3)
    >>> found.score, found.caught["noise"], bool(found.flags(known).any())
    ('energy', 0.95, False)
    """
    n = len(validation)
    kinds = dict(zip(OUTLIERS, of_outliers, strict=True))
    auroc = {
        name: float(np.mean([_auroc(score(validation), score(one)) for one in kinds.values()]))
        for name, score in SCORES.items()
    }
    best = "max_softmax" if auroc["max_softmax"] >= auroc["energy"] else "energy"
    score = SCORES[best]
    threshold = float(np.sort(score(validation))[int((n + 1) * FALSE_ALARMS + 1e-9) - 1])
    caught = {kind: float((score(one) < threshold).mean()) for kind, one in kinds.items()}
    return OutOfDistribution(best, threshold, n, auroc, caught)


def _auroc(higher: Scores, lower: Scores) -> float:
    """How often the one is above the other, ties by half: the area under the ROC curve.

    >>> _auroc(np.array([2.0, 3.0]), np.array([1.0, 2.0]))
    0.875
    """
    ranked = np.sort(lower)
    below = np.searchsorted(ranked, higher, "left"), np.searchsorted(ranked, higher, "right")
    return float(np.mean(below) / len(lower))
