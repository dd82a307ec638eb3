"""Files that are there whole or not at all, also after a kill, a full disk or a power cut.

The order is always the same: write under a temporary name, fsync the file, rename it, fsync its
folder. Until the rename the old file is untouched; after the last fsync the new one survives a
power cut. Everything durable in convscope is written through this module, which is what lets one
test drop each fsync in turn.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from convscope.errors import BadArgument, ConvscopeError

UNWRITABLE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO),
    *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
    *(errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.ELOOP),  # such as a folder in /proc
}
FULL = {
    errno.ENOSPC: "no room left on the disk",
    errno.EDQUOT: "no room left on the disk (quota)",
    errno.EFBIG: "larger than a file may be here (ulimit -f, or the file system)",
}
ELSEWHERE = "(--out for runs, CONVSCOPE_CACHE for data)"
TEMPORARY = ".tmp-"  # every unfinished file or folder begins with this


def cache_root() -> Path:
    """The folder for packs, downloads and measurements: ``CONVSCOPE_CACHE``, else the user's cache
    folder."""
    if chosen := os.environ.get("CONVSCOPE_CACHE"):
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("convscope", appauthor=False)


def sync_file(file: IO[bytes]) -> None:
    """Flush a file's content down to the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries down to the disk; systems that cannot open a folder (Windows) need
    no such call."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as why:
        if why.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network drives know no such call
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write into that appears at ``path`` only when the block ends well.

    Raises ConvscopeError, naming the path, where the disk is full or not writable; the old file
    stays as it was.
    """
    path = Path(path)
    with explained(path):
        make_folder(path.parent)
        handle, name = tempfile.mkstemp(prefix=f"{TEMPORARY}{path.name}-", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                sync_file(file)
            _open_to_umask(temporary)
            temporary.replace(path)
            sync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder to fill that appears at ``path`` only when the block ends well, with every file
    in it synced.

    Where another process has put a folder there meanwhile, that one stays and ours is dropped.
    """
    path = Path(path)
    with explained(path):
        make_folder(path.parent)
        temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{path.name}-", dir=path.parent))
        try:
            yield temporary
            for inner in sorted(temporary.rglob("*"), reverse=True):  # a folder after what is in it
                if inner.is_dir():
                    sync_folder(inner)
                    continue
                with inner.open("rb+") as opened:
                    sync_file(opened)
            sync_folder(temporary)
            _open_to_umask(temporary)
            try:
                temporary.rename(path)
            except OSError:
                if not path.is_dir():
                    raise
                shutil.rmtree(temporary)
            sync_folder(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, each entry synced."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        sync_folder(new.parent)


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a small file whole or not at all."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all; NaN and infinity are refused, as JSON has none."""
    write_whole(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def fresh(path: Path, force: bool, argument: str = "out") -> Path:
    """A file to be written. Raises BadArgument for a folder, and where it is there already, but
    for ``force``."""
    if path.is_dir():
        raise BadArgument(argument, path, "is a folder", "name a file")
    if path.exists() and not force:
        remedy = "name another file, or add force (--force)"
        raise BadArgument(argument, path, "is there already", remedy)
    return path


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    with explained(path):
        path.unlink(missing_ok=True)


_said: set[Path] = set()  # caches of which it was told that they cannot be written


def keep(path: Path, value: Any) -> str:
    """Write JSON into the cache, which can be done without. Where it cannot be written this says
    why, once a process; else nothing."""
    try:
        write_json(path, value)
    except ConvscopeError as why:
        return first_time(str(why))
    return ""


def first_time(text: str) -> str:
    """The text, if nothing was said before of a cache that cannot be written; else nothing."""
    first = cache_root() not in _said
    _said.add(cache_root())
    return text if first else ""


def read_json(path: Path, error: Callable[[str], ConvscopeError]) -> Any:
    """Read JSON; ``error`` makes the exception for a file that is missing, cut short or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(
            f"{path}: is not there; restore it from a copy or make the folder anew"
        ) from None
    except (ValueError, OSError) as why:
        raise error(
            f"{path}: is damaged ({why}); restore it from a copy or make the folder anew"
        ) from None


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def clear_unfinished(folder: Path, older_than: float = 0) -> None:
    """Remove what a killed process left half-written in this folder, if it is ``older_than`` so
    many seconds: in a folder that processes share, a fresh one is another's work in progress."""
    for path in folder.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime < older_than:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _open_to_umask(path: Path) -> None:
    """Give a temporary file or folder, made for its owner alone, the permissions a new one would
    have."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the system's refusals into errors that name the path and the way out."""
    try:
        yield
    except OSError as why:
        if why.errno in FULL:
            raise ConvscopeError(
                f"{path}: {FULL[why.errno]}; nothing was overwritten. "
                f"Make room, or choose another folder {ELSEWHERE}, then run again"
            ) from why
        if why.errno in UNWRITABLE:
            raise ConvscopeError(
                f"{path}: cannot be written ({why.strerror}); choose a folder of your own "
                f"{ELSEWHERE}"
            ) from why
        raise


NO_LOCKS = errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK


def take(lock: FileLock, timeout: float = -1) -> bool:
    """Take a lock, which the system lets go of when its process dies; False where the drive has no
    locks, and whoever works on the same does the same. Raises Timeout where another process has it
    for so many seconds; below 0 it is waited for."""
    try:
        lock.acquire(timeout=timeout)
    except NotImplementedError:
        return False
    except OSError as why:
        if why.errno not in NO_LOCKS:
            raise
        return False
    return True


@contextlib.contextmanager
def locked(path: Path, busy: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Hold the lock of a file, and tell whether the drive has locks; ``busy`` is called once where
    another process has it, before that one is waited for. Raises ConvscopeError where it cannot be
    written."""
    lock = FileLock(path)
    with explained(path):
        make_folder(path.parent)
        try:
            held = take(lock, timeout=0)
        except Timeout:
            busy()
            held = take(lock)
    try:
        yield held
    finally:
        lock.release()
