"""A linear probe: multinomial logistic regression on features that stay as they are, fitted to its
optimum by L-BFGS, its L2 penalty chosen on validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from convscope.data.loader import stratified
from convscope.evaluation import metrics

# Of the mean cross-entropy plus penalty / 2 times the squared weights of features whose variance is
# 1 in the mean.
PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4)
WORSE = 2  # penalties in a row after the best, and the search ends
FEW = 50  # images of validation, below which the penalty is chosen by cross-validation
FOLDS = 5
MANY = 10_000  # images, by which the penalty is chosen: all of them fit the layer itself
STEPS = 100  # of L-BFGS at most
AT_ONCE = 1024  # images, whose features stay in the cache from one product to the other
SMALL = 3e7  # multiply-adds a pass, for which one thread does: on a busy machine two wait in vain

Features = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Probe:
    """A linear layer, ``weight`` [K,F] and ``bias`` [K], and the ``penalty`` that it was fitted
    with; ``chosen`` says how that was chosen."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    penalty: float
    chosen: str

    def logits(self, features: Features) -> NDArray[np.float32]:
        """Raw logits [N,K] of features [N,F].

        >>> Probe(np.eye(2, dtype="f"), np.ones(2, "f"), 1.0, "").logits(np.eye(2, dtype="f"))
        array([[2., 1.], [1., 2.]], dtype=float32)
        """
        found: NDArray[np.float32] = features @ self.weight.T + self.bias
        return found


@dataclass(frozen=True)
class Balance:
    """How rare classes are made up for: the ``weights`` of the classes [K], and the ``prior`` [K]
    that is added to their logits as they are in the loss alone."""

    weights: NDArray[np.float32] | None = None
    prior: NDArray[np.float32] | None = None


def fit(
    features: Features,
    labels: Labels,
    classes: int,
    val: Features,
    val_labels: Labels,
    balance: Balance = Balance(),
) -> Probe:
    """The probe of features [N,F] and their labels [N]; its penalty is the one with the smallest
    cross-entropy on ``val``, or, where that has few images, over five folds of the images; of more
    than ``MANY`` images it is found by so many of them.

    >>> x, y = np.repeat(np.eye(3, dtype="f"), 60, 0), np.arange(180) // 60
    >>> fit(x, y, 3, x, y).logits(np.eye(3, dtype="f")).argmax(1)
    array([0, 1, 2])
    """
    basis = _Basis.of(features)
    x = basis(features)
    share, some = 1.0, np.arange(len(labels))
    if len(labels) > MANY:
        some = stratified(labels, MANY / len(labels), 0)
        share = len(some) / len(labels)
    if len(val) >= FEW:
        losses, start = _losses(basis, x[some], labels[some], val, val_labels, classes, balance)
        chosen = "on validation"
    else:
        losses, start = _folded(features[some], labels[some], classes, balance), None
        chosen = f"over {FOLDS} folds"
    penalty = PENALTIES[int(np.argmin(losses))] * share  # of a mean over more images: as strong
    return _probe(basis, x, labels, classes, penalty, balance, chosen, start)


def fitted(
    features: Features,
    labels: Labels,
    classes: int,
    penalty: float,
    balance: Balance = Balance(),
) -> Probe:
    """The probe of features [N,F] and their labels [N] with this penalty."""
    basis = _Basis.of(features)
    return _probe(basis, basis(features), labels, classes, penalty, balance, "before")


def _probe(
    basis: _Basis,
    x: Features,
    labels: Labels,
    classes: int,
    penalty: float,
    balance: Balance,
    chosen: str,
    start: tuple[Features, Features] | None = None,
) -> Probe:
    found = _optimum(x, labels, classes, penalty, basis.spread, start, balance)
    return Probe(*basis.undone(*found), penalty, chosen)


@dataclass(frozen=True)
class _Basis:
    """Features brought to mean 0, all of them to a variance of 1 in the mean, then turned to their
    R <= min(N, F) principal axes, along which they have the variances ``spread``: a sum of squares
    stays what it was, the search knows how long each axis is, and no weight lies where no image
    does. A feature that varies little stays small: brought to deviation 1 each, those of
    EfficientNet-Lite0 of 20 photos a class told 73.8 % of trashnet, as they are 75.0 %."""

    mean: Features
    turn: Features  # [F,R], the deviation undone
    spread: NDArray[np.float64]

    @classmethod
    def of(cls, features: Features) -> _Basis:
        mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        x = features - mean
        few = len(x) < x.shape[1]  # of the two products the smaller one says all
        product = (x @ x.T if few else x.T @ x).astype(np.float64) / len(x)
        variance = np.trace(product) / x.shape[1] or 1.0
        spread, axes = np.linalg.eigh(product)
        there = spread > 1e-6 * spread[-1]
        spread, axes = spread[there], axes[:, there]
        if few:
            axes = x.T @ axes / np.sqrt(len(x) * spread)
        return cls(mean, (axes / np.sqrt(variance)).astype(np.float32), spread / variance)

    def __call__(self, features: Features) -> Features:
        found: Any = (features - self.mean) @ self.turn
        return np.asarray(found, np.float32)

    def undone(self, weight: Features, bias: Features) -> tuple[Features, Features]:
        """The same linear layer for features as they are."""
        weight = weight @ self.turn.T
        return weight, bias - weight @ self.mean


def _folded(features: Features, labels: Labels, classes: int, balance: Balance) -> list[float]:
    """Cross-entropy by penalty, summed over the images of five folds."""
    total, left = np.zeros(len(PENALTIES)), np.arange(len(labels))
    for fold in range(FOLDS):
        last = fold == FOLDS - 1
        out = left if last else left[stratified(labels[left], 1 / (FOLDS - fold), fold)]
        left, within = np.setdiff1d(left, out), np.setdiff1d(np.arange(len(labels)), out)
        if len(out) and len(np.unique(labels[within])) > 1:
            basis = _Basis.of(features[within])
            x, y = basis(features[within]), labels[within]
            losses, _ = _losses(basis, x, y, features[out], labels[out], classes, balance)
            total += np.array(losses) * len(out)
    return total.tolist()


def _losses(
    basis: _Basis,
    x: Features,
    labels: Labels,
    val: Features,
    val_labels: Labels,
    classes: int,
    balance: Balance,
) -> tuple[list[float], tuple[Features, Features] | None]:
    """Cross-entropy on ``val`` by penalty, from the largest on, each fit begun where the one before
    it ended, and the best; where it rises for the second time, what is left is not tried."""
    losses, val, start, best = list[float](), basis(val), None, None
    for penalty in PENALTIES:
        start = _optimum(x, labels, classes, penalty, basis.spread, start, balance)
        logits = val @ start[0].T + start[1]
        losses.append(metrics.cross_entropy(logits, val_labels))
        since = len(losses) - 1 - int(np.argmin(losses))
        if not since:
            best = start
        elif since == WORSE:
            break
    return losses + [np.inf] * (len(PENALTIES) - len(losses)), best


def _optimum(
    x: Features,
    labels: Labels,
    classes: int,
    penalty: float,
    spread: NDArray[np.float64],
    start: tuple[Features, Features] | None = None,
    balance: Balance = Balance(),
) -> tuple[Features, Features]:
    """Weight [K,F] and bias [K] of least mean cross-entropy plus penalty / 2 times the sum of the
    squared weights (Bishop 2006, eq. 4.108), sought in units in which every axis is about as
    curved: its curvature is at most ``spread`` / 2 + penalty (Boehning 1992).

    By PyTorch alone: where two libraries take turns, the threads of one wait for work on the cores
    that the other needs."""
    width, unit = x.shape[1], torch.from_numpy(1 / np.sqrt(spread / classes + penalty))
    inputs, targets = torch.from_numpy(x), torch.from_numpy(labels)
    sure = torch.nn.functional.one_hot(targets, classes)
    share = (
        torch.ones(len(x))
        if balance.weights is None
        else torch.from_numpy(balance.weights)[targets]
    )
    share = (share / len(x)).double()[:, None]
    prior = 0.0 if balance.prior is None else torch.from_numpy(balance.prior)
    flat = torch.zeros(classes * (width + 1), dtype=torch.float64)
    weight, bias = flat[: classes * width].view(classes, width), flat[classes * width :]
    slope = torch.zeros_like(flat)
    if start is not None:
        weight.copy_(torch.from_numpy(start[0]) / unit)
        bias.copy_(torch.from_numpy(start[1]))

    def loss() -> float:
        scaled = weight * unit
        weights, rise = scaled.float(), torch.zeros(classes, width)
        value = penalty / 2 * scaled.square().sum()
        slope.zero_()
        for at in range(0, len(inputs), AT_ONCE):
            here = slice(at, at + AT_ONCE)
            some, truth, counts = inputs[here], targets[here], share[here]
            likely = ((some @ weights.T).double() + bias + prior).log_softmax(1)  # [N,K]
            value -= (counts * likely.gather(1, truth[:, None])).sum()
            error = (likely.exp() - sure[here]) * counts
            rise.addmm_(error.float().T, some)
            slope[classes * width :] += error.sum(0)
        slope[: classes * width] = ((rise + penalty * scaled) * unit).ravel()
        return float(value)

    flat.grad = slope
    search: Any = torch.optim.LBFGS(
        [flat],
        max_iter=STEPS,
        tolerance_grad=1e-5,
        tolerance_change=1e-8,
        history_size=10,
        line_search_fn="strong_wolfe",
    )
    threads = torch.get_num_threads()
    if x.size * classes < SMALL:
        torch.set_num_threads(1)
    try:
        search.step(loss)
    finally:
        torch.set_num_threads(threads)
    return (weight * unit).float().numpy(), bias.float().numpy()
