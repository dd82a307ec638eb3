"""Where the records of a data set come from: the protocol that every kind of source follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from convscope.data.columns import Columns
from convscope.data.pack import Pack
from convscope.data.pack_writer import Chunk
from convscope.errors import DataError
from convscope.events import Emit, Notice


@dataclass(frozen=True)
class Place:
    """Where a data set comes from: ``kind``, and ``where`` in words."""

    kind: Literal["package", "disk", "pack", "download"]
    where: str

    def __str__(self) -> str:
        return self.where


@dataclass(frozen=True)
class Contents:
    """What a source holds: its columns, the records of each split in ``chunks``, of which there
    are ``counts`` at most, and its ``stamp``. ``about`` is what else ``meta.json`` is to say, and
    is looked at once all records are there; ``where`` says in words where they come from."""

    columns: Columns
    counts: Mapping[str, int]
    chunks: Mapping[str, Iterable[Chunk]]
    stamp: Any
    where: str
    about: Mapping[str, Any] = field(default_factory=dict)


def changed(where: Path) -> DataError:
    """The error for files that were changed while they were read."""
    return DataError(
        f"{where}: its files were changed while they were packed, so that the pack may hold some "
        "of both; start again once nothing writes to them"
    )


class Source(Protocol):
    """A data set as its files hold it; ``place`` is the folder of its pack. Without ``too_large``
    it may be held in memory where the cache cannot take it."""

    @property
    def name(self) -> str:
        """What notices call it."""

    @property
    def place(self) -> Path:
        """The folder of its pack, which depends on all that decides what is in it."""

    @property
    def too_large(self) -> bool:
        """Whether it may only be read from a pack."""

    @property
    def has_test(self) -> bool:
        """Whether its files say which records are for testing, so that none had to be held out."""

    def locate(self) -> Place:
        """Where its records would come from now; nothing is read, fetched or written. Raises
        BadArgument where they are nowhere."""

    def stamp(self, emit: Emit) -> Any:
        """What its files are like, in JSON, so that a change of them is seen; None where they have
        gone, and its pack is to be used as it is. Raises BadArgument where there is neither."""

    def chunks(self, emit: Emit) -> AbstractContextManager[Contents]:
        """Its records, found, checked, fetched if need be, and read as they are asked for; what
        there is to say of them is said when they are done with."""

    def remarks(self, pack: Pack) -> Iterable[Notice]:
        """What there is to say of its pack whenever that is opened."""
