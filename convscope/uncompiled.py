"""PyTorch without its compiler, whose import takes a second and 150 MB."""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import operator
import sys
import threading
from collections.abc import Callable, Iterator
from functools import reduce
from types import ModuleType
from typing import Any


class _Instead(ModuleType):
    """Stands for a module of PyTorch, and has a few of its functions, for the thread at work within
    :func:`uncompiled`; asked for more, or by another thread, it makes way for the module itself."""

    def __init__(self, name: str, functions: dict[str, Callable[..., Any]]) -> None:
        super().__init__(name)
        self.__dict__["functions of it"] = functions

    def __getattr__(self, name: str) -> Any:
        functions = self.__dict__["functions of it"]
        if name in functions and _owner == threading.get_ident():
            return functions[name]
        package = self.__name__ in ("sympy", "torch._dynamo")
        if name.startswith("__") and not (package and name == "__path__"):
            raise AttributeError(name)  # what the import system asks of every module
        if sys.modules.get(self.__name__) is self:
            with contextlib.suppress(KeyError):  # another thread was faster
                del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


class _Absent(importlib.abc.MetaPathFinder):
    """Lets triton be missing for the thread at work within :func:`uncompiled`, and for no other."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "triton" and _owner == threading.get_ident():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


_lock = threading.RLock()
_owner = 0  # the thread at work within it
_absent = _Absent()


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Do without PyTorch's compiler where it is imported for a trifle; what needs it has it.

    PyTorch's rules for shapes are written for the compiler, too, in which symbols may stand for
    numbers: they import all of it only to learn that these are numbers. Here they ask a few
    functions that know numbers alone. torchvision imports it to ask, in a detector, whether it is
    there. One thread at a time is within; within it may begin again, and other threads have the
    compiler as ever.
    """
    global _owner
    with _lock:
        if _owner:  # this thread's own, around this one
            yield
            return
        put = {name: it for name, it in _STAND_INS.items() if name not in sys.modules}
        _owner = threading.get_ident()
        sys.modules.update(put)
        sys.meta_path.insert(0, _absent)
        try:
            yield
        finally:
            sys.meta_path.remove(_absent)
            _owner = 0
            for name, it in put.items():
                if sys.modules.get(name) is it:
                    sys.modules.pop(name, None)
            while _shielded:
                vars(_shielded.pop()).pop("__dynamo_disable", None)


def _itself(value: Any, *_: Any, **__: Any) -> Any:
    return value


_shielded: list[Callable[..., Any]] = []  # functions that believe to be kept from the compiler


def _shield(function: Callable[..., Any], *_: Any, **__: Any) -> Callable[..., Any]:
    _shielded.append(function)
    return function


def _supported(device: Any) -> Any:
    """Whether the compiler knows a kind of device, asked of it once somebody wants to know."""
    return importlib.import_module("torch._dynamo.utils").is_compile_supported(device)


def _equal(one: Any, two: Any) -> bool:
    """Whether two numbers, or two sequences of them, are the same."""
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(_equal, one, two))
    return bool(one == two)


_OF_NUMBERS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(
        (
            "guard_or_false", "guard_or_true", "guard_int", "guarding_hint_or_throw",
            "guard_size_oblivious", "statically_known_true", "expect_true",
        ),
        _itself,
    ),
    "has_guarding_hint": lambda _: True,
    "sym_and": lambda *given: reduce(operator.and_, given),
    "sym_or": lambda *given: reduce(operator.or_, given),
    "sym_eq": _equal,
    "is_nested_int": lambda _: False,
    "free_unbacked_symbols": lambda _: (),
}  # fmt: skip
_FUNCTIONS: dict[str, dict[str, Callable[..., Any]]] = {
    "torch._dynamo": {"disable": _shield},
    "torch._dynamo.utils": {"is_compile_supported": _supported},
    "torch.fx.experimental.symbolic_shapes": _OF_NUMBERS,
    "sympy": {"Basic": type("Basic", (), {})},  # of which no number is one
}
_STAND_INS: dict[str, Any] = {name: _Instead(name, has) for name, has in _FUNCTIONS.items()}
