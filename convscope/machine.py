"""This machine: what it is, and what a process asks of it before heavy work."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from convscope.errors import BadArgument

CROWD = 4  # processes for each core, beyond which all of them crawl


@functools.cache
def processor() -> str:
    """The processor's name as the system gives it."""
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        found = {
            key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)
        }
        if name := found.get("model name"):
            family, model = found.get("cpu family", "?"), found.get("model", "?")
            return f"{name} (family {family}, model {model})"
    return platform.processor() or platform.machine()


@functools.cache
def features() -> frozenset[str]:
    """The instructions that the processor says it has, by the names that Linux gives them; none on
    other systems."""
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip().lower() in ("flags", "features"):
                return frozenset(value.split())
    return frozenset()


_share: int | None = None


@contextlib.contextmanager
def share(count: int) -> Iterator[None]:
    """Let this process use no more than so many cores meanwhile, as one of several at work; and
    PyTorch, where it is loaded, as many threads."""
    global _share
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    before, _share = _share, count
    try:
        if torch:
            torch.set_num_threads(count)
        yield
    finally:
        _share = before
        if torch:
            torch.set_num_threads(threads)


def cores() -> int:
    """How many cores this process may use."""
    if _share is not None:
        return _share
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_workers(workers: int) -> None:
    """Raise BadArgument for a number of processes that this machine would choke on."""
    most = CROWD * cores()
    if type(workers) is not int or not 1 <= workers <= most:
        rule = f"must be a whole number from 1 to {most}, {CROWD} for each of its cores"
        raise BadArgument("workers", workers, rule, f"try {cores()}")


def memory() -> int | None:
    """Bytes of memory that this process may use: all of the machine's, or what the control groups
    of Linux that it is in (a container, a job of Slurm) leave it; None where that is not known.

    >>> memory() is None or memory() > 10**8
    True
    """
    try:
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):  # Windows
        return None
    root = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, kinds, place = line.split(":", 2)
            if kinds == "":  # version 2
                base, name = root, "memory.max"
            elif "memory" in kinds.split(","):
                base, name = root / "memory", "memory.limit_in_bytes"
            else:
                continue
            here = base / place.lstrip("/")
            for folder in (here, *here.parents):
                with contextlib.suppress(OSError, ValueError):  # "max" is no number
                    found.append(int((folder / name).read_text(encoding="ascii")))
    return min(found)


def describe() -> dict[str, object]:
    """The machine as ``model.json`` keeps it."""
    import torch

    return {
        "processor": processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "vectors": torch.backends.cpu.get_cpu_capability(),
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
    }


def version() -> str:
    """That of convscope."""
    return str(importlib.import_module("convscope").__version__)


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    import numpy
    import torch

    return {
        "convscope": version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }


class Place(NamedTuple):
    """Which of the ``ranks`` of a training this process is, and which of the ``local_ranks`` on its
    machine; ``restarts`` is how often the launcher began again."""

    rank: int = 0
    ranks: int = 1
    local_rank: int = 0
    local_ranks: int = 1
    restarts: int = 0


def place() -> Place:
    """What PyTorch's launcher, ``torchrun``, says of this process; without one it is alone.

    >>> place()
    Place(rank=0, ranks=1, local_rank=0, local_ranks=1, restarts=0)
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    said = [os.environ.get(name, "") for name in (*names, "MASTER_ADDR", "MASTER_PORT")]
    if not all(said):
        return Place()
    again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return Place(*(int(one) for one in [*said[:4], again]))


@contextlib.contextmanager
def at_work(threads: int = 0) -> Iterator[None]:
    """Set this process up for heavy work, and back again: threads (0: all cores), no denormals;
    PyTorch's global generators are put back as they were.

    Memory is kept between steps, from then on. glibc hands every freed block above its threshold
    back to the system, so that each training step faults its activations in anew, page by page;
    kept, they cost nothing. Measured on system A's network, batch 100, two Zen 3 cores: 2,220 to
    3,150 images a second without, 3,540 to 4,010 with (three runs in turn, 2026-11-22).
    """
    import torch

    from convscope import devices

    before = torch.get_num_threads()
    torch.set_num_threads(threads or cores())
    torch.set_flush_denormal(True)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            _keep_freed_memory()
    try:
        with devices.generators_kept():
            yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Drop what libraries write to the process's standard error past Python's own."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@functools.cache
def _keep_freed_memory() -> None:
    mallopt = ctypes.CDLL(None).mallopt  # glibc only; musl has none (AttributeError)
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    if not mallopt(mmap_threshold, 1 << 30):
        mallopt(mmap_threshold, 32 << 20)  # the most that older versions take
    mallopt(trim_threshold, -1)
