"""A Python with Keras and TensorFlow, in an environment of its own beside the benchmarks.

Both are heavy and neither is needed but as a peer, so that they stay out of the project's own
environment: ``benchmarks/.keras`` is made once, where it is missing, and git does not see it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

VENV = Path(__file__).resolve().parent / ".keras"
PACKAGES = ("tensorflow-cpu==2.21.0", "keras==3.15.1")


class NoKeras(Exception):
    """There is no such Python and none could be made; the message says why and what to do."""


def python(given: str | None = None) -> str:
    """The Python to run the Keras peer with: the one given, else that of ``.keras``, made if it is
    not there. Raises NoKeras."""
    if given is not None:
        _try(given)
        return given
    found = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    complete = VENV / "complete"
    wanted = f"{' '.join(PACKAGES)} {sys.version_info.major}.{sys.version_info.minor}"
    if not complete.exists() or complete.read_text() != wanted:
        print(
            f"installing {' and '.join(PACKAGES)} into {VENV} (about 1.5 GB, once; --keras-python "
            "PATH uses an environment of yours)",
            file=sys.stderr,
            flush=True,
        )
        _run(sys.executable, "-m", "venv", "--clear", str(VENV))
        _run(str(found), "-m", "pip", "install", "-q", *PACKAGES)
        complete.write_text(wanted)
    _try(str(found))
    return str(found)


def _try(path: str) -> None:
    try:
        _run(path, "-c", "import keras, tensorflow", env={"KERAS_BACKEND": "tensorflow"})
    except NoKeras as why:
        raise NoKeras(f"{path} cannot import keras and tensorflow: {why}") from None


def _run(*command: str, env: dict[str, str] | None = None) -> None:
    own = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "TF_CPP_MIN_LOG_LEVEL": "3", **(env or {})}
    try:
        done = subprocess.run(
            command, env={**os.environ, **own}, capture_output=True, text=True, check=False
        )
    except OSError as why:
        raise NoKeras(f"{command[0]}: {why.strerror}") from None
    if done.returncode:
        last = [line[:200] for line in done.stderr.splitlines() if line.strip()][-3:]
        text = f"{' '.join(command)} failed with exit code {done.returncode}: {' / '.join(last)}"
        raise NoKeras(f"{text}; give a Python that has both: --keras-python PATH")
