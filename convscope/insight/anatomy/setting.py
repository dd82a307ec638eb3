"""What a forward pass is recorded under: modules without weights, nothing fused, and everything as
it was afterwards."""

from __future__ import annotations

import contextlib
import copy
import functools
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
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
    """Let modules run as the operators they are made of: no fused attention, no recurrent layer as
    one operator, no compiled code."""
    fast, onednn = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn
    enabled: Any = onednn.enabled
    torch.backends.mha.set_fastpath_enabled(False)
    onednn.enabled = False  # type: ignore[assignment]
    try:
        with contextlib.ExitStack() as stack:
            if any(hasattr(module, "_orig_mod") for module in model.modules()):
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        onednn.enabled = enabled


@contextlib.contextmanager
def as_it_was(model: nn.Module) -> Iterator[None]:
    """Give every module back what it had, its buffers and plain tensors with their values, and
    whatever lies in its lists, dicts, sets and objects, however deep; PyTorch's generator too."""
    kept = _Kept()
    for module in model.modules():
        kept.keep(vars(module))
        kept.keep_slots(module)
    values = [(tensor, tensor.detach().clone()) for tensor in (*kept.tensors, *model.buffers())]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        kept.give_back()
        for tensor, value in values:
            with torch.no_grad(), torch.inference_mode(tensor.is_inference()):
                tensor.copy_(value)


class _Kept:
    """Containers and objects with what they held, and the plain tensors among that."""

    def __init__(self) -> None:
        # by identity; the objects themselves, so that none is reused
        self.seen: dict[int, Any] = {}
        self.restores: list[Callable[[], object]] = []
        self.tensors: list[Tensor] = []

    def keep(self, item: Any) -> None:
        """Remember what an item holds, and what that holds."""
        if isinstance(item, _ATOMS) or id(item) in self.seen:
            return
        self.seen[id(item)] = item
        if isinstance(item, Tensor):
            if not isinstance(item, nn.Parameter) and not is_lazy(item) and item.device != META:
                self.tensors.append(item)
        elif isinstance(item, torch.Generator):
            self.restores.append(functools.partial(item.set_state, item.get_state()))
        elif isinstance(item, dict):
            self.restores.append(functools.partial(_refill, item, dict(item)))
            self._keep_all(item.values())
        elif isinstance(item, list | set | deque | bytearray):
            self.restores.append(functools.partial(_refill, item, copy.copy(item)))
            self._keep_all(item)
        elif isinstance(item, tuple | frozenset):
            self._keep_all(item)
        elif isinstance(item, np.ndarray):
            if item.flags.owndata and item.flags.writeable:
                self.restores.append(functools.partial(np.copyto, item, item.copy()))
        elif hasattr(item, "__dict__") and not isinstance(item, _CODE):
            self.keep(vars(item))
            self.keep_slots(item)

    def _keep_all(self, items: Iterable[Any]) -> None:
        for item in items:
            self.keep(item)

    def keep_slots(self, item: Any) -> None:
        """Remember what an object holds in ``__slots__``."""
        for kind in type(item).__mro__:
            slots = vars(kind).get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if name not in ("__dict__", "__weakref__") and hasattr(item, name):
                    value = getattr(item, name)
                    self.restores.append(functools.partial(setattr, item, name, value))
                    self.keep(value)

    def give_back(self) -> None:
        for restore in self.restores:
            restore()


_ATOMS = (str, bytes, int, float, complex, bool, type(None), torch.Size, torch.dtype, torch.device)
_CODE = (nn.Module, type, types.ModuleType, types.FunctionType, types.MethodType)


def _refill(held: Any, before: Any) -> None:
    held.clear()
    (held.extend if isinstance(held, list | deque | bytearray) else held.update)(before)
