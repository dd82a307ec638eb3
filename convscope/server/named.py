"""What is to be served, as it is named on the command line -> ONNX files by the names of their
models."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from convscope import run
from convscope.errors import BadArgument, ConvscopeError, RunError
from convscope.predicting.onnx_file import OnnxFile
from convscope.run import RunFolder

FILE = "model.onnx"  # in a run folder
NAME = re.compile(r"[\w.-]+")


def models_of(
    words: Sequence[str], own: str | None, emit: Callable[[str], None]
) -> dict[str, Path]:
    """The files to serve, by name: of a run folder its ``model.onnx``, exported first where there
    is none or the run has changed since; ``own`` is the user's ``file.py:ClassName``, if it is one.
    A word may be ``NAME=PATH``. Raises BadArgument, RunError, and what the export does."""
    found: dict[str, Path] = {}
    for word in words:
        name, path = _named(word)
        if not NAME.fullmatch(name) or name.strip(".") == "":
            rule = "makes no name of a model (letters, digits, '.', '-' and '_')"
            raise BadArgument("MODEL", word, rule, f"name it: NAME={path}")
        if name in found:
            rule = f"is a second model by the name {name}"
            raise BadArgument("MODEL", word, rule, f"name it otherwise: NAME={path}")
        if path.is_dir():
            path = _exported(run.find(path), own, emit)
        elif not path.is_file():
            rule = "is not there"
            raise BadArgument("MODEL", path, rule, "name a run folder or an ONNX file of `export`")
        found[name] = path.absolute()
    return found


def _named(word: str) -> tuple[str, Path]:
    """The name of a model and its path: a run's folder, a file without its suffix."""
    name, equals, path = word.partition("=")
    if equals and not Path(word).exists():
        return name, Path(path)
    whole = Path(word).resolve()
    if whole.is_file() and whole.name == FILE:
        whole = whole.parent
    return (whole.stem if whole.is_file() else whole.name), Path(word)


def _exported(place: RunFolder, own: str | None, emit: Callable[[str], None]) -> Path:
    """The run's ONNX file, written anew unless it is that of the run as it is. It is written by a
    process of its own, since that needs PyTorch and this one does not."""
    info, file = place.read_model(), place.path / FILE
    try:
        current = file.exists() and OnnxFile.open(file).model == info
    except ConvscopeError:
        current = False
    if current:
        return file
    emit(f"{place.path}: is exported to {FILE} first")
    command = [sys.executable, "-m", "convscope", "export", str(place.path)]
    command += ["--force"] * file.exists() + (["--model", own] if own else [])
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
        raise RunError(f"{place.path}: cannot be served, since it could not be exported, see above")
    return file
