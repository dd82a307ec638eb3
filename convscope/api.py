"""The whole jobs: train, evaluate, predict. Python, the command line and the page all call
these."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from convscope import board, files, machine, models, run
from convscope import recipe as recipes
from convscope.data import sources
from convscope.data.augment import augment
from convscope.data.folder import absolute
from convscope.data.loader import tensor_of
from convscope.data.pack import Pack, verify
from convscope.data.split import part, statistics
from convscope.errors import BadArgument, DataError, RunError, TargetMissed, nearest
from convscope.evaluation import metrics, predictions
from convscope.events import Emit, Notice, silent
from convscope.insight import figures
from convscope.job import Job, Limits, same_data, write_pages
from convscope.models import store, tv
from convscope.recipe import Recipe
from convscope.run import RunFolder
from convscope.shipping import script as scripts
from convscope.trained import Guess, load
from convscope.training import budget, finder, memory, precision

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
class LearningRate:
    """A search for a learning rate: the rate at which the loss falls steepest, None where it never
    falls; the rates that were tried, the loss at each, as it was and smoothed; and the figure."""

    suggestion: float | None
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    figure: Path

    def as_json(self) -> dict[str, Any]:
        """What ``convscope train --find-lr --json`` prints."""
        return {**vars(self), "figure": str(self.figure)}


def train(
    data: str | Path | None = None,
    *,
    model: str | None = None,
    recipe: str | Path | Recipe | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    augment: bool = True,
    check: bool = False,
    time_budget: float | str | None = None,
    max_memory: int | str | None = None,
    log: str | None = None,
    profile: bool = False,
    began: float | None = None,
    emit: Emit = silent,
    **options: Any,
) -> Run:
    """Train a network, judge it once on the test split, and write its run folder.

    ``data`` is a data set by name, or a folder of images. ``options`` are the recipe's fields
    (``epochs``, ``lr``, ``batch_size``, ``shift`` ...) and the network's own arguments
    (``kernel_size``, ``widths``); ``layers="c5-16 bn relu mp2 flatten fc"`` is a network in one
    line (see :mod:`convscope.models.layers`). With ``resume`` and ``out`` a run that was stopped
    goes on, to the same weights to the bit; one that is finished is returned as it is; one that
    never began begins. With ``check`` the recipe's claim is held against the result.

    ``time_budget`` (seconds, or ``10m``) fits the epochs so that the whole job ends with it, from
    this call, or from ``began`` of ``time.perf_counter``, to the report. ``max_memory`` (bytes, or
    ``2GB``) fits the images a pass so that the process stays below it. ``log="tensorboard"`` writes
    curves to the run's folder ``tensorboard``. ``profile`` first tells where the time of a training
    step goes, here and in plain PyTorch, and keeps it as ``profile.json`` and ``profile.png``.

    Raises BadArgument, DataError, RunError, TrainingError, Interrupted, and TargetMissed, once
    everything is written, where the claim was not reached.
    """
    limits = Limits(
        time.perf_counter() if began is None else began,
        None if time_budget is None else budget.seconds_of(time_budget),
        None if max_memory is None else memory.bytes_of(max_memory),
    )
    board.check(log)
    if profile and (limits.seconds or limits.memory):
        rule = "takes time and memory of its own, besides those that are bounded"
        raise BadArgument("profile", True, rule, "leave it out, or the bounds")
    base = recipe if isinstance(recipe, Recipe | None) else recipes.load(recipe)
    typed, arguments = _given(data, model, options)
    folder = None if out is None else Path(out)
    if resume and folder is None:
        raise BadArgument(
            "resume", True, "needs the run folder to go on with", "add out=DIR (--out DIR)"
        )
    if resume and folder is not None and (folder / "recipe.toml").exists():
        place = run.find(folder)
        asked = place.read_recipe()
        _claimed(asked, check)
        _same(_spelt_out(recipes.resolve(typed, arguments, base or asked, augment)), asked)
        if limits.seconds is not None:
            rule = "was fitted, or not asked for, when this run was begun"
            raise BadArgument("time_budget", time_budget, rule, "leave it out")
        _named(asked, model)
        if place.metrics.exists() and place.report.exists():
            emit(Notice(f"{place.path} is finished; nothing to do"))
            return _checked(Run(place.path), check)
    else:
        place = None
        asked = _resolved(typed, arguments, base, augment)
        _named(asked, model)
        _claimed(asked, check)
        _unfitted(asked, limits)
    pack = _opened(asked, emit)
    with machine.at_work(asked.train.threads), board.Board(emit) as told:
        job = Job(asked, pack, told, limits, begun=place is not None)
        if place is None:  # everything that can be refused was refused before this
            _claimed(job.recipe, check)
            place = run.create(pack.name, _short(asked.model.name), folder, Path("runs"))
            files.write_whole(place.recipe, recipes.dumps(job.recipe))
        told.folder = place.tensorboard if log else None
        if profile:
            job.profile(place)
        job.complete(place)
    return _checked(Run(place.path), check)


def _given(
    data: str | Path | None, model: str | None, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was typed: the recipe's fields, and the network's own arguments."""
    flat = recipes.options()
    fields = {name: value for name, value in options.items() if name in flat}
    arguments = {k: v for k, v in options.items() if k not in flat and v is not None}
    if "layers" in arguments:
        if model not in (None, "layers"):
            rule = f"is a network of its own, and so is model={model}"
            raise BadArgument("layers", arguments["layers"], rule, "leave one of them out")
        model = "layers"
    return {"data": None if data is None else _full(data), "model": model} | fields, arguments


def _full(data: str | Path) -> str:
    """A folder of images by its full path, so that a run finds it from everywhere."""
    return str(absolute(Path(data)) if sources.is_folder(data) else data)


def _resolved(
    typed: Mapping[str, Any], arguments: Mapping[str, Any], base: Recipe | None, augment: bool
) -> Recipe:
    """The recipe that is asked for. Raises BadArgument."""
    asked = _spelt_out(recipes.resolve(typed, arguments, base, augment))
    _known_arguments(asked, arguments)
    return asked


def _spelt_out(asked: Recipe) -> Recipe:
    """The recipe with its folder and its image size as a run's own recipe has them."""
    name, size = _full(asked.data.name), asked.data.image_size
    size = f"{size}x{size}" if size.isdecimal() else size
    return replace(asked, data=replace(asked.data, name=name, image_size=size))


def _opened(asked: Recipe, emit: Emit) -> Pack:
    """The data of a recipe, its images of the size that is asked for."""
    size = asked.data.image_size
    if size == "auto" or asked.origin.get("data.image_size") == "measured":
        return sources.open_data(asked.data.name, emit)
    height, width = size.split("x")
    try:
        return sources.open_data(asked.data.name, emit, size=(int(height), int(width)))
    except BadArgument as why:
        if why.argument != "size":
            raise
        raise BadArgument("image_size", size, why.rule, why.remedy) from None


def _same(asked: Recipe, kept: Recipe) -> None:
    """Refuse a value that is not the one a run was begun with: its own recipe is binding."""
    for key, origin in asked.origin.items():
        section, name = key.split(".", 1)
        new, old = (
            part.arguments.get(name)
            if section == "model" and name != "name"
            else getattr(part, name)
            for part in (getattr(asked, section), getattr(kept, section))
        )
        new, old = (tuple(v) if isinstance(v, list) else v for v in (new, old))
        fitted = origin == "recipe" and kept.origin.get(key) == "measured"
        by_itself = new == "auto" or (key == "train.threads" and new == 0) or fitted
        if origin in ("typed", "recipe") and new != old and not by_itself:
            raise BadArgument(
                name if name != "name" else section,
                new,
                f"is not what this run was begun with ({old})",
                "leave it out, or train anew into another folder",
            )


def _unfitted(asked: Recipe, limits: Limits) -> None:
    """Refuse what is typed and would be fitted. Raises BadArgument."""
    for limit, value, names in (
        ("time_budget", limits.seconds, ("epochs", "steps")),
        ("max_memory", limits.memory, ("micro_batch",)),
    ):
        for name in names:
            if value is not None and asked.origin[f"train.{name}"] == "typed":
                rule = f"cannot be kept to together with {limit}, which decides it"
                raise BadArgument(name, getattr(asked.train, name), rule, "leave one of them out")


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
    pack = _opened(kept, emit)
    same_data(pack, info["data"]["fingerprint"])
    images, labels = _images_of(pack, place, split)
    began = time.perf_counter()
    where, layout = precision.device_of(device), precision.FORMATS[kept.train.memory_format]
    with machine.at_work(kept.train.threads):
        network.to(where).to(memory_format=layout)
        logits = predictions.logits_of(
            precision.engine(network, kept.train.kernels, kept.train.precision),
            images,
            batch_size=kept.train.eval_batch,
            device=where,
            memory_format=layout,
            emit=emit,
        )
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
            place.predictions,
            logits,
            labels,
            pack.classes,
            info["temperature"],
            names=pack.splits["test"].files,
        )
        write_pages(place, network.cpu(), pack)
    return {"run": str(place.path), **found}


def _images_of(
    pack: Pack, place: RunFolder, split: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels of a split as the run divided its data. Raises BadArgument, DataError."""
    whole = pack.splits.get(split)
    if whole is not None and split != "train":
        return whole.images, whole.labels
    begun = place.read_split()
    if begun["digest"] != pack.digest:
        raise DataError(
            f"{pack.name}: its images are in another order than when the run was made, so that "
            f"its {split} split cannot be told; put that copy back, or use the test split"
        )
    val = np.array(begun["val"], dtype=np.int64)
    if split == "val" and not val.size:
        raise BadArgument("split", split, "is empty: the run was trained with val=0", "try test")
    train = pack.splits["train"]
    return part(train, val if split == "val" else np.setdiff1d(np.arange(len(train)), val))


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


def script(path: str | Path, out: str | Path | None = None, *, force: bool = False) -> str:
    """A run as one plain PyTorch file, which needs torch and safetensors (and torchvision for
    ``tv:``): it loads the run's weights, predicts what the run predicts, and can train on.

    Gives the text, and writes it to ``out`` if that is given; its path to the weights is then from
    that file on, else from the working folder. Raises BadArgument where ``out`` is there already
    and ``force`` is not given, and for a run of a user's own class; RunError.
    """
    file = None if out is None else Path(out)
    if file is not None and file.exists() and not force:
        remedy = "name another file, or add force (--force)"
        raise BadArgument("out", file, "is there already", remedy)
    text = scripts.script(run.find(Path(path)), file)
    if file is not None:
        with files.explained(file):
            files.write_whole(file, text)
    return text


SIZES = {"mnist": (1, (28, 28)), "cifar10": (3, (32, 32))}  # channels, height and width


def networks() -> dict[str, dict[str, Any]]:
    """Each network of the registry, and torchvision's as one: its ``arguments`` and their defaults,
    its number of ``parameters`` on MNIST and CIFAR-10, what it is ``about``."""
    found: dict[str, dict[str, Any]] = {}
    for name, builder in models.MODELS.items():
        with torch.device("meta"):  # shapes without values
            built = {on: models.build(name, 10, *size) for on, size in SIZES.items()}
        parameters = {on: sum(p.numel() for p in m.parameters()) for on, m in built.items()}
        found[name] = {
            "arguments": models.arguments_of(name),
            "parameters": parameters,
            "about": _first(builder.__doc__ or ""),
        }
    found[f"{tv.PREFIX}NAME"] = {
        "arguments": {"small_stem": False},
        "parameters": dict.fromkeys(SIZES),
        "about": "any classifier of torchvision, untrained: tv:resnet18, tv:mobilenet_v2, ...",
    }
    return found


def _first(docstring: str) -> str:
    """The first clause of a docstring, without marks.

    >>> _first(":func:`net` of 20 layers (He et al. 2016); 5 parameters.")
    'net of 20 layers (He et al. 2016)'
    """
    text = re.split(r"(?<! al)\.(?:\s|$)|;|, such as", " ".join(docstring.split()))[0]
    return re.sub(r":func:|`", "", text)


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


def find_lr(
    data: str | Path | None = None,
    *,
    model: str | None = None,
    recipe: str | Path | Recipe | None = None,
    out: str | Path | None = None,
    augment: bool = True,
    force: bool = False,
    emit: Emit = silent,
    **options: Any,
) -> LearningRate:
    """Search for a learning rate: up to 100 steps of training at rates that rise from 1e-6 to 10;
    nothing of it is kept but a figure.

    Data, network and ``options`` are those of :func:`train`. The figure goes to ``out``, a file or
    a folder, else to ``<data>-<model>-lr.png``. Raises BadArgument, also where the figure is there
    already and ``force`` is not given, DataError and TrainingError.
    """
    base = recipe if isinstance(recipe, Recipe | None) else recipes.load(recipe)
    asked = _resolved(*_given(data, model, options), base, augment)
    _named(asked, model)
    name = f"{Path(asked.data.name).name}-{_short(asked.model.name)}-lr.png"
    path = _figure_path(out, name, force)
    pack = _opened(asked, emit)
    with machine.at_work(asked.train.threads):
        job = Job(asked, pack, emit, Limits(time.perf_counter()))
        found = finder.search(job.model, job.loader, job.recipe.train, emit)
    title = f"{pack.name}, {_short(asked.model.name)}, {asked.train.optimizer}"
    _draw(figures.learning_rates(*vars(found).values(), title=title), path)
    return LearningRate(found.suggestion, found.rates, found.losses, found.smoothed, path)


def _figure_path(out: str | Path | None, name: str, force: bool) -> Path:
    """Where a figure goes: ``out``, a file or a folder, or ``name``. Raises BadArgument where
    something is there already, or no figure can be."""
    path = Path(name) if out is None else Path(out)
    if path.is_dir() or (out is not None and not path.suffix):
        path = path / name
    kinds = (".png", ".svg", ".pdf")
    if path.suffix not in kinds:
        raise BadArgument("out", path, f"must end in {', '.join(kinds)}", f"try {path.stem}.png")
    if path.exists() and not force:
        raise BadArgument(
            "out", path, "is there already", "name another file, or add force (--force)"
        )
    return path


def _draw(figure: Figure, path: Path) -> None:
    with files.whole_file(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=100)


def describe_data(name: str | Path, emit: Emit = silent) -> dict[str, Any]:
    """A data set in figures: images a class and split, shape, mean and standard deviation of the
    training pixels. Raises DataError where its pack is not as it was written, to the last byte."""
    pack = sources.open_data(name, emit)
    verify(pack.folder)
    counts = {
        split: dict(
            zip(
                pack.classes,
                np.bincount(images.labels, minlength=len(pack.classes)).tolist(),
                strict=True,
            )
        )
        for split, images in pack.splits.items()
    }
    pixels = tensor_of(pack.splits["train"].images)
    mean, std = statistics(pixels, torch.arange(len(pixels)))
    return {
        "name": pack.name,
        "classes": list(pack.classes),
        "shape": [pack.channels, *pack.image_size],
        "images": {split: len(images) for split, images in pack.splits.items()},
        "counts": counts,
        "mean": mean,
        "std": std,
        "fingerprint": pack.fingerprint,
        "licence": source.licence if (source := sources.SOURCES.get(str(name))) else "",
    }


def show_data(
    name: str | Path,
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
    path = _figure_path(out, f"{Path(_full(name)).name}.png", force)
    pack = sources.open_data(name, emit)
    train = pack.splits["train"]
    random = np.random.default_rng(seed)
    chosen = random.choice(len(train.labels), size=min(count, len(train.labels)), replace=False)
    images = torch.from_numpy(train.images[chosen])
    generator = torch.Generator().manual_seed(seed)
    spec = recipes.AUGMENT_BY_DATA.get(str(name), recipes.Augment())
    changed, _ = augment(images, (), spec, generator)
    titles = [pack.classes[label] for label in train.labels[chosen]]
    _draw(figures.before_after(images.numpy(), changed.numpy(), titles), path)
    return path
