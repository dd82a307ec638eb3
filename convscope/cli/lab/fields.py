"""`lab receptive-field`: what a unit sees of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.lab import shared
from convscope.cli.lab.shared import Save
from convscope.cli.shared import Debug, Force, Json
from convscope.errors import BadArgument
from convscope.language import told

if TYPE_CHECKING:
    from convscope.insight.receptive_field import ReceptiveField


def receptive_field(
    layers: Annotated[
        list[str] | None, typer.Argument(help="Such as c5-16 mp2 c3-32s2; else --model.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A network by name, see `models`.")] = None,
    input: Annotated[str, typer.Option(metavar="HxW|CxHxW")] = "28x28",
    save: Save = None,
    force: Force = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a unit of each layer sees of the image."""
    from convscope.insight.lab import drawing, inputs, page, stack

    path = shared.free(save, force)
    shape = inputs.sizes(input, "input", "28x28")
    if len(shape) not in (2, 3):
        raise BadArgument("input", input, "must be HxW or CxHxW", "write 28x28")
    words = [word for text in layers or [] for word in text.split()]
    if bool(words) == bool(model):
        rule = "must be given, or a network: one of the two"
        raise BadArgument("LAYERS", " ".join(words) or "(not given)", rule, "try c5-16 mp2")
    side = shape[-2], shape[-1]
    if model:
        from convscope.insight.anatomy import receptive_fields
        from convscope.models import build

        size = (shape[0] if len(shape) == 3 else 1, *side)
        rows = receptive_fields(build(model, 10, size[0], side), size)
    else:
        try:
            rows = stack.follow(words, side)
        except BadArgument:
            from convscope.models import MODELS

            if named := [word for word in words if word in MODELS or word.startswith("tv:")]:
                rule = "is a network, and layers are asked for"
                raise BadArgument("LAYERS", named[0], rule, f"write --model {named[0]}") from None
            raise
    makers = {
        ".png": lambda: drawing.fields(rows),
        ".gif": lambda: drawing.fields_growing(rows),
        ".html": lambda: page.fields(rows, " ".join(words)),
    }
    numbers = {"input_shape": list(side), "layers": [row.as_json() for row in rows]}
    shared.finish(path, makers, (lambda: numbers) if as_json else None, lambda: _print(rows))


def _print(rows: list[ReceptiveField]) -> None:
    from convscope import console

    def both(one: float, other: float) -> str:
        return f"{one:g} x {other:g}"

    cells = []
    for row in rows:
        h, w = row.height, row.width
        cells.append((
            told(row.layer), told(row.kind), both(h.size, w.size), told(row.size),
            "-" if row.whole else both(h.stride, w.stride),
            "-" if row.whole else both(h.centre, w.centre),
        ))  # fmt: skip
    head = ("layer", "what it is", "units", "a unit sees", "units lie apart", "centre of the first")
    console.table(head, cells)
