"""A device that is none: what is done on it is done by the CPU, and as strictly told apart from it
as a GPU is.

``fake:0`` is a device of PyTorch's own kind (PrivateUse1), written in Python. Its tensors hold one
of the CPU each. An operator that meets both kinds is refused, as CUDA refuses it; so is NumPy, by
PyTorch itself. So every place that makes a tensor, or looks into a network, can be run without a
GPU and fails where it forgets ``.to(device)`` or ``.cpu()``. Autocast changes nothing there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

NAME = "fake"
MOVES = ("aten::copy_", "aten::_to_copy")


class Queue:
    """What CUDA calls a stream; it keeps what it was asked for."""

    def __init__(self, name: str) -> None:
        self.name, self.waited = name, []

    def record_event(self) -> str:
        return f"event of {self.name}"

    def wait_event(self, event: str) -> None:
        self.waited.append(event)


class Backend:
    """``torch.fake``: the part of ``torch.cuda`` that convscope asks for."""

    def __init__(self) -> None:
        self.memory = 1 << 30
        self.working, self.queues, self.waits, self.seeds = Queue("work"), [], 0, []
        self.current = self.working

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed(self, seed: int) -> None:
        self.seeds.append(seed)

    def manual_seed_all(self, seed: int) -> None:
        self.seeds.append(seed)

    def get_rng_state(self, device: object = None) -> torch.Tensor:
        return torch.empty(0, dtype=torch.uint8)  # it draws nothing of its own

    def set_rng_state(self, state: torch.Tensor, device: object = None) -> None:
        pass

    def synchronize(self, device: object = None) -> None:
        self.waits += 1

    def mem_get_info(self, device: object = None) -> tuple[int, int]:
        return self.memory, 1 << 30

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def Stream(self, device: object) -> Queue:
        self.queues.append(Queue("copies"))
        return self.queues[-1]

    def current_stream(self, device: object = None) -> Queue:
        return self.current

    @contextlib.contextmanager
    def stream(self, queue: Queue) -> Iterator[None]:
        self.current = queue
        try:
            yield
        finally:
            self.current = self.working


class Fake(torch.Tensor):
    """A tensor of the device, over one of the CPU."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Fake:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=torch.device(NAME, 0),
        )
        made.held = held
        return made

    def __repr__(self, **_: Any) -> str:
        return f"Fake({self.held})"

    def tolist(self) -> Any:
        return self.held.tolist()

    def record_stream(self, queue: Queue) -> None:
        self.used_by = queue.name

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operator on the device, computed by the CPU. Raises RuntimeError where kinds meet."""
    name, given = func._schema.name, tree_leaves((args, kwargs))
    fakes = [one for one in given if isinstance(one, Fake)]
    others = [one for one in given if isinstance(one, torch.Tensor) and not isinstance(one, Fake)]
    into_cpu = name.endswith("_") and type(args[0]) is torch.Tensor
    if fakes and name not in MOVES and (into_cpu or any(one.ndim for one in others)):
        raise RuntimeError(f"{func}: tensors on cpu and on {NAME}:0 meet")
    wanted = kwargs.get("device")
    away = bool(fakes) if wanted is None else torch.device(wanted).type == NAME

    def plain(one: Any) -> Any:
        if isinstance(one, Fake):
            return one.held
        return torch.device("cpu") if isinstance(one, torch.device) and one.type == NAME else one

    with torch.no_grad():
        found = func(*tree_map(plain, args), **tree_map(plain, kwargs))
    if name == "aten::copy_":
        return args[0]
    if not away:
        return found
    made = tree_map(lambda one: Fake(one) if isinstance(one, torch.Tensor) else one, found)
    return return_and_correct_aliasing(func, args, kwargs, made) if fakes else made


tensor = torch.tensor


def made(data: Any, *, device: Any = None, **kwargs: Any) -> torch.Tensor:
    """``torch.tensor``, which PyTorch's devices in Python do not have."""
    return tensor(data, **kwargs) if device is None else tensor(data, **kwargs).to(device)


_library: Any = None  # what is registered for as long as it lives
backend = Backend()


@contextlib.contextmanager
def fake() -> Iterator[Backend]:
    """The device, present; everything about it as at first."""
    global _library
    if _library is None:
        try:
            from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
        except ImportError:  # an experiment of PyTorch's
            pytest.skip("this PyTorch has no devices that are written in Python")
        _setup_privateuseone_for_python_backend(NAME, backend)
        _library = torch.library.Library("_", "IMPL")
        _library.fallback(lambda func, *args, **kwargs: run(func, args, kwargs), "PrivateUse1")
        _library.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    backend.__init__()  # type: ignore[misc]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "pin_memory", lambda self: self.clone())
        patch.setattr(torch, "tensor", made)
        yield backend
