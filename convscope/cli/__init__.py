"""The command line: parse, call the API, render. Results go to stdout, everything else to
stderr."""

from __future__ import annotations

import io
import os
import platform
import signal
import sys
import threading
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from convscope import __version__, language, machine
from convscope.cli import (
    data,
    explaining,
    judging,
    lab,
    predicting,
    serving,
    shipping,
    showing,
    studio,
    studying,
    summary,
    training,
    tuning,
    usage,
)
from convscope.cli.options import Headed
from convscope.errors import BadArgument, ConvscopeError

app = typer.Typer(
    name="convscope",
    help="Train, understand and ship convolutional image classifiers, "
    "fast, on the machine you have.",
    epilog="Start with: convscope train mnist --recipe mnist-cnn",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    """Say which this is, and what it stands on, as a report of a fault wants to know."""
    if wanted:
        from importlib import metadata

        torch = metadata.version("torch")  # read off its folder, not imported
        system = f"{platform.system()} {platform.machine()}"
        python = platform.python_version()
        typer.echo(f"convscope {__version__} (Python {python}, torch {torch}, {system})")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_version, help="Say which this is."),
    ] = False,
) -> None: ...


app.command(cls=Headed)(training.train)
app.command("eval")(judging.evaluate)
app.command()(predicting.predict)
app.command()(judging.compare)
app.command()(explaining.explain)
app.command(cls=Headed)(studying.sweep)
app.command(cls=Headed)(tuning.tune)
app.command("learning-curve", cls=Headed)(studying.learning_curve)
app.command()(studying.claims)
app.command(cls=Headed)(summary.summary)
app.command()(serving.serve)
app.command()(studio.studio)
app.command()(studio.runs)
app.command()(showing.script)
app.command()(shipping.export)
app.command()(shipping.verify)
app.command()(showing.models)
app.command()(showing.recipes)
app.command()(showing.machine)
app.add_typer(data.app, name="data")
app.add_typer(lab.app, name="lab")


def _spell(why: ConvscopeError) -> str:
    """The error as the command line says it: an option by its flag, a word that has its place by
    the name that the help gives it."""
    if isinstance(why, BadArgument) and why.argument.replace("_", "").isalpha():
        if place := usage.place(why.argument, sys.argv[1:], _commands()):
            return f"{place}={why.value}: {why.rule}; {why.remedy}"
        params = [p for command in _commands().values() for p in command.params]
        options = {o for p in params for o in (*p.opts, *p.secondary_opts)}
        flag = f"--{why.argument.replace('_', '-')}"
        if flag not in options:  # an argument that Python calls otherwise, as start is --from
            named = (o for p in params if p.name == why.argument for o in p.opts if o[:2] == "--")
            flag = next(named, flag)
        off = flag.replace("--", "--no-", 1)
        if why.value is False and off in options:
            return f"{off}: {why.rule}; {why.remedy}"
        if flag in options:
            value = "" if isinstance(why.value, bool) else f" {why.value}"
            return f"{flag}{value}: {why.rule}; {why.remedy}"
    return str(why)


def _commands() -> dict[str, Any]:
    """Every command by its name, those of a group, too."""
    found: dict[str, Any] = dict(getattr(typer.main.get_command(app), "commands", {}))
    for group in list(found.values()):
        found |= getattr(group, "commands", {})
    return found


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
        language.chosen()  # one that is not here is refused before a long job
        sys.exit(app(standalone_mode=False))
    except typer.TyperException as why:
        if machine.place().local_rank:
            pass
        elif type(why).__name__ == "NoArgsIsHelpError":
            typer.echo(why.message, err=True)
        else:
            typer.echo(f"error: {usage.in_words(why, sys.argv[1:], _commands())}", err=True)
        sys.exit(2)
    except ConvscopeError as why:
        if "--debug" in sys.argv:
            raise
        if why.speaks or not machine.place().local_rank:  # of several ranks not each
            typer.echo(f"error: {_spell(why)}", err=True)
        sys.exit(why.exit_code)
    except OSError as why:  # such as a folder that may not be entered
        if "--debug" in sys.argv:
            raise
        typer.echo(f"error: {why.filename or 'the system'}: {why.strerror or why}", err=True)
        sys.exit(1)
