"""Recipes: what to train, on what and how, as frozen dataclasses and as TOML; the only home of
defaults.

A recipe's value has an origin: ``typed`` by the user, from a ``recipe`` file, ``measured`` on this
machine, or a ``default``. A run folder keeps the fully resolved recipe, so that it can be run again
to the bit.
"""

from __future__ import annotations

import math
import re
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from convscope.errors import BadArgument, RunError, nearest


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


def _at_least(low: float) -> Callable[[Any], bool]:
    return lambda value: value >= low


def _one_of(*names: str) -> Callable[[Any], bool]:
    return lambda value: value in names


# field -> (does it hold?, the rule, the remedy)
RULES: dict[str, tuple[Callable[[Any], bool], str, str]] = {
    "val": (lambda v: 0 <= v < 1, "must be a share of the training data, 0 <= val < 1", "try 0.1"),
    "split_seed": (_at_least(0), "must be a whole number of at least 0", "try 0"),
    "image_size": (
        lambda v: bool(re.fullmatch(r"auto|[1-9]\d*(x[1-9]\d*)?", v)),
        "must be auto, N or HxW in pixels",
        "try 64 or 48x64",
    ),
    "epochs": (_at_least(1), "must be a whole number of at least 1", "try 5"),
    "batch_size": (_at_least(1), "must be a whole number of at least 1", "try 100"),
    "optimizer": (_one_of("sgd", "adam", "adamw"), "must be sgd, adam or adamw", "try adamw"),
    "lr": (lambda v: 0 < v < math.inf, "must be a finite number above 0", "try 0.001"),
    "momentum": (lambda v: 0 <= v < 1, "must be 0 <= momentum < 1", "try 0.9"),
    "weight_decay": (lambda v: 0 <= v < math.inf, "must be a finite number >= 0", "try 0.01"),
    "schedule": (
        _one_of(*WARMUP_BY_SCHEDULE),
        "must be constant, cosine or one-cycle",
        "try one-cycle",
    ),
    "warmup": (lambda v: 0 <= v < 1, "must be a share of all steps, 0 <= warmup < 1", "try 0.25"),
    "label_smoothing": (lambda v: 0 <= v < 1, "must be 0 <= label_smoothing < 1", "try 0.1"),
    "clip_grad": (_at_least(0), "must be a finite number >= 0 (0: off)", "try 1"),
    "ema": (lambda v: 0 <= v < 1, "must be a decay, 0 <= ema < 1 (0: off)", "try 0.99"),
    "early_stopping": (_at_least(0), "must be a whole number of epochs, 0: off", "try 5"),
    "steps": (_at_least(0), "must be a whole number of at least 0 (0: whole epochs)", "try 1000"),
    "micro_batch": (_at_least(0), "must be a whole number of images, 0: the batch", "try 64"),
    "eval_batch": (_at_least(1), "must be a whole number of at least 1", "try 250"),
    "seed": (lambda v: 0 <= v < 2**32, "must be a whole number, 0 <= seed < 2**32", "try 0"),
    "precision": (
        _one_of("auto", "float32", "bfloat16"),
        "must be auto, float32 or bfloat16",
        "try auto",
    ),
    "kernels": (
        lambda v: v in ("auto", "plain", "fused") or "=" in v,
        "must be auto (measured), plain (PyTorch's own) or fused",
        "try auto",
    ),
    "memory_format": (
        _one_of("auto", "channels_last", "contiguous"),
        "must be auto, channels_last or contiguous",
        "try auto",
    ),
    "threads": (_at_least(0), "must be a whole number of at least 0 (0: all cores)", "try 0"),
    "checkpoint_seconds": (_at_least(0), "must be a finite number >= 0", "try 60"),
    "shift": (_at_least(0), "must be a whole number of pixels, at least 0", "try 2"),
    "rotate": (lambda v: 0 <= v <= 180, "must be degrees, 0 <= rotate <= 180", "try 10"),
    "cutout": (_at_least(0), "must be a whole number of pixels, at least 0", "try 8"),
    "crop": (lambda v: 0 <= v <= 1, "must be a share of the area, 0 <= crop <= 1", "try 0.5"),
    "scale": (lambda v: 0 <= v < 1, "must be a share, 0 <= scale < 1", "try 0.1"),
    "shear": (lambda v: 0 <= v < 90, "must be degrees, 0 <= shear < 90", "try 10"),
    "padding": (_one_of("black", "reflect", "edge"), "must be black, reflect or edge", "try edge"),
    "brightness": (lambda v: 0 <= v <= 1, "must be a share, 0 <= brightness <= 1", "try 0.2"),
    "contrast": (lambda v: 0 <= v <= 1, "must be a share, 0 <= contrast <= 1", "try 0.2"),
    "saturation": (lambda v: 0 <= v <= 1, "must be a share, 0 <= saturation <= 1", "try 0.2"),
    "hue": (lambda v: 0 <= v <= 0.5, "must be a share of the circle, 0 <= hue <= 0.5", "try 0.05"),
    "randaugment": (lambda v: 0 <= v <= 10, "must be 0 to 10 operations an image", "try 2"),
    "magnitude": (lambda v: 0 <= v <= 30, "must be a whole number, 0 to 30", "try 9"),
    "erase": (lambda v: 0 <= v <= 1, "must be a probability, 0 <= erase <= 1", "try 0.25"),
    "mixup": (lambda v: 0 <= v < math.inf, "must be a finite number >= 0 (0: off)", "try 0.2"),
    "cutmix": (lambda v: 0 <= v < math.inf, "must be a finite number >= 0 (0: off)", "try 1"),
}


def options() -> dict[str, str]:
    """The names that a caller may type, flat, each with its section.

    >>> options()["lr"], options()["data"], options()["flip"]
    ('train', 'data', 'augment')
    """
    flat = {"data": "data", "model": "model"}
    for section, kind in SECTIONS.items():
        flat |= {f.name: section for f in fields(kind) if f.name not in ("name", "arguments")}
    return flat


def resolve(
    typed: Mapping[str, Any],
    model_arguments: Mapping[str, Any] | None = None,
    recipe: Recipe | None = None,
    augment: bool = True,
) -> Recipe:
    """What the user typed over a recipe over the defaults, every value checked.

    ``typed`` has flat names (``epochs``, ``lr``, ``shift``, ``data``, ``model``; None is 'not
    typed'). ``augment=False`` switches off whatever augmentation is not typed. Raises BadArgument.

    >>> r = resolve({"epochs": 2, "optimizer": "sgd"})
    >>> r.train.epochs, r.origin["train.epochs"], r.train.lr, r.origin["train.lr"]
    (2, 'typed', 0.05, 'default')
    """
    given = _by_section(typed)
    base = recipe or Recipe()
    origin: dict[str, str] = dict.fromkeys(base.origin, "recipe")
    values: dict[str, Any] = {}
    data_name = given["data"].get("name", base.data.name)
    fallback: dict[str, Any] = {s: kind() for s, kind in SECTIONS.items()}
    fallback["augment"] = AUGMENT_BY_DATA.get(data_name, Augment())
    for section, kind in SECTIONS.items():
        merged: dict[str, Any] = {}
        for f in fields(kind):
            key = f"{section}.{f.name}"
            if f.name == "arguments":
                continue
            if f.name in given[section]:
                merged[f.name] = _checked(
                    section if f.name == "name" else f.name, given[section][f.name], kind, f.name
                )
                origin[key] = "typed"
            elif section == "augment" and not augment:
                merged[f.name], origin[key] = getattr(Augment(), f.name), "typed"
            elif key in base.origin or getattr(getattr(base, section), f.name) != getattr(
                kind(), f.name
            ):
                merged[f.name] = _checked(
                    f"[{section}] {f.name}", getattr(getattr(base, section), f.name), kind, f.name
                )
                origin[key] = "recipe"
            else:
                merged[f.name], origin[key] = getattr(fallback[section], f.name), "default"
        if section == "model":
            same = merged["name"] == base.model.name
            merged["arguments"] = {
                **(base.model.arguments if same else {}),
                **(model_arguments or {}),
            }
            origin = {k: v for k, v in origin.items() if same or not _argument(k)}
            origin |= {f"model.{name}": "typed" for name in model_arguments or {}}
        values[section] = kind(**merged)
    values["train"] = _completed(values["train"], origin)
    resolved = Recipe(**values, origin=origin)
    _used(resolved, given)
    if recipe is None or recipe.claim is None:
        return resolved
    as_claimed = resolve({}, {}, replace(recipe, claim=None))
    return replace(resolved, claim=recipe.claim if _same_arithmetic(resolved, as_claimed) else None)


def _by_section(typed: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What was typed, by section and field. Raises BadArgument for an unknown name."""
    section_of = options()
    given: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, value in typed.items():
        if name not in section_of:
            raise BadArgument(name, value, "is no option", nearest(name, section_of))
        if value is not None:
            given[section_of[name]]["name" if name in ("data", "model") else name] = value
    return given


# typed field -> (is it used?, when it is not)
USED: dict[str, tuple[Callable[[Recipe], object], str]] = {
    "split_seed": (lambda r: r.data.val, "with val=0"),
    "nesterov": (lambda r: r.train.optimizer == "sgd" and r.train.momentum, "without momentum"),
    "magnitude": (lambda r: r.augment.randaugment, "without randaugment"),
    "padding": (
        lambda r: any(
            getattr(r.augment, name)
            for name in ("shift", "rotate", "scale", "shear", "crop", "randaugment")
        ),
        "where nothing is moved",
    ),
}


def _used(resolved: Recipe, given: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse what was typed and changes nothing. Raises BadArgument."""
    for name, (is_used, otherwise) in USED.items():
        typed = given[options()[name]]
        if name in typed and not is_used(resolved):
            raise BadArgument(name, typed[name], f"is not used {otherwise}", "leave it out")


# A claim is about every seed and every way of running the same arithmetic.
UNCLAIMED = (
    *("seed", "precision", "memory_format", "kernels", "device", "threads"),
    *("checkpoint_seconds", "eval_batch"),
)


def _argument(key: str) -> bool:
    return key.startswith("model.") and key != "model.name"


def _same_arithmetic(one: Recipe, two: Recipe) -> bool:
    """Whether two resolved recipes differ in nothing that a claim is about."""
    free = {name: getattr(one.train, name) for name in UNCLAIMED}
    arguments = [
        {k: list(v) if isinstance(v, tuple) else v for k, v in r.model.arguments.items()}
        for r in (one, two)
    ]
    return (
        (one.data, one.augment, one.train, one.model.name)
        == (two.data, two.augment, replace(two.train, **free), two.model.name)
    ) and arguments[0] == arguments[1]


def _completed(train: Train, origin: dict[str, str]) -> Train:
    """Fill what depends on the optimiser and the schedule, and refuse what they do not use."""
    if train.optimizer == "sgd":
        momentum = 0.9 if train.momentum is None else train.momentum
    elif train.momentum is not None and (
        origin["train.momentum"] == "typed" or origin["train.optimizer"] == "recipe"
    ):
        raise BadArgument(
            "momentum",
            train.momentum,
            f"is not used by {train.optimizer}",
            "leave it out, or choose optimizer=sgd",
        )
    else:
        momentum = None
        origin.pop("train.momentum")
    lr = LR_BY_OPTIMIZER[train.optimizer] if train.lr is None else train.lr
    warmup = WARMUP_BY_SCHEDULE[train.schedule] if train.warmup is None else train.warmup
    return replace(train, momentum=momentum, lr=lr, warmup=warmup)


def _checked(argument: str, value: Any, kind: type, name: str) -> Any:
    """The value in its field's type, or BadArgument."""
    hint = typing.get_type_hints(kind)[name]
    if value is None and types.NoneType in typing.get_args(hint):
        return None
    wanted = [t for t in typing.get_args(hint) if t is not types.NoneType] or [hint]
    (wanted_type,) = wanted
    if wanted_type is float and type(value) in (int, float) and not math.isnan(value):
        value = float(value)
    rule = RULES.get(name)
    if type(value) is not wanted_type or (wanted_type is float and math.isinf(value)):
        kinds = {
            int: "a whole number",
            float: "a finite number",
            bool: "true or false",
            str: "a name",
        }
        text, remedy = rule[1:] if rule else (f"must be {kinds[wanted_type]}", "correct it")
        raise BadArgument(argument, value, text, remedy)
    if rule and not rule[0](value):
        raise BadArgument(argument, value, rule[1], rule[2])
    return value


def parse(text: str, where: str) -> Recipe:
    """A recipe from TOML; ``where`` names the file in errors.

    Raises BadArgument for an unknown section or field and for a value that breaks its rule.

    >>> parse('[train]\\nepochs = 3', "my.toml").train.epochs
    3
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as why:
        raise BadArgument("recipe", where, f"is not TOML ({why})", "mend that line") from None
    stored_origin = tables.pop("origin", {})
    if not isinstance(stored_origin, dict):
        raise BadArgument("recipe", where, "has an [origin] that is no table", "remove it")
    claim = tables.pop("claim", None)
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for section, table in tables.items():
        if section not in SECTIONS or not isinstance(table, dict):
            raise BadArgument(
                "recipe", where, f"has an unknown table [{section}]", nearest(section, SECTIONS)
            )
        kind = SECTIONS[section]
        known = [f.name for f in fields(kind) if f.name != "arguments"]
        arguments = {}
        for name, value in table.items():
            if name in known:
                values.setdefault(section, {})[name] = _checked(
                    f"[{section}] {name}", value, kind, name
                )
            elif section == "model":
                arguments[name] = value
            else:
                raise BadArgument(
                    "recipe",
                    where,
                    f"has an unknown field {name} in [{section}]",
                    nearest(name, known),
                )
            origin[f"{section}.{name}"] = stored_origin.get(f"{section}.{name}", "recipe")
        if section == "model":
            values.setdefault("model", {})["arguments"] = arguments
    sections = {section: kind(**values.get(section, {})) for section, kind in SECTIONS.items()}
    return Recipe(**sections, claim=_claim(claim, where), origin=origin)


def _claim(table: Any, where: str) -> Claim | None:
    if table is None:
        return None
    wanted = {  # field -> the kinds that its value may be of
        name: (int, float) if kind in (float, float | None) else kind
        for name, kind in typing.get_type_hints(Claim).items()
    }
    needed = {f.name for f in fields(Claim) if f.default is MISSING}
    fits = isinstance(table, dict) and needed <= set(table) <= set(wanted)
    if not fits or any(not isinstance(value, wanted[name]) for name, value in table.items()):
        rule = "has a [claim] with other fields, or of other kinds, than it must have"
        raise BadArgument("recipe", where, rule, f"give {', '.join(wanted)}")
    return Claim(**table)


def dumps(recipe: Recipe) -> str:
    """A recipe as TOML, with the origin of each value.

    >>> parse(dumps(resolve({"epochs": 2})), "again").train.epochs
    2
    """
    import tomli_w

    tables: dict[str, Any] = {}
    for section in SECTIONS:
        part = getattr(recipe, section)
        table = {f.name: getattr(part, f.name) for f in fields(part) if f.name != "arguments"}
        table |= dict(getattr(part, "arguments", {}))
        tables[section] = {name: value for name, value in table.items() if value is not None}
    if recipe.claim:
        tables["claim"] = {k: v for k, v in vars(recipe.claim).items() if v is not None}
    if recipe.origin:
        tables["origin"] = dict(recipe.origin)
    return tomli_w.dumps(tables)


FOLDER = Path(__file__).parent / "recipes"


def names() -> list[str]:
    """The recipes that come with the package.

    >>> "mnist-cnn" in names()
    True
    """
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str | Path) -> Recipe:
    """A recipe by the name it has in the package, or from a TOML file. Raises BadArgument."""
    path = FOLDER / f"{name}.toml"
    if str(name) not in names():
        path = Path(name)
        if path.suffix != ".toml":
            raise BadArgument(
                "recipe", name, "is no recipe and no .toml file", nearest(str(name), names())
            )
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as why:
        raise BadArgument(
            "recipe", name, f"cannot be read ({why.strerror})", "name a .toml file that is there"
        ) from None
    except UnicodeDecodeError:
        raise BadArgument("recipe", name, "is not UTF-8", "save it again as UTF-8") from None
    return parse(text, str(name))


# Fields that runs of convscope 0.1.0 do not have; such a run had what is their default.
LATER = (
    *("image_size", "nesterov", "clip_grad", "ema", "early_stopping", "steps", "micro_batch"),
    *("eval_batch", "crop", "scale", "shear", "padding", "alternating_flip", "brightness"),
    *("contrast", "saturation", "hue", "randaugment", "magnitude", "erase", "mixup", "cutmix"),
    *("kernels", "normalise"),
)


def of_run(folder: Path) -> Recipe:
    """The resolved recipe of a run folder. Raises RunError where it is missing or damaged."""
    path = folder / "recipe.toml"
    try:
        recipe = parse(path.read_text(encoding="utf-8"), str(path))
    except OSError:
        raise RunError(f"{path}: is not there; is {folder} a run folder?") from None
    except (BadArgument, UnicodeDecodeError) as why:
        raise RunError(f"{path}: was edited or damaged: {why}") from None
    missing = [
        f"{section}.{f.name}"
        for section, kind in SECTIONS.items()
        for f in fields(kind)
        if f.name not in ("arguments", "momentum", *LATER)
        and f"{section}.{f.name}" not in recipe.origin
    ]
    if missing:
        raise RunError(f"{path}: was edited or damaged: it lacks {', '.join(missing)}")
    return recipe
