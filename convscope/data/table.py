"""A table of image files -> a pack: a row a record, and any number of inputs and targets."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from convscope import machine
from convscope.data import cache, rows
from convscope.data.columns import Array, Class, Column, Image, Labels, Number, Numbers
from convscope.data.decode import decode, look
from convscope.data.division import Units
from convscope.data.duplicates import input_hashes
from convscope.data.folder import absolute, in_order, plain_name, resizer, typical_size
from convscope.data.groups import group_names
from convscope.data.layout import TEST, held_out
from convscope.data.pack import FORMAT_VERSION, SPLITS, Pack
from convscope.data.pack_writer import Chunk, record_hashes
from convscope.data.resize import Resize
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
        decode(
            np.zeros((1, 1), np.uint8),
            channels=self.channels or 3,
            size=self.size or (1, 1),
            fit=self.fit,
        )
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
        """Whether its table says which rows are for testing."""
        return self.locate().kind == "disk" and bool(self._table.of_kind("split"))

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
        targets, cells = _targets(table)
        together = self._groups(table)
        splits = _splits(table, targets, cells, together, self.name, emit)
        skipped = list(bad)
        with ThreadPoolExecutor(machine.cores()) as pool:
            columns: dict[str, Column] = {}
            for name in table.of_kind("image"):
                columns[name] = self._image(pool, table, name)
            if names := table.of_kind("numbers"):
                name = names[0] if len(names) == 1 else "numbers"
                columns[name], cells[name] = Numbers(tuple(names)), _numbers(table, names)
            columns |= targets
            shapes = [
                f"{n} {one.size[0]} x {one.size[1]}"
                for n, one in columns.items()
                if isinstance(one, Image)
            ]
            emit(Notice(f"{self.name}: {len(table.rows):,} rows; images: {listed(shapes)}"))
            decoding = _Decoding(table, self.base, columns, cells, together)

            def stream(split: str) -> Iterator[Chunk]:
                wanted = splits[split]
                groups = [wanted[n : n + ROWS] for n in range(0, len(wanted), ROWS)]
                done = 0
                for chunk, problems in in_order(pool, decoding, groups, 4 * machine.cores()):
                    done += len(chunk.files) + len(problems)
                    emit(Progress(f"read {split} of {self.name}", done, len(wanted), "rows"))
                    skipped.extend(problems)
                    if chunk.files:
                        yield chunk

            counts = {split: len(rows) for split, rows in splits.items()}
            chunks = {split: stream(split) for split in splits}
            about = {"skipped": skipped, "own_test": bool(table.of_kind("split"))}
            yield Contents(columns, counts, chunks, stamp, str(self.path), about)
        if self._stamp({}) != stamp:
            raise changed(self.path)
        if unread := skipped[len(bad) :]:
            named = listed([f"{path} ({problem})" for path, problem in unread], most=3)
            text = f"{len(unread):,} rows have an image that cannot be read and are left out"
            emit(Notice(f"{self.name}: {text}: {named}", warning=True))

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
        looks = [found for found in in_order(pool, _looked, paths, 64) if found is not None]
        if not looks:
            raise DataError(f"{self.path}: none of the images in {name} can be read; check them")
        channels = self.channels or max(found for found, _ in looks)
        return Image(channels, self.size or typical_size([s for _, s in looks])[0], self.fit)

    def remarks(self, pack: Pack) -> Iterable[Notice]:
        """Nothing: all is said where the table is read."""
        return ()


class _Decoding:
    """Some rows -> a chunk of those whose images can be read, and what is wrong with the others."""

    def __init__(
        self,
        table: Table,
        base: Path,
        columns: Mapping[str, Column],
        cells: Mapping[str, Array],
        groups: Sequence[str] | None,
    ) -> None:
        self.table, self.base, self.columns = table, base, columns
        self.cells, self.groups = cells, groups
        self.resize: Resize = resizer(len(table.rows))

    def __call__(self, some: Sequence[int]) -> tuple[Chunk, list[tuple[str, str]]]:
        """The rows at these positions."""
        images: dict[str, list[Array]] = {name: [] for name in self.table.of_kind("image")}
        kept: list[int] = []
        problems: list[tuple[str, str]] = []
        for at in some:
            try:
                row = {name: self._pixels(name, self.table.rows[at][name]) for name in images}
            except ImageError as why:
                problems.append((why.name, f"{why.problem}; {why.remedy}"))
                continue
            kept.append(at)
            for name, pixels in row.items():
                images[name].append(pixels)
        values: dict[str, Array] = {
            name: np.stack(found) if found else np.empty((0, *self.columns[name].shape), np.uint8)
            for name, found in images.items()
        }
        values |= {name: one[kept] for name, one in self.cells.items()}
        files = [self.table.rows[at][next(iter(images))] for at in kept]
        together = [] if self.groups is None else [self.groups[at] for at in kept]
        known = list(record_hashes(self.columns, values)), input_hashes(self.columns, values)
        return Chunk(values, files, *known, together), problems

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


def _targets(table: Table) -> tuple[dict[str, Column], dict[str, Array]]:
    """The columns that are targets, and the values of each. Raises BadArgument."""
    columns: dict[str, Column] = {}
    values: dict[str, Array] = {}
    for name in table.targets:
        cells = [row[name] for row in table.rows]
        if table.kinds[name] == "number":
            columns[name], values[name] = Number(), _numbers(table, [name])[:, 0]
        elif table.kinds[name] == "class":
            classes = sorted(set(cells), key=_in_order_of)
            if len(classes) == 1:
                rule = f"has one class only in {name} ({classes[0]})"
                raise table.refused(rule, "a classifier tells two or more apart")
            at = {label: n for n, label in enumerate(classes)}
            columns[name] = Class(tuple(classes))
            values[name] = np.array([at[cell] for cell in cells], np.int64)
        else:
            sets = [set(rows.labels_in(cell)) for cell in cells]
            labels = sorted(set().union(*sets), key=_in_order_of)
            columns[name] = Labels(tuple(labels))
            values[name] = np.array([[one in has for one in labels] for has in sets], np.uint8)
    return columns, values


def _in_order_of(label: str) -> tuple[int, int, str]:
    """Numbers by their size, before words."""
    return (0, int(label), label) if label.isdecimal() else (1, 0, label)


def _numbers(table: Table, names: Sequence[str]) -> Array:
    """The columns of these names as float32 [N,d]."""
    return np.array([[row[name] for name in names] for row in table.rows]).astype(np.float32)


def _splits(
    table: Table,
    targets: Mapping[str, Column],
    cells: Mapping[str, Array],
    groups: Sequence[str] | None,
    name: str,
    emit: Emit,
) -> dict[str, list[int]]:
    """The rows of each split: as the table says, else by the hashes of names. What is told apart by
    name is there to be learnt: a label of one row alone is one to learn from, not to judge. Raises
    BadArgument."""
    splits: dict[str, list[int]] = {split: [] for split in SPLITS}
    classes = {n: one for n, one in targets.items() if isinstance(one, Class | Labels)}
    if said := table.of_kind("split"):
        for at, row in enumerate(table.rows):
            splits[row[said[0]]].append(at)
    else:
        files = [row[table.of_kind("image")[0]] for row in table.rows]
        of = [cells[n] for n in classes] or [np.zeros(len(files), np.int64)]
        if groups is None and len(of) == 1 and of[0].ndim == 1:
            by_class: dict[int, list[str]] = {}
            for file, one in zip(files, of[0].tolist(), strict=True):
                by_class.setdefault(one, []).append(file)
            test = set().union(*(held_out(sorted(some)) for some in by_class.values()))
            chosen = [file in test for file in files]
        else:
            units = Units.of(groups or files, of)
            held = set(units.held_out(TEST).tolist())
            chosen = [at in held for at in range(len(files))]
        for at, in_test in enumerate(chosen):
            splits["test" if in_test else "train"].append(at)
    for split in ("train", "test"):
        if not splits[split]:
            rule = f"has no row to {'train on' if split == 'train' else 'judge'}"
            raise table.refused(rule, f"write {split} into split of some")
    splits = {split: wanted for split, wanted in splits.items() if wanted}
    for column, one in classes.items():
        for split, wanted in splits.items():
            _say_what_is_missing(table, one, column, split, cells[column][wanted], name, emit)
    return splits


def _say_what_is_missing(
    table: Table,
    column: Class | Labels,
    called: str,
    split: str,
    there: Array,
    name: str,
    emit: Emit,
) -> None:
    """Say which classes or labels a split has no row of. Raises BadArgument for a class that cannot
    be learnt."""
    is_class = isinstance(column, Class)
    counts = np.bincount(there, minlength=len(column.classes)) if is_class else there.sum(axis=0)
    missing = listed([column.classes[at] for at in np.flatnonzero(counts == 0)])
    if missing and split == "train" and is_class:
        remedy = f"write train into split of some, or leave that {called} out"
        raise table.refused(f"has no row of {missing} to train on", remedy)
    if missing:
        emit(Notice(f"{name}: {split} has no image of {missing}", is_class))
