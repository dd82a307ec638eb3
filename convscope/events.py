"""What a long job tells its caller while it works: the one way upward.

A job takes ``emit``, a plain function of one event. The command line draws the events, a notebook
may print them, and :func:`silent` drops them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """So much of a stage is done; ``unit`` names what is counted ('steps', 'images', 'bytes').

    ``left`` is how many seconds the whole job still takes, once that is known.
    """

    stage: str
    done: int
    total: int | None
    unit: str
    detail: str = ""
    left: float | None = None


@dataclass(frozen=True)
class Look:
    """Where training stands within an epoch: the mean loss since its beginning, the learning rate,
    the speed."""

    step: int
    loss: float
    lr: float
    images_per_second: float


@dataclass(frozen=True)
class EpochEnd:
    """One line of ``history.jsonl``; ``val_*`` are None without a validation split. ``counted`` is
    what the train loss is where it does not count every image alike: weighted, adjusted or
    balanced."""

    epoch: int
    epochs: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    lr: float
    seconds: float
    images_per_second: float
    counted: str = ""


@dataclass(frozen=True)
class Notice:
    """Something the user should know; ``warning`` if it calls for attention."""

    text: str
    warning: bool = False


Event = Progress | Look | EpochEnd | Notice
Emit = Callable[[Event], None]


def silent(event: Event) -> None:
    """Drop the event."""
