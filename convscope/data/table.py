"""A table of image files -> a pack: a row a record, and any number of inputs and targets."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import os
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from convscope import machine
from convscope.data import cache, rows
from convscope.data import cells as cell_values
from convscope.data.ahead import each_in_order, in_order, workers
from convscope.data.columns import Array, Column, Image, Numbers
from convscope.data.decode import check, decode, look
from convscope.data.duplicates import input_hashes
from convscope.data.folder import LOOKS, absolute, plain_name, resizer, typical_size
from convscope.data.groups import group_names
from convscope.data.pack import FORMAT_VERSION, Pack
from convscope.data.pack_writer import Chunk, record_hashes
from convscope.data.resize import Resize, resized
from convscope.data.rows import Table
from convscope.data.scan import scan
from convscope.data.source import Contents, Place, changed
from convscope.errors import BadArgument, DataError, ImageError
from convscope.events import Emit, Notice, Progress
from convscope.formatting import listed, plural

RULES = 2  # part of a pack's key: raise it when the same table comes to give another pack
ROWS = 32  # that a thread hands over at once


@dataclass
class TableSource:
    """A table of image files, see :mod:`convscope.data.rows`, whose names begin in ``root``, else
    in the table's own folder. Without a ``split`` column about a fifth of the rows, by the names of
    their first image or of their group, is held out as test.

    Rows are of one group as the column ``group`` says, with ``group="stem"`` as the names of their
    files do (:mod:`convscope.data.groups`); with "none" each is alone. A row that cannot be used
    is an error, and with ``skip_bad`` left out; one whose image cannot be read is always left out,
    with one warning of all. Test rows without any target are there to be predicted, and left out.
    """

    path: Path
    size: tuple[int, int] | None = None
    channels: int | None = None
    fit: str = "pad"
    root: Path | None = None
    group: str = "auto"
    skip_bad: bool = False
    too_large: bool = True
    name: str = field(init=False)
    place: Path = field(init=False)

    def __post_init__(self) -> None:
        check(self.channels or 3, self.size or (1, 1), self.fit)
        self.path = absolute(self.path)
        self.root = None if self.root is None else absolute(self.root)
        self.name = plain_name(self.root or self.path.with_suffix(""))
        key = f"{FORMAT_VERSION} {RULES} {self.size} {self.channels} {self.fit} {self.group}\0"
        paths = b"\0".join(os.fsencode(path) for path in (self.path, self.root) if path)
        self.place = cache.pack_folder(
            f"{self.name}-{hashlib.sha256(key.encode() + paths).hexdigest()[:10]}"
        )

    @property
    def base(self) -> Path:
        """Where the names of its files begin."""
        return self.root or self.path.parent

    @property
    def argument(self) -> str:
        """What it was given as."""
        return "data" if self.root is None else "labels"

    def locate(self) -> Place:
        """See :class:`~convscope.data.source.Source`."""
        if self.path.is_file() and self.base.is_dir():
            return Place("disk", str(self.path))
        if self.place.is_dir():
            gone = "table" if self.base.is_dir() else "folder"
            return Place("pack", f"{self.place} (its {gone} is gone)")
        if self.path.is_file():
            raise BadArgument("data", self.root, "is not a folder that is there", "check the path")
        raise BadArgument(
            self.argument, self.path, "is not a table that is there", "check the path"
        )

    @property
    def has_test(self) -> bool:
        """Whether its table says which rows are for testing; one whose test rows have no target
        says which are to be predicted."""
        if self.locate().kind != "disk":
            return False
        table, _, unlabelled = self._read
        column = table.of_kind("split")
        labelled = bool(column) and any(row[column[0]] == "test" for row in table.rows)
        return labelled or (bool(column) and not unlabelled)

    @cached_property
    def _read(self) -> tuple[Table, list[tuple[str, str]], int]:
        """The rows that can be used, the file and problem of each that is left out, and how many
        are to be predicted."""
        table = rows.read_table(self.path, self.argument)
        table, unlabelled = table.without_unlabelled()
        rows.find_files(table, self.base, self._scanned)
        return *table.usable(self.skip_bad), unlabelled

    @cached_property
    def _scanned(self) -> dict[str, tuple[int, int]]:
        """Bytes and time of change (ns) of the images below ``root``, by path."""
        found = [] if self.root is None or not self.root.is_dir() else scan(self.root).found
        return {path: (size, changed) for path, size, changed in found if changed}

    @property
    def _table(self) -> Table:
        return self._read[0]

    def stamp(self, emit: Emit) -> Any:
        """A digest of the table, and of the size and time of change of each of its images."""
        if self.locate().kind == "pack":
            emit(Notice(f"{self.name}: {self.locate()}; it is used as it is"))
            return None
        table, bad, unlabelled = self._read
        if bad:
            said = listed([f"{file} ({problem})" for file, problem in bad], most=3)
            text = f"{plural(len(bad), 'row')} that cannot be used left out: {said}"
            emit(Notice(f"{self.name}: {text}", warning=True))
        if unlabelled:
            text = f"{plural(unlabelled, 'test row')} without a target left out"
            emit(Notice(f"{self.name}: {text}; convscope predict tells what they are"))
        if self.root is not None:
            names = {row[name] for row in table.rows for name in table.of_kind("image")}
            names |= {file for file, _ in bad}
            if more := [path for path in self._scanned if path not in names]:
                text = f"{plural(len(more), 'image')} in no row of {self.path.name} left out"
                emit(Notice(f"{self.name}: {text}: {listed(more, most=3)}", warning=True))
        return self._stamp(self._scanned)

    def _stamp(self, known: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
        """What the files are like, those that are not ``known`` as they are now."""
        found = hashlib.sha256(self.path.read_bytes())
        table = self._table
        images = table.of_kind("image")
        for row in table.rows:
            for name in images:
                size, changed = known.get(row[name]) or _size_and_change(self.base, row[name])
                found.update(b"%d %d\n" % (size, changed))
        return {"rows": len(table.rows), "digest": found.hexdigest()}

    @contextlib.contextmanager
    def chunks(self, emit: Emit) -> Iterator[Contents]:
        """The rows in their order, their images decoded on every core."""
        table, bad, _ = self._read
        stamp = self._stamp(self._scanned)
        targets, cells = cell_values.targets(table)
        together = self._groups(table)
        own_test, say = self.has_test, functools.partial(_say, self.name, emit)
        splits = cell_values.splits(table, targets, cells, together, own_test, say)
        skipped = list(bad)
        names = table.of_kind("image")
        first = [
            _size_and_change(self.base, row[name]) for row in table.rows[:100] for name in names
        ]
        size = statistics.fmean([size for size, _ in first] or [0])
        with workers(len(names) * len(table.rows), size) as pool:
            columns: dict[str, Column] = {}
            for name in names:
                columns[name] = self._image(pool, table, name)
            if numbers := table.of_kind("numbers"):
                name = numbers[0] if len(numbers) == 1 else "numbers"
                columns[name], cells[name] = (
                    Numbers(tuple(numbers)),
                    cell_values.numbers(table, numbers),
                )
            columns |= targets
            shapes = [
                f"{n} {one.size[0]} x {one.size[1]}"
                for n, one in columns.items()
                if isinstance(one, Image)
            ]
            emit(Notice(f"{self.name}: {len(table.rows):,} rows; images: {listed(shapes)}"))
            self._need_room(len(table.rows), [columns[name] for name in names])
            resize = resizer(len(table.rows)) if isinstance(pool, ThreadPoolExecutor) else resized
            images = {name: columns[name] for name in names}
            read = _Reader(self.base, images, resize)
            files = [[row[name] for name in names] for row in table.rows]

            def stream(split: str) -> Iterator[Chunk]:
                wanted = splits[split]
                groups = [wanted[n : n + ROWS] for n in range(0, len(wanted), ROWS)]
                given = ([files[at] for at in some] for some in groups)
                done = 0
                for pixels, problems in in_order(pool, read, given, 4 * machine.cores()):
                    some = wanted[done : done + len(problems)]
                    done += len(some)
                    emit(Progress(f"read {split} of {self.name}", done, len(wanted), "rows"))
                    skipped.extend(problem for problem in problems if problem)
                    kept = [at for at, bad in zip(some, problems, strict=True) if not bad]
                    if not kept:
                        continue
                    values = {**pixels, **{name: one[kept] for name, one in cells.items()}}
                    of = [] if together is None else [together[at] for at in kept]
                    known = list(record_hashes(columns, values)), input_hashes(columns, values)
                    yield Chunk(values, [files[at][0] for at in kept], *known, of)

            counts = {split: len(rows) for split, rows in splits.items()}
            chunks = {split: stream(split) for split in splits}
            yield Contents(
                columns,
                counts,
                chunks,
                stamp,
                str(self.path),
                {"skipped": skipped, "own_test": own_test},
            )
        if self._stamp({}) != stamp:
            raise changed(self.path)
        if unread := skipped[len(bad) :]:
            named = listed([f"{path} ({problem})" for path, problem in unread], most=3)
            text = f"{len(unread):,} rows have an image that cannot be read and are left out"
            emit(Notice(f"{self.name}: {text}: {named}", warning=True))

    def _need_room(self, count: int, images: Iterable[Column]) -> None:
        """Raise DataError where the cache has no room for so many rows of these images."""
        needed = count * sum(math.prod(one.shape) for one in images)
        what = f"{self.name}: its pack of {plural(count, 'row')}"
        cache.need_room(self.place, needed, what, "take smaller images (--image-size)")

    def _groups(self, table: Table) -> list[str] | None:
        """The group of each row; None where each is alone."""
        files = [row[table.of_kind("image")[0]] for row in table.rows]
        said = table.of_kind("group")
        if self.group == "stem":
            return group_names(files)
        if self.group == "none" or not said:
            return None
        return [row[said[0]] or file for row, file in zip(table.rows, files, strict=True)]

    def _image(self, pool: Executor, table: Table, name: str) -> Image:
        """A column of images as it is to be: channels and size as asked, else as most images are.
        Raises DataError where none can be read."""
        if self.channels and self.size:
            return Image(self.channels, self.size, self.fit)
        paths = [self.base / row[name] for row in table.rows]
        read = each_in_order(pool, _looked, paths, 4 * machine.cores(), LOOKS)
        looks = [found for found in read if found is not None]
        if not looks:
            raise DataError(f"{self.path}: none of the images in {name} can be read; check them")
        channels = self.channels or max(found for found, _ in looks)
        return Image(channels, self.size or typical_size([s for _, s in looks])[0], self.fit)

    def remarks(self, pack: Pack) -> Iterable[Notice]:
        """Nothing: all is said where the table is read."""
        return ()


@dataclass(frozen=True)
class _Reader:
    """Files of some rows, a list each -> the pixels of those that can be read, by column, and a row
    each what is wrong with which of its files."""

    base: Path
    columns: Mapping[str, Column]
    resize: Resize

    def __call__(
        self, rows: Sequence[Sequence[str]]
    ) -> tuple[dict[str, Array], list[tuple[str, str] | None]]:
        """These rows."""
        images: list[list[Array]] = []
        problems: list[tuple[str, str] | None] = []
        for files in rows:
            try:
                images.append([self._pixels(*one) for one in zip(self.columns, files, strict=True)])
            except ImageError as why:
                problems.append((why.name, f"{why.problem}; {why.remedy}"))
            else:
                problems.append(None)
        columns = zip(*images, strict=True) if images else ([] for _ in self.columns)
        pixels = {
            name: np.stack(found) if found else np.empty((0, *column.shape), np.uint8)
            for (name, column), found in zip(self.columns.items(), map(list, columns), strict=True)
        }
        return pixels, problems

    def _pixels(self, name: str, file: str) -> Array:
        column = self.columns[name]
        assert isinstance(column, Image)
        return decode(
            self.base / file,
            channels=column.channels,
            size=column.size,
            fit=column.fit,
            name=file,
            resize=self.resize,
        )


def _say(name: str, emit: Emit, text: str, warning: bool) -> None:
    emit(Notice(f"{name}: {text}", warning))


def _size_and_change(base: Path, file: str) -> tuple[int, int]:
    """Bytes and time of change (ns) of a file now; of one that is gone (-1, 0)."""
    try:
        info = os.stat(os.path.join(base, file))  # noqa: PTH116, PTH118
    except OSError:
        return -1, 0
    return info.st_size, info.st_mtime_ns


def _looked(path: Path) -> tuple[int, tuple[int, int]] | None:
    """Channels and (height, width) of an image that can be opened."""
    try:
        return look(path)
    except ImageError:
        return None
