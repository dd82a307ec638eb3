"""What the verbs share: options by their type, and results as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from convscope.errors import BadArgument


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
RecipeName = Annotated[
    str | None, under("Network", help="A recipe by name (see `recipes`) or a .toml file.")
]
NetworkName = Annotated[
    str | None,
    under("Network", help="A network by name (see `models`), tv:NAME, or file.py:Class."),
]
KernelSize = Annotated[
    str | None, under("Network", metavar="N|HxW", help="cnn: kernel of each convolution.")
]
Widths = Annotated[
    str | None, under("Network", metavar="N,N,...", help="cnn: channels of each stage.")
]
Augmented = Annotated[
    bool, under("Augmentation", help="The data set's own, or none but what is typed.")
]


def sizes(kernel_size: str | None, widths: str | None) -> dict[str, int | list[int] | None]:
    """The kernel, '5' or '5x3', and the widths, '16,32', as numbers; None is not typed. Raises
    BadArgument.

    >>> sizes("5", "16,32"), sizes("5x3", None)
    ({'kernel_size': 5, 'widths': [16, 32]}, {'kernel_size': [5, 3], 'widths': None})
    """
    found: dict[str, int | list[int] | None] = {"kernel_size": None, "widths": None}
    for argument, text, separator, example in (
        ("kernel_size", kernel_size, "x", "5 or 5x3"),
        ("widths", widths, ",", "16,32"),
    ):
        if text is None:
            continue
        try:
            numbers = [int(part) for part in text.split(separator)]
        except ValueError:
            remedy = f"write them as {example}"
            raise BadArgument(argument, text, "must be whole numbers", remedy) from None
        found[argument] = numbers[0] if len(numbers) == 1 and separator == "x" else numbers
    return found


def print_json(value: object) -> None:
    """Print one JSON object and nothing else."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))
