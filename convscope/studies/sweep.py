"""Every setting over several seeds, one run after another; stopped half-way, it goes on without
repeating a finished run."""

from __future__ import annotations

import json
import re
import shlex
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from convscope import api, files, models, notebook, run
from convscope import recipe as recipes
from convscope.api import asked
from convscope.data.pack import Pack
from convscope.errors import BadArgument, ConvscopeError, RunError
from convscope.events import Emit, Event, Notice, silent
from convscope.formatting import duration, plural
from convscope.insight import anatomy
from convscope.recipe import Recipe
from convscope.run import RunFolder
from convscope.studies import grid, measures, telling
from convscope.studies.grid import Part, Setting, Study

QUICK = {"steps": 20, "val": 0.02}  # enough to see what a study looks like, and nothing more
NOTHING = "(Quick: 20 steps a run show what the study looks like; nothing follows from them.)"
NOT_A_RUNS = ("data", "model", "recipe", "augment")


@dataclass(frozen=True)
class Cell:
    """A run of a sweep: a setting and a seed, its recipe and its network's size."""

    part: int
    setting: Setting
    seed: int
    options: Mapping[str, Any]
    recipe: Recipe
    parameters: int
    multiply_adds: int | None  # None where they cannot be counted

    @property
    def folder(self) -> str:
        """Its run folder's name."""
        words = re.sub(r"[^a-z0-9.]+", "-", self.setting.name.lower())[:60].strip("-")
        return f"{self.part + 1}-{words or 'all'}-seed{self.seed}"


@dataclass(frozen=True)
class Sweep:
    """A finished sweep: its folder, its parts as they were told, its rows a run."""

    path: Path
    study: Study
    parts: tuple[telling.Told, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row a run."""
        return [row for part in self.parts for row in part.rows]

    @property
    def page(self) -> Path:
        """Table, figure and sentences, as Markdown."""
        return self.path / "README.md"

    def as_json(self) -> dict[str, Any]:
        """What ``convscope sweep --json`` prints."""
        parts = [part.as_json() for part in self.parts]
        return {"sweep": str(self.path), "title": self.study.title, "rows": self.rows,
                "parts": parts}  # fmt: skip

    def _repr_html_(self) -> str:
        parts = [notebook.line(self.study.question)] if self.study.question else []
        for part in self.parts:
            parts.append(
                notebook.table(telling.COLUMNS, map(telling.cells, part.lines), part.title)
            )
            parts += map(notebook.line, part.sentences)
            if part.chosen is not None:
                parts.append(notebook.line(f"Chosen on validation: {part.chosen}."))
        return notebook.card(self.study.title, *parts, notebook.link(self.page, "The page"))


def sweep(
    data: str | Path | None = None,
    *,
    vary: Mapping[str, Sequence[Any] | Mapping[str, Any]] | Iterable[str] = (),
    study: str | None = None,
    seeds: int | Sequence[int] | None = None,
    model: str | None = None,
    recipe: str | Path | None = None,
    augment: bool = True,
    out: str | Path | None = None,
    resume: bool = False,
    quick: bool = False,
    emit: Emit = silent,
    **options: Any,
) -> Sweep:
    """Train every combination of the values of ``vary`` over ``seeds``, or a ``study`` that is
    ready; leave a run a folder, a table, a figure and JSON, and say what the numbers support.

    ``vary`` maps fields of a recipe or arguments of the network to their values (or lists
    ``"lr=0.01,0.1"``); ``options`` are those of :func:`convscope.train`, the same for every run.
    ``seeds``: how many, or which; 3 if it is not given. ``quick`` trains 20 steps with one seed.
    With ``resume`` and ``out`` a sweep that was stopped goes on. A sweep of nothing but a recipe's
    seeds leaves ``claim.toml``, the [claim] that the recipe may bear. The best setting is chosen on
    the validation split; the test split is looked at once a run, and chooses nothing.

    A run that fails ends its row, which says why under ``failure``; the others go on, and
    ``resume`` tries it again. Raises BadArgument, before anything is written, for a setting that
    cannot be built.
    """
    fixed, wanted = _asked(
        data, vary, study, seeds, augment, quick, model=model, recipe=recipe, **options
    )
    folder = None if out is None else Path(out)
    begun = _begun(folder, resume)
    packs: dict[tuple[str, str], Pack] = {}
    cells = list(_cells(wanted, packs, emit))  # everything that can be refused is refused here
    spec = _spec(wanted, cells)
    if begun and folder is not None:
        _same(folder, spec)
    else:
        name = study or "sweep"
        folder = run.create(name, _common(cells), folder, Path("runs")).path
        files.write_json(folder / "sweep.json", spec)
    each = f"{plural(len(cells), 'run')}, {plural(len(wanted.seeds), 'seed')} a setting"
    emit(Notice(f"{wanted.title}: {each}, into {folder}"))
    rows = _run_all(folder, wanted, cells, packs, emit)
    told = _tell(folder, wanted, rows)
    whole = not any("failure" in row for row in rows)
    if "recipe" in fixed and whole and len(cells) == len(wanted.seeds) > 1 and not quick:
        files.write_whole(folder / "claim.toml", _claim(folder, rows, fixed, wanted.seeds))
    return Sweep(folder, wanted, told)


def _begun(folder: Path | None, resume: bool) -> bool:
    """Whether the folder holds a sweep, to be gone on with. Raises BadArgument."""
    if resume and folder is None:
        rule = "needs the folder of the sweep to go on with"
        raise BadArgument("resume", True, rule, "add out=DIR (--out DIR)")
    begun = folder is not None and (folder / "sweep.json").exists()
    if begun and not resume:
        rule = "holds a sweep already"
        raise BadArgument("out", folder, rule, "add resume (--resume), or name another folder")
    return begun


def preview(data: str | Path | None = None, **of_sweep: Any) -> list[dict[str, Any]]:
    """What :func:`sweep` would train if it were called so, a row a setting, once every setting was
    checked."""
    _, wanted = _asked(data, **of_sweep)
    cells = [c for c in _cells(wanted, {}, silent) if c.seed == wanted.seeds[0]]
    return [
        {
            "part": wanted.parts[cell.part].title,
            "setting": cell.setting.name,
            "values": dict(cell.setting.values),
            "runs": len(wanted.seeds),
            "epochs": cell.recipe.train.epochs,
            "steps": cell.recipe.train.steps or None,
            "parameters": cell.parameters,
            "multiply_adds": cell.multiply_adds,
        }
        for cell in cells
    ]


def _asked(
    data: str | Path | None,
    vary: Mapping[str, Any] | Iterable[str] = (),
    study: str | None = None,
    seeds: int | Sequence[int] | None = None,
    augment: bool = True,
    quick: bool = False,
    **options: Any,
) -> tuple[dict[str, Any], Study]:
    """The options of ``train`` that all runs share, as far as they are given, and the study."""
    place = None if data is None else asked.full(data)
    given = {"data": place, **options}
    given |= {"augment": None if augment else False} | (QUICK if quick else {})
    fixed = {name: value for name, value in given.items() if value is not None}
    return fixed, _wanted(study, vary, fixed, seeds, quick)


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
    fixed: Mapping[str, Any],
    count: int | Sequence[int] | None,
    quick: bool,
) -> Study:
    """The study that is asked for. Raises BadArgument."""
    seeds = _seeds(count, quick)
    varied = dict(vary.items() if isinstance(vary, Mapping) else [grid.typed(t) for t in vary])
    if study is not None:
        if varied:
            rule = f"cannot be given with study={study}, which varies its own"
            raise BadArgument("vary", ", ".join(varied), rule, "leave one of them out")
        ready = grid.load(study)
        parts = [replace(p, options={**p.options, **fixed}) for p in ready.parts]
        wanted = replace(ready, parts=tuple(parts), seeds=seeds or ready.seeds)
    else:
        if "data" not in fixed and "recipe" not in fixed:
            rule = "is needed, or a recipe, or a study"
            raise BadArgument("DATA", "(not given)", rule, f"studies: {', '.join(grid.names())}")
        title = f"{' and '.join(varied)} varied" if varied else "the same, over seeds"
        part = Part("", fixed, tuple(grid.settings(varied.items())))
        wanted = Study(title, (part,), seeds or (1, 2, 3))
    for part in wanted.parts:
        for setting in part.settings:
            for name in setting.options:
                if name in fixed and (study is not None or name in varied):
                    rule = "is varied, and given as well"
                    raise BadArgument(name, fixed[name], rule, "leave one of them out")
    if any("seed" in part.options for part in wanted.parts):
        raise BadArgument("seed", fixed.get("seed"), "is for one run", "use seeds (--seeds)")
    if quick:
        wanted = replace(wanted, question=f"{wanted.question} {NOTHING}".strip())
    return wanted


def _cells(wanted: Study, packs: dict[tuple[str, str], Pack], emit: Emit) -> Iterable[Cell]:
    """Every run, seed by seed, so that a sweep that is stopped has as many of each setting; their
    recipes are checked and their networks built, without values, to see that they fit."""
    checked: dict[tuple[int, str], Cell] = {}
    for seed in wanted.seeds:
        for index, part in enumerate(wanted.parts):
            for setting in part.settings:
                options = {**part.options, **setting.options}
                key = index, setting.name
                if key not in checked:
                    checked[key] = _checked(index, setting, options, packs, emit)
                yield replace(checked[key], seed=seed, options={**options, "seed": seed})


def _checked(
    index: int,
    setting: Setting,
    options: Mapping[str, Any],
    packs: dict[tuple[str, str], Pack],
    emit: Emit,
) -> Cell:
    of_the_run = {k: v for k, v in options.items() if k not in NOT_A_RUNS}
    base = options.get("recipe")
    known = asked.resolved(
        *asked.given(options.get("data"), options.get("model"), of_the_run),
        None if base is None else recipes.load(base),
        options.get("augment", True),
    )
    asked.named(known, options.get("model"))
    where = known.data.name, known.data.image_size
    if where not in packs:
        packs[where] = asked.opened(known, emit)
    pack = packs[where]
    size = pack.channels, *pack.image_size
    own = models.is_own(known.model.name)
    with torch.device("cpu" if own else "meta"):
        network = models.build(
            known.model.name, len(pack.classes), pack.channels, pack.image_size,
            known.model.arguments,
        )  # fmt: skip
    work = anatomy.summarise(network, size).total.multiply_adds
    parameters = sum(p.numel() for p in network.parameters())
    return Cell(index, setting, 0, options, known, parameters, work)


def _common(cells: Sequence[Cell]) -> str:
    """What all runs share, for the name of the folder: data and network."""
    networks = {asked.short(cell.recipe.model.name) for cell in cells}
    data = Path(cells[0].recipe.data.name).name
    return f"{data}-{networks.pop()}" if len(networks) == 1 else data


def _spec(wanted: Study, cells: Sequence[Cell]) -> dict[str, Any]:
    """What binds a sweep: its runs and their options."""
    runs = {cell.folder: {k: _plain(v) for k, v in cell.options.items()} for cell in cells}
    if len(runs) < len(cells):
        twice = [c.folder for c in cells if sum(c.folder == d.folder for d in cells) > 1]
        raise BadArgument("vary", twice[0], "stands for two settings", "name its values apart")
    return {"format_version": 1, "title": wanted.title, "runs": runs}


def _plain(value: Any) -> Any:
    """A value as JSON gives it back."""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _same(folder: Path, spec: Mapping[str, Any]) -> None:
    """Refuse to go on with another sweep than was begun; more seeds are more of the same."""
    before = files.read_json(folder / "sweep.json", RunError)
    old, new = before.get("runs", {}), spec["runs"]
    other = [name for name, options in old.items() if new.get(name) != options]
    if other:
        raise BadArgument(
            "resume", folder, f"was begun otherwise ({other[0]} is not what it was)",
            "give the options that it was begun with, or another folder",
        )  # fmt: skip
    if len(new) > len(old):
        files.write_json(folder / "sweep.json", spec)


def _run_all(
    folder: Path,
    wanted: Study,
    cells: Sequence[Cell],
    packs: Mapping[tuple[str, str], Pack],
    emit: Emit,
) -> list[dict[str, Any]]:
    """Train what is not trained yet; the results so far are written after every run."""
    files.make_folder(folder / "runs")
    rows: list[dict[str, Any]] = []
    took: list[float] = []
    for number, cell in enumerate(cells, 1):
        place = RunFolder(folder / "runs" / cell.folder)
        fresh = not (place.metrics.exists() and place.report.exists())
        began = time.perf_counter()
        if fresh:
            left = statistics.mean(took) * (len(cells) - number + 1) if took else None
            so_far = "" if left is None else f"; about {duration(left)} to go"
            emit(Notice(f"run {number} of {len(cells)}: {cell.setting.name or 'as given'}, "
                        f"seed {cell.seed}{so_far}"))  # fmt: skip
        try:
            if fresh:
                api.train(
                    out=place.path, resume=True, look=False, emit=_quieter(emit), **cell.options
                )
            rows.append(_row(folder, place, cell, wanted.parts[cell.part], packs, emit))
        except Exception as why:  # this row ends, and the others go on
            kind = "" if isinstance(why, ConvscopeError) else f"{type(why).__name__}: "
            said = f"{kind}{why}" if str(why) else type(why).__name__
            emit(
                Notice(f"{cell.setting.name or 'as given'}, seed {cell.seed}: {said}", warning=True)
            )
            rows.append({**_of_cell(cell, wanted.parts[cell.part]), "failure": said})
        else:
            took += [time.perf_counter() - began] if fresh else []
        files.write_json(folder / "results.json", {"title": wanted.title, "rows": rows})
    return rows


def _quieter(emit: Emit) -> Emit:
    """The epochs and progress of a run, and of its notices only the warnings."""

    def pass_on(event: Event) -> None:
        if not isinstance(event, Notice) or event.warning:
            emit(event)

    return pass_on


def _row(
    folder: Path,
    place: RunFolder,
    cell: Cell,
    part: Part,
    packs: Mapping[tuple[str, str], Pack],
    emit: Emit,
) -> dict[str, Any]:
    """A run in figures."""
    found = place.read_metrics()
    epochs = [json.loads(line) for line in place.history.read_text("utf-8").splitlines()]
    judged = epochs[-1]
    if cell.recipe.train.early_stopping:
        judged = min(epochs, key=lambda one: one["val_loss"])
    row: dict[str, Any] = {
        **_of_cell(cell, part),
        "accuracy": found["accuracy"],
        "loss": found["loss"],
        "val_accuracy": judged["val_accuracy"],
        "val_loss": judged["val_loss"],
        "train_loss": epochs[-1]["train_loss"],
        "seconds": found["train_seconds"],
        "epochs": len(epochs),
        "run": str(place.path.relative_to(folder)),
    }
    pack = packs[cell.recipe.data.name, cell.recipe.data.image_size]
    for measure in part.measures:
        kept = place.path / f"{measure}.json"
        if not kept.exists():
            emit(Notice(f"{cell.setting.name or 'as given'}, seed {cell.seed}: {measure}"))
            files.write_json(kept, measures.MEASURES[measure](place.path, pack))
        row[measure] = files.read_json(kept, RunError)
    return row


def _of_cell(cell: Cell, part: Part) -> dict[str, Any]:
    """What is known of a run before it is trained."""
    return {
        "part": part.title,
        "values": dict(cell.setting.values),
        "seed": cell.seed,
        "parameters": cell.parameters,
        "multiply_adds": cell.multiply_adds,
    }


def _tell(folder: Path, wanted: Study, rows: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    """Write table, figures and sentences into the sweep's folder."""
    told = []
    for index, part in enumerate(wanted.parts):
        names = [setting.name for setting in part.settings]
        mine = [dict(row) for row in rows if row["part"] == part.title]
        told.append(telling.tell(part.title, names, mine, part.measures, index))
    for one in told:
        for name, figure in one.figures().items():
            for kind in ("png", "svg"):
                with files.whole_file(folder / f"{name}.{kind}") as file:
                    figure.savefig(file, format=kind, dpi=120)
    files.write_whole(folder / "README.md", telling.page(wanted, told))
    parts = [one.as_json() for one in told]
    files.write_json(
        folder / "results.json", {"title": wanted.title, "rows": list(rows), "parts": parts}
    )
    return tuple(told)


def _claim(
    folder: Path, rows: Sequence[Mapping[str, Any]], fixed: Mapping[str, Any], seeds: Sequence[int]
) -> str:
    """What a recipe was measured to reach, as the table that it may bear."""
    last = RunFolder(folder / rows[-1]["run"])
    info, train = last.read_model(), last.read_recipe().train
    where, values = info["machine"], [row["accuracy"] for row in rows]
    threads = plural(train.threads, "thread")
    which = (
        str(len(seeds)) if seeds == tuple(range(1, len(seeds) + 1)) else ",".join(map(str, seeds))
    )
    typed = [
        word for name, value in {**fixed, "seeds": which}.items() for word in _typed(name, value)
    ]
    claim = recipes.Claim(
        accuracy=round(statistics.mean(values), 5),
        sd=round(statistics.stdev(values), 5),
        seeds=len(values),
        seconds=round(statistics.median(row["seconds"] for row in rows), 1),
        machine=f"{threads} of {where['processor']}, {where['vectors']}, {where['system']}, "
        f"torch {info['versions']['torch'].partition('+')[0]}, {train.precision}",
        date=info["created"][:10],
        command=shlex.join(["convscope", "sweep", *typed]),
        loss=round(statistics.mean(row["loss"] for row in rows), 5),
    )
    return recipes.dumps(Recipe(claim=claim)).partition("[claim]")[2].join(["[claim]", ""])


def _typed(name: str, value: Any) -> list[str]:
    """An option as the command line takes it.

    >>> _typed("lr", 0.1), _typed("augment", False), _typed("widths", [8, 16]), _typed("data", "x")
    (['--lr', '0.1'], ['--no-augment'], ['--widths', '8,16'], ['x'])
    """
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if isinstance(value, list | tuple):
        value = ("x" if name == "kernel_size" else ",").join(map(str, value))
    return [str(value)] if name == "data" else [f"--{flag}", str(value)]
