"""What a network holds besides what PyTorch sees of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

_REMEDY = {
    nn.Module: "make it an nn.ModuleList (or ModuleDict)",
    nn.Parameter: "make it an nn.ParameterList (or ParameterDict)",
    Tensor: "make it an nn.Parameter, or register_buffer it",
}


def hidden(model: nn.Module, frozen: bool = False) -> Iterator[tuple[str, str, str]]:
    """Where modules and tensors lie that are to be trained (or ``frozen`` ones, too) and that
    PyTorch does not see, since they lie in lists, dicts or plain attributes: the attribute, what
    lies there, and what helps.

    >>> net = nn.Sequential(nn.ReLU())
    >>> net[0].pre = [nn.Linear(2, 2)]
    >>> list(hidden(net))
    [('0.pre', 'a Linear', 'make it an nn.ModuleList (or ModuleDict)')]
    """
    seen = {id(m) for m in model.modules()} | {
        id(t) for t in (*model.parameters(), *model.buffers())
    }
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name in _OWN or (isinstance(module, nn.RNNBase) and name == "_flat_weights"):
                continue
            for item in _within(value):
                if id(item) in seen or not (frozen or _learns(item)):
                    continue
                kind = next(kind for kind in _REMEDY if isinstance(item, kind))
                yield f"{path}.{name}".lstrip("."), f"a {type(item).__name__}", _REMEDY[kind]


_OWN = ("_modules", "_parameters", "_buffers")


def _learns(item: nn.Module | Tensor) -> bool:
    if isinstance(item, Tensor):
        return item.requires_grad and item.is_leaf
    return any(p.requires_grad for p in item.parameters())


def _within(value: Any, depth: int = 3) -> Iterator[nn.Module | Tensor]:
    """The modules and tensors in a container, and in those in it."""
    if isinstance(value, nn.Module | Tensor):
        yield value
    elif depth and isinstance(value, dict):
        for item in value.values():
            yield from _within(item, depth - 1)
    elif depth and isinstance(value, list | tuple | set | deque):
        for item in value:
            yield from _within(item, depth - 1)


def plain(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The tensors that modules hold as plain attributes, by name."""
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                yield f"{path}.{name}".lstrip("."), value
