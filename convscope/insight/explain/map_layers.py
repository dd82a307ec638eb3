"""What lies inside a network: its stages, which give maps, what these are, and the first layer's
filters."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from convscope.data.loader import tensor_of, to_input
from convscope.errors import BadArgument, nearest
from convscope.evaluation.hooks import hooked, output_shapes
from convscope.evaluation.predictions import evaluating
from convscope.events import Emit, Progress

BATCH = 250  # images at a time
LEAST = 5  # units a side: fewer say hardly anything about where


@dataclass(frozen=True)
class Stage:
    """A layer that gives maps: its name in the network, its kind, and their shape [F,h,w]."""

    name: str
    kind: str
    shape: tuple[int, int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a map, in units."""
        return self.shape[1:]

    def __str__(self) -> str:
        maps, height, width = self.shape
        return f"{self.name} ({self.kind}, {maps} maps of {height}x{width})"


def stages(network: nn.Module, image_size: Sequence[int]) -> list[Stage]:
    """Every layer whose output is maps [B,F,h,w], in the order of the calls, for images [C,H,W];
    the normalisation is left out, and so is what only holds others one after another.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    >>> [str(stage) for stage in stages(net, (1, 8, 8))]
    ['0 (Conv2d, 4 maps of 6x6)', '1 (ReLU, 4 maps of 6x6)']
    """
    found = []
    for name, shape in output_shapes(network, tuple(image_size)).items():
        module = network.get_submodule(name)
        holds = isinstance(module, nn.Sequential | nn.Identity)
        outside = name.split(".", maxsplit=1)[0] in ("", "normalise")
        if len(shape) == 4 and shape[0] == 1 and not (holds or outside):
            _, maps, height, width = shape
            found.append(Stage(name, type(module).__name__, (maps, height, width)))
    return found


def stage_of(known: Sequence[Stage], name: str, argument: str = "layer") -> Stage:
    """The stage of this name. Raises BadArgument, naming the nearest, and where there are none."""
    for stage in known:
        if stage.name == name:
            return stage
    if not known:
        rule = "is asked for, and no layer of this network gives maps"
        raise BadArgument(argument, name, rule, "leave it out, or train a convolutional network")
    remedy = nearest(name, [stage.name for stage in known])
    raise BadArgument(argument, name, "is no layer that gives maps", remedy)


def fitting(known: Sequence[Stage]) -> Stage | None:
    """The stage whose maps say most about what is where: the last that has at least five units a
    side, else the one with the most.

    >>> fitting([Stage("0", "Conv2d", (4, 8, 8)), Stage("1", "ReLU", (4, 8, 8)),
    ...          Stage("2", "Conv2d", (4, 2, 2))]).name
    '1'
    """
    fine = [stage for stage in known if min(stage.size) >= LEAST]
    if fine:
        return fine[-1]
    return max(known, key=lambda stage: min(stage.size), default=None)


class _Kept(nn.Module):
    """A layer whose output nothing changes in place: what follows works on a copy."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: Tensor) -> Tensor:
        given: Tensor = self.layer(*inputs)
        return given.clone()


def opened(network: nn.Module, name: str) -> tuple[nn.Module, nn.Module]:
    """A copy of a network for looking at one layer, and that layer: no operation after it changes
    its output in place."""
    made = copy.deepcopy(network).eval().requires_grad_(False)
    path, _, last = name.rpartition(".")
    parent = made.get_submodule(path)
    kept = _Kept(made.get_submodule(name))
    setattr(parent, last, kept)
    return made, kept.layer


def inputs_of(images: np.ndarray) -> Tensor:
    """Images uint8 [N,C,H,W] as the network takes them."""
    return to_input(tensor_of(np.ascontiguousarray(images)), "cpu", torch.contiguous_format)


def batches(images: np.ndarray, what: str, emit: Emit) -> Iterator[Tensor]:
    """The same, some at a time; reports Progress."""
    for start in range(0, len(images), BATCH):
        part = images[start : start + BATCH]
        yield inputs_of(part)
        emit(Progress(what, start + len(part), len(images), "images"))


def maps_of(network: nn.Module, images: Tensor, name: str) -> Tensor:
    """The maps [N,F,h,w] that a stage gives for images float 0..1 [N,C,H,W]."""
    taken: list[Tensor] = []

    def seen(name: str, module: nn.Module, given: object, output: object) -> None:
        if isinstance(output, Tensor):
            taken.append(output.detach().clone())

    with hooked({name: network.get_submodule(name)}, seen), evaluating(network), torch.no_grad():
        network(images)
    return taken[-1]


def filters_of(network: nn.Module) -> tuple[str, np.ndarray] | None:
    """The first convolution's name and kernels, float32 [F,C,k,k]; None where there is none.

    >>> filters_of(nn.Sequential(nn.ReLU(), nn.Conv2d(3, 8, 5)))[1].shape
    (8, 3, 5, 5)
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            return name, module.weight.detach().cpu().float().numpy().copy()
    return None
