"""Fitting a network: the loop, on one screen."""

from __future__ import annotations

import contextlib
import functools
import gc
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from types import FrameType

import torch
from torch import Tensor, nn

from convscope import devices
from convscope.data.columns import Class
from convscope.data.loader import Batch, Loader, forward, seeds_along
from convscope.engine import weights
from convscope.engine.tuned_network import autocast
from convscope.errors import Interrupted, TrainingError
from convscope.events import Emit, EpochEnd, Look, Notice, Progress
from convscope.recipe import Train, rank
from convscope.run import RunFolder
from convscope.training import checkpoint, optim
from convscope.training.checkpoint import Position, State
from convscope.training.losses import Losses, by_target, counted, loss_sum, losses_of
from convscope.training.pace import Pace
from convscope.training.ranks import ALONE, Ranks
from convscope.training.sync_batch_norm import over
from convscope.training.team import PartGradients, Team, Wishes

Validate = Callable[[nn.Module], tuple[float | None, float | None]]  # -> (loss, accuracy)
LOOK = 20  # steps between two looks at the running loss


def fit(
    model: nn.Module,
    loader: Loader,
    validate: Validate,
    train: Train,
    run: RunFolder,
    emit: Emit,
    judged: tuple[int, int] = (0, 0),
    begun: Position | None = None,
    ranks: Ranks = ALONE,
) -> Position:
    """Train ``model`` in place, from the run's latest checkpoint if it has one, else from where it
    is ``begun``, to the recipe's last step; it ends with the weights to keep (the last, their
    average, or the best on validation). ``judged`` says how many images are judged after each
    epoch, and after training.

    Saves at the end of each epoch and whenever ``checkpoint_seconds`` have passed since the last
    save. Raises TrainingError where loss or weights are no longer numbers, which is noticed within
    20 steps and never saved, and Interrupted, the state saved, when Ctrl-C or SIGTERM arrives.
    Where the run's file ``stop`` appears, the epoch ends with the step at hand and is the last.

    Of several ``ranks`` each learns from its part of every batch. The first reads and writes the
    run's files; the others begin with its state, and end where it does.
    """
    state = State.of(model, optim.optimizer(model, train, ranks.count), train)
    at = _began(state, run, begun, emit, ranks)
    losses, steps = losses_of(loader, train), len(loader.sizes())  # of an epoch
    total, first = optim.total_steps(train, steps), at.epoch * steps + at.step
    pace = Pace(total, steps, first, train.checkpoint_seconds, judged)
    saved_as = f"saved in {{}}; go on with --out {run.path} --resume" if run.kept else "not kept"
    sums, keeps = at.sums(loader.device), ranks.leads and run.kept
    with _signals(ranks.several) as caught, _settled():
        wishes = functools.partial(_wishes, caught, run, pace, ranks)
        team = Team(model, ranks, train, loader.device, wishes) if ranks.several else None
        for done in range(first, first if at.stopped else total):
            if done == first or at.step == 0:
                model.train()
                weights.forget(model.parameters())
                pace.begin()
                seeds = seeds_along(at.step, train.seed, at.epoch, last=ranks.dropout)
                batches = zip(loader.epoch(at.epoch, at.step), seeds, strict=False)
            batch, seed = next(batches)
            lr = optim.learning_rate(train, done, total)
            update(state, batch, train, losses, done, lr, seed, sums, team)
            at.step += 1
            at.seen += batch.records
            left = pace.step(batch.records)
            emit(Progress(stage(at, train), done + 1, total, "steps", left=left))
            signum, asked, save = team.wished if team else wishes()
            last = done + 1 == total or at.step == steps or asked
            due = bool(last or signum or save)
            if due or at.step % LOOK == 0:
                at.take(sums)
                _guard(model, at, lr, deep=due)
                emit(Look(done + 1, at.loss_sum / at.seen, lr, pace.images_per_second()))
            if not due:
                continue
            at.epoch_seconds += pace.pause()
            if last:
                end = _end_epoch(at, state, train, lr, validate)
                sums.zero_()
                emit(end)
                if ranks.leads:
                    run.write_history(at.history)
                if asked and done + 1 < total:
                    _end_early(at, done + 1, total, emit)
            path = keeps and checkpoint.save(run.checkpoints, at, state, done + 1)
            pace.saved()
            if signum := signum or (0 if team else (caught or [0])[0]):
                ranks.tell()  # nobody ends before it is saved
                raise Interrupted(signum, saved_as.format(path))
            if at.stopped:
                break
    state.keep()
    return at


def update(
    state: State,
    batch: Batch,
    train: Train,
    losses: Losses,
    done: int,
    lr: float,
    seed: int,
    sums: Tensor,
    team: Team | None = None,
) -> None:
    """One step of training, after ``done`` of them, on a batch, or on this rank's part of it;
    ``seed`` is that of dropout."""
    for group in state.optimizer.param_groups:
        group["lr"] = lr * group["share"]
    devices.seed(seed, sums.device)
    state.optimizer.zero_grad()
    with devices.arithmetic(sums.device, train.precision):
        if team is None:
            found = gradients(state.model, batch, train, losses, sums)
            if found is not None:
                found.give()
        else:
            own = torch.zeros_like(sums)
            with over(ALONE if batch.copies > 1 else team.ranks):
                found = gradients(state.model, batch, train, losses, own)
            sums += team.reduce(own, batch.copies, found)
    if train.clip_grad:
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), train.clip_grad)
    state.optimizer.step()
    if state.average is not None:
        optim.follow(state.average, state.model, train.ema, done)


def gradients(
    model: nn.Module, batch: Batch, train: Train, losses: Losses, sums: Tensor
) -> PartGradients | None:
    """Compute the gradient of the batch's mean loss, over all targets, of a rank's part its share
    of the whole batch's: beside the parameters, or, where it is learnt from a ``micro_batch`` at a
    time, as the sum that is returned. Loss and right guesses of the leading target are added to
    ``sums`` [2]."""
    records = batch.records * batch.copies
    found = PartGradients.of(model) if train.micro_batch else None
    for part in batch.split(train.micro_batch or len(batch)):
        with autocast(sums.device.type, train.precision):
            outputs = by_target(forward(model, part.inputs), losses)
        loss = loss_sum(losses, outputs, part)
        (loss / records).backward()  # type: ignore[no-untyped-call]
        if found is not None:
            found.add()
        sums[0] += loss.detach()
        main = next(name for name, one in losses.items() if isinstance(one.column, Class))
        sums[1] += losses[main].right(outputs[main].detach(), part.targets[main])
    return found


def _wishes(caught: list[int], run: RunFolder, pace: Pace, ranks: Ranks) -> Wishes:
    return Wishes(caught[0] if caught else 0, ranks.leads and run.stop.exists(), pace.due())


def _began(
    state: State, run: RunFolder, begun: Position | None, emit: Emit, ranks: Ranks
) -> Position:
    """Where training goes on, or begins, with its state: rank 0's, on all ranks."""
    at = None
    if ranks.leads:
        at = checkpoint.restore(run.checkpoints, state, emit)
        if at is not None:
            emit(Notice(f"resumed at epoch {at.epoch + 1}, step {at.step}"))
        at = at or begun or Position()
        run.write_history(at.history)
    if not ranks.several:
        assert at is not None
        return at
    tensors = ranks.tensors(checkpoint.tensors_of(state))
    at = Position(**ranks.tell(None if at is None else asdict(at)))
    if not ranks.leads:
        checkpoint.fill(state, tensors, run.path)
    return at


def stage(at: Position, train: Train) -> str:
    """What the progress bar of an epoch is called."""
    return f"epoch {at.epoch + 1}/{train.epochs}"


def _end_epoch(at: Position, state: State, train: Train, lr: float, validate: Validate) -> EpochEnd:
    """Judge the epoch on validation, add its line to the history, and stand at the next one."""
    began = time.perf_counter()
    val_loss, val_accuracy = validate(state.judged)
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
        counted(train),
    )
    at.history.append(asdict(end))
    if train.keeps_best and val_loss is not None:
        found = rank(train.keep, val_loss, val_accuracy or 0.0)
        before = at.best_loss, at.best_accuracy or 0.0
        if before[0] is None or found < rank(train.keep, before[0], before[1]):
            at.best_loss, at.best_accuracy, at.best_epoch = val_loss, val_accuracy, at.epoch
            state.remember()
        waited = at.epoch - at.best_epoch
        at.stopped = 0 < train.early_stopping <= waited
    at.epoch, at.step, at.loss_sum, at.correct, at.seen = at.epoch + 1, 0, 0.0, 0, 0
    at.epoch_seconds = 0.0
    return end


def _end_early(at: Position, step: int, total: int, emit: Emit) -> None:
    """Let this step be the last, because somebody asked for that."""
    at.stopped, at.ended_at = True, step
    emit(Notice(f"ended on request after step {step:,} of {total:,}"))


def _guard(model: nn.Module, at: Position, lr: float, deep: bool) -> None:
    """Refuse to go on, or to save, with what is no number. Raises TrainingError."""
    wrong = [] if math.isfinite(at.loss_sum) else [f"loss {at.loss_sum / at.seen:g}"]
    if deep:
        names = [n for n, p in model.named_parameters() if not bool(p.detach().isfinite().all())]
        wrong += (
            [f"weights of {names[0]} and {len(names) - 1} more are no numbers"] if names else []
        )
    if wrong:
        raise TrainingError(
            f"training broke down at epoch {at.epoch + 1}, by step {at.step} ({', '.join(wrong)}) "
            f"at learning rate {lr:g}; nothing of it was saved, the last checkpoint stands. Try a "
            "lower --lr or --clip-grad 1, or look for images or targets that are not numbers"
        )


@contextlib.contextmanager
def _settled() -> Iterator[None]:
    """Spare the garbage collector what is there by now: it would look through it every few hundred
    steps."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.contextmanager
def _signals(patient: bool = False) -> Iterator[list[int]]:
    """Note Ctrl-C and SIGTERM instead of dying of them; a second one stops at once, unless it may
    be the same one, sent by a launcher, too (``patient``)."""
    caught: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        if caught and not patient:
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
