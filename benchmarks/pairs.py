"""Two or more worker processes that take turns: one works, the others wait.

A side is a command that speaks the protocol of peers/turns.py. ``calibrated`` finds how many steps
make a turn of the wanted length, which warms the side up; ``in_turn`` then asks the sides one after
the other, A B A B, and ``ratios`` holds one against the other, pair by pair.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Answer = dict[str, Any]
TIME_LIMIT = 900.0  # seconds that an answer may take


class WorkerFailed(Exception):
    """A side ended, or said what it should not; the message says which and shows what it left."""


class Side:
    """A worker process. ``about`` is what it said when it was ready."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        self.name, self.command, self.time_limit = name, list(command), time_limit
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self.peak_bytes = 0
        try:
            self.about = self._answer("start")
            if not self.about.get("ready"):
                raise self._failed(f"said {self.about} where it should be ready")
        except BaseException:
            self.close()
            raise

    def ask(self, verb: str, value: object = True) -> Answer:
        """Give the side its turn and wait for its end. Raises WorkerFailed."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({verb: value}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._failed("ended before its turn") from None
        return self._answer(verb)

    def stop(self) -> Answer:
        """End it in peace; its last answer."""
        last = self.ask("stop")
        self.close()
        return last

    def close(self) -> None:
        """End it, whatever it is doing."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            if stream is not None and not stream.closed:
                with contextlib.suppress(BrokenPipeError):  # what it was still to be told
                    stream.close()

    def _answer(self, verb: str) -> Answer:
        assert self.process.stdout is not None
        late = threading.Event()

        def cut() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(self.time_limit, cut)
        timer.start()
        try:
            line = self.process.stdout.readline()
            while line and not line.startswith("{"):  # a library that talks
                line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if late.is_set():
            raise self._failed(f"took longer than {self.time_limit:g} s over '{verb}'")
        if not line:
            code = self.process.wait()
            raise self._failed(f"ended with exit code {code} over '{verb}'")
        try:
            answer: Answer = json.loads(line)
        except json.JSONDecodeError:
            raise self._failed(f"answered '{verb}' with {line.strip()!r}") from None
        self.peak_bytes = int(answer.get("peak_bytes", 0))
        return answer

    def _failed(self, what: str) -> WorkerFailed:
        self.log.seek(0)
        tail = [line for line in self.log.read().splitlines() if line.strip()][-12:]
        shown = "\n    ".join(tail) or "(nothing)"
        command = " ".join(self.command)
        return WorkerFailed(
            f"{self.name}: {what}\n  command: {command}\n  its last words:\n    {shown}"
        )


def calibrated(side: Side, seconds: float) -> int:
    """How many steps take this side about so many seconds; its warm-up too.

    The first step is not counted, for it makes what the others use; then turns grow until one is
    long enough to tell.
    """
    side.ask("steps", 1)
    steps = 1
    while True:
        took = side.ask("steps", steps)["seconds"]
        if took >= seconds / 3:
            return max(1, round(steps * seconds / took))
        steps = max(steps + 1, min(steps * 10, int(steps * seconds / 2 / max(took, 1e-9))))


def in_turn(
    sides: Mapping[str, Side],
    request: Callable[[str], tuple[str, object]],
    pairs: int,
    warm_up: int = 0,
    told: Callable[[int, dict[str, Answer]], None] = lambda number, answers: None,
) -> list[dict[str, Answer]]:
    """Each side's answers, round by round, the sides always in the same order.

    ``request(name)`` is the verb and value of a side's turn; the first ``warm_up`` rounds are
    dropped; ``told`` hears of every round that counts.
    """
    rounds: list[dict[str, Answer]] = []
    for number in range(-warm_up, pairs):
        answers = {name: side.ask(*request(name)) for name, side in sides.items()}
        if number >= 0:
            rounds.append(answers)
            told(number, answers)
    return rounds


def speed(answer: Answer) -> float:
    """Images a second of a turn."""
    return float(answer["images"]) / float(answer["seconds"])


def ratios(rounds: Sequence[Mapping[str, Answer]], ours: str, peer: str) -> list[float]:
    """How many times as fast as its peer one side is, round by round."""
    return [speed(answers[ours]) / speed(answers[peer]) for answers in rounds]


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, least and most."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}
