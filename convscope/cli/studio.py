"""`convscope studio` and `convscope runs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convscope import __version__, files
from convscope.cli import completing
from convscope.cli.serving import installed, is_loopback, own_names, until_stopped
from convscope.cli.shared import Debug, Json, print_json, say
from convscope.formatting import measured_duration, percent
from convscope.language import told
from convscope.runs import SORTS, ListedRun, Listing

Root = Annotated[Path, typer.Argument(metavar="[ROOT]", help="The folder that runs are in.")]
ROOT = Path("runs")  # where `train` puts them
WIDE = 1000  # characters of a table that goes elsewhere than to a terminal: a line a run


def studio(
    root: Root = ROOT,
    port: Annotated[int, typer.Option(help="0 is any that is free.")] = 8000,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name by which browsers know this server; repeatable."),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Serve the page on which networks are trained, compared and taken apart, until Ctrl-C."""
    with installed("studio"):
        from convscope.server import serving
        from convscope.server.studio import Studio
    with files.explained(root):
        files.make_folder(root)
    with serving.listening(host, port) as taken:
        hosts = (*own_names(host), *(allow_host or ()))
        service = Studio(root, hosts, release=__version__)
        where = serving.address(taken)
        if not is_loopback(host):
            text = f"warning: whoever reaches {host} can train here and see all images and runs"
            typer.echo(text, err=True)
        print_json({"url": where, "root": str(root)}) if as_json else typer.echo(where)
        with until_stopped():
            serving.serve(service, taken)


def runs(
    root: Root = ROOT,
    sort: Annotated[
        str,
        typer.Option(help=f"By {', '.join(SORTS)}.", autocompletion=completing.among(*SORTS)),
    ] = "date",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the run folders below a folder: what was trained, how it did, how it stands."""
    from convscope import console

    found = Listing(root).rows(sort)
    if as_json:
        print_json({"root": str(root), "runs": [one.as_json() for one in found]})
        return
    if not found:
        say(f"{root}: has no run folders; make one with: convscope train", err=True)
        return
    heads = ("run", "data", "network", "accuracy", "95% interval", "seconds", "parameters")
    console.table((*heads, "date", "state"), [_cells(one) for one in found], width=WIDE)
    for one in found:
        if one.problem:
            typer.echo(one.problem, err=True)


def _cells(one: ListedRun) -> tuple[object, ...]:
    """A run as a row of the table."""
    low, high = one.ci95 or (0.0, 0.0)
    interval = "-" if one.ci95 is None else f"{100 * low:.2f} to {100 * high:.2f}"
    balanced = told(" (balanced)") * (one.measure == "balanced_accuracy")
    seconds = "-" if one.seconds is None else measured_duration(one.seconds)
    known = (
        one.name,
        Path(one.data).name or "-",
        one.network or "-",
        percent(one.accuracy) + balanced,
    )
    parameters = "-" if one.parameters is None else one.parameters
    return (*known, told(interval), told(seconds), parameters, one.date[:10], told(_state(one)))


def _state(one: ListedRun) -> str:
    """How a run stands, in a few words."""
    far = f", epoch {one.epoch} of {one.epochs}" if one.epochs else ""
    if one.state == "training":
        return f"training{far}" + f", process {one.pid}" * bool(one.pid)
    if one.state == "damaged":
        return f"damaged: {one.file}"
    return one.state + far * (one.state == "interrupted")
