"""Packs in the cache: each made by one process while others wait, and made anew when outdated."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from convscope import files
from convscope.data.pack import Pack, open_pack, read_meta
from convscope.data.pack_writer import pack_in_memory, write_stream
from convscope.data.source import Source
from convscope.errors import ConvscopeError, DataError
from convscope.events import Emit, Notice


class Unwritable(DataError):
    """The cache cannot take a pack."""


def pack_folder(key: str) -> Path:
    """Where the pack of this key is, or will be."""
    return files.cache_root() / "packs" / key


def opened(source: Source, emit: Emit) -> Pack:
    """The pack of a source, made where it is missing or its files have changed since.

    One process makes it; another one waits for as long as that one lives, then takes what it made.
    Raises what the source raises, and DataError where the cache cannot be written.
    """
    place, stamp = source.place, source.stamp(emit)

    def is_current() -> bool:
        return place.is_dir() and (stamp is None or read_meta(place).get("read_from") == stamp)

    try:
        if not is_current():
            with alone(place, source.name, emit):
                if not is_current():
                    _make(source, emit)
        pack = open_pack(place)
    except Unwritable as why:
        if source.too_large:
            raise
        if text := files.first_time(f"unpacked into memory, and nothing is kept: {why}"):
            emit(Notice(f"{source.name}: {text}", warning=True))
        with source.chunks(emit) as found:
            pack = pack_in_memory(source.name, found.columns, found.chunks)
    for notice in source.remarks(pack):
        emit(notice)
    return pack


def _make(source: Source, emit: Emit) -> None:
    """Write the pack of a source in the place of an outdated one."""
    name, place = source.name, source.place
    before = read_meta(place).get("fingerprint") if place.is_dir() else None
    if before:
        emit(Notice(f"{name}: files have changed since they were packed; packing again"))
    with source.chunks(emit) as found:
        remove(place)
        about = {"source": found.where, "read_from": found.stamp, **found.about}
        with taking_data():
            pack = write_stream(place, name, found.columns, found.chunks, found.counts, about)
    same = {None: "", pack.fingerprint: "; the images are the same as before"}
    change = same.get(before, "; the images are others than before")
    emit(Notice(f"{name}: packed into {place} (from {found.where}){change}"))


@contextlib.contextmanager
def alone(folder: Path, name: str, emit: Emit) -> Iterator[None]:
    """Hold the lock of a pack, which the system lets go of when its process dies, and clear what a
    process that died left of it."""
    busy = Notice(f"{name}: another process is packing it; waiting for that one")
    with contextlib.ExitStack() as stack:
        with taking_data():
            files.make_folder(folder.parent)
            path = files.cache_root() / "locks" / f"{folder.name}.lock"
            held = stack.enter_context(files.locked(path, lambda: emit(busy)))
        if held:
            for left in folder.parent.glob(f"{files.TEMPORARY}{glob.escape(folder.name)}-????????"):
                shutil.rmtree(left, ignore_errors=True)
        files.clear_unfinished(folder.parent, older_than=24 * 3600)
        yield


def remove(folder: Path) -> None:
    """Remove an outdated pack; whoever has it open keeps it."""
    aside = folder.with_name(f"{files.TEMPORARY}{folder.name}-old-{os.getpid()}")
    with taking_data(), contextlib.suppress(FileNotFoundError):
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def need_room(folder: Path, size: int, what: str, remedy: str) -> None:
    """Raise DataError unless ``size`` bytes fit beside the cache's other files; a pack that is in
    ``folder`` makes way."""
    with taking_data():
        free = shutil.disk_usage(folder.parent).free
        if folder.is_dir():
            free += sum(path.stat().st_size for path in folder.iterdir())
    if size > free:
        raise DataError(
            f"{what} needs {size / 1e6:,.0f} MB, and {folder.parent} has {free / 1e6:,.0f} MB "
            f"free; set CONVSCOPE_CACHE to a folder with more room, or {remedy}"
        )


@contextlib.contextmanager
def taking_data() -> Iterator[None]:
    """Turn a refusal to write into the cache into :class:`Unwritable`, with the way out."""
    try:
        yield
    except DataError:
        raise
    except (ConvscopeError, OSError) as why:
        cache = files.cache_root()
        raise Unwritable(
            f"the cache {cache} cannot take the data ({why}); "
            "set CONVSCOPE_CACHE to a folder that can"
        ) from why
