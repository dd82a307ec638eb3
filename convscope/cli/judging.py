"""`convscope eval` and `convscope compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli import completing
from convscope.cli.shared import (
    Abstain,
    Debug,
    Device,
    Force,
    Json,
    OwnModel,
    RunPath,
    print_json,
)
from convscope.errors import BadArgument


def evaluate(
    run: RunPath,
    split: Annotated[
        str,
        typer.Option(
            help="test (each look is counted), val or train.",
            autocompletion=completing.among("test", "val", "train"),
        ),
    ] = "test",
    abstain: Abstain = None,
    model: OwnModel = None,
    device: Device = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Judge a run's network on a split of its data."""
    from convscope import api, console

    with console.Monitor() as emit:
        values = api.evaluate(run, split, abstain=abstain, model=model, device=device, emit=emit)
    print_json(values) if as_json else console.figures(values)


def compare(
    a: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_A", help="A folder that `train` made.", autocompletion=completing.runs
        ),
    ],
    b: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_B", help="Another, judged on the same.", autocompletion=completing.runs
        ),
    ],
    show: Annotated[
        int, typer.Option(metavar="N", help="How many classes, and images of each kind, to show.")
    ] = 16,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the images that changed: .png, .svg or .pdf."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare two runs on their test images: which is better, by how much, and whether it is more
    than chance."""
    from convscope import api, console

    if force and save is None:
        raise BadArgument("force", force, "is for --save", "leave it out")
    with console.Monitor() as emit:
        found = api.compare(a, b, save=save, show=show, force=force, emit=emit)
    print_json(found.as_json()) if as_json else console.comparison(found, show)
