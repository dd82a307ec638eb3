"""Data and network of a resolved recipe: whatever can be refused is refused here."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from convscope import devices, kernels, models, trial
from convscope.data import augment, duplicates, groups
from convscope.data.columns import Image
from convscope.data.duplicates import Duplicates
from convscope.data.loader import Loader, nested, tensor_of
from convscope.data.pack import Pack, Split
from convscope.data.split import held_out, strata, validation
from convscope.engine import choice
from convscope.engine.tuned_network import FORMATS
from convscope.errors import BadArgument
from convscope.evaluation import ood, selective
from convscope.evaluation.targets import main_target
from convscope.events import Emit, EpochEnd, Event, Notice, Progress
from convscope.formatting import decimal_size, plural
from convscope.job import ranked
from convscope.job.initialise import initialise
from convscope.models import pretrained, surgery
from convscope.models.parts import Classifier
from convscope.models.pretrained import Weights
from convscope.recipe import Recipe, Train
from convscope.training import losses, memory
from convscope.training.losses import losses_of
from convscope.training.ranks import ALONE, Ranks
from convscope.training.rehearsal import Rehearsal

TWINS = 12  # times the weights: copies that the probe of number formats works on
FEW = 32  # images that it works with at most where memory is bounded
LOOK = 6.0  # seconds that a look into the network takes at most, near enough
PATIENT = 20  # times that, and a time budget allows for it
TRIED = 2  # images a pass of the trial where no step follows


@dataclass(frozen=True)
class Limits:
    """What a job may cost: ``seconds`` in all since ``began`` (of ``time.perf_counter``), and
    ``memory``, bytes in all; where nobody asked for that, ``beyond`` are those that the machine has
    besides. Without ``look`` the report does not show what the network has learnt."""

    began: float = 0.0
    seconds: float | None = None
    memory: int | None = None
    look: bool = True
    beyond: int = 0

    @property
    def unseen(self) -> str:
        """Why there is no look into the network at the end, if its cost was not allowed for."""
        if not self.look:
            why = "it was asked for"
        elif self.memory is not None:
            why = "the memory of this run was bounded"
        elif self.seconds is not None and self.seconds < PATIENT * LOOK:
            why = "the time of this run was bounded"
        else:
            return ""
        return f"Left out, as {why}: see convscope explain."


class Head(NamedTuple):
    """A last layer as it was fitted to features: the ``end`` of that as of an epoch, the
    ``features`` of a split by its name, float32 [N,F], those ``of_images`` that are in none, by a
    stage's name, their ``logits``; ``whole`` where nothing is to be trained beside it. ``again``
    fits it to the few images of validation, too, once these have said what they can; ``saw_val``
    where that was done."""

    end: EpochEnd
    features: Callable[[str], NDArray[np.float32]]
    of_images: Callable[[NDArray[np.uint8], str], NDArray[np.float32]]
    logits: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    whole: bool
    again: Callable[[], Head] | None = None
    saw_val: bool = False


@dataclass(frozen=True)
class Job:
    """A recipe with its data and its network; each stage gives it back with more of it decided.

    ``val`` are the training records that are held out, ``judged`` is what is judged after each
    epoch. ``engine`` is the network as it is run, ``model`` itself until that is tuned. ``probed``
    is how many images a pass may have while formats are measured. ``let_go`` gives back, where
    memory is bounded, what was read of the images.
    """

    recipe: Recipe
    pack: Pack
    limits: Limits
    val: NDArray[np.int64]
    duplicates: Duplicates
    judged: Split
    model: nn.Module
    engine: nn.Module
    loader: Loader
    emit: Emit
    let_go: Callable[[], None]
    probed: int | None = None
    weights: Weights | None = None
    head: Head | None = None
    ranks: Ranks = ALONE

    @property
    def learnt_from_val(self) -> bool:
        """Whether a fitted last layer has seen the images of validation, once they were judged."""
        return self.head is not None and self.head.saw_val

    @property
    def only_fits(self) -> bool:
        """Whether it begins from other weights, and all but a new last linear layer stays so: that
        one is fitted, and no step follows."""
        if self.weights is None or self.recipe.train.last_layer == "kept":
            return False
        name, last = surgery.output_layer(self.model)
        learning = (one for one, p in self.model.named_parameters() if p.requires_grad)
        return isinstance(last, nn.Linear) and all(one.startswith(f"{name}.") for one in learning)

    @property
    def begins_judged(self) -> bool:
        """Whether the weights that it begins with are those to keep until an epoch is better."""
        train = self.recipe.train
        kept = self.weights is not None and train.last_layer == "kept"
        return kept and train.keeps_best and len(self.judged) > 0

    @property
    def adds_classes(self) -> bool:
        """Whether it keeps a run's last layer, and has new classes besides."""
        if self.weights is None or self.recipe.train.last_layer == "new":
            return False
        return len(self.pack.main_classes) > len(self.weights.classes)

    @property
    def outliers(self) -> int:
        """How many images of each kind that is unlike those of validation are judged; none of data
        of several inputs."""
        alone = len(self.pack.inputs) == 1
        return ood.count(len(self.judged)) if alone else 0

    @property
    def finally_judged(self) -> int:
        """How many images are judged after the last epoch."""
        unlike = len(ood.OUTLIERS) * self.outliers
        tests = 1 + self.adds_classes  # the run that it began from is judged, too
        return len(self.judged) + unlike + tests * self.pack.tests

    def laid_out(self, memory_format: str) -> Job:
        """The same with weights, in place, and batches in this memory format."""
        layout = FORMATS[memory_format]
        self.model.to(memory_format=layout)
        return replace(self, loader=replace(self.loader, memory_format=layout))

    def rehearsal(self) -> Rehearsal:
        """Its work on copies of the network; what is judged are images of validation, or of
        training where there are none."""
        split = self.judged if len(self.judged) else self.pack.splits["train"]
        size = self.recipe.train.eval_batch
        some = {n: torch.from_numpy(np.array(one[:size])) for n, one in split.inputs.items()}
        return Rehearsal(self.engine, self.loader, self.recipe.train, some, self.let_go)

    def fitting(self, reserved: int = 0) -> tuple[int, int]:
        """``micro_batch`` and ``eval_batch`` within its bound of memory, of which so many bytes are
        ``reserved``. Raises BadArgument where not even the smallest fit."""
        assert self.limits.memory is not None
        try:
            self.emit(Progress("measure", 0, None, "passes"))
            return memory.fit(self.limits.memory, self.rehearsal(), reserved, self.limits.beyond)
        except BadArgument as why:
            if not self.limits.beyond:
                raise
            raise _beyond(self, why.rule.partition(": ")[2]) from None
        finally:
            self.emit(Progress("measure", 1, 1, "passes"))


def prepare(
    asked: Recipe,
    pack: Pack,
    emit: Emit,
    limits: Limits = Limits(),
    val: Sequence[int] | None = None,
    ranks: Ranks = ALONE,
    guarded: bool = False,
) -> Job:
    """Data and network of a recipe, which has stood its trial, and what they decide of the recipe.

    ``val`` is how a run of this recipe that was begun before held out images. Of several ``ranks``
    the first does all that; the others are given its recipe, and its weights. Where it is
    ``guarded``, a batch that memory may not bear is bounded unasked. Raises BadArgument
    for what the data, the device or the network does not bear.
    """

    def let_go() -> None:
        if limits.memory is not None:  # what is mapped counts as resident, however easily it goes
            memory.let_go(one for split in pack.splits.values() for one in split.inputs.values())

    def frugally(event: Event) -> None:
        emit(event)
        if isinstance(event, Progress):
            let_go()

    train = pack.splits["train"]
    _augmentable(asked, pack)
    held = held_out(asked, pack, val)
    twice = duplicates.found_in(pack)
    let_go()
    judged = validation(pack, held)
    asked = asked if len(judged) else _unwatched(asked)
    if asked.asked("train.abstain"):
        selective.check(asked.train.abstain, len(judged))
    indices = torch.from_numpy(_learnt(asked, train, held))
    name = Path(asked.data.name).name
    counts = f"{len(indices):,} images to learn from, {len(judged):,} held out for validation"
    emit(Notice(f"{name}: {counts}, {pack.tests:,} to judge"))
    for notice in filter(None, (twice.notice(name), groups.torn(pack, held, asked.data.group))):
        emit(notice)
    device = ranked.device(asked, kind := devices.of(asked.train.device), ranks)
    if device == "cpu" and (why := kernels.odd()):
        emit(Notice(f"compiled kernels are not available, which costs speed: {why}", True))
    choice.check(asked.train, torch.device(device))
    inputs = {name: tensor_of(values, whole=False) for name, values in train.inputs.items()}
    targets = {name: torch.from_numpy(values) for name, values in train.targets.items()}
    torch.manual_seed(asked.train.seed)
    model, weights = build(asked, pack), None
    if asked.train.started:
        weights = _begun(model, asked, pack, emit) if ranks.leads else None
        _frozen(model, asked, pack)
    elif ranks.leads:
        initialise(model, asked, train, inputs, targets, indices, let_go)
    model.to(device)
    ranked.together(model, asked, ranks, emit)
    size = "{}x{}".format(*pack.main_image.size)
    threads = asked.train.threads if ranks.several else torch.get_num_threads()
    asked = asked.measured(device=kind, threads=threads, image_size=size)
    loader = Loader(
        pack.columns,
        inputs if train.shards is not None else devices.resident(inputs, device),
        targets,
        indices,
        asked.train.batch_size,
        asked.train.seed,
        asked.augment,
        device,
        torch.contiguous_format,
        asked.train.sampler,
        train.shards,
        ranks.rank,
        ranks.count,
    )
    _counted(loader, asked.train, emit)
    job = Job(
        recipe=_of_steps(asked, loader),
        pack=pack,
        limits=limits,
        val=held,
        duplicates=twice,
        judged=judged,
        model=model,
        engine=model,
        loader=loader,
        emit=frugally,
        let_go=let_go,
        weights=weights,
        ranks=ranks,
    )
    if not ranks.leads:
        return ranked.sized(job)
    if guarded:
        limits = _bounded(job)  # let_go sees it, too
        job = replace(job, limits=limits)
    if limits.memory is not None:
        job = replace(job, probed=_probed(job))
    return replace(job, recipe=_tried(job))


def _augmentable(asked: Recipe, pack: Pack) -> None:
    """Refuse data without a class, or augmentation that they do not bear. Raises BadArgument."""
    main_target(pack.columns)
    for mix in ("mixup", "cutmix"):
        if (share := getattr(asked.augment, mix)) and len(pack.columns) > 2:
            raise BadArgument(mix, share, "goes with one image and one class", "leave it out")
    for column in pack.inputs.values():
        if isinstance(column, Image):
            augment.check(asked.augment, column.size, column.channels)


def _of_steps(asked: Recipe, loader: Loader) -> Recipe:
    """The recipe with as many epochs as its steps take, if these were asked for."""
    if asked.train.steps and asked.origin.get("train.epochs") == "default":
        return asked.measured(epochs=math.ceil(asked.train.steps / len(loader.sizes())))
    return asked


def _unwatched(asked: Recipe) -> Recipe:
    """The recipe where nothing is held out for validation. Raises BadArgument."""
    if asked.origin.get("train.keep") == "measured":
        asked = asked.measured(keep="last")
    if asked.train.keeps_best:
        name = "early_stopping" if asked.train.early_stopping else "keep"
        rule = "needs a validation split, and there is none with val=0"
        raise BadArgument(name, getattr(asked.train, name), rule, "leave one of them out")
    return asked


def build(asked: Recipe, pack: Pack) -> nn.Module:
    """The network of a recipe for some data, as its seed makes it. Raises BadArgument."""
    name, arguments = asked.model.name, asked.model.arguments
    return models.build_for(name, pack.columns, arguments, asked.model.shared_trunk)


def _learnt(asked: Recipe, train: Split, held: NDArray[np.int64]) -> NDArray[np.int64]:
    """The training records that are learnt from: those not held out, or a share of each class."""
    indices = np.setdiff1d(np.arange(len(train)), held)
    if asked.data.share < 1:
        indices = indices[nested(strata(train)[indices], asked.data.share, asked.train.seed)]
    return indices


def _begun(model: nn.Module, asked: Recipe, pack: Pack, emit: Emit) -> Weights:
    """What a network begins from, once it has it, and is frozen as the recipe says. Raises
    BadArgument, also for data of several inputs or targets."""
    if not isinstance(model, Classifier):
        rule = "is for data of one image and one class"
        raise BadArgument("start", asked.train.start, rule, "leave it out")
    weights, kept = pretrained.find(asked.train.start, asked.model.name), asked.train.last_layer
    if weights.classes:
        emit(Notice(pretrained.side_by_side(weights.classes, pack.main_classes)))
    pretrained.begin(model, weights, pack.main_classes if kept == "kept" else None)
    return weights


def _frozen(model: nn.Module, asked: Recipe, pack: Pack) -> None:
    """Let what a training from other weights leaves as it is stay so."""
    assert isinstance(model, Classifier)
    if asked.train.batch_norm == "kept":
        surgery.keep_statistics(model)
    surgery.freeze(model, asked.train.freeze, pack.main_image.size)


def _counted(loader: Loader, train: Train, emit: Emit) -> None:
    """Check, and say, how rare classes are made up for. Raises BadArgument."""
    losses.check(loader, train)
    if said := losses.said(loader, train):
        emit(Notice(said))


def _bounded(job: Job) -> Limits:
    """Its limits, with a bound of memory where none was asked for, and the batches of the recipe
    are so large that memory might end."""
    limits, train, there = job.limits, job.recipe.train, memory.free()
    left = job.recipe.origin.get("train.micro_batch", "default") == "default"
    if limits.memory or not left or job.ranks.several or job.only_fits:
        return limits
    if there is None or train.device != "cpu":
        return limits
    needed = memory.estimate(job.model, next(job.loader.epoch(0)), train.eval_batch, there)
    if needed <= there * memory.CLOSE or not memory.weighs():
        return limits
    batch = plural(max(job.loader.sizes()), "image")
    said = f"a batch of {batch} may take about {decimal_size(needed)}, and {decimal_size(there)}"
    passes = "as many images a pass as fit, which is measured (--max-memory)"
    job.emit(Notice(f"{said} are free: {passes}"))
    bound = int(there * memory.SHARE)
    return replace(limits, memory=memory.resident() + bound, beyond=there - bound)


def _beyond(job: Job, why: str) -> BadArgument:
    """The error for what takes more memory than there is: the batch, unless it is of few images."""
    height, width = job.pack.main_image.size
    name, value, less = "batch_size", str(batch := job.loader.batch_size), batch // 4
    if batch <= FEW:
        name, value, less = "image_size", f"{height}x{width}", max(height, width) // 2
    rule = f"is more than this machine bears with {job.recipe.model.name} at {height}x{width}"
    return BadArgument(name, value, f"{rule}: {why}", f"try {less}, or a bound (--max-memory SIZE)")


def _probed(job: Job) -> int:
    """How many images the probe of number formats and kernels may work with, which takes more for
    each than training does."""
    train = job.recipe.train
    if train.device != "cpu":
        rule = f"bounds the memory of the CPU, and the network is on {train.device}"
        bound = decimal_size(job.limits.memory or 0)
        raise BadArgument("max_memory", bound, rule, "set micro_batch yourself")
    if "auto" not in (train.precision, train.memory_format, train.kernels):
        return FEW  # nothing is probed
    plain = job.recipe.measured(precision="float32", memory_format="contiguous", kernels="plain")
    weights = sum(p.numel() * p.element_size() for p in job.model.parameters())
    size, _ = replace(job, recipe=plain).fitting(TWINS * weights)
    return min(FEW, max(2, (size or train.batch_size) // 4))


def _tried(job: Job) -> Recipe:
    """The recipe, once the network has stood its trial."""
    asked, pack, train = job.recipe, job.pack, job.recipe.train
    judged = len(job.judged), job.outliers, pack.tests
    passes = trial.Passes.of(job.loader.passes(), train.micro_batch, judged, train.eval_batch)
    most = TRIED if job.only_fits else job.probed
    passes = passes if most is None else passes.at_most(most)
    batch, losses = next(job.loader.epoch(0)), losses_of(job.loader, train)
    rebuild = functools.partial(build, asked, pack)
    return trial.hold(job.model, asked, batch, losses, passes, rebuild, job.emit)
