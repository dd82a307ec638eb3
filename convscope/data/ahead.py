"""Work that others do ahead of the one that waits for it: results in order, so many at most.

Threads do it, as Pillow lets go of the interpreter while it works; for many small files processes,
since there the interpreter itself takes most of the time."""

from __future__ import annotations

import contextlib
import functools
import itertools
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from typing import TypeVar

from convscope import machine
from convscope.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")
MANY = 10_000  # files that are worth the half second in which processes start
SMALL = 16_384  # bytes of a file that the interpreter takes longer for than the decoder


def in_order(
    pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """The results of the items in their order; no more than ``ahead`` are worked on or waiting.
    Raises DataError where a process of the pool has been killed."""
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            if len(waiting) == ahead:
                yield waiting.popleft().result()
            waiting.append(pool.submit(work, item))
        while waiting:
            yield waiting.popleft().result()
    except BrokenExecutor as why:
        text = "a process that reads images was killed, as systems do where memory ends: try again"
        raise DataError(text) from why


def each_in_order(
    pool: Executor,
    work: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: int,
    together: int,
) -> Iterator[Result]:
    """The same, where so many items ``together`` are one piece of work.

    >>> with ThreadPoolExecutor(2) as pool:
    ...     list(each_in_order(pool, abs, range(-3, 2), 2, 2))
    [3, 2, 1, 0, 1]
    """
    rest = iter(items)
    groups = iter(lambda: list(itertools.islice(rest, together)), [])
    for found in in_order(pool, functools.partial(_each, work), groups, ahead):
        yield from found


@contextlib.contextmanager
def workers(files: int = 0, bytes_each: float = 0) -> Iterator[Executor]:
    """What works on so many files of about so many bytes: a thread a core, or a process a core
    where these are many and small; work for them can be pickled, then. What is not begun by the end
    is left."""
    if files >= MANY and bytes_each <= SMALL and machine.cores() > 1:
        from loky.process_executor import ProcessPoolExecutor  # runs no caller's script again

        deaf = {"initializer": signal.signal, "initargs": (signal.SIGINT, signal.SIG_IGN)}
        pool = ProcessPoolExecutor(machine.cores(), **deaf)  # the caller alone hears Ctrl-C
        try:
            yield pool
        finally:
            pool.shutdown(kill_workers=True)
        return
    threads = ThreadPoolExecutor(machine.cores())
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)


def _each(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [work(item) for item in items]
