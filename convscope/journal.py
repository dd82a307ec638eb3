"""The events of a job as lines of JSON in a file, for whoever watches it from another process."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from filelock import FileLock, Timeout

from convscope import files
from convscope.errors import RunError, text_of
from convscope.events import Emit, EpochEnd, Event, Look, Notice, Progress

EVERY = 0.1  # seconds between two lines of one stage's progress, but for its last
TAIL = 65_536  # bytes, in which the last line surely is
NAMES: dict[type[Event], str] = {
    Progress: "progress",
    Look: "look",
    EpochEnd: "epoch",
    Notice: "notice",
}


class Journal:
    """Passes every event on to ``emit`` and appends it to a file, a JSON object a line: ``event``
    (progress, look, epoch, notice), ``time`` (seconds since 1970), the fields of
    :mod:`convscope.events`. The first line is ``begin`` with the process's ``pid``; the last one is
    ``end`` with the ``error`` that ended the job, null where it was done. While the job lives,
    :func:`is_written` says so. Raises RunError where another process writes there.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "events.jsonl"
    >>> with Journal(path, lambda event: None) as emit:
    ...     emit(Notice("hello"))
    >>> [line["event"] for line in read(path)[0]], is_written(path)
    (['begin', 'notice', 'end'], False)
    """

    def __init__(self, path: Path, emit: Emit) -> None:
        self.path, self.emit = path, emit
        self.lock = _lock(path)
        self.file: IO[str] | None = None
        self.told: dict[str, float] = {}  # stage -> when its progress was last written

    def __enter__(self) -> Journal:
        with files.explained(self.path):
            files.make_folder(self.path.parent)
            try:
                self.lock.acquire(timeout=2)  # is_written holds it for a moment
            except Timeout:
                text = f"{self.path}: another process writes its events there; name another file"
                raise RunError(text) from None
            self.file = self.path.open("a", encoding="utf-8")
        self._write("begin", {"pid": os.getpid()})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None
    ) -> None:
        error = None if why is None else str(why) if isinstance(why, KeyboardInterrupt) else None
        if why is not None and not error:
            error = "stopped" if isinstance(why, SystemExit) else text_of(why)
        self._write("end", {"error": error})
        assert self.file is not None
        self.file.close()
        self.lock.release()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        self.emit(event)
        if isinstance(event, Progress):
            now, last = time.monotonic(), self.told.get(event.stage, 0.0)
            if now - last < EVERY and event.done != event.total:
                return
            self.told[event.stage] = now
        self._write(NAMES[type(event)], dataclasses.asdict(event))

    def _write(self, name: str, values: dict[str, Any]) -> None:
        """Append a line; a full disk costs the line and not the job."""
        line = json.dumps({"event": name, "time": time.time(), **values})
        assert self.file is not None
        with contextlib.suppress(OSError):
            self.file.write(line + "\n")
            self.file.flush()


def read(path: Path, start: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The whole lines of a journal from the byte ``start`` on, and the byte after them; none where
    there is no such file. A line that is cut short is left for the next time."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            text = file.read()
    except FileNotFoundError:
        return [], start
    whole = text[: text.rfind(b"\n") + 1]
    found = []
    for line in whole.splitlines():
        with contextlib.suppress(ValueError):  # one of a process that was killed while it wrote
            found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict)], start + len(whole)


def last(path: Path) -> dict[str, Any]:
    """The last whole line of a journal; empty where there is none."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return {}
    found, _ = read(path, max(0, size - TAIL))
    return found[-1] if found else {}


def is_written(path: Path) -> bool:
    """Whether the process lives whose journal this is."""
    lock = _lock(path)
    if not Path(lock.lock_file).exists():
        return False
    try:
        with lock:
            return False
    except Timeout:
        return True


def _lock(path: Path) -> FileLock:
    return FileLock(f"{path}.lock", timeout=0)
