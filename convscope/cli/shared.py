"""What the verbs share: options by their type, and results as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


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
DataName = Annotated[
    str | None,
    typer.Argument(metavar="DATA", help="A data set, see `convscope data`; or a folder."),
]


def print_json(value: object) -> None:
    """Print one JSON object and nothing else."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))
