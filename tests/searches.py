"""Trials of searches that train nothing: each is a curve."""

from __future__ import annotations

import math

from convscope.events import EpochEnd

EPOCHS = 9
QUICK = {"vary": ["lr=1e-4..1 log"], "model": "mlp", "epochs": EPOCHS, "precision": "float32"}


def end(epoch: int, accuracy: float) -> EpochEnd:
    """The end of an epoch of which validation says this."""
    return EpochEnd(epoch, EPOCHS, 1.0, 0.5, 1.0, accuracy, 0.1, 0.0, 1.0)


def accuracy(lr: float, epoch: int) -> float:
    """A curve that is highest at a learning rate of 0.01."""
    return (1 - 0.1 * abs(math.log10(lr / 0.01))) * (1 - 0.5**epoch)
