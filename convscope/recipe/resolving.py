"""What the user typed over a recipe over the defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from convscope.errors import BadArgument, nearest
from convscope.recipe.rules import checked
from convscope.recipe.sections import (
    AUGMENT_BY_DATA,
    LR_BY_OPTIMIZER,
    SECTIONS,
    UNCLAIMED,
    WARMUP_BY_SCHEDULE,
    Augment,
    Recipe,
    Train,
    options,
)


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
                merged[f.name] = checked(
                    section if f.name == "name" else f.name, given[section][f.name], kind, f.name
                )
                origin[key] = "typed"
            elif section == "augment" and not augment:
                merged[f.name], origin[key] = getattr(Augment(), f.name), "typed"
            elif key in base.origin or getattr(getattr(base, section), f.name) != getattr(
                kind(), f.name
            ):
                merged[f.name] = checked(
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
