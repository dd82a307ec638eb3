"""A folder of image files -> a pack: each file is decoded once, on every core, straight to disk."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import os
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from convscope import machine
from convscope.data import cache
from convscope.data.ahead import each_in_order, in_order, workers
from convscope.data.columns import IMAGE, LABEL, Array, Columns, Image, image_and_label
from convscope.data.decode import check, decode, look
from convscope.data.duplicates import input_hashes
from convscope.data.groups import group_names
from convscope.data.layout import (
    Layout,
    Sample,
    arranged,
    has_test,
    not_read,
    refused,
    unread_kinds,
)
from convscope.data.pack import FORMAT_VERSION, Pack
from convscope.data.pack_writer import Chunk, record_hashes
from convscope.data.resize import Pixels, Resize, resized
from convscope.data.scan import Scan, scan, stamp
from convscope.data.source import Contents, Place, changed
from convscope.errors import DataError, ImageError
from convscope.events import Emit, Notice, Progress, silent
from convscope.formatting import listed

RULES = 1  # part of a pack's key: raise it when the same files come to give another pack
LARGEST = 224  # pixels a side, unless the caller says otherwise
GROUP, CHUNK = 32, 1_250_000  # images and bytes that a thread hands over at once
AHEAD = 4  # groups a core that are worked on or wait to be written
At = Callable[[str], Path | bytes]  # a path in the layout -> its file, or the bytes of that
LOOKS = 32  # heads of files that are read at once
MANY = 1000  # images that are worth a compiled resize, see :func:`resizer`


class FolderSource:
    """A folder of image files, laid out as :mod:`convscope.data.layout` says; without a test folder
    a fifth of each class is held out.

    ``decode`` brings every image to ``size`` (height, width), else to the median of their own, at
    most 224 a side, and to ``channels``, else to 1 if all files are grey and to 3 if not. With
    ``group="stem"`` files whose names tell that they belong together are held out together. Files
    that cannot be read are left out with one warning, and ``meta.json`` lists them. Raises
    BadArgument, then or later, for a folder in no known layout, or with a class that has no images,
    and DataError where no image of a class can be read, or the cache cannot take the pack.
    """

    too_large = True

    def __init__(
        self,
        root: Path,
        size: tuple[int, int] | None = None,
        channels: int | None = None,
        fit: str = "pad",
        group: str = "auto",
    ) -> None:
        check(channels or 3, size or (1, 1), fit)
        self.root, self.size, self.channels, self.fit = absolute(root), size, channels, fit
        self.name, self.by_stem = plain_name(self.root), group == "stem"
        key = f"{FORMAT_VERSION} {RULES} {size and tuple(size)} {channels} {fit}\0"
        key += "stem\0" * self.by_stem
        digest = hashlib.sha256(key.encode() + os.fsencode(self.root)).hexdigest()
        self.place = cache.pack_folder(f"{self.name}-{digest[:10]}")

    @cached_property
    def _scan(self) -> Scan:
        return scan(self.root)

    @property
    def has_test(self) -> bool:
        """Whether it has a test folder."""
        return self.root.is_dir() and has_test(self.root, *self._scan[:2])

    def locate(self) -> Place:
        """See :class:`~convscope.data.source.Source`."""
        if self.root.is_dir():
            return Place("disk", str(self.root))
        if self.place.is_dir():
            return Place("pack", f"{self.place} (its source files are gone)")
        rule, remedy = "is not a folder that is there", "check the path"
        if self.root.exists():
            rule, remedy = "is no folder", "name the folder that holds the class folders"
        raise refused(self.root, rule, remedy)

    def stamp(self, emit: Emit) -> Any:
        """One digest over the names, sizes and times of change of its images."""
        if self.locate().kind == "pack":
            text = f"{self.root} is not there; its pack {self.place} is used as it is"
            emit(Notice(f"{self.name}: {text}"))
            return None
        if (notice := not_read(unread_kinds(self.root, *self._scan))) is not None:
            emit(Notice(f"{self.name}: {notice.text}", notice.warning))
        return stamp(self._scan.found)

    def _stamp_now(self) -> dict[str, Any]:
        """What its files are like now, whatever they were when they were looked through."""
        return stamp(scan(self.root).found)

    def _workers(self) -> AbstractContextManager[Executor]:
        """What decodes its images."""
        sizes = [one.size for one in self._scan.found]
        return workers(len(sizes), statistics.fmean(sizes or [0]))

    @property
    def _at(self) -> At:
        """Where an image is, by its path."""
        return functools.partial(Path, self.root)

    def unread(self) -> dict[str, int]:
        """How many files in the class folders are of a kind that is not read, by their suffix; none
        where the folder has gone."""
        return unread_kinds(self.root, *self._scan) if self.root.is_dir() else {}

    @contextlib.contextmanager
    def chunks(self, emit: Emit) -> Iterator[Contents]:
        """Each image decoded once, on every core, in the order of the layout."""
        paths = [one.path for one in self._scan.found]
        groups = dict(zip(paths, group_names(paths), strict=True)) if self.by_stem else None
        layout = arranged(self.root, *self._scan, groups)
        before = self.stamp(silent)
        with self._workers() as pool:
            job = _Job(
                self.root, self.place, self.name, layout, self.fit, pool, emit, self._at, groups
            )
            yield job.contents(self.size, self.channels, before)
            if self._stamp_now() != before:
                raise changed(self.root)
            job.say_what_was_skipped()

    def remarks(self, pack: Pack) -> Iterable[Notice]:
        """Nothing: all is said where the folder is looked through."""
        return ()


def absolute(root: Path) -> Path:
    """The folder's full path; links in it are kept, so that one that moves on is noticed."""
    return Path(os.path.abspath(root.expanduser()))  # noqa: PTH100


@dataclass
class _Job:
    """A folder on its way into a pack."""

    root: Path
    place: Path
    name: str
    layout: Layout
    fit: str
    pool: Executor
    emit: Emit
    at: At
    groups: Mapping[str, str] | None = None
    done: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)  # path, problem and remedy

    def contents(
        self, size: tuple[int, int] | None, channels: int | None, now: Mapping[str, Any]
    ) -> Contents:
        """What the pack is to hold; ``now`` is what the folder is like."""
        for remark in self.layout.remarks:
            self._say(remark.text, remark.warning)
        channels, size = self._chosen(size, channels)
        paths = [sample.path for sample in self._samples()]
        each = channels * math.prod(size) + 16  # a label and a hash of eight bytes each
        needed = self.total * each + sum(map(len, paths)) + 100_000
        what = f"{self.name}: its pack of {self.total:,} images"
        cache.need_room(self.place, needed, what, "take smaller images (--image-size)")
        columns = image_and_label((channels, *size), self.layout.classes, self.fit)
        threads = isinstance(self.pool, ThreadPoolExecutor)
        resize = resizer(self.total) if threads else resized  # processes do without torch
        read, splits = _Reader(self.at, columns, resize), self.layout.splits
        return Contents(
            columns,
            {split: len(samples) for split, samples in splits.items()},
            {split: self._chunks(split, read) for split in splits},
            now,
            _text(self.root),
            {"skipped": self.skipped, "own_test": self.layout.own_test},
        )

    def say_what_was_skipped(self) -> None:
        """One warning of all that cannot be read."""
        if self.skipped:
            named = listed([f"{path} ({problem})" for path, problem in self.skipped], most=3)
            self._say(
                f"{len(self.skipped):,} of {self.total:,} images cannot be read and are left out: "
                f"{named}; all are listed in {self.place / 'meta.json'}",
                warning=True,
            )

    @property
    def total(self) -> int:
        """How many image files there are."""
        return sum(map(len, self.layout.splits.values()))

    def _say(self, text: str, warning: bool = False) -> None:
        self.emit(Notice(f"{self.name}: {text}", warning))

    def _samples(self) -> list[Sample]:
        return [sample for samples in self.layout.splits.values() for sample in samples]

    def _chosen(
        self, size: tuple[int, int] | None, channels: int | None
    ) -> tuple[int, tuple[int, int]]:
        """Channels and size, by a look at the head of every file where they are not given; they are
        said."""
        why = "as asked"
        if size is None or channels is None:
            looks = self._looks(until_colour=size is not None)
            channels = channels or max(found for found, _ in looks)
            if size is None:
                size, why = typical_size([found for _, found in looks])
        kind = "grey" if channels == 1 else "in colour"
        self._say(
            f"{self.total:,} images of {len(self.layout.classes)} classes, "
            f"each brought to {size[0]} x {size[1]} (height, width; {why}), {kind}"
        )
        return channels, size

    def _looks(self, until_colour: bool) -> list[tuple[int, tuple[int, int]]]:
        """Channels and (height, width) of every image that can be opened, or of those up to the
        first in colour. Raises DataError."""
        samples, problem = self._samples(), ""
        looks = []
        read = functools.partial(_look, self.at)
        found = each_in_order(self.pool, read, samples, AHEAD * machine.cores(), LOOKS)
        for done, result in enumerate(found, 1):
            if isinstance(result, str):
                problem = problem or result
            else:
                looks.append(result)
            seen = self.total if until_colour and looks and looks[-1][0] == 3 else done
            if seen % 64 == 0 or seen == self.total:
                self.emit(Progress(f"look at {self.name}", seen, self.total, "images"))
            if seen > done:
                break
        if not looks:
            raise DataError(
                f"{self.root}: none of its {self.total:,} images can be read; "
                f"the first, {_text(samples[0].path)}, {problem}"
            )
        return looks

    def _chunks(self, split: str, read: _Reader) -> Iterator[Chunk]:
        """The readable images of a split in their order.

        Raises DataError where none is readable, or, to train on, none of a class.
        """
        samples, classes = self.layout.splits[split], self.layout.classes
        room = max(1, min(GROUP, CHUNK // math.prod(read.columns[IMAGE].shape)))
        groups = [samples[begin : begin + room] for begin in range(0, len(samples), room)]
        first: dict[int, str] = {}  # what is wrong, by class
        readable: set[int] = set()
        for chunk, problems in in_order(self.pool, read, groups, AHEAD * machine.cores()):
            labels = chunk.values[LABEL]
            self.done += len(labels) + len(problems)
            self.emit(Progress(f"read {self.name}", self.done, self.total, "images"))
            for sample, problem in problems:
                self.skipped.append((_text(sample.path), problem))
                first.setdefault(sample.label, f"{_text(sample.path)}, {problem}")
            readable.update(labels.tolist())
            if len(labels):
                known = self.groups
                yield chunk._replace(groups=[known[path] for path in chunk.files] if known else [])
        lost = sorted(first.keys() - readable)
        if lost and (split == "train" or not readable):
            what = listed([classes[label] for label in lost])
            raise DataError(
                f"{self.root}: no {split} image of {what} can be read; the first, {first[lost[0]]}"
            )


@dataclass(frozen=True)
class _Reader:
    """Image files -> a chunk of those that can be read, and what is wrong with the
    others."""

    at: At
    columns: Columns
    resize: Resize

    def __call__(self, samples: Sequence[Sample]) -> tuple[Chunk, list[tuple[Sample, str]]]:
        """These samples."""
        images = np.empty((len(samples), *self.columns[IMAGE].shape), np.uint8)  # [n,C,H,W]
        held: list[Sample] = []
        problems: list[tuple[Sample, str]] = []
        for sample in samples:
            result = self._decoded(sample)
            if isinstance(result, str):
                problems.append((sample, result))
            else:
                images[len(held)] = result
                held.append(sample)
        labels = np.array([sample.label for sample in held], np.int64)
        values: dict[str, Array] = {IMAGE: images[: len(held)], LABEL: labels}
        known = list(record_hashes(self.columns, values)), input_hashes(self.columns, values)
        return Chunk(values, [sample.path for sample in held], *known), problems

    def _decoded(self, sample: Sample) -> Pixels | str:
        """The pixels of an image, or what is wrong with it."""
        column = self.columns[IMAGE]
        assert isinstance(column, Image)
        try:
            return decode(
                self.at(sample.path),
                name=sample.path,
                channels=column.channels,
                size=column.size,
                fit=column.fit,
                resize=self.resize,
            )
        except ImageError as why:  # which would keep what it was raised over in memory
            return f"{why.problem}; {why.remedy}"


def _look(at: At, sample: Sample) -> tuple[int, tuple[int, int]] | str:
    """Channels and size of an image, or what is wrong with it."""
    try:
        return look(at(sample.path))
    except ImageError as why:
        return f"{why.problem}; {why.remedy}"


def typical_size(sizes: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], str]:
    """The size to bring images of these sizes to, and why.

    >>> typical_size([(375, 500), (500, 375), (375, 500)])
    ((168, 224), 'their median, 375 x 500, at most 224 a side')
    """
    height, width = (int(statistics.median_low(side)) for side in zip(*sizes, strict=True))
    why = "their own" if len(set(sizes)) == 1 else "their median"
    longest = max(height, width)
    if longest <= LARGEST:
        return (height, width), why
    why += f", {height} x {width}, at most {LARGEST} a side"
    small = (max(1, round(side * LARGEST / longest)) for side in (height, width))
    height, width = small
    return (height, width), why


def resizer(images: int) -> Resize:
    """What resizes so many images: compiled loops, where they are there and worth a second.

    That is what it takes to compile them, once a machine; torch, which they come with, is not
    imported for them. With them ``decode`` takes 0.77 ms an image and not 1.16 ms (one core of a
    Xeon with AVX-512, 300 JPEGs of ``benchmarks/copies.py`` to 224 pixels, best of four passes,
    2026-11-25).
    """
    if images >= MANY and "torch" in sys.modules:
        with contextlib.suppress(ImportError):
            from convscope.data import resample

            if resample.available():
                return resample.resized
    return resized


def plain_name(root: Path) -> str:
    """The folder's name in letters, digits, dots and dashes: part of the names of other files."""
    return re.sub(r"[^\w.-]+", "_", root.name).strip("._")[:60] or "images"


def _text(path: Path | str) -> str:
    """A path as text that any file may hold; bytes that are no text are spelt out."""
    return str(path).encode(errors="backslashreplace").decode()
