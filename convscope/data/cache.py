"""Packs in the cache: each made by one process while others wait, and made anew when outdated."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from convscope import files
from convscope.data.pack import Pack, open_pack
from convscope.errors import ConvscopeError, DataError
from convscope.events import Emit, Notice


class Unwritable(DataError):
    """The cache cannot take a pack."""


def pack_folder(key: str) -> Path:
    """Where the pack of this key is, or will be."""
    return files.cache_root() / "packs" / key


def opened(
    folder: Path, name: str, is_current: Callable[[], bool], make: Callable[[], None], emit: Emit
) -> Pack:
    """The pack in ``folder``, which ``make`` makes where it is missing or not ``is_current``.

    One process makes it; another one waits for as long as that one lives, then takes what it made.
    Raises what ``make`` raises, and DataError where the cache cannot be written.
    """
    if not (folder.is_dir() and is_current()):
        with _alone(folder, name, emit):
            if not (folder.is_dir() and is_current()):
                make()
    return open_pack(folder)


@contextlib.contextmanager
def _alone(folder: Path, name: str, emit: Emit) -> Iterator[None]:
    """Hold the lock of a pack, which the system lets go of when its process dies, and clear what a
    process that died left of it."""
    with taking_data():
        locks = files.cache_root() / "locks"
        files.make_folder(locks)
        files.make_folder(folder.parent)
        lock = FileLock(locks / f"{folder.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            emit(Notice(f"{name}: another process is packing it; waiting for that one"))
            lock.acquire()
        except NotImplementedError:  # a drive without locks: two may do the same work, no harm done
            pass
    try:
        if lock.is_locked:
            for left in folder.parent.glob(f"{files.TEMPORARY}{glob.escape(folder.name)}-????????"):
                shutil.rmtree(left, ignore_errors=True)
        files.clear_unfinished(folder.parent, older_than=24 * 3600)
        yield
    finally:
        lock.release()


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
