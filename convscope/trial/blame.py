"""Where a network failed, and in which words."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from convscope.data.loader import Batch, forward
from convscope.insight.anatomy.trace import trace
from convscope.training.losses import Losses, mean_loss


def ahead(
    model: nn.Module, inputs: Sequence[Tensor], learns: bool, short: Callable[[str], str]
) -> str:
    """The layer in whose forward pass a network fails and the shapes that met there, in words;
    nothing where it does not fail again. ``short`` makes a layer's name the user's own."""
    failure = trace(copy.deepcopy(model), list(inputs), real=True, learns=learns).failure
    if failure is None:
        return ""
    path = short(failure.module)
    return str(replace(failure, module=failure.kind if path == "head" else path))


def said(why: BaseException) -> str:
    """The first sentence of an error, or its kind."""
    return " ".join(str(why).split())[:300] or type(why).__name__


def behind(twin: nn.Module, batch: Batch, losses: Losses) -> str:
    """The layer in whose backward pass a network fails: the innermost of those whose output's
    gradient was there, and whose input's was not."""
    within: list[str] = []

    def entered(name: str, gradient: Tensor) -> None:
        within.append(name)

    def left(name: str, gradient: Tensor) -> None:
        if name in within:
            within.remove(name)

    def note(name: str, module: nn.Module, given: Any, output: Any) -> None:
        for tensors, moved in ((given, left), ((output,), entered)):
            for tensor in tensors:
                if isinstance(tensor, Tensor) and tensor.requires_grad:
                    tensor.register_hook(functools.partial(moved, name))  # type: ignore[no-untyped-call]

    for name, module in twin.named_modules():
        module.register_forward_hook(functools.partial(note, name))
    with contextlib.suppress(Exception):  # as it did before
        mean_loss(losses, forward(twin, batch.inputs), batch).backward()  # type: ignore[no-untyped-call]
    return max(
        within, key=lambda name: (name.count(".") + bool(name), within.index(name)), default=""
    )
