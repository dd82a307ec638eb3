"""What binds a search: data, options that all trials share, space. The study keeps it, so that
whoever joins it or goes on with it searches the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from convscope import machine
from convscope import recipe as recipes
from convscope.api import arguments
from convscope.data.pack import Pack
from convscope.data.sources import of_recipe
from convscope.errors import BadArgument, RunError
from convscope.events import silent
from convscope.job import preflight
from convscope.job.defaults import suited
from convscope.recipe import Data, Recipe
from convscope.studies.plan import NOT_A_RUNS
from convscope.studies.tuning import space as spaces
from convscope.studies.tuning.space import Space
from convscope.studies.tuning.storage import Place

FORMAT_VERSION = 1
OF_THE_MACHINE = ("threads", "device", "labels")  # may differ from one that joins to another


@dataclass(frozen=True)
class Spec:
    """A search: its ``data`` by name or path and their ``fingerprint``, the ``options`` of `train`
    that are shared, the text of the recipe beneath them (``base``), the ``space``, the
    ``precision`` of trials that leave it open, and how many ``epochs`` the longest have."""

    data: str
    fingerprint: str
    options: Mapping[str, Any]
    base: str | None
    space: Space
    precision: str = "float32"
    epochs: int = 1
    version: str = field(default_factory=machine.version)

    @property
    def name(self) -> str:
        """Of the data."""
        return Path(self.data).name

    def recipe(
        self, values: Mapping[str, Any], packs: dict[Data, Pack], model: str | None = None
    ) -> Recipe:
        """The recipe of a trial, without a claim; ``model`` is what the caller names, as a user's
        class has to be, and ``packs`` are the data that were opened so far. Raises BadArgument,
        DataError."""
        options = {**self.options, **values}
        base = None if self.base is None else recipes.parse(self.base, "recipe")
        known = arguments.resolved(
            *arguments.given(
                self.data,
                options.get("model"),
                {k: v for k, v in options.items() if k not in NOT_A_RUNS},
            ),
            base,
            options.get("augment", True),
        )
        known = preflight.settle(known, silent)
        arguments.named(known, values.get("model", model))
        if known.data not in packs:
            packs[known.data] = of_recipe(known, silent)
        return replace(suited(known, packs[known.data], silent), claim=None)

    def as_json(self) -> dict[str, Any]:
        """What :func:`of_json` reads."""
        kept = {k: v for k, v in vars(self).items() if k != "space"}
        return {"format_version": FORMAT_VERSION, **kept, "space": self.space.as_json()}

    def differences(self, other: Spec) -> Iterator[str]:
        """In what another search differs from this one, each in words."""
        if self.fingerprint != other.fingerprint:
            yield f"its data are others ({self.data} there, {other.data} here)"
        if self.version != other.version:
            yield f"convscope was {self.version}, and is {other.version}"
        if self.base != other.base:
            yield "its recipe is another"
        for what, old, new in (
            ("searched over", _said(self.space.fields), _said(other.space.fields)),
            ("given as", _said(self.options), _said(other.options)),
        ):
            for name in dict.fromkeys([*old, *new]):
                if name not in OF_THE_MACHINE and old.get(name) != new.get(name):
                    before, after = (one.get(name, "nothing") for one in (old, new))
                    yield f"{name} was {what} {before}, and is {after}"


def _said(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}


def of_json(value: Mapping[str, Any], said: str) -> Spec:
    """A search as its study keeps it. Raises RunError where that is of another version."""
    try:
        if value["format_version"] > FORMAT_VERSION:
            raise RunError(f"{said}: is a search of a newer convscope; update it")
        kept = {k: v for k, v in value.items() if k not in ("format_version", "space")}
        return Spec(**kept, space=spaces.of_json(value["space"]))
    except (KeyError, TypeError) as why:
        raise RunError(f"{said}: is a study that convscope tune did not make ({why})") from None


def same(kept: Spec, asked: Spec, place: Place) -> None:
    """Refuse another search than the study holds. Raises BadArgument, which names what differs."""
    if found := list(kept.differences(asked)):
        rule = f"holds {place.name}, which is another search: {'; '.join(found[:3])}"
        begun = "give what it was begun with, or nothing but --resume --out DIR to go on with it"
        remedy = f"{begun}; for another search another --name or --out"
        raise BadArgument("storage", place.said, rule, remedy)


def plain_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON gives them back, without those that are not given."""
    return {
        name: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple)
        else value
        for name, value in given.items()
        if value is not None
    }  # fmt: skip
