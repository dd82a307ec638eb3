"""`convscope export` and `convscope verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli import completing
from convscope.cli.shared import Debug, Force, Json, OwnModel, RunPath, print_json, say


def export(
    run: RunPath,
    format: Annotated[
        str,
        typer.Option(
            help="onnx; page: one HTML file to open; triton: a model repository.",
            autocompletion=completing.among("onnx", "page", "triton"),
        ),
    ] = "onnx",
    quantize: Annotated[
        str | None,
        typer.Option(metavar="int8", help="8-bit integers; a look at the test split, counted."),
    ] = None,
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
        found = api.export(
            run, format, quantize=quantize, out=out, model=model, force=force, emit=emit
        )
    if as_json:
        print_json(found.as_json())
        return
    for line in filter(None, (*found.checks, *found.notes, found.quantized)):
        say(line, err=True)
    typer.echo(found.path)


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `export` wrote.")],
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="The run that it was made of.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Hold an exported file against its golden records, and its run; exit 1 where it differs."""
    from convscope import console
    from convscope.shipping import verify as verifying

    with console.Monitor() as emit:
        found = verifying.verify(file, run, emit=emit)
    if as_json:
        print_json(found.as_json())
    else:
        for line in (*found.checks, *found.notes):
            say(line)
    if not found.ok:
        raise typer.Exit(1)
