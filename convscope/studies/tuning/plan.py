"""What a search is asked for, every end and value of its space checked before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from convscope import devices, models
from convscope import recipe as recipes
from convscope.api import arguments
from convscope.data import augment
from convscope.data.columns import Image
from convscope.data.pack import Pack
from convscope.data.split import held_out
from convscope.engine import choice
from convscope.errors import BadArgument
from convscope.formatting import plural
from convscope.job.preflight import LR
from convscope.job.prepare import build
from convscope.recipe import Data, Recipe
from convscope.studies.tuning import space
from convscope.studies.tuning.spec import Spec, plain_options


@dataclass(frozen=True)
class Planned:
    """A search that was checked, and its recipe without a value that is searched; ``name`` is that
    of its data and its network."""

    spec: Spec
    base: Recipe
    parameters: int

    @property
    def name(self) -> str:
        """As folder and study are called."""
        network = arguments.short(self.base.model.name)
        return f"{Path(self.base.data.name).name}-{network}"

    @property
    def said(self) -> str:
        """How large a trial is, in words."""
        epochs = plural(self.spec.epochs, "epoch")
        return f"up to {epochs} a trial, {self.parameters:,} parameters as given"

    def as_json(self) -> dict[str, Any]:
        """What ``convscope tune --preview --json`` prints."""
        epochs, space = self.spec.epochs, self.spec.space.as_json()
        return {"space": space, "epochs": epochs, "parameters": self.parameters}


def plan(
    data: str | Path | None,
    recipe: str | Path | None,
    vary: Mapping[str, Any] | Iterable[str],
    model: str | None,
    options: Mapping[str, Any],
) -> Planned:
    """The search that is asked for. Raises BadArgument for a space or options that do not fit the
    recipe, the network or the data, DataError."""
    below = None if recipe is None else recipes.load(recipe)
    if data is None and below is None:
        raise BadArgument("DATA", "(not given)", "is needed, or a recipe", "try mnist")
    given = plain_options({"model": model, **options})
    if "steps" in given:
        rule = "cannot be given: Hyperband counts epochs"
        raise BadArgument("steps", given["steps"], rule, "give --epochs, or --share of the images")
    where = arguments.full(below.data.name if data is None and below is not None else data or "")
    text = None if below is None else recipes.dumps(replace(below, claim=None))
    spec = Spec(where, "", given, text, space.Space({}))
    packs: dict[Data, Pack] = {}
    base = spec.recipe({}, packs, model)
    pack = packs[base.data]
    typed = space.typed(vary, base.model.name)
    if not typed and _only_fits(base) and "freeze" not in given:
        base = spec.recipe({"lr": LR[base.train.optimizer]}, packs, model)  # fine-tuning, then
    fields = typed or {
        k: v for k, v in space.default(base, pack).items() if not _is_given(k, given)
    }
    spec = replace(spec, space=space.merged(fields, given), fingerprint=pack.fingerprint)
    epochs, parameters = _checked(spec, base, packs, model)
    precision = base.train.precision
    if precision == "auto":
        device = torch.device(devices.of(base.train.device))
        precision = choice.prior(base, device).precision
    return Planned(replace(spec, precision=precision, epochs=epochs), base, parameters)


def _is_given(name: str, given: Mapping[str, Any]) -> bool:
    """Whether a field is given, by itself or with all of the augmentation."""
    return name in given or ("augment" in given and recipes.options()[name].section == "augment")


def _checked(
    spec: Spec, base: Recipe, packs: dict[Data, Pack], model: str | None
) -> tuple[int, int]:
    """How many epochs the longest trial has, and the parameters of the network as it is given, once
    every end and value was held to its field's rule and every network built. Raises BadArgument."""
    built: dict[str, int] = {}
    epochs = 1
    for values in ({}, *spec.space.corners(base)):
        known = spec.recipe(values, packs, model)
        pack = packs[known.data]
        if not held_out(known, pack).size and "val" not in pack.splits:
            rule = "holds nothing out, so that there is nothing to choose by"
            raise BadArgument("val", known.data.val, rule, "try 0.1")
        if values and _only_fits(known):
            rule = "changes nothing where the last layer alone is fitted, to its optimum"
            remedy = "add --freeze stage:4, or --freeze none, to fine-tune"
            raise BadArgument("vary", next(reversed(values)), rule, remedy)
        for column in pack.inputs.values():
            if isinstance(column, Image):
                augment.check(known.augment, column.size, column.channels)
        if (key := f"{known.model}, {known.data}") not in built:
            with torch.device("cpu" if models.is_own(known.model.name) else "meta"):
                built[key] = sum(p.numel() for p in build(known, pack).parameters())
        epochs = max(epochs, known.train.epochs)
    return epochs, next(iter(built.values()))


def _only_fits(known: Recipe) -> bool:
    """Whether a last layer is fitted to features, and no step follows."""
    train = known.train
    return train.started and train.freeze == "features" and train.last_layer == "new"
