"""A run's curves for TensorBoard, written as the events come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convscope.errors import BadArgument
from convscope.events import Emit, EpochEnd, Event, Look

LOGS = ("tensorboard",)


def check(log: str | None) -> None:
    """Refuse a log that is not known, or whose package is not installed. Raises BadArgument."""
    if log is None:
        return
    if log not in LOGS:
        raise BadArgument("log", log, "must be tensorboard", "leave it out, or try tensorboard")
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as why:
        rule = f"needs a package that is not installed ({why.name or why})"
        raise BadArgument("log", log, rule, "install it: pip install 'convscope[log]'") from None


class Board:
    """Passes every event on to ``emit`` and writes its numbers to ``folder``, by the step, as soon
    as there is one.

    What a run that was stopped had written beyond the step at which it goes on is written anew:
    the older points are purged.
    """

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.folder: Path | None = None
        self.writer: Any = None
        self.step = 0

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *why: object) -> None:
        if self.writer is not None:
            self.writer.close()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        self.emit(event)
        match event:
            case Look(step, loss, lr, speed):
                self.step = step
                self._write({"loss/running": loss, "lr": lr, "images_per_second": speed})
            case EpochEnd():
                self._write(
                    {
                        "loss/train": event.train_loss,
                        "loss/val": event.val_loss,
                        "accuracy/train": event.train_accuracy,
                        "accuracy/val": event.val_accuracy,
                    }
                )
            case _:
                pass

    def _write(self, values: dict[str, float | None]) -> None:
        if self.folder is None:
            return
        if self.writer is None:
            from torch.utils.tensorboard import SummaryWriter

            purge = self.step if self.folder.exists() else None
            self.writer = SummaryWriter(str(self.folder), purge_step=purge)
        for name, value in values.items():
            if value is not None:
                self.writer.add_scalar(name, value, self.step)
