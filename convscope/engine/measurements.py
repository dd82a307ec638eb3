"""What was measured on this machine and is kept: of each network, how fast it trains in which
number format, memory format and kernels.

A file each in the cache, under ``precision``. It says when, with what versions and how quiet the
machine was; after :data:`DAYS` days it counts no more.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from convscope import files, machine
from convscope.errors import ConvscopeError

DAYS = 30  # a machine gets other software, other neighbours, another cooling


def today() -> str:
    """The day and time that a measurement is kept with, ISO 8601 in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def is_young(measured: Any) -> bool:
    """Whether that time, as :func:`today` writes it, is past and no more than :data:`DAYS` ago.

    >>> is_young(today()), is_young("2020-01-01T00:00:00+00:00"), is_young(None)
    (True, False, False)
    """
    try:
        age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(measured)
    except (TypeError, ValueError):
        return False
    return -datetime.timedelta(days=1) < age < datetime.timedelta(days=DAYS)


class Candidate(NamedTuple):
    """A way to train: number format, memory format and kernels as a recipe has them.

    >>> str(Candidate("float32", "channels_last", "fused 0=aten,aten,im2col"))
    'float32 channels_last fused 0=aten,aten,im2col'
    """

    precision: str
    memory_format: str
    kernels: str

    def __str__(self) -> str:
        return " ".join(self)

    @classmethod
    def read(cls, text: str) -> Candidate:
        """The candidate that is written so."""
        return cls(*text.split(maxsplit=2))


@dataclass(frozen=True)
class Measurement:
    """How fast a network's candidates were, and which was chosen.

    ``seconds`` are those of a forward and backward pass of ``images`` images in the best quiet
    round, by candidate; ``wrong`` are the candidates that gave
    other gradients than float32. ``asked`` are precision, memory format and kernels as the recipe
    has them ("auto" is what was measured for). ``quiet`` is the share of rounds that nobody
    disturbed. ``steps``: seconds of a whole step of training, by a key of what else is in it
    (augmentation, optimiser).
    """

    network: str
    arguments: dict[str, Any]
    classes: int
    shape: tuple[int, int, int, int]
    device: str
    asked: tuple[str, str, str]
    images: int
    seconds: dict[Candidate, float]
    wrong: tuple[Candidate, ...]
    chosen: Candidate
    quiet: float
    measured: str
    versions: dict[str, str]
    steps: dict[str, float] = field(default_factory=dict)

    def gain(self) -> float | None:
        """How many times as fast as the best in float32 the chosen one is; None where float32 was
        not measured."""
        exact = [s for one, s in self.seconds.items() if one.precision == "float32"]
        return min(exact) / self.seconds[self.chosen] if exact else None

    def as_json(self) -> dict[str, Any]:
        """The measurement as it is kept, each candidate as text."""
        return dataclasses.asdict(self) | {
            "seconds": {str(one): s for one, s in self.seconds.items()},
            "wrong": [str(one) for one in self.wrong],
            "chosen": str(self.chosen),
        }


def key_of(*what: object) -> str:
    """The name that a measurement is kept under: of this machine, these versions and ``what``."""
    parts = machine.describe(), machine.versions(), what
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def read(key: str) -> Measurement | None:
    """What is kept; None where there is nothing, or it is damaged or too old."""
    return _read(_folder() / f"network-{key}.json")


def write(key: str, measurement: Measurement) -> str:
    """Keep a measurement; where that cannot be, why, once a process."""
    return files.keep(_folder() / f"network-{key}.json", measurement.as_json())


def forget(key: str) -> None:
    """Drop a measurement, so that the next run measures anew. Raises ConvscopeError."""
    files.remove(_folder() / f"network-{key}.json")


def all_kept() -> list[tuple[str, Measurement]]:
    """Each measurement of this machine that still counts, with its key, the latest first."""
    found = []
    if _folder().is_dir():
        for path in _folder().glob("network-*.json"):
            if (one := _read(path)) is not None:
                found.append((path.stem.removeprefix("network-"), one))
    return sorted(found, key=lambda pair: pair[1].measured, reverse=True)


def _folder() -> Path:
    return files.cache_root() / "precision"


def _read(path: Path) -> Measurement | None:
    try:
        told = files.read_json(path, ConvscopeError)
        told |= {name: tuple(told[name]) for name in ("shape", "asked")}
        told["seconds"] = {Candidate.read(one): s for one, s in told["seconds"].items()}
        told["wrong"] = tuple(map(Candidate.read, told["wrong"]))
        found = Measurement(**told | {"chosen": Candidate.read(told["chosen"])})
        whole = (
            is_young(found.measured)
            and len(found.shape) == 4
            and len(found.asked) == 3
            and found.chosen in found.seconds
            and all(isinstance(s, float) and s > 0 for s in found.seconds.values())
            and all(isinstance(s, float) and s > 0 for s in found.steps.values())
        )
    except (ConvscopeError, TypeError, KeyError, AttributeError):
        return None
    return found if whole else None
