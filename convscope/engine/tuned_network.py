"""Number formats, memory formats, and the network as it is run in them on this machine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from convscope import kernels
from convscope.engine import branches, convolution, fusion, linear
from convscope.engine.tuned import ATEN, Tuned, replaced

DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """The context in which a forward pass runs in that precision; weights stay float32."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")


KINDS: tuple[type[Tuned], ...] = (convolution.TunedConv2d, linear.TunedLinear)


def kind_of(module: nn.Module) -> type[Tuned] | None:
    """The tuned kind that a layer can be computed as, if there is one."""
    return next((kind for kind in KINDS if kind.usual(module)), None)


def engine(model: nn.Module, algorithms: str, precision: str = "float32") -> nn.Module:
    """The network as it is run on this machine: over the same weights, with its passes over memory
    fused, its convolutions and linear layers computed as a recipe's ``kernels`` say in its
    ``precision``, and as PyTorch does in another one. ``plain`` is the network itself.

    >>> engine(nn.Sequential(nn.Conv2d(8, 8, 3)), "fused 0=im2col,aten,aten")[0].algorithms
    ('im2col', 'aten', 'aten')
    """
    if algorithms == "plain" or not kernels.available():
        return model
    twin = fusion.twin_of(model)
    named = (entry.partition("=") for entry in algorithms.split() if "=" in entry)
    chosen = {id(twin.get_submodule(name)): tuple(parts.split(",")) for name, _, parts in named}

    def tuned(module: nn.Module) -> nn.Module | None:
        if (kind := kind_of(module)) is None:
            return None
        return kind.of(module, chosen.get(id(module), ATEN), DTYPES[precision])

    twin = replaced(twin, tuned)
    twin = fusion.fuse(branches.joined(twin))
    convolution.follow(twin)
    return twin
