"""Recipes as TOML: those of the package, files of one's own, and those of runs."""

from __future__ import annotations

import tomllib
import typing
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from convscope.errors import BadArgument, RunError, nearest
from convscope.recipe.rules import checked
from convscope.recipe.sections import SECTIONS, Claim, Recipe, options


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
        known = {o.name: o for o in options().values() if o.section == section}
        arguments = {}
        for name, value in table.items():
            if name in known:
                kept = checked(f"[{section}] {name}", value, known[name])
                values.setdefault(section, {})[name] = kept
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

    >>> parse(dumps(parse("[train]\\nepochs = 2", "one")), "again").train.epochs
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


FOLDER = Path(__file__).parents[1] / "recipes"


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


# Fields that runs of convscope 0.1.0 have; a run without a later one had what is its default.
FIELDS_OF_0_1_0 = {
    *("data", "val", "split_seed", "model", "epochs", "batch_size", "optimizer", "lr", "schedule"),
    *("weight_decay", "warmup", "label_smoothing", "seed", "precision", "memory_format", "device"),
    *("threads", "checkpoint_seconds", "shift", "rotate", "flip", "cutout"),
}


def of_run(folder: Path) -> Recipe:
    """The resolved recipe of a run folder. Raises RunError where it is missing or damaged."""
    path = folder / "recipe.toml"
    try:
        recipe = parse(path.read_text(encoding="utf-8"), str(path))
    except OSError:
        raise RunError(f"{path}: is not there; is {folder} a run folder?") from None
    except (BadArgument, UnicodeDecodeError) as why:
        raise RunError(f"{path}: was edited or damaged: {why}") from None
    needed = [f"{o.section}.{o.name}" for flat, o in options().items() if flat in FIELDS_OF_0_1_0]
    if missing := [key for key in needed if key not in recipe.origin]:
        raise RunError(f"{path}: was edited or damaged: it lacks {', '.join(missing)}")
    return recipe
