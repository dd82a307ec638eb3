"""`convscope train`."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from convscope import machine
from convscope.cli.options import MOST_USED, with_fields
from convscope.cli.shared import (
    DataName,
    Debug,
    Json,
    print_json,
    say,
    several_runs,
    under,
    unheard,
)
from convscope.errors import BadArgument, TargetMissed
from convscope.journal import Journal
from convscope.language import told

if TYPE_CHECKING:
    from convscope.api import Run


@with_fields
def train(
    data: DataName = None,
    time_budget: Annotated[
        str | None,
        under(MOST_USED, metavar="90s|10m|1h30m", help="Fit the epochs: the whole job ends then."),
    ] = None,
    max_memory: Annotated[
        str | None,
        under(
            "Limits", metavar="800MB|2GB", help="Fit the images a pass: the process keeps to it."
        ),
    ] = None,
    out: Annotated[
        Path | None, under(MOST_USED, metavar="DIR", help="Its folder; else runs/DATA-MODEL-N.")
    ] = None,
    resume: Annotated[bool, under("Run", "--resume", help="Go on with the run in --out.")] = False,
    add_class: Annotated[
        bool,
        under(
            *("Run", "--add-class"),
            help="Go on from the run of --from with new classes besides its own: with its last "
            "layer (--last-layer kept); the result says what is forgotten of the old ones.",
        ),
    ] = False,
    more_epochs: Annotated[
        int | None,
        under(
            *("Run", "--continue"),
            metavar="N",
            help="Train the finished run of --from N epochs further, as a new run: by its recipe, "
            "from all its weights, its schedule anew at a tenth of its learning rate (--lr says "
            "otherwise); the best weights on validation are kept.",
        ),
    ] = None,
    check: Annotated[
        bool, under("Run", "--check", help="Exit 3 if the recipe's claim is not reached.")
    ] = False,
    log: Annotated[
        str | None, under("Run", help="tensorboard: curves in the folder's tensorboard/.")
    ] = None,
    profile: Annotated[
        bool, under("Run", "--profile", help="First say where the time of a step goes.")
    ] = False,
    no_look: Annotated[
        bool, under("Run", "--no-look", help="Leave the inside of the network out of the report.")
    ] = False,
    k_fold: Annotated[
        int | None,
        under("Run", metavar="K", help="Judge every image: K runs, each on a fold it never saw."),
    ] = None,
    find_lr: Annotated[
        bool,
        under(
            *("Run", "--find-lr"),
            help="Search for a learning rate instead, in float32 unless --precision says "
            "otherwise; --out is a figure.",
        ),
    ] = False,
    force: Annotated[
        bool, under("Run", "--force", help="--find-lr: replace a figure that is there.")
    ] = False,
    events: Annotated[
        Path | None,
        under("Run", metavar="FILE", help="Append what happens to it, a JSON object a line."),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
    **fields: Any,
) -> None:
    """Train a network, judge it once on the test split, write a report."""
    began = time.perf_counter()
    by_a_run = (resume and out) or more_epochs is not None
    if data is None and fields["recipe"] is None and not by_a_run:
        raise BadArgument(
            "DATA", "(not given)", "is needed, or a recipe", "try convscope train mnist"
        )
    of_a_run: dict[str, Any] = {
        "resume": resume, "add_class": add_class, "more_epochs": more_epochs, "check": check,
        "time_budget": time_budget, "max_memory": max_memory, "log": log, "profile": profile,
        "no_look": no_look, "k_fold": k_fold, "events": events,
    }  # fmt: skip
    if find_lr:
        for name, value in of_a_run.items():
            if value:
                raise BadArgument(name, value, "is for a run, not for --find-lr", "leave it out")
        _find_lr(data, force, as_json, {"out": out, **fields})
        return
    if k_fold is not None:
        for name, value in of_a_run.items():
            if value and name not in ("k_fold", "resume", "no_look"):
                raise BadArgument(name, value, "is for one run, not for --k-fold", "leave it out")
        _cross_validate(data, as_json, {"k_fold": k_fold, "out": out, "resume": resume, **fields})
        return
    if force:
        raise BadArgument(
            "force", force, "is for --find-lr", "leave it out: runs are never replaced"
        )
    from convscope.console import Monitor

    first = machine.place().rank == 0  # of the ranks of a launcher; the others say nothing
    of_a_run["look"] = not of_a_run.pop("no_look")
    del of_a_run["k_fold"], of_a_run["events"]
    missed: TargetMissed | None = None
    try:
        shown = Monitor() if first else unheard()
        with (
            shown as drawn,
            Journal(events, drawn) if events and first else nullcontext(drawn) as emit,
        ):
            from convscope import api  # takes a second, in which the journal says that it begins

            run = api.train(data, began=began, out=out, emit=emit, **of_a_run, **fields)
    except TargetMissed as why:
        missed, run = why, cast("Run", why.run)
    except KeyboardInterrupt as why:
        begun = out is not None and (out / "recipe.toml").exists()
        anew = "nothing was saved, and the same command begins anew"
        said = f"stopped by SIGINT; {'--resume goes on with it' if begun else anew}"
        typer.echo(str(why) or said, err=True)
        raise typer.Exit(getattr(why, "exit_code", 130)) from None
    if first:
        _print_run(run, time.perf_counter() - began, as_json)
    if missed:
        raise missed


def _find_lr(data: str | None, force: bool, as_json: bool, options: dict[str, Any]) -> None:
    from convscope import api, console

    with console.Monitor() as emit:
        found = api.find_lr(data, force=force, emit=emit, **options)
    if as_json:
        print_json(found.as_json())
        return
    rate = found.suggestion
    say(
        f"suggested lr  {'none: the loss never fell' if rate is None else f'{rate:.2g}'}\n"
        f"tried         {len(found.rates)} rates, {found.rates[0]:.1e} to {found.rates[-1]:.1e}\n"
        f"figure        {found.figure}"
    )


def _cross_validate(data: str | None, as_json: bool, options: dict[str, Any]) -> None:
    from convscope import console
    from convscope.studies import folds

    with several_runs() as emit:
        found = folds.cross_validate(data, emit=emit, **options)
    if as_json:
        print_json(found.as_json())
        return
    console.table(folds.COLUMNS, map(folds.cells, found.figures["folds"]))
    say(f"accuracy      {folds.in_words(found.figures)}\npage          {found.page}")


def _spent(seconds: float, training: float) -> str:
    """The seconds of this process and of the run's training, which others may have had a part
    in."""
    if training > seconds:
        return f"{training:.1f} (training and validation, all of this run)"
    return f"{seconds:.1f} (training and validation {training:.1f})"


def _print_run(run: Run, seconds: float, as_json: bool) -> None:
    if as_json:
        print_json(run.as_json())
        return
    from convscope.console import without_copies
    from convscope.evaluation import targets
    from convscope.formatting import answers, balanced, forgotten

    figures = run.metrics
    low, high = figures.accuracy_ci95
    without = without_copies(figures.duplicates)
    leading = balanced(vars(figures))
    say(
        (f"balanced      {leading}\n" if leading else "")
        + f"test accuracy {figures.accuracy:.2%} (95% interval {low:.2%} to {high:.2%}, "
        f"{figures.n:,} images)\n"
        + "".join(f"{told(name):13} {told(said)}\n" for name, said in targets.lines(vars(figures)))
        + (f"new images    {without}\n" if without else "")
        + (f"old classes   {forgotten(figures.forgetting)}\n" if figures.forgetting else "")
        + (f"answers       {answers(figures.abstain, figures.n)}\n" if figures.abstain else "")
        + f"seconds       {_spent(seconds, figures.train_seconds)}\n"
        f"report        {run.report}"
    )
