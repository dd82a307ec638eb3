"""Data and network of a resolved recipe: whatever can be refused is refused here."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convscope import devices, kernels, models, trial
from convscope.data import augment, duplicates
from convscope.data.duplicates import Duplicates
from convscope.data.loader import Loader, tensor_of, to_input
from convscope.data.pack import Pack
from convscope.data.split import held_out, statistics, validation
from convscope.errors import BadArgument
from convscope.events import Emit, Event, Notice, Progress
from convscope.models.parts import Classifier, InitialisedFromImages
from convscope.recipe import Recipe
from convscope.training import choice, memory
from convscope.training.precision import FORMATS
from convscope.training.rehearsal import Rehearsal

TWINS = 12  # times the weights: copies that the probe of number formats works on
FEW = 32  # images that it works with at most where memory is bounded
SEEN = 5000  # training images that a layer is initialised from


@dataclass(frozen=True)
class Prepared:
    """A recipe's data, and its network as PyTorch computes it, which has stood its trial.

    ``val`` are the training images that are held out, ``judged`` the images uint8 [N,C,H,W] and
    labels [N] that are judged after each epoch. ``probed`` is how many images a pass may have while
    formats are measured. ``let_go`` gives back, where memory is bounded, what was read of images.
    """

    recipe: Recipe
    pack: Pack
    val: NDArray[np.int64]
    duplicates: Duplicates
    judged: tuple[NDArray[np.uint8], NDArray[np.int64]]
    model: Classifier
    loader: Loader
    emit: Emit
    let_go: Callable[[], None]
    probed: int | None = None

    def laid_out(self, memory_format: str) -> Prepared:
        """The same with weights, in place, and batches in this memory format."""
        layout = FORMATS[memory_format]
        self.model.to(memory_format=layout)
        return replace(self, loader=replace(self.loader, memory_format=layout))

    def rehearsal(self, asked: Recipe, network: nn.Module) -> Rehearsal:
        """The run's work on copies of a network; what is judged are images of validation, or of
        training where there are none."""
        images = self.judged[0] if len(self.judged[0]) else self.pack.splits["train"].images
        some = torch.from_numpy(np.array(images[: asked.train.eval_batch]))
        return Rehearsal(network, self.loader, asked.train, some, self.let_go)


def prepare(
    asked: Recipe,
    pack: Pack,
    emit: Emit,
    val: Sequence[int] | None = None,
    max_memory: int | None = None,
) -> Prepared:
    """Data and network of a recipe, and the recipe with what they decide of it.

    ``val`` is how a run of this recipe that was begun before held out images; ``max_memory``, bytes
    in all, bounds the passes of the trial. Raises BadArgument for what the data, the device or the
    network does not bear.
    """
    emit, let_go = (emit, _nothing) if max_memory is None else _frugal(emit, pack)
    train = pack.splits["train"]
    augment.check(asked.augment, pack.image_size, pack.channels)
    held = held_out(asked, pack, val)
    twice = duplicates.found_in(pack)
    let_go()
    judged = validation(pack, held)
    if asked.train.early_stopping and not len(judged[1]):
        raise BadArgument(
            "early_stopping",
            asked.train.early_stopping,
            "needs a validation split, and there is none with val=0",
            "leave one of them out",
        )
    indices = torch.from_numpy(np.setdiff1d(np.arange(len(train)), held))
    name = Path(asked.data.name).name
    emit(
        Notice(
            f"{name}: {len(indices):,} images to learn from, {len(judged[1]):,} held out for "
            f"validation, {len(pack.splits['test']):,} to judge"
        )
    )
    if (notice := twice.notice(name)) is not None:
        emit(notice)
    device = devices.of(asked.train.device)
    if device == "cpu" and (why := kernels.odd()):
        emit(Notice(f"compiled kernels are not available, which costs speed: {why}", True))
    choice.check(asked.train, torch.device(device))
    torch.manual_seed(asked.train.seed)
    model = build(asked, pack)
    pixels, labels = tensor_of(train.images), torch.from_numpy(train.labels)
    if asked.data.normalise:
        model.normalise.set(*statistics(pixels, indices, let_go))
    _initialise(model, pixels, indices)
    model.to(device)
    asked = asked.measured(
        device=device,
        threads=torch.get_num_threads(),
        image_size="{}x{}".format(*pack.image_size),
    )
    loader = Loader(
        devices.resident(pixels, device),
        labels,
        indices,
        asked.train.batch_size,
        asked.train.seed,
        asked.augment,
        device,
        torch.contiguous_format,
        len(pack.classes),
    )
    if asked.train.steps and asked.origin.get("train.epochs") == "default":
        asked = asked.measured(epochs=math.ceil(asked.train.steps / len(loader.sizes())))
    found = Prepared(asked, pack, held, twice, judged, model, loader, emit, let_go)
    if max_memory is not None:
        found = replace(found, probed=_probed(found, max_memory))
    return replace(found, recipe=_tried(found))


def build(asked: Recipe, pack: Pack) -> Classifier:
    """The network of a recipe for some data, as its seed makes it. Raises BadArgument."""
    size = len(pack.classes), pack.channels, pack.image_size
    return models.build(asked.model.name, *size, asked.model.arguments)


def _nothing() -> None: ...


def _frugal(emit: Emit, pack: Pack) -> tuple[Emit, Callable[[], None]]:
    """Let go of the images that were read, at every sign of progress, and when it is called: what
    is mapped counts as resident, however easily the system could take it back."""

    def let_go() -> None:
        memory.let_go(split.images for split in pack.splits.values())

    def frugally(event: Event) -> None:
        emit(event)
        if isinstance(event, Progress):
            let_go()

    return frugally, let_go


def _initialise(model: Classifier, pixels: Tensor, indices: Tensor) -> None:
    """Let layers with a data-dependent initialisation see the first training images."""
    ours = () if model.features is None else model.features.modules()  # a user's is all head
    layers = [layer for layer in ours if isinstance(layer, InitialisedFromImages)]
    if layers:
        inputs = to_input(pixels[indices[:SEEN]], "cpu", torch.contiguous_format)
        for layer in layers:
            layer.init_from_images(model.normalise(inputs))


def _probed(found: Prepared, bound: int) -> int:
    """How many images the probe of number formats and kernels may work with, which takes more for
    each than training does."""
    asked = found.recipe
    if asked.train.device != "cpu":
        rule = f"bounds the memory of the CPU, and the network is on {asked.train.device}"
        raise BadArgument("max_memory", memory.spelt(bound), rule, "set micro_batch yourself")
    if "auto" not in (asked.train.precision, asked.train.memory_format, asked.train.kernels):
        return FEW  # nothing is probed
    plain = asked.measured(precision="float32", memory_format="contiguous", kernels="plain")
    weights = sum(p.numel() * p.element_size() for p in found.model.parameters())
    size, _ = memory.fit(bound, found.rehearsal(plain, found.model), TWINS * weights)
    return min(FEW, max(2, (size or asked.train.batch_size) // 4))


def _tried(found: Prepared) -> Recipe:
    """The recipe, once the network has stood its trial."""
    asked, pack, train = found.recipe, found.pack, found.recipe.train
    judged = len(found.judged[1]), len(pack.splits["test"])
    passes = trial.Passes.of(found.loader.sizes(), train.micro_batch, judged, train.eval_batch)
    if found.probed is not None:
        passes = passes.at_most(found.probed)
    batch = next(found.loader.epoch(0))
    return trial.hold(
        found.model,
        asked,
        (batch.inputs[0], batch.targets[0]),
        passes,
        len(pack.classes),
        functools.partial(build, asked, pack),
        found.emit,
    )
