"""A time budget: what a step, the end of an epoch and that of the job cost here, and what fits."""

from __future__ import annotations

import re
import statistics
import time
from dataclasses import dataclass

from convscope.errors import BadArgument
from convscope.training.rehearsal import Rehearsal

AIM = 0.97  # of the budget; the rest is for what no measurement foresees
SHARE = 0.1  # of what is left of the budget, at most, is spent on measuring steps
LEAST, ENOUGH = 0.05, 10.0  # of it, or seconds, at least: no moment's disturbance must decide
WARM, TIMED = 3, 20  # steps, of which the first pay for what the others find warm
PAGES = 1.0  # seconds for the figures, the predictions and the report, 0.4 to 0.9 measured


@dataclass(frozen=True)
class Prices:
    """Seconds: a ``step``, the ``end`` of an epoch (judging and saving), and all that comes after
    the last of them (``final``)."""

    step: float
    end: float
    final: float


def seconds_of(text: float | str) -> float:
    """A time as it is typed, in seconds. Raises BadArgument.

    >>> seconds_of("90s"), seconds_of("1h30m"), seconds_of(45)
    (90.0, 5400.0, 45.0)
    """
    number = r"(\d+(?:\.\d+)?)"
    found = re.fullmatch(
        rf"(?:{number}h)?\s*(?:{number}m(?:in)?)?\s*(?:{number}s?)?", str(text).strip()
    )
    hours, minutes, seconds = (float(part or 0) for part in found.groups()) if found else (0, 0, 0)
    if (total := hours * 3600 + minutes * 60 + seconds) <= 0:
        raise BadArgument("time_budget", text, "must be a time", "write 90s, 10m or 1h30m")
    return total


def fit(room: float, epoch: int, prices: Prices) -> int:
    """The most steps, at ``epoch`` steps an epoch, whose whole cost is at most ``room`` seconds; 0
    where not even one is.

    >>> fit(100, 10, Prices(step=1.0, end=2.0, final=5.0))  # seven epochs of 12 s, nine steps, 2 s
    79
    """
    full, rest = divmod(room - prices.final, epoch * prices.step + prices.end)
    return max(0, int(full) * epoch + max(0, int((rest - prices.end) / prices.step)))


def measure(rehearsal: Rehearsal, room: float, judged: int, finally_judged: int) -> Prices:
    """What things cost on this machine; 5 to 10 % of ``room`` seconds are spent on steps.

    ``judged`` images end an epoch, ``finally_judged`` the job. A step costs the mean of the middle
    half of those that were timed, so that what else the machine does for a moment counts little.
    """
    began, train = time.perf_counter(), rehearsal.train
    for _ in range(WARM):
        rehearsal.step()
        if time.perf_counter() - began > SHARE / 2 * room:
            break
    steps = [rehearsal.step()]
    while (gone := time.perf_counter() - began) < SHARE * room:
        if len(steps) >= TIMED and gone > min(LEAST * room, ENOUGH):
            break
        steps.append(rehearsal.step())
    count = min(train.eval_batch, max(judged, finally_judged), len(rehearsal))
    rehearsal.judge(count)
    an_image = min(rehearsal.judge(count) for _ in range(2)) / count
    save = rehearsal.save()
    step = middle(steps)
    if step * len(rehearsal.loader.sizes()) > train.checkpoint_seconds:  # saves within an epoch
        step += save * step / max(step, train.checkpoint_seconds)
    return Prices(step, judged * an_image + save, finally_judged * an_image + PAGES)


def middle(times: list[float]) -> float:
    """The mean of the middle half.

    >>> middle([1.0, 2.0, 4.0, 100.0])
    3.0
    """
    aside = len(times) // 4
    return statistics.mean(sorted(times)[aside : len(times) - aside])
