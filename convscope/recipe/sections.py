"""What a recipe is: sections of values, their defaults, and where each value came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any


@dataclass(frozen=True)
class Data:
    """What is learnt from: the data set by its name or folder, the held-out share for validation,
    the seed of that split, the ``image_size`` (N or HxW; auto: that of the data), and whether the
    network's first layer brings the pixels of each channel to mean 0 and standard deviation 1,
    measured on the training images, or leaves them as they are, 0 to 1 (``normalise``)."""

    name: str = "mnist"
    val: float = 0.1
    split_seed: int = 0
    image_size: str = "auto"
    normalise: bool = True


@dataclass(frozen=True)
class Model:
    """The network by its name in ``convscope.models.MODELS`` (or ``file.py:Class``), and its
    arguments."""

    name: str = "cnn"
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Train:
    """How it is fitted. ``None`` stands for 'as the optimiser and schedule have it' until
    resolved, 0 for 'off'.

    ``clip_grad``: the largest norm of a gradient. ``ema``: decay of the moving average of the
    weights that is judged and kept. ``early_stopping``: so many epochs without a better validation
    loss end the run, and the best weights are kept. ``steps``: where training ends within its last
    epoch, whatever the epochs have left. ``micro_batch``: images a forward and backward pass, their
    gradients summed to the batch's. ``eval_batch``: images that are judged at once.
    """

    epochs: int = 5
    batch_size: int = 100
    optimizer: str = "adamw"
    lr: float | None = None
    momentum: float | None = None
    nesterov: bool = True
    weight_decay: float = 0.01
    schedule: str = "one-cycle"
    warmup: float | None = None
    label_smoothing: float = 0.0
    clip_grad: float = 0.0
    ema: float = 0.0
    early_stopping: int = 0
    steps: int = 0
    micro_batch: int = 0
    eval_batch: int = 250
    seed: int = 0
    precision: str = "auto"
    memory_format: str = "auto"
    kernels: str = "auto"
    device: str = "auto"
    threads: int = 0
    checkpoint_seconds: float = 60.0


@dataclass(frozen=True)
class Augment:
    """What a training image may look like instead; 0 or false is off.

    ``crop``: a random part of at least this share of the area, brought back to size. ``rotate``: up
    to so many degrees each way; ``scale``: larger or smaller by up to this share; ``shear``: up to
    so many degrees. ``shift``: up to so many pixels each way, ``padding`` beyond the edge (black,
    reflect or edge). ``flip``: mirrored left to right, half of the time; ``alternating_flip``: each
    image mirrored every other epoch. ``brightness``, ``contrast``, ``saturation``: by a factor of
    up to 1 +- this; ``hue``: turned by up to this share of the circle. ``randaugment``: so many
    random operations of strength ``magnitude`` (0 to 30). ``cutout``: a square of so many pixels
    blacked out. ``erase``: the probability of a random rectangle of noise. ``mixup``, ``cutmix``:
    alpha of the Beta distribution that two images are blended by.
    """

    crop: float = 0.0
    rotate: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: int = 0
    padding: str = "black"
    flip: bool = False
    alternating_flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    randaugment: int = 0
    magnitude: int = 9
    cutout: int = 0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0


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


# A claim is about every seed and every way of running the same arithmetic.
UNCLAIMED = (
    *("seed", "precision", "memory_format", "kernels", "device", "threads"),
    *("checkpoint_seconds", "eval_batch"),
)


@dataclass(frozen=True)
class Recipe:
    """A whole job: sections of values, an optional claim, and where each value came from."""

    data: Data = Data()
    model: Model = field(default_factory=Model)
    train: Train = Train()
    augment: Augment = Augment()
    claim: Claim | None = None
    origin: Mapping[str, str] = field(default_factory=dict)

    def measured(self, **values: Any) -> Recipe:
        """The same recipe with values that were found out on this machine; without its claim where
        one of them changes the arithmetic.

        >>> Recipe().measured(precision="float32").origin["train.precision"]
        'measured'
        """
        section_of = options()
        changed: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            section = section_of[name]
            if value != getattr(getattr(self, section), name):
                changed.setdefault(section, {})[name] = value
        names = [(section, name) for section, found in changed.items() for name in found]
        origin = {**self.origin, **{f"{s}.{name}": "measured" for s, name in names}}
        parts = {s: replace(getattr(self, s), **found) for s, found in changed.items()}
        same = {name for _, name in names} <= {*UNCLAIMED, "image_size"}
        return replace(self, **parts, claim=self.claim if same else None, origin=origin)


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
LR_BY_OPTIMIZER = {"sgd": 0.05, "adam": 1e-3, "adamw": 4e-3}
WARMUP_BY_SCHEDULE = {"constant": 0.0, "cosine": 0.05, "one-cycle": 0.25}


def options() -> dict[str, str]:
    """The names that a caller may type, flat, each with its section.

    >>> options()["lr"], options()["data"], options()["flip"]
    ('train', 'data', 'augment')
    """
    flat = {"data": "data", "model": "model"}
    for section, kind in SECTIONS.items():
        flat |= {f.name: section for f in fields(kind) if f.name not in ("name", "arguments")}
    return flat
