"""A memory bound: what a step needs here, weighed, and how many images fit into a pass.

Weighed is what counts: the resident size of the process, at its peak, as Linux keeps it. It holds
what no count of tensors sees, such as the scratch space of convolutions.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import mmap
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convscope import machine
from convscope.data.loader import Batch, forward
from convscope.errors import BadArgument
from convscope.evaluation.hooks import hooked
from convscope.evaluation.predictions import evaluating
from convscope.formatting import decimal_size, plural
from convscope.training.rehearsal import Rehearsal

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}
LARGEST = 64  # images that are weighed to foretell more
MARGIN = 1.15  # what is foretold from smaller passes is taken as this much more
SHARE = 0.8  # of the memory that is free may a run take that nobody bounded
CLOSE = 0.5  # of it may a batch take as foretold, before that is weighed
KEPT = 1.25  # times what layers give: 0.6 to 1.4 of the growth of nine networks
LAYERS = 5000  # times an image's bytes: more than any of these takes for it, by CLOSE
SPARE = 40_000_000  # bytes for what grows later: holes in the heap, figures, the report


def bytes_of(text: int | str, argument: str = "max_memory", example: str = "800MB") -> int:
    """A size as it is typed, in bytes. Raises BadArgument, which names the ``argument``.

    >>> bytes_of("800MB"), bytes_of("1.5GiB"), bytes_of(10**9)
    (800000000, 1610612736, 1000000000)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]I?)?B?", str(text).strip().upper())
    size = int(float(found[1]) * UNITS[found[2] or ""]) if found else 0
    if size <= 0:
        raise BadArgument(argument, text, "must be a size", f"write {example} or 2GB")
    return size


def resident(what: str = "VmRSS") -> int:
    """Bytes of this process that are in memory now, or at most since :func:`growth` began
    (``VmHWM``). Raises OSError off Linux."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == what:
            return int(value.split()[0]) * 1024
    raise OSError(f"/proc/self/status does not say {what}")


def free() -> int | None:
    """Bytes of memory that this process may still take; None off Linux."""
    with contextlib.suppress(OSError, KeyError, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        said = dict(line.split(":", 1) for line in lines)
        left = int(said["MemAvailable"].split()[0]) * 1024
        most = machine.memory()  # of a container it is less than of the machine
        return left if most is None else max(0, min(left, most - resident()))
    return None


def estimate(model: nn.Module, batch: Batch, judged: int, free: int) -> int:
    """Bytes that learning from a whole batch, and judging so many images at once, takes, roughly:
    by what the layers give for one image. 0 where the batch is so small that this much
    ``free`` memory is enough for any network that is known, or where one image does not go
    through."""
    one = batch.first(1)
    image = sum(x.numel() * x.element_size() for x in one.inputs.values())
    if image * max(batch.records, judged) * LAYERS <= free:
        return 0
    given = list[int]()

    def seen(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            given.append(output.numel() * output.element_size())

    try:
        twin = copy.deepcopy(model)
        ends = {name: one for name, one in twin.named_modules() if not any(one.children())}
        with hooked(ends, seen), evaluating(twin), torch.no_grad():
            forward(twin, one.inputs)
    except Exception:  # what is wrong with it, its trial tells
        return 0
    if not given:
        return 0
    return int(max(KEPT * sum(given) * batch.records, 2 * max(given) * judged))


def growth(work: Callable[[], object]) -> int:
    """By how many bytes the process grows, at its peak, while ``work`` is done.

    What was freed before is given back to the system first, or the work would find room in it.
    Raises OSError off Linux.
    """
    trim()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before = resident()
    work()
    return resident("VmHWM") - before


def weighs() -> bool:
    """Whether this system lets the process be weighed."""
    try:
        growth(lambda: None)
    except OSError:
        return False
    return True


def trim() -> None:
    """Give freed memory back to the system, where the C library is glibc."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def let_go(arrays: Iterable[Any]) -> None:
    """Let go of the pages of memory-mapped arrays that were read; they are read again when they are
    needed, mostly from the system's cache."""
    for array in arrays:
        mapped = getattr(array, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


def passes(sizes: Iterable[int], least: int) -> list[int]:
    """The images a pass that are worth trying for batches of these ``sizes``, the most first; 0 is
    the whole batch.

    The largest batch is split evenly, and no pass of any batch has less than ``least`` images,
    unless the batch has.

    >>> passes([100], least=2)[:6]
    [0, 50, 34, 25, 20, 17]
    >>> passes([7], least=2)
    [0, 4]
    """
    batches = set(sizes)
    most = max(batches)
    even = {-(-most // count) for count in range(2, most + 1)}
    return [
        0,
        *(
            size
            for size in sorted(even, reverse=True)
            if size >= least and all(not 0 < n % size < least or n < least for n in batches)
        ),
    ]


def fit(bound: int, rehearsal: Rehearsal, reserved: int = 0, beyond: int = 0) -> tuple[int, int]:
    """``micro_batch`` and ``eval_batch`` with which a run keeps to ``bound`` bytes in all;
    ``reserved`` bytes are needed besides.

    Passes of more and more images are weighed, as long as what the next one needs is foretold to
    fit; then the one that is chosen, by whole batches. Where that may take so many bytes ``beyond``
    the bound, two passes are enough. Raises BadArgument where even the smallest does not fit, and
    off Linux.
    """
    sizes = rehearsal.loader.sizes()
    most, least = max(sizes), least_images(rehearsal.state.model)
    with _explained(bound):
        weigh(rehearsal, least)  # what the first one costs once and for all is no growth
        trim()
        room = bound - SPARE - resident() - reserved
        weighed = {least: weigh(rehearsal, least)}
        while (size := 2 * max(weighed)) <= min(most, LARGEST):
            if min(foretold(weighed, size), 2 * weighed[size // 2]) >= room + beyond:
                break
            weighed[size] = weigh(rehearsal, size)
        for size in passes(sizes, least):
            count = size or most
            if foretold(weighed, count) < room and weigh(rehearsal, count, whole=not beyond) < room:
                return size, min(rehearsal.train.eval_batch, size or most)
    needed = bound - room + min(weighed.values())
    raise BadArgument(
        "max_memory",
        decimal_size(bound),
        f"is too little: the process has {decimal_size(bound - room)} before it learns, and "
        f"learning from {plural(least, 'image')} at a time takes "
        f"{decimal_size(min(weighed.values()))} more",
        f"try {decimal_size(needed * 1.05)}",
    )


def check(bound: int, rehearsal: Rehearsal, reserved: int = 0) -> None:
    """Raise BadArgument unless the recipe's own passes keep to the bound."""
    size = rehearsal.train.micro_batch or max(rehearsal.loader.sizes())
    with _explained(bound):
        weigh(rehearsal, least_images(rehearsal.state.model))
        trim()
        needed = SPARE + reserved + resident() + weigh(rehearsal, size, whole=True)
    if needed > bound:
        raise BadArgument(
            "max_memory",
            decimal_size(bound),
            f"is less than this run needs, which was begun with {size} images a pass",
            f"try {decimal_size(needed * 1.05)}",
        )


def foretold(weighed: dict[int, int], images: int) -> float:
    """What a pass of so many images needs, from those that were weighed: along the line through the
    two largest, which is taken as half as steep as the one through nothing at least.

    >>> round(foretold({8: 1000, 16: 1800}, 32) / MARGIN)
    3400
    """
    last = max(weighed)
    if images <= last:
        return weighed.get(images, weighed[last])
    slope = weighed[last] / last
    if last // 2 in weighed:
        steep = 2 * (weighed[last] - weighed[last // 2]) / last
        slope = max(steep, slope / 2)
    return (weighed[last] + slope * (images - last)) * MARGIN


def weigh(rehearsal: Rehearsal, images: int, whole: bool = False) -> int:
    """By how much the process grows when it learns in passes of so many images, two of them or
    those of two ``whole`` batches, judges as many, and saves."""
    train = replace(rehearsal.train, micro_batch=images)

    def work() -> None:
        for _ in range(1 + whole):
            rehearsal.step(train, None if whole else 2 * images)
        rehearsal.judge(min(images, train.eval_batch))
        rehearsal.save()

    return growth(work)


def least_images(model: Any) -> int:
    """How many images a network can learn from at once: batch norm needs two."""
    return 2 if any("BatchNorm" in type(m).__name__ for m in model.modules()) else 1


@contextlib.contextmanager
def _explained(bound: int) -> Iterator[None]:
    try:
        yield
    except OSError as why:
        raise BadArgument(
            "max_memory",
            decimal_size(bound),
            f"is kept by weighing the process, which this system does not allow ({why})",
            "set micro_batch and eval_batch yourself",
        ) from None
