"""Studios of small runs, on real sockets."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from quick import QUICK
from servers import Running, started

import convscope as cs
from convscope.data import sources
from convscope.data.pack import Pack
from convscope.run import RunFolder
from convscope.server import serving
from convscope.server.studio import Studio

UNJUDGED = ("metrics.json", "predictions.csv", "report.html", "README.md")
UNFINISHED = (*UNJUDGED, "model.json", "model.safetensors", "validation.safetensors")


def two_runs(folder: Path, tiny: Pack) -> Path:
    """A folder with two runs of bars, ``a`` and, in a folder of its own, ``more/b``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "open_data", lambda *rest, **named: tiny)
        cs.train("mnist", **QUICK, out=folder / "a", threads=1)
        weaker = QUICK | {"lr": 0.0005, "widths": [2, 2]}
        cs.train("mnist", **weaker, out=folder / "more/b", threads=1)
    return folder


def copied(runs: Path, folder: Path) -> Path:
    """A copy of them, to be changed."""
    shutil.copytree(runs, folder)
    return folder


def unfinished(run: Path, epochs: int) -> Path:
    """A run as it was after some of its epochs."""
    for name in UNFINISHED:
        (run / name).unlink(missing_ok=True)
    place = RunFolder(run)
    place.write_history(place.read_history()[:epochs])
    return run


@contextlib.contextmanager
def studio(root: Path, port: int = 0) -> Iterator[Running]:
    """A studio, in a thread of this process."""
    with serving.listening("127.0.0.1", port) as taken, started(Studio(root), taken) as found:
        yield found
