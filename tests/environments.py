"""Pythons with packages that the project does without: heavy, or of other versions than its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from missing import missing

FOLDER = Path(__file__).parents[1] / ".venvs"


def python_with(name: str, *packages: str) -> str:
    """The Python of an environment of its own, made where there is none with these packages; that
    takes minutes and needs a package index."""
    folder = FOLDER / name
    found, made = folder / "bin" / "python", folder / "made-of"
    wanted = f"{sys.version_info[:2]} {' '.join(packages)}"
    if not made.exists() or made.read_text() != wanted:
        commands = [[sys.executable, "-m", "venv", "--clear", str(folder)]]
        commands += [[str(found), "-m", "pip", "install", "-q", *packages]]
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                missing(f"{name}, which cannot be installed: {done.stderr[-300:]}")
        made.write_text(wanted)
    return str(found)
