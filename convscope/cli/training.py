"""`convscope train`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from convscope.cli.options import with_fields
from convscope.cli.shared import Debug, Json, print_json, under
from convscope.errors import BadArgument, TargetMissed

if TYPE_CHECKING:
    from convscope.api import Run


def sizes(text: str | None, argument: str, separator: str) -> int | list[int] | None:
    """'16,32' or '5x3' as whole numbers. Raises BadArgument."""
    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(separator)]
    except ValueError:
        example = "16,32" if separator == "," else "5 or 5x3"
        raise BadArgument(
            argument, text, "must be whole numbers", f"write them as {example}"
        ) from None
    return numbers[0] if len(numbers) == 1 and separator == "x" else numbers


@with_fields
def train(
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="A data set, see `convscope data`; or a folder."),
    ] = None,
    recipe: Annotated[
        str | None,
        under("Network", help="A recipe by name (see `recipes`) or a .toml file."),
    ] = None,
    model: Annotated[
        str | None,
        under("Network", help="A network by name (see `models`), tv:NAME, or file.py:Class."),
    ] = None,
    kernel_size: Annotated[
        str | None, under("Network", metavar="N|HxW", help="cnn: kernel of each convolution.")
    ] = None,
    widths: Annotated[
        str | None, under("Network", metavar="N,N,...", help="cnn: channels of each stage.")
    ] = None,
    augment: Annotated[
        bool, under("Augmentation", help="The data set's own, or none but what is typed.")
    ] = True,
    time_budget: Annotated[
        str | None,
        under("Limits", metavar="90s|10m|1h30m", help="Fit the epochs: the whole job ends then."),
    ] = None,
    max_memory: Annotated[
        str | None,
        under(
            "Limits", metavar="800MB|2GB", help="Fit the images a pass: the process keeps to it."
        ),
    ] = None,
    out: Annotated[
        Path | None, under("Run", metavar="DIR", help="Its folder; else runs/DATA-MODEL-N.")
    ] = None,
    resume: Annotated[bool, under("Run", "--resume", help="Go on with the run in --out.")] = False,
    check: Annotated[
        bool, under("Run", "--check", help="Exit 3 if the recipe's claim is not reached.")
    ] = False,
    log: Annotated[
        str | None, under("Run", help="tensorboard: curves in the folder's tensorboard/.")
    ] = None,
    profile: Annotated[
        bool, under("Run", "--profile", help="First say where the time of a step goes.")
    ] = False,
    find_lr: Annotated[
        bool,
        under("Run", "--find-lr", help="Search for a learning rate instead; --out is a figure."),
    ] = False,
    force: Annotated[
        bool, under("Run", "--force", help="--find-lr: replace a figure that is there.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
    **fields: Any,
) -> None:
    """Train a network, judge it once on the test split, write a report."""
    began = time.perf_counter()
    options = {
        **fields,
        "kernel_size": sizes(kernel_size, "kernel_size", "x"),
        "widths": sizes(widths, "widths", ","),
    }
    if data is None and recipe is None and not (resume and out):
        raise BadArgument(
            "DATA", "(not given)", "is needed, or a recipe", "try convscope train mnist"
        )
    job: dict[str, Any] = {"model": model, "recipe": recipe, "out": out, "augment": augment}
    of_a_run: dict[str, Any] = {
        "resume": resume,
        "check": check,
        "time_budget": time_budget,
        "max_memory": max_memory,
        "log": log,
        "profile": profile,
    }
    if find_lr:
        for name, value in of_a_run.items():
            if value:
                raise BadArgument(name, value, "is for a run, not for --find-lr", "leave it out")
        _find_lr(data, force, as_json, {**job, **options})
        return
    if force:
        raise BadArgument(
            "force", force, "is for --find-lr", "leave it out: runs are never replaced"
        )
    from convscope import api
    from convscope.console import Monitor

    missed: TargetMissed | None = None
    try:
        with Monitor() as emit:
            run = api.train(data, began=began, emit=emit, **job, **of_a_run, **options)
    except TargetMissed as why:
        missed, run = why, cast("Run", why.run)
    except KeyboardInterrupt as why:
        typer.echo(str(why) or "stopped by SIGINT; --resume goes on from the last save", err=True)
        raise typer.Exit(getattr(why, "exit_code", 130)) from None
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
    typer.echo(
        f"suggested lr  {'none: the loss never fell' if rate is None else f'{rate:.2g}'}\n"
        f"tried         {len(found.rates)} rates, {found.rates[0]:.1e} to {found.rates[-1]:.1e}\n"
        f"figure        {found.figure}"
    )


def _print_run(run: Run, seconds: float, as_json: bool) -> None:
    if as_json:
        print_json(run.as_json())
        return
    figures = run.metrics
    low, high = figures.accuracy_ci95
    typer.echo(
        f"test accuracy {figures.accuracy:.2%} (95% interval {low:.2%} to {high:.2%}, "
        f"{figures.n:,} images)\n"
        f"seconds       {seconds:.1f} "
        f"(training and validation {figures.train_seconds:.1f})\n"
        f"report        {run.report}"
    )
