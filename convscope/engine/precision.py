"""Number formats, memory formats, and the network as it is run in them on this machine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from convscope.engine import branches, convolution, fusion, linear

DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """The context in which a forward pass runs in that precision; weights stay float32."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")


def engine(model: nn.Module, ways: str, precision: str = "float32") -> nn.Module:
    """The network as it is run on this machine: over the same weights, with its passes over memory
    fused, its convolutions and linear layers computed as a recipe's ``kernels`` say in its
    ``precision``, and as PyTorch does in another one. ``plain`` is the network itself.

    >>> engine(nn.Sequential(nn.Conv2d(8, 8, 3)), "fused 0=matmul,direct,direct")[0].ways
    ('matmul', 'direct', 'direct')
    """
    if ways == "plain":
        return model
    twin = fusion.fuse(model)
    for module in twin.modules() if twin is not model else ():
        if convolution.usual(module):
            convolution.Planned.of(module)  # type: ignore[arg-type]
        elif linear.usual(module):
            linear.Dense.of(module)  # type: ignore[arg-type]
    for entry in ways.split():
        name, _, parts = entry.partition("=")
        if parts and twin is not model:
            layer = twin.get_submodule(name)
            output, into, kernel = parts.split(",")
            chosen = (output, into, kernel)
            if isinstance(layer, nn.Linear):
                linear.Dense.of(layer, chosen, DTYPES[precision])
            elif isinstance(layer, nn.Conv2d):
                convolution.Planned.of(layer, chosen, DTYPES[precision])
    if twin is not model:
        branches.join(twin)
        convolution.follow(twin)
    return twin
