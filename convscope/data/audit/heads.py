"""Files by what their heads say, and those that cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from convscope import machine
from convscope.data.audit.findings import Entry, Finding, entries
from convscope.data.audit.samples import Samples
from convscope.data.decode import Head, decode, head
from convscope.errors import ImageError
from convscope.events import Emit, Progress

AREA, ASPECT = 4.0, 2.0  # times the median
USUAL = 4.0  # times the median deviation: folders of photos from everywhere have many sizes

Result = TypeVar("Result")

MODES = {
    **{"1": "black and white", "L": "grey", "LA": "grey, transparent", "P": "a palette"},
    **{"RGB": "colour", "RGBA": "colour, transparent", "PA": "a palette, transparent"},
    **{"CMYK": "four inks", "YCbCr": "video colours", "HSV": "hue and saturation"},
    **{"F": "real numbers", "I": "grey, 32 bits"},
}


def unreadable(root: Path, paths: Sequence[str], emit: Emit) -> list[Finding]:
    """The files below a folder that the decoder refuses, each with the reason."""

    def problem(path: str) -> str:
        try:
            decode(root / path, channels=3, size=(8, 8))
        except ImageError as why:
            return f"{why.problem}; {why.remedy}"
        return ""

    said = _of_each(paths, problem, "read the files", emit)
    return [refused(path, why) for path, why in zip(paths, said, strict=True) if why]


def refused(path: str, why: str) -> Finding:
    """A file that cannot be read."""
    return Finding((Entry(path, "", ""),), why)


def odd(samples: Samples, root: Path, emit: Emit) -> tuple[list[Finding], list[Finding]]:
    """Files of an odd size, and of an odd mode, those of one mode together."""

    def seen(path: str) -> Head | None:
        try:
            return head(root / path)
        except ImageError:  # gone since it was packed
            return None

    heads = _of_each(samples.names, seen, "look at the files", emit)
    known = [at for at, found in enumerate(heads) if found is not None]
    sizes = [found.size for found in heads if found is not None]
    modes = [found.mode for found in heads if found is not None]
    return _odd_sizes(samples, known, sizes), _odd_modes(samples, known, modes)


def _odd_sizes(
    samples: Samples, known: Sequence[int], sizes: Sequence[tuple[int, int]]
) -> list[Finding]:
    if not sizes:
        return []
    sides = np.array(sizes, np.float64)  # [n,2]
    area = np.log(sides.prod(axis=1))
    aspect = np.log(sides.max(axis=1) / sides.min(axis=1))
    strange = np.zeros(len(sizes), bool)
    for values, least in ((area, AREA), (aspect, ASPECT)):
        far = np.abs(values - np.median(values))
        strange |= far >= max(np.log(least), USUAL * float(np.median(far)))
    height, width = (int(np.median(side)) for side in sides.T)
    return [
        Finding(
            entries(samples, [known[at]]),
            f"{sizes[at][0]} x {sizes[at][1]}, where the median is {height} x {width}",
            {"size": list(sizes[at])},
        )
        for at in np.flatnonzero(strange).tolist()
    ]


def _odd_modes(samples: Samples, known: Sequence[int], modes: Sequence[str]) -> list[Finding]:
    common = Counter(modes).most_common()
    return [
        Finding(
            entries(samples, [at for at, one in zip(known, modes, strict=True) if one == mode]),
            f"{MODES.get(mode, 'grey, 16 bits' if mode.startswith('I;') else 'mode')} ({mode}), "
            f"where most have {MODES.get(common[0][0], 'mode')} ({common[0][0]})",
            {"mode": mode},
        )
        for mode, _ in common[1:]
    ]


def _of_each(
    paths: Sequence[str], what: Callable[[str], Result], stage: str, emit: Emit
) -> list[Result]:
    """What a function gives of each path, on all cores."""
    found: list[Result] = []
    with ThreadPoolExecutor(machine.cores()) as pool:
        for done, result in enumerate(pool.map(what, paths), 1):
            found.append(result)
            if done % 64 == 0 or done == len(paths):
                emit(Progress(stage, done, len(paths), "files"))
    return found
