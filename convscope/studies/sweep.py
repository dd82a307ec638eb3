"""Every setting over several seeds, one run after another; stopped half-way, it goes on without
repeating a finished run."""

from __future__ import annotations

import json
import shlex
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope import api, files, notebook, run
from convscope import recipe as recipes
from convscope.errors import BadArgument, RunError, text_of
from convscope.events import Emit, Event, Notice, silent
from convscope.formatting import duration, plural
from convscope.recipe import Recipe, rank
from convscope.run import RunFolder
from convscope.studies import measures, page
from convscope.studies.analysis import Analysis, analyse_all
from convscope.studies.grid import Study
from convscope.studies.plan import PlannedRun, PlannedSweep, plan
from convscope.training import ranks


@dataclass(frozen=True)
class Sweep:
    """A finished sweep: its folder, its parts as they were analysed, its rows a run."""

    path: Path
    study: Study
    parts: tuple[Analysis, ...]

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
            parts.append(notebook.table(page.COLUMNS, map(page.cells, part.lines), part.title))
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
    augment: bool | str = True,
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
    folder = None if out is None else Path(out)
    going_on = begun(folder, resume)
    planned = plan(  # everything that can be refused is refused here
        data,
        vary=vary,
        study=study,
        seeds=seeds,
        model=model,
        recipe=recipe,
        augment=augment,
        quick=quick,
        emit=emit,
        **options,
    )
    wanted = planned.study
    folder, rows = train_all(planned, folder, going_on, study or "sweep", emit)
    count = len(planned.runs), len(wanted.seeds)
    parts = analyse_all(wanted, rows)
    page.write(folder, wanted, parts)
    results = {"title": wanted.title, "rows": rows, "parts": [part.as_json() for part in parts]}
    files.write_json(folder / "results.json", results)
    whole = not any("failure" in row for row in rows)
    if "recipe" in planned.shared and whole and count[0] == count[1] > 1 and not quick:
        claim = _claim(folder, rows, planned.shared, wanted.seeds)
        files.write_whole(folder / "claim.toml", claim)
    return Sweep(folder, wanted, parts)


def preview(data: str | Path | None = None, **asked: Any) -> list[dict[str, Any]]:
    """What :func:`sweep` would train where it is asked for the same, a row a setting, once every
    setting was checked."""
    planned = plan(data, **asked)
    wanted = planned.study
    return [
        {
            "part": wanted.parts[one.part].title,
            "setting": one.setting.name,
            "values": dict(one.setting.values),
            "runs": len(wanted.seeds),
            "epochs": one.recipe.train.epochs,
            "steps": one.recipe.train.steps or None,
            "parameters": one.parameters,
            "multiply_adds": one.multiply_adds,
        }
        for one in planned.runs
        if one.seed == wanted.seeds[0]
    ]


def begun(folder: Path | None, resume: bool, name: str = "sweep.json", what: str = "sweep") -> bool:
    """Whether the folder holds a sweep, or other runs of one question, as its file of this ``name``
    tells, to be gone on with. Raises BadArgument, also where ``torchrun`` started several
    processes."""
    ranks.one_process(what)
    if resume and folder is None:
        rule = f"needs the folder of the {what} to go on with"
        raise BadArgument("resume", True, rule, "add out=DIR (--out DIR)")
    there = folder is not None and (folder / name).exists()
    if there and not resume:
        rule = f"holds a {what} already"
        raise BadArgument("out", folder, rule, "add resume (--resume), or name another folder")
    return there


def train_all(
    planned: PlannedSweep, folder: Path | None, going_on: bool, kind: str, emit: Emit
) -> tuple[Path, list[dict[str, Any]]]:
    """Train what is planned, or what is left of it where it is ``going_on``; its folder, named by
    its ``kind`` where none is given, and a row a run. Raises BadArgument where another was begun
    there."""
    wanted, spec = planned.study, planned.as_json()
    if going_on and folder is not None:
        _same(folder, spec)
    else:
        folder = run.create(kind, planned.name, folder, Path("runs")).path
        files.write_json(folder / "sweep.json", spec)
    each = f"{plural(len(planned.runs), 'run')}, {plural(len(wanted.seeds), 'seed')} a setting"
    emit(Notice(f"{wanted.title}: {each}, into {folder}"))
    return folder, _run_all(folder, planned, emit)


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


def _run_all(folder: Path, planned: PlannedSweep, emit: Emit) -> list[dict[str, Any]]:
    """Train what is not trained yet; the results so far are written after every run."""
    files.make_folder(folder / "runs")
    rows: list[dict[str, Any]] = []
    took: list[float] = []
    for number, one in enumerate(planned.runs, 1):
        part = planned.study.parts[one.part]
        row: dict[str, Any] = {
            "part": part.title,
            "values": dict(one.setting.values),
            "seed": one.seed,
            "parameters": one.parameters,
            "multiply_adds": one.multiply_adds,
        }
        place = RunFolder(folder / "runs" / one.folder)
        fresh = not (place.metrics.exists() and place.report.exists())
        began = time.perf_counter()
        if fresh:
            left = statistics.mean(took) * (len(planned.runs) - number + 1) if took else None
            so_far = "" if left is None else f"; about {duration(left)} to go"
            emit(Notice(f"run {number} of {len(planned.runs)}: {one.name}{so_far}"))
        try:
            if fresh:
                api.train(
                    out=place.path, resume=True, look=False, emit=quieter(emit), **one.options
                )
            found = {**_figures(place, one), "run": str(place.path.relative_to(folder))}
            found |= {name: _measured(name, place, one, emit) for name in part.measures}
        except Exception as why:  # this row ends, and the others go on
            emit(Notice(f"{one.name}: {text_of(why)}", warning=True))
            found = {"failure": text_of(why)}
        else:
            took += [time.perf_counter() - began] if fresh else []
        rows.append(row | found)
        files.write_json(folder / "results.json", {"title": planned.study.title, "rows": rows})
    return rows


def quieter(emit: Emit) -> Emit:
    """The epochs and progress of a run, and of its notices only the warnings."""

    def pass_on(event: Event) -> None:
        if not isinstance(event, Notice) or event.warning:
            emit(event)

    return pass_on


def _figures(place: RunFolder, one: PlannedRun) -> dict[str, Any]:
    """A finished run in figures."""
    found = place.read_metrics()
    epochs = [json.loads(line) for line in place.history.read_text("utf-8").splitlines()]
    judged = epochs[-1]
    train = place.read_recipe().train
    if train.keeps_best:
        judged = min(epochs, key=lambda e: rank(train.keep, e["val_loss"], e["val_accuracy"]))
    return {
        "accuracy": found["accuracy"],
        "loss": found["loss"],
        "val_accuracy": judged["val_accuracy"],
        "val_loss": judged["val_loss"],
        "train_loss": epochs[-1]["train_loss"],
        "seconds": found["train_seconds"],
        "epochs": len(epochs),
    }


def _measured(measure: str, place: RunFolder, one: PlannedRun, emit: Emit) -> Any:
    """What else is asked of a run, as it is kept in its folder, or measured now and kept."""
    kept = place.path / f"{measure}.json"
    if not kept.exists():
        emit(Notice(f"{one.name}: {measure}"))
        files.write_json(kept, measures.MEASURES[measure](place.path, one.pack))
    return files.read_json(kept, RunError)


def _claim(
    folder: Path, rows: Sequence[Mapping[str, Any]], shared: Mapping[str, Any], seeds: Sequence[int]
) -> str:
    """What a recipe was measured to reach, as the table that it may bear."""
    last = RunFolder(folder / rows[-1]["run"])
    values = [row["accuracy"] for row in rows]
    which = (
        str(len(seeds)) if seeds == tuple(range(1, len(seeds) + 1)) else ",".join(map(str, seeds))
    )
    typed = [
        word for name, value in {**shared, "seeds": which}.items() for word in _typed(name, value)
    ]
    claim = recipes.Claim(
        accuracy=round(statistics.mean(values), 5),
        sd=round(statistics.stdev(values), 5),
        seeds=len(values),
        seconds=round(statistics.median(row["seconds"] for row in rows), 1),
        machine=f"{machine_of(last)}, {last.read_recipe().train.precision}",
        date=last.read_model()["created"][:10],
        command=shlex.join(["convscope", "sweep", *typed]),
        loss=round(statistics.mean(row["loss"] for row in rows), 5),
    )
    return recipes.dumps(Recipe(claim=claim)).partition("[claim]")[2].join(["[claim]", ""])


def machine_of(place: RunFolder) -> str:
    """What a run was trained on, in words."""
    info, threads = place.read_model(), place.read_recipe().train.threads
    where, torch = info["machine"], info["versions"]["torch"].partition("+")[0]
    unit = f"{where['processor']}, {where['vectors']}, {where['system']}"
    return f"{plural(threads, 'thread')} of {unit}, torch {torch}"


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
