"""What a process does that shares the tests with others: pytest-xdist's workers."""

from __future__ import annotations

import os


def share(cores: list[int], number: int, of: int) -> set[int]:
    """The cores of worker ``number``: an equal part, or one of them in turn where there are more
    workers than cores.

    >>> share([0, 1, 2, 3, 4], 1, 2), share([0, 1], 2, 3)
    ({2, 3, 4}, {0})
    >>> share([0, 1], 2, 2)  # one that takes the place of one that died
    {0}
    """
    number %= of
    if of > len(cores):
        return {cores[number % len(cores)]}
    return set(cores[number * len(cores) // of : (number + 1) * len(cores) // of])


def own_cores() -> None:
    """Keep this process, and all that it starts, to its part of the cores, before anything counts
    them: two pools of as many threads as there are cores would wait for each other."""
    if hasattr(os, "sched_setaffinity"):
        number = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
        of = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        os.sched_setaffinity(0, share(sorted(os.sched_getaffinity(0)), number, of))
