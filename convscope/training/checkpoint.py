"""Whole-or-nothing saves of everything that a run needs to go on to the bit.

A checkpoint is a folder ``step-<n>`` of ``state.safetensors`` (weights, optimiser) and
``state.json`` (where the run stood, the history, the SHA-256 of both files). It is written under a
temporary name, synced, renamed, and its parent synced; the last two are kept. There is no random
state to save: every stream is a function of (seed, epoch, step).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convscope import files
from convscope.errors import RunError
from convscope.events import Emit, Notice
from convscope.models import store

KEEP = 2
WEIGHTS, STATE = "state.safetensors", "state.json"


@dataclass
class Position:
    """Where a run stands: ``epoch`` and ``step`` are the next to do, both from 0; the sums are of
    this epoch."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    epoch_seconds: float = 0.0
    train_seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


def save(
    folder: Path, position: Position, model: nn.Module, optimizer: torch.optim.Optimizer, total: int
) -> Path:
    """Save under ``step-<total>``, ``total`` being the steps done since the run began; returns its
    folder.

    Raises ConvscopeError on a full disk; the checkpoints that were there stay whole.
    """
    path = folder / f"step-{total:09d}"
    for other in _found(folder):
        if other.name > path.name or (other == path and _problem(path) is not None):
            _remove(other)  # one that was passed over as damaged
    if path.exists():
        return path
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, parameter in enumerate(_parameters(optimizer)):
        for name, value in optimizer.state[parameter].items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
    content = store.to_bytes(tensors)
    state = {"position": asdict(position), "weights_sha256": hashlib.sha256(content).hexdigest()}
    with files.whole_folder(path) as temporary:
        (temporary / WEIGHTS).write_bytes(content)
        (temporary / STATE).write_bytes(_sealed(state))
    for old in _found(folder)[KEEP:]:
        _remove(old)
    return path


def restore(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, emit: Emit
) -> Position | None:
    """Fill model and optimiser from the latest whole checkpoint; None where there is none yet.

    A damaged one is passed over with a warning. Raises RunError where every one is damaged.
    """
    if not folder.is_dir():
        return None
    files.clear_unfinished(folder)
    found = _found(folder)
    for path in found:
        if problem := _problem(path):
            emit(Notice(f"{path}: passed over: {problem}", warning=True))
            continue
        state = json.loads((path / STATE).read_bytes())
        tensors = store.from_bytes((path / WEIGHTS).read_bytes(), path / WEIGHTS)
        weights = {
            k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")
        }
        store.fill(model, weights, path / WEIGHTS)
        for index, parameter in enumerate(_parameters(optimizer)):
            prefix = f"optimizer.{index}."
            optimizer.state[parameter] = {
                name.removeprefix(prefix): _like(value, parameter)
                for name, value in tensors.items()
                if name.startswith(prefix)
            }
        return Position(**state["position"])
    if found:
        raise RunError(
            f"{folder}: holds no whole checkpoint to go on from; restore one from a copy, "
            "or train anew into another folder"
        )
    return None


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _like(value: Tensor, parameter: Tensor) -> Tensor:
    """A moment in its parameter's own memory layout, which fused optimisers take for granted."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    return torch.empty_like(parameter).copy_(value)


def _sealed(state: dict[str, Any]) -> bytes:
    """The state as JSON with the SHA-256 of the rest as its last key."""
    body = json.dumps(state, allow_nan=False).encode()
    return json.dumps(
        state | {"sha256": hashlib.sha256(body).hexdigest()}, allow_nan=False
    ).encode()


def _found(folder: Path) -> list[Path]:
    """The checkpoints of a run, the latest first."""
    return sorted(folder.glob("step-*"), reverse=True)


def _problem(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        written = (path / STATE).read_bytes()
        state = {key: value for key, value in json.loads(written).items() if key != "sha256"}
        if _sealed(state) != written:
            return f"{STATE} is not as it was written"
        if files.sha256(path / WEIGHTS) != state["weights_sha256"]:
            return f"{WEIGHTS} is not as it was written"
    except (OSError, ValueError, KeyError, AttributeError) as why:
        return f"cannot be read ({why})"
    return None


def _remove(path: Path) -> None:
    """Take a checkpoint away in one step first, so that a kill leaves no half one under its
    name."""
    doomed = path.with_name(f"{files.TEMPORARY}{path.name}-old-{os.getpid()}")
    path.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
