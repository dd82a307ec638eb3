"""Another program at work: a process that keeps one core busy half of the time.

    python benchmarks/busy.py [--work 0.05] [--sleep 0.05] [--seconds 60]

Works 50 ms, sleeps 50 ms, and so on, until its time is over or the process that started it has
ended. ``run.py --busy`` and choice.py have it at work while they measure.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pairs import WorkerFailed


def keep(work: float, sleep: float, seconds: float, parent: int) -> None:
    """Work and sleep in turn."""
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends and os.getppid() == parent:
        until = time.perf_counter() + work
        while time.perf_counter() < until:
            pass
        time.sleep(sleep)


@contextlib.contextmanager
def one_core(busy: bool = True) -> Iterator[subprocess.Popen[bytes] | None]:
    """Have one core busy half of the time meanwhile, if it is to be ``busy``, by a process that is
    given. Raises WorkerFailed where it ended early."""
    if not busy:
        yield None
        return
    command = [sys.executable, str(Path(__file__).resolve()), "--parent", str(os.getpid())]
    process = subprocess.Popen(command)
    try:
        yield process
        if process.poll() is not None:
            raise WorkerFailed(f"{' '.join(command)} ended early, with {process.returncode}")
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Be busy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=float, default=0.05, help="seconds")
    parser.add_argument("--sleep", type=float, default=0.05, help="seconds")
    parser.add_argument("--seconds", type=float, default=math.inf, help="in all")
    parser.add_argument(
        "--parent", type=int, default=os.getppid(), help="with whose end this ends, too"
    )
    args = parser.parse_args()
    keep(args.work, args.sleep, args.seconds, args.parent)


if __name__ == "__main__":
    main()
