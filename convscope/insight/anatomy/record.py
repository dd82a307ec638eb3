"""The record of a forward pass: tensors, the operators that ran on them, and the calls of layers
and functions in which they ran."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch._ops import OpOverload

_POINTWISE = {  # that lack PyTorch's tag
    "hardswish", "hardsigmoid", "log_sigmoid_forward", "prelu_kernel", "rrelu_with_noise", "mish",
    "threshold", "silu", "celu", "elu", "leaky_relu", "hardtanh",
}  # fmt: skip
Shape = tuple[int, ...]


@dataclass(eq=False)
class Value:
    """A tensor at one moment; a change in place makes another one of the same ``storage``.

    ``parameters``: the names of the one that it is, if it is one; ``image``: it depends on the
    input.
    """

    shape: Shape
    itemsize: int
    storage: int
    parameters: frozenset[str] = frozenset()
    image: bool = False

    @property
    def bytes(self) -> int:
        """What its numbers take."""
        return self.itemsize * torch.Size(self.shape).numel()


@dataclass(eq=False)
class Op:
    """A call of an operator: its arguments by position, each tensor as a Value. One that
    ``prepares`` makes a parametrised weight of what it is made of, whatever the image."""

    target: OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[Value]
    outputs: list[Value]
    written: frozenset[int]  # storages that it changed
    prepares: bool = False

    @property
    def name(self) -> str:
        """PyTorch's name; that of an operator of other libraries with theirs, ``lib::name``."""
        return str(self.target._schema.name).removeprefix("aten::")

    @property
    def viewing(self) -> bool:
        """Whether its output is only another look at its input."""
        storages = {value.storage for value in self.inputs}
        return (
            not self.written
            and bool(self.outputs)
            and all(value.storage in storages for value in self.outputs)
        )

    @property
    def pointwise(self) -> bool:
        """Whether it works on each value by itself, or on those in the same place."""
        return torch.Tag.pointwise in self.target.tags or self.name.strip("_") in _POINTWISE

    def __getitem__(self, name: str) -> Any:
        """An argument by its name in the operator's schema; its default where it was not given."""
        for at, argument in enumerate(self.target._schema.arguments):
            if argument.name == name:
                if at < len(self.args) and not argument.kwarg_only:
                    return self.args[at]
                return self.kwargs.get(name, argument.default_value)
        raise KeyError(name)

    def get(self, name: str, otherwise: Any = None) -> Any:
        """The same; ``otherwise`` for an operator that has no such argument."""
        try:
            return self[name]
        except KeyError:
            return otherwise


@dataclass(eq=False)
class Frame:
    """A call of a module, or of a function within one, and what was called in it, in order.

    ``name`` is the module's path, or the function's name; ``again``: the module was called before;
    ``failed``: it was left by an exception.
    """

    name: str
    module: nn.Module | None = None
    parts: list[Frame | Op] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    again: bool = False
    failed: bool = False

    def ops(self) -> Iterator[Op]:
        """All operators in it, in the order of their calls."""
        for part in self.parts:
            if isinstance(part, Op):
                yield part
            else:
                yield from part.ops()

    def modules(self) -> Iterator[Frame]:
        """The calls of modules in it."""
        for part in self.parts:
            if isinstance(part, Frame) and part.module is not None:
                yield part
            elif isinstance(part, Frame):
                yield from part.modules()


@dataclass(frozen=True)
class Failure:
    """Where a forward pass ended: the ``module`` (its path, or its kind for the outermost one), the
    ``function`` that was called there, the ``shapes`` that met, and the error's own words."""

    module: str
    kind: str
    function: str
    shapes: tuple[Shape, ...]
    reason: str

    def __str__(self) -> str:
        kind = "" if self.kind == self.module else f" ({self.kind})"
        called = f", in {self.function}" if self.function else ""
        wide = [shape for shape in self.shapes if len(shape) > 1]  # a bias met nothing
        shown = wide if len(wide) > 1 else dict.fromkeys(self.shapes)
        shapes = [f"[{','.join(map(str, shape))}]" for shape in shown]
        met = f", where {' and '.join(shapes)} met" if len(shapes) > 1 else ""
        met = f", which got {shapes[0]}" if len(shapes) == 1 else met
        return f"fails in {self.module}{kind}{called}{met}: {self.reason}"


@dataclass
class Trace:
    """What was recorded. ``on_data`` names the places where the path depended on values; a
    ``failure`` ended the pass, for the reason ``error``."""

    root: Frame
    inputs: list[Value]
    outputs: list[Value]
    names: dict[nn.Module, str]
    sizes: dict[str, int]  # numbers in each parameter
    on_data: list[str] = field(default_factory=list)
    failure: Failure | None = None
    error: Exception | None = None
