"""Workers as processes of their own on this machine: started, watched, and ended with it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from convscope import files
from convscope.errors import RunError
from convscope.events import Emit, Notice
from convscope.studies.tuning.trials import ATTEMPTS, Trials
from convscope.studies.tuning.work import Worker

LOOKS = 0.5  # seconds between two looks at them
PARTING = 20.0  # seconds that they have to end in good order
STOPPED = (130, 143)


@dataclass(frozen=True)
class _Process:
    worker: Worker
    log: Path
    process: subprocess.Popen[bytes]

    def end(self) -> None:
        """Ask it to end, as it does where whoever started it is gone."""
        with contextlib.suppress(OSError):
            self.process.terminate()

    def close(self) -> None:
        """Let go of it, once it has ended."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def said(self) -> str:
        """The last that it said."""
        lines = self.log.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "nothing"


def work(
    worker: Worker, count: int, trials: Trials, emit: Emit, told: Callable[[Trials], None]
) -> None:
    """Let so many workers like this one take trials until all are finished. One that is killed is
    replaced, its trial repeated, until as many in a row as have ``ATTEMPTS`` each were killed while
    no trial ended. Raises RunError where one that failed left trials over."""
    began = time.monotonic()
    folder = Path(worker.folder) / "workers"
    files.make_folder(folder)
    started = 0

    def start() -> _Process:
        nonlocal started
        started += 1
        gone = time.monotonic() - began
        left = None if worker.seconds is None else max(0.0, worker.seconds - gone)
        one = replace(worker, name=f"{worker.name}-{started}", seconds=left)
        return _started(one, folder / f"{one.name}.log")

    deaths, before = 0, trials.left()
    at_work, failures = [start() for _ in range(count)], list[str]()
    try:
        while at_work:
            time.sleep(LOOKS)
            told(trials)
            for one in [p for p in at_work if p.process.poll() is not None]:
                at_work.remove(one)
                one.close()
                code = one.process.returncode
                if code == 0:
                    continue
                name = one.worker.name
                trials.bury(name)
                if code < 0 and code != -signal.SIGTERM:
                    killed, left = signal.Signals(-code).name, trials.left()
                    deaths, before = (deaths + 1 if left == before else 1), left
                    if deaths < ATTEMPTS * count:
                        emit(Notice(f"worker {name} was killed ({killed}); another begins", True))
                        at_work.append(start())
                        continue
                    failures.append(
                        f"{deaths} workers in a row were killed and no trial ended, the last by "
                        f"{killed}; it said: {one.said()}"
                    )
                else:
                    failures.append(one.said())
                    emit(Notice(f"worker {name} ended: {one.said()}", warning=True))
    finally:
        for one in at_work:
            one.end()
        until = time.monotonic() + PARTING
        for one in at_work:
            try:
                one.process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()
            one.close()
    told(trials)
    if failures and trials.left():
        raise RunError(f"{failures[0]} (the whole of it is in {folder})")


def _started(worker: Worker, log: Path) -> _Process:
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "convscope.studies.tuning.work"],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    assert process.stdin is not None
    process.stdin.write((json.dumps(asdict(worker)) + "\n").encode())
    process.stdin.flush()
    return _Process(worker, log, process)
