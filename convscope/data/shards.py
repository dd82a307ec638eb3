"""A pack in shards: its images lie in pieces in a store, and come to this machine as they are read.

Where the pack is written to, ``meta.json`` says of each piece how many bytes it has and their
SHA-256; what is beside the images is in files as an ordinary pack has them. Here, in the cache,
the pack is an ordinary one whose images are files with holes, filled shard by shard. A byte a
shard in ``<split>-present`` says which are here; a process that first reads one checks it again.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import itertools
import mmap
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convscope import files, machine
from convscope.data import columns as typed
from convscope.data.columns import Columns
from convscope.data.shard_order import Ints, order
from convscope.data.stores import Store
from convscope.errors import DataError

AHEAD = 4  # shards that are fetched at once, before they are needed
LOCKS = 64  # files that processes lock a shard by
PAGE = mmap.ALLOCATIONGRANULARITY
PIECE = 1 << 20  # bytes that are read at once


def shard_name(split: str, column: str, number: int, sha256: str) -> str:
    """The name of the file of a shard, by what is in it: another content never takes its place.

    >>> shard_name("train", "image", 3, "0123456789abcdef0123")
    'train-image-00003-0123456789abcdef.bin'
    """
    return f"{split}-{column}-{number:05}-{sha256[:16]}.bin"


def present_name(split: str) -> str:
    """The name of the file that says which shards of a split are here."""
    return f"{split}-present"


@dataclass(frozen=True)
class Shards:
    """The shards of the images of a split, in the ``folder`` of its pack and in a store at ``url``.

    ``starts`` [S+1] are the records at which shards begin, ``described`` the bytes and SHA-256 of
    each, and ``arrays`` the memory maps [N,C,H,W] that are filled, by column. ``lanes`` and
    ``window`` (in shards) are those of :func:`~convscope.data.shard_order.order`; ``statistics``
    are mean and standard deviation by channel of all training images, by column.
    """

    folder: Path
    url: str
    split: str
    starts: Ints
    described: Mapping[str, Sequence[Mapping[str, Any]]]
    arrays: Mapping[str, np.memmap[Any, Any]]
    lanes: int
    window: float
    statistics: Mapping[str, Sequence[Sequence[float]]]

    @functools.cached_property
    def store(self) -> Store:
        """Where its shards lie."""
        return Store(self.url)

    @functools.cached_property
    def present(self) -> npt.NDArray[np.uint8]:
        """1 for each shard [S] that is here, whichever process fetched it."""
        return np.memmap(self.folder / present_name(self.split), np.uint8, "r")

    @functools.cached_property
    def _checked(self) -> set[int]:
        return set()

    @functools.cached_property
    def _foreseen(self) -> set[int]:
        return set()

    def order(self, records: Ints, sizes: Sequence[int], seed: int, epoch: int) -> Ints:
        """The places in ``records`` [N] in the order of an epoch in batches of these ``sizes``."""
        longest = int(np.diff(self.starts).max())
        return order(self.of(records), sizes, self.lanes, self.window * longest, seed, epoch)

    def of(self, records: Ints) -> Ints:
        """The shard of each record."""
        return np.searchsorted(self.starts, records, side="right") - 1

    def need(self, records: Ints | None = None) -> None:
        """Wait until the shards of some records, or of all, are here. Raises DataError."""
        every = np.arange(len(self.starts) - 1)
        wanted = every if records is None else np.unique(self.of(records))
        missing = [int(shard) for shard in wanted if int(shard) not in self._checked]
        for _ in _in_order(self.fetch, missing):
            pass

    def foresee(self, record: int) -> None:
        """Begin to fetch the shards after that of a record: whoever reads on will need them."""
        after = int(self.of(np.array([record]))[0]) + 1
        for shard in range(after, min(after + AHEAD, len(self.starts) - 1)):
            if shard not in self._checked and shard not in self._foreseen:
                self._foreseen.add(shard)
                _begun(self.fetch, shard)  # an error comes again once it is needed

    def ready(self, batches: Iterable[Ints]) -> Iterator[Ints]:
        """The records of each batch once their shards are here and in memory; those of the batches
        after it are fetched meanwhile. Raises DataError."""
        batches = list(batches)
        if not batches:
            return
        of = self.of(np.concatenate(batches))
        shards, first = np.unique(of, return_index=True)
        by_use = np.argsort(first)
        coming = _in_order(self._into_memory, shards[by_use].tolist())
        needed = deque(first[by_use].tolist())  # the record in the batches that needs each first
        going = deque[tuple[int, int]]()  # the last record of each shard, and the shard
        if self._too_large:
            self._advise("MADV_RANDOM")  # a page that has gone does not bring its neighbours
            shards, last = np.unique(of[::-1], return_index=True)
            going.extend(sorted(zip((len(of) - 1 - last).tolist(), shards.tolist(), strict=True)))
        end = 0
        for batch in batches:
            while going and going[0][0] < end:
                self._let_go(going.popleft()[1])
            end += len(batch)
            while needed and needed[0] < end:
                next(coming)
                needed.popleft()
            yield batch

    def fetch(self, shard: int) -> None:
        """See that a shard is here, and right: each process looks once, since what a machine that
        lost its power had written need not be on its disk. Processes that share the cache fetch it
        once. Raises DataError."""
        if shard in self._checked:
            return
        try:
            if not (self.present[shard] and self._read(shard)):
                name = f"{self.folder.name}-{shard % LOCKS}.lock"
                with files.locked(files.cache_root() / "locks" / name):
                    if not (self.present[shard] and self._read(shard)):
                        self._fetch(shard)
        except FileNotFoundError as why:
            text = f"{why.filename}: was removed while it was in use, or packed anew; run again"
            raise DataError(text) from None
        self._checked.add(shard)

    def _fetch(self, shard: int) -> None:
        for column, array in self.arrays.items():
            about = self.described[column][shard]
            name = shard_name(self.split, column, shard, about["sha256"])
            content = self.store.read(name, about)
            _write(Path(str(array.filename)), self._offset(array, shard), content)
        _write(self.folder / present_name(self.split), shard, b"\1")

    def _into_memory(self, shard: int) -> None:
        """Fetch a shard, or read it from the disk from beginning to end: the records of a batch
        lie here and there in it."""
        if shard not in self._checked:
            self.fetch(shard)
            return
        with contextlib.suppress(FileNotFoundError):  # what is mapped stays, whoever removed it
            self._read(shard, check=False)

    def _read(self, shard: int, check: bool = True) -> bool:
        """Read a shard from the disk; whether it is as it should be."""
        piece, right = memoryview(bytearray(PIECE)), True
        for column, array in self.arrays.items():
            found, about = hashlib.sha256(), self.described[column][shard]
            left = about["bytes"]
            with Path(str(array.filename)).open("rb", buffering=0) as file:
                file.seek(self._offset(array, shard))
                while left and (count := file.readinto(piece[: min(left, PIECE)])):
                    left -= count
                    if check:
                        found.update(piece[:count])
            right = right and (not check or found.hexdigest() == about["sha256"])
        return right

    @functools.cached_property
    def _too_large(self) -> bool:
        """Whether the images take so much of the memory that what was read has to make way."""
        memory = machine.memory()
        return memory is not None and sum(one.nbytes for one in self.arrays.values()) > memory / 2

    def _let_go(self, shard: int) -> None:
        """Let the pages of a shard make way for those of others, before the system has to look for
        some that may: it would take them from shards that are coming."""
        for column, array in self.arrays.items():
            begin = self._offset(array, shard)
            end = begin + self.described[column][shard]["bytes"]
            first, last = -(-begin // PAGE) * PAGE, end // PAGE * PAGE
            if first < last:
                self._advise("MADV_DONTNEED", first, last - first, of=array)
                with (
                    contextlib.suppress(FileNotFoundError),
                    Path(str(array.filename)).open("rb") as file,
                ):
                    _not_needed(file.fileno(), first, last - first)

    def _advise(self, advice: str, *where: int, of: np.memmap[Any, Any] | None = None) -> None:
        """Tell the system how the maps, or one ``of`` them, are read, where it can be told."""
        for array in self.arrays.values() if of is None else (of,):
            if hasattr(mmap, advice):
                array._mmap.madvise(getattr(mmap, advice), *where)  # type: ignore[attr-defined]

    def _offset(self, array: np.memmap[Any, Any], shard: int) -> int:
        """Where a shard begins in the file of its column."""
        return int(array.offset + self.starts[shard] * array.strides[0])


class ShardedImages:
    """The images uint8 ``[N,C,H,W]`` of a column: a memory map, of which what is asked for is
    fetched first. ``mapped`` is that map, to be read where the shards are known to be here."""

    ndim = 4

    def __init__(self, shards: Shards, column: str) -> None:
        self.shards, self.mapped = shards, shards.arrays[column]
        self.shape, self.dtype = self.mapped.shape, self.mapped.dtype
        self.nbytes = self.mapped.nbytes
        self._mmap = self.mapped._mmap  # type: ignore[attr-defined]  # to let go of its pages

    def __len__(self) -> int:
        return len(self.mapped)

    def __getitem__(self, chosen: Any) -> npt.NDArray[np.uint8]:
        rows = chosen[0] if isinstance(chosen, tuple) else chosen
        if isinstance(rows, slice):
            records = np.arange(*rows.indices(len(self)))
        elif isinstance(rows, int | np.integer):
            records = np.array([rows % len(self) if -len(self) <= rows < len(self) else 0])
        else:
            records = np.atleast_1d(np.arange(len(self))[rows]).ravel()
        self.shards.need(records)
        if isinstance(rows, slice) and len(records):
            self.shards.foresee(int(records[-1]))
        found: npt.NDArray[np.uint8] = self.mapped[chosen]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        self.shards.need()
        return np.array(self.mapped, dtype, copy=copy)


def opened(
    folder: Path, meta: Mapping[str, Any], split: str, columns: Columns, arrays: Mapping[str, Any]
) -> Shards:
    """The shards of a split of a pack in the cache, as its ``meta.json`` describes them. Raises
    DataError."""
    about = meta["shards"]
    counts, described = about["records"][split], about["files"][split]
    images = typed.images(columns)
    check(columns, split, counts, described, len(next(iter(arrays.values()))))
    return Shards(
        folder,
        str(about["url"]),
        split,
        np.cumsum([0, *counts]),
        described,
        {name: arrays[name] for name in images},
        int(about["lanes"]),
        float(about["window"]),
        about["statistics"],
    )


def check(
    columns: Columns,
    split: str,
    counts: Sequence[int],
    described: Mapping[str, Sequence[Mapping[str, Any]]],
    records: int,
) -> None:
    """Raise DataError unless shards of these counts and bytes are those of so many records."""
    for name, one in typed.images(columns).items():
        each = int(np.prod(one.shape))
        sizes = [count * each for count in counts]
        if sum(counts) != records or min(counts) < 1 or sizes != [
            about["bytes"] for about in described[name]
        ]:  # fmt: skip
            raise DataError(f"meta.json: its shards of {split} {name} are not {records:,} records")


def _write(path: Path, offset: int, content: bytes) -> None:
    """Write into a file that is there; the system begins to bring it to the disk."""
    if not path.exists():  # and nothing new in its place
        raise FileNotFoundError(errno.ENOENT, "is not there", str(path))
    with files.explained(path), path.open("r+b", buffering=0) as file:
        file.seek(offset)
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]
        _not_needed(file.fileno(), offset, len(content))


def _not_needed(file: int, offset: int, length: int) -> None:
    """Tell the system that a part of a file need not stay in memory: what is not on the disk yet
    is written, and stays until then."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, offset, length, os.POSIX_FADV_DONTNEED)


def _in_order(work: Callable[[int], None], shards: Sequence[int]) -> Iterator[None]:
    """One thing after the other once it is done for each shard, for so many ahead at a time, by
    threads that do not keep a process from ending."""
    rest = iter(shards)
    waiting = deque(_begun(work, shard) for shard in itertools.islice(rest, AHEAD))
    while waiting:
        waiting.popleft().result()
        waiting.extend(_begun(work, shard) for shard in itertools.islice(rest, 1))
        yield


def _begun(work: Callable[[int], None], shard: int) -> Future[None]:
    """Work that a thread of its own has begun."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            work(shard)
            future.set_result(None)
        except BaseException as why:
            future.set_exception(why)

    threading.Thread(target=run, daemon=True).start()
    return future
