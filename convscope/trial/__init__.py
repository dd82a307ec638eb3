"""One trial of a network before its run: what it would fail on is refused before anything is
written, in words.

A copy goes forward and back on batches of every size that will occur, is judged, saved, loaded into
a network that is built anew, and has to give the same logits.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from convscope.data.loader import Batch
from convscope.events import Emit
from convscope.recipe import Recipe
from convscope.training.losses import Losses
from convscope.trial.formats import settle
from convscope.trial.passes import Passes, judge, learn
from convscope.trial.saving import load
from convscope.trial.subject import Subject

__all__ = ["Passes", "hold"]

REBUILT = 2_000_000  # parameters up to which a network of the registry is built a second time


def hold(
    model: nn.Module,
    asked: Recipe,
    batch: Batch,
    losses: Losses,
    passes: Passes,
    rebuild: Callable[[], nn.Module],
    emit: Emit,
) -> Recipe:
    """The recipe, with what this network does not bear ruled out, once the network has stood its
    trial on a ``batch`` and the losses of its targets; the network stays as it was, but that its
    lazy layers have their sizes.

    Raises BadArgument: for passes that fail, for what is not a row of logits an image, where no
    gradient reaches a parameter, and where the network, saved and loaded, is another one.
    """
    with torch.random.fork_rng(devices=[]):
        network = Subject(model, asked, batch, losses, rebuild, emit)
        learn(network, passes.learnt)
        judge(network, passes.judged)
        if network.own or sum(p.numel() for p in model.parameters()) <= REBUILT:
            load(network)
        return settle(network) if network.own else asked
