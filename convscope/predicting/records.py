"""Records of several inputs -> what is told of each target, by whatever computes the outputs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
import scipy  # which loads scipy.special when it is asked for

from convscope.data import columns as typed
from convscope.data.columns import Class, Column, Columns, Image, Labels, Numbers
from convscope.data.decode import decode
from convscope.data.rows import Names, short_name
from convscope.errors import BadArgument, ImageError
from convscope.evaluation import metrics
from convscope.evaluation.calibration import Calibration
from convscope.evaluation.targets import finite, main_target
from convscope.events import Emit, Progress, silent
from convscope.formatting import listed
from convscope.predicting import tables
from convscope.predicting.inputs import ahead
from convscope.predicting.prediction import Answer, Prediction
from convscope.predicting.predictor import check_top_k, predictions_of, together
from convscope.predicting.tables import Row

Array = npt.NDArray[Any]


class OutputProvider(Protocol):
    """What computes a network's outputs by target, float32 [N,K] each (logits, or a number), of its
    inputs by name: images uint8 [N,C,H,W], numbers float32 [N,d], N at least 1."""

    def __call__(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]: ...


class Record(NamedTuple):
    """The files of a record by input, and all its inputs as arrays; without them, the error."""

    files: dict[str, str]
    inputs: dict[str, Array] | None
    error: str | None = None


class TableRow(NamedTuple):
    """A row of a table that was read already, whose files have ``names``."""

    row: Row
    names: Names


@dataclass(frozen=True)
class RecordPredictor:
    """A network of several inputs or targets: ``outputs`` computes them, ``columns`` say what both
    are, ``temperatures`` divide the logits of each class; the ``calibration`` is the leading
    target's, and so is ``set_threshold``, see :class:`~convscope.predicting.Predictor`.
    """

    outputs: OutputProvider
    columns: Columns
    temperatures: Mapping[str, float]
    calibration: Calibration
    set_threshold: float | None = None

    @classmethod
    def of(cls, info: Mapping[str, Any], outputs: OutputProvider) -> Self:
        """The network that a run's ``model.json`` describes, with what computes its outputs."""
        columns = typed.from_json(info["architecture"]["columns"])
        return cls(outputs, columns, info["temperatures"], Calibration.of(info))

    @property
    def images(self) -> list[str]:
        """The names of the inputs that are images."""
        return [name for name, one in self.columns.items() if isinstance(one, Image)]

    @property
    def targets(self) -> dict[str, Column]:
        """The columns that it tells."""
        return {name: one for name, one in self.columns.items() if not one.is_input}

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each target."""
        said = typed.as_json(self.targets)
        return {name: said[name]["kind"] for name in said}

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the leading target."""
        main = self.columns[main_target(self.columns)]
        assert isinstance(main, Class)
        return main.classes

    def predict(
        self,
        rows: Any,
        top_k: int = 5,
        invert: bool = False,
        emit: Emit = silent,
        digits: bool | None = None,
    ) -> list[Prediction]:
        """All predictions that :meth:`stream` gives."""
        return list(self.stream(rows, top_k, invert, emit, digits))

    def stream(
        self,
        rows: Any,
        top_k: int = 5,
        invert: bool = False,
        emit: Emit = silent,
        digits: bool | None = None,
    ) -> Iterator[Prediction]:
        """A prediction a record, in their order, decoded ahead and some at a time.

        ``rows`` are tables (:mod:`convscope.predicting.tables`) that have a column for each image
        and each number, rows of such, or mappings of those names to images in any form and to
        numbers. A record
        that cannot be read gets a prediction that holds its ``error``. Reports Progress in records.
        Raises BadArgument at once for a table that lacks a column, and for ``digits``.
        """
        check_top_k(top_k)
        if digits:
            rule = "is for networks of one image, and this one takes"
            raise BadArgument("digits", digits, f"{rule} {listed(self.needed)}", "leave it out")
        rows = [rows] if isinstance(rows, str | Path | Mapping) else rows
        total = self._count(rows) if isinstance(rows, Sequence) else None
        return self._stream(
            ahead(self._given(rows, invert), _read, self._bytes), total, top_k, emit
        )

    @property
    def needed(self) -> list[str]:
        """The names of the cells that a record has."""
        return [
            cell
            for name, one in self.columns.items() if one.is_input
            for cell in (one.names if isinstance(one, Numbers) else (name,))
        ]  # fmt: skip

    @property
    def _bytes(self) -> int:
        inputs = [one for one in self.columns.values() if one.is_input]
        return sum(int(np.prod(one.shape)) * np.dtype(one.dtype).itemsize for one in inputs)

    def _count(self, rows: Sequence[Any]) -> int:
        return sum(1 if isinstance(one, Mapping) else tables.count(self.table(one)) for one in rows)

    def table(self, given: Any) -> Path:
        """The path of a table that has every column. Raises BadArgument."""
        needs = f"the network takes {listed(self.needed)}"
        if not isinstance(given, str | Path) or not tables.is_table(given):
            remedy = "give a table (.csv, .jsonl, .parquet) with a column for each"
            raise BadArgument("images", given, f"is no table of records, and {needs}", remedy)
        found = [short_name(name) for name in tables.header(Path(given))]
        if missing := [name for name in self.needed if name not in found]:
            rule = f"has no column {listed(missing)} among {listed(found)}, and {needs}"
            raise BadArgument("images", given, rule, "name its columns so")
        return Path(given)

    def _given(self, rows: Iterable[Any], invert: bool) -> Iterator[_Given]:
        for given in rows:
            if isinstance(given, Mapping):
                yield _Given(self.columns, given, None, invert)
                continue
            if isinstance(given, TableRow):
                yield _Given(self.columns, given.row, given.names, invert)
                continue
            path = self.table(given)
            names = Names(path.parent)
            for row in tables.rows_in(path):
                yield _Given(self.columns, row, names, invert)

    def _stream(
        self, read: Iterator[Record], total: int | None, k: int, emit: Emit
    ) -> Iterator[Prediction]:
        done = 0
        for some in together(read, self._bytes):
            good = [one.inputs for one in some if one.inputs is not None]
            found = iter(self._predicted(good, k) if good else ())
            done += len(some)
            emit(Progress("predict", done, total, "records"))
            for files, inputs, error in some:
                name = next(iter(files.values()))
                if inputs is None:
                    yield Prediction((), name, error, files=files)
                else:
                    yield replace(next(found), file=name, files=files)

    def _predicted(self, records: Sequence[Mapping[str, Array]], k: int) -> Iterator[Prediction]:
        """A prediction a record, without its files."""
        inputs = {name: np.stack([one[name] for one in records]) for name in records[0]}
        found, main = self.outputs(inputs), main_target(self.columns)
        answers = {
            name: list(_answers(one, found[name], self.temperatures.get(name, 1.0), k))
            for name, one in self.targets.items()
        }
        leading = predictions_of(found[main], self.classes, self.calibration, self.set_threshold, k)
        for i, one in enumerate(leading):
            yield replace(one, targets={name: told[i] for name, told in answers.items()})


class _Given(NamedTuple):
    """A record that is not read yet: a row of a table, whose files have ``names``, or a mapping."""

    columns: Columns
    cells: Row | Mapping[str, Any]
    names: Names | None
    invert: bool


def _read(given: _Given) -> Record:
    """The inputs of a record."""
    columns, cells, names, invert = given
    found = cells.cells if isinstance(cells, Row) else cells
    place = cells.place if isinstance(cells, Row) else "the record"
    images = {name: one for name, one in columns.items() if isinstance(one, Image)}
    files = {n: _said(found.get(n)) or (place if isinstance(cells, Row) else n) for n in images}
    values: dict[str, Array] = {}
    try:
        for name, one in columns.items():
            if isinstance(one, Image):
                source = found.get(name)
                if isinstance(cells, Row) and names is not None:
                    source = tables.image_at(names, cells, name)
                elif source is None:
                    raise ImageError(place, f"has no {name}", "give an image for it")
                values[name] = decode(
                    source,
                    channels=one.channels,
                    size=one.size,
                    fit=one.fit,
                    invert=invert,
                    name=files[name],
                )
            elif isinstance(one, Numbers):
                numbers = [_number(place, cell, found.get(cell)) for cell in one.names]
                values[name] = np.array(numbers, np.float32)
    except ImageError as why:
        return Record(files, None, str(why))
    return Record(files, values)


def _said(source: Any) -> str:
    return str(source) if isinstance(source, str | Path) else ""


def _number(place: str, name: str, value: Any) -> float:
    """The number in a cell. Raises ImageError for what a float32 does not hold."""
    with contextlib.suppress(TypeError, ValueError):
        if abs(number := float(value)) < 2.0**128:
            return number
    raise ImageError(place, f"has {value!r} in {name}, which is no finite number", "write one")


def _answers(column: Column, outputs: Array, temperature: float, k: int) -> Iterator[Answer]:
    """What is told of a target of each record."""
    if isinstance(column, Class):
        p = metrics.softmax(outputs, temperature)
        for row, order in zip(p, np.argsort(-p, axis=1, kind="stable"), strict=True):
            yield Answer("class", tuple((column.classes[j], float(row[j])) for j in order[:k]))
    elif isinstance(column, Labels):
        for row in scipy.special.expit(finite(outputs)):
            told = [(name, float(p)) for name, p in zip(column.classes, row, strict=True)]
            yield Answer("labels", tuple(one for one in told if one[1] > 0.5))
    else:
        for value in finite(outputs)[:, 0]:
            yield Answer("number", number=float(value))
