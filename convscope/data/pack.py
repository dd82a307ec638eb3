"""A data set on disk as plain arrays: memory-mapped, checked, opened in milliseconds.

A pack is a folder: ``<split>-<column>.npy`` ``[N,...]`` for each column (of images and classes:
``image``, uint8 ``[N,C,H,W]``, and ``label``, int64 ``[N]``) and ``<split>-hashes.npy`` (uint64
``[N]``, by which identical records are found) for each split, ``<split>-files.json`` where each
record has files of its own, ``<split>-groups.json`` where records are to stay together, and
``meta.json``, which says what they must be. It is written as the
records come (:mod:`convscope.data.pack_writer`) and read where they lie, so that it may be larger
than memory.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convscope import files
from convscope.data import columns as typed
from convscope.data import shards as sharded
from convscope.data.columns import Array, Class, Columns, Image
from convscope.data.duplicates import Hashes, input_hashes
from convscope.data.shards import ShardedImages, Shards
from convscope.errors import DataError
from convscope.formatting import listed

FORMAT_VERSION = 2
SPLITS = ("train", "val", "test")
_NO_COMMITMENT = 1455  # Windows: the paging file is too small

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """The columns of a split by name, ``[N,...]`` each, memory-mapped, copied on write.

    What the system will not promise copies of, such as an array larger than memory, is read-only.
    ``listing`` and ``grouping`` are what :attr:`files` and :attr:`groups` give, or where it is.
    Images of a pack in shards are :class:`~convscope.data.shards.ShardedImages` of ``shards``.
    """

    columns: Columns
    values: Mapping[str, Array]
    listing: Path | tuple[str, ...] | None = None
    kept: Hashes | None = None
    grouping: Path | tuple[str, ...] | None = None
    shards: Shards | None = None

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    @property
    def inputs(self) -> dict[str, Array]:
        """The columns that a network is given."""
        return {name: self.values[name] for name, one in self.columns.items() if one.is_input}

    @property
    def targets(self) -> dict[str, Array]:
        """The columns that it is to tell."""
        return {name: self.values[name] for name, one in self.columns.items() if not one.is_input}

    @property
    def images(self) -> Images:
        """The images uint8 ``[N,C,H,W]`` of a data set that has one a record, or DataError."""
        return self.values[_only(self.columns, Image)]

    @property
    def main_images(self) -> Images:
        """Those of the first column of images."""
        return next(
            self.values[name] for name, one in self.columns.items() if isinstance(one, Image)
        )

    @property
    def labels(self) -> Labels:
        """The classes int64 ``[N]`` of a data set that has one a record, or DataError."""
        return self.values[_only(self.columns, Class)]

    @cached_property
    def hashes(self) -> Hashes:
        """What :func:`~convscope.data.duplicates.input_hashes` gives of the inputs, uint64
        ``[N]``; computed where they are of a pack that keeps none."""
        return input_hashes(self.columns, self.values) if self.kept is None else self.kept

    @cached_property
    def files(self) -> tuple[str, ...] | None:
        """The file of each record, with "/" between its folders; None where they have none."""
        return self._listed(self.listing)

    @cached_property
    def groups(self) -> tuple[str, ...] | None:
        """The group of each record, whose records are to be on one side; None where each is
        alone."""
        return self._listed(self.grouping)

    def _listed(self, where: Path | tuple[str, ...] | None) -> tuple[str, ...] | None:
        """What a file lists, a name a record. Raises DataError."""
        if not isinstance(where, Path):
            return where
        found = files.read_json(where, lambda text: damaged(text, where.parent))
        if not isinstance(found, list) or len(found) != len(self):
            what = where.stem.rpartition("-")[2]
            raise damaged(f"{where}: does not name {len(self):,} {what}", where.parent)
        return tuple(map(str, found))


@dataclass(frozen=True)
class Pack:
    """An opened data set; ``splits`` holds at least one of "train", "val" and "test".

    ``fingerprint`` is that of the records in whatever order, ``digest`` that of the arrays as they
    lie, so that positions in them mean the same records. ``folder`` is None for a pack that is in
    memory alone."""

    name: str
    columns: Columns
    splits: dict[str, Split]
    fingerprint: str
    digest: str
    folder: Path | None

    @property
    def inputs(self) -> Columns:
        """The columns that a network is given, by name."""
        return {name: one for name, one in self.columns.items() if one.is_input}

    @property
    def targets(self) -> Columns:
        """The columns that it is to tell, by name."""
        return {name: one for name, one in self.columns.items() if not one.is_input}

    @property
    def image(self) -> Image:
        """The column of images of a data set that has one, or DataError."""
        found = self.columns[_only(self.columns, Image)]
        assert isinstance(found, Image)
        return found

    @property
    def tests(self) -> int:
        """How many records the test split has, 0 where there is none."""
        return len(self.splits["test"]) if "test" in self.splits else 0

    @property
    def main_image(self) -> Image:
        """The first column of images."""
        return next(one for one in self.columns.values() if isinstance(one, Image))

    @property
    def main_classes(self) -> tuple[str, ...]:
        """The classes of the first target that is a class."""
        return next(one.classes for one in self.columns.values() if isinstance(one, Class))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of a data set whose one target is a class, or DataError."""
        found = self.columns[_only(self.columns, Class)]
        assert isinstance(found, Class)
        return found.classes

    @property
    def channels(self) -> int:
        """How many channels an image has: 1 or 3."""
        return self.image.channels

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of an image."""
        return self.image.size

    @property
    def fit(self) -> str:
        """How the images were brought to their size, and so how another one is."""
        return self.image.fit


def _only(columns: Columns, kind: type) -> str:
    """The name of the one input, or target, if it is the only one and of this kind."""
    found = [name for name, one in columns.items() if one.is_input == kind.is_input]  # type: ignore[attr-defined]
    if len(found) == 1 and isinstance(columns[found[0]], kind):
        return found[0]
    what = "inputs" if kind is Image else "targets"
    raise DataError(
        f"{what} {listed(found)}: this needs data with one {kind.__name__.lower()} a record alone; "
        "leave the others out"
    )


def open_pack(folder: Path) -> Pack:
    """Open a pack without reading its images.

    Raises DataError, naming the file, where sizes, shapes, types or labels are not what
    ``meta.json`` says.
    """
    meta = read_meta(folder)
    try:
        columns = typed.from_json(meta["columns"])
        filled = typed.images(columns) if "shards" in meta else []
        arrays: dict[str, dict[str, Any]] = {
            split: {
                name: _open_array(folder / file_name(split, name), described[name], name in filled)
                for name in columns
            }
            for split, described in meta["splits"].items()
        }
        shards = {}
        for split, values in arrays.items() if "shards" in meta else ():
            shards[split] = found = sharded.opened(folder, meta, split, columns, values)
            values.update({name: ShardedImages(found, name) for name in found.arrays})
        check(columns, arrays, str(folder))
        splits = {
            split: Split(
                columns,
                values,
                *_beside(folder, split, meta["splits"][split]),
                shards.get(split),
            )
            for split, values in arrays.items()
        }
        digest = digest_of(
            described[name]["sha256"]
            for _, described in sorted(meta["splits"].items())
            for name in columns
        )
        return Pack(str(meta["name"]), columns, splits, str(meta["fingerprint"]), digest, folder)
    except DataError as why:
        raise damaged(str(why), folder) from None
    except (KeyError, TypeError, ValueError, AttributeError) as why:
        raise damaged(f"{folder / 'meta.json'}: is damaged ({why!r})", folder) from None


def digest_of(sums: Iterable[str]) -> str:
    """The digest of a pack whose arrays have these SHA-256."""
    return hashlib.sha256(" ".join(sums).encode()).hexdigest()


def read_meta(folder: Path) -> dict[str, Any]:
    """What ``meta.json`` says; DataError where it is missing, damaged or of another version."""
    path = folder / "meta.json"
    meta = files.read_json(path, lambda text: damaged(text, folder))
    if not isinstance(meta, dict) or meta.get("format_version") != FORMAT_VERSION:
        raise damaged(f"{path}: is no pack of format {FORMAT_VERSION}", folder)
    return meta


def verify(folder: Path) -> None:
    """Read a pack to its last byte; DataError names the file whose SHA-256 is not as written.
    Images of a pack in shards are checked, or fetched, when they are read."""
    splits = open_pack(folder).splits
    for split, described in read_meta(folder)["splits"].items():
        shards = splits[split].shards
        for part, values in described.items():
            if shards is not None and part in shards.arrays:
                continue
            path = folder / file_name(split, part)
            if files.sha256(path) != values["sha256"]:
                raise damaged(f"{path}: was changed after it was written", folder)


def damaged(text: str, folder: Path) -> DataError:
    """The error for a pack that is not as it was written."""
    return DataError(f"{text}. Delete the folder {folder}; it is made anew")


def check(columns: Columns, splits: Mapping[str, Mapping[str, Array]], name: str) -> None:
    """Raise DataError unless the arrays of each split are these columns, of as many records."""
    typed.check_names(columns, name)
    if not splits:
        raise DataError(f"{name}: must have splits, and columns of the same kinds in all of them")
    for split, values in splits.items():
        where = f"{name}: {split}"
        if split not in SPLITS:  # it becomes part of a file's name
            raise DataError(f"{where}: must be one of {', '.join(SPLITS)}")
        for column, kind in columns.items():
            array = values[column]
            kind.check(array, where)
            if array.shape[1:] != kind.shape:
                raise DataError(
                    f"{where}: {column} is {list(array.shape)}, must be "
                    f"{[len(array), *kind.shape]}: records of one shape in all splits"
                )
        lengths = {column: len(values[column]) for column in columns}
        if len(set(lengths.values())) != 1:
            counts = [f"{count:,} of {column}" for column, count in lengths.items()]
            raise DataError(f"{where}: has {listed(counts)}, must have as many of each")


def file_name(split: str, part: str) -> str:
    """The name of the file that holds a split's column, hashes, files or groups."""
    return f"{split}-{part}.{'json' if part in ('files', 'groups') else 'npy'}"


def _beside(
    folder: Path, split: str, described: Mapping[str, Any]
) -> tuple[Path | None, Hashes | None, Path | None]:
    """The list of the records' files, their hashes and the list of their groups, where these are
    there; DataError unless they have their sizes."""
    lists: list[Path | None] = [None, None]
    for at, part in enumerate(("files", "groups")):
        if part in described:
            lists[at] = path = folder / file_name(split, part)
            _check_size(path, described[part])
    kept = None
    if "hashes" in described:
        kept = _open_array(folder / file_name(split, "hashes"), described["hashes"])
    return lists[0], kept, lists[1]


def _check_size(path: Path, described: Mapping[str, Any]) -> None:
    """Raise DataError unless a file is there with as many bytes as were written."""
    try:
        size = path.stat().st_size
    except OSError as why:
        raise DataError(f"{path}: cannot be read ({why})") from None
    if size != described["bytes"]:
        raise DataError(f"{path}: has {size:,} bytes, not {described['bytes']:,}")


def _open_array(path: Path, described: Mapping[str, Any], filled: bool = False) -> Array:
    """Memory-map one .npy file whose size, shape and type are as described. One that is ``filled``
    later is read-only: a map that is copied on write need not see that."""
    _check_size(path, described)
    array: Array
    try:
        try:
            array = np.load(path, mmap_mode="r" if filled else "c", allow_pickle=False)
        except OSError as why:  # room for a copy of every page is promised, or refused, at once
            if why.errno != errno.ENOMEM and getattr(why, "winerror", 0) != _NO_COMMITMENT:
                raise
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as why:
        raise DataError(f"{path}: cannot be read ({why})") from None
    if list(array.shape) != described["shape"] or str(array.dtype) != described["dtype"]:
        raise DataError(
            f"{path}: holds {array.dtype} {list(array.shape)}, "
            f"not {described['dtype']} {described['shape']}"
        )
    return array
