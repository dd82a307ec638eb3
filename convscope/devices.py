"""The devices that a network runs on: what each computes in, what room it has, when it is done.

Everything here takes ``"cpu"``, ``"cuda:1"``, ``"mps"`` or a ``torch.device``, and costs nothing on
the CPU. An accelerator has a queue of work of its own, so that a clock that does not :func:`wait`
measures how fast work is handed over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from convscope.errors import BadArgument

SHARE = 0.25  # of a device's free memory that images may take; the rest is for training


def of(wanted: str) -> str:
    """The device to run on: ``auto`` is a GPU of NVIDIA or AMD where torch sees one, else the CPU.
    Raises BadArgument for one that is not there.

    >>> of("cpu")
    'cpu'
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError, NotImplementedError) as why:
        first = str(why).splitlines()[0]
        raise BadArgument("device", wanted, f"cannot be used here ({first})", "try cpu") from None
    return wanted


def formats(device: str | torch.device) -> tuple[str, ...]:
    """The number formats that a network can be trained in there, the exact one first: ``tf32`` is
    float32 whose products an NVIDIA GPU takes of factors rounded to 10 bits.

    >>> formats("cpu"), formats("mps")
    (('float32', 'bfloat16'), ('float32',))
    """
    where = torch.device(device)
    if where.type == "mps":  # what its autocast covers changes from version to version
        return ("float32",)
    if where.type != "cuda":
        return ("float32", "bfloat16")
    tensor_cores = torch.cuda.get_device_capability(where) >= (8, 0)  # Ampere
    return ("float32", "tf32", "bfloat16") if tensor_cores else ("float32",)


def widest(device: str | torch.device) -> torch.dtype:
    """What sums are kept in: float64, and float32 on ``mps``, which has no float64."""
    return torch.float32 if torch.device(device).type == "mps" else torch.float64


def wait(device: str | torch.device) -> None:
    """Wait until all that the device was given to do is done; at once on the CPU."""
    where = torch.device(device)
    if where.type == "mps":
        torch.mps.synchronize()
    elif where.type != "cpu":
        torch.get_device_module(where.type).synchronize(where)


def free(device: str | torch.device) -> int:
    """Bytes of the device's own memory that are not taken; 0 for the CPU, which has none of its
    own."""
    where = torch.device(device)
    if where.type == "cpu":
        return 0
    module: Any = torch.get_device_module(where.type)
    if where.type == "mps":
        return max(0, int(module.recommended_max_memory() - module.driver_allocated_memory()))
    return int(module.mem_get_info(where)[0])


def resident(inputs: Mapping[str, Tensor], device: str | torch.device) -> dict[str, Tensor]:
    """A data set's inputs on the device, if they take no more than a quarter of its free memory;
    else as they are, on the CPU, to be copied a batch at a time."""
    if sum(one.nbytes for one in inputs.values()) > SHARE * free(device):
        return dict(inputs)
    return {name: one.to(device) for name, one in inputs.items()}


def sent(tensor: Tensor, device: str | torch.device) -> Tensor:
    """The tensor on the device. On the way from the CPU to a GPU it goes through memory that the
    system may not move (pinned), so that nobody waits for the copy."""
    where = torch.device(device)
    if tensor.device.type == "cpu" and where.type not in ("cpu", "mps"):
        return tensor.pin_memory().to(where, non_blocking=True)
    return tensor.to(where)


def ahead(
    groups: Iterable[Sequence[Tensor]], device: str | torch.device
) -> Iterator[tuple[Tensor, ...]]:
    """Tensors of the CPU, a group after the other, on the device: each group is made and copied
    while the device works with the one before, in a queue of work of its own."""
    where = torch.device(device)
    if where.type in ("cpu", "mps"):
        for group in groups:
            yield tuple(sent(tensor, where) for tensor in group)
        return
    module: Any = torch.get_device_module(where.type)
    copies = module.Stream(where)

    def claimed(group: tuple[Tensor, ...], copied: Any) -> tuple[Tensor, ...]:
        working = module.current_stream(where)
        working.wait_event(copied)
        for tensor in group:
            tensor.record_stream(working)  # its memory is not another's before that is done
        return group

    waiting = None
    for group in groups:
        with module.stream(copies):
            coming = tuple(sent(tensor, where) for tensor in group), copies.record_event()
        if waiting is not None:
            yield claimed(*waiting)
        waiting = coming
    if waiting is not None:
        yield claimed(*waiting)


@contextlib.contextmanager
def arithmetic(device: str | torch.device, precision: str = "float32") -> Iterator[None]:
    """How an NVIDIA GPU computes what is in float32: exactly, but for ``tf32``, and each time in
    the same order. It holds for the whole process, and so in the backward pass as well.

    PyTorch's own setting would take TF32 for convolutions and not for products of matrices.
    """
    if torch.device(device).type != "cuda":
        yield
        return
    cudnn: Any = torch.backends.cudnn
    kinds: tuple[Any, ...] = torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn
    before = [kind.fp32_precision for kind in kinds], cudnn.deterministic, cudnn.benchmark
    for kind in kinds:
        kind.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        for kind, was in zip(kinds, before[0], strict=True):
            kind.fp32_precision = was
        _, cudnn.deterministic, cudnn.benchmark = before


def seed(value: int, device: str | torch.device) -> None:
    """Seed what draws random numbers there, and on the CPU."""
    torch.default_generator.manual_seed(value)
    if (kind := torch.device(device).type) != "cpu":
        module: Any = torch.get_device_module(kind)
        getattr(module, "manual_seed_all", module.manual_seed)(value)  # mps has one device


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """Put PyTorch's global generators, the CPU's and those of each device, back as they were."""
    states = [(torch.default_generator, torch.default_generator.get_state())]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states += [(one, one.get_state()) for one in torch.cuda.default_generators]
    if torch.backends.mps.is_available():
        own = torch.mps._get_default_mps_generator()
        states.append((own, own.get_state()))
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)
