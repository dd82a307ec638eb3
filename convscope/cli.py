"""The command line: parse, call the API, render. Results go to stdout, everything else to
stderr."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer

from convscope import lab
from convscope.errors import BadArgument, ConvscopeError, TargetMissed
from convscope.options import Headed, with_fields

if TYPE_CHECKING:
    from convscope.api import Run

app = typer.Typer(
    name="convscope",
    help="Train, understand and ship convolutional image classifiers, "
    "fast, on the machine you have.",
    epilog="Start with: convscope train mnist --recipe mnist-cnn",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
)
data_app = typer.Typer(
    help="The data sets: what there is, what is in one, what it looks like.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")
app.add_typer(lab.app, name="lab")


def under(heading: str, *flags: str, **more: Any) -> Any:
    """An option that the help lists under a heading."""
    return typer.Option(*flags, rich_help_panel=heading, **more)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A folder that `train` made.")]
OwnModel = Annotated[
    str | None,
    typer.Option("--model", metavar="FILE.py:CLASS", help="The network's own file, if it has one."),
]


def _sizes(text: str | None, argument: str, separator: str) -> int | list[int] | None:
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


@app.command(cls=Headed)
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
        "kernel_size": _sizes(kernel_size, "kernel_size", "x"),
        "widths": _sizes(widths, "widths", ","),
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
        _print_json(found.as_json())
        return
    rate = found.suggestion
    typer.echo(
        f"suggested lr  {'none: the loss never fell' if rate is None else f'{rate:.2g}'}\n"
        f"tried         {len(found.rates)} rates, {found.rates[0]:.1e} to {found.rates[-1]:.1e}\n"
        f"figure        {found.figure}"
    )


def _print_run(run: Run, seconds: float, as_json: bool) -> None:
    if as_json:
        _print_json(run.as_json())
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


@app.command("eval")
def evaluate(
    run: RunPath,
    split: Annotated[str, typer.Option(help="test (each look is counted), val or train.")] = "test",
    model: OwnModel = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Judge a run's network on a split of its data."""
    from convscope import api, console

    with console.Monitor() as emit:
        values = api.evaluate(run, split, model=model, device=device, emit=emit)
    _print_json(values) if as_json else console.figures(values)


@app.command()
def predict(
    run: RunPath,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES...", help="Image files, and folders of them.")
    ],
    top_k: Annotated[int, typer.Option("--top-k", help="How many classes to show.")] = 3,
    invert: Annotated[
        bool, typer.Option("--invert", help="Swap dark and light: for dark ink on white paper.")
    ] = False,
    model: OwnModel = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    debug: Debug = False,
) -> None:
    """Classify image files; exit 1 if any could not be read."""
    if as_json and as_csv:
        raise BadArgument("csv", "with --json", "only one form can be printed", "leave one out")
    from convscope import api, console

    with console.Monitor() as emit:
        guesses = api.predict(run, files, top_k=top_k, invert=invert, model=model, emit=emit)
    failed = [guess for guess in guesses if guess.error]
    if as_json:
        _print_json({"results": [guess.as_json() for guess in guesses]})
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        width = max((len(g.top) for g in guesses), default=0)
        heads = [h for i in range(1, width + 1) for h in (f"label_{i}", f"p_{i}")]
        writer.writerow(["file", *heads, "unsure", "error"])
        for g in guesses:
            cells = [c for label, p in g.top for c in (label, f"{p:.6f}")]
            cells += [""] * (2 * width - len(cells))
            writer.writerow([g.file, *cells, str(g.unsure).lower(), g.error or ""])
    else:
        for g in guesses:
            best = "   ".join(f"{label} {p:.1%}" for label, p in g.top)
            typer.echo(f"{g.file}: {best or 'not read'}{'   (unsure)' if g.unsure else ''}")
    for guess in failed:
        typer.echo(f"error: {guess.file}: {guess.error}", err=True)
    if failed:
        raise typer.Exit(1)


@app.command()
def script(
    run: RunPath,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where it goes; else stdout.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    debug: Debug = False,
) -> None:
    """Write a run as one plain PyTorch file: network, weights, predicting and training."""
    from convscope import api

    text = api.script(run, out, force=force)
    typer.echo(text if out is None else out, nl=out is not None)


@app.command()
def models(as_json: Json = False, debug: Debug = False) -> None:
    """List the networks: their arguments, their parameters on MNIST and on CIFAR-10."""
    from convscope import api, console

    found = api.networks()
    if as_json:
        _print_json(found)
        return
    console.table(
        ("network", "arguments", "on mnist", "on cifar10", "what it is"),
        [
            (
                name,
                ", ".join(f"{k}={v}" for k, v in one["arguments"].items()),
                *("-" if n is None else f"{n:,}" for n in one["parameters"].values()),
                one["about"],
            )
            for name, one in found.items()
        ],
    )


@app.command()
def recipes(as_json: Json = False, debug: Debug = False) -> None:
    """List the recipes and what each was measured to reach."""
    from convscope import console, recipe

    found = {name: recipe.load(name) for name in recipe.names()}
    if as_json:
        _print_json({name: vars(r.claim) if r.claim else None for name, r in found.items()})
        return
    rows = []
    for name, r in found.items():
        claim = r.claim
        says = f"{claim.accuracy:.2%} +/- {claim.sd:.2%}" if claim else "-"
        took = f"{claim.seconds:.0f} s, {claim.machine}" if claim else "-"
        rows.append((name, r.train.epochs, says, took))
    console.table(("recipe", "epochs", "test accuracy (mean, sd)", "measured in"), rows)


@data_app.callback()
def data(context: typer.Context, as_json: Json = False, debug: Debug = False) -> None:
    """List the data sets and where each would come from."""
    if context.invoked_subcommand:
        if as_json:
            raise BadArgument("json", "before the verb", "belongs to it", "write it at the end")
        return
    from convscope import console
    from convscope.data import sources

    found = [(name, source, sources.locate(name)) for name, source in sources.SOURCES.items()]
    if as_json:
        _print_json({name: str(where) for name, _, where in found})
        return
    console.table(
        ("data set", "what it is", "would come from"),
        [(name, source.title, str(where)) for name, source, where in found],
    )


@data_app.command("info")
def data_info(
    name: Annotated[str, typer.Argument(help="A data set, or a folder of images.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Count a data set's images by class; shape, mean and standard deviation."""
    from convscope import api, console

    with console.Monitor() as emit:
        info = api.describe_data(name, emit)
    if as_json:
        _print_json(info)
        return
    splits = list(info["counts"])
    rows = [
        (label, *(info["counts"][split][label] for split in splits)) for label in info["classes"]
    ]
    console.table(("class", *splits), [*rows, ("all", *(info["images"][s] for s in splits))])
    statistics = (f"{key} {', '.join(f'{v:.4f}' for v in info[key])}" for key in ("mean", "std"))
    channels, height, width = info["shape"]
    console.out().print(
        f"images {channels} x {height} x {width} (channels, height, width)\n"
        f"{'; '.join(statistics)} (training pixels, 0 to 1)\n"
        f"fingerprint {info['fingerprint']}\nlicence {info['licence']}",
        soft_wrap=True,
    )


@data_app.command("show")
def data_show(
    name: Annotated[str, typer.Argument(help="A data set, or a folder of images.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where the picture goes; else NAME.png.")
    ] = None,
    count: Annotated[int, typer.Option(help="How many images.")] = 32,
    seed: Annotated[int, typer.Option(help="Which ones, and how augmented.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a picture that is there.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Draw a labelled batch, as it is and as training sees it."""
    from convscope import api, console

    with console.Monitor() as emit:
        path = api.show_data(name, out, count=count, seed=seed, force=force, emit=emit)
    typer.echo(path)


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def _spell(why: ConvscopeError) -> str:
    """The error as the command line says it: an option by its flag."""
    if isinstance(why, BadArgument) and why.argument.replace("_", "").isalpha():
        options = {name for command in _commands() for name in command}
        flag = f"--{why.argument.replace('_', '-')}"
        if flag in options:
            return f"{flag} {why.value}: {why.rule}; {why.remedy}"
    return str(why)


def _commands() -> list[list[str]]:
    command = typer.main.get_command(app)
    found: list[Any] = list(getattr(command, "commands", {}).values())
    found += [c for group in found for c in getattr(group, "commands", {}).values()]
    return [[o for p in c.params for o in p.opts] for c in found]


def _terminated(signum: int, frame: FrameType | None) -> NoReturn:
    """Leave in good order; in any case within two seconds, should a library swallow the exit."""

    def swallowed(unraisable: Any) -> None:  # as by a callback of an import that goes on
        if isinstance(unraisable.exc_value, SystemExit):
            os._exit(128 + signum)
        sys.__unraisablehook__(unraisable)

    sys.unraisablehook = swallowed
    late = threading.Timer(2, os._exit, (128 + signum,))
    late.daemon = True
    late.start()
    sys.exit(128 + signum)


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 usage, 3 target missed, 130 Ctrl-C, 143
    SIGTERM."""
    signal.signal(signal.SIGTERM, _terminated)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file name that is no text stops nothing
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except ConvscopeError as why:
        if "--debug" in sys.argv:
            raise
        typer.echo(f"error: {_spell(why)}", err=True)
        sys.exit(why.exit_code)
    except OSError as why:  # such as a folder that may not be entered
        if "--debug" in sys.argv:
            raise
        typer.echo(f"error: {why.filename or 'the system'}: {why.strerror or why}", err=True)
        sys.exit(1)
