"""The learning-rate range test (Smith 2017, arXiv 1506.01186, section 3.3): how the loss answers to
a rate that rises from step to step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from convscope.data.loader import Loader, seed_of
from convscope.errors import TrainingError
from convscope.events import Emit, Progress
from convscope.recipe import Train
from convscope.training import optim
from convscope.training.checkpoint import Position, State
from convscope.training.loop import update
from convscope.training.losses import losses_of
from convscope.training.rehearsal import endless

LOWEST, HIGHEST, STEPS = 1e-6, 10.0, 100
ENOUGH = 4.0  # times the lowest loss: the test ends
MEMORY = 0.8  # of the running mean that the end is judged by
REACH = 6  # steps to each side that the curve is smoothed over


@dataclass(frozen=True)
class Search:
    """The rates that were tried, the loss at each, as it was and smoothed; and the rate at which
    the smoothed loss falls steepest, None where it never falls."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None


def search(model: nn.Module, loader: Loader, train: Train, emit: Emit) -> Search:
    """Train the model for up to 100 steps, which spoils it, at rates that rise evenly on a
    logarithmic scale from 1e-6 to 10, or until the loss is four times the lowest.

    Raises TrainingError where the loss is no number at the very first.
    """
    state = State.of(model, optim.optimizer(model, train), train)
    batches, each = endless(loader), losses_of(loader, train)
    rates: list[float] = []
    losses: list[float] = []
    lowest = running = math.inf
    model.train()
    for done in range(STEPS):
        rate = rate_at(done)
        batch = next(batches)
        sums = Position().sums(loader.device)
        update(state, batch, train, each, done, rate, seed_of(train.seed, done), sums)
        loss = float(sums[0]) / len(batch)
        emit(Progress("learning rates", done + 1, STEPS, "steps"))
        if not math.isfinite(loss):
            break
        rates.append(rate)
        losses.append(loss)
        running = loss if math.isinf(running) else MEMORY * running + (1 - MEMORY) * loss
        lowest = min(lowest, running)
        if running > ENOUGH * lowest:
            break
    if not losses:
        raise TrainingError("the loss of the first step is no number; look at images and targets")
    smoothed = smooth(np.array(losses))
    return Search(tuple(rates), tuple(losses), tuple(smoothed.tolist()), steepest(rates, smoothed))


def rate_at(step: int) -> float:
    """The rate of a step.

    >>> [f"{rate_at(step):g}" for step in (0, 99)]
    ['1e-06', '10']
    """
    return float(LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1)))


def smooth(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each loss as the mean of its neighbours, nearer ones counting more: a triangle that reaches
    over six to each side, and over as many to both sides near an end.

    Straight lines stay as they are.
    """
    found = np.empty_like(losses)
    for i in range(len(losses)):
        reach = min(REACH, i, len(losses) - 1 - i)
        weights = reach + 1 - np.abs(np.arange(-reach, reach + 1))
        found[i] = np.average(losses[i - reach : i + reach + 1], weights=weights)
    return found


def steepest(rates: list[float], smoothed: NDArray[np.float64]) -> float | None:
    """The rate before the lowest loss at which the loss falls most for a factor of the rate."""
    lowest = int(smoothed.argmin())
    if lowest < 2:
        return None
    slopes = np.gradient(smoothed[: lowest + 1])
    best = int(slopes.argmin())
    return rates[best] if slopes[best] < 0 else None
