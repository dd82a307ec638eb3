"""Which runs a sweep has, each of them checked before the first is trained."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from convscope import models
from convscope import recipe as recipes
from convscope.api import arguments
from convscope.data import sources
from convscope.data.pack import Pack
from convscope.errors import BadArgument
from convscope.events import Emit, silent
from convscope.insight import anatomy
from convscope.job import preflight
from convscope.job.prepare import build
from convscope.recipe import Data, Recipe
from convscope.studies import grid
from convscope.studies.grid import Grid, Setting, Study

QUICK = {"steps": 20, "val": 0.02}  # enough to see what a study looks like, and nothing more
NOTHING = "(Quick: 20 steps a run show what the study looks like; nothing follows from them.)"
NOT_A_RUNS = ("data", "model", "recipe", "augment")


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep: a setting and a seed, its recipe, its data and its network's size."""

    part: int
    setting: Setting
    seed: int
    options: Mapping[str, Any]
    recipe: Recipe
    pack: Pack
    parameters: int
    multiply_adds: int | None  # None where they cannot be counted

    @property
    def folder(self) -> str:
        """Its run folder's name."""
        words = re.sub(r"[^a-z0-9.]+", "-", self.setting.name.lower())[:60].strip("-")
        return f"{self.part + 1}-{words or 'all'}-seed{self.seed}"

    @property
    def name(self) -> str:
        """As it is spoken of."""
        return f"{self.setting.name or 'as given'}, seed {self.seed}"


@dataclass(frozen=True)
class PlannedSweep:
    """A study with every run of it, and the options that all of them share."""

    study: Study
    shared: Mapping[str, Any]
    runs: tuple[PlannedRun, ...]

    @property
    def name(self) -> str:
        """What all runs share, for the name of the folder: data and network."""
        networks = {arguments.short(one.recipe.model.name) for one in self.runs}
        data = Path(self.runs[0].recipe.data.name).name
        return f"{data}-{networks.pop()}" if len(networks) == 1 else data

    def as_json(self) -> dict[str, Any]:
        """What binds a sweep: its runs and their options. Raises BadArgument where two runs would
        have one folder."""
        found: dict[str, Any] = {}
        for one in self.runs:
            if one.folder in found:
                rule = "stands for two settings"
                raise BadArgument("vary", one.folder, rule, "name its values apart")
            found[one.folder] = {k: _plain(v) for k, v in one.options.items()}
        return {"format_version": 1, "title": self.study.title, "runs": found}


def plan(
    data: str | Path | None = None,
    *,
    vary: Mapping[str, Sequence[Any] | Mapping[str, Any]] | Iterable[str] = (),
    study: str | None = None,
    seeds: int | Sequence[int] | None = None,
    augment: bool | str = True,
    quick: bool = False,
    emit: Emit = silent,
    **options: Any,
) -> PlannedSweep:
    """The runs that :func:`convscope.sweep` trains where it is asked for the same. Raises
    BadArgument for a setting that cannot be built."""
    place = None if data is None else arguments.full(data)
    if options.get("labels") is not None:
        options["labels"] = arguments.full_table(options["labels"])
    given = {"data": place, **options, "augment": None if augment is True else augment}
    given |= QUICK if quick else {}
    shared = {name: value for name, value in given.items() if value is not None}
    wanted = _wanted(study, vary, shared, _seeds(seeds, quick))
    if quick:
        wanted = replace(wanted, question=f"{wanted.question} {NOTHING}".strip())
    return PlannedSweep(wanted, shared, tuple(runs_of(wanted, emit)))


def _seeds(seeds: int | Sequence[int] | None, quick: bool) -> tuple[int, ...] | None:
    if seeds is None:
        return (1,) if quick else None
    found = tuple(range(1, seeds + 1)) if isinstance(seeds, int) else tuple(seeds)
    if not found or len(set(found)) < len(found):
        rule = "must be how many seeds, at least 1, or which, each once"
        raise BadArgument("seeds", seeds, rule, "try 3")
    return found


def _wanted(
    study: str | None,
    vary: Mapping[str, Any] | Iterable[str],
    shared: Mapping[str, Any],
    seeds: Sequence[int] | None,
) -> Study:
    """The study that is asked for. Raises BadArgument."""
    varied = dict(vary.items() if isinstance(vary, Mapping) else [grid.typed(t) for t in vary])
    if study is not None:
        if varied:
            rule = f"cannot be given with study={study}, which varies its own"
            raise BadArgument("vary", ", ".join(varied), rule, "leave one of them out")
        ready = grid.load(study)
        parts = [replace(p, options={**p.options, **shared}) for p in ready.parts]
        wanted = replace(ready, parts=tuple(parts), seeds=tuple(seeds or ready.seeds))
    else:
        if "data" not in shared and "recipe" not in shared:
            rule = "is needed, or a recipe, or a study"
            raise BadArgument("DATA", "(not given)", rule, f"studies: {', '.join(grid.names())}")
        title = f"{' and '.join(varied)} varied" if varied else "the same, over seeds"
        part = Grid("", shared, tuple(grid.settings(varied.items())))
        wanted = Study(title, (part,), tuple(seeds or (1, 2, 3)))
    for part in wanted.parts:
        for setting in part.settings:
            for name in setting.options:
                if name in shared and (study is not None or name in varied):
                    rule = "is varied, and given as well"
                    raise BadArgument(name, shared[name], rule, "leave one of them out")
    if any("seed" in part.options for part in wanted.parts):
        raise BadArgument("seed", shared.get("seed"), "is for one run", "use seeds (--seeds)")
    return wanted


def runs_of(wanted: Study, emit: Emit) -> Iterator[PlannedRun]:
    """Every run, seed by seed, so that a sweep that is stopped has as many of each setting; their
    recipes are checked and their networks built, without values, to see that they fit."""
    packs: dict[Data, Pack] = {}
    checked: dict[tuple[int, str], PlannedRun] = {}
    for seed in wanted.seeds:
        for index, part in enumerate(wanted.parts):
            for setting in part.settings:
                key = index, setting.name
                if key not in checked:
                    options = {**part.options, **setting.options}
                    checked[key] = _checked(index, setting, options, packs, emit)
                first = checked[key]
                yield replace(first, seed=seed, options={**first.options, "seed": seed})


def _checked(
    index: int,
    setting: Setting,
    options: Mapping[str, Any],
    packs: dict[Data, Pack],
    emit: Emit,
) -> PlannedRun:
    of_the_run = {k: v for k, v in options.items() if k not in NOT_A_RUNS}
    base = options.get("recipe")
    known = arguments.resolved(
        *arguments.given(options.get("data"), options.get("model"), of_the_run),
        None if base is None else recipes.load(base),
        options.get("augment", True),
    )
    known = preflight.settle(known, silent)
    arguments.named(known, options.get("model"))
    if known.data not in packs:
        packs[known.data] = sources.of_recipe(known, emit)
    pack = packs[known.data]
    with torch.device("cpu" if models.is_own(known.model.name) else "meta"):
        network = build(known, pack)
    work = anatomy.summarise(
        network, [one.shape for one in pack.inputs.values()]
    ).total.multiply_adds
    parameters = sum(p.numel() for p in network.parameters())
    return PlannedRun(index, setting, 0, options, known, pack, parameters, work)


def _plain(value: Any) -> Any:
    """A value as JSON gives it back."""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
