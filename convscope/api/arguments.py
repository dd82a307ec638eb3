"""What is asked for, every value checked: the recipe of a job, its data, where its figure goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope import files, models
from convscope import recipe as recipes
from convscope.data import sources
from convscope.data.folder import absolute
from convscope.data.stores import is_url
from convscope.errors import BadArgument
from convscope.models import pretrained
from convscope.recipe import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def given(
    data: str | Path | None, model: str | None, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was typed: the recipe's fields, and the network's own arguments."""
    flat = recipes.options()
    fields = {name: value for name, value in options.items() if name in flat}
    arguments = {k: v for k, v in options.items() if k not in flat and v is not None}
    if "layers" in arguments:
        if model not in (None, "layers"):
            rule = f"is a network of its own, and so is model={model}"
            raise BadArgument("layers", arguments["layers"], rule, "leave one of them out")
        model = "layers"
    if fields.get("labels") is not None:
        fields["labels"] = full_table(fields["labels"])
    if isinstance(fields.get("start"), Path):
        fields["start"] = str(fields["start"])
    return {"data": None if data is None else full(data), "model": model} | fields, arguments


def full(data: str | Path) -> str:
    """A folder or table by its full path, so that a run finds it from everywhere; a URL stays."""
    here = sources.is_own(data) and not is_url(data)
    return str(absolute(Path(data)) if here else data)


def full_table(labels: str | Path) -> str:
    """A table of a folder's images by its full path; "none" stays."""
    return str(labels) if str(labels) == "none" else str(absolute(Path(labels)))


def resolved(
    typed: Mapping[str, Any], arguments: Mapping[str, Any], base: Recipe | None, augment: bool | str
) -> Recipe:
    """The recipe that is asked for. Raises BadArgument, too for an option that is neither the
    recipe's nor the network's."""
    asked = spelt_out(recipes.resolve(typed, arguments, base, augment))
    if not models.is_own(asked.model.name):
        known = models.arguments_of(asked.model.name)
        for name, value in arguments.items():
            if name not in known:
                raise models.no_argument(name, value, asked.model.name, recipes.options())
    return asked


def spelt_out(asked: Recipe) -> Recipe:
    """The recipe with its folder, its table, its image size and its start as a run's own recipe has
    them."""
    name, size, labels = full(asked.data.name), asked.data.image_size, asked.data.labels
    size = f"{size}x{size}" if size.isdecimal() else size
    data = replace(asked.data, name=name, image_size=size, labels=full_table(labels))
    train = replace(asked.train, start=pretrained.full(asked.train.start))
    return replace(asked, data=data, train=train)


def named(asked: Recipe, model: str | None) -> None:
    """Refuse a user's own class that a recipe names and the caller does not: it would be code that
    runs because a file says so."""
    if models.is_own(asked.model.name) and model is None:
        raise BadArgument(
            "model",
            "(not given)",
            f"the recipe names the class {asked.model.name}, and no code is loaded that you do not "
            "name",
            f"add --model {asked.model.name}, if you trust that file",
        )


def short(name: str) -> str:
    return name.rpartition(":")[2]


def figure_path(out: str | Path | None, name: str, force: bool, argument: str = "out") -> Path:
    """Where a figure goes: ``out``, a file or a folder, or ``name``. Raises BadArgument, which
    names the ``argument``, where something is there already, or no figure can be."""
    path = Path(name) if out is None else Path(out)
    if path.is_dir() or (out is not None and not path.suffix):
        path = path / name
    kinds = (".png", ".svg", ".pdf")
    if path.suffix not in kinds:
        rule = f"must end in {', '.join(kinds)}"
        raise BadArgument(argument, path, rule, f"try {path.stem}.png")
    return files.fresh(path, force, argument)


def draw(figure: Figure, path: Path) -> None:
    with files.whole_file(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=100)
