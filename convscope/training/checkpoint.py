"""Whole-or-nothing saves of everything that a run needs to go on to the bit.

A checkpoint is a folder ``step-<n>`` of ``state.safetensors`` (weights, their average, the best
ones, optimiser) and
``state.json`` (where the run stood, the history, the SHA-256 of both files). It is written under a
temporary name, synced, renamed, and its parent synced; the last two are kept. There is no random
state to save: every stream is a function of (seed, epoch, step).
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convscope import devices, files
from convscope.errors import RunError
from convscope.events import Emit, Notice
from convscope.models import store
from convscope.recipe import Train
from convscope.training.optim import Optimizer

KEEP = 2
WEIGHTS, STATE = "state.safetensors", "state.json"


@dataclass
class Position:
    """Where a run stands: ``epoch`` and ``step`` are the next to do, both from 0; the sums are of
    this epoch. A ``best_epoch`` of -1 is what the run began with. ``ended_at`` is the step after
    which it ended because somebody asked for that; 0 where nobody did."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    epoch_seconds: float = 0.0
    train_seconds: float = 0.0
    best_loss: float | None = None
    best_accuracy: float | None = None
    best_epoch: int = 0
    stopped: bool = False
    ended_at: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def start_kept(self) -> bool:
        """Whether no epoch so far is better on validation than the weights that it began with."""
        return self.best_epoch < 0 and self.best_loss is not None

    def sums(self, device: str) -> Tensor:
        """Loss and correct guesses of this epoch so far, to be summed on the device."""
        kind = devices.widest(device)
        return torch.tensor([self.loss_sum, self.correct], dtype=kind, device=device)

    def take(self, sums: Tensor) -> None:
        """Read the sums."""
        loss, correct = sums.tolist()
        self.loss_sum, self.correct = loss, int(correct)


@dataclass
class State:
    """All tensors of a run: the network in training, its optimiser, the moving ``average`` of its
    weights, and its ``best`` weights so far; the last two where the recipe asks for them."""

    model: nn.Module
    optimizer: Optimizer
    average: nn.Module | None = None
    best: nn.Module | None = None

    @classmethod
    def of(cls, model: nn.Module, optimizer: Optimizer, train: Train) -> State:
        """A run before its first step."""
        average, best = (
            copy.deepcopy(model) if on else None for on in (train.ema, train.keeps_best)
        )
        return cls(model, optimizer, average, best)

    @property
    def judged(self) -> nn.Module:
        """The network that validation judges."""
        return self.model if self.average is None else self.average

    def remember(self) -> None:
        """Keep the judged weights as the best."""
        assert self.best is not None
        self.best.load_state_dict(self.judged.state_dict())

    def keep(self) -> None:
        """Give the network the weights that the run ends with."""
        kept = self.judged if self.best is None else self.best
        if kept is not self.model:
            self.model.load_state_dict(kept.state_dict())

    def networks(self) -> dict[str, nn.Module]:
        """The networks that there are, by the name their tensors have in a checkpoint."""
        found = {"model": self.model, "average": self.average, "best": self.best}
        return {name: network for name, network in found.items() if network is not None}


def save(folder: Path, position: Position, run: State, total: int) -> Path:
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
    tensors = tensors_of(run)
    with files.whole_folder(path) as temporary:
        digest = store.write(temporary / WEIGHTS, tensors)
        state = {"position": asdict(position), "weights_sha256": digest}
        (temporary / STATE).write_bytes(_sealed(state))
    for old in _found(folder)[KEEP:]:
        _remove(old)
    return path


def tensors_of(run: State) -> dict[str, Tensor]:
    """All tensors of a run by the names that a checkpoint gives them."""
    tensors = {
        f"{kind}.{name}": value
        for kind, network in run.networks().items()
        for name, value in network.state_dict().items()
    }
    for index, parameter in enumerate(run.optimizer.parameters):
        for name, value in run.optimizer.state[parameter].items():
            if isinstance(value, Tensor):  # the count of steps may be one for all
                tensors[f"optimizer.{index}.{name}"] = value if value.ndim else value.clone()
    return tensors


def fill(run: State, tensors: dict[str, Tensor], where: Path) -> None:
    """Give a run the tensors of a checkpoint, from the file ``where``. Raises RunError where they
    are not its own."""
    for kind, network in run.networks().items():
        store.fill(network, _under(f"{kind}.", tensors), where)
    for index, parameter in enumerate(run.optimizer.parameters):
        run.optimizer.state[parameter] = {
            name: _like(value, parameter)
            for name, value in _under(f"optimizer.{index}.", tensors).items()
        }


def restore(folder: Path, run: State, emit: Emit) -> Position | None:
    """Fill the tensors of a run from the latest whole checkpoint; None where there is none yet.

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
        fill(run, tensors, path / WEIGHTS)
        return Position(**state["position"])
    if found:
        raise RunError(
            f"{folder}: holds no whole checkpoint to go on from; restore one from a copy, "
            "or train anew into another folder"
        )
    return None


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


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
