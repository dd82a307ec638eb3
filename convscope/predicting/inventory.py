"""Inputs listed as they come, a line of JSON each, and what such a line names.

A line is the name of a file; or a row of a table, by its cells; or what is known to be unreadable
already, with its reason. Nothing is opened but folders and tables.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from convscope.data.rows import Names
from convscope.data.scan import find_images
from convscope.errors import BadArgument, ImageError
from convscope.events import Emit, Progress
from convscope.predicting import tables
from convscope.predicting.inputs import Named
from convscope.predicting.predictor import Predictor
from convscope.predicting.records import RecordPredictor, TableRow

Line = str | dict[str, Any]
TOLD = 10_000  # inputs, after each of which is told how many were listed


def source_of(line: Line, base: str, names: Sequence[Names]) -> Named | TableRow:
    """What a line names: files from ``base`` on, those of a table by its ``names``.

    >>> source_of("a.png", "/photos", [])
    Named(name='a.png', source='/photos/a.png')
    """
    if isinstance(line, str):
        return Named(line, os.path.join(base, line))  # noqa: PTH118
    if "cells" not in line:
        return Named(line["name"], ImageError(line["name"], line["problem"], line["remedy"]))
    problem = line["problem"] and tuple(line["problem"])
    return TableRow(tables.Row(line["place"], line["cells"], problem), names[line["table"]])


def known_by(given: Iterable[Any]) -> list[str]:
    """By what inputs are known again: absolute paths, and of names that come one after the other
    the SHA-256, for which they are gone through."""
    return [
        str(Path(one).absolute()) if isinstance(one, str | Path) else _Heard(one).sha256
        for one in given
    ]


def shards_of(path: Path, shard: int) -> list[tuple[int, str]]:
    """Where the lines of each shard begin in a listing, and their SHA-256."""
    found, offset = [], 0
    with path.open("rb") as file:
        while lines := list(itertools.islice(file, shard)):
            text = b"".join(lines)
            found.append((offset, hashlib.sha256(text).hexdigest()))
            offset += len(text)
    return found


class _Heard:
    """Names as they come, and the SHA-256 of those that came."""

    def __init__(self, names: Iterable[Any]) -> None:
        self._names, self._hash = names, hashlib.sha256()

    def __iter__(self) -> Iterator[str]:
        for name in self._names:
            if not isinstance(name, str | Path):
                raise BadArgument("FILES", "-", "is an image, not names", "leave --into out")
            self._hash.update(os.fsencode(name) + b"\n")
            yield str(name)

    @property
    def sha256(self) -> str:
        """That of all names, the rest of which are gone through."""
        for _ in self:
            pass
        return f"- {self._hash.hexdigest()}"


@dataclass
class Inventory:
    """What is given, listed as it comes: ``tables`` are those that were met, ``given`` is by what
    everything is known again."""

    predictor: Predictor | RecordPredictor
    asked: Sequence[Any]
    tables: list[str] = field(default_factory=list)
    given: list[str] = field(default_factory=list)

    def written(self, file: IO[bytes], emit: Emit) -> dict[str, Any]:
        """Write a line an input; what the manifest says of them. Reports Progress in images."""
        count = 0
        for line in self:
            if count % TOLD == 0:
                emit(Progress("list", count, None, "images"))
            file.write(json.dumps(line).encode() + b"\n")
            count += 1
        emit(Progress("list", count, count, "images"))
        return {
            "images": count,
            "given": self.given,
            "base": str(Path.cwd()),
            "tables": self.tables,
        }

    def __iter__(self) -> Iterator[Line]:
        for one in self.asked:
            if isinstance(one, str | Path):
                yield from self._lines(Path(one))
                self.given += known_by([one])
            else:
                heard = _Heard(one)
                for name in heard:
                    yield from self._lines(Path(name))
                self.given.append(heard.sha256)

    def _lines(self, path: Path) -> Iterator[Line]:
        if isinstance(self.predictor, RecordPredictor):
            columns = self.predictor.needed
            path = self.predictor.table(path)
        elif tables.is_table(path):
            columns = [tables.column_of_images(path)]
        else:
            for found in find_images(path):
                if isinstance(found, ImageError):
                    said = {"problem": found.problem, "remedy": found.remedy}
                    yield {"name": found.name, **said}
                else:
                    yield str(found)
            return
        self.tables.append(str(path.absolute()))
        for place, cells, problem in tables.rows_in(path):
            kept = {name: cells.get(name, "") for name in columns}
            yield {"place": place, "cells": kept, "problem": problem, "table": len(self.tables) - 1}
