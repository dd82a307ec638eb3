"""What a network that is not trained makes of images, computed once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from convscope import files
from convscope.errors import ConvscopeError
from convscope.evaluation import predictions
from convscope.events import Emit, Event, Notice, Progress, silent

BLOCK = 2048  # images whose features are in memory at a time
AT_ONCE = 32  # images a pass


def key_of(*parts: object) -> str:
    """The name of what these parts decide.

    >>> key_of("a", 1) == key_of("a", 1), key_of("a", 1) == key_of("a", 2)
    (True, False)
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def digest(network: nn.Module) -> str:
    """The SHA-256 of a network's weights and buffers, by their names."""
    found = hashlib.sha256()
    for name, value in network.state_dict().items():
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def features_of(
    network: nn.Module,
    images: NDArray[np.uint8],
    key: str,
    *,
    device: str = "cpu",
    emit: Emit = silent,
    stage: str = "features",
) -> NDArray[np.float32]:
    """What ``network`` gives, float32 [N,F], of uint8 images [N,C,H,W]: from the cache,
    memory-mapped, or computed now and kept there under ``key``, whole or not at all. A cache that
    cannot be written is said, and done without.
    """
    path = _place(key)
    if (found := _kept(path, len(images))) is not None:
        return found
    blocks: list[NDArray[np.float32]] = []
    try:
        with files.whole_file(path) as file:
            for block in _blocks(network, images, device, emit, stage):
                if not file.tell():
                    shape = len(images), block.shape[1]
                    about = {"descr": "<f4", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_2_0(file, about)
                file.write(np.ascontiguousarray(block, "<f4").tobytes())
                blocks.append(block)
                if len(images) > BLOCK:
                    blocks.clear()
    except ConvscopeError as why:
        if said := files.first_time(f"features are computed and not kept: {why}"):
            emit(Notice(said, warning=True))
    if (found := _kept(path, len(images))) is not None:
        return found
    if not blocks:
        blocks = list(_blocks(network, images, device, emit, stage))
    return np.concatenate(blocks)


def kept(key: str, count: int) -> bool:
    """Whether the features of so many images are in the cache under ``key``."""
    return _kept(_place(key), count) is not None


def _place(key: str) -> Path:
    return files.cache_root() / "features" / f"{key}.npy"


def _kept(path: Path, count: int) -> NDArray[np.float32] | None:
    """The features in a file, if they are of so many images."""
    try:
        found: NDArray[np.float32] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return found if found.ndim == 2 and len(found) == count else None


def _blocks(
    network: nn.Module,
    images: NDArray[np.uint8],
    device: str,
    emit: Emit,
    stage: str,
) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(images), BLOCK):
        some = np.array(images[start : start + BLOCK])

        def told(event: Event, start: int = start) -> None:
            if isinstance(event, Progress):
                emit(Progress(stage, start + event.done, len(images), "images"))

        yield predictions.logits_of(network, some, batch_size=AT_ONCE, device=device, emit=told)
