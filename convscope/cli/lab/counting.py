"""`lab one-by-one`: what a 1x1 convolution saves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.lab import shared
from convscope.cli.lab.shared import Save
from convscope.cli.shared import Debug, Force, Json, say
from convscope.errors import BadArgument

if TYPE_CHECKING:
    from convscope.insight.lab.counting import OneByOne


def one_by_one(
    input: Annotated[str, typer.Option(metavar="CxHxW")] = "192x28x28",
    kernel: Annotated[str, typer.Option(metavar="HxW")] = "5x5",
    out_channels: Annotated[int, typer.Option(help="Kernels of the convolution.")] = 32,
    through: Annotated[int, typer.Option(help="Channels that the 1x1 convolution leaves.")] = 16,
    save: Save = None,
    force: Force = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Count what a 1x1 convolution before a larger one saves."""
    from convscope.insight.lab import counting, drawing, inputs, page

    path = shared.free(save, force)
    shape = inputs.sizes(input, "input", "192x28x28")
    window = inputs.sizes(kernel, "kernel", "5x5")
    if len(shape) != 3:
        rule = "must be channels, height and width"
        raise BadArgument("input", input, rule, "write 192x28x28")
    if len(window) > 2:
        raise BadArgument("kernel", kernel, "must be one or two numbers", "write 5x5")
    found = counting.one_by_one(
        shape[0], (shape[1], shape[2]), (window[0], window[-1]), out_channels, through
    )
    makers = {
        ".png": lambda: drawing.counts(found),
        ".gif": lambda: drawing.counts_growing(found),
        ".html": lambda: page.counts(found),
    }
    numbers = found.as_json if as_json else None
    shared.finish(path, makers, numbers, lambda: say(_told(found, kernel)))


def _told(found: OneByOne, kernel: str) -> str:
    straight, narrow, wide = found.straight, found.narrow, found.wide
    (h, w), (more, less) = straight.size, found.multiplications
    return (
        f"input      {straight.channels} x {h} x {w}\n"
        f"output     {straight.out} x {h} x {w}\n\n"
        f"straight   {kernel}  {straight.text}\n"
        f"through    1x1  {narrow.text}, which gives {narrow.out} x {h} x {w}\n"
        f"           {kernel}  {wide.text}\n\n"
        f"           multiplications {more:>16,} against {less:>14,} {_saved(more, less)}\n"
        f"           weights         {found.weights[0]:>16,} against {found.weights[1]:>14,} "
        f"{_saved(*found.weights)}\n\n"
        f"A 1x1 convolution is a linear layer over the channels of each pixel: on random numbers "
        f"the\ntwo lie {found.difference:.1e} apart, which is rounding."
    )


def _saved(more: int, less: int) -> str:
    share = 1 - less / more
    return f"({share:.1%} saved)" if share >= 0 else f"({-share:.1%} more)"
