"""What the layers of a network give in a forward pass, seen by hooks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from convscope.evaluation.predictions import evaluating


@contextmanager
def hooked(modules: Mapping[str, nn.Module], seen: Callable[..., Any]) -> Iterator[None]:
    """Call ``seen(name, module, given, output)`` after each call of these modules, in the block;
    what it returns, unless None, takes the output's place.

    >>> net = nn.Sequential(nn.Identity(), nn.ReLU())
    >>> with hooked({"0": net[0]}, lambda name, module, given, output: -output):
    ...     net(torch.tensor([-1.0, 2.0])).tolist()
    [1.0, 0.0]
    """
    with ExitStack() as stack:
        for name, module in modules.items():
            handle = module.register_forward_hook(functools.partial(seen, name))
            stack.callback(handle.remove)
        yield


def output_shapes(network: nn.Module, size: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The shape of what each module gives for a batch of one image [C,H,W] in evaluation mode, by
    its name, in the order of the calls; those that give a tensor alone.

    >>> output_shapes(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten()), (1, 8, 8))
    {'0': (1, 4, 6, 6), '1': (1, 144), '': (1, 144)}
    """
    found: dict[str, tuple[int, ...]] = {}

    def seen(name: str, module: nn.Module, given: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            found[name] = tuple(output.shape)

    with hooked(dict(network.named_modules()), seen), evaluating(network), torch.no_grad():
        network(torch.zeros(1, *size))
    return found
