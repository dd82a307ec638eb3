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
        weight.half_copy = (copy, weight._version, weight.data_ptr())  # type: ignore[attr-defined]
    return copy


def kept(weight: Tensor) -> Tensor | None:
    """The copy that there is, if PyTorch knows of no change of the weight since; whoever changes it
    otherwise changes the copy too."""
    copy, version, address = getattr(weight, "half_copy", (None, -1, 0))
    return copy if version == weight._version and address == weight.data_ptr() else None


def forget(weight: Tensor) -> None:
    """Drop the copy, because the weight was changed in a way that PyTorch's count does not tell."""
    if hasattr(weight, "half_copy"):
        del weight.half_copy
