"""What each value must be: its type and its rule, with the remedy that an error names."""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Callable
from typing import Any

from convscope.errors import BadArgument, nearest
from convscope.recipe.sections import WARMUP_BY_SCHEDULE


def _at_least(low: float) -> Callable[[Any], bool]:
    return lambda value: value >= low


class _OneOf(tuple[str, ...]):
    """Names of which the value must be one."""

    def __call__(self, value: Any) -> bool:
        return value in self


def _one_of(*names: str) -> _OneOf:
    return _OneOf(names)


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
        _one_of("auto", "float32", "tf32", "bfloat16"),
        "must be auto, float32, bfloat16 or tf32",
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


def checked(argument: str, value: Any, kind: type, name: str) -> Any:
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
        meant = nearest(value, rule[0], listed=False) if isinstance(rule[0], _OneOf) else ""
        raise BadArgument(argument, value, rule[1], meant.strip() or rule[2])
    return value
