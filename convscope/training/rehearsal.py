"""A run's own work on copies of its network, to be timed and weighed; nothing of it stays."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from torch import Tensor, nn

from convscope import devices
from convscope.data.loader import Batch, Loader
from convscope.evaluation import predictions
from convscope.recipe import Train
from convscope.training import checkpoint, optim
from convscope.training.checkpoint import Position, State
from convscope.training.loop import update
from convscope.training.losses import losses_of


class Rehearsal:
    """Steps, judging and saves as a run does them; ``inputs`` (of images uint8 [N,C,H,W]) are like
    those that it judges, and ``after`` is called after each step."""

    def __init__(
        self,
        model: nn.Module,
        loader: Loader,
        train: Train,
        inputs: Mapping[str, Tensor],
        after: Callable[[], None] = lambda: None,
    ) -> None:
        twin = copy.deepcopy(model)
        self.state = State.of(twin, optim.optimizer(twin, train), train)
        self.loader, self.train, self.inputs, self.after = loader, train, inputs, after
        self.losses, self.batches = losses_of(loader, train), endless(loader)
        self.batch: Batch | None = None  # kept until the next one is drawn, as by the loop
        self.sums = Position().sums(loader.device)
        self.done = 0

    def step(self, train: Train | None = None, images: int | None = None) -> float:
        """Draw the next full batch and learn from it, or from its first ``images``; the seconds it
        took."""
        began = time.perf_counter()
        self.batch = batch = next(self.batches)
        train = train or self.train
        lr = optim.learning_rate(train, 0, 1000)
        self.state.model.train()
        update(
            self.state, batch.first(images), train, self.losses, self.done, lr, self.done, self.sums
        )
        self.done += 1
        devices.wait(self.loader.device)
        self.after()
        return time.perf_counter() - began

    def __len__(self) -> int:
        """How many records there are to judge."""
        return len(next(iter(self.inputs.values())))

    def judge(self, count: int) -> float:
        """Judge so many images at once; the seconds it took."""
        began = time.perf_counter()
        predictions.outputs(
            self.state.judged,
            {name: values[:count] for name, values in self.inputs.items()},
            self.losses,
            batch_size=count,
            device=self.loader.device,
            memory_format=self.loader.memory_format,
        )
        return time.perf_counter() - began

    def save(self) -> float:
        """Save everything into a folder that is removed again; the seconds it took."""
        with tempfile.TemporaryDirectory(prefix="convscope-") as folder:
            began = time.perf_counter()
            checkpoint.save(Path(folder), Position(), self.state, 0)
            return time.perf_counter() - began


def endless(loader: Loader) -> Iterator[Batch]:
    """Full batches, epoch after epoch; what is left over at an epoch's end is passed over."""
    full, epoch = min(loader.batch_size, max(loader.sizes())), 0
    while True:
        yield from (batch for batch in loader.epoch(epoch) if batch.records >= full)
        epoch += 1
