"""Model and images -> logits, once, for everyone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from convscope import devices
from convscope.data.columns import IMAGE, LABEL
from convscope.data.loader import forward, to_input
from convscope.errors import BadArgument, ConvscopeError
from convscope.events import Emit, Progress, silent


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode; afterwards every module has its own mode again.

    >>> model = nn.Sequential(nn.Dropout())
    >>> with evaluating(model):
    ...     model[0].training
    False
    >>> model[0].training
    True
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def logits_of(
    model: nn.Module,
    images: np.ndarray | torch.Tensor,
    *,
    batch_size: int = 1000,
    device: str | torch.device = "cpu",
    memory_format: torch.memory_format = torch.channels_last,
    emit: Emit = silent,
    stage: str = "judge",
) -> np.ndarray:
    """The model's raw logits, float32 [N,K], for uint8 images [N,C,H,W], each once and in order:
    :func:`outputs` of a network that is given one image and tells one class.

    Raises BadArgument for images or a batch size that it cannot take, ConvscopeError for a model
    that does not give [B,K].

    >>> logits_of(nn.Flatten(), np.full((3, 1, 1, 2), 255, np.uint8)).tolist()
    [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    """
    if images.ndim != 4 or not len(images) or images.dtype not in (np.uint8, torch.uint8):
        raise BadArgument(
            "images",
            f"{images.dtype} of shape {list(images.shape)}",
            "must be uint8 [N,C,H,W] with at least one image",
            "decode them with convscope.data.decode",
        )
    return outputs(
        model,
        {IMAGE: images},
        (LABEL,),
        batch_size=batch_size,
        device=device,
        memory_format=memory_format,
        emit=emit,
        stage=stage,
    )[LABEL]


def outputs(
    model: nn.Module,
    inputs: Mapping[str, Any],
    targets: Iterable[str],
    *,
    batch_size: int = 1000,
    device: str | torch.device = "cpu",
    memory_format: torch.memory_format = torch.channels_last,
    emit: Emit = silent,
    stage: str = "judge",
) -> dict[str, np.ndarray]:
    """What the model gives for each target, float32 [N,K], for inputs by name (images uint8
    [N,C,H,W], numbers float32 [N,d]), each record once and in order.

    The model sees float32 pixels of 0 to 1 and normalises them itself. It is judged in evaluation
    mode and without autocast, and must be on ``device`` already. Records are read a batch at a
    time, so that memory-mapped arrays may be larger than memory. Reports Progress in images.
    """
    if batch_size < 1:
        rule = "must be a whole number of at least 1"
        raise BadArgument("batch_size", batch_size, rule, "try 1000")
    device, names = torch.device(device), list(targets)
    total = len(next(iter(inputs.values())))
    found: dict[str, np.ndarray] = {}
    waiting: list[tuple[int, list[torch.Tensor]]] = []  # the device works while the next is read

    def take(start: int, given: list[torch.Tensor]) -> None:
        stop = start + len(given[0])
        for name, values in zip(names, given, strict=True):
            found[name][start:stop] = values.float().cpu().numpy()
        emit(Progress(stage, stop, total, "images"))

    def read(values: Any) -> torch.Tensor:
        raw = values if isinstance(values, torch.Tensor) else torch.from_numpy(np.array(values))
        if raw.dtype is torch.uint8:
            return to_input(raw, device, memory_format)
        return devices.sent(raw, device)

    exact = torch.autocast(device.type, enabled=False), devices.arithmetic(device)
    with evaluating(model), torch.inference_mode(), exact[0], exact[1]:
        for start in range(0, total, batch_size):
            part = {n: read(values[start : start + batch_size]) for n, values in inputs.items()}
            given = _checked(forward(model, part), names, min(batch_size, total - start))
            if not start:  # at once: small pieces between large blocks would keep the heap apart
                for name, one in zip(names, given, strict=True):
                    found[name] = np.empty((total, *one.shape[1:]), np.float32)
            waiting.append((start, given))
            if device.type == "cpu" or start:
                take(*waiting.pop(0))
        for begun in waiting:
            take(*begun)
    return found


def _checked(found: object, targets: Sequence[str], count: int) -> list[torch.Tensor]:
    """The model's answer by target, each a row for each record. Raises ConvscopeError."""
    given = [found]
    if len(targets) > 1:
        named = found if isinstance(found, Mapping) else {}
        given = [named.get(name) for name in targets]
    for name, one in zip(targets, given, strict=True):
        if not (isinstance(one, torch.Tensor) and one.ndim == 2 and len(one) == count):
            kind = list(one.shape) if isinstance(one, torch.Tensor) else type(one).__name__
            of = f" of {name}" if len(targets) > 1 else ""
            raise ConvscopeError(
                f"model: gave {kind}{of} for {count} images where [images, classes] is needed; "
                "end the network in one logit a class"
            )
    return cast("list[torch.Tensor]", given)
