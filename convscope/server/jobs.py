"""The trainings that a studio starts: processes of their own, the very same that the command line
starts, of which all state lies in files, so that a server that is started again finds them.

``ROOT/.studio/RUN.json`` says what was asked for, ``RUN.jsonl`` is the journal of the process
(:mod:`convscope.journal`), ``RUN.log`` what it said; the run folder has the rest.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock

from convscope import files, journal
from convscope.errors import ConvscopeError, RunError
from convscope.evaluation.predictions_file import read_predictions
from convscope.run import RunFolder
from convscope.server.image_sets import HIDDEN, SETS, Seen
from convscope.server.limits import Refusal

STARTING = 20.0  # seconds that a process may take to its first line
CAMERA = re.compile(r"camera-\d+-\d+\.\w+$")  # a frame of a burst, of which all stay together
KEPT = {  # of a record
    *("run", "set", "arguments", "created", "classes", "images"),
    *("attempts", "pid", "spawned"),
}
RUNNING, DONE, STOPPED, FAILED = "running", "done", "stopped", "failed"


@dataclass(frozen=True)
class Options:
    """What can be chosen in the page: how many ``minutes`` at most, whether it begins from
    ``scratch``, and whether images may be mirrored."""

    minutes: float | None = None
    scratch: bool = False
    mirrored: bool = True

    def arguments(self) -> list[str]:
        """As `train` is asked for it."""
        found = [] if self.minutes is None else ["--time-budget", f"{round(60 * self.minutes)}s"]
        found += ["--from", "none"] * self.scratch
        return found + ["--no-flip"] * (not self.mirrored)


class Jobs:
    """The trainings below a root, one at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = root if root.resolve().name == "runs" else root / "runs"
        self.kept = root / HIDDEN
        self.started: dict[str, subprocess.Popen[bytes]] = {}  # by this process, to be reaped
        self.lock = threading.Lock()

    def of(self, name: str) -> list[dict[str, Any]]:
        """What there is to say of each training of a set, the latest first."""
        return [self.said(one) for one in self._records() if one["set"] == name]

    def running(self) -> dict[str, Any] | None:
        """The training that is going on, if one is."""
        for one in self._records():
            if self._lives(one):
                return self.said(one)
        return None

    def start(self, name: str, seen: Seen, options: Options) -> dict[str, Any]:
        """Train on a set as it is. Raises Refusal where it cannot be learnt, and while another
        training goes on."""
        check(seen)
        with self._alone():
            run = self._unused(name)
            data, out = self.root / SETS / name, self.runs / run
            asked = options.arguments()
            if any(CAMERA.search(file) for some in seen.classes.values() for file in some):
                asked += ["--group", "stem"]
            return self._spawn(
                {
                    "run": run,
                    "set": name,
                    "arguments": ["train", str(data), "--out", str(out), *asked],
                    "created": _now(),
                    "classes": len(seen.classes),
                    "images": sum(map(len, seen.classes.values())),
                    "attempts": 0,
                }
            )

    def resume(self, run: str) -> dict[str, Any]:
        """Go on with a training that was stopped or killed. Raises Refusal."""
        record = self.record(run)
        with self._alone():
            if (self.runs / run / "metrics.json").exists():
                raise Refusal(409, "finished", f"{run} is finished; there is nothing to go on with")
            RunFolder(self.runs / run).stop.unlink(missing_ok=True)  # was meant for who was killed
            return self._spawn(record)

    def stop(self, run: str) -> dict[str, Any]:
        """End a training: with what it has learnt so far, which is judged; before it has learnt
        anything, at once. Raises Refusal."""
        record = self.record(run)
        place = RunFolder(self.runs / run)
        if not self._lives(record):
            raise Refusal(409, "stopped", f"{run} is not being trained")
        if place.metrics.exists():
            pass  # it was judged by now
        elif place.recipe.exists():
            files.write_whole(place.stop, "")
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(record["pid"], signal.SIGTERM)  # it lives, so that this is its number yet
        return self.said(record)

    def events(self, run: str, start: int) -> dict[str, Any]:
        """What happened to a training from the byte ``start`` of its journal on, where to read on,
        and how it stands. Raises Refusal."""
        record = self.record(run)
        said = self.said(record)  # first: what is not read of it now is read the next time
        events, after = journal.read(self._journal(run), start)
        return {"events": events, "next": after, "training": said}

    def mistakes(self, run: str, seen: Seen) -> list[dict[str, Any]]:
        """The test images that a training got wrong, the surest first, and whether each is in the
        set yet where it was. Raises Refusal, RunError."""
        self.record(run)
        rows = read_predictions(RunFolder(self.runs / run).predictions)
        wrong = [row for row in rows if row.label != row.predicted]
        return [
            {
                "class": (parts := row.file_or_index.partition("/"))[0],
                "file": parts[2],
                "key": seen.keys.get(row.file_or_index),
                "label": row.label,
                "predicted": row.predicted,
                "p": row.p_predicted,
            }
            for row in sorted(wrong, key=lambda row: -row.p_predicted)
        ]

    def record(self, run: str) -> dict[str, Any]:
        """What was asked for. Raises Refusal where there is no such training."""
        for one in self._records():
            if one["run"] == run:
                return one
        raise Refusal(404, "training", f"there is no training {run!r:.100} here")

    def rename(self, old: str, new: str) -> None:
        """Let the trainings of a set be those of its new name."""
        for one in self._records():
            if one["set"] == old:
                self._write({**one, "set": new})

    def said(self, record: dict[str, Any]) -> dict[str, Any]:
        """All that there is to say of a training: what was asked for, its state, and its figures
        once it was judged."""
        run, lives = record["run"], self._lives(record)
        place, end = RunFolder(self.runs / run), journal.last(self._journal(run))
        found: dict[str, Any] = {
            **{key: record[key] for key in ("run", "set", "created", "classes", "images")},
            "command": shlex.join(["convscope", *record["arguments"]]),
            "page": f"/run/{quote(place.path.relative_to(self.root).as_posix())}/",
            "begun": place.recipe.exists(),
            "report": place.report.exists(),
        }
        try:
            found |= _figures(place)
            error = "" if lives else self._error(record, end)
        except RunError as why:
            error = str(why)
        ended = error.startswith("stopped") or not error
        state = DONE if "accuracy" in found else STOPPED if ended else FAILED
        return {**found, "state": RUNNING if lives else state, "error": error}

    def _records(self) -> list[dict[str, Any]]:
        """Of all trainings, the latest first; what is damaged is passed over."""
        found = []
        for path in self.kept.glob("*.json") if self.kept.is_dir() else ():
            with contextlib.suppress(ConvscopeError):
                one = files.read_json(path, ConvscopeError)
                if isinstance(one, dict) and one.keys() >= KEPT:
                    found.append(one)
        return sorted(found, key=lambda one: (one["created"], one["spawned"]), reverse=True)

    def _lives(self, record: dict[str, Any]) -> bool:
        run = record["run"]
        process = self.started.get(run)
        if process is not None and process.poll() is None:
            return True
        if journal.is_written(self._journal(run)):  # by another studio's, or from a terminal
            return True
        return process is None and self._starting(record)

    def _starting(self, record: dict[str, Any]) -> bool:
        """Whether the process, of a server that is gone, may be about to write its first line."""
        if not 0 <= time.time() - record["spawned"] < STARTING:
            return False
        last = float(journal.last(self._journal(record["run"])).get("time", 0))
        return last < float(record["spawned"])

    def _error(self, record: dict[str, Any], end: dict[str, Any]) -> str:
        """What ended a process: as its journal says, or, where it never came to one, the last line
        of what it said; nothing where it was done or killed."""
        if float(end.get("time", 0)) >= record["spawned"]:
            return str(end.get("error") or "")
        with contextlib.suppress(OSError):
            said = (self.kept / f"{record['run']}.log").read_text("utf-8", "replace").split("\n")
            return next((line for line in reversed(said) if line.strip()), "it said nothing")
        return "it never began"

    def _spawn(self, record: dict[str, Any]) -> dict[str, Any]:
        run, arguments = record["run"], [*record["arguments"]]
        if record["attempts"]:
            arguments += ["--resume"]
            if (self.runs / run / "recipe.toml").exists() and "--time-budget" in arguments:
                at = arguments.index("--time-budget")  # it was fitted when the run was begun
                del arguments[at : at + 2]
        command = [sys.executable, "-m", "convscope", *arguments]
        command += ["--events", str(self._journal(run))]
        files.make_folder(self.kept)
        log = self.kept / f"{run}.log"
        spawned = time.time()
        with files.explained(log), log.open("ab") as said:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,  # Ctrl-C ends the server alone
            )
        self.started[run] = process
        counted = {"pid": process.pid, "spawned": spawned, "attempts": record["attempts"] + 1}
        record = {**record, **counted}
        self._write(record)
        return self.said(record)

    def _write(self, record: dict[str, Any]) -> None:
        files.write_json(self.kept / f"{record['run']}.json", record)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else starts a training meanwhile. Raises Refusal while one goes on."""
        with self.lock, files.explained(self.kept):
            files.make_folder(self.kept)
            with FileLock(self.kept / "lock"):
                if (other := self.running()) is not None:
                    text = f"{other['run']} is being trained; wait for it, or stop it"
                    raise Refusal(409, "busy", text)
                yield

    def _unused(self, name: str) -> str:
        n = 1
        while (self.runs / f"{name}-{n}").exists() or (self.kept / f"{name}-{n}.json").exists():
            n += 1
        return f"{name}-{n}"

    def _journal(self, run: str) -> Path:
        return self.kept / f"{run}.jsonl"


def check(seen: Seen) -> None:
    """Refuse to train on what has fewer than two classes, or a class without an image."""
    empty = [name for name, some in seen.classes.items() if not some]
    if len(seen.classes) < 2:
        raise Refusal(400, "classes", "a network tells two classes or more apart; add another one")
    if empty:
        named = _listed(empty)
        text = f"{named} has no image; give it some, or take it out"
        raise Refusal(400, "empty", text)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in names)


def _figures(place: RunFolder) -> dict[str, Any]:
    """The figures of a run, none before it was judged. Raises RunError."""
    if not place.metrics.exists():
        return {}
    told = place.read_metrics()
    known = ("accuracy", "n", "train_seconds", "balanced_accuracy", "skewed", "ended_at_step")
    confusion = told["confusion"]
    return {
        **{key: told[key] for key in known if key in told},
        "ci95": told["accuracy_ci95"],
        "right": sum(row[at] for at, row in enumerate(confusion)),
        "commonest": max(map(sum, confusion)),  # right by chance: the one class with the most
        "judged": place.metrics.stat().st_mtime,
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
