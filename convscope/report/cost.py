"""What a training cost: time, arithmetic, and an estimate of energy that says what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convscope.formatting import plural
from convscope.insight.anatomy import Row, Summary
from convscope.markup import facts, note
from convscope.report.run_files import RunFiles, duration

WATTS = 10.0  # a busy core with its share of memory and power supply
PASSES = 3  # a step in multiply-adds of the way forward: once forward, twice back


@dataclass(frozen=True)
class Cost:
    """Images that were learnt from, each time counted; multiply-adds of all training, None where
    they cannot be counted; watt-hours, None where nothing is assumed of the device."""

    images: int
    multiply_adds: int | None
    watt_hours: float | None
    threads: int


def cost(
    history: Sequence[Mapping[str, Any]],
    seconds: float,
    multiply_adds: int | None,
    threads: int,
    device: str,
) -> Cost:
    """The cost of a training of so many seconds on so many threads; ``multiply_adds`` are those of
    one image, forward.

    >>> epoch = {"seconds": 10.0, "images_per_second": 100.0}
    >>> found = cost([epoch, epoch], 36.0, 1_000_000, 2, "cpu")
    >>> found.images, found.multiply_adds, found.watt_hours
    (2000, 6000000000, 0.2)
    """
    images = round(sum(row["seconds"] * row["images_per_second"] for row in history))
    whole = None if multiply_adds is None else PASSES * multiply_adds * images
    joules = WATTS * threads * seconds if device == "cpu" and threads else None
    return Cost(images, whole, None if joules is None else joules / 3600, threads)


def large(number: float) -> str:
    """A large number in words.

    >>> [large(n) for n in (950, 14_521_344, 2.05e12, 1.96e13)]
    ['950', '14.5 million', '2.05 trillion', '19.6 trillion']
    """
    names = {1e15: "quadrillion", 1e12: "trillion", 1e9: "billion", 1e6: "million"}
    for size, name in names.items():
        if number >= size:
            return f"{number / size:.3g} {name}"
    return f"{number:,.0f}"


def energy(watt_hours: float) -> str:
    """Watt-hours to two digits: an estimate has no more.

    >>> [energy(n) for n in (0.0312, 0.683, 2510)]
    ['0.031 Wh', '0.68 Wh', '2.5 kWh']
    """
    return f"{watt_hours / 1000:.2g} kWh" if watt_hours >= 1000 else f"{watt_hours:.2g} Wh"


def html(run: RunFiles, summary: Summary | str) -> str:
    """Time, arithmetic and energy, and what the estimate rests on."""
    m, train = run.metrics, run.table("train")
    whole = Row("total", "", None, 0, None) if isinstance(summary, str) else summary.total
    threads = train.get("threads") or run.model["machine"].get("threads")
    found = cost(
        run.history,
        m["train_seconds"],
        None if whole.note else whole.multiply_adds,
        threads if isinstance(threads, int) else 0,
        str(train.get("device", "cpu")),
    )
    counted, forward = found.multiply_adds is not None, large(whole.multiply_adds or 0)
    lines = [
        ("Training, with validation", duration(m["train_seconds"])),
        ("Speed", f"{m['images_per_second']:,.0f} images/s"),
        ("Images learnt from", f"{found.images:,} in {plural(len(run.history), 'epoch')}"),
        ("Multiply-adds of training, about", large(found.multiply_adds or 0) if counted else "–"),
        ("Energy, estimated", energy(found.watt_hours) if found.watt_hours is not None else "–"),
        ("Judging the test split", duration(m["eval_seconds"])),
        ("One image, forward", f"{forward} multiply-adds" if counted else "–"),
        ("Parameters", f"{run.model['parameters']:,}"),
    ]
    said = (
        f"Multiply-adds of training are {PASSES} times those of the way forward, once forward and "
        "twice back, for every image learnt from."
        if counted
        else "The multiply-adds of some layers cannot be counted."
    )
    if found.watt_hours is None:
        said += " Of this device's energy nothing is assumed."
    else:
        said += (
            f" Energy was not measured. It is an estimate: {duration(m['train_seconds'])} on "
            f"{plural(found.threads, 'thread')} at {WATTS:g} watts each, which is assumed for a "
            "busy core with its share of memory and power supply."
        )
    return facts(lines) + note(said)
