"""Whether a temperature makes probabilities better on images that it was not fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.evaluation import metrics
from convscope.formatting import p_value

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    Logits = Float[np.ndarray, "n k"]
    Labels = Int[np.ndarray, " n"]

FOLDS = 5
FEWEST = 50  # images: of fewer a temperature is worth little
LEVEL = 0.01  # of the test that no temperature is needed


@dataclass(frozen=True)
class Scaling:
    """Temperature scaling (Guo et al. 2017) as cross-validation judges it.

    ``temperature`` is the one that is kept, 1 where none is; ``fitted`` the one of all ``n``
    images, None where there are too few. ``loss`` (mean cross-entropy) and ``ece`` are before and
    after it, each image at a temperature that was fitted without its fold; ``p`` is that of the
    likelihood-ratio test (Wilks 1938) that the probabilities need no temperature.
    """

    n: int
    temperature: float = 1.0
    fitted: float | None = None
    loss: tuple[float, float] | None = None
    ece: tuple[float, float] | None = None
    p: float | None = None

    @classmethod
    def of(cls, kept: Mapping[str, Any], temperature: float) -> Scaling:
        """As a ``model.json`` keeps it, whose temperature stands beside it."""
        loss, ece = (kept[key] and tuple(kept[key]) for key in ("loss", "ece"))
        return cls(kept["n"], temperature, kept["fitted"], loss, ece, kept["p"])

    def as_json(self) -> dict[str, Any]:
        """All but the temperature, which stands beside it."""
        return {key: value for key, value in asdict(self).items() if key != "temperature"}

    @property
    def said(self) -> str:
        """In a sentence, why there is a temperature, or none."""
        if self.fitted is None or self.loss is None or self.p is None:
            return (
                f"no temperature: {FEWEST} validation images are needed to fit and test one, and "
                f"there are {self.n}"
            )
        before, after = self.loss
        kept = "no temperature" if self.temperature == 1 else f"temperature {self.temperature:.3f}"
        return (
            f"{kept}: cross-validated on {self.n:,} validation images, {self.fitted:.3f} brings "
            f"the cross-entropy from {before:.4f} to {after:.4f}, and that none is needed has "
            f"{p_value(self.p, 'p')} (kept below {LEVEL:g})"
        )


def scale(logits: Logits, labels: Labels) -> Scaling:
    """The temperature of these validation images, if it is better on held-out ones.

    It is kept where the cross-entropy falls for images of folds that it was not fitted on (each of
    the same share of every class), and a likelihood-ratio test refuses at 1 % that none is needed.
    (A paired test of the falls, image by image, has little power against a few sure mistakes, and
    believes a network that happens to make none.) Raises ConvscopeError as
    :func:`~convscope.evaluation.metrics.fit_temperature` does.

    >>> sure = np.array([[9.0, 0.0]] * 80)
    >>> found = scale(sure, np.array([0, 0, 0, 1] * 20))  # right 3 times in 4, and 9 / ln 3
    >>> round(found.temperature, 3), found.ece[0] > 0.2 > 0.01 > found.ece[1]
    (8.192, True)
    >>> scale(sure[:15], np.zeros(15, int)).said
    'no temperature: 50 validation images are needed to fit and test one, and there are 15'
    """
    from scipy.special import chdtrc

    n = len(labels)
    if n < FEWEST:
        return Scaling(n)
    fitted = metrics.fit_temperature(logits, labels)
    fold = np.empty(n, np.int64)
    fold[np.argsort(labels, kind="stable")] = np.arange(n) % FOLDS
    scaled = np.empty(logits.shape)
    for one in range(FOLDS):
        held = fold == one
        others = metrics.fit_temperature(logits[~held], labels[~held])
        scaled[held] = np.asarray(logits[held], np.float64) / others
    before, after = (metrics.cross_entropy(z, labels) for z in (logits, scaled))
    gain = before - metrics.cross_entropy(logits, labels, fitted)
    p = float(chdtrc(1, 2 * n * max(gain, 0.0)))
    return Scaling(
        n,
        fitted if after < before and p <= LEVEL else 1.0,
        fitted,
        (before, after),
        (
            metrics.ece(metrics.softmax(logits), labels),
            metrics.ece(metrics.softmax(scaled), labels),
        ),
        p,
    )
