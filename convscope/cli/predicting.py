"""`convscope predict`."""

from __future__ import annotations

import csv
import functools
import itertools
import json
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from convscope.cli.shared import (
    Abstain,
    Debug,
    Device,
    Force,
    Json,
    OwnModel,
    RunPath,
    print_json,
    say,
)
from convscope.errors import BadArgument
from convscope.formatting import decimal_size, plural, printable

if TYPE_CHECKING:
    from convscope.predicting.listing import Tally
    from convscope.predicting.prediction import Prediction
    from convscope.predicting.shards import Predicted

STDIO = Path("-")
SHOWN = 50  # answers


def predict(
    run: RunPath,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILES...",
            show_default=False,
            help="Images, folders of them, and tables of files (.csv, .jsonl, .parquet); - for "
            "standard input: such names, a line each, or one image.",
        ),
    ] = None,
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
    ] = SHOWN,
    as_csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write a row an answer; - prints them."),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the answers of many images in shards; the same command goes on.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="--into: a data set or a pack, in the place of FILES."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="--data: train, val or test. By default test.")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="--into: csv (the default) or parquet.")
    ] = None,
    shard: Annotated[
        int | None,
        typer.Option(metavar="N", help="--into: images a shard, by default 250 to 10,000."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="--into: processes, by default as cores and work have it."),
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="--into: only say how much there is to do.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Classify any number of images; exit 1 if any could not be read."""
    of_one = {"csv": as_csv, "show": show if show != SHOWN else None, "force": force or None}
    of_many = {"data": data, "split": split, "format": form, "shard": shard, "workers": workers}
    of_many["preview"] = preview or None
    options: dict[str, Any] = {"top_k": top_k, "invert": invert, "digits": digits}
    held = {"abstain": abstain, "coverage": coverage}
    opened = functools.partial(_opened, run, model=model, device=device, **held)
    if into is not None:
        _refuse(of_one, "does not go with --into", "leave one of them out")
        options |= {"abstain": abstain, "set": coverage}
        asked: dict[str, Any] = {"run": run, "given": _given(files or []), "options": options}
        asked |= {"data": data, "split": split or "test", "form": form or "csv", "shard": shard}
        _into(into, opened, asked, workers, preview, as_json)
        return
    _refuse(of_many, "is for --into DIR", "name a folder, or leave it out")
    given: Any = _checked(files, as_json, as_csv, force, show)
    if STDIO in given:
        given = itertools.chain.from_iterable(
            [one] if isinstance(one, Path) else one for one in _given(given)
        )
    from convscope import console
    from convscope.events import Event, Progress
    from convscope.predicting import listing

    out, tally = sys.stdout, listing.Tally()
    shown: list[Prediction] = []
    printed = as_json or as_csv == STDIO
    with console.Monitor() as monitor:

        def emit(event: Event) -> None:  # what is printed as it comes would run into a bar
            if not (printed and out.isatty() and isinstance(event, Progress)):
                monitor(event)

        predictor = opened(emit=emit)
        found = tally.counted(predictor.stream(given, top_k, invert, emit, digits))
        if as_json:
            found = _as_json(found, out)
        elif as_csv is None:
            found = _kept(found, shown, show)
        if as_csv == STDIO:
            rows = listing.rows(predictor, found, top_k, digits)
            csv.writer(out, lineterminator="\n").writerows(rows)
        elif as_csv is not None:
            listing.write(as_csv, predictor, found, top_k=top_k, digits=digits, force=force)
        for _ in found:
            pass
    if not printed:
        console.predictions(tally, shown)
    _say_what_failed(tally)


def _opened(run: Path, **options: Any) -> Any:
    """What predicts for a run; for an ONNX file without torch."""
    from convscope.predicting import onnx_file

    if onnx_file.is_file(run):
        return onnx_file.predictor_of(run, **options)
    from convscope.api import predictor_of

    return predictor_of(run, **options)


def _given(files: list[Path]) -> list[Any]:
    """What is named, that on standard input as it comes."""
    from convscope.predicting import inputs

    return [inputs.piped(sys.stdin.buffer) if one == STDIO else one for one in files]


def _refuse(options: dict[str, Any], rule: str, remedy: str) -> None:
    """Raise BadArgument for the first option that is there."""
    for name, value in options.items():
        if value is not None:
            raise BadArgument(name, True if value is True else value, rule, remedy)


def _checked(
    files: list[Path] | None, as_json: bool, as_csv: Path | None, force: bool, show: int
) -> list[Path]:
    """The files. Raises BadArgument for what does not go together, and where nothing is named."""
    if not files:
        rule = "is needed (images, folders of them, and tables of files)"
        raise BadArgument("FILES", "(not given)", rule, "convscope predict --help shows how")
    if as_json and as_csv == STDIO:
        raise BadArgument(
            "csv", "-", "only one form can be printed", "name a file, or leave one out"
        )
    if force and as_csv in (None, STDIO):
        raise BadArgument("force", force, "is for --csv FILE", "leave it out")
    if show < 0:
        raise BadArgument("show", show, "must be a whole number of at least 0", "try 50")
    return files


def _into(
    into: Path,
    opened: Callable[..., Any],
    asked: dict[str, Any],
    workers: int | None,
    preview: bool,
    as_json: bool,
) -> None:
    """Predict into a folder, or only say how much there is to do."""
    from convscope import console
    from convscope.predicting import shards
    from convscope.predicting.manifest import Asked

    what = Asked(**asked)
    try:
        with console.Monitor() as emit:
            predictor = opened(emit=emit)
            if preview:
                counts = shards.preview(into, predictor, what)
            else:
                found = shards.predict_into(into, predictor, what, workers, emit)
    except KeyboardInterrupt:
        say("stopped; the same command goes on", err=True)
        raise typer.Exit(130) from None
    if preview:
        print_json(counts) if as_json else _print_preview(counts)
        return
    print_json(found.as_json()) if as_json else _print(found)
    _say_what_failed(found.tally)


def _print(found: Predicted) -> None:
    """Print where predictions are, and how many there are of each class."""
    from convscope import console

    console.predictions(found.tally, [])
    parts = plural(len(found.parts), "file")
    say(f"{found.parts[0].parent}: {plural(found.images, 'image')} in {parts}")
    if found.tally.failures:
        say(f"{found.unreadable}: {found.tally.failures:,} that could not be read")


def _print_preview(counts: Mapping[str, int]) -> None:
    """Print how much there is to be predicted into a folder."""
    size = f" ({decimal_size(counts['bytes'])})" if counts.get("bytes") else ""
    shards = f"{counts['missing']:,} of {plural(counts['shards'], 'shard')} to do"
    say(f"{plural(counts['images'], 'image')}{size}; {shards}; nothing was written")


def _say_what_failed(tally: Tally) -> None:
    """Name the first images that could not be read, and leave with 1 where there are any."""
    for one in tally.failed:
        say(f"error: {printable(one.file)}: {printable(one.error or '')}", err=True)
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
