"""The rows of a table of image files as text: CSV, JSON lines or Parquet, and what its columns are.

The header says what each column is, ``name:kind``. Inputs are ``image`` (a file) and ``numbers``;
targets are ``class``, ``labels`` (several, between them spaces, or semicolons where a label has
spaces of its own) and ``number``; ``split`` (train, val or test) and ``group`` (rows of a group are
on one side) say where a row belongs, and ``skip`` is left out. ``file``, ``image``, ``label``,
``labels``, ``split`` and ``group`` need no kind.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import math
import os
import posixpath
import stat
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from convscope.data import decode
from convscope.data.pack import SPLITS
from convscope.errors import BadArgument, DataError
from convscope.formatting import listed

SUFFIXES = (".csv", ".jsonl", ".parquet")
KINDS = ("image", "numbers", "class", "labels", "number", "split", "group", "skip")
KNOWN = {"file": "image", "image": "image", "label": "class", "labels": "labels"}
KNOWN |= {"split": "split", "group": "group", "suspected": "skip"}  # as data audit writes it
MAY_BE_EMPTY = ("labels", "skip", "group")
FILES = ("image", "group", "skip")  # may be names of files, whose bytes need not be UTF-8

Row = dict[str, str]
Found = Iterator[
    tuple[int, Mapping[str | None, Any]]
]  # number of a row, and its values by the header


@dataclass(frozen=True)
class Table:
    """The rows of a table, and the kind of each of its columns, by name; ``lines`` are those of its
    file (of Parquet: the rows) at which the rows begin, and ``problems`` say why some rows cannot
    be used: rule and remedy by position. ``argument`` is what the table was given as."""

    path: Path
    argument: str
    kinds: Mapping[str, str]
    rows: Sequence[Row]
    lines: Sequence[int]
    problems: dict[int, tuple[str, str]] = field(default_factory=dict)

    def of_kind(self, *kinds: str) -> list[str]:
        """The names of the columns of these kinds."""
        return [name for name, kind in self.kinds.items() if kind in kinds]

    @property
    def targets(self) -> list[str]:
        """The names of the columns to tell."""
        return self.of_kind("class", "labels", "number")

    def place(self, at: int) -> str:
        """Where a row is, in words."""
        unit = "row" if self.path.suffix.lower() == ".parquet" else "line"
        return f"{unit} {self.lines[at]}"

    def mark(self, at: int, rule: str, remedy: str) -> None:
        """Say why a row cannot be used; what was said first stands."""
        self.problems.setdefault(at, (rule, remedy))

    def refused(self, rule: str, remedy: str) -> BadArgument:
        """The error for the table as a whole."""
        return BadArgument(self.argument, self.path, rule, remedy)

    def without_unlabelled(self) -> tuple[Table, int]:
        """The same without the test rows that have nothing in any column to tell, which are there
        to be predicted, and how many these are."""
        said = self.of_kind("split")
        left = [
            at
            for at, row in enumerate(self.rows)
            if said and row[said[0]] == "test" and not any(row[name] for name in self.targets)
        ]
        return self._of(set(range(len(self.rows))) - set(left)) if left else self, len(left)

    def _of(self, kept: set[int]) -> Table:
        """The same with some of the rows."""
        order = sorted(kept)
        problems = {n: self.problems[at] for n, at in enumerate(order) if at in self.problems}
        rows, lines = [self.rows[at] for at in order], [self.lines[at] for at in order]
        return replace(self, rows=rows, lines=lines, problems=problems)

    def usable(self, skip_bad: bool) -> tuple[Table, list[tuple[str, str]]]:
        """The rows that can be used, and the file and the problem of each other one. Raises
        DataError, naming lines, where there are others, unless ``skip_bad``; BadArgument where
        there are none but those."""
        if not self.problems:
            return self, []
        bad = sorted(self.problems)
        if not skip_bad:
            rule, remedy = self.problems[bad[0]]
            if len(bad) == 1:
                text = f"{self.path}, {self.place(bad[0])}: {rule}; {remedy}"
                raise DataError(_printable(f"{text}, or leave it out with skip_bad (--skip-bad)"))
            said = listed([f"{self.place(at)} {self.problems[at][0]}" for at in bad], most=8)
            text = f"{self.path}: {len(bad):,} rows cannot be used: {said}; {remedy}"
            raise DataError(_printable(f"{text}, or leave them out with skip_bad (--skip-bad)"))
        kept = set(range(len(self.rows))) - set(bad)
        if not kept:
            said = f"{self.place(bad[0])} {self.problems[bad[0]][0]}"
            raise self.refused(f"has no row that can be used ({said})", self.problems[bad[0]][1])
        first = self.of_kind("image")[0]
        left = [
            (self.rows[at][first] or self.place(at), f"{self.place(at)} {rule}; {remedy}")
            for at, (rule, remedy) in sorted(self.problems.items())
        ]
        return self._of(kept), left


def read_table(path: Path, argument: str = "data") -> Table:
    """The table in a file; a row that lacks a cell, or has something else in it than its column
    holds, is marked. Raises DataError where the file cannot be read as one, and BadArgument, which
    names the ``argument``, for a table that has no image or no target."""
    found = list(found_in(path))
    header = list(dict.fromkeys(name for _, row in found for name in row if name is not None))
    kinds = {short_name(name): _kind(path, argument, name) for name in header}
    if not found:
        raise _empty(path, argument)
    if len(kinds) != len(header):
        rule = f"has two columns of a name: {listed(header)}"
        raise BadArgument(argument, path, rule, "rename one")
    rows: list[Row] = []
    short = {name: short_name(name) for name in header}
    table = Table(path, argument, kinds, rows, [line for line, _ in found])
    said: dict[str, tuple[str, int]] = {}  # column -> what its first value is, and where
    for at, (_, values) in enumerate(found):
        row = dict.fromkeys(kinds, "")
        for name, value in values.items():
            if name is not None:
                row[short[name]] = _cell(table, at, short[name], value, said)
        rows.append(row)
        if None in values:
            rule = f"has {values[None]} cells where the header has {len(header)}"
            table.mark(at, rule, "write as many, in quotes where one holds a comma")
    for what, needed in (("image", ("image",)), ("target", ("class", "labels", "number"))):
        if not table.of_kind(*needed):
            example = "file" if what == "image" else "label"
            rule = f"has no column that is {'an image' if what == 'image' else 'a target'}"
            raise table.refused(f"{rule} among {listed(header)}", f"name one {example}")
    _check_cells(table)
    return table


def _empty(path: Path, argument: str) -> BadArgument:
    return BadArgument(argument, path, "has no row below its header", "write a row an image")


def short_name(name: str) -> str:
    """A column's name without its kind."""
    return name.partition(":")[0].strip()


def kind_of(name: str) -> str:
    """What a column of this name in the header is; nothing where that is not said.

    >>> kind_of("left: image"), kind_of("file"), kind_of("age")
    ('image', 'image', '')
    """
    short, _, kind = (part.strip() for part in name.partition(":"))
    return kind or KNOWN.get(short.lower(), "")


def _kind(path: Path, argument: str, name: str) -> str:
    """The same. Raises BadArgument."""
    short, kind = short_name(name), kind_of(name)
    if kind not in KINDS:
        rule = f"does not say what its column {short or '(without a name)'} is"
        remedy = f"write {short or 'name'}:KIND in the header, of {', '.join(KINDS)}"
        raise BadArgument(argument, path, rule, remedy)
    return kind


def found_in(path: Path) -> Found:
    """The rows of a file as it has them, one after the other; those of a CSV that are not as long
    as its header have their length under None. Raises DataError where it cannot be read as one."""
    try:
        yield from _found(path)
    except BadArgument:
        raise
    except (ValueError, csv.Error) as why:
        raise DataError(f"{path}: is no table ({why}); save it as CSV in UTF-8") from None
    except OSError as why:
        raise DataError(f"{path}: cannot be read ({why.strerror or why})") from None


def _found(path: Path) -> Found:
    if path.suffix.lower() == ".parquet":
        yield from _parquet(path)
        return
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        yield from _jsonl(file) if path.suffix.lower() == ".jsonl" else _csv(file)


def _csv(file: Iterable[str]) -> Iterator[tuple[int, dict[str | None, Any]]]:
    lines = iter(file)
    first = next(lines, "")
    between = max((",", ";", "\t"), key=first.count)  # as spreadsheets write it
    reader = csv.reader(itertools.chain([first], lines), strict=True, delimiter=between)
    header = next(reader, [])
    if len(set(header)) < len(header):
        raise ValueError(f"its header has a name twice: {listed(header)}")
    before = reader.line_num
    for cells in reader:
        if cells:
            row: dict[str | None, Any] = dict(zip(header, cells, strict=False))
            if len(cells) != len(header):
                row = {**dict.fromkeys(header, ""), **row, None: len(cells)}
            yield before + 1, row
        before = reader.line_num


def _jsonl(file: Iterable[str]) -> Found:
    for line, text in enumerate(file, 1):
        if text.strip():
            found = json.loads(text)
            if not isinstance(found, dict):
                raise ValueError(f"line {line} is no object")
            yield line, found


def _parquet(path: Path) -> Found:
    try:
        from pyarrow import parquet
    except ImportError as why:
        rule = f"needs a package that is not installed ({why.name or why})"
        remedy = "install it: pip install 'convscope[tables]'; or save the table as CSV"
        raise BadArgument("labels", path, rule, remedy) from None
    batches = parquet.ParquetFile(path).iter_batches()
    yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)


def _cell(table: Table, at: int, name: str, value: Any, said: dict[str, tuple[str, int]]) -> str:
    """A value as text; none is empty. Raises DataError where it is of another kind than the first
    one of its column."""
    if isinstance(value, str):
        kind, text = "text", value.strip()
    elif value is None or (isinstance(value, float) and math.isnan(value)):  # as pandas has it
        return ""
    elif isinstance(value, bool):
        kind, text = "true or false", str(value)
    elif isinstance(value, int | float):
        whole = math.isfinite(value) and value == int(value)
        kind, text = "a number", str(int(value) if whole else value)
    elif isinstance(value, list) and table.kinds[name] == "labels":
        kind, text = "a list", "".join(f"{one};" for one in value)
        if text.count(";") > len(value):
            table.mark(at, f"has a label with a semicolon in {name}", "write another character")
    else:
        table.mark(at, f"has {_what(value)} in {name}", "write text or a number")
        return ""
    first, where = said.setdefault(name, (kind, at))
    if kind != first:
        raise DataError(
            f"{table.path}, {table.place(at)}: has {kind} in {name}, where {table.place(where)} "
            f"has {first}; write all of them as one kind"
        )
    return text


def _what(value: Any) -> str:
    for kind, name in ((list, "a list"), (dict, "an object"), (bytes, "bytes")):
        if isinstance(value, kind):
            return name
    return repr(value)[:40]


def _check_cells(table: Table) -> None:
    """Mark the rows with an empty cell, or one that its column cannot hold."""
    numbers, splits = table.of_kind("number", "numbers"), table.of_kind("split")
    filled = [name for name, kind in table.kinds.items() if kind not in MAY_BE_EMPTY]
    words = [name for name, kind in table.kinds.items() if kind not in FILES]
    for at, row in enumerate(table.rows):
        for name in filled:
            if not row[name]:
                table.mark(at, f"has nothing in {name}", "fill it in, or drop the row")
        for name in numbers:
            if not _is_finite(row[name]):
                rule = f"has {row[name]!r} in {name}, which is no finite number"
                table.mark(at, rule, "write one, or drop the row")
        for name in splits:
            if row[name] not in SPLITS:
                table.mark(at, f"has {row[name]!r} in {name}", f"write one of {', '.join(SPLITS)}")
        for name in words:
            if not row[name].isascii() and _printable(row[name]) != row[name]:
                rule = f"has bytes in {name} that are no UTF-8 ({_printable(row[name])})"
                table.mark(at, rule, "save the table in UTF-8")


def _is_finite(text: str) -> bool:
    try:
        return abs(float(text)) < 2.0**128  # what a float32 holds
    except ValueError:
        return False


def _printable(text: str) -> str:
    """Text whose bytes that are no UTF-8 are spelt out."""
    return text.encode(errors="backslashreplace").decode()


def labels_in(cell: str) -> list[str]:
    """The labels in a cell: between semicolons where it has one, else between spaces.

    >>> labels_in("wet old"), labels_in("hot dog; wet"), labels_in("")
    (['wet', 'old'], ['hot dog', 'wet'], [])
    """
    parts = cell.split(";") if ";" in cell else cell.split()
    return [part.strip() for part in parts if part.strip()]


def cell_of(labels: Iterable[str]) -> str:
    """The cell that :func:`labels_in` reads as these labels.

    >>> cell_of(["wet", "old"]), cell_of(["hot dog"])
    ('wet old', 'hot dog;')
    """
    labels = list(labels)
    return "".join(f"{one};" for one in labels) if " " in "".join(labels) else " ".join(labels)


def find_files(table: Table, base: Path, known: Container[str] = ()) -> None:
    """Hold the names in the rows against the files that are there (some are ``known`` to be), see
    :class:`Names`. Marks the rows of others, and those that name a file which another row has."""
    images, names = table.of_kind("image"), Names(base, known)
    alone = len(images) == 1 and not table.of_kind("numbers")
    taken: dict[str, int] = {}
    for at, row in enumerate(table.rows):
        for name in images:
            if not row[name]:
                continue
            row[name], rule, remedy = names.find(row[name])
            file = row[name]
            if rule:
                table.mark(at, f"names {file}, {rule}", remedy)
            elif alone and (before := taken.setdefault(file, at)) != at:
                said = f"names {file}, which {table.place(before)} names"
                table.mark(at, f"{said}, too", "keep one row a file")
                if any(row[n] != table.rows[before][n] for n in table.targets):
                    rule = f"names {file}, which {table.place(at)} names otherwise"
                    table.mark(before, rule, "keep one row a file")


@dataclass
class Names:
    """The image files below a folder as a table names them: plainly, or without the suffix of the
    one file of that name."""

    base: Path
    known: Container[str] = ()
    _listings: dict[str, dict[str, list[str]]] = field(default_factory=dict, init=False)

    def find(self, name: str) -> tuple[str, str, str]:
        """The file's path from ``base``, plainly written; and what is wrong with it and what helps,
        both empty where it is there."""
        file = posixpath.normpath(name)
        rule = "" if file in self.known else _missing(self.base, file)
        if rule and posixpath.splitext(file)[1].lower() not in decode.SUFFIXES:
            folder, _, last = file.rpartition("/")
            if folder not in self._listings:
                self._listings[folder] = _by_stem(self.base / folder)
            fitting = self._listings[folder].get(last, [])
            if len(fitting) == 1:
                return posixpath.join(folder, fitting[0]), "", ""
            if fitting:
                return file, f"which may be {' or '.join(fitting)}", "write the whole name"
        return file, rule, rule and f"check the path, which begins in {self.base}"


def _missing(base: Path, file: str) -> str:
    """What is wrong with a file, by its name alone; nothing where it is there."""
    try:
        info = os.stat(os.path.join(base, file))  # noqa: PTH116, PTH118
    except (OSError, ValueError) as why:
        return f"which is not there ({getattr(why, 'strerror', None) or why})"
    return "" if stat.S_ISREG(info.st_mode) else "which is no file"


def _by_stem(folder: Path) -> dict[str, list[str]]:
    """The image files in a folder by their names without suffix."""
    found: dict[str, list[str]] = {}
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(folder)):  # noqa: PTH208
            stem, suffix = posixpath.splitext(name)
            if suffix.lower() in decode.SUFFIXES:
                found.setdefault(stem, []).append(name)
    return found
