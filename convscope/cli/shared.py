"""What the verbs share: options by their type, and results as JSON."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope.cli import completing
from convscope.errors import BadArgument
from convscope.events import Emit, silent
from convscope.language import told

if TYPE_CHECKING:
    from convscope.console import Monitor


def under(heading: str, *flags: str, **more: Any) -> Any:
    """An option that the help lists under a heading."""
    return typer.Option(*flags, rich_help_panel=heading, **more)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]
LabelsTable = Annotated[
    Path | None,
    typer.Option("--labels", metavar="FILE", help="A table of the folder's images, see `train`."),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out rows that cannot be used.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
RunPath = Annotated[
    Path,
    typer.Argument(
        metavar="RUN", help="A folder that `train` made.", autocompletion=completing.runs
    ),
]
OwnModel = Annotated[
    str | None,
    typer.Option("--model", metavar="FILE.py:CLASS", help="The network's own file, if it has one."),
]
Device = Annotated[
    str,
    typer.Option(help="auto, cpu, cuda, ...", autocompletion=completing.of_field("device")),
]
Abstain = Annotated[
    float | None,
    typer.Option(
        metavar="ERROR",
        help="Answers keep to this error at 95 % confidence; the others are unsure.",
    ),
]
DataName = Annotated[
    str | None,
    typer.Argument(
        metavar="DATA",
        help="A data set, see `convscope data`; or a folder.",
        autocompletion=completing.data_sets,
    ),
]


def free(path: Path | None, force: bool, forms: Sequence[str], name: str) -> Path | None:
    """Where a drawing goes, in one of these forms, or none; ``name`` is what it may be called.
    Raises BadArgument where something is there, or nothing can be."""
    if path is None:
        if force:
            raise BadArgument("force", force, "is for --save", "leave it out")
        return None
    if path.suffix.lower() not in forms:
        rule = f"must end in {', '.join(forms)}"
        raise BadArgument("save", path, rule, f"try {path.stem or name}{forms[0]}")
    if path.is_dir() or (path.exists() and not force):
        remedy = "name another file" + ("" if path.is_dir() else ", or add --force")
        raise BadArgument("save", path, "is there already", remedy)
    return path


@contextlib.contextmanager
def several_runs() -> Iterator[Monitor]:
    """What shows the progress of several runs; where they are stopped, how they go on is said."""
    from convscope.console import Monitor

    try:
        with Monitor() as emit:
            yield emit
    except KeyboardInterrupt as why:
        say("stopped; the same command with --out and --resume goes on", err=True)
        raise typer.Exit(getattr(why, "exit_code", 130)) from None


@contextlib.contextmanager
def unheard() -> Iterator[Emit]:
    """What drops the events of a job, and what a user's class prints."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield silent


def say(text: object, err: bool = False) -> None:
    """Print a result in words, in the reader's language."""
    typer.echo(told(str(text)), err=err)


def print_json(value: object) -> None:
    """Print one JSON object and nothing else."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))
