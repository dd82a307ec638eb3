"""A run of the small bars, trained once, and exported once."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path

from quick import QUICK

import convscope as cs
from convscope.data.pack import Pack

BARS = {**QUICK, "epochs": 6}


@functools.cache
def trained() -> Path:
    """A run of the bars, whose pack stands in the place of every data set. It is not to be
    changed: see :func:`copied`."""
    folder = Path(tempfile.mkdtemp(prefix="convscope-run-")) / "a"
    return cs.train("mnist", **BARS, out=folder, look=False, emit=cs.silent).path


@functools.cache
def _exported() -> Path:
    place = Path(shutil.copytree(trained(), trained().with_name("b")))
    cs.export(place, emit=cs.silent)
    return place


def exported(bars: Pack, place: Path) -> Path:
    """``model.onnx`` in a copy of that run."""
    return Path(shutil.copytree(_exported(), place)) / "model.onnx"


def copied(bars: Pack, place: Path) -> Path:
    """A copy of that run."""
    return Path(shutil.copytree(trained(), place))
