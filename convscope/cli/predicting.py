"""`convscope predict`."""

from __future__ import annotations

import csv
import itertools
import json
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from convscope.cli.shared import Abstain, Debug, Device, Force, Json, OwnModel, RunPath, say
from convscope.errors import BadArgument

if TYPE_CHECKING:
    from convscope.predicting.listing import Tally
    from convscope.predicting.prediction import Prediction

STDIO = Path("-")


def predict(
    run: RunPath,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES...",
            help="Images, folders of them, and tables of files (.csv, .jsonl, .parquet); - for "
            "standard input: such names, a line each, or one image.",
        ),
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
    show: Annotated[
        int, typer.Option(metavar="N", help="Of more answers than these the classes are counted.")
    ] = 50,
    as_csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write a row an answer; - prints them."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Classify any number of images; exit 1 if any could not be read."""
    if as_json and as_csv == STDIO:
        raise BadArgument(
            "csv", "-", "only one form can be printed", "name a file, or leave one out"
        )
    if force and as_csv in (None, STDIO):
        raise BadArgument("force", force, "is for --csv FILE", "leave it out")
    if show < 0:
        raise BadArgument("show", show, "must be a whole number of at least 0", "try 50")
    from convscope import console
    from convscope.events import Event, Progress
    from convscope.predicting import inputs, listing, onnx_file

    predictor_of: Callable[..., Any] = onnx_file.predictor_of  # which needs no torch
    if not onnx_file.is_file(run):
        from convscope.api import predictor_of
    given: Iterable[Any] = files
    if STDIO in files:
        each = (inputs.piped(sys.stdin.buffer) if one == STDIO else [one] for one in files)
        given = itertools.chain.from_iterable(each)
    out, tally = sys.stdout, listing.Tally()
    shown: list[Prediction] = []
    printed = as_json or as_csv == STDIO
    with console.Monitor() as monitor:

        def emit(event: Event) -> None:  # what is printed as it comes would run into a bar
            if not (printed and out.isatty() and isinstance(event, Progress)):
                monitor(event)

        predictor = predictor_of(
            run, model=model, device=device, abstain=abstain, coverage=coverage, emit=emit
        )
        found = tally.counted(predictor.stream(given, top_k, invert, emit, digits))
        if as_json:
            found = _as_json(found, out)
        elif as_csv is None:
            found = _kept(found, shown, show)
        if as_csv == STDIO:
            rows = listing.rows(predictor, found, top_k, digits)
            csv.writer(out, lineterminator="\n").writerows(rows)
        elif as_csv is not None:
            options: Any = {"top_k": top_k, "digits": digits, "force": force}
            listing.write(as_csv, predictor, found, **options)
        for _ in found:
            pass
    if not printed:
        console.predictions(tally, shown)
    _say_what_failed(tally)


def _say_what_failed(tally: Tally) -> None:
    """Name the first images that could not be read, and leave with 1 where there are any."""
    for one in tally.failed:
        say(f"error: {one.file}: {one.error}", err=True)
    if more := tally.failures - len(tally.failed):
        say(f"error: and {more:,} more that could not be read", err=True)
    if tally.failures:
        raise typer.Exit(1)


def _as_json(predictions: Iterable[Prediction], out: TextIO) -> Iterator[Prediction]:
    """The predictions, each of which is printed as it passes: in the end, one object."""
    between = '{\n "results": [\n'
    for one in predictions:
        text = json.dumps(one.as_json(), indent=1, ensure_ascii=False, allow_nan=False)
        out.write(between + textwrap.indent(text, "  "))
        between = ",\n"
        yield one
    out.write("\n ]\n}\n" if between == ",\n" else '{\n "results": []\n}\n')


def _kept(
    predictions: Iterable[Prediction], kept: list[Prediction], most: int
) -> Iterator[Prediction]:
    """The predictions, of which the first are kept: no photograph is torn apart."""
    for one in predictions:
        whole = one.box is None or not kept or kept[-1].file != one.file
        if len(kept) < most or not whole:
            kept.append(one)
        yield one
