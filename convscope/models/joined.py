"""A network of networks, for data of several inputs or targets: a trunk an input, one vector that
all of them make, a head a target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from convscope.data.columns import Column, Columns, Image, Number, Numbers, outputs_of
from convscope.models.parts import Classifier, Normalise


class NumbersTrunk(nn.Module):
    """normalise -> linear: numbers [B,d] -> a vector [B,width]."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.normalise = Normalise(count, dimensions=1)
        self.linear = nn.Linear(count, width)

    def forward(self, x: Tensor) -> Tensor:
        vector: Tensor = self.linear(self.normalise(x))
        return vector


class NumberHead(nn.Module):
    """linear, then the scale of the target: a vector [B,F] -> a number [B,1] in its own unit."""

    mean: Tensor
    std: Tensor

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, 1)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def set(self, mean: float, std: float) -> None:
        """Take the statistics of the training targets."""
        self.mean.fill_(mean)
        self.std.fill_(std or 1.0)

    def forward(self, x: Tensor) -> Tensor:
        number: Tensor = self.linear(x).float() * self.std + self.mean
        return number


class Joined(nn.Module):
    """A trunk an input -> their vectors side by side -> linear, ReLU -> a head a target.

    ``trunks`` are by the names of the inputs; one that is under several names sees them in turn.
    It gives the one head's output [B,K], or those of several by name.
    """

    def __init__(self, trunks: Mapping[str, nn.Module], width: int, hidden: int, heads: Columns):
        super().__init__()
        self.of = tuple(trunks)
        shared = {id(trunk): name for name, trunk in [*trunks.items()][::-1]}
        self.seen_by = {name: shared[id(trunk)] for name, trunk in trunks.items()}
        own = {name: trunk for name, trunk in trunks.items() if self.seen_by[name] == name}
        self.trunks = nn.ModuleDict(own)
        self.fuse = nn.Sequential(
            nn.ReLU(), nn.Linear(width * len(trunks), hidden), nn.ReLU(), nn.Dropout(0.1)
        )
        self.heads = nn.ModuleDict({name: _head(one, hidden) for name, one in heads.items()})

    def trunk(self, name: str) -> nn.Module:
        """The trunk of an input."""
        return self.trunks[self.seen_by[name]]

    def normalisers(self) -> dict[str, Normalise]:
        """The layer that normalises each input; a shared one under the first of its names."""
        return {name: trunk.normalise for name, trunk in self.trunks.items()}  # type: ignore[misc]

    def forward(self, *inputs: Tensor) -> Tensor | dict[str, Tensor]:
        vectors = [self.trunk(name)(x) for name, x in zip(self.of, inputs, strict=True)]
        fused = self.fuse(torch.cat(vectors, 1))  # [B,hidden]
        outputs = {name: head(fused) for name, head in self.heads.items()}
        return outputs if len(outputs) > 1 else next(iter(outputs.values()))


def _head(column: Column, hidden: int) -> nn.Module:
    if isinstance(column, Number):
        return NumberHead(hidden)
    return nn.Linear(hidden, outputs_of(column))


class Normalised(nn.Module):
    """A user's own network of several inputs, each of which it gets normalised."""

    def __init__(self, columns: Columns, network: nn.Module) -> None:
        super().__init__()
        self.normalise = nn.ModuleDict(
            {name: _normalise(one) for name, one in columns.items() if one.is_input}
        )
        self.head = network

    def normalisers(self) -> dict[str, Normalise]:
        """The layer that normalises each input."""
        return dict(self.normalise.items())  # type: ignore[arg-type]

    def forward(self, *inputs: Tensor) -> Any:
        layers = self.normalise.values()
        return self.head(*(layer(x) for layer, x in zip(layers, inputs, strict=True)))


def _normalise(column: Column) -> Normalise:
    if isinstance(column, Image):
        return Normalise(column.channels)
    assert isinstance(column, Numbers)
    return Normalise(len(column.names), dimensions=1)


def normalisers(network: nn.Module, inputs: Iterable[str]) -> Mapping[str, Normalise]:
    """The layers that normalise the inputs of a network, by the first input of each."""
    if isinstance(network, Joined | Normalised):
        return network.normalisers()
    assert isinstance(network, Classifier)
    return dict(zip(inputs, (network.normalise,), strict=True))


def joined(
    columns: Columns,
    build_trunk: Callable[[int, int, tuple[int, int]], nn.Module],
    shared: bool = False,
    width: int = 64,
    hidden: int = 128,
) -> Joined:
    """The network for these columns whose trunks of images ``build_trunk(width, channels, size)``
    makes: one an input, or, ``shared``, one for all images of a shape."""
    trunks: dict[str, nn.Module] = {}
    made: dict[tuple[int, ...], nn.Module] = {}
    for name, one in columns.items():
        if isinstance(one, Numbers):
            trunks[name] = NumbersTrunk(len(one.names), width)
        elif isinstance(one, Image):
            if one.shape not in made or not shared:
                made[one.shape] = build_trunk(width, one.channels, one.size)
            trunks[name] = made[one.shape]
    heads = {name: one for name, one in columns.items() if not one.is_input}
    return Joined(trunks, width, hidden, heads)
