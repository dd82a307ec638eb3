"""Fitting a network: the loop, on one screen."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from types import FrameType

import torch
from torch import Tensor, nn
from torch.nn import functional

from convscope.data.loader import Loader, seed_of
from convscope.errors import Interrupted, TrainingError
from convscope.events import Emit, EpochEnd, Notice, Progress
from convscope.recipe import Train
from convscope.run import RunFolder
from convscope.training import checkpoint, optim
from convscope.training.checkpoint import Position
from convscope.training.precision import autocast

Validate = Callable[[], tuple[float | None, float | None]]  # -> (loss, accuracy)


def fit(
    model: nn.Module, loader: Loader, validate: Validate, train: Train, run: RunFolder, emit: Emit
) -> Position:
    """Train ``model`` in place, from the run's latest checkpoint if it has one, to the recipe's
    last epoch.

    Saves at the end of each epoch and whenever ``checkpoint_seconds`` have passed since the last
    save. Raises TrainingError before an update with a gradient that is not finite, and Interrupted,
    the state saved, when Ctrl-C or SIGTERM arrives.
    """
    assert train.lr is not None and train.warmup is not None
    optimizer = optim.optimizer(model, train)
    at = checkpoint.restore(run.checkpoints, model, optimizer, emit)
    if at is not None:
        emit(Notice(f"resumed at epoch {at.epoch + 1}, step {at.step}"))
    at = at or Position()
    run.write_history(at.history)
    steps = len(loader.sizes())  # an epoch
    total = steps * train.epochs
    lr, saved_as = train.lr, f"saved in {{}}; go on with --out {run.path} --resume"
    with _signals() as caught:
        saved = time.monotonic()
        while at.epoch < train.epochs:
            model.train()
            began = time.perf_counter()
            for batch in loader.epoch(at.epoch, at.step):
                done = at.epoch * steps + at.step
                lr = train.lr * optim.factor(train.schedule, done, total, train.warmup)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                torch.manual_seed(seed_of(train.seed, at.epoch, at.step, 1))  # dropout's stream
                with autocast(loader.device, train.precision):
                    logits = model(*batch.inputs)  # [B,K]
                (labels,) = batch.targets
                loss = functional.cross_entropy(
                    logits.float(), labels, label_smoothing=train.label_smoothing
                )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                _guard(loss, model, at, lr)
                optimizer.step()
                at.loss_sum += float(loss.detach()) * len(batch)
                at.correct += int((logits.detach().argmax(1) == labels).sum())
                at.seen += len(batch)
                at.step += 1
                emit(Progress(f"epoch {at.epoch + 1}/{train.epochs}", done + 1, total, "steps"))
                due = caught or time.monotonic() - saved >= train.checkpoint_seconds
                if due and at.step < steps:
                    now = time.perf_counter()
                    at.epoch_seconds, began = at.epoch_seconds + now - began, now
                    path = checkpoint.save(run.checkpoints, at, model, optimizer, done + 1)
                    saved = time.monotonic()
                    if caught:
                        raise Interrupted(caught[0], saved_as.format(path))
            at.epoch_seconds += time.perf_counter() - began
            emit(_end_epoch(at, train, lr, validate))
            run.write_history(at.history)
            path = checkpoint.save(run.checkpoints, at, model, optimizer, at.epoch * steps)
            saved = time.monotonic()
            if caught:
                raise Interrupted(caught[0], saved_as.format(path))
    return at


def _end_epoch(at: Position, train: Train, lr: float, validate: Validate) -> EpochEnd:
    """Judge the epoch on validation, add its line to the history, and stand at the next one."""
    began = time.perf_counter()
    val_loss, val_accuracy = validate()
    at.train_seconds += at.epoch_seconds + time.perf_counter() - began
    end = EpochEnd(
        at.epoch + 1,
        train.epochs,
        at.loss_sum / at.seen,
        at.correct / at.seen,
        val_loss,
        val_accuracy,
        lr,
        at.epoch_seconds,
        at.seen / max(at.epoch_seconds, 1e-9),
    )
    at.history.append(asdict(end))
    at.epoch, at.step, at.loss_sum, at.correct, at.seen = at.epoch + 1, 0, 0.0, 0, 0
    at.epoch_seconds = 0.0
    return end


def _guard(loss: Tensor, model: nn.Module, at: Position, lr: float) -> None:
    """Refuse an update that would put NaN or infinity into the weights. Raises TrainingError."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    size = float(torch.nn.utils.get_total_norm(gradients))
    if not (math.isfinite(size) and math.isfinite(float(loss.detach()))):
        what = f"loss {float(loss.detach()):g}, gradient norm {size:g}"
        raise TrainingError(
            f"training broke down at epoch {at.epoch + 1}, step {at.step + 1} ({what}) at learning "
            f"rate {lr:g}; the weights were not updated. Try a lower --lr, or look for images or "
            "targets that are not numbers"
        )


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Note Ctrl-C and SIGTERM instead of dying of them; a second one stops at once."""
    caught: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        if caught:
            raise Interrupted(signum, "at once, at the second request; the last checkpoint stands")
        caught.append(signum)

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
