"""What the commands of the lab share: options, numbers read, errors spelled, results written."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope.cli import shared
from convscope.errors import BadArgument

if TYPE_CHECKING:
    from convscope.insight.reference.windows import Array

free = functools.partial(shared.free, forms=(".gif", ".png", ".html"), name="lab")
# the operators' own names of what is typed here
TYPED = {
    "kernel_shape": "kernel", "strides": "stride", "dilations": "dilation", "pads": "padding",
    "auto_pad": "padding", "group": "groups", "out_channels": "out_channels", "lr": "lr",
}  # fmt: skip

Input = Annotated[
    str, typer.Option(metavar="HxW|CxHxW|ROWS", help='Counts up from 0; or numbers, "0,1;2,3".')
]
Image = Annotated[Path | None, typer.Option(help="An image file in its place, read as grey.")]
Size = Annotated[str | None, typer.Option(help="N or HxW: bring the image to that size.")]
Save = Annotated[
    Path | None, typer.Option("--save", help="Draw it: a .gif that moves, a .png, or a .html page.")
]


def numbers(text: str, image: Path | None, size: str | None) -> Array:
    """The input [C,H,W]. Raises BadArgument, ImageError."""
    from convscope.insight.lab import inputs

    if image is not None:
        return inputs.picture(image, size)
    if size is not None:
        raise BadArgument("size", size, "is for --image", "leave it out")
    X = inputs.numbers(text, "input")
    if X.ndim > 3:
        raise BadArgument("input", text, "must be HxW or CxHxW", "try 3x8x8")
    return X.reshape(-1, *X.shape[-2:])


@contextlib.contextmanager
def as_typed(values: dict[str, Any]) -> Iterator[None]:
    """Let an error name the option and its value as they were typed."""
    try:
        yield
    except BadArgument as why:
        if why.argument not in values:
            raise
        name = TYPED.get(why.argument, "input")
        raise BadArgument(name, values[why.argument], why.rule, why.remedy) from None


def finish(
    path: Path | None,
    makers: dict[str, Callable[[], Any]],
    numbers: Callable[[], dict[str, Any]] | None,
    show: Callable[[], None],
) -> None:
    """Draw what was found, in the form that the file's name ends in; then print its ``numbers`` as
    JSON, or show it and say where it was drawn."""
    from convscope import files

    if path:
        made = makers[path.suffix.lower()]()
        if isinstance(made, bytes | str):
            files.write_whole(path, made)
        else:
            with files.whole_file(path) as file:
                made.savefig(file, format="png", dpi=160)
    if numbers is not None:
        shared.print_json({**numbers(), "figure": str(path) if path else None})
        return
    show()
    if path:
        shared.say(f"\nfigure   {path}")


def grid(rows: Array) -> list[str]:
    """Numbers [h,w] as lines of text, their columns aligned."""
    from convscope.insight.lab.sliding import written

    cells = [[written(value) for value in row] for row in rows]
    wide = max(len(cell) for row in cells for cell in row)
    return ["  " + " ".join(cell.rjust(wide) for cell in row) for row in cells]
