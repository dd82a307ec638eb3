"""What the studies that are ready have shown: the rows of their runs, kept beside the machine and
the date."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.errors import BadArgument
from convscope.studies import grid
from convscope.studies.analysis import Analysis, analyse_all

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Measured:
    """A study as it came out once."""

    parts: tuple[Analysis, ...]
    command: str
    machine: str
    date: str

    @property
    def seconds(self) -> float:
        """The training of all runs together."""
        return float(sum(row["seconds"] for part in self.parts for row in part.rows))

    def as_json(self) -> dict[str, Any]:
        """What ``convscope sweep --measured --json`` prints."""
        rows = [row for part in self.parts for row in part.rows]
        return {"command": self.command, "machine": self.machine, "date": self.date,
                "rows": rows, "parts": [part.as_json() for part in self.parts]}  # fmt: skip


def names() -> list[str]:
    """The studies whose rows are here.

    >>> set(names()) <= set(grid.names())
    True
    """
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load(study: str) -> Measured:
    """What a study has shown. Raises BadArgument for one that is not ready or was not measured."""
    ready = grid.load(study)
    if study not in names():
        rule = "was not measured"
        raise BadArgument("study", study, rule, f"known are {', '.join(names()) or 'none'}")
    kept = json.loads((FOLDER / f"{study}.json").read_text(encoding="utf-8"))
    parts = analyse_all(ready, kept["rows"])
    return Measured(parts, kept["command"], kept["machine"], kept["date"])
