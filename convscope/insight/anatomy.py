"""Any ``nn.Module`` -> rows: its layers in call order, their shapes, parameters and work."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convscope.errors import BadArgument
from convscope.evaluation.predictions import evaluating

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_BATCH = 2


@dataclass(frozen=True)
class Row:
    """One call of one layer, for one image.

    ``output_shape`` is without the batch, None for a layer that is never called. ``multiply_adds``
    counts those of convolutions and linear layers; one is a multiplication and an addition.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...] | None
    parameters: int
    multiply_adds: int
    note: str = ""


def rows(model: nn.Module, input_shape: tuple[int, int, int]) -> list[Row]:
    """The layers of a model for an image [C,H,W], in call order; the model stays as it was.

    A layer is a module without children, or one with parameters of its own beside its children.
    One that is called twice has two rows: it works twice and counts its parameters once. One that
    is never called comes last. Raises BadArgument for an input the model cannot take.

    >>> rows(nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU()), (1, 28, 28))[0]
    Row(name='0', kind='Conv2d', output_shape=(16, 28, 28), parameters=416, multiply_adds=313600,
        note='')
    """
    names = {module: name for name, module in model.named_modules() if _is_layer(module)}
    found: list[Row] = []
    called: set[nn.Module] = set()
    owner: dict[Tensor, str] = {}  # each parameter -> the layer that counted it

    def row(module: nn.Module, output: Any, inputs: Any = None) -> None:
        name, shape = names[module] or type(module).__name__, _shape(output)
        own = [p for p in module.parameters(recurse=False) if p not in owner]
        lenders = {owner[p] for p in module.parameters(recurse=False) if p in owner}
        owner.update(dict.fromkeys(own, name))
        notes = ["never called"] if shape is None else []
        notes += ["called again"] if module in called else []
        notes += [f"shares the parameters of {lender}" for lender in sorted(lenders - {name})]
        notes += ["parameters of its own beside its layers"] if any(module.children()) else []
        called.add(module)
        found.append(
            Row(
                name=name,
                kind=type(module).__name__,
                output_shape=None if shape is None else shape[1:],
                parameters=sum(p.numel() for p in own),
                multiply_adds=_multiply_adds(module, _shape(inputs), shape),
                note="; ".join(notes),
            )
        )

    hooks = [
        module.register_forward_hook(lambda module, inputs, output: row(module, output, inputs))
        for module in names
    ]
    try:
        with _buffers_kept(model), evaluating(model), torch.inference_mode():
            example = next(model.parameters(), torch.zeros(()))
            model(torch.zeros(_BATCH, *input_shape, device=example.device, dtype=example.dtype))
    except (RuntimeError, ValueError, IndexError) as why:
        shape = "x".join(map(str, input_shape))
        remedy = "give channels, height and width as the model was built for"
        raise BadArgument(
            "input_shape", shape, f"the model cannot take it ({why})", remedy
        ) from why
    finally:
        for hook in hooks:
            hook.remove()
    for module in names:
        if module not in called:
            row(module, None)
    return found


def total(rows: Sequence[Row]) -> Row:
    """The sums over all rows, with the output shape of the last call.

    >>> total([Row("a", "Linear", (5,), 20, 15), Row("b", "Linear", (2,), 12, 10)])
    Row(name='total', kind='', output_shape=(2,), parameters=32, multiply_adds=25, note='')
    """
    shapes = [row.output_shape for row in rows if row.output_shape is not None]
    return Row(
        name="total",
        kind="",
        output_shape=shapes[-1] if shapes else None,
        parameters=sum(row.parameters for row in rows),
        multiply_adds=sum(row.multiply_adds for row in rows),
    )


def _is_layer(module: nn.Module) -> bool:
    return not any(module.children()) or any(True for _ in module.parameters(recurse=False))


def _shape(value: Any) -> tuple[int, ...] | None:
    """The shape of a tensor, or of the first one in a tuple, list or dictionary of them."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    parts = value.values() if isinstance(value, dict) else value
    shapes = map(_shape, parts) if isinstance(value, dict | list | tuple) else ()
    return next((shape for shape in shapes if shape is not None), None)


def _multiply_adds(
    module: nn.Module, before: tuple[int, ...] | None, after: tuple[int, ...] | None
) -> int:
    """For one image; pixels of the padding are multiplied like any others."""
    if before is None or after is None:
        return 0
    if isinstance(module, _CONVOLUTIONS):
        window = module.in_channels // module.groups * math.prod(module.kernel_size)
        return math.prod(after) // _BATCH * window
    if isinstance(module, _TRANSPOSED):
        window = module.out_channels // module.groups * math.prod(module.kernel_size)
        return math.prod(before) // _BATCH * window
    if isinstance(module, nn.Linear):
        return math.prod(after) // _BATCH * module.in_features
    return 0


@contextlib.contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Give every module its own buffers back, with their values, whatever a forward did to them."""
    kept = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        for module, name, buffer, value in kept:
            with torch.no_grad():
                buffer.copy_(value)
            setattr(module, name, buffer)
