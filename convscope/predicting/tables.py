"""Tables of files to be predicted: CSV, JSON lines or Parquet, read a row at a time.

A table is gone through once before anything is predicted, so that what is no table is refused
first; then a row is an answer, and one that cannot be used is its error. What a column holds is
known from the network, so that its header needs no kinds; columns that a network does not take,
such as labels and splits, are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from convscope.data import rows
from convscope.errors import BadArgument, ImageError
from convscope.formatting import listed


def is_table(path: str | Path) -> bool:
    """Whether a path is that of a table, by its name."""
    path = Path(path)
    return path.suffix.lower() in rows.SUFFIXES and path.is_file()


def count(path: Path) -> int:
    """How many rows a table has, each of which is read. Raises DataError for what is no table."""
    return sum(1 for _ in rows.found_in(path))


def header(path: Path) -> list[str]:
    """The columns of a table as its first row has them, ``name:kind`` where that is said. Raises
    BadArgument for an empty one, DataError for what is no table."""
    for _, row in rows.found_in(path):
        return [name for name in row if name is not None]
    raise BadArgument("images", path, "has no row below its header", "write a row an image")


class Row(NamedTuple):
    """A row of a table: where it is, in words; its cells as text by the short names of their
    columns; what is wrong with it, and what helps."""

    place: str
    cells: dict[str, str]
    problem: tuple[str, str] | None = None


def rows_in(path: Path) -> Iterator[Row]:
    """Each row of a table."""
    unit, columns = "row" if path.suffix.lower() == ".parquet" else "line", len(header(path))
    for at, row in rows.found_in(path):
        problem = None
        if None in row:
            rule = f"has {row[None]} cells where the header has {columns}"
            problem = rule, "write as many, in quotes where one holds a comma"
        cells = {rows.short_name(name): _text(value) for name, value in row.items() if name}
        yield Row(f"{unit} {at}", cells, problem)


def images_in(path: Path) -> Iterator[tuple[str, Path | ImageError]]:
    """The image of each row by its name as the table has it, see :func:`image_at`.

    The column is the one of kind ``image`` (:mod:`convscope.data.rows`), or the only one. Raises
    BadArgument where that is another number of columns.
    """
    column, names = column_of_images(path), rows.Names(path.parent)
    for row in rows_in(path):
        yield named_image(names, row, column)


def named_image(names: rows.Names, row: Row, column: str) -> tuple[str, Path | ImageError]:
    """The file that a row names in a column, or the error that it is, by its name."""
    try:
        return row.cells.get(column) or row.place, image_at(names, row, column)
    except ImageError as why:
        return why.name, why


def image_at(names: rows.Names, row: Row, column: str) -> Path:
    """The file that a row names in a column: from the table's own folder on, with the suffix of the
    one file of that name where it has none. Raises ImageError."""
    name = row.cells.get(column, "")
    if row.problem is not None:
        raise ImageError(name or row.place, *row.problem)
    if not name:
        raise ImageError(row.place, f"has nothing in {column}", "fill it in, or drop the row")
    file, rule, remedy = names.find(name)
    if rule:
        raise ImageError(name, rule.removeprefix("which "), remedy)
    return names.base / file


def column_of_images(path: Path) -> str:
    """The column of a table that names images to be predicted: see :func:`images_in`."""
    found = names = header(path)
    if len(names) > 1:
        found = [name for name in names if rows.kind_of(name) == "image"]
    if len(found) != 1:
        rule = f"has {len(found) or 'no'} columns of images among {listed(names)}"
        raise BadArgument("images", path, rule, "write NAME:image for the one to predict")
    return rows.short_name(found[0])


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
