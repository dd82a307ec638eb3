"""A short training that every test of a run can afford, and processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

QUICK = {"model": "cnn", "widths": [4, 8], "epochs": 3, "batch_size": 40, "lr": 0.01}
QUICK |= {"precision": "float32", "memory_format": "contiguous", "kernels": "plain"}


def same_weights(one: Path, two: Path) -> bool:
    return (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()


SMALL = ["--epochs", "1", "--hidden", "16", "--model", "mlp", "-b", "60", "--precision", "float32"]
SMALL += ["--memory-format", "contiguous", "--kernels", "plain"]  # words of the command line


def convscope(*args: str, **more: object) -> subprocess.Popen[str]:
    """The command line as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "convscope", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def python(code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Code in a process of its own, with arguments and a few variables more."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
