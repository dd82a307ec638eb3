"""bfloat16 copies of float32 weights, kept from step to step.

A step in bfloat16 needs each weight in that format, and PyTorch makes it anew each time from the
float32 weight that the optimiser moves. Here the optimiser's kernel writes the copy while it has
the weight at hand (:func:`convscope.training.optim.step`); whatever else changes the weight, such
as a checkpoint that is loaded, makes the copy stale, which PyTorch's count of changes tells.
"""

from __future__ import annotations

import torch
from torch import Tensor


def working_dtype(weight: Tensor) -> torch.dtype:
    """What a layer with this weight computes in: autocast's format where it is on."""
    if torch.is_autocast_enabled("cpu"):
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
    copy, version, address = getattr(weight, "half_copy", (None, -1, 0))
    if copy is None or version != weight._version or address != weight.data_ptr():
        copy = weight.detach().to(torch.bfloat16)
        weight.half_copy = (copy, weight._version, weight.data_ptr())  # type: ignore[attr-defined]
    return copy


def forget(weight: Tensor) -> None:
    """Let the copy be made anew: the weight is changed in a way that PyTorch does not count."""
    if hasattr(weight, "half_copy"):
        del weight.half_copy
