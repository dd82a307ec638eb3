"""`convscope explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli import completing
from convscope.cli.shared import Debug, Json, OwnModel, RunPath, print_json, say
from convscope.language import told


def explain(
    run: RunPath,
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="IMAGES...", help="Files and folders; else seeded test images."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Of filters, maps, units, classes, heat, embedding."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(metavar="NAME", help="The stage of maps, units and Grad-CAM.")
    ] = None,
    unit: Annotated[
        list[int] | None, typer.Option(metavar="N", help="A unit of that stage; again for more.")
    ] = None,
    class_: Annotated[
        list[str] | None,
        typer.Option(
            "--class", metavar="NAME", help="A class to make an image of; one: heat maps ask of it."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Of heat maps: occlusion, gradcam or ig; else all three.",
            autocompletion=completing.among("occlusion", "gradcam", "ig"),
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Else RUN/explain.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the images, the noise, the random weights.")] = 0,
    invert: Annotated[
        bool, typer.Option("--invert", help="Swap dark and light of IMAGES, as in predict.")
    ] = False,
    threads: Annotated[int, typer.Option(help="0: all cores.")] = 0,
    model: OwnModel = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a network has learnt and why it says what it says: six pictures and their
    numbers."""
    from convscope import api, console

    with console.Monitor() as emit:
        found = api.explain(
            run,
            images or None,
            only=[name.strip() for name in only.split(",")] if only else [],
            layer=layer,
            units=unit or [],
            classes=class_ or [],
            method=method,
            out=out,
            seed=seed,
            invert=invert,
            threads=threads,
            model=model,
            emit=emit,
        )
    if as_json:
        print_json(found.as_json())
        return
    for name, path in found.pictures.items():
        typer.echo(f"{path}: {told(found.numbers['pictures'][name]['about'])}")
    for name, why in found.numbers["left_out"].items():
        say(f"without {name}: {why}")
    say(f"page     {found.page}")
