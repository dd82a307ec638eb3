"""What a forward pass is recorded under: modules without weights, nothing fused, and everything as
it was afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from convscope.uncompiled import uncompiled

META = torch.device("meta")


@contextlib.contextmanager
def weightless() -> Iterator[None]:
    """Give every parameter that a module gets in here a shape and no memory; other tensors, such as
    tables of numbers that a module computes while it is made, have their values.

    >>> with weightless():
    ...     layer = nn.Linear(100_000, 100_000)
    >>> layer.weight.device, layer.weight.shape
    (device(type='meta'), torch.Size([100000, 100000]))
    """
    made: Any = WeakTensorKeyDictionary()  # so that a tensor shared by two modules stays shared

    def emptied(module: nn.Module, name: str, parameter: Any) -> Any:
        if parameter is None or is_lazy(parameter) or parameter.device == META:
            return parameter
        if parameter not in made:
            made[parameter] = nn.Parameter(parameter.detach().to(META), parameter.requires_grad)
        return made[parameter]

    handle = register_module_parameter_registration_hook(emptied)
    try:
        with _Empty():
            yield
    finally:
        handle.remove()


class _Empty(TorchFunctionMode):
    """Makes empty tensors without memory: layers fill them with their first weights."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": META}
        with uncompiled():
            return func(*args, **kwargs)


@contextlib.contextmanager
def plainly(model: nn.Module) -> Iterator[None]:
    """Let modules run as the operators they are made of: no fused attention, no compiled code."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with contextlib.ExitStack() as stack:
            if any(hasattr(module, "_orig_mod") for module in model.modules()):
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextlib.contextmanager
def as_it_was(model: nn.Module) -> Iterator[None]:
    """Give every module back what it had, its buffers with their values."""
    kept: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (held, dict(held))
        for module in model.modules()
        for held in (vars(module), module._buffers, module._parameters)
    ]
    values = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for held, before in kept:
            held.clear()
            held.update(before)
        with torch.no_grad():
            for buffer, value in values:
                buffer.copy_(value)
