"""`lab edges`: a kernel learnt from what it made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.lab import shared
from convscope.cli.lab.shared import Image, Save, Size
from convscope.cli.shared import Debug, Force, Json, say
from convscope.errors import BadArgument

if TYPE_CHECKING:
    from convscope.insight.reference import Learnt
    from convscope.insight.reference.windows import Array


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

    path = shared.free(save, force)
    with shared.as_typed({"kernel_shape": kernel, "lr": lr, "x": input or str(image)}):
        if input is None and image is None:
            X = np.ones((1, 6, 8))
            X[:, :, 2:6] = 0
        else:
            X = shared.numbers(input or "", image, size)
        x, K = X.reshape(-1, *X.shape[-2:])[0] / (255 if image else 1), inputs.kernel(kernel)
        if K.ndim != 2:
            raise BadArgument("kernel", kernel, "must be one kernel, HxW", 'try "1,-1"')
        y = reference.corr2d(x, K)
        learnt = reference.learn_kernel(x, y, steps=steps, lr=lr, seed=seed)
    makers = {
        ".png": lambda: drawing.learning(x, y, learnt),
        ".gif": lambda: drawing.learning_moves(x, y, learnt),
        ".html": lambda: page.learning(x, K, learnt),
    }
    numbers = {
        "input_shape": list(x.shape), "output_shape": list(y.shape),
        "kernel": K.tolist(), "learnt": learnt.kernel.tolist(), "lr": learnt.lr,
        "losses": learnt.losses.tolist(), "kernels": learnt.kernels.tolist(),
        "determined": learnt.determined,
    }  # fmt: skip
    show = (lambda: numbers) if as_json else None
    shared.finish(path, makers, show, lambda: _print(x, y, K, learnt))


def _print(x: Array, y: Array, K: Array, learnt: Learnt) -> None:
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
    lines += ["", "wanted", *shared.grid(K), "learnt", *shared.grid(learnt.kernel.round(4))]
    say("\n".join(lines))
