"""Packs are written whole or not at all, a chunk of records at a time, or held in memory."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convscope import files
from convscope.data import columns as typed
from convscope.data.columns import IMAGE, LABEL, Array, Columns
from convscope.data.duplicates import Hashes, input_hashes
from convscope.data.pack import (
    FORMAT_VERSION,
    Pack,
    Split,
    check,
    digest_of,
    file_name,
    open_pack,
)

BUFFER = 8 << 20  # bytes that go to the system at once: small pieces are slower to read back

Splits = Mapping[str, tuple[Array, Array]]  # images and labels


class Chunk(NamedTuple):
    """Some records of a split: the columns by name, ``[n,...]`` each, the file of each record,
    what :func:`record_hashes` and ``input_hashes`` give, where that is known already, and the group
    of each record."""

    values: Mapping[str, Array]
    files: Sequence[str] = ()
    hashes: Sequence[bytes] = ()
    input_hashes: Hashes | None = None
    groups: Sequence[str] = ()


def fingerprint(splits: Splits) -> str:
    """The SHA-256 of the images and labels of each split, whatever their order within it.

    Every record (label as 8 bytes, little end first, then pixels) is hashed; the sorted hashes of a
    split are hashed after its name and image shape. Of other columns a record is its targets, then
    its inputs.

    >>> a, b = np.zeros((2, 1, 1, 2), np.uint8), np.array([3, 5])
    >>> fingerprint({"train": (a, b)}) == fingerprint({"train": (a, b[::-1])})
    True
    >>> fingerprint({"train": (a, b)}) == fingerprint({"test": (a, b)})
    False
    """
    found = {}
    for split, (images, labels) in splits.items():
        columns = typed.image_and_label(images.shape[1:], ())
        records = list(record_hashes(columns, {IMAGE: images, LABEL: labels}))
        found[split] = columns, records
    return combined(found)


def record_hashes(columns: Columns, values: Mapping[str, Array]) -> Iterator[bytes]:
    """The SHA-256 of each record: its targets and inputs, little end first."""
    ordered = sorted(columns, key=lambda name: columns[name].is_input)
    arrays = [
        np.asarray(values[name], np.dtype(columns[name].dtype).newbyteorder("<"))
        for name in ordered
    ]
    for record in zip(*arrays, strict=True):
        found = hashlib.sha256()
        for value in record:
            found.update(np.ascontiguousarray(value).data)
        yield found.digest()


def combined(hashes: Mapping[str, tuple[Columns, list[bytes]]]) -> str:
    """The fingerprint of the columns and the record hashes of each split."""
    whole = hashlib.sha256()
    for split, (columns, records) in sorted(hashes.items()):
        kinds = [f"{name} {type(one).__name__} {list(one.shape)}" for name, one in columns.items()]
        shape = list(columns[IMAGE].shape) if [*columns] == [IMAGE, LABEL] else kinds
        whole.update(f"{split} {shape} {len(records)}\n".encode())
        whole.update(b"".join(sorted(records)))
    return whole.hexdigest()


def write_pack(
    folder: Path,
    name: str,
    classes: Sequence[str],
    splits: Splits,
    source: str,
    *,
    read_from: Any = None,
) -> Pack:
    """Write a pack of images and classes whole or not at all, and open it.

    ``splits`` holds images uint8 ``[N,C,H,W]`` and whole-numbered labels ``[N]``; ``source`` says
    in words where they came from, and ``read_from`` what its files were like then. A folder that
    is there already stays as it is. Raises DataError where the arrays do not fit each other.
    """
    columns, values = _columns_of(f"{name} ({source})", classes, splits)
    streams = {split: [Chunk(one)] for split, one in values.items()}
    counts = {split: len(one[LABEL]) for split, one in values.items()}
    about = {"source": source, "read_from": read_from or {}}
    return write_stream(folder, name, columns, streams, counts, about)


def _columns_of(
    name: str, classes: Sequence[str], splits: Splits
) -> tuple[Columns, dict[str, dict[str, Array]]]:
    """The columns of images and labels, and their arrays, checked. Raises DataError."""
    shape = next((images.shape[1:] for images, _ in splits.values() if images.ndim == 4), (1, 1, 1))
    columns = typed.image_and_label(shape, classes)
    values = {split: {IMAGE: images, LABEL: labels} for split, (images, labels) in splits.items()}
    check(columns, values, name)
    return columns, values


def write_stream(
    folder: Path,
    name: str,
    columns: Columns,
    splits: Mapping[str, Iterable[Chunk]],
    counts: Mapping[str, int],
    about: Mapping[str, Any],
) -> Pack:
    """Write a pack as its records come, whole or not at all, and open it.

    ``counts`` says how many records a split is expected to have; it may turn out to have fewer.
    ``about`` is what else ``meta.json`` says, and is looked at once all records are there. A folder
    that is there already stays as it is.
    """
    with files.whole_folder(folder) as unfinished:
        described, hashes = {}, {}
        for split, chunks in splits.items():
            written = _write_split(unfinished, split, columns, counts[split], chunks)
            described[split], hashes[split] = written[0], (columns, written[1])
        meta = {
            "format_version": FORMAT_VERSION,
            "name": name,
            "columns": typed.as_json(columns),
            "fingerprint": combined(hashes),
            **about,
            "splits": described,
        }
        files.write_json(unfinished / "meta.json", meta)
    return open_pack(folder)


def pack_in_memory(name: str, columns: Columns, splits: Mapping[str, Iterable[Chunk]]) -> Pack:
    """The pack of these records with nothing written: that which :func:`write_stream` would give,
    but for its folder and what is beside its columns."""
    held: dict[str, Split] = {}
    for split, stream in splits.items():
        chunks = [chunk.values for chunk in stream]
        values = {
            n: np.ascontiguousarray(np.concatenate([one[n] for one in chunks]), column.dtype)
            for n, column in columns.items()
        }
        held[split] = Split(columns, values)
    check(columns, {split: one.values for split, one in held.items()}, name)
    arrays = [split.values[n] for _, split in sorted(held.items()) for n in columns]
    sums = (hashlib.sha256(head(a.shape, a.dtype) + a.tobytes()).hexdigest() for a in arrays)
    hashes = {
        split: (columns, list(record_hashes(columns, one.values))) for split, one in held.items()
    }
    return Pack(name, columns, held, combined(hashes), digest_of(sums), None)


def _write_split(
    folder: Path, split: str, columns: Columns, expected: int, chunks: Iterable[Chunk]
) -> tuple[dict[str, Any], list[bytes]]:
    """Write the files of one split, of which inputs go to disk as they come; what they are, and
    the hash of every record."""
    hashes: list[bytes] = []
    same: list[Hashes] = []
    names: dict[str, list[str]] = {"files": [], "groups": []}
    small: dict[str, list[Array]] = {n: [] for n, one in columns.items() if not one.is_input}
    with contextlib.ExitStack() as stack:
        files_of = {
            n: stack.enter_context(_Growing(folder / file_name(split, n), expected, one))
            for n, one in columns.items()
            if one.is_input
        }
        for chunk in chunks:
            values = {
                n: np.ascontiguousarray(chunk.values[n], one.dtype) for n, one in columns.items()
            }
            for n, growing in files_of.items():
                growing.add(values[n])
            for n, kept in small.items():
                kept.append(values[n])
            names["files"] += chunk.files
            names["groups"] += chunk.groups
            hashes += chunk.hashes or record_hashes(columns, values)
            known = chunk.input_hashes
            same.append(input_hashes(columns, values) if known is None else known)
    described = {n: growing.described() for n, growing in files_of.items()}
    whole = {n: np.concatenate(kept) for n, kept in small.items()}
    for part, content in (*whole.items(), ("hashes", np.concatenate(same))):
        path = folder / file_name(split, part)
        path.write_bytes(head(content.shape, content.dtype) + content.tobytes())
        described[part] = _described(path, content.shape, str(content.dtype), files.sha256(path))
    for part, listed in names.items():
        if listed:
            path = folder / file_name(split, part)
            path.write_text(json.dumps(listed, indent=0), encoding="ascii")  # \u for all but ASCII
            described[part] = _described(path, (len(listed),), "str", files.sha256(path))
    return described, hashes


class _Growing:
    """A .npy file that grows a chunk at a time; its head has room for any number of records."""

    def __init__(self, path: Path, expected: int, column: typed.Column) -> None:
        self.path, self.expected, self.column, self.count = path, expected, column, 0
        begin = head((expected, *column.shape), column.dtype)
        self.sha256 = hashlib.sha256(begin)
        self.file = path.open("wb", buffering=BUFFER)
        self.file.write(begin)

    def __enter__(self) -> _Growing:
        return self

    def __exit__(self, *why: object) -> None:
        with self.file as file:
            if why[0] is None and self.count != self.expected:
                file.seek(0)
                file.write(head((self.count, *self.column.shape), self.column.dtype))

    def add(self, values: Array) -> None:
        self.file.write(values.data)  # which says that a disk is full, where np.save does not
        self.sha256.update(values.data)
        self.count += len(values)

    def described(self) -> dict[str, Any]:
        """What ``meta.json`` says of it, once it is closed."""
        whole = self.count == self.expected
        sha256 = self.sha256.hexdigest() if whole else files.sha256(self.path)
        shape = (self.count, *self.column.shape)
        return _described(self.path, shape, self.column.dtype, sha256)


def head(shape: tuple[int, ...], dtype: npt.DTypeLike) -> bytes:
    """The head of a .npy file, which is as long for any number of records."""
    out = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    about = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, about)
    return out.getvalue()


def _described(path: Path, shape: Sequence[int], dtype: str, sha256: str) -> dict[str, Any]:
    """What ``meta.json`` says of a file."""
    size = path.stat().st_size
    return {"shape": list(shape), "dtype": dtype, "bytes": size, "sha256": sha256}
