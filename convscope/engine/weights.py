"""bfloat16 copies of float32 weights, kept from step to step.

A step in bfloat16 needs each weight in that format, and PyTorch makes it anew each time from the
float32 weight that the optimiser moves. Here the optimiser's kernel writes the copy while it has
the weight at hand (:meth:`convscope.training.optim.Optimizer.step`); whatever else changes the
weight, such as a checkpoint that is loaded, makes the copy stale, which PyTorch's count of changes
tells.

It does not count what is changed through ``weight.data``. So every copy is made anew when an epoch
begins (:func:`forget`), after all that a caller may do between epochs, and within one a few numbers
of each weight are held against their copies whenever these are used, which takes microseconds. A
change within an epoch that spares just these few numbers is learnt from one step late: the
optimiser's kernel writes whole copies, of the weights as they are.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

import torch
from torch import Tensor

SAMPLES = 2  # numbers of a weight that are held against their copies


def working_dtype(weight: Tensor) -> torch.dtype:
    """What a layer with this weight computes in: autocast's format where it is on, which leaves
    float64 alone."""
    if torch.is_autocast_enabled("cpu") and weight.dtype is not torch.float64:
        return torch.get_autocast_dtype("cpu")
    return weight.dtype


def half(weight: Tensor) -> Tensor:
    """The weight in bfloat16, in its own memory layout.

    >>> weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> half(weight) is half(weight)
    True
    >>> _ = torch.nn.init.ones_(weight)
    >>> half(weight).tolist()
    [1.0, 1.0]
    """
    copy = kept(weight)
    if copy is None:
        copy = weight.detach().to(torch.bfloat16)
        known = copy, weight._version, weight.data_ptr(), _pairs(weight, copy)
        weight.half_copy = known  # type: ignore[attr-defined]
    return copy


def kept(weight: Tensor) -> Tensor | None:
    """The copy that there is, if neither PyTorch nor a few of its numbers tell of a change of the
    weight since."""
    copy: Tensor | None
    copy, version, address, pairs = getattr(weight, "half_copy", (None, -1, 0, ()))
    if version != weight._version or address != weight.data_ptr():
        return None
    for number, rounded in pairs:
        bits = number.value
        if (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 != rounded.value:  # to the nearest, halves even
            return None
    return copy


def forget(parameters: Iterable[Tensor]) -> None:
    """Drop all copies: the next use makes them anew."""
    for parameter in parameters:
        vars(parameter).pop("half_copy", None)


def _pairs(weight: Tensor, copy: Tensor) -> list[tuple[ctypes.c_uint32, ctypes.c_uint16]]:
    """Some numbers of a weight and of its copy as they lie in memory, the first and the last among
    them; none where the two are laid out in different ways, or elsewhere."""
    count = weight.numel()
    if weight.dtype is not torch.float32 or weight.device.type != "cpu":
        return []
    dense = weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last)
    if not count or not dense or weight.stride() != copy.stride():
        return []
    places = sorted({i * (count - 1) // (SAMPLES - 1) for i in range(SAMPLES)})
    one, other = weight.data_ptr(), copy.data_ptr()
    return [
        (ctypes.c_uint32.from_address(one + 4 * i), ctypes.c_uint16.from_address(other + 2 * i))
        for i in places
    ]
