"""Show what there is: data sets and networks; what a network is made of; a run as plain PyTorch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from convscope import files, models, run
from convscope import recipe as recipes
from convscope.api.arguments import draw, figure_path, full, full_table
from convscope.data import augment as augmentation
from convscope.data import digits, duplicates, published, sources
from convscope.data.columns import Class, Image, as_json, of_model
from convscope.data.decode import whole
from convscope.data.loader import tensor_of
from convscope.data.pack import Split, read_meta, verify
from convscope.data.sources import of_recipe
from convscope.data.split import statistics, strata
from convscope.errors import BadArgument
from convscope.events import Emit, silent
from convscope.insight import anatomy, figures
from convscope.job import preflight
from convscope.job.defaults import suited
from convscope.models import store, tv
from convscope.shipping import script as scripts


def script(path: str | Path, out: str | Path | None = None, *, force: bool = False) -> str:
    """A run as one plain PyTorch file, which needs torch, safetensors and Pillow (and torchvision
    for ``tv:``): it loads the run's weights, predicts what the run predicts, of an image that it is
    given too, and can train on.

    Gives the text, and writes it to ``out`` if that is given; its path to the weights is then from
    that file on, else from the working folder. Raises BadArgument where ``out`` is there already
    and ``force`` is not given, and for a run of a user's own class; RunError.
    """
    file = None if out is None else files.fresh(Path(out), force)
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


def summary(
    network: nn.Module | str | Path,
    input_shape: anatomy.Given | None = None,
    *,
    num_classes: int | None = None,
    model: str | None = None,
    **arguments: Any,
) -> anatomy.Summary:
    """What a network is made of, row by row: shapes and why, parameters, multiply-adds, memory,
    receptive fields; for one image.

    ``network`` is any module; or a network by name with its own ``arguments``, ``tv:NAME``, or a
    class as ``file.py:ClassName``, built without memory for its weights where it allows that; or a
    run, whose ``model`` names a user's own class again. ``input_shape`` is (C, H, W), several such
    for a module that takes several, or tensors; a network by name has 1x28x28, torchvision's the
    size and the classes that its weights are for. A network that fails on the way gives the rows
    up to there, and its ``failure``. Raises BadArgument, RunError.

    >>> found = summary("cnn")
    >>> found.total.parameters, found.total.multiply_adds
    (29034, 2838080)
    >>> [row.why for row in found.rows if row.kind == "Flatten"]
    ['32 * 7 * 7 = 1568']
    """
    if isinstance(network, nn.Module):
        _none_of({"num_classes": num_classes, "model": model, **arguments}, "a module")
        if input_shape is None:
            rule = "is needed for a module"
            raise BadArgument("input_shape", "(not given)", rule, "give (channels, height, width)")
        return anatomy.summarise(network, input_shape)
    name = str(network)
    built = name in models.MODELS or name.startswith(tv.PREFIX) or models.is_own(name)
    if not built and (Path(name).is_dir() or re.search(r"[/\\]", name)):
        given = {"num_classes": num_classes, "input_shape": input_shape, **arguments}
        _none_of(given, "a run, which has its own")
        return _of_run(Path(name), model)
    if model is not None:
        rule = "is for a run of a class of your own"
        raise BadArgument("model", model, rule, "leave it out")
    try:
        return _of_name(name, input_shape, num_classes, arguments)
    except BadArgument as why:
        argument = "network" if why.argument == "model" else why.argument
        raise BadArgument(argument, why.value, why.rule, why.remedy) from None


def _none_of(given: dict[str, Any], what: str) -> None:
    """Refuse what does not go with a module, or with a run."""
    for name, value in given.items():
        if value is not None:
            raise BadArgument(name, value, f"does not go with {what}", "leave it out")


def _of_run(path: Path, model: str | None) -> anatomy.Summary:
    place = run.find(path)
    inputs = [one for one in of_model(place.read_model()).values() if one.is_input]
    network = store.load_network(place, model)
    return anatomy.summarise(network, [one.shape for one in inputs], name=str(path))


def _of_name(
    name: str, given: anatomy.Given | None, num_classes: int | None, arguments: dict[str, Any]
) -> anatomy.Summary:
    """A network that is built for this, its weights left out where it allows that."""
    bare = name.removeprefix(tv.PREFIX) if name.startswith(tv.PREFIX) else ""
    if bare and bare not in tv.names():
        tv.builder(name)
    if given is None:
        figures = tv.published(bare) if bare else None
        given = (1, 28, 28) if figures is None else figures.size
    classes = num_classes or (1000 if bare else 10)
    if num_classes is not None and num_classes < 1:
        raise BadArgument("num_classes", num_classes, "must be at least 1", "try 10")
    parts = anatomy.inputs_of(given)
    channels, *size = parts[0] if anatomy.is_image(parts[0]) else (1, 28, 28)
    asked = {key: value for key, value in arguments.items() if value is not None}

    def built() -> nn.Module:
        made = models.build(name, classes, channels, (size[0], size[1]), asked)
        return made.head if bare or models.is_own(name) else made

    if not models.is_own(name):
        with anatomy.weightless():
            made = built()
        found = anatomy.summarise(made, given, name=name)
        return replace(found, notes=(*found.notes, *_published(bare, found, classes, asked)))
    try:
        with anatomy.weightless():
            made = built()
    except BadArgument:  # a class may want its weights' values while it is made
        made = built()
    return anatomy.summarise(made, given, name=name, rebuild=built)


def _published(
    bare: str, found: anatomy.Summary, classes: int, arguments: dict[str, Any]
) -> list[str]:
    """What torchvision publishes of a classifier, where it is that one."""
    if not bare or arguments or classes != 1000 or found.failure is not None:
        return []
    figures = tv.published(bare, found.inputs[0])
    if figures is None:
        return []
    said = f"torchvision publishes {figures.parameters:,} parameters and {figures.giga:g} G "
    more = figures.parameters - found.total.parameters
    if more and more == tv.auxiliary(bare):
        return [f"{said}multiply-adds; {more:,} of the parameters are those of an auxiliary head, "
                "which is for training alone and left out here."]  # fmt: skip
    return [f"{said}multiply-adds."]


def describe_data(
    name: str | Path,
    emit: Emit = silent,
    *,
    labels: str | Path | None = None,
    skip_bad: bool = False,
) -> dict[str, Any]:
    """A data set in figures: images a class and split, shape, mean and standard deviation of the
    training pixels, identical images, files that are not read by their suffix, how many images are
    left out (``skipped``); of several inputs or targets these are of the first image and the first
    class, and ``columns`` says what each is. ``labels`` and ``skip_bad`` are those of
    :func:`train`. Raises DataError where its pack is not as it was written, to the last byte; of a
    pack in shards no image is fetched for it."""
    options: dict[str, Any] = {"labels": labels, "skip_bad": skip_bad}
    pack = sources.open_data(name, emit, **options)
    if pack.folder is not None:
        verify(pack.folder)
    classes, image = pack.main_classes, pack.main_image
    counts = {}
    for split, records in pack.splits.items():
        each = np.bincount(strata(records), minlength=len(classes)).tolist()
        counts[split] = dict(zip(classes, each, strict=True))
    same = duplicates.found_in(pack)
    if (notice := same.notice(pack.name)) is not None:
        emit(notice)
    mean, std = _statistics(pack.splits["train"])
    return {
        "name": pack.name,
        "classes": list(classes),
        "shape": list(image.shape),
        **({"columns": as_json(pack.columns)} if len(pack.columns) > 2 else {}),
        "images": {split: len(images) for split, images in pack.splits.items()},
        "counts": counts,
        "mean": mean,
        "std": std,
        "duplicates": same.as_json(),
        "unread": sources.unread(name, **options),
        "skipped": len(read_meta(pack.folder).get("skipped", ())) if pack.folder else 0,
        "fingerprint": pack.fingerprint,
        "licence": source.licence if (source := published.PUBLISHED.get(str(name))) else "",
    }


def _statistics(train: Split) -> Sequence[Sequence[float]]:
    """Mean and standard deviation by channel of the first column of images; shards need not be
    here for it."""
    name = next(name for name, one in train.columns.items() if isinstance(one, Image))
    if train.shards is not None and name in train.shards.statistics:
        return train.shards.statistics[name]
    pixels = tensor_of(train.main_images)
    return statistics(pixels, torch.arange(len(pixels)))


def _side_by_side(split: Split, chosen: np.ndarray) -> np.ndarray:
    """Some images uint8 [n,C,H,W], with those of other columns of the same height to their
    right."""
    columns = [one[chosen] for one in split.inputs.values() if one.ndim == 4]
    alike = [one for one in columns if one.shape[1:3] == columns[0].shape[1:3]]
    return np.concatenate(alike, axis=3)


def show_data(
    name: str | Path,
    out: str | Path | None = None,
    *,
    labels: str | Path | None = None,
    skip_bad: bool = False,
    count: int = 32,
    seed: int = 0,
    augment: bool | str = True,
    force: bool = False,
    emit: Emit = silent,
) -> Path:
    """A picture of a labelled batch, as training gets it by its defaults and as it changes that, by
    the augmentation that it has or that is named (``augment``: see :func:`convscope.train`);
    returns its path. ``labels``
    and ``skip_bad`` are those of :func:`train`.

    Raises BadArgument where ``out`` is there already and ``force`` is not given, or ``count`` is
    below 1.
    """
    if count < 1:
        raise BadArgument("count", count, "must be a whole number of at least 1", "try 32")
    recipes.checked("seed", seed, recipes.options()["seed"])
    path = figure_path(out, f"{Path(full(name)).name}.png", force)
    typed = {"data": full(name), "skip_bad": skip_bad}
    typed |= {} if labels is None else {"labels": full_table(labels)}
    asked = preflight.settle(recipes.resolve(typed, augment=augment), emit)
    pack = of_recipe(asked, emit)
    train = pack.splits["train"]
    random = np.random.default_rng(seed)
    chosen = random.choice(len(train), size=min(count, len(train)), replace=False)
    images = torch.from_numpy(_side_by_side(train, chosen))
    generator = torch.Generator().manual_seed(seed)
    spec = suited(asked, pack, silent).augment
    augmentation.check(spec, (images.shape[2], images.shape[3]), images.shape[1])
    changed, _ = augmentation.augment(images, (), spec, generator)
    told = [
        [one.classes[label] for label in train.values[column][chosen]]
        for column, one in pack.targets.items()
        if isinstance(one, Class)
    ]
    titles = [", ".join(row) for row in zip(*told, strict=True)]
    draw(figures.before_after(images.numpy(), changed.numpy(), titles), path)
    return path


def show_digits(photo: str | Path, out: str | Path | None = None, *, force: bool = False) -> Path:
    """A picture of a photograph of digits on paper, and of what a network gets of it: a box around
    each digit, and its pixels as they are cut out; returns its path, ``NAME-digits.png`` if no
    ``out`` is given.

    Raises ImageError where nothing like a digit is in the photograph, BadArgument where ``out`` is
    there already and ``force`` is not given.
    """
    path = figure_path(out, f"{Path(photo).stem}-digits.png", force)
    found = digits.read_photo(photo)
    pixels, scale = whole(photo, channels=3, longest=digits.LONGEST)
    boxes = [tuple(edge / scale for edge in one.box) for one in found]
    draw(figures.cut_out(pixels, boxes, np.stack([one.pixels[None] for one in found])), path)
    return path
