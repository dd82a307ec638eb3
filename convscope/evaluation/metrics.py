"""How good a set of logits is: pure functions of (logits, labels), with NumPy alone.

Logits are ``[n,k]`` as the network gave them, labels ``[n]`` whole numbers below k. All sums are in
float64. Logits that are not finite, empty sets and labels out of range are a
:class:`~convscope.errors.ConvscopeError` everywhere, never a figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.errors import ConvscopeError

if TYPE_CHECKING:  # shapes for the reader and the type checker; jaxtyping is not needed to run
    from jaxtyping import Bool, Float, Int

    Logits = Float[np.ndarray, "n k"]
    LogProbabilities = Float[np.ndarray, "n k"]
    Probabilities = Float[np.ndarray, "n k"]
    Labels = Int[np.ndarray, " n"]
    TopProbabilities = Float[np.ndarray, " n"]
    Hits = Bool[np.ndarray, " n"]
    Confusion = Int[np.ndarray, "k k"]

SKEWED = 3  # times as many images of one class as of another: then balanced accuracy leads
COLDEST, HOTTEST = 0.01, 100.0  # the temperatures fit_temperature may return


@dataclass(frozen=True)
class Bin:
    """Images whose top probability is in (lower, upper]; the first bin has its lower end too."""

    lower: float
    upper: float
    count: int
    correct: int
    confidence: float | None  # mean of the top probabilities; None in an empty bin
    accuracy: float | None


def log_softmax(logits: Logits) -> LogProbabilities:
    """Log-probabilities, stable for logits of any size.

    >>> log_softmax(np.array([[1000.0, 1000.0]])).round(4).tolist()
    [[-0.6931, -0.6931]]
    """
    shifted = _finite(logits)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    log_p: LogProbabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_p


def softmax(logits: Logits, temperature: float = 1.0) -> Probabilities:
    """Probabilities at a temperature: above 1 is less sure, below 1 surer (Guo et al. 2017, eq. 9).

    >>> softmax(np.array([[0.0, math.log(3)]])).round(4).tolist()
    [[0.25, 0.75]]
    """
    p: Probabilities = np.exp(log_softmax(_finite(logits) / _positive(temperature)))
    return p


def accuracy(logits: Logits, labels: Labels) -> float:
    """The share whose largest logit is at the label; among equal logits the first counts.

    >>> accuracy(np.array([[2.0, 1.0], [2.0, 1.0]]), np.array([0, 1]))
    0.5
    """
    logits, labels = _checked(logits, labels)
    return float((logits.argmax(axis=1) == labels).mean())


def wilson_interval(correct: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Where the true share of successes lies, at 95 % with the default z (Wilson 1927).

    >>> low, high = wilson_interval(81, 263)
    >>> round(low, 4), round(high, 4)
    (0.2553, 0.3662)
    """
    if not 0 <= correct <= n or n == 0:
        raise ConvscopeError(
            f"correct={correct}, n={n}: an interval needs 0 <= correct <= n and n of at least 1; "
            "count at least one image"
        )
    share, scale = correct / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2) / scale
    return (0.0 if correct == 0 else centre - half, 1.0 if correct == n else centre + half)


def cross_entropy(logits: Logits, labels: Labels, temperature: float = 1.0) -> float:
    """Mean cross-entropy in nats.

    >>> round(cross_entropy(np.zeros((4, 10)), np.array([0, 3, 3, 9])), 4)
    2.3026
    """
    logits, labels = _checked(logits, labels)
    log_p = log_softmax(logits / _positive(temperature))
    return float(-log_p[np.arange(len(labels)), labels].mean())


def confusion_matrix(logits: Logits, labels: Labels) -> Confusion:
    """Counts at [true class, predicted class].

    >>> confusion_matrix(np.array([[2.0, 1.0], [2.0, 1.0]]), np.array([0, 1])).tolist()
    [[1, 0], [1, 0]]
    """
    logits, labels = _checked(logits, labels)
    k = logits.shape[1]
    return np.bincount(labels * k + logits.argmax(axis=1), minlength=k * k).reshape(k, k)


def per_class(confusion: Confusion, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Support, precision, recall and F1 of every class; None where undefined, which is not 0.

    Precision is undefined for a class never predicted, recall for one that never occurs, F1 for
    one that does neither.

    >>> per_class(np.array([[1, 0], [1, 0]]), ["cat", "dog"])[1]
    {'class': 'dog', 'support': 1, 'precision': None, 'recall': 0.0, 'f1': 0.0}
    """
    hits, support, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    return [
        {
            "class": name,
            "support": int(support[i]),
            "precision": _ratio(hits[i], predicted[i]),
            "recall": _ratio(hits[i], support[i]),
            "f1": _ratio(2 * hits[i], support[i] + predicted[i]),
        }
        for i, name in enumerate(classes)
    ]


def balanced_accuracy(confusion: Confusion) -> tuple[float, tuple[float, float]]:
    """The mean recall of the classes that occur, and where it lies at 95 %.

    The interval is made of those of the recalls (:func:`wilson_interval`) by their distances from
    them, as root mean squares (Zou & Donner 2008, Statistics in Medicine 27:1693).

    >>> share, (low, high) = balanced_accuracy(np.array([[90, 0], [5, 5]]))
    >>> share, round(low, 3), round(high, 3)
    (0.75, 0.617, 0.882)
    """
    rows = [(int(row[i]), int(row.sum())) for i, row in enumerate(np.asarray(confusion))]
    met = [(hits, n, *wilson_interval(hits, n)) for hits, n in rows if n]
    if not met:
        raise ConvscopeError("confusion: counts no image; count at least one")
    share = sum(hits / n for hits, n, _, _ in met) / len(met)
    below = math.hypot(*(hits / n - low for hits, n, low, _ in met)) / len(met)
    above = math.hypot(*(high - hits / n for hits, n, _, high in met)) / len(met)
    return share, (share - below, share + above)


def skewed(confusion: Confusion) -> bool:
    """Whether one class that occurs has at least :data:`SKEWED` times the images of another.

    >>> skewed(np.array([[90, 0], [5, 5]])), skewed(np.array([[20, 0], [5, 5]]))
    (True, False)
    """
    sizes = [int(n) for n in np.asarray(confusion).sum(axis=1) if n]
    return max(sizes, default=0) >= SKEWED * min(sizes, default=1)


def reliability(confidence: TopProbabilities, correct: Hits, bins: int = 15) -> list[Bin]:
    """How often images of each top probability are right: a reliability diagram's equal bins.

    >>> hits = np.array([False, True, False])
    >>> [b.accuracy for b in reliability(np.array([0.2, 0.9, 0.8]), hits, bins=2)]
    [0.0, 0.5]
    """
    edges = np.linspace(0, 1, bins + 1)
    where = np.digitize(confidence, edges[1:-1], right=True)
    counts = np.bincount(where, minlength=bins)
    hits = np.bincount(where, weights=correct, minlength=bins)
    sums = np.bincount(where, weights=confidence, minlength=bins)
    return [
        Bin(
            lower=float(edges[i]),
            upper=float(edges[i + 1]),
            count=int(counts[i]),
            correct=int(hits[i]),
            confidence=_ratio(sums[i], counts[i]),
            accuracy=_ratio(hits[i], counts[i]),
        )
        for i in range(bins)
    ]


def ece(probabilities: Probabilities, labels: Labels, bins: int = 15) -> float:
    """Expected calibration error: the mean gap of top probability and accuracy.

    Guo et al. 2017, equation 3: the top label only, bins of equal width.

    >>> round(ece(np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 1])), 4)
    0.4
    """
    probabilities, labels = _checked(probabilities, labels)
    right = probabilities.argmax(axis=1) == labels
    gaps = (
        b.count * abs(b.accuracy - b.confidence)
        for b in reliability(probabilities.max(axis=1), right, bins)
        if b.accuracy is not None and b.confidence is not None
    )
    return sum(gaps) / len(labels)


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """The temperature that minimises the cross-entropy of these logits, from 0.01 to 100.

    Guo et al. 2017, section 4.2. The cross-entropy is convex in 1/T, so its derivative is bisected.
    Where no image has a larger logit than that of its label, the cross-entropy falls for ever as T
    goes to 0: such data cannot say how sure to be, and the answer is 1.0.

    >>> sure, labels = np.array([[9.0, 0.0]] * 4), np.array([0, 0, 0, 1])
    >>> round(fit_temperature(sure, labels), 3)  # right 3 times in 4, and 9 / ln 3 says so
    8.192
    """
    logits, labels = _checked(logits, labels)
    below_top = logits - logits.max(axis=1, keepdims=True)  # [n,k], at most 0
    of_label = below_top[np.arange(len(labels)), labels]  # [n]
    if (of_label == 0).all():
        return 1.0

    def slope(beta: float) -> float:
        weights = np.exp(beta * below_top)
        expected = (weights * below_top).sum(axis=1) / weights.sum(axis=1)
        return float((expected - of_label).mean())

    low, high = 1 / HOTTEST, 1 / COLDEST
    while high / low > 1 + 1e-7:
        middle = math.sqrt(low * high)
        if slope(middle) < 0:
            low = middle
        else:
            high = middle
    return min(max(1 / math.sqrt(low * high), COLDEST), HOTTEST)


def measure(
    logits: Logits, labels: Labels, classes: Sequence[str], temperature: float = 1.0
) -> dict[str, Any]:
    """All figures of ``metrics.json`` that follow from logits, ready for JSON.

    ``accuracy`` does not depend on the temperature. ``loss`` is that of the raw logits, to compare
    with published figures; ``ece`` is after the temperature, as every probability shown is, and
    ``ece_raw`` before it. The caller adds the split, its count of looks and the seconds.

    >>> logits, labels = np.array([[2.0, 1.0], [2.0, 1.0]]), np.array([0, 1])
    >>> measure(logits, labels, ["cat", "dog"])["confusion"]
    [[1, 0], [1, 0]]
    """
    logits, labels = _checked(logits, labels)
    n, k = logits.shape
    if len(classes) != k or len(set(classes)) != k:
        raise ConvscopeError(
            f"classes: {len(classes)} names, {len(set(classes))} of them different, for {k} "
            "logits an image; give every logit a name of its own"
        )
    confusion = confusion_matrix(logits, labels)
    correct = int(confusion.trace())
    balanced, interval = balanced_accuracy(confusion)
    return {
        "n": n,
        "accuracy": correct / n,
        "accuracy_ci95": list(wilson_interval(correct, n)),
        "balanced_accuracy": balanced,
        "balanced_accuracy_ci95": list(interval),
        "skewed": skewed(confusion),
        "loss": cross_entropy(logits, labels),
        "ece": ece(softmax(logits, temperature), labels),
        "ece_raw": ece(softmax(logits), labels),
        "per_class": per_class(confusion, classes),
        "confusion": confusion.tolist(),
    }


def _finite(logits: Logits) -> Logits:
    """The logits as float64 [n,k], none missing and every one finite."""
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim != 2 or 0 in logits.shape:
        raise ConvscopeError(
            f"logits: shape {list(logits.shape)} where [images, classes] with at least one of "
            "each is needed; give at least one image"
        )
    if bad := int((~np.isfinite(logits)).any(axis=1).sum()):
        raise ConvscopeError(
            f"logits: not finite for {bad} of {len(logits)} images, and every logit must be; the "
            "network has diverged or its weights are damaged: train with a lower learning rate, "
            "or restore the weights"
        )
    return logits


def _checked(logits: Logits, labels: Labels) -> tuple[Logits, Labels]:
    """Both, fit to count with: as many labels as images, each the number of a class."""
    logits, labels = _finite(logits), np.asarray(labels)
    n, k = logits.shape
    if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer):
        raise ConvscopeError(
            f"labels: {labels.dtype} of shape {list(labels.shape)} for {n} images; "
            "give one whole number an image"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= k:
        raise ConvscopeError(
            f"labels: {low} to {high}, and with {k} classes they must be 0 to {k - 1}; "
            "judge on data with the classes the network was trained on"
        )
    return logits, labels.astype(np.int64)


def _positive(temperature: float) -> float:
    if not (math.isfinite(temperature) and temperature > 0):
        raise ConvscopeError(
            f"temperature={temperature}: must be a finite number above 0; "
            "1.0 leaves probabilities as they are"
        )
    return temperature


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
