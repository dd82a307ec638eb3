"""What a training begins from, and what that makes of the options that were not typed."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convscope.data import folder, rows, sources
from convscope.data.decode import look
from convscope.data.layout import FOLDERS
from convscope.data.scan import scan
from convscope.errors import BadArgument, ImageError
from convscope.events import Emit, Notice
from convscope.formatting import plural
from convscope.models import is_own, pretrained
from convscope.models.pretrained import PUBLISHED, NotInstalled, Weights
from convscope.recipe import Recipe, Train

NETWORK = next(iter(PUBLISHED))  # the one that photos get
LOOKED = 64  # files whose heads are read
PASS = 32  # images, so that what a step of fine-tuning keeps of them fits into memory
SIDE, SMALL = 64, 5000  # from so many pixels on images are photos; fewer images gain at any size
ENOUGH = 600  # photos, from which on fine-tuning gains by more than validation errs
FIT_SIDE = (
    288  # of photos whose features are only computed: networks trained on crops of 224 pixels
)
# see them in the sizes that they know (Touvron et al. 2019, arXiv 1906.06423); trashnet +1.5 points
PASSES = 30_000  # images in all that fine-tuning learns from, in 2 to 10 epochs
TOP = "stage:4"  # of EfficientNet-Lite, after which come four fifths of its weights
TUNED = {"layer_decay": 0.9, "label_smoothing": 0.1}
LR = {"adamw": 5e-4, "adam": 5e-4, "sgd": 5e-3}  # from trained weights, which a higher one destroys
STEERED = ("epochs", "steps", "lr")  # typed, and fine-tuning is asked for


@dataclass(frozen=True)
class Photos:
    """Images in colour in a folder: how many, and their median (height, width)."""

    count: int
    size: tuple[int, int]


def settle(asked: Recipe, emit: Emit) -> Recipe:
    """The recipe with its start settled, and with what that makes of the options that are neither
    typed nor a recipe's; what was settled, and why, is told in a notice.

    Raises BadArgument for a start that is not there, or that the network cannot take.
    """
    start, name = asked.train.start, asked.model.name
    free = asked.origin.get("model.name", "default") == "default"
    data = asked.data
    photos = photos_in(data.name, data.labels) if start in ("auto", "imagenet") else None
    if start == "auto":
        if photos is None or not (free or name in PUBLISHED):
            return _from_scratch(asked)
        start = "imagenet"
    if start == "none":
        return _from_scratch(asked)
    try:
        weights = pretrained.find(start, NETWORK if free and start == "imagenet" else name)
    except NotInstalled as why:
        if asked.train.start != "auto":
            raise
        emit(
            Notice(
                f"{_count(photos)}: training from scratch, as ImageNet's weights are not here; "
                f"photos gain much by them: {why.remedy}",
                warning=True,
            )
        )
        return _from_scratch(asked)
    return _begun(asked, weights, photos, free, emit)


def photos_in(data: str, labels: str = "none") -> Photos | None:
    """The photos in a folder of images, or in a table of one image and one class a row, that are
    not for testing; None where there are none: images in colour that are few, or of 64 pixels or
    more along the longer side in the median. Some files' heads are read, no pixel."""
    root, paths = _files(data, labels)
    found = []
    for path in paths[:: max(1, len(paths) // LOOKED)]:
        try:
            found.append(look(root / path))
        except ImageError:
            continue
    if not found or max(channels for channels, _ in found) == 1:
        return None
    height, width = (
        int(statistics.median_low(side)) for side in zip(*(s for _, s in found), strict=True)
    )
    if max(height, width) < SIDE and len(paths) > SMALL:
        return None
    return Photos(len(paths), (height, width))


def _files(data: str, labels: str) -> tuple[Path, list[str]]:
    """The files to learn from, none of what is no folder and no such table, and where their names
    begin."""
    root = folder.absolute(Path(data))
    if sources.is_table(data) or labels != "none":
        path = root if labels == "none" else folder.absolute(Path(labels))
        if not path.is_file():
            return root, []
        table = rows.read_table(path, "data" if labels == "none" else "labels")
        images, told = table.of_kind("image", "numbers"), table.targets
        if len(images) != 1 or [table.kinds[name] for name in told] != ["class"]:
            return root, []
        split = next(iter(table.of_kind("split")), images[0])
        files = [row[images[0]] for row in table.rows if row[split] != "test"]
        return root if labels != "none" else path.parent, files
    if not sources.is_folder(data) or not root.is_dir():
        return root, []
    paths = [one.path for one in scan(root).found]
    return root, [p for p in paths if FOLDERS.get(p.split("/")[0].lower()) != "test"] or paths


def _count(photos: Photos | None) -> str:
    if photos is None:
        return "images"
    height, width = photos.size
    return f"{photos.count:,} images in colour, about {height} x {width}"


def _from_scratch(asked: Recipe) -> Recipe:
    for name in ("freeze", "last_layer", "batch_norm"):
        if (value := getattr(asked.train, name)) != getattr(Train, name):
            rule = "is not used where training starts from scratch"
            raise BadArgument(name, value, rule, "leave it out, or add --from imagenet or a run")
    return asked.measured(start="none")


def _begun(
    asked: Recipe, weights: Weights, photos: Photos | None, free: bool, emit: Emit
) -> Recipe:
    """The recipe of a training that begins with these weights."""
    same = asked.model.name == weights.model
    if (free and not same) or (same and not asked.model.arguments):
        origin = {**asked.origin, "model.name": "measured"}
        origin |= {f"model.{name}": "measured" for name in weights.arguments}
        network = replace(asked.model, name=weights.model, arguments=dict(weights.arguments))
        asked = replace(asked, model=network, origin=origin, claim=None)
    wanted: dict[str, Any] = {"start": weights.start}
    freeze, published = asked.train.freeze, weights.start == "imagenet"
    kept = asked.train.last_layer == "kept"
    if kept and not weights.classes:
        rule = "needs the names of the classes that it knew, which only a run has"
        raise BadArgument("last_layer", "kept", rule, "leave it out, or begin from a run (--from)")
    if published:
        wanted |= {"batch_size": PASS, "eval_batch": PASS}
        if asked.origin.get("train.freeze", "default") == "default":
            steered = any(asked.origin.get(f"train.{name}") == "typed" for name in STEERED)
            enough = photos is not None and photos.count >= ENOUGH
            freeze = wanted["freeze"] = TOP if steered or enough else "features"
    fine = freeze != "features" or kept
    if sources.is_own(asked.data.name) and not sources.is_packed(asked.data.name):
        height, width = weights.size
        if published and not fine and photos is not None and min(photos.size) >= FIT_SIDE:
            height = width = FIT_SIDE
        wanted |= {"image_size": f"{height}x{width}", "resize_mode": weights.fit}
    if fine:
        wanted |= {"lr": LR[asked.train.optimizer], "keep": "accuracy"}
        if published:
            count = PASSES if photos is None else photos.count
            wanted |= TUNED | {"epochs": min(10, max(2, PASSES // count))}
    where = {name: recipe_key(name) for name in wanted}
    taken = {
        name: value
        for name, value in wanted.items()
        if name == "start" or asked.origin.get(where[name], "default") == "default"
    }
    settled = asked.measured(**taken)
    own = "" if is_own(weights.model) else f"; network {settled.model.name}"
    how = settled.data
    emit(
        Notice(
            f"{_count(photos) + ': ' if photos else ''}begins from {weights.said}{own}"
            + (f"; images {how.image_size}, {how.resize_mode}" if "image_size" in taken else "")
            + f"; {_plan(settled.train)} (--from none trains from scratch)"
        )
    )
    return settled


def _plan(train: Train) -> str:
    """What learns of a network that begins from other weights, in words."""
    kept = train.last_layer == "kept"
    if train.freeze == "features" and not kept:
        return "the last layer is fitted to its features, all else stays (--freeze none fine-tunes)"
    after = f"what comes after {train.freeze} learns"
    part = "all layers learn" if train.freeze == "none" else after
    epochs = plural(train.epochs, "epoch")
    best = ", the best on validation kept" if train.keeps_best else ""
    if kept:
        return f"its last layer is kept, {part} for {epochs} at {train.lr:g}{best}"
    last = "the last layer is fitted first"
    return f"{last}, then {part} for {epochs} at {train.lr:g}{best} (--freeze features: not)"


def recipe_key(flat: str) -> str:
    """An option as a recipe's origins have it.

    >>> recipe_key("lr"), recipe_key("flip"), recipe_key("model")
    ('train.lr', 'augment.flip', 'model.name')
    """
    from convscope.recipe import options

    return f"{options()[flat].section}.{options()[flat].name}"
