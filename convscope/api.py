"""The whole jobs: train, evaluate, predict. Python, the command line and the page all call
these."""

from __future__ import annotations

import copy
import datetime
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from convscope import files, machine, models, report, run
from convscope import recipe as recipes
from convscope.data import augment, decode, sources
from convscope.data.loader import Loader, stratified
from convscope.data.pack import Pack, verify
from convscope.errors import (
    BadArgument,
    DataError,
    ImageError,
    RunError,
    TargetMissed,
    nearest,
)
from convscope.evaluation import metrics, predictions
from convscope.events import Emit, Notice, Progress, silent
from convscope.insight import anatomy, figures
from convscope.models import store
from convscope.models.parts import Classifier
from convscope.recipe import Recipe
from convscope.run import RunFolder
from convscope.training import precision
from convscope.training.loop import fit

UNSURE = 0.5  # a best guess below this probability is marked as unsure


@dataclass(frozen=True)
class Metrics:
    """The figures on the test split, as ``metrics.json`` has them (``per_class`` and ``confusion``
    as lists)."""

    split: str
    n: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    loss: float
    ece: float
    ece_raw: float
    per_class: list[dict[str, Any]]
    confusion: list[list[int]]
    test_looks: int
    train_seconds: float
    eval_seconds: float
    images_per_second: float

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Metrics:
        """From the JSON. Raises RunError where it was edited."""
        try:
            low, high = values["accuracy_ci95"]
            return cls(**{**values, "accuracy_ci95": (low, high)})
        except (TypeError, ValueError, KeyError) as why:
            raise RunError(f"metrics.json was edited or damaged: {why}") from None


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, its figures, its files."""

    path: Path

    @cached_property
    def metrics(self) -> Metrics:
        """The figures on the test split."""
        return Metrics.of(RunFolder(self.path).read_metrics())

    @cached_property
    def recipe(self) -> Recipe:
        """What was trained, on what and how, every value resolved."""
        return RunFolder(self.path).read_recipe()

    @property
    def report(self) -> Path:
        """The run in pictures, one self-contained page."""
        return RunFolder(self.path).report

    def as_json(self) -> dict[str, Any]:
        """What ``convscope train --json`` prints: ``metrics.json`` and where the run is."""
        return {"run": str(self.path), **RunFolder(self.path).read_metrics()}


@dataclass(frozen=True)
class Guess:
    """What a network makes of one image: labels and probabilities, the likeliest first."""

    top: tuple[tuple[str, float], ...]
    file: str = ""
    error: str | None = None

    @property
    def label(self) -> str:
        """The likeliest class; empty for an image that could not be read."""
        return self.top[0][0] if self.top else ""

    @property
    def p(self) -> float:
        """Its probability, after temperature scaling; 0 for an image that could not be read."""
        return self.top[0][1] if self.top else 0.0

    @property
    def unsure(self) -> bool:
        """Whether even the likeliest class has less than an even chance."""
        return self.error is None and self.p < UNSURE

    def as_json(self) -> dict[str, Any]:
        """``{file, top: [{label, p}], unsure, error}``."""
        top = [{"label": label, "p": p} for label, p in self.top]
        return {"file": self.file, "top": top, "unsure": self.unsure, "error": self.error}


@dataclass(frozen=True)
class Trained:
    """A trained network with its class names, preprocessing and temperature."""

    network: Classifier
    classes: tuple[str, ...]
    channels: int
    size: tuple[int, int]
    fit: str
    temperature: float

    def predict(
        self,
        images: NDArray[np.uint8] | Sequence[Any],
        top_k: int = 5,
        invert: bool = False,
        emit: Emit = silent,
    ) -> list[Guess]:
        """A guess an image.

        ``images`` is uint8 [N,C,H,W] or [N,H,W] of the network's own size, or any mix of paths,
        bytes, Pillow images and folders, which go through the one preprocessing. An image that
        cannot be read gets a guess that holds its ``error``; the others go on. Raises BadArgument
        for an array of another shape.
        """
        if top_k < 1:
            raise BadArgument("top_k", top_k, "must be a whole number of at least 1", "try 5")
        names, errors, pixels = self._fitted(images, invert, emit)
        readable = [p for p in pixels if p is not None]
        probabilities = np.empty((0, len(self.classes)))
        if readable:
            logits = predictions.logits_of(
                self.network, np.stack(readable), emit=emit, stage="predict"
            )
            probabilities = metrics.softmax(logits / self.temperature)
        rows = iter(probabilities)
        return [
            Guess(self._top(next(rows), top_k) if p is not None else (), name, error)
            for name, error, p in zip(names, errors, pixels, strict=True)
        ]

    def _top(self, row: NDArray[np.float64], k: int) -> tuple[tuple[str, float], ...]:
        best = np.argsort(-row, kind="stable")[:k]
        return tuple((self.classes[i], float(row[i])) for i in best)

    def _fitted(
        self, images: Any, invert: bool, emit: Emit
    ) -> tuple[list[str], list[str | None], list[NDArray[np.uint8] | None]]:
        """Names, errors and pixels [C,H,W] of each image."""
        if isinstance(images, np.ndarray | Tensor):
            array = np.asarray(images)
            array = array[:, None] if array.ndim == 3 else array
            wanted = (self.channels, *self.size)
            if array.dtype != np.uint8 or array.shape[1:] != wanted:
                raise BadArgument(
                    "images",
                    f"{array.dtype} {list(array.shape)}",
                    f"must be uint8 [N,{','.join(map(str, wanted))}]",
                    "give files or Pillow images, which are fitted",
                )
            array = 255 - array if invert else array
            return [str(i) for i in range(len(array))], [None] * len(array), list(array)
        alone = isinstance(images, str | Path | bytes | Image.Image)
        items = [item for given in ([images] if alone else images) for item in _expanded(given)]
        names = [
            item.name if isinstance(item, ImageError) else str(item) if _is_path(item) else str(i)
            for i, item in enumerate(items)
        ]
        errors: list[str | None] = []
        pixels: list[NDArray[np.uint8] | None] = []
        for done, (item, name) in enumerate(zip(items, names, strict=True)):
            try:
                if isinstance(item, ImageError):
                    raise item
                fitted = decode.decode(
                    item,
                    channels=self.channels,
                    size=self.size,
                    fit=self.fit,
                    invert=invert,
                    name=name,
                )
                pixels.append(fitted)
                errors.append(None)
            except ImageError as why:
                pixels.append(None)
                errors.append(f"{why.problem}; {why.remedy}")
            emit(Progress("read", done + 1, len(items), "images"))
        return names, errors, pixels


def _is_path(item: object) -> bool:
    return isinstance(item, str | Path)


def _expanded(given: Any) -> list[Any]:
    """A folder's images; whatever else as it is; what is not there as the error that it is."""
    if not _is_path(given):
        return [given]
    try:
        return list(decode.find_images([Path(given)]))
    except ImageError as why:
        return [why]


def train(
    data: str | None = None,
    *,
    model: str | None = None,
    recipe: str | Path | Recipe | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    augment: bool = True,
    check: bool = False,
    emit: Emit = silent,
    **options: Any,
) -> Run:
    """Train a network, judge it once on the test split, and write its run folder.

    ``options`` are the recipe's fields (``epochs``, ``lr``, ``batch_size``, ``shift`` ...) and the
    network's own arguments (``kernel_size``, ``widths``). With ``resume`` and ``out`` a run that
    was stopped goes on, to the same weights to the bit; one that is finished is returned as it is;
    one that never began begins. With ``check`` the recipe's claim is held against the result.
    Raises BadArgument, DataError, RunError, TrainingError, Interrupted, and TargetMissed, once
    everything is written, where the claim was not reached.
    """
    base = recipe if isinstance(recipe, Recipe | None) else recipes.load(recipe)
    folder = None if out is None else Path(out)
    if resume and folder is None:
        raise BadArgument(
            "resume", True, "needs the run folder to go on with", "add out=DIR (--out DIR)"
        )
    flat = recipes.options()
    typed = {"data": data, "model": model} | {k: v for k, v in options.items() if k in flat}
    arguments = {k: v for k, v in options.items() if k not in flat and v is not None}
    if resume and folder is not None and (folder / "recipe.toml").exists():
        place = run.find(folder)
        _claimed(place.read_recipe(), check)
        return _checked(_resume(place, typed, arguments, base, augment, emit), check)
    asked = recipes.resolve(typed, arguments, base, augment)
    _known_arguments(asked, arguments)
    _named(asked, model)
    _claimed(asked, check)
    pack = sources.open_data(asked.data.name, emit)
    with machine.at_work(asked.train.threads):
        job = _Job(asked, pack, emit)  # everything that can be refused is refused here
        place = run.create(asked.data.name, _short(asked.model.name), folder, Path("runs"))
        files.write_whole(place.recipe, recipes.dumps(job.recipe))
        return _checked(job.complete(place), check)


def _resume(
    place: RunFolder,
    typed: Mapping[str, Any],
    arguments: Mapping[str, Any],
    base: Recipe | None,
    augment: bool,
    emit: Emit,
) -> Run:
    """Go on with a run by its own recipe, which is binding. Raises BadArgument where another one is
    asked for."""
    kept = place.read_recipe()
    asked = recipes.resolve(typed, arguments, base, augment)
    for key, origin in asked.origin.items():
        section, name = key.split(".", 1)
        new, old = (
            part.arguments.get(name)
            if section == "model" and name != "name"
            else getattr(part, name)
            for part in (getattr(asked, section), getattr(kept, section))
        )
        new, old = (tuple(v) if isinstance(v, list) else v for v in (new, old))
        by_itself = new == "auto" or (key == "train.threads" and new == 0)
        if origin in ("typed", "recipe") and new != old and not by_itself:
            raise BadArgument(
                name if name != "name" else section,
                new,
                f"is not what this run was begun with ({old})",
                "leave it out, or train anew into another folder",
            )
    _named(kept, typed["model"])
    if place.metrics.exists() and place.report.exists():
        emit(Notice(f"{place.path} is finished; nothing to do"))
        return Run(place.path)
    pack = sources.open_data(kept.data.name, emit)
    with machine.at_work(kept.train.threads):
        return _Job(kept, pack, emit).complete(place)


def _named(asked: Recipe, model: str | None) -> None:
    """Refuse a user's own class that a recipe names and the caller does not: it would be code that
    runs because a file says so."""
    if models.is_own(asked.model.name) and model is None:
        raise BadArgument(
            "model",
            "(not given)",
            f"the recipe names the class {asked.model.name}, and no code is loaded that you do not "
            "name",
            f"add --model {asked.model.name}, if you trust that file",
        )


def _claimed(asked: Recipe, check: bool) -> None:
    """Refuse to check a claim that is not there."""
    if check and asked.claim is None:
        raise BadArgument(
            "check",
            True,
            "needs a recipe with a [claim], and no typed value but those that a claim leaves open",
            "leave the other options out",
        )


def _short(name: str) -> str:
    return name.rpartition(":")[2]


def _known_arguments(asked: Recipe, arguments: Mapping[str, Any]) -> None:
    """Refuse an option that is neither the recipe's nor the network's, naming the nearest of
    both."""
    if models.is_own(asked.model.name):
        return
    known = models.arguments_of(asked.model.name)
    for name, value in arguments.items():
        if name not in known:
            rule = f"is neither an option nor an argument of {asked.model.name}"
            raise BadArgument(name, value, rule, nearest(name, [*known, *recipes.options()]))


class _Job:
    """A resolved recipe with its data and its network, ready to run."""

    def __init__(self, asked: Recipe, pack: Pack, emit: Emit) -> None:
        self.pack, self.emit = pack, emit
        images, labels = pack.splits["train"].images, pack.splits["train"].labels
        augment.check(asked.augment, pack.image_size)
        self.val = stratified(labels, asked.data.val, asked.data.split_seed)
        indices = torch.from_numpy(np.setdiff1d(np.arange(len(labels)), self.val))
        device = precision.device_of(asked.train.device)
        torch.manual_seed(asked.train.seed)
        self.model = models.build(
            asked.model.name,
            len(pack.classes),
            pack.channels,
            pack.image_size,
            asked.model.arguments,
        )
        pixels, targets = torch.from_numpy(images), torch.from_numpy(labels)
        self.model.normalise.set(*_statistics(pixels, indices))
        self.model.to(device)
        plain = Loader(
            pixels,
            targets,
            indices,
            asked.train.batch_size,
            asked.train.seed,
            asked.augment,
            device,
        )
        batch = next(plain.epoch(0))
        _try(self.model, batch.inputs[0], len(pack.classes), asked.model.name)
        asked = precision.choose(asked, self.model, batch.inputs[0], batch.targets[0], emit)
        asked = asked.measured(device=device, threads=torch.get_num_threads())
        layout = precision.FORMATS[asked.train.memory_format]
        self.model.to(memory_format=layout)
        self.recipe = asked
        self.loader = replace(plain, memory_format=layout)

    def complete(self, place: RunFolder) -> Run:
        """Fit, judge and write everything; a stage that is already done is not done again.

        Raises DataError or RunError where the run was begun with other data, another recipe or
        another source file, RunError where another process is at work on it.
        """
        lock = FileLock(place.path / ".lock", timeout=0)
        try:
            with lock:
                self._begin(place)
                return self._go_through(place)
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
            "train": len(self.loader.indices),
            "val": self.val.tolist(),
        }
        if not place.split.exists():
            files.write_json(place.split, begun)
            return
        before = place.read_split()
        _same_data(self.pack, before["fingerprint"])
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

    def _go_through(self, place: RunFolder) -> Run:
        judged = len(self.val), len(self.val) + len(self.pack.splits["test"])
        at = fit(
            self.model, self.loader, self._validate, self.recipe.train, place, self.emit, judged
        )
        if not place.metrics.exists():
            self._judge(place, at.train_seconds, at.history)
        _write_pages(place, self.model, self.pack)
        return Run(place.path)

    def _logits(
        self, model: nn.Module, split: str, indices: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        images = self.pack.splits[split].images
        return predictions.logits_of(
            model,
            images if indices is None else images[indices],
            device=self.loader.device,
            memory_format=self.loader.memory_format,
            emit=self.emit,
            stage="judge" if split == "test" else "validate",
        )

    def _validate(self, model: nn.Module) -> tuple[float | None, float | None]:
        if not self.val.size:
            return None, None
        logits, labels = (
            self._logits(model, "train", self.val),
            self.pack.splits["train"].labels[self.val],
        )
        return metrics.cross_entropy(logits, labels), metrics.accuracy(logits, labels)

    def _judge(self, place: RunFolder, seconds: float, history: list[dict[str, Any]]) -> None:
        """Fit the temperature on validation, then look at the test split, once."""
        temperature = 1.0
        if self.val.size:
            labels = self.pack.splits["train"].labels[self.val]
            temperature = metrics.fit_temperature(
                self._logits(self.model, "train", self.val), labels
            )
        else:
            self.emit(Notice("no validation split: probabilities are not calibrated", warning=True))
        store.save(place, self.model, self._info(place, temperature))
        began = time.perf_counter()
        logits, test = self._logits(self.model, "test"), self.pack.splits["test"]
        took = time.perf_counter() - began
        predictions.write_predictions(
            place.predictions, logits, test.labels, self.pack.classes, temperature
        )
        trained = sum(row["seconds"] for row in history)
        measured = metrics.measure(logits, test.labels, self.pack.classes, temperature)
        files.write_json(
            place.metrics,
            {
                "split": "test",
                **measured,
                "test_looks": 1,
                "train_seconds": seconds,
                "eval_seconds": took,
                "images_per_second": len(history) * len(self.loader.indices) / trained,
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
                "fit": "pad",
                "scale": "uint8 / 255; mean and standard deviation are the network's first layer",
            },
            "temperature": temperature,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "versions": machine.versions(),
            "machine": machine.describe(),
            "data": {
                "name": pack.name,
                "fingerprint": pack.fingerprint,
                "train": len(self.loader.indices),
                "val": int(self.val.size),
                "test": len(pack.splits["test"].labels),
            },
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": shlex.join(["convscope", "train", "--recipe", str(place.recipe), *own]),
        }


def _write_pages(place: RunFolder, network: Classifier, pack: Pack) -> None:
    """The model card and the report, from the run's files."""
    report.write_card(place.path)
    rows = anatomy.rows(network, (pack.channels, *pack.image_size))
    report.write_report(place.path, test_images=pack.splits["test"].images, anatomy=rows)


def _same_data(pack: Pack, wanted: str) -> None:
    """Raise DataError unless the data are those that a run was made with."""
    if pack.fingerprint != wanted:
        raise DataError(
            f"{pack.name}: has fingerprint {pack.fingerprint[:12]}, and the run was made with "
            f"{wanted[:12]}; put that data back"
        )


def _statistics(images: Tensor, indices: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation by channel of the training pixels, 0..1, a piece at a time."""
    total = squares = torch.zeros(images.shape[1], dtype=torch.float64)
    for chosen in torch.split(indices, 4096):
        piece = images[chosen].float().div_(255).flatten(2)  # [b,C,H*W]
        total = total + piece.sum((0, 2), dtype=torch.float64)
        squares = squares + piece.square_().sum((0, 2), dtype=torch.float64)
    count = len(indices) * images.shape[2] * images.shape[3]
    mean = total / count
    return mean.tolist(), (squares / count - mean**2).clamp_min(0).sqrt().tolist()


def _try(model: Classifier, inputs: Tensor, classes: int, name: str) -> None:
    """Run a batch through, so that a network that does not fit the data is refused before
    training."""
    own = models.is_own(name)
    try:
        with torch.inference_mode():
            logits = model.eval()(inputs[:2])
            if own:  # what only fails in training, such as batch norm over one image
                copy.deepcopy(model).train()(inputs)
    except Exception as why:  # a user's class may raise anything
        if not own:
            raise
        rule = f"fails on a batch {list(inputs.shape)}: {type(why).__name__}: {why}"
        raise BadArgument("model", name, rule, "mend the class; it gets float [B,C,H,W]") from why
    if not isinstance(logits, Tensor) or logits.shape != (2, classes):
        shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        rule = f"gives {shape} for a batch of 2 images of {classes} classes"
        raise BadArgument("model", name, rule, f"make it give [B,{classes}]")


def evaluate(
    path: str | Path,
    split: str = "test",
    *,
    model: str | None = None,
    device: str = "auto",
    emit: Emit = silent,
) -> dict[str, Any]:
    """The figures of a run on a split of its data, as ``metrics.json`` holds them, and ``run``.

    Each look at the test split is counted in ``metrics.json``, in the model card and in the report,
    which are written anew, as is ``predictions.csv``, before it is shown. Raises BadArgument,
    RunError, and DataError where the data are not those the run was made with.
    """
    if split not in ("train", "val", "test"):
        raise BadArgument("split", split, "must be train, val or test", "try test")
    place = run.find(Path(path))
    kept, info, stored = place.read_recipe(), place.read_model(), place.read_metrics()
    network = store.load(place, model)
    pack = sources.open_data(kept.data.name, emit)
    _same_data(pack, info["data"]["fingerprint"])
    chosen = pack.splits["test" if split == "test" else "train"]
    images, labels = chosen.images, chosen.labels
    if split != "test":
        begun = place.read_split()
        if begun["digest"] != pack.digest:
            raise DataError(
                f"{pack.name}: its images are in another order than when the run was made, so that "
                f"its {split} split cannot be told; put that copy back, or use the test split"
            )
        val = np.array(begun["val"], dtype=np.int64)
        if split == "val" and not val.size:
            raise BadArgument(
                "split", split, "is empty: the run was trained with val=0", "try test"
            )
        indices = val if split == "val" else np.setdiff1d(np.arange(len(labels)), val)
        images, labels = images[indices], labels[indices]
    began = time.perf_counter()
    where = precision.device_of(device)
    with machine.at_work():
        logits = predictions.logits_of(network.to(where), images, device=where, emit=emit)
    found = {
        "split": split,
        **metrics.measure(logits, labels, pack.classes, info["temperature"]),
        "test_looks": place.read_metrics()["test_looks"] + (split == "test"),
        "train_seconds": stored["train_seconds"],
        "eval_seconds": time.perf_counter() - began,
        "images_per_second": stored["images_per_second"],
    }
    if split == "test":
        files.write_json(place.metrics, found)
        predictions.write_predictions(
            place.predictions, logits, labels, pack.classes, info["temperature"]
        )
        _write_pages(place, network.cpu(), pack)
    return {"run": str(place.path), **found}


def load(path: str | Path, *, model: str | None = None) -> Trained:
    """The trained network of a run; ``model`` names the user's own ``file.py:ClassName`` again, if
    it is one.

    Raises RunError for a missing, cut or edited file, BadArgument where ``model`` is needed.
    """
    place = run.find(Path(path))
    info = place.read_model()
    preprocessing = info["preprocessing"]
    return Trained(
        store.load(place, model),
        tuple(info["classes"]),
        preprocessing["channels"],
        tuple(preprocessing["size"]),
        preprocessing["fit"],
        info["temperature"],
    )


def predict(
    path: str | Path,
    images: Iterable[Any],
    *,
    top_k: int = 5,
    invert: bool = False,
    model: str | None = None,
    emit: Emit = silent,
) -> list[Guess]:
    """Guesses of a run's network for image files and folders; see :meth:`Trained.predict`."""
    return load(path, model=model).predict(list(images), top_k, invert, emit)


def _checked(result: Run, check: bool) -> Run:
    """The run, held against its recipe's claim if that is asked for. Raises TargetMissed below mean
    - 3 sd."""
    claim = result.recipe.claim
    if check and claim and result.metrics.accuracy < claim.accuracy - 3 * claim.sd:
        raise TargetMissed(
            f"{result.path}: test accuracy {result.metrics.accuracy:.2%} misses the recipe's claim "
            f"of {claim.accuracy:.2%} (sd {claim.sd:.2%}, {claim.seeds} seeds) by more than 3 sd",
            result,
        )
    return result


def describe_data(name: str, emit: Emit = silent) -> dict[str, Any]:
    """A data set in figures: images a class and split, shape, mean and standard deviation of the
    training pixels. Raises DataError where its pack is not as it was written, to the last byte."""
    pack = sources.open_data(name, emit)
    verify(pack.folder)
    counts = {
        split: dict(
            zip(
                pack.classes,
                np.bincount(part.labels, minlength=len(pack.classes)).tolist(),
                strict=True,
            )
        )
        for split, part in pack.splits.items()
    }
    images = torch.from_numpy(pack.splits["train"].images)
    mean, std = _statistics(images, torch.arange(len(images)))
    return {
        "name": pack.name,
        "classes": list(pack.classes),
        "shape": [pack.channels, *pack.image_size],
        "images": {split: len(part.labels) for split, part in pack.splits.items()},
        "counts": counts,
        "mean": mean,
        "std": std,
        "fingerprint": pack.fingerprint,
        "licence": sources.SOURCES[name].licence,
    }


def show_data(
    name: str,
    out: str | Path | None = None,
    *,
    count: int = 32,
    seed: int = 0,
    force: bool = False,
    emit: Emit = silent,
) -> Path:
    """A picture of a labelled batch, as it is and as the data set's augmentation changes it;
    returns its path.

    Raises BadArgument where ``out`` is there already and ``force`` is not given, or ``count`` is
    below 1.
    """
    if count < 1:
        raise BadArgument("count", count, "must be a whole number of at least 1", "try 32")
    path = Path(out) if out else Path(f"{name}.png")
    kinds = (".png", ".svg", ".pdf")
    if path.suffix not in kinds:
        raise BadArgument("out", path, f"must end in {', '.join(kinds)}", f"try {path.stem}.png")
    if path.exists() and not force:
        raise BadArgument(
            "out", path, "is there already", "name another file, or add force (--force)"
        )
    pack = sources.open_data(name, emit)
    train = pack.splits["train"]
    random = np.random.default_rng(seed)
    chosen = random.choice(len(train.labels), size=min(count, len(train.labels)), replace=False)
    images = torch.from_numpy(train.images[chosen])
    generator = torch.Generator().manual_seed(seed)
    spec = recipes.AUGMENT_BY_DATA.get(name, recipes.Augment())
    changed, _ = augment.augment(images, (), spec, generator)
    titles = [pack.classes[label] for label in train.labels[chosen]]
    figure = figures.before_after(images.numpy(), changed.numpy(), titles)
    with files.whole_file(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=100)
    return path
