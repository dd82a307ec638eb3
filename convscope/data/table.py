"""A table of image files -> a pack: CSV or JSON lines with a row a record, and any number of inputs
and targets.

The header says what each column is, ``name:kind``. Inputs are ``image`` (a file, from the table's
folder on) and ``numbers``; targets are ``class``, ``labels`` (several, with spaces or semicolons
between them) and ``number``; ``split`` (train, val or test) and ``group`` (rows of a group are on
one side) say where a row belongs, and ``skip`` is left out. ``file``, ``image``, ``label``,
``labels``, ``split`` and ``group`` need no kind.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from convscope import machine
from convscope.data import cache
from convscope.data.columns import Array, Class, Column, Image, Labels, Number, Numbers
from convscope.data.decode import decode, look
from convscope.data.folder import absolute, in_order, plain_name, typical_size
from convscope.data.layout import held_out
from convscope.data.pack import FORMAT_VERSION, SPLITS, Pack
from convscope.data.pack_writer import Chunk
from convscope.data.source import Contents, Place
from convscope.errors import BadArgument, DataError, ImageError
from convscope.events import Emit, Notice, Progress
from convscope.formatting import listed

SUFFIXES = (".csv", ".jsonl")
RULES = 1  # part of a pack's key: raise it when the same table comes to give another pack
KINDS = ("image", "numbers", "class", "labels", "number", "split", "group", "skip")
KNOWN = {"file": "image", "image": "image", "label": "class", "labels": "labels"}
KNOWN |= {"split": "split", "group": "group", "suspected": "skip"}  # as data audit writes it
ROWS = 32  # that a thread hands over at once

Row = Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """The rows of a table and the kind of each of its columns, by name; ``lines`` are those of its
    file at which the rows begin."""

    path: Path
    kinds: Mapping[str, str]
    rows: Sequence[Row]
    lines: Sequence[int]

    def of_kind(self, *kinds: str) -> list[str]:
        """The names of the columns of these kinds."""
        return [name for name, kind in self.kinds.items() if kind in kinds]

    def refused(self, at: int, rule: str, remedy: str) -> DataError:
        """The error for a row."""
        return DataError(f"{self.path}, line {self.lines[at]}: {rule}; {remedy}")


def read_table(path: Path) -> Table:
    """The table in a file, every cell of it there. Raises DataError, naming line and column, and
    BadArgument for a table that has no image or no target."""
    rows, lines = [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, cells in _jsonl(file) if path.suffix.lower() == ".jsonl" else _csv(file):
                rows.append(cells)
                lines.append(line)
    except (ValueError, csv.Error) as why:
        raise DataError(f"{path}: is no table ({why}); save it as CSV in UTF-8") from None
    except OSError as why:
        raise DataError(f"{path}: cannot be read ({why.strerror})") from None
    if not rows:
        raise _refused(path, "has no row below its header", "write a row an image")
    header = list(rows[0])
    kinds = {name.partition(":")[0].strip(): _kind(path, name) for name in header}
    if len(kinds) != len(header):
        raise _refused(path, f"has two columns of a name: {listed(header)}", "rename one")
    table = Table(path, kinds, [], lines)
    for at, row in enumerate(rows):
        if list(row) != header:
            rule = f"has {len(row)} cells where the header has {len(header)}"
            raise table.refused(at, rule, "write as many, in quotes where one holds a comma")
        for name, cell in row.items():
            kind = _kind(path, name)
            if not cell.strip() and kind not in ("labels", "skip", "group"):
                column = name.partition(":")[0]
                raise table.refused(at, f"has nothing in {column}", "fill it in, or drop the row")
    short = [{name.partition(":")[0].strip(): c.strip() for name, c in r.items()} for r in rows]
    table = Table(path, kinds, short, lines)
    for what, needed in (("image", ("image",)), ("target", ("class", "labels", "number"))):
        if not table.of_kind(*needed):
            example = "file" if what == "image" else "label"
            rule = f"has no column that is {'an image' if what == 'image' else 'a target'}"
            raise _refused(path, f"{rule} among {listed(header)}", f"name one {example}")
    return table


def _csv(file: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(file, strict=True)
    header = next(reader, [])
    before = reader.line_num
    for cells in reader:
        if cells:
            names = [*header, *(f"cell {n}" for n in range(len(header), len(cells)))]
            yield before + 1, dict(zip(names, cells, strict=False))
        before = reader.line_num


def _jsonl(file: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    for line, text in enumerate(file, 1):
        if text.strip():
            found = json.loads(text)
            if not isinstance(found, dict):
                raise ValueError(f"line {line} is no object")
            cells = {
                key: " ".join(map(str, value)) if isinstance(value, list) else str(value)
                for key, value in found.items()
                if value is not None
            }
            yield line, cells


def _kind(path: Path, name: str) -> str:
    """What a column of this name in the header is. Raises BadArgument."""
    short, _, kind = (part.strip() for part in name.partition(":"))
    kind = kind or KNOWN.get(short, "")
    if kind not in KINDS:
        rule = f"does not say what its column {short or '(without a name)'} is"
        remedy = f"write {short or 'name'}:KIND in the header, of {', '.join(KINDS)}"
        raise _refused(path, rule, remedy)
    return kind


def _refused(path: Path, rule: str, remedy: str) -> BadArgument:
    return BadArgument("data", path, rule, remedy)


@dataclass
class TableSource:
    """A table of image files, see the module. Without a ``split`` column about a fifth of the rows,
    by the names of their first image or group, is held out as test. Rows with an image that cannot
    be read are left out with one warning."""

    path: Path
    size: tuple[int, int] | None = None
    channels: int | None = None
    fit: str = "pad"
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
        self.name = plain_name(self.path.with_suffix(""))
        key = f"{FORMAT_VERSION} {RULES} {self.size} {self.channels} {self.fit}\0"
        digest = hashlib.sha256(key.encode() + os.fsencode(self.path)).hexdigest()
        self.place = cache.pack_folder(f"{self.name}-{digest[:10]}")

    def locate(self) -> Place:
        """See :class:`~convscope.data.source.Source`."""
        if self.path.is_file():
            return Place("disk", str(self.path))
        if self.place.is_dir():
            return Place("pack", f"{self.place} (its table is gone)")
        raise _refused(self.path, "is not a table that is there", "check the path")

    @cached_property
    def _table(self) -> Table:
        return read_table(self.path)

    def stamp(self, emit: Emit) -> Any:
        """A digest of the table, and of the size and time of change of each of its images."""
        if self.locate().kind == "pack":
            text = f"{self.path} is not there; its pack {self.place} is used as it is"
            emit(Notice(f"{self.name}: {text}"))
            return None
        found = hashlib.sha256(self.path.read_bytes())
        for at, row in enumerate(self._table.rows):
            for name in self._table.of_kind("image"):
                try:
                    stat = (self.path.parent / row[name]).stat()
                except OSError as why:
                    rule = f"names {row[name]}, which is not there ({why.strerror})"
                    remedy = f"check the path, which begins in {self.path.parent}"
                    raise self._table.refused(at, rule, remedy) from None
                found.update(f"{stat.st_size} {stat.st_mtime_ns}\n".encode())
        return {"rows": len(self._table.rows), "digest": found.hexdigest()}

    @contextlib.contextmanager
    def chunks(self, emit: Emit) -> Iterator[Contents]:
        """The rows in their order, their images decoded on every core."""
        table, stamp = self._table, self.stamp(emit)
        targets, cells = _targets(table)
        splits = _splits(table, next(iter(_strata(table, cells))))
        skipped: list[tuple[str, str]] = []
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

            def decoded(some: Sequence[int]) -> tuple[Chunk, list[tuple[str, str]]]:
                return self._decoded(table, columns, cells, some)

            def stream(split: str) -> Iterator[Chunk]:
                wanted = splits[split]
                groups = [wanted[n : n + ROWS] for n in range(0, len(wanted), ROWS)]
                done = 0
                for chunk, problems in in_order(pool, decoded, groups, 4 * machine.cores()):
                    done += len(next(iter(chunk.values.values()))) + len(problems)
                    emit(Progress(f"read {split} of {self.name}", done, len(wanted), "rows"))
                    skipped.extend(problems)
                    if len(problems) < ROWS and len(next(iter(chunk.values.values()))):
                        yield chunk

            counts = {split: len(rows) for split, rows in splits.items()}
            chunks = {split: stream(split) for split in splits}
            about = {"skipped": skipped}
            yield Contents(columns, counts, chunks, stamp, str(self.path), about)
        if skipped:
            named = listed([f"{path} ({problem})" for path, problem in skipped], most=3)
            text = f"{len(skipped):,} rows have an image that cannot be read and are left out"
            emit(Notice(f"{self.name}: {text}: {named}", warning=True))

    def _image(self, pool: Executor, table: Table, name: str) -> Image:
        """A column of images as it is to be: channels and size as asked, else as most images are.
        Raises DataError where none can be read."""
        paths = [self.path.parent / row[name] for row in table.rows]
        looks = [found for found in in_order(pool, _looked, paths, 64) if found is not None]
        if not looks:
            raise DataError(f"{self.path}: none of the images in {name} can be read; check them")
        channels = self.channels or max(found for found, _ in looks)
        return Image(channels, self.size or typical_size([s for _, s in looks])[0], self.fit)

    def _decoded(
        self,
        table: Table,
        columns: Mapping[str, Column],
        cells: Mapping[str, Array],
        some: Sequence[int],
    ) -> tuple[Chunk, list[tuple[str, str]]]:
        """The rows among these whose images can be read, and what is wrong with the others."""
        images: dict[str, list[Array]] = {name: [] for name in table.of_kind("image")}
        kept: list[int] = []
        problems: list[tuple[str, str]] = []
        for at in some:
            try:
                row = {name: self._pixels(columns[name], table.rows[at][name]) for name in images}
            except ImageError as why:
                problems.append((why.name, f"{why.problem}; {why.remedy}"))
                continue
            kept.append(at)
            for name, pixels in row.items():
                images[name].append(pixels)
        values: dict[str, Array] = {
            name: np.stack(found) if found else np.empty((0, *columns[name].shape), np.uint8)
            for name, found in images.items()
        }
        values |= {name: one[kept] for name, one in cells.items()}
        first = table.of_kind("image")[0]
        return Chunk(values, [table.rows[at][first] for at in kept]), problems

    def _pixels(self, column: Column, file: str) -> Array:
        assert isinstance(column, Image)
        path = self.path.parent / file
        return decode(path, channels=column.channels, size=column.size, fit=self.fit, name=file)

    def remarks(self, pack: Pack) -> Iterable[Notice]:
        """Nothing: all is said where the table is read."""
        return ()


def _looked(path: Path) -> tuple[int, tuple[int, int]] | None:
    """Channels and (height, width) of an image that can be opened."""
    try:
        return look(path)
    except ImageError:
        return None


def _targets(table: Table) -> tuple[dict[str, Column], dict[str, Array]]:
    """The columns that are targets, and the values of each. Raises DataError."""
    columns: dict[str, Column] = {}
    values: dict[str, Array] = {}
    for name in table.of_kind("class", "labels", "number"):
        cells = [row[name] for row in table.rows]
        if table.kinds[name] == "number":
            columns[name], values[name] = Number(), _numbers(table, [name])[:, 0]
        elif table.kinds[name] == "class":
            classes = sorted(set(cells), key=_in_order_of)
            if len(classes) == 1:
                rule = f"has one class only in {name} ({classes[0]})"
                raise _refused(table.path, rule, "a classifier tells two or more apart")
            at = {label: n for n, label in enumerate(classes)}
            columns[name] = Class(tuple(classes))
            values[name] = np.array([at[cell] for cell in cells], np.int64)
        else:
            sets = [set(cell.replace(";", " ").split()) for cell in cells]
            labels = sorted(set().union(*sets), key=_in_order_of)
            columns[name] = Labels(tuple(labels))
            values[name] = np.array([[one in has for one in labels] for has in sets], np.uint8)
    return columns, values


def _in_order_of(label: str) -> tuple[int, int, str]:
    """Numbers by their size, before words."""
    return (0, int(label), "") if label.isdecimal() else (1, 0, label)


def _numbers(table: Table, names: Sequence[str]) -> Array:
    """The columns of these names as float32 [N,d]. Raises DataError naming the row."""
    found = np.empty((len(table.rows), len(names)), np.float32)
    for at, row in enumerate(table.rows):
        for n, name in enumerate(names):
            try:
                found[at, n] = float(row[name])
            except ValueError:
                found[at, n] = np.nan
            if not np.isfinite(found[at, n]):
                rule = f"has {row[name]!r} in {name}, which is no finite number"
                raise table.refused(at, rule, "write one, or drop the row")
    return found


def _strata(table: Table, cells: Mapping[str, Array]) -> Iterator[Array]:
    """The values of the first class, by which rows are held out in proportion; else none."""
    yield from (cells[name] for name in table.of_kind("class"))
    yield np.zeros(len(table.rows), np.int64)


def _splits(table: Table, strata: Array) -> dict[str, list[int]]:
    """The rows of each split: as the table says, else by the hashes of names. Raises DataError."""
    groups, images = table.of_kind("group"), table.of_kind("image")
    splits: dict[str, list[int]] = {split: [] for split in SPLITS}
    if said := table.of_kind("split"):
        for at, row in enumerate(table.rows):
            if row[said[0]] not in SPLITS:
                rule = f"has {row[said[0]]!r} in {said[0]}"
                raise table.refused(at, rule, f"write one of {', '.join(SPLITS)}")
            splits[row[said[0]]].append(at)
    else:
        keys = [
            row[groups[0]] if groups and row[groups[0]] else row[images[0]] for row in table.rows
        ]
        kinds = [""] * len(keys) if groups else [str(one) for one in strata]
        by_kind: dict[str, list[str]] = {}
        for key, kind in zip(keys, kinds, strict=True):
            by_kind.setdefault(kind, []).append(key)
        test = set().union(*(held_out(sorted(set(some))) for some in by_kind.values()))
        for at, key in enumerate(keys):
            splits["test" if key in test else "train"].append(at)
    for split in ("train", "test"):
        if not splits[split]:
            rule = f"has no row to {'train on' if split == 'train' else 'judge'}"
            raise _refused(table.path, rule, f"write {split} into split of some")
    return {split: rows for split, rows in splits.items() if rows}
