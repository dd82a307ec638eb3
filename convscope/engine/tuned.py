"""A layer that several algorithms can compute: what each kind of it says of itself.

A training step needs three parts of a layer: its output (``forward``) and the gradients of its
input (``grad_input``) and its weight (``grad_weight``). A kind of layer, which is a subclass of
PyTorch's own, names the algorithms it knows, says which suit a part of a given layer, and computes
a part by one of them. ``aten`` is PyTorch's own algorithm, of every kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

PARTS = ("forward", "grad_input", "grad_weight")
ATEN = ("aten", "aten", "aten")
# How recipes of runs from before 2026-11-30 call them.
FORMER = {"direct": "aten", "matmul": "im2col", "few": "small_channels"}


class Operands(NamedTuple):
    """What the parts of a layer are computed from: input, output's gradient, weight and bias."""

    x: Tensor
    g: Tensor
    weight: Tensor
    bias: Tensor | None


class Tuned(nn.Module, ABC):
    """What the tuned kinds of layers have in common: an algorithm for each part in one number
    format; in the others PyTorch computes."""

    stands_for: ClassVar[type[nn.Module]]
    ALGORITHMS: ClassVar[tuple[str, ...]]
    former: ClassVar[dict[str, str]] = FORMER
    algorithms: tuple[str, ...]
    dtype: torch.dtype

    @classmethod
    def of(
        cls,
        plain: nn.Module,
        algorithms: tuple[str, ...] = ATEN,
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """A layer over the very weights of a plain one, computed by these algorithms. One that does
        not suit the layer or this processor, such as another machine's recipe may name, is
        PyTorch's."""
        tuned = cls.__new__(cls)
        vars(tuned).update(vars(plain))
        named = zip(PARTS, (cls.former.get(name, name) for name in algorithms), strict=True)
        tuned.algorithms = tuple(
            name if cls.suits(plain, part, name, dtype) else "aten" for part, name in named
        )
        tuned.dtype = dtype
        return tuned

    @staticmethod
    @abstractmethod
    def usual(module: nn.Module) -> bool:
        """Whether a module is a layer of this kind that can be computed here at all."""

    @staticmethod
    @abstractmethod
    def suits(layer: Any, part: str, algorithm: str, dtype: torch.dtype = torch.float32) -> bool:
        """Whether an algorithm can compute a part of that layer on this processor."""

    @staticmethod
    @abstractmethod
    def run(layer: Any, part: str, algorithm: str, given: Operands) -> Tensor:
        """A part of that layer by that algorithm."""

    @staticmethod
    @abstractmethod
    def describe(layer: Any) -> str:
        """What else than its input's shape tells how long such a layer takes."""


def replaced(model: nn.Module, make: Callable[[nn.Module], nn.Module | None]) -> nn.Module:
    """A network with another module in each place of one that ``make`` makes another of, parts
    before the whole; a module that stands in two places is made once. Changes the network given.

    >>> made = lambda module: nn.Tanh() if type(module) is nn.ReLU else None
    >>> replaced(nn.Sequential(nn.ReLU()), made)
    Sequential(
      (0): Tanh()
    )
    """
    done: dict[int, nn.Module] = {}

    def visited(module: nn.Module) -> nn.Module:
        if id(module) not in done:
            done[id(module)] = module
            for name, part in module._modules.items():
                if part is not None:
                    module._modules[name] = visited(part)
            done[id(module)] = make(module) or module
        return done[id(module)]

    kept = list(model.modules())  # no other module gets the address of one that has gone
    found = visited(model)
    del kept
    return found
