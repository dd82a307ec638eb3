"""Environments that hold what a distribution declares and nothing else, made of links to what is
installed here: nothing is downloaded."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement


def declared(*requirements: str) -> list[metadata.Distribution]:
    """The distributions that requirements name, with all that those need in turn."""
    found: dict[str, metadata.Distribution] = {}
    seen: set[tuple[str, str]] = set()
    wait = [(Requirement(text), "") for text in requirements]
    while wait:
        one, of = wait.pop()
        if one.marker and not one.marker.evaluate({"extra": of}):
            continue
        name = named(one.name)
        found[name] = metadata.distribution(name)
        for extra in ("", *one.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                wait += [(Requirement(text), extra) for text in found[name].requires or ()]
    return list(found.values())


def named(distribution: str) -> str:
    """A distribution's name as all are compared.

    >>> named("Prometheus_Client")
    'prometheus-client'
    """
    return re.sub(r"[-_.]+", "-", distribution).lower()


def environment(folder: Path, *requirements: str) -> Path:
    """A new environment with these distributions, what they need, and no more: its Python."""
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(str(python), "-c", code).strip())
    for one in declared(*requirements):
        for file in one.files or ():
            top = file.parts[0]
            place = Path(str(one.locate_file(top)))
            if top not in ("..", "__pycache__") and place.exists() and not (site / top).exists():
                (site / top).symlink_to(place, target_is_directory=place.is_dir())
    return python


def run(*command: str, code: int = 0, **more: object) -> str:
    """What a command prints, which must end by this ``code``; on stderr, if it is not 0. This
    checkout is not on its path."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=kept, **more)
    assert done.returncode == code, done.stdout + done.stderr
    return str(done.stderr if code else done.stdout)
