"""Whether a temperature makes probabilities better on images that it was not fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.evaluation import metrics

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    Logits = Float[np.ndarray, "n k"]
    Labels = Int[np.ndarray, " n"]
    Gains = Float[np.ndarray, " n"]

FOLDS = 5
FEWEST = 50  # images: of fewer, neither the temperature nor the test of it is worth anything
LEVEL = 0.05  # of the one-sided test


@dataclass(frozen=True)
class Scaling:
    """Temperature scaling (Guo et al. 2017) as cross-validation judges it.

    ``temperature`` is the one that is kept, 1 where none is; ``fitted`` the one of all ``n``
    images, None where there are too few. ``loss`` (mean cross-entropy) and ``ece`` are before and
    after it, each image at a temperature that was fitted without its fold; ``p`` is that of
    Student's one-sided paired test that the cross-entropy does not fall.
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
        change = f"from {before:.4f} to {after:.4f} (p = {self.p:.2g})"
        if self.temperature == 1:
            return (
                f"no temperature: {self.fitted:.3f}, fitted on {self.n:,} validation images, does "
                f"not make the cross-entropy of others smaller beyond chance: it goes {change}"
            )
        return (
            f"temperature {self.temperature:.3f}, fitted on {self.n:,} validation images: "
            f"cross-validated, it brings the cross-entropy {change}"
        )


def scale(logits: Logits, labels: Labels) -> Scaling:
    """The temperature of these validation images, if it is better on held-out ones.

    Each fold, of the same share of every class, is judged at the temperature of the others, and
    Student's one-sided test compares cross-entropies image by image. Raises ConvscopeError as
    :func:`~convscope.evaluation.metrics.fit_temperature` does.

    >>> sure = np.array([[9.0, 0.0]] * 80)
    >>> found = scale(sure, np.array([0, 0, 0, 1] * 20))  # right 3 times in 4, and 9 / ln 3
    >>> round(found.temperature, 3), found.ece[0] > 0.2 > 0.01 > found.ece[1]
    (8.192, True)
    >>> scale(sure[:15], np.zeros(15, int)).said
    'no temperature: 50 validation images are needed to fit and test one, and there are 15'
    """
    fitted, n = metrics.fit_temperature(logits, labels), len(labels)
    if n < FEWEST:
        return Scaling(n)
    fold = np.empty(n, np.int64)
    fold[np.argsort(labels, kind="stable")] = np.arange(n) % FOLDS
    raw = metrics.softmax(logits)
    scaled = np.empty_like(raw)
    for one in range(FOLDS):
        held = fold == one
        scaled[held] = metrics.softmax(
            logits[held], metrics.fit_temperature(logits[~held], labels[~held])
        )
    tiny = np.finfo(np.float64).tiny
    before, after = (-np.log(np.maximum(p[np.arange(n), labels], tiny)) for p in (raw, scaled))
    p = _one_sided(before - after)
    return Scaling(
        n,
        fitted if p <= LEVEL else 1.0,
        fitted,
        (float(before.mean()), float(after.mean())),
        (metrics.ece(raw, labels), metrics.ece(scaled, labels)),
        p,
    )


def _one_sided(gains: Gains) -> float:
    """How often chance alone gives a mean gain at least as far above 0: Student's t."""
    from scipy.special import stdtr

    error = gains.std(ddof=1) / np.sqrt(len(gains))
    if not error:
        return 1.0 if gains[0] <= 0 else 0.0
    return float(stdtr(len(gains) - 1, -gains.mean() / error))
