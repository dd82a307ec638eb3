"""A recipe trained as far as validation, and no further: what a trial of a search is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from convscope import machine
from convscope.data.pack import Pack
from convscope.engine import choice
from convscope.errors import BadArgument
from convscope.events import Emit
from convscope.job import complete
from convscope.job.prepare import prepare
from convscope.job.probe import probe
from convscope.job.tune import tune
from convscope.recipe import Recipe
from convscope.run import RunFolder


@dataclass(frozen=True)
class Validated:
    """What validation says of the weights that are kept, and what they cost."""

    accuracy: float
    seconds: float
    epochs: int
    parameters: int


def validated(asked: Recipe, pack: Pack, place: RunFolder, emit: Emit) -> Validated:
    """Train a recipe and judge it on validation; the test split is not looked at, no page is made,
    and nothing is timed: number format, memory format and kernels that are left open are those that
    suit the processor (:func:`convscope.engine.choice.prior`). ``place`` is an empty folder that
    may be removed afterwards.

    What ``emit`` raises at the end of an epoch ends the training. Raises BadArgument, also where
    nothing is held out, DataError, TrainingError and Interrupted.
    """
    with machine.at_work(asked.train.threads):
        job = prepare(asked, pack, emit)
        if not len(job.judged):
            rule = "holds nothing out, so that there is nothing to choose by"
            raise BadArgument("val", asked.data.val, rule, "try 0.1")
        formats = choice.prior(job.recipe, torch.device(job.loader.device))._asdict()
        job = tune(probe(replace(job, recipe=job.recipe.measured(**formats))))
        job, at = complete.fitted(job, place)
    last: float = at.history[-1]["val_accuracy"]
    accuracy = last if at.best_accuracy is None else at.best_accuracy  # that of what is kept
    parameters = sum(p.numel() for p in job.model.parameters())
    return Validated(accuracy, at.train_seconds, len(at.history), parameters)
