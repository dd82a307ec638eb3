"""Requests that wait -> batches: read and computed by threads, as many at once as a bound on the
time allows."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from convscope.predicting.prediction import Prediction
from convscope.predicting.predictor import Predictor
from convscope.server.limits import Limits, Refusal, busy

BATCH, BOUND = 64, 0.2  # images at once, and the seconds that they may take
FEW, SMALL = 16, 262_144  # requests, and bytes, that a thread is handed at once
NOTHING = np.empty(0, np.uint8)


class Computed:
    """The logits of a batch, float32 [N,K], and what they say, by the calibration of the
    predictor; ``top`` labels of each image at most."""

    def __init__(self, logits: NDArray[np.float32], predictor: Predictor, top: int) -> None:
        self.logits, self.predictor, self.top = logits, predictor, top

    @cached_property
    def predictions(self) -> list[Prediction]:
        """A prediction an image, without its file."""
        return list(self.predictor.described(self.logits, self.top))

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """[N,K], after the temperature."""
        return self.predictor.calibration.answers(self.logits).p.astype(np.float32)


class Job(Protocol):
    """What a request asks of a network. Both methods are called by a thread that is not the event
    loop's, and what they raise is what the request is answered with."""

    @property
    def size(self) -> int:
        """Bytes to read."""

    @property
    def top(self) -> int:
        """Labels an image that its answer needs."""

    def read(self) -> NDArray[np.uint8]:
        """The images of the request [n,C,H,W], n at least 1."""

    def answer(self, computed: Computed, rows: slice) -> Any:
        """The answer, whose images are these rows of a batch."""


@dataclass(eq=False)
class Lane:
    """A network's requests whose images are there, to be computed one batch after the other."""

    predictor: Predictor
    name: str = ""
    ready: deque[_Waiting] = field(default_factory=deque)
    computing: threading.Lock = field(default_factory=threading.Lock)
    seconds: float = 0.0  # an image, as it was measured

    def take(self, most: int, bound: float) -> list[_Waiting]:
        """The next batch: images of one size, as many as ``most``, and as take ``bound`` seconds;
        one request at least, if there is any."""
        if self.seconds:
            most = max(1, min(most, int(bound / self.seconds)))
        taken: list[_Waiting] = []
        images = 0
        while self.ready:
            shape = self.ready[0].images.shape
            if taken and (shape[1:] != taken[0].images.shape[1:] or images + shape[0] > most):
                break
            images += shape[0]
            taken.append(self.ready.popleft())
        return taken


@dataclass(eq=False, slots=True)
class _Waiting:
    """A job, whose answer the event loop waits for since ``begun``."""

    job: Job
    lane: Lane
    future: asyncio.Future[Any]
    begun: float
    images: NDArray[np.uint8] = field(default_factory=lambda: NOTHING)


class Batcher:
    """The queue of a server, and the threads that empty it.

    A thread takes what waits, reads it, and lays the images into the lane of their network; whoever
    finds that nobody computes there goes on to do so until the lane is empty, ``batch`` images at a
    time and no more than take ``bound`` seconds. So nothing waits for company, and what comes while
    a batch is computed is the next one.
    """

    def __init__(
        self,
        limits: Limits,
        batch: int = BATCH,
        bound: float = BOUND,
        threads: int = 2,
        observe: Callable[[str, int, float], None] = lambda model, images, seconds: None,
    ) -> None:
        self.limits, self.batch, self.bound, self.observe = limits, batch, bound, observe
        self.waiting = 0  # requests without an answer
        self.loop: asyncio.AbstractEventLoop | None = None
        self.arrived: list[_Waiting] = []  # since the event loop last came round
        self.pending: deque[_Waiting] = deque()  # in the order of arrival, until their time is over
        self.queue: queue.SimpleQueue[list[_Waiting]] = queue.SimpleQueue()
        self.threads = [
            threading.Thread(target=self._work, name=f"batcher-{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self.threads:
            thread.start()

    @property
    def full(self) -> bool:
        """Whether one more would be refused."""
        return self.waiting >= self.limits.queue

    async def answer(self, lane: Lane, job: Job) -> Any:
        """The answer to a job. Raises Refusal where the queue is full or it takes too long, and
        whatever the job raises."""
        if self.full:
            raise busy(self.limits)
        if self.loop is None:
            self.loop = asyncio.get_running_loop()
            self._expire()
        one = _Waiting(job, lane, self.loop.create_future(), self.loop.time())
        self.waiting += 1
        self.pending.append(one)
        if not self.arrived:
            self.loop.call_soon(self._hand_in)
        self.arrived.append(one)
        return await one.future

    def close(self) -> None:
        """End the threads, once they have done what waits."""
        for _ in self.threads:
            self.queue.put([])
        for thread in self.threads:
            thread.join()

    def _hand_in(self) -> None:
        """Wake a thread for a few requests, not for each: that takes longer than to read one."""
        arrived, self.arrived = self.arrived, []
        few: list[_Waiting] = []
        size = 0
        for one in arrived:
            if few and (len(few) >= min(FEW, self.batch) or size + one.job.size > SMALL):
                self.queue.put(few)
                few, size = [], 0
            few.append(one)
            size += one.job.size
        self.queue.put(few)

    def _expire(self) -> None:
        """Answer those who have waited for too long; again and again."""
        assert self.loop is not None
        seconds = self.limits.to_answer
        while self.pending and self.pending[0].begun + seconds <= self.loop.time():
            one = self.pending.popleft()
            if not one.future.done():
                text = f"no answer was found within {seconds:g} s"
                one.future.set_exception(Refusal(503, "time_to_answer", text, seconds))
        while self.pending and self.pending[0].future.done():
            self.pending.popleft()
        self.loop.call_later(min(0.25, seconds / 4), self._expire)

    def _work(self) -> None:
        while taken := self.queue.get():
            self._read(taken)
            for lane in {one.lane: None for one in taken}:
                self._compute(lane)

    def _read(self, taken: Sequence[_Waiting]) -> None:
        """Lay the images of each into its lane; what cannot be read is answered with the reason."""
        failed: list[tuple[_Waiting, Any]] = []
        for one in taken:
            if one.future.done():  # nobody waits for it any more
                failed.append((one, None))
                continue
            try:
                one.images = one.job.read()
            except Exception as why:
                failed.append((one, why))
            else:
                one.lane.ready.append(one)
        self._deliver(failed)

    def _compute(self, lane: Lane) -> None:
        """Compute what lies in a lane, unless another thread is there."""
        while lane.ready and lane.computing.acquire(blocking=False):
            try:
                while batch := lane.take(self.batch, self.bound):
                    self._deliver(self._computed(lane, batch))
            finally:
                lane.computing.release()

    def _computed(self, lane: Lane, batch: Sequence[_Waiting]) -> list[tuple[_Waiting, Any]]:
        began = time.perf_counter()
        parts = [one.images for one in batch]
        images = parts[0] if len(parts) == 1 else np.concatenate(parts)
        try:
            logits = lane.predictor.logits(images)
        except Exception as why:
            return [(one, why) for one in batch]
        seconds = time.perf_counter() - began
        each = seconds / len(images)
        lane.seconds = each if not lane.seconds else 0.8 * lane.seconds + 0.2 * each
        self.observe(lane.name, len(images), seconds)
        computed = Computed(logits, lane.predictor, max(one.job.top for one in batch))
        found: list[tuple[_Waiting, Any]] = []
        at = 0
        for one in batch:
            rows = slice(at, at + len(one.images))
            at = rows.stop
            try:
                found.append((one, one.job.answer(computed, rows)))
            except Exception as why:
                found.append((one, why))
        return found

    def _deliver(self, found: Sequence[tuple[_Waiting, Any]]) -> None:
        if found and self.loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self.loop.call_soon_threadsafe(self._hand_over, found)

    def _hand_over(self, found: Sequence[tuple[_Waiting, Any]]) -> None:
        """On the event loop: wake whoever waits."""
        for one, outcome in found:
            self.waiting -= 1
            if one.future.done():
                continue
            if isinstance(outcome, Exception):
                one.future.set_exception(outcome)
            else:
                one.future.set_result(outcome)
