"""`convscope export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.shared import Debug, Force, Json, OwnModel, RunPath, print_json


def export(
    run: RunPath,
    format: Annotated[str, typer.Option(help="onnx.")] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PATH", help="Where it goes; else the run folder."),
    ] = None,
    model: OwnModel = None,
    force: Force = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a run as a file that works without PyTorch."""
    from convscope import api, console

    with console.Monitor() as emit:
        found = api.export(run, format, out=out, model=model, force=force, emit=emit)
    if as_json:
        print_json(found.as_json())
        return
    typer.echo(found.path)
