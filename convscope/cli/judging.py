"""`convscope eval`, `convscope predict` and `convscope compare`."""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.shared import Debug, Force, Json, OwnModel, RunPath, print_json
from convscope.errors import BadArgument

if TYPE_CHECKING:
    from convscope.predicting.prediction import Prediction

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]
Abstain = Annotated[
    float | None,
    typer.Option(
        metavar="ERROR",
        help="Answers keep to this error at 95 % confidence; the others are unsure.",
    ),
]


def evaluate(
    run: RunPath,
    split: Annotated[str, typer.Option(help="test (each look is counted), val or train.")] = "test",
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


def predict(
    run: RunPath,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES...", help="Image files, and folders of them.")
    ],
    top_k: Annotated[int, typer.Option("--top-k", help="How many classes to show.")] = 3,
    invert: Annotated[
        bool, typer.Option("--invert", help="Swap dark and light: for dark ink on white paper.")
    ] = False,
    digits: Annotated[
        bool | None,
        typer.Option(
            "--digits/--no-digits",
            help="Cut the digits out of photographs of paper, light or dark; else where a network "
            "of digits meets what looks like one.",
        ),
    ] = None,
    abstain: Abstain = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            "--set",
            metavar="SHARE",
            help="Sets of classes that hold the right one at least so often.",
        ),
    ] = None,
    model: OwnModel = None,
    device: Device = "auto",
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    debug: Debug = False,
) -> None:
    """Classify image files; exit 1 if any could not be read."""
    if as_json and as_csv:
        raise BadArgument("csv", "with --json", "only one form can be printed", "leave one out")
    from convscope import console
    from convscope.predicting import onnx_file
    from convscope.predicting.prediction import string_of

    predict: Callable[..., list[Prediction]] = onnx_file.predict  # which needs no torch
    if not onnx_file.is_file(run):
        from convscope.api import predict
    with console.Monitor() as emit:
        predictions = predict(
            *(run, files),
            top_k=top_k,
            invert=invert,
            abstain=abstain,
            coverage=coverage,
            model=model,
            device=device,
            digits=digits,
            emit=emit,
        )
    failed = [one for one in predictions if one.error]
    if as_json:
        print_json({"results": [one.as_json() for one in predictions]})
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        width = max((len(one.top) for one in predictions), default=0)
        heads = [h for i in range(1, width + 1) for h in (f"label_{i}", f"p_{i}")]
        sets = ["prediction_set"] if coverage is not None else []
        boxed = any(one.box for one in predictions)
        writer.writerow(["file", *heads, *sets, "unsure", "ood", "error", *["box"] * boxed])
        for one in predictions:
            cells = [c for label, p in one.top for c in (label, f"{p:.6f}")]
            cells += [""] * (2 * width - len(cells))
            cells += ["|".join(one.prediction_set or ()) for _ in sets]
            cells += ["" if said is None else str(said).lower() for said in (one.unsure, one.ood)]
            box = [" ".join(map(str, one.box or ()))] * boxed
            writer.writerow([one.file, *cells, one.error or "", *box])
    else:
        for file, group in itertools.groupby(predictions, lambda one: one.file):
            rows = list(group)
            for one in rows:
                said = [f"{label} {p:.1%}" for label, p in one.top] or ["not read"]
                said += [f"{{{', '.join(one.prediction_set)}}}"] if one.prediction_set else []
                said += [f"({one.marks})"] if one.marks else []
                at = "" if one.box is None else " [{},{} to {},{}]".format(*one.box)
                typer.echo(f"{file}{at}: {'   '.join(said)}")
            if len(rows) > 1 and all(one.box for one in rows):
                typer.echo(f"{file}: {string_of(rows)}")
    for one in failed:
        typer.echo(f"error: {one.file}: {one.error}", err=True)
    if failed:
        raise typer.Exit(1)


def compare(
    a: Annotated[Path, typer.Argument(metavar="RUN_A", help="A folder that `train` made.")],
    b: Annotated[Path, typer.Argument(metavar="RUN_B", help="Another, judged on the same.")],
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
