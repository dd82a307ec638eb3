"""Show what there is: data sets and networks; a run as plain PyTorch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convscope import files, models, run
from convscope import recipe as recipes
from convscope.api.asked import draw, figure_path, full
from convscope.data import sources
from convscope.data.augment import augment
from convscope.data.loader import tensor_of
from convscope.data.pack import verify
from convscope.data.split import statistics
from convscope.errors import BadArgument
from convscope.events import Emit, silent
from convscope.insight import figures
from convscope.models import tv
from convscope.shipping import script as scripts


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
    path = figure_path(out, f"{Path(full(name)).name}.png", force)
    pack = sources.open_data(name, emit)
    train = pack.splits["train"]
    random = np.random.default_rng(seed)
    chosen = random.choice(len(train.labels), size=min(count, len(train.labels)), replace=False)
    images = torch.from_numpy(train.images[chosen])
    generator = torch.Generator().manual_seed(seed)
    spec = recipes.AUGMENT_BY_DATA.get(str(name), recipes.Augment())
    changed, _ = augment(images, (), spec, generator)
    titles = [pack.classes[label] for label in train.labels[chosen]]
    draw(figures.before_after(images.numpy(), changed.numpy(), titles), path)
    return path
