"""`convscope lab`: one layer at a time, with its numbers; parse, call ``insight.lab``, print."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope.errors import BadArgument

if TYPE_CHECKING:
    from convscope.insight.lab.sliding import Sliding
    from convscope.insight.lab.stack import Seen
    from convscope.insight.reference import Learnt
    from convscope.insight.reference.windows import Array

app = typer.Typer(
    help="One layer at a time: its formula, its arithmetic, a picture in which it moves.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

FORMS = (".gif", ".png", ".html")
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
Padding = Annotated[
    str,
    typer.Option(
        help="N, H,W a side, TOP,LEFT,BOTTOM,RIGHT, valid, same (same-upper, same-lower)."
    ),
]
Stride = Annotated[str, typer.Option(help="N or H,W.")]
Dilation = Annotated[str, typer.Option(help="N or H,W: how far apart the kernel's taps are.")]
Steps = Annotated[int, typer.Option(help="How many steps are written out.")]
Reads = Annotated[
    bool, typer.Option("--reads", help="Show how often each pixel is read, over all places.")
]
Save = Annotated[
    Path | None, typer.Option("--save", help="Draw it: a .gif that moves, a .png, or a .html page.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@app.command()
def conv(
    input: Input = "8x8",
    image: Image = None,
    size: Size = None,
    kernel: Annotated[
        str,
        typer.Option(
            metavar="HxW|NAME|ROWS",
            help="sobel-x, sobel-y, laplace, sharpen, box, gauss, emboss, identity; or a size that "
            'counts up from 0, or numbers, "1,-1".',
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

    path = _free(save, force)
    typed = {"kernel_shape": kernel, "strides": stride, "dilations": dilation, "pads": padding,
             "auto_pad": padding, "group": groups}  # fmt: skip
    with _as_typed(typed):
        X = _numbers(input, image, size)
        K = inputs.kernel(kernel)
        if K.ndim != 2:
            raise BadArgument("kernel", kernel, "must be one kernel, HxW", "try 3x3")
        found = sliding.convolve(
            X, K, out_channels=out_channels, **_moves(padding, stride, dilation),
            group=groups, bias=bias, flip=flip,
        )  # fmt: skip
    _slid(found, steps, reads, path, as_json, kernel, image)


@app.command()
def pool(
    input: Input = "4x4",
    image: Image = None,
    size: Size = None,
    kind: Annotated[str, typer.Option(help="max or average.")] = "max",
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
    from convscope.errors import nearest
    from convscope.insight.lab import inputs, sliding

    path = _free(save, force)
    if kind not in ("max", "average"):
        raise BadArgument("kind", kind, "is no pool", nearest(kind, ("max", "average")))
    typed = {"kernel_shape": kernel, "strides": stride, "dilations": dilation, "pads": padding,
             "auto_pad": padding}  # fmt: skip
    with _as_typed(typed):
        X = _numbers(input, image, size)
        window = X.shape[-2:] if kernel == "global" else inputs.sizes(kernel, "kernel", "2x2")
        moves = _moves(padding, stride or "1", dilation)
        if stride is None:
            moves["strides"] = None
        found = sliding.pool(
            X, window, kind=kind, **moves, ceil_mode=ceil, count_include_pad=count_padding
        )
    _slid(found, steps, reads, path, as_json, f"{kind} pool", image)


@app.command("one-by-one")
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

    path = _free(save, force)
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
    if path:
        _write(path, {
            ".png": lambda: drawing.counts(found),
            ".gif": lambda: drawing.counts_growing(found),
            ".html": lambda: page.counts(found),
        })  # fmt: skip
    if as_json:
        _print_json({**found.as_json(), "figure": str(path) if path else None})
        return
    straight, narrow, wide = found.straight, found.narrow, found.wide
    (h, w), (more, less) = straight.size, found.multiplications
    typer.echo(
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
    _drawn(path)


@app.command()
def edges(
    input: Annotated[
        str | None,
        typer.Option(metavar="HxW|ROWS", help="Else 6x8 ones with a dark band of four columns."),
    ] = None,
    image: Image = None,
    size: Size = None,
    kernel: Annotated[str, typer.Option(help="What is to be found again.")] = "1,-1",
    steps: Annotated[int, typer.Option(help="Of gradient descent.")] = 60,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate; else the loss falls at every step.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the kernel it starts from.")] = 0,
    save: Save = None,
    force: Force = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Learn a kernel from an image and what the kernel made of it."""
    import numpy as np

    from convscope.insight import reference
    from convscope.insight.lab import drawing, inputs, page

    path = _free(save, force)
    with _as_typed({"kernel_shape": kernel, "lr": lr, "x": input or str(image)}):
        if input is None and image is None:
            X = np.ones((1, 6, 8))
            X[:, :, 2:6] = 0
        else:
            X = _numbers(input or "", image, size)
        x, K = X.reshape(-1, *X.shape[-2:])[0] / (255 if image else 1), inputs.kernel(kernel)
        if K.ndim != 2:
            raise BadArgument("kernel", kernel, "must be one kernel, HxW", 'try "1,-1"')
        y = reference.corr2d(x, K)
        learnt = reference.learn_kernel(x, y, steps=steps, lr=lr, seed=seed)
    if path:
        _write(path, {
            ".png": lambda: drawing.learning(x, y, learnt),
            ".gif": lambda: drawing.learning_moves(x, y, learnt),
            ".html": lambda: page.learning(x, y, learnt),
        })  # fmt: skip
    if as_json:
        _print_json({
            "input_shape": list(x.shape), "output_shape": list(y.shape),
            "kernel": K.tolist(), "learnt": learnt.kernel.tolist(), "lr": learnt.lr,
            "losses": learnt.losses.tolist(), "kernels": learnt.kernels.tolist(),
            "determined": learnt.determined, "figure": str(path) if path else None,
        })  # fmt: skip
        return
    _print_learning(x, y, K, learnt)
    _drawn(path)


@app.command("receptive-field")
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

    path = _free(save, force)
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
        rows = stack.follow(words, side)
    if path:
        _write(path, {
            ".png": lambda: drawing.fields(rows),
            ".gif": lambda: drawing.fields_growing(rows),
            ".html": lambda: page.fields(rows),
        })  # fmt: skip
    if as_json:
        found = {"input_shape": list(side), "layers": [row.as_json() for row in rows]}
        _print_json({**found, "figure": str(path) if path else None})
        return
    _print_fields(rows)
    _drawn(path)


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
    if path:
        _write(path, {
            ".png": lambda: drawing.step(found, name),
            ".gif": lambda: drawing.moves(found, name),
            ".html": lambda: page.moves(found, name),
        })  # fmt: skip
    if as_json:
        _print_json({**found.as_json(steps), "figure": str(path) if path else None})
        return
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
    typer.echo("\n".join(lines))
    _drawn(path)


def _result(found: Sliding, reads: bool) -> list[str]:
    """What came out, and how often each pixel was read."""
    from convscope.insight.lab import sliding

    lines = []
    if reads:
        often = found.reads()
        middle = often[len(often) // 2, often.shape[1] // 2]
        lines += ["", f"reads    of a pixel: {often[0, 0]} in the corner, {middle} in the middle"]
        lines += _grid(often) if often.shape[1] <= 32 else []
    low, high = sliding.written(found.Y.min()), sliding.written(found.Y.max())
    lines += ["", f"result   from {low} to {high}"]
    M, h, w = found.Y.shape
    if h * w <= 256 and w <= 16 and M <= 4:
        for m, rows in enumerate(found.Y):
            lines += [f"  channel {m}"] * (M > 1) + _grid(rows)
    return lines


def _grid(rows: Array) -> list[str]:
    from convscope.insight.lab.sliding import written

    cells = [[written(value) for value in row] for row in rows]
    wide = max(len(cell) for row in cells for cell in row)
    return ["  " + " ".join(cell.rjust(wide) for cell in row) for row in cells]


def _print_learning(x: Array, y: Array, K: Array, learnt: Learnt) -> None:
    last = len(learnt.losses) - 1
    tenth = max(1, last // 10)
    shown = [*range(0, last, tenth), last]
    lines = [
        f"image    {x.shape[0]} x {x.shape[1]}",
        f"map      {y.shape[0]} x {y.shape[1]}, made by the kernel that is to be found",
        f"kernel   {K.shape[0]} x {K.shape[1]} = {x.shape[0]} - {y.shape[0]} + 1 by "
        f"{x.shape[1]} - {y.shape[1]} + 1",
        f"rate     {learnt.lr:.4g}",
        "",
        f"{'step':>5} {'loss':>11}   kernel",
    ]
    for step in shown:
        numbers = "; ".join(
            ", ".join(f"{value:.4f}" for value in row) for row in learnt.kernels[step]
        )
        lines.append(f"{step:>5} {learnt.losses[step]:>11.4g}   {numbers}")
    if learnt.determined < K.size:
        lines += [
            "",
            f"The image fixes {learnt.determined} of the {K.size} numbers only: other kernels make "
            "the same map.",
        ]
    lines += ["", "wanted", *_grid(K), "learnt", *_grid(learnt.kernel.round(4))]
    typer.echo("\n".join(lines))


def _print_fields(rows: list[Seen]) -> None:
    from convscope import console

    def both(one: float, other: float) -> str:
        return f"{one:g} x {other:g}"

    cells = []
    for row in rows:
        h, w = row.height, row.width
        cells.append((
            row.layer, row.kind, both(h.size, w.size),
            "the whole image" if row.whole else both(h.field, w.field),
            "-" if row.whole else both(h.stride, w.stride),
            "-" if row.whole else both(h.centre, w.centre),
        ))  # fmt: skip
    heads = (
        "layer",
        "what it is",
        "units",
        "a unit sees",
        "units lie apart",
        "centre of the first",
    )
    console.table(heads, cells)


def _saved(more: int, less: int) -> str:
    share = 1 - less / more
    return f"({share:.1%} saved)" if share >= 0 else f"({-share:.1%} more)"


def _numbers(text: str, image: Path | None, size: str | None) -> Array:
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


def _moves(padding: str, stride: str, dilation: str) -> dict[str, Any]:
    """Padding, stride and dilation as the operators take them."""
    from convscope.insight.lab import inputs

    word = padding.strip().lower().replace("-", "_")
    named = word.replace("_", "").isalpha()
    return {
        "pads": 0 if named else inputs.sizes(padding, "padding", "1, 2,1 or same"),
        "auto_pad": word if named else "NOTSET",
        "strides": inputs.sizes(stride, "stride", "1 or 2,1"),
        "dilations": inputs.sizes(dilation, "dilation", "1 or 2,1"),
    }


@contextlib.contextmanager
def _as_typed(values: dict[str, Any]) -> Iterator[None]:
    """Let an error name the option and its value as they were typed."""
    try:
        yield
    except BadArgument as why:
        if why.argument not in values:
            raise
        name = TYPED.get(why.argument, "input")
        raise BadArgument(name, values[why.argument], why.rule, why.remedy) from None


def _free(path: Path | None, force: bool) -> Path | None:
    """Where the drawing goes. Raises BadArgument where something is there, or nothing can be."""
    if path is None:
        if force:
            raise BadArgument("force", force, "is for --save", "leave it out")
        return None
    if path.suffix.lower() not in FORMS:
        rule = f"must end in {', '.join(FORMS)}"
        raise BadArgument("save", path, rule, f"try {path.stem or 'lab'}.gif")
    if path.is_dir() or (path.exists() and not force):
        remedy = "name another file" + ("" if path.is_dir() else ", or add --force")
        raise BadArgument("save", path, "is there already", remedy)
    return path


def _write(path: Path, makers: dict[str, Callable[[], Any]]) -> None:
    """Draw it in the form that the file's name ends in; whole or not at all."""
    from convscope import files

    made = makers[path.suffix.lower()]()
    if isinstance(made, bytes | str):
        files.write_whole(path, made)
        return
    with files.whole_file(path) as file:
        made.savefig(file, format="png", dpi=160)


def _drawn(path: Path | None) -> None:
    if path:
        typer.echo(f"\nfigure   {path}")


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))
