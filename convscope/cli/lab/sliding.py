"""`lab conv` and `lab pool`: a window that moves over numbers or an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope.cli import completing
from convscope.cli.lab import shared
from convscope.cli.lab.shared import Image, Input, Save, Size
from convscope.cli.shared import Debug, Force, Json, say
from convscope.errors import BadArgument, nearest

if TYPE_CHECKING:
    from convscope.insight.lab.sliding import Sliding


Padding = Annotated[
    str,
    typer.Option(
        help="N, H,W a side, TOP,LEFT,BOTTOM,RIGHT, valid, same (same-upper, same-lower)."
    ),
]
PADS = ("valid", "same", "same_upper", "same_lower")
Stride = Annotated[str, typer.Option(help="N or H,W.")]
Dilation = Annotated[str, typer.Option(help="N or H,W: how far apart the kernel's taps are.")]
Steps = Annotated[int, typer.Option(help="How many steps are written out.")]
Reads = Annotated[
    bool, typer.Option("--reads", help="Show how often each pixel is read, over all places.")
]


def conv(
    input: Input = "8x8",
    image: Image = None,
    size: Size = None,
    kernel: Annotated[
        str,
        typer.Option(
            metavar="HxW|NAME|ROWS",
            help="sobel-x, sobel-y, prewitt-x, prewitt-y, laplace, box, gauss, average, identity, "
            'sharpen, emboss, pixel; or a size that counts up from 0, or numbers, "1,-1".',
            autocompletion=completing.kernels,
        ),
    ] = "3x3",
    padding: Padding = "0",
    stride: Stride = "1",
    dilation: Dilation = "1",
    groups: Annotated[int, typer.Option(help="Groups that the channels are divided into.")] = 1,
    out_channels: Annotated[
        int | None, typer.Option(help="Kernels; else as many as there are groups.")
    ] = None,
    bias: Annotated[float, typer.Option(help="Added to every output.")] = 0.0,
    flip: Annotated[
        bool, typer.Option("--flip", help="Turn the kernel by 180 degrees: true convolution.")
    ] = False,
    steps: Steps = 16,
    reads: Reads = False,
    save: Save = None,
    force: Force = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Move a kernel over numbers or an image."""
    from convscope.insight.lab import inputs, sliding

    path = shared.free(save, force)
    typed = {"kernel_shape": kernel, "strides": stride, "dilations": dilation, "pads": padding,
             "auto_pad": padding, "group": groups}  # fmt: skip
    with shared.as_typed(typed):
        X = shared.numbers(input, image, size)
        K = inputs.kernel(kernel)
        if K.ndim != 2:
            raise BadArgument("kernel", kernel, "must be one kernel, HxW", "try 3x3")
        found = sliding.convolve(
            X, K, out_channels=out_channels, **_moves(padding, stride, dilation),
            group=groups, bias=bias, flip=flip,
        )  # fmt: skip
    _slid(found, steps, reads, path, as_json, kernel, image)


def pool(
    input: Input = "4x4",
    image: Image = None,
    size: Size = None,
    kind: Annotated[
        str,
        typer.Option(help="max or average.", autocompletion=completing.among("max", "average")),
    ] = "max",
    kernel: Annotated[
        str, typer.Option(metavar="HxW", help="The window; global is the whole map.")
    ] = "2x2",
    padding: Padding = "0",
    stride: Annotated[
        str | None, typer.Option(help="N or H,W; else windows lie side by side.")
    ] = None,
    dilation: Dilation = "1",
    ceil: Annotated[bool, typer.Option("--ceil", help="Round the output size up.")] = False,
    count_padding: Annotated[
        bool, typer.Option("--count-padding", help="An average counts the padding too.")
    ] = False,
    steps: Steps = 16,
    reads: Reads = False,
    save: Save = None,
    force: Force = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Move a max- or average-pool over numbers or an image."""
    from convscope.insight.lab import inputs, sliding

    path = shared.free(save, force)
    if kind not in ("max", "average"):
        raise BadArgument("kind", kind, "is no pool", nearest(kind, ("max", "average")))
    typed = {"kernel_shape": kernel, "strides": stride, "dilations": dilation, "pads": padding,
             "auto_pad": padding}  # fmt: skip
    with shared.as_typed(typed):
        X = shared.numbers(input, image, size)
        window = X.shape[-2:] if kernel == "global" else inputs.sizes(kernel, "kernel", "2x2")
        moves = _moves(padding, stride or "1", dilation)
        if stride is None:
            del moves["strides"]
        found = sliding.pool(
            X, window, kind=kind, **moves, ceil_mode=ceil, count_include_pad=count_padding
        )
    _slid(found, steps, reads, path, as_json, f"{kind} pool", image)


def _moves(padding: str, stride: str, dilation: str) -> dict[str, Any]:
    """Padding, stride and dilation as the operators take them."""
    from convscope.insight.lab import inputs

    word = padding.strip().lower().replace("-", "_")
    named = word.replace("_", "").isalpha()
    if named and word not in PADS:
        names = [name.replace("_", "-") for name in PADS]
        raise BadArgument("padding", padding, "is no way to pad", nearest(padding, names))
    return {
        "pads": 0 if named else inputs.sizes(padding, "padding", "1, 2,1 or same"),
        "auto_pad": word if named else "NOTSET",
        "strides": inputs.sizes(stride, "stride", "1 or 2,1"),
        "dilations": inputs.sizes(dilation, "dilation", "1 or 2,1"),
    }


def _slid(
    found: Sliding,
    steps: int,
    reads: bool,
    path: Path | None,
    as_json: bool,
    name: str,
    image: Path | None,
) -> None:
    """Draw and print what was moved."""
    from convscope.insight.lab import drawing, page

    if steps < 0:
        raise BadArgument("steps", steps, "must be 0 or more", "try 16")
    makers = {
        ".png": lambda: drawing.step(found, name),
        ".gif": lambda: drawing.moves(found, name),
        ".html": lambda: page.moves(found),
    }
    numbers = (lambda: found.as_json(steps)) if as_json else None
    shared.finish(path, makers, numbers, lambda: _print(found, steps, reads, image))


def _print(found: Sliding, steps: int, reads: bool, image: Path | None) -> None:
    C, H, W = found.X.shape
    M, h, w = found.Y.shape
    height, width = found.axes
    source = f"  ({image}, grey values 0 to 255)" if image else ""
    lines = [f"input    {C} x {H} x {W}{source}", f"kernel   {height.kernel} x {width.kernel}"]
    if found.W is not None:
        depth = found.W.shape[1]
        lines[1] += f", {M} of depth {depth}" + (f", {found.group} groups" * (found.group > 1))
    pads = height.begin, width.begin, height.end, width.end
    if any(pads):
        lines.append(f"padding  top {pads[0]}, left {pads[1]}, bottom {pads[2]}, right {pads[3]}")
    for axis, formula in zip(("height", "width"), found.formula(), strict=True):
        lines.append(f"{axis:8} {formula}")
    lines.append(f"output   {M} x {h} x {w}")
    many = f"{found.places:,} places"
    if found.W is not None:
        work = f"{found.places * found.products:,} multiplications"
        lines.append(f"work     {many} x {found.products} numbers = {work}")
    shown = list(found.steps(steps))
    if shown:
        left_out = found.places - len(shown)
        said = "all of them" if not left_out else f"the first and the last of {many}"
        lines += ["", f"steps    {said} (channel, row, column)"]
    last = -1
    for n, place in shown:
        if n != last + 1:
            lines.append(f"  ... {n - last - 1:,} steps more ...")
        at = ",".join(map(str, place))
        lines.append(f"  [{at}] {found.arithmetic(*place)}")
        last = n
    lines += _result(found, reads)
    say("\n".join(lines))


def _result(found: Sliding, reads: bool) -> list[str]:
    """What came out, and how often each pixel was read."""
    from convscope.insight.lab import sliding

    lines = []
    if reads:
        often = found.reads()
        middle = often[len(often) // 2, often.shape[1] // 2]
        lines += ["", f"reads    of a pixel: {often[0, 0]} in the corner, {middle} in the middle"]
        lines += shared.grid(often) if often.shape[1] <= 32 else []
    low, high = sliding.written(found.Y.min()), sliding.written(found.Y.max())
    lines += ["", f"result   from {low} to {high}"]
    M, h, w = found.Y.shape
    if h * w <= 256 and w <= 16 and M <= 4:
        for m, rows in enumerate(found.Y):
            lines += [f"  channel {m}"] * (M > 1) + shared.grid(rows)
    return lines
