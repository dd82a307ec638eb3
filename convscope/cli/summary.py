"""`convscope summary`."""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope.cli import completing
from convscope.cli.options import with_arguments
from convscope.cli.shared import Debug, Force, Json, OwnModel, free, print_json, say, under
from convscope.errors import BadArgument

if TYPE_CHECKING:
    from convscope.insight.anatomy import Summary

FORMS = (".svg", ".html", ".md")


@with_arguments
def summary(
    network: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL|RUN",
            help="A network by name (see `models`), tv:NAME, file.py:Class, or a run's folder.",
            autocompletion=completing.networks_and_runs,
        ),
    ] = None,
    input: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CxHxW",
            help="Else 1x28x28; tv:NAME: what its weights are for. Again for a second input.",
        ),
    ] = None,
    num_classes: Annotated[
        int | None, under("Network", help="Else 10; tv:NAME: those of its weights, 1000.")
    ] = None,
    model: OwnModel = None,
    level: Annotated[
        int | None, typer.Option(help="One row, and one box, for each module so many levels deep.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Draw it as .svg; or write .html or .md."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
    as_html: Annotated[bool, typer.Option("--html", help="Print one HTML page.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print a table in Markdown.")
    ] = False,
    debug: Debug = False,
    **arguments: Any,
) -> None:
    """Show what a network is made of, layer by layer; exit 1 if it fails on the way."""
    if as_json + as_html + as_markdown > 1:
        form = "html" if as_html and (as_json or as_markdown) else "markdown"
        rule = "only one form can be printed"
        raise BadArgument(form, "with another form", rule, "leave one out, or --save it")
    free(save, force, FORMS, "net")
    given = {name: value for name, value in arguments.items() if value is not None}
    found = _asked(network, input, num_classes, model, given)
    shown = found if level is None else found.folded(level)
    if save is not None:
        _write(save, shown, whole=level is not None)
    if as_json:
        print_json({**shown.as_json(), "figure": None if save is None else str(save)})
    elif as_html:
        typer.echo(shown.html())
    elif as_markdown:
        typer.echo(shown.markdown())
    else:
        wide = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        typer.echo(shown.text(wide))
        if save is not None:
            say(f"\nfigure   {save}")
    if found.failure is not None:
        typer.echo(f"error: {found.model} {found.failure}", err=True)
        raise typer.Exit(1)


def _asked(
    network: str | None,
    inputs: list[str] | None,
    num_classes: int | None,
    model: str | None,
    arguments: dict[str, Any],
) -> Summary:
    """The summary that is asked for; an error names its options as they were typed."""
    if "layers" in arguments:
        if network not in (None, "layers"):
            rule = f"is a network of its own, and so is {network}"
            raise BadArgument("layers", arguments["layers"], rule, "leave one of them out")
        network = "layers"
    if network is None:
        rule = "is needed"
        raise BadArgument("MODEL", "(not given)", rule, "try convscope summary cnn")
    from convscope import api
    from convscope.insight.lab.inputs import sizes as numbers

    shapes = [numbers(text, "input", "3x224x224") for text in inputs or []]
    given = shapes[0] if len(shapes) == 1 else tuple(shapes) or None
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what a user's class prints goes aside
            return api.summary(network, given, num_classes=num_classes, model=model, **arguments)
    except BadArgument as why:
        names = {"input_shape": "input", "image_size": "input", "network": "MODEL"}
        named = names.get(why.argument)
        if named is None:
            raise
        raise BadArgument(named, why.value, why.rule, why.remedy) from None


def _write(path: Path, shown: Summary, whole: bool) -> None:
    from convscope import files

    kind = path.suffix.lower()
    made = shown.svg(whole) if kind == ".svg" else shown.html() if kind == ".html" else ""
    made = made or shown.markdown()
    with files.explained(path):
        files.write_whole(path, made if made.endswith("\n") else f"{made}\n")
