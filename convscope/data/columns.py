"""What a data set has for each record: typed columns, by name, as in a table.

Inputs are images and numbers; targets are a class, several labels or a number. What most people
have is one column ``image`` and one column ``label``, a class: :func:`image_and_label`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from convscope.errors import DataError

IMAGE, LABEL = "image", "label"  # the columns of a data set of images and classes
RESERVED = ("hashes", "files", "groups")  # which a pack keeps beside its columns
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Image:
    """An input: pixels uint8 ``[N,C,H,W]`` of one ``size`` (height, width); ``fit`` says how images
    were brought to it."""

    channels: int
    size: tuple[int, int]
    fit: str = "pad"
    dtype: ClassVar[str] = "uint8"
    is_input: ClassVar[bool] = True

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one record: ``[C,H,W]``."""
        return self.channels, *self.size

    def check(self, values: Array, where: str) -> None:
        """Raise DataError unless the array can be this column."""
        if values.dtype != np.uint8 or values.ndim != 4 or 0 in values.shape:
            raise _wrong("images", values, where, "uint8 [N,C,H,W], none of them 0")


@dataclass(frozen=True)
class Numbers:
    """An input: a vector of numbers by name, float32 ``[N,d]``."""

    names: tuple[str, ...]
    dtype: ClassVar[str] = "float32"
    is_input: ClassVar[bool] = True

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one record: ``[d]``."""
        return (len(self.names),)

    def check(self, values: Array, where: str) -> None:
        """Raise DataError unless the array can be this column."""
        _check_finite(values, where, (len(values), len(self.names)))


@dataclass(frozen=True)
class Class:
    """A target: one class of several, int64 ``[N]``."""

    classes: tuple[str, ...]
    dtype: ClassVar[str] = "int64"
    is_input: ClassVar[bool] = False

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one record: ``[]``."""
        return ()

    def check(self, values: Array, where: str) -> None:
        """Raise DataError unless the array can be this column."""
        if values.dtype.kind not in "iu" or values.ndim != 1:
            raise _wrong("labels", values, where, f"whole numbers [{len(values)}]")
        outside = (values < 0) | (values >= len(self.classes))
        if outside.any():
            index = int(np.flatnonzero(outside)[0])
            raise DataError(
                f"{where}: label {values[index]} of image {index} is outside "
                f"0..{len(self.classes) - 1}"
            )


@dataclass(frozen=True)
class Labels:
    """A target: any number of several labels, uint8 ``[N,K]``, 1 where a record has the label."""

    classes: tuple[str, ...]
    dtype: ClassVar[str] = "uint8"
    is_input: ClassVar[bool] = False

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one record: ``[K]``."""
        return (len(self.classes),)

    def check(self, values: Array, where: str) -> None:
        """Raise DataError unless the array can be this column."""
        wanted = (len(values), len(self.classes))
        if values.dtype != np.uint8 or values.shape != wanted or (values > 1).any():
            raise _wrong("labels", values, where, f"uint8 {list(wanted)}, each 0 or 1")


@dataclass(frozen=True)
class Number:
    """A target: a number, float32 ``[N]``."""

    dtype: ClassVar[str] = "float32"
    is_input: ClassVar[bool] = False

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one record: ``[]``."""
        return ()

    def check(self, values: Array, where: str) -> None:
        """Raise DataError unless the array can be this column."""
        _check_finite(values, where, (len(values),))


Column: TypeAlias = Image | Numbers | Class | Labels | Number
Columns: TypeAlias = Mapping[str, Column]
KINDS: dict[str, type[Column]] = {
    "image": Image,
    "numbers": Numbers,
    "class": Class,
    "labels": Labels,
    "number": Number,
}


def images(columns: Columns) -> dict[str, Image]:
    """Those that are images, by name."""
    return {name: one for name, one in columns.items() if isinstance(one, Image)}


def outputs_of(column: Column) -> int:
    """How many outputs a network has for a target: a logit a class or label, or a number."""
    return len(column.classes) if isinstance(column, Class | Labels) else 1


def image_and_label(
    shape: Sequence[int], classes: Sequence[str], fit: str = "pad"
) -> dict[str, Column]:
    """The columns of images ``[C,H,W]`` that have one class each.

    >>> list(image_and_label((1, 28, 28), ["cat", "dog"]))
    ['image', 'label']
    """
    channels, height, width = map(int, shape)
    return {
        IMAGE: Image(channels, (height, width), fit),
        LABEL: Class(tuple(map(str, classes))),
    }


def as_json(columns: Columns) -> dict[str, dict[str, Any]]:
    """The columns as ``meta.json`` and ``model.json`` hold them: their kinds and what these have.

    >>> from_json(as_json({"age": Number()}))
    {'age': Number()}
    """
    kinds = {kind: name for name, kind in KINDS.items()}
    return {name: {"kind": kinds[type(one)], **asdict(one)} for name, one in columns.items()}


def from_json(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Column]:
    """The columns that :func:`as_json` wrote; KeyError, TypeError or ValueError for others."""
    columns: dict[str, Column] = {}
    for name, fields in found.items():
        values = {key: _frozen(value) for key, value in fields.items() if key != "kind"}
        columns[name] = KINDS[fields["kind"]](**values)
    return columns


def of_model(info: Mapping[str, Any]) -> Columns:
    """The columns of the data that a network was made for, from a run's ``model.json``."""
    built = info["architecture"]
    if "columns" in built:
        return from_json(built["columns"])
    shape = (built["in_channels"], *built["image_size"])
    return image_and_label(shape, info["classes"], info["preprocessing"]["fit"])


def check_names(columns: Columns, where: str) -> None:
    """Raise DataError unless there are inputs and targets, under names that files can have."""
    for name in columns:
        if not re.fullmatch(r"[\w-]+", name) or name in RESERVED:
            raise DataError(
                f"{where}: column {name!r} must be letters, digits, _ and -, and none of "
                f"{', '.join(RESERVED)}; rename it"
            )
    if not any(isinstance(column, Image) for column in columns.values()):
        raise DataError(f"{where}: must have a column of images, and has {list(columns)}")
    if {column.is_input for column in columns.values()} != {True, False}:
        raise DataError(f"{where}: must have an input and a target, and has {list(columns)}")


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_finite(values: Array, where: str, wanted: tuple[int, ...]) -> None:
    if values.dtype.kind != "f" or values.shape != wanted or not np.isfinite(values).all():
        raise _wrong("numbers", values, where, f"float32 {list(wanted)}, every one finite")


def _wrong(what: str, values: Array, where: str, wanted: str) -> DataError:
    return DataError(f"{where}: {what} are {values.dtype} {list(values.shape)}, must be {wanted}")
