"""A resolved recipe with its data and its network, from the first batch to the report."""

from __future__ import annotations

import contextlib
import copy
import datetime
import functools
import math
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor, nn

from convscope import devices, files, kernels, machine, models, report, run, trial
from convscope.data import augment, duplicates
from convscope.data.loader import Loader, tensor_of, to_input
from convscope.data.pack import Pack
from convscope.data.split import held_out, statistics, validation
from convscope.engine import autotune, choice, measurements, precision
from convscope.engine.timing import race
from convscope.errors import BadArgument, ConvscopeError, DataError, RunError
from convscope.evaluation import metrics, predictions
from convscope.events import Emit, Event, Notice, Progress
from convscope.formatting import decimal_size, duration
from convscope.insight import anatomy, figures
from convscope.models import store
from convscope.models.parts import Classifier
from convscope.models.record import Whitening
from convscope.recipe import Recipe
from convscope.run import RunFolder
from convscope.training import budget, memory
from convscope.training.loop import fit
from convscope.training.pace import Watch
from convscope.training.profile import profile
from convscope.training.rehearsal import Rehearsal

if TYPE_CHECKING:
    from convscope.insight.explain import Glance

T = TypeVar("T")
TWINS = 12  # times the weights: copies that the probe of number formats works on
HASTE = 0.05  # of a time budget may each part of the probe take
LOOK = 6.0  # seconds that a look into the network takes at most, near enough
PATIENT = 20  # times that, and a time budget allows for it
FEW = 32  # images that it works with at most where memory is bounded


@dataclass(frozen=True)
class Limits:
    """What a job may cost: ``seconds`` in all since ``began`` (of ``time.perf_counter``), and
    ``memory``, bytes in all. Without ``look`` the report does not show what the network has
    learnt."""

    began: float
    seconds: float | None = None
    memory: int | None = None
    look: bool = True


class Job:
    """A recipe made ready to run: whatever can be refused is refused when it is made.

    ``recipe`` is what was asked for with all that was measured. ``begun`` says that a run of this
    recipe was begun before, whose every value stands, and ``val`` how it held out images.
    """

    def __init__(
        self,
        asked: Recipe,
        pack: Pack,
        emit: Emit,
        limits: Limits,
        begun: bool = False,
        val: Sequence[int] | None = None,
    ) -> None:
        self.pack, self.limits, self.begun = pack, limits, begun
        self.emit = emit if limits.memory is None else self._frugal(emit)
        train = pack.splits["train"]
        augment.check(asked.augment, pack.image_size, pack.channels)
        self.val = held_out(asked, pack, val)
        self.duplicates = duplicates.found_in(pack)
        self._let_go()
        self.judged, self.judged_labels = validation(pack, self.val)
        if asked.train.early_stopping and not len(self.judged_labels):
            raise BadArgument(
                "early_stopping",
                asked.train.early_stopping,
                "needs a validation split, and there is none with val=0",
                "leave one of them out",
            )
        self.indices = torch.from_numpy(np.setdiff1d(np.arange(len(train)), self.val))
        emit(
            Notice(
                f"{Path(asked.data.name).name}: {len(self.indices):,} images to learn from, "
                f"{len(self.judged_labels):,} held out for validation, "
                f"{len(pack.splits['test']):,} to judge"
            )
        )
        if (notice := self.duplicates.notice(Path(asked.data.name).name)) is not None:
            emit(notice)
        device = devices.of(asked.train.device)
        if device == "cpu" and (why := kernels.odd()):
            emit(Notice(f"compiled kernels are not available, which costs speed: {why}", True))
        torch.manual_seed(asked.train.seed)
        self._build = functools.partial(
            models.build,
            asked.model.name,
            len(pack.classes),
            pack.channels,
            pack.image_size,
            asked.model.arguments,
        )
        self.model = self._build()
        self.pixels, self.labels = tensor_of(train.images), torch.from_numpy(train.labels)
        if asked.data.normalise:
            self.model.normalise.set(*statistics(self.pixels, self.indices, self._let_go))
        self._whiten()
        self.model.to(device)
        self.pixels = devices.resident(self.pixels, device)
        self.engine: nn.Module = self.model
        asked = asked.measured(
            device=device,
            threads=torch.get_num_threads(),
            image_size="{}x{}".format(*pack.image_size),
        )
        self.loader = self._loader(asked, torch.contiguous_format)
        if asked.train.steps and asked.origin.get("train.epochs") == "default":
            asked = asked.measured(epochs=math.ceil(asked.train.steps / len(self.loader.sizes())))
        batch = next(self.loader.epoch(0))
        inputs, targets = batch.inputs[0], batch.targets[0]
        few = len(inputs) if limits.memory is None else self._few(asked, limits.memory)
        asked = self._tried(asked, (inputs, targets), None if limits.memory is None else few)
        patience = min(choice.PATIENCE, HASTE * (limits.seconds or math.inf))
        self.choice = choice.choose(
            asked, self.model, inputs[:few], targets[:few], self.emit, patience
        )
        asked = self.choice.recipe
        layout = precision.FORMATS[asked.train.memory_format]
        self.loader = self._loader(asked, layout)
        self.model.to(memory_format=layout)
        self.engine = precision.engine(self.model, asked.train.kernels, asked.train.precision)
        self.step = self._measured_step(asked) if limits.memory is None else None
        if limits.memory is not None:
            asked = self._within_memory(asked, limits.memory)
        self.recipe = asked if limits.seconds is None else self._within_time(asked, limits.seconds)

    def _tried(self, asked: Recipe, batch: tuple[Tensor, Tensor], most: int | None) -> Recipe:
        """The recipe, once the network has stood its trial: on at most so many images a pass."""
        train, test = asked.train, self.pack.splits["test"]
        judged = len(self.judged_labels), len(test)
        passes = trial.Passes.of(self.loader.sizes(), train.micro_batch, judged, train.eval_batch)
        passes = passes if most is None else passes.at_most(most)
        return trial.hold(
            self.model, asked, batch, passes, len(self.pack.classes), self._build, self.emit
        )

    def _whiten(self) -> None:
        """Let a first layer that whitens learn from the first training images."""
        for layer in self.model.modules():
            if isinstance(layer, Whitening):
                images = self.pixels[self.indices[:5000]]
                layer.learn(self.model.normalise(to_input(images, "cpu", torch.contiguous_format)))

    def _loader(self, asked: Recipe, layout: torch.memory_format) -> Loader:
        return Loader(
            self.pixels,
            self.labels,
            self.indices,
            asked.train.batch_size,
            asked.train.seed,
            asked.augment,
            asked.train.device,
            layout,
            len(self.pack.classes),
        )

    def _rehearsal(self, asked: Recipe) -> Rehearsal:
        """The run's work on copies of its network; what is judged are images of validation, or of
        training where there are none."""
        images = self.judged if len(self.judged) else self.pack.splits["train"].images
        some = torch.from_numpy(np.array(images[: asked.train.eval_batch]))
        return Rehearsal(self.engine, self.loader, asked.train, some, self._let_go)

    def _measured_step(self, asked: Recipe) -> float | None:
        """Seconds of a whole step, as kept with what was measured of the network, or as measured
        now and kept; None where nothing is kept of it."""
        found = self.choice.measurement
        if found is None:
            return None
        train, what = asked.train, (asked.augment, self.loader.batch_size)
        key = measurements.key_of(what, train.optimizer, train.ema, train.clip_grad)
        if key not in found.steps:
            rehearsal = self._rehearsal(asked)
            for _ in range(2):
                rehearsal.step()
            timing = race({"": rehearsal.step}, rounds=9, far=2.0, limit=1.0).timings[""]
            if not timing.sure:
                return None
            steps = found.steps | {key: timing.usual}
            measurements.write(self.choice.key, replace(found, steps=steps))
            return timing.usual
        return found.steps[key]

    def _watched(self) -> Emit:
        """Where a run's events go: its pace is held against what was measured, if anything was."""
        if self.step is None:
            return self.emit

        def drop() -> None:
            with contextlib.suppress(ConvscopeError):
                measurements.forget(self.choice.key)
                autotune.forget()

        return Watch(self.emit, self.step, self.loader.batch_size, drop)

    def _few(self, asked: Recipe, bound: int) -> int:
        """How many images the probe of number formats and kernels may work with, which takes more
        for each than training does."""
        if asked.train.device != "cpu":
            rule = f"bounds the memory of the CPU, and the network is on {asked.train.device}"
            raise BadArgument("max_memory", decimal_size(bound), rule, "set micro_batch yourself")
        if "auto" not in (asked.train.precision, asked.train.memory_format, asked.train.kernels):
            return FEW  # nothing is probed
        plain = asked.measured(precision="float32", memory_format="contiguous", kernels="plain")
        weights = sum(p.numel() * p.element_size() for p in self.model.parameters())
        size, _ = memory.fit(bound, self._rehearsal(plain), TWINS * weights)
        return min(FEW, max(2, (size or asked.train.batch_size) // 4))

    def _within_memory(self, asked: Recipe, bound: int) -> Recipe:
        """The recipe with as many images a pass as keep the process within ``bound`` bytes."""
        rehearsal = self._rehearsal(asked)
        if self.begun or asked.origin.get("train.micro_batch") == "recipe":
            memory.check(bound, rehearsal)
            return asked
        size, judged = memory.fit(bound, rehearsal)
        passes = f"{size} images a pass" if size else "the whole batch at once"
        self.emit(Notice(f"memory bound {decimal_size(bound)}: {passes} (measured)"))
        return asked.measured(micro_batch=size, eval_batch=judged)

    def _within_time(self, asked: Recipe, seconds: float) -> Recipe:
        """The recipe with as many steps as let the whole job end within ``seconds``."""
        deadline = self.limits.began + seconds * budget.AIM
        epoch = len(self.loader.sizes())
        val, test = len(self.judged), len(self.pack.splits["test"])
        room = deadline - time.perf_counter()
        prices = budget.measure(self._rehearsal(asked), room, val, val + test)
        room = deadline - time.perf_counter()
        steps = budget.fit(room - (0 if self._hurried() else LOOK), epoch, prices)
        if not steps:
            least = prices.step + prices.end + prices.final
            gone = time.perf_counter() - self.limits.began
            raise BadArgument(
                "time_budget",
                duration(seconds),
                f"is too short: {duration(gone)} went before training, and one step, judging and "
                f"the report take {duration(least)} more",
                f"try {duration((gone + least) / budget.AIM * 1.5)}",
            )
        self.emit(
            Notice(
                f"time budget {duration(seconds)}: {steps:,} steps, {steps / epoch:.1f} epochs "
                f"({prices.step * 1e3:.0f} ms a step, measured)"
            )
        )
        return asked.measured(epochs=math.ceil(steps / epoch), steps=steps)

    def _frugal(self, emit: Emit) -> Emit:
        """Let go of the images that were read, at every sign of progress: what is mapped counts as
        resident, however easily the system could take it back."""

        def frugally(event: Event) -> None:
            emit(event)
            if isinstance(event, Progress):
                self._let_go()

        return frugally

    def _let_go(self) -> None:
        if self.limits.memory is not None:
            memory.let_go(split.images for split in self.pack.splits.values())

    def profile(self, place: RunFolder) -> None:
        """Say where the time of a step goes, in plain PyTorch and here, and keep it."""
        train = self.recipe.train
        plain = copy.deepcopy(self.model).to(memory_format=torch.contiguous_format)
        loader = replace(self.loader, memory_format=torch.contiguous_format)
        found = {
            "plain PyTorch, float32": profile(plain, loader, replace(train, precision="float32")),
            "convscope": profile(self.engine, self.loader, train),
        }
        for name, one in found.items():
            self.emit(Notice(f"{name}: {one.table()}"))
        files.write_json(place.profile, {name: one.as_json() for name, one in found.items()})
        bars = {name: one.milliseconds() for name, one in found.items()}
        with files.whole_file(place.profile.with_suffix(".png")) as file:
            figures.where_time_goes(bars).savefig(file, format="png", dpi=120)

    def complete(self, place: RunFolder) -> None:
        """Fit, judge and write everything; a stage that is already done is not done again.

        Raises DataError or RunError where the run was begun with other data, another recipe or
        another source file, RunError where another process is at work on it.
        """
        lock = FileLock(place.lock, timeout=0)
        try:
            with lock:
                self._begin(place)
                self._go_through(place)
        except Timeout:
            raise RunError(
                f"{place.path}: another process is training into it; wait for it or stop it"
            ) from None

    def _begin(self, place: RunFolder) -> None:
        """Write ``split.json``, or hold this job against the one that a resumed run was begun
        as."""
        files.clear_unfinished(place.path)
        built = store.architecture(self.recipe.model.name, {}, 0, 0, (0, 0))
        begun = {
            "format_version": run.FORMAT_VERSION,
            "seed": self.recipe.data.split_seed,
            "fingerprint": self.pack.fingerprint,
            "digest": self.pack.digest,
            "recipe_sha256": files.sha256(place.recipe),
            "source_sha256": built.get("source_sha256"),
            "train": len(self.indices),
            "val": self.val.tolist(),
        }
        if not place.split.exists():
            files.write_json(place.split, begun)
            return
        before = place.read_split()
        same_data(self.pack, before["fingerprint"])
        for key, what in (
            ("recipe_sha256", f"{place.recipe} was edited"),
            ("source_sha256", f"{self.recipe.model.name} was edited"),
            ("digest", f"the images of {self.pack.name} are in another order"),
            ("val", "the validation split is another"),
        ):
            if before[key] != begun[key]:
                raise RunError(
                    f"{place.path}: cannot go on as it was begun: {what} since; put it back as it "
                    "was, or train anew into another folder"
                )

    def _go_through(self, place: RunFolder) -> None:
        val, test = len(self.judged), len(self.pack.splits["test"])
        at = fit(
            self.engine,
            self.loader,
            self._validate,
            self.recipe.train,
            place,
            self._watched(),
            (val, val + test),
        )
        if self.engine is not self.model:  # a buffer that forward put in another's place
            self.model.load_state_dict(self.engine.state_dict())
        if not place.metrics.exists():
            self._judge(place, at.train_seconds, at.history)
        write_pages(place, self.model.cpu(), self.pack, self.emit, self._hurried())
        if self.limits.memory is not None:
            memory.trim()  # the end of a process that imported torch takes 120 MB once more

    def _hurried(self) -> str:
        """Why there is no look into the network at the end, if its cost was not allowed for."""
        if not self.limits.look:
            return "Left out, as it was asked for: see convscope explain."
        if self.limits.memory is not None:
            return "Left out, as the memory of this run was bounded: see convscope explain."
        if self.limits.seconds is not None and self.limits.seconds < PATIENT * LOOK:
            return "Left out, as the time of this run was bounded: see convscope explain."
        return ""

    def _logits(
        self, model: nn.Module, images: NDArray[np.uint8], stage: str
    ) -> NDArray[np.float32]:
        return predictions.logits_of(
            model,
            images,
            batch_size=self.recipe.train.eval_batch,
            device=self.loader.device,
            memory_format=self.loader.memory_format,
            emit=self.emit,
            stage=stage,
        )

    def _validate(self, model: nn.Module) -> tuple[float | None, float | None]:
        labels = self.judged_labels
        if not len(labels):
            return None, None
        logits = self._logits(model, self.judged, "validate")
        return metrics.cross_entropy(logits, labels), metrics.accuracy(logits, labels)

    def _judge(self, place: RunFolder, seconds: float, history: list[dict[str, Any]]) -> None:
        """Fit the temperature on validation, then look at the test split, once."""
        temperature = 1.0
        if len(self.judged_labels):
            logits = self._logits(self.engine, self.judged, "validate")
            temperature = metrics.fit_temperature(logits, self.judged_labels)
        else:
            self.emit(Notice("no validation split: probabilities are not calibrated", warning=True))
        store.save(place, self.model, self._info(place, temperature))
        began = time.perf_counter()
        test = self.pack.splits["test"]
        logits = self._logits(self.engine, test.images, "judge")
        took = time.perf_counter() - began
        predictions.write_predictions(
            place.predictions,
            logits,
            test.labels,
            self.pack.classes,
            temperature,
            names=test.files,
        )
        trained = sum(row["seconds"] for row in history)
        learnt = sum(row["seconds"] * row["images_per_second"] for row in history)  # images
        measured = metrics.measure(logits, test.labels, self.pack.classes, temperature)
        right = logits.argmax(axis=1) == test.labels
        files.write_json(
            place.metrics,
            {
                "split": "test",
                **measured,
                "duplicates": self.duplicates.as_json(right),
                "test_looks": 1,
                "train_seconds": seconds,
                "eval_seconds": took,
                "images_per_second": learnt / trained,
            },
        )

    def _info(self, place: RunFolder, temperature: float) -> dict[str, Any]:
        """``model.json``, but for the SHA-256 of the weights."""
        pack, asked = self.pack, self.recipe
        own = ["--model", asked.model.name] if models.is_own(asked.model.name) else []
        return {
            "format_version": run.FORMAT_VERSION,
            "architecture": store.architecture(
                asked.model.name,
                dict(asked.model.arguments),
                len(pack.classes),
                pack.channels,
                pack.image_size,
            ),
            "classes": list(pack.classes),
            "preprocessing": {
                "channels": pack.channels,
                "size": list(pack.image_size),
                "fit": pack.fit,
                "memory_format": asked.train.memory_format,
                "scale": "uint8 / 255; mean and standard deviation are the network's first layer",
            },
            "temperature": temperature,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "versions": machine.versions(),
            "machine": machine.describe(),
            "data": {
                "name": pack.name,
                "fingerprint": pack.fingerprint,
                "train": len(self.indices),
                "val": len(self.judged_labels),
                "test": len(pack.splits["test"].labels),
            },
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": shlex.join(["convscope", "train", "--recipe", str(place.recipe), *own]),
        }


def write_pages(
    place: RunFolder, network: Classifier, pack: Pack, emit: Emit, unseen: str = ""
) -> None:
    """The model card and the report, from the run's files and, unless ``unseen`` says why not, from
    a look into the network. What fails of it is a notice: the run is judged by then."""

    def looked(what: str, work: Callable[[], T]) -> T | str:
        try:
            return work()
        except Exception as why:  # a user's class may raise anything
            kind = "" if isinstance(why, ConvscopeError) else f"{type(why).__name__}: "
            said = f"{what} could not be made: {kind}{why}"
            emit(Notice(f"{place.path}: {said}", warning=True))
            return said

    size = (pack.channels, *pack.image_size)
    found = looked("the anatomy", lambda: anatomy.summarise(network, size))

    def look(images: NDArray[np.uint8], classes: Sequence[int]) -> Glance | str:
        from convscope.insight.explain import glance

        work = 0 if isinstance(found, str) else found.total.multiply_adds or 0
        count = len(pack.classes)
        return looked(
            "the look into the network",
            lambda: glance(network, images, classes, num_classes=count, work=work),
        )

    looked("the model card", lambda: report.write_card(place.path))
    looked(
        "the report",
        lambda: report.write_report(
            place.path,
            test_images=pack.splits["test"].images,
            anatomy=found,
            look=None if unseen else look,
            unseen=unseen,
        ),
    )


def same_data(pack: Pack, wanted: str) -> None:
    """Raise DataError unless the data are those that a run was made with."""
    if pack.fingerprint != wanted:
        raise DataError(
            f"{pack.name}: has fingerprint {pack.fingerprint[:12]}, and the run was made with "
            f"{wanted[:12]}; put that data back"
        )
