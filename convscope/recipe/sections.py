"""What a recipe is: sections of values, with default, rule, remedy, help and heading beside each,
and where each value came from."""

from __future__ import annotations

import functools
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from convscope.recipe.rules import Option, Rule, at_least, below, one_of, option, up_to

HEADINGS = ("Network", "Data", "Training", "Augmentation", "This machine")  # of the options
_network, _data, _train, _augment, _here = (functools.partial(option, h) for h in HEADINGS)
# A claim is about every seed and every way of running the same arithmetic.
_machine = functools.partial(_here, claimed=False)

LR_BY_OPTIMIZER = {"sgd": 0.05, "adam": 1e-3, "adamw": 4e-3}
WARMUP_BY_SCHEDULE = {"constant": 0.0, "cosine": 0.05, "one-cycle": 0.25}

PIXELS = at_least(0, "a whole number of pixels, at least 0")
SHARE = up_to(1, "a share, {range}")
FINITE = at_least(0, "a finite number >= 0")
OR_OFF = at_least(0, "a finite number >= 0 (0: off)")
SIZE = Rule(
    lambda v: bool(re.fullmatch(r"auto|[1-9]\d*(x[1-9]\d*)?", v)), "auto, N or HxW in pixels"
)
LABELS = Rule(
    lambda v: v == "none" or v.lower().endswith((".csv", ".jsonl", ".parquet")),
    "none, or a .csv, .jsonl or .parquet file",
)


def _is_fold(text: str) -> bool:
    found = re.fullmatch(r"([1-9]\d{0,3})/([1-9]\d{0,3})", text)
    return text == "none" or (found is not None and int(found[1]) <= int(found[2]) > 1)


FOLD = Rule(_is_fold, "none, or I/K, the I-th of K folds, of 2 or more")
START = Rule(bool, "auto, none, imagenet, a run folder or tv:NAME:FILE")
FREEZE = Rule(
    lambda v: bool(re.fullmatch(r"none|features|stem|stage:[1-9]\d*", v)),
    "none, stem, stage:N or features",
)
KERNELS = Rule(
    lambda v: v in ("auto", "plain", "fused") or "=" in v,
    "auto (measured), plain (PyTorch's own) or fused",
)


# fmt: off
@dataclass(frozen=True)
class Data:
    """What is learnt from."""

    name: str = _data("mnist", "A data set by name, or a folder of images.")
    labels: str = _data("none", "A table of the folder's images: file, label, split, group.",
        LABELS, "try labels.csv")
    group: str = _data("auto", "Which images stay together: {values} (auto: as a table says).",
        one_of("auto", "stem", "none"), "try stem")
    skip_bad: bool = _data(False, "Leave out rows of a table that cannot be used.")
    fold: str = _data("none", "Judge one of K folds by the others: {values}; see --k-fold.",
        FOLD, "try 1/5")
    val: float = _data(0.1, "Share held out for validation; 0 trains on everything.",
        below(1, "a share of the training data, {range}"), "try 0.1")
    split_seed: int = _data(0, "Seed of that split.", at_least(0), "try 0")
    share: float = _data(1.0, "Share of each class's training images that is learnt from.",
        Rule(lambda v: 0 < v <= 1, "a share, 0 < {name} <= 1"), "try 0.5")
    image_size: str = _data("auto", "Size that a folder's images are brought to: {values}.",
        SIZE, "try 64 or 48x64")
    resize_mode: str = _data("auto", "How a folder's images are brought to it: {values}.",
        one_of("auto", "pad", "crop", "stretch"), "try crop")
    normalise: bool = _data(
        True, "Bring each channel's training pixels to mean 0, deviation 1, or leave them 0 to 1.")


@dataclass(frozen=True)
class Model:
    """The network, and its own arguments."""

    name: str = _network("cnn", "A network by name (see `models`), tv:NAME, or file.py:Class.")
    shared_trunk: bool = _network(
        False, "Of several image inputs: one trunk for all of a shape, or one each.")
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Train:
    """How it is fitted; None is what the optimiser and the schedule make of it, until resolved."""

    start: str = _network("auto", "Weights to begin from: {values}.", START, "try imagenet")
    freeze: str = _network("none", "What stays as it began: {values}.", FREEZE, "try features")
    last_layer: str = _network("new",
        "Of a run that is begun from: {values}; kept: a row for each class it knew, by name.",
        one_of("new", "kept"), "try kept")
    batch_norm: str = _network("kept",
        "Statistics of batch norm that training begins from: {values}.",
        one_of("kept", "learning"), "try learning")
    sync_batch_norm: bool = _network(
        False, "Several ranks: batch norm of the whole batch, not of each rank's part of it.")
    layer_decay: float = _train(
        1.0, "The learning rate of a layer as a share of that of the next one; 1: all have one.",
        Rule(lambda v: 0 < v <= 1, "a share, 0 < {name} <= 1"), "try 0.8")
    epochs: int = _train(5, "Passes over the training images.", at_least(1), "try 5")
    batch_size: int = _train(100, "Images a step.", at_least(1), "try 100")
    optimizer: str = _train("adamw", "{values}.", one_of(*LR_BY_OPTIMIZER), "try adamw")
    lr: float | None = _train(None, "Highest learning rate; --find-lr searches for one.",
        Rule(lambda v: v > 0, "a finite number above 0"), "try 0.001",
        by=("optimizer", LR_BY_OPTIMIZER))
    momentum: float | None = _train(None, "Momentum.", below(1), "try 0.9",
        by=("optimizer", {"sgd": 0.9}))
    nesterov: bool = _train(True, "sgd: Nesterov's momentum, or the plain one.")
    weight_decay: float = _train(0.01, "On weights; biases and normalisation are spared.",
        FINITE, "try 0.01")
    schedule: str = _train("one-cycle", "{values}.", one_of(*WARMUP_BY_SCHEDULE), "try one-cycle")
    warmup: float | None = _train(None, "Share of the steps in which the rate rises.",
        below(1, "a share of all steps, {range}"), "try 0.25", by=("schedule", WARMUP_BY_SCHEDULE))
    label_smoothing: float = _train(
        0.0, "Share of a target that goes to all classes.", below(1), "try 0.1")
    class_weights: str = _train("none",
        "{values}; auto: rare classes count more in the loss, by inverse frequency.",
        one_of("none", "auto"), "try auto")
    logit_adjustment: float = _train(
        0.0, "So much of each class's log frequency joins its logit in the loss; 0 is off.",
        OR_OFF, "try 1")
    sampler: str = _train("shuffle",
        "{values}: every image once an epoch, or each class as often.",
        one_of("shuffle", "balanced"), "try balanced")
    clip_grad: float = _train(0.0, "Largest norm of a gradient; 0 is off.", OR_OFF, "try 1")
    ema: float = _train(
        0.0, "Decay of the weights' moving average, which is judged and kept; 0 is off.",
        below(1, "a decay, {range} (0: off)"), "try 0.99")
    early_stopping: int = _train(
        0, "End after so many epochs without a better validation loss, and keep the best weights; "
        "0 is off.",
        at_least(0, "a whole number of epochs, 0: off"), "try 5")
    keep: str = _train("last",
        "Which weights are kept: {values}; best is by validation loss, accuracy by that of "
        "validation; small data of one's own: best.",
        one_of("last", "best", "accuracy"), "try best")
    steps: int = _train(
        0, "End after so many steps, whatever the epochs have left; 0 is whole epochs.",
        at_least(0, "a whole number of at least 0 (0: whole epochs)"), "try 1000")
    abstain: float = _train(
        0.05, "Answers that may be wrong at 95 % confidence on validation; less sure: 'unsure'.",
        Rule(lambda v: 0 < v < 1, "an error rate, 0 < {name} < 1"), "try 0.02", claimed=False)
    micro_batch: int = _here(
        0, "Images a forward and backward pass, gradients summed to a step's; 0 is the batch.",
        at_least(0, "a whole number of images, 0: the batch"), "try 64")
    eval_batch: int = _machine(250, "Images that are judged at once.", at_least(1), "try 250")
    seed: int = _train(0, "Of weights, order and augmentation.",
        below(2**32, "a whole number, 0 <= {name} < 2**32"), "try 0", claimed=False)
    precision: str = _machine("auto", "{values}; auto is measured, tf32 is for NVIDIA GPUs.",
        one_of("auto", "float32", "bfloat16", "tf32"), "try auto")
    memory_format: str = _machine("auto", "{values}; auto is measured.",
        one_of("auto", "channels_last", "contiguous"), "try auto")
    kernels: str = _machine("auto", "How layers are computed: {values}.", KERNELS, "try auto")
    device: str = _machine("auto", "auto, cpu, cuda, and PyTorch's others.")
    threads: int = _machine(0, "CPU threads; 0 is all cores.",
        up_to(1024, "a whole number, {range} (0: all cores)"), "try 0")
    checkpoint_seconds: float = _machine(60.0, "At most so much work is lost to a power cut.",
        FINITE, "try 60")

    @property
    def started(self) -> bool:
        """Whether it begins from other weights than those that its seed makes."""
        return self.start not in ("auto", "none")

    @property
    def keeps_best(self) -> bool:
        """Whether the weights of the epoch that is best on validation are kept."""
        return self.keep != "last" or self.early_stopping > 0


@dataclass(frozen=True)
class Augment:
    """What a training image may look like instead; 0 or false is off."""

    crop: float = _augment(
        0.0, "A random part of at least this share of the area, brought to size.",
        up_to(1, "a share of the area, {range}"), "try 0.5")
    rotate: float = _augment(0.0, "Up to so many degrees each way.",
        up_to(180, "degrees, {range}"), "try 10")
    scale: float = _augment(0.0, "Larger or smaller by up to this share.",
        below(1, "a share, {range}"), "try 0.1")
    shear: float = _augment(0.0, "Up to so many degrees each way.",
        below(90, "degrees, {range}"), "try 10")
    shift: int = _augment(0, "Up to so many pixels each way.", PIXELS, "try 2")
    padding: str = _augment("black", "What lies beyond the edge: {values}.",
        one_of("black", "reflect", "edge"), "try edge")
    flip: bool = _augment(False, "Mirror left to right, half of the time.")
    alternating_flip: bool = _augment(False, "Mirror each image every other epoch.")
    brightness: float = _augment(0.0, "Factor of up to 1 +- this.", SHARE, "try 0.2")
    contrast: float = _augment(0.0, "Factor of up to 1 +- this.", SHARE, "try 0.2")
    saturation: float = _augment(0.0, "Factor of up to 1 +- this.", SHARE, "try 0.2")
    hue: float = _augment(0.0, "Turn by up to this share of the circle.",
        up_to(0.5, "a share of the circle, {range}"), "try 0.05")
    randaugment: int = _augment(0, "Random operations an image.",
        up_to(10, "0 to 10 operations an image"), "try 2")
    magnitude: int = _augment(9, "Their strength, 0 to 30.",
        up_to(30, "a whole number, 0 to 30"), "try 9")
    trivialaugment: bool = _augment(
        False, "One random operation of random strength an image (TrivialAugment Wide).")
    cutout: int = _augment(0, "Side of a blacked-out square, in pixels.", PIXELS, "try 8")
    erase: float = _augment(0.0, "Probability of a random rectangle of noise.",
        up_to(1, "a probability, {range}"), "try 0.25")
    mixup: float = _augment(0.0, "Blend two images: alpha of the Beta distribution.",
        OR_OFF, "try 0.2")
    cutmix: float = _augment(0.0, "Patch an image with another: alpha of the Beta distribution.",
        OR_OFF, "try 1")
# fmt: on


@dataclass(frozen=True)
class Claim:
    """What this recipe was measured to reach: mean and sample standard deviation of test accuracy
    over seeds, the median seconds of training, and by which ``command``; the mean test ``loss``,
    and what was ``published`` of it, where that is known."""

    accuracy: float
    sd: float
    seeds: int
    seconds: float
    machine: str
    date: str
    command: str
    loss: float | None = None
    published: float | None = None


@dataclass(frozen=True)
class Recipe:
    """A whole job: sections of values, an optional claim, and where each value came from."""

    data: Data = Data()
    model: Model = field(default_factory=Model)
    train: Train = Train()
    augment: Augment = Augment()
    claim: Claim | None = None
    origin: Mapping[str, str] = field(default_factory=dict)

    def asked(self, key: str) -> bool:
        """Whether a value, as ``train.lr``, is typed, or a recipe's and not the default: the recipe
        of a run has all values."""
        section, name = key.split(".")
        given, origin = getattr(self, section), self.origin.get(key)
        return origin == "typed" or (
            origin == "recipe" and getattr(given, name) != getattr(type(given), name)
        )

    def measured(self, **values: Any) -> Recipe:
        """The same recipe with values that were found out on this machine; without its claim where
        one of them changes the arithmetic.

        >>> Recipe().measured(precision="float32").origin["train.precision"]
        'measured'
        """
        changed: dict[str, dict[str, Any]] = {}
        for flat, value in values.items():
            section, name = options()[flat].section, options()[flat].name
            if value != getattr(getattr(self, section), name):
                changed.setdefault(section, {})[name] = value
        names = [(section, name) for section, found in changed.items() for name in found]
        origin = {**self.origin, **{f"{s}.{name}": "measured" for s, name in names}}
        parts = {s: replace(getattr(self, s), **found) for s, found in changed.items()}
        of = {(one.section, one.name): one for one in options().values()}
        same = not any(of[one].claimed for one in names if one not in SETTLED)
        return replace(self, **parts, claim=self.claim if same else None, origin=origin)


def rank(keep: str, loss: float, accuracy: float) -> tuple[float, float]:
    """What an epoch is ranked by on validation where its weights may be kept, the best lowest: its
    loss, or first the share of images that are wrong.

    >>> rank("best", 0.5, 0.75), rank("accuracy", 0.5, 0.75)
    ((0.0, 0.5), (0.25, 0.5))
    """
    return (1 - accuracy if keep == "accuracy" else 0.0), loss


SETTLED = {("data", "image_size"), ("train", "start")}  # by the data, as a claim takes them to be

SECTIONS: dict[str, type] = {"data": Data, "model": Model, "train": Train, "augment": Augment}

# Augmentation that leaves every class what it is: digits are not mirrored (a mirrored 2 is no
# digit), and are shifted and turned less than would push a stroke out of the picture or make a 6 of
# a 9.
AUGMENT_BY_DATA: dict[str, Augment] = {
    "mnist": Augment(shift=1),
    "fashion-mnist": Augment(shift=2, flip=True),
    "cifar10": Augment(shift=4, flip=True),
    "cifar100": Augment(shift=4, flip=True),
}

# Augmentation by name. Photos keep their class when they are mirrored and a little is cut off.
AUGMENT_BY_NAME: dict[str, Augment] = {
    "none": Augment(),
    "light": Augment(crop=0.7, flip=True),
    "strong": Augment(crop=0.7, flip=True, trivialaugment=True),
}


@functools.cache
def options() -> Mapping[str, Option]:
    """The table of all fields by the flat names that a caller may type.

    >>> options()["lr"].section, options()["data"].name, options()["flip"].default
    ('train', 'name', False)
    """
    flat: dict[str, Option] = {}
    for section, of in SECTIONS.items():
        hints = typing.get_type_hints(of)
        for f in fields(of):
            if about := f.metadata.get("option"):
                kinds = typing.get_args(hints[f.name]) or (hints[f.name],)
                (kind,) = (k for k in kinds if k is not types.NoneType)
                key = section if f.name == "name" else f.name
                flat[key] = replace(about, section=section, name=f.name, kind=kind)
    return flat


def default_as_typed(name: str) -> str:
    """What an option is where nothing is typed.

    >>> default_as_typed("lr"), default_as_typed("epochs"), default_as_typed("flip")
    ('sgd 0.05, adam 0.001, adamw 0.004', '5', 'off; fashion-mnist on, cifar10 on, cifar100 on')
    """
    option = options()[name]
    special = dict(option.by[1]) if option.by else {}
    if option.section == "augment":
        of_data = {data: getattr(own, name) for data, own in AUGMENT_BY_DATA.items()}
        special = {data: own for data, own in of_data.items() if own != option.default}
    others = ", ".join(f"{key} {as_typed(value)}" for key, value in special.items())
    return "; ".join(filter(None, [as_typed(option.default), others]))


def as_typed(value: Any) -> str:
    """A default as it is typed.

    >>> as_typed(True), as_typed(60.0), as_typed((16, 32)), as_typed(None)
    ('on', '60', '16,32', '')
    """
    if value is None or isinstance(value, bool):
        return {None: "", True: "on", False: "off"}[value]
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


for _option in options().values():  # what help(Train) says
    _kind = SECTIONS[_option.section]
    _kind.__doc__ = f"{_kind.__doc__}\n\n``{_option.name}``: {_option.help}"
