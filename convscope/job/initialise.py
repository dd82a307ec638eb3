"""What a new network is told of its data before the first step: mean and deviation of the pixels,
the first images, the spread of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from convscope.data.loader import to_input
from convscope.data.pack import Split
from convscope.data.split import statistics
from convscope.models.joined import Joined, NumberHead, normalisers
from convscope.models.parts import InitialisedFromImages, is_ours
from convscope.recipe import Recipe

SEEN = 5000  # training images that a layer is initialised from


def _statistics(
    train: Split, name: str, values: Tensor, indices: Tensor, let_go: Callable[[], None]
) -> Sequence[Sequence[float]]:
    """Mean and standard deviation by channel of what is learnt from; those that a pack in shards
    keeps, where that is all of it."""
    if train.shards is not None and name in train.shards.statistics:
        if len(indices) == len(train):
            return train.shards.statistics[name]
        train.shards.need(indices.numpy())
    return statistics(values, indices, let_go)


def initialise(
    model: nn.Module,
    asked: Recipe,
    train: Split,
    inputs: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    indices: Tensor,
    let_go: Callable[[], None],
) -> None:
    """Give the first layers mean and deviation of the training images, let convscope's layers with
    a data-dependent initialisation see the first of these, in a user's network as well, and heads
    of numbers the spread of their targets."""
    for name, first in normalisers(model, inputs).items() if asked.data.normalise else ():
        first.set(*_statistics(train, name, inputs[name], indices, let_go))
    trunks = model.trunks if isinstance(model, Joined) else {next(iter(inputs)): model}
    normalise = normalisers(model, inputs)
    for name, trunk in trunks.items():
        every = trunk.modules()
        layers = [one for one in every if isinstance(one, InitialisedFromImages) and is_ours(one)]
        if layers:
            seen = torch.from_numpy(train.inputs[name][indices[:SEEN].numpy()])
            some = to_input(seen, "cpu", torch.contiguous_format)
            for layer in layers:
                layer.init_from_images(normalise[name](some))
    for name, head in model.heads.items() if isinstance(model, Joined) else ():
        if isinstance(head, NumberHead):
            std, mean = torch.std_mean(targets[name][indices].double(), correction=0)
            head.set(float(mean), float(std))
