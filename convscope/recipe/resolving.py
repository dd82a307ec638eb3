"""What the user typed over a recipe over the defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from convscope.errors import BadArgument, nearest
from convscope.recipe.rules import checked
from convscope.recipe.sections import (
    AUGMENT_BY_DATA,
    AUGMENT_BY_NAME,
    SECTIONS,
    Augment,
    Recipe,
    Train,
    options,
)


def resolve(
    typed: Mapping[str, Any],
    model_arguments: Mapping[str, Any] | None = None,
    recipe: Recipe | None = None,
    augment: bool | str = True,
) -> Recipe:
    """What the user typed over a recipe over the defaults, every value checked.

    ``typed`` has flat names (``epochs``, ``lr``, ``shift``, ``data``, ``model``; None is 'not
    typed'). ``augment`` names what stands for the augmentation that is not typed: ``none`` or
    False, ``light``, ``strong``; True leaves it to recipe and data. Raises BadArgument.

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
    policy = None if augment is True else augmentation(augment or "none", data_name)
    for section, kind in SECTIONS.items():
        merged: dict[str, Any] = {}
        for flat, option in options().items():
            if option.section != section:
                continue
            name, key = option.name, f"{section}.{option.name}"
            of_base = getattr(getattr(base, section), name)
            if name in given[section]:
                merged[name], origin[key] = checked(flat, given[section][name], option), "typed"
            elif section == "augment" and policy is not None:
                merged[name], origin[key] = getattr(policy, name), "typed"
            elif key in base.origin or of_base != option.default:
                merged[name] = checked(f"[{section}] {name}", of_base, option)
                origin[key] = "recipe"
            else:
                merged[name], origin[key] = getattr(fallback[section], name), "default"
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
    _counted_once(resolved.train)
    if recipe is None or recipe.claim is None:
        return resolved
    as_claimed = resolve({}, {}, replace(recipe, claim=None))
    return replace(resolved, claim=recipe.claim if _same_arithmetic(resolved, as_claimed) else None)


def augmentation(name: str, data: str) -> Augment:
    """What a name stands for: ``light`` is the own augmentation of a data set that has one, else
    for photos, and ``strong`` is TrivialAugment besides. Raises BadArgument.

    >>> augmentation("light", "mnist").shift, augmentation("light", "photos/").flip
    (1, True)
    """
    if name not in AUGMENT_BY_NAME:
        remedy = nearest(str(name), AUGMENT_BY_NAME)
        raise BadArgument("augment", name, "must be none, light or strong", remedy)
    own = AUGMENT_BY_DATA.get(data)
    if name == "none" or own is None:
        return AUGMENT_BY_NAME[name]
    if name == "strong" and not own.flip:
        rule = f"turns images by up to 135 degrees, which makes a 9 of a 6 in {data}"
        raise BadArgument("augment", name, rule, "try light, or --randaugment 2")
    return replace(own, trivialaugment=name == "strong")


def _by_section(typed: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What was typed, by section and field. Raises BadArgument for an unknown name."""
    given: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, value in typed.items():
        if name not in options():
            raise BadArgument(name, value, "is no option", nearest(name, options()))
        if value is not None:
            given[options()[name].section][options()[name].name] = value
    return given


# typed field -> (is it used?, when it is not)
USED: dict[str, tuple[Callable[[Recipe], object], str]] = {
    "split_seed": (lambda r: r.data.val or r.data.fold != "none", "with val=0"),
    "keep": (
        lambda r: r.train.keep != "last" or not r.train.early_stopping,
        "with early_stopping, which keeps the best",
    ),
    "nesterov": (lambda r: r.train.optimizer == "sgd" and r.train.momentum, "without momentum"),
    "magnitude": (lambda r: r.augment.randaugment, "without randaugment"),
    "padding": (
        lambda r: any(
            getattr(r.augment, name)
            for name in (
                *("shift", "rotate", "scale", "shear", "crop", "randaugment", "trivialaugment"),
            )
        ),
        "where nothing is moved",
    ),
}


def _used(resolved: Recipe, given: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse what was typed and changes nothing. Raises BadArgument."""
    for name, (is_used, otherwise) in USED.items():
        typed = given[options()[name].section]
        if name in typed and not is_used(resolved):
            raise BadArgument(name, typed[name], f"is not used {otherwise}", "leave it out")


def _counted_once(train: Train) -> None:
    """Refuse to make up for rare classes twice. Raises BadArgument."""
    names = ("class_weights", "logit_adjustment", "sampler")
    on = [(n, getattr(train, n)) for n in names if getattr(train, n) != getattr(Train, n)]
    if len(on) > 1:
        (first, its), (second, value) = on[:2]
        rule = f"makes up for rare classes, and so does {first}={its}: they would count twice"
        raise BadArgument(second, value, rule, "leave one of them out")


def _argument(key: str) -> bool:
    return key.startswith("model.") and key != "model.name"


def _same_arithmetic(one: Recipe, two: Recipe) -> bool:
    """Whether two resolved recipes differ in nothing that a claim is about."""
    free = {name: getattr(one.train, name) for name, of in options().items() if not of.claimed}
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
    values: dict[str, Any] = {}
    for name, option in options().items():
        if option.by is None:
            continue
        (chooser, defaults), value = option.by, getattr(train, name)
        chosen = getattr(train, chooser)
        if chosen in defaults:
            values[name] = defaults[chosen] if value is None else value
        elif value is not None and (
            origin[f"train.{name}"] == "typed" or origin[f"train.{chooser}"] == "recipe"
        ):
            remedy = f"leave it out, or choose {chooser}={' or '.join(defaults)}"
            raise BadArgument(name, value, f"is not used by {chosen}", remedy)
        else:
            values[name] = None
            origin.pop(f"train.{name}")
    return replace(train, **values)
