"""Where the trials of a search are kept: Optuna's journal in a file, or a database that several
machines reach. What it cannot do for a moment is tried again."""

from __future__ import annotations

import contextlib
import json
import random
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock

from convscope import files
from convscope.data.stores import without_password
from convscope.errors import BadArgument, ConvscopeError, RunError
from convscope.events import Emit, Notice, silent
from convscope.formatting import duration

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study

T = TypeVar("T")
ANEW = 0.5, 5.0  # seconds between two tries: the first, and at most
POLL = 0.005  # seconds between two tries of a lock
CONNECT = 20.0  # seconds in which a database must answer at first
WHOLE = 1.0  # seconds in which the first line of a journal is whole
LINE = 1 << 20  # bytes of it that are looked at
EXTRA = "convscope[tune]"


def check() -> None:
    """Raise BadArgument where the extra is not installed."""
    try:
        import optuna
    except ImportError:
        rule = "is Optuna's, which is not installed"
        raise BadArgument("tune", "optuna", rule, f"pip install '{EXTRA}'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without Optuna's warnings that a part of it is experimental."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


@dataclass(frozen=True)
class Place:
    """Where a study is: a journal's file or the URL of a database, and its ``name`` there."""

    where: str
    name: str

    @property
    def is_database(self) -> bool:
        """Whether other machines reach it by a URL."""
        return "://" in self.where

    @property
    def said(self) -> str:
        """As it is spoken of, without a password."""
        return without_password(self.where)


@dataclass
class Patience:
    """Calls of a storage, tried again for so many ``seconds`` where it is away."""

    seconds: float
    said: str
    emit: Emit = silent
    waiting: bool = field(default=False, init=False)

    def __call__(self, call: Callable[[], T], seconds: float | None = None) -> T:
        """What the call gives. Raises ConvscopeError once it has failed for all that time."""
        allowed = self.seconds if seconds is None else seconds
        until, pause = time.monotonic() + allowed, ANEW[0]
        while True:
            try:
                found = call()
            except _trouble() as why:
                if time.monotonic() >= until:
                    raise StorageGone(self.said, why, allowed) from why
                if not self.waiting:
                    self.waiting = True
                    text = f"{self.said} does not answer; tried again for {duration(allowed)}"
                    self.emit(Notice(text, warning=True))
                time.sleep(min(pause, max(0.0, until - time.monotonic())))
                pause = min(2 * pause, ANEW[1])
            else:
                if self.waiting:
                    self.emit(Notice(f"{self.said} answers again"))
                self.waiting = False
                return found


class StorageGone(ConvscopeError):
    """A storage that did not come back in time."""

    def __init__(self, said: str, why: BaseException, seconds: float) -> None:
        reason = str(why.__cause__ or why).splitlines()[0]
        super().__init__(
            f"{said}: has not answered for {duration(seconds)} ({reason}); every finished trial is "
            "kept there. When it answers again, the same command with --resume goes on"
        )


def _trouble() -> tuple[type[Exception], ...]:
    """What a storage raises that may be there again in a moment."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import DBAPIError

    return StorageInternalError, DBAPIError


def opened(place: Place, patience: Patience) -> BaseStorage:
    """The storage of a study; its tables are made where they are missing, by whoever comes first.
    Raises BadArgument, ConvscopeError, RunError for a journal that is damaged."""
    if not place.is_database:
        return _journal(Path(place.where))
    check_place(place.where)
    from optuna.storages import RDBStorage
    from sqlalchemy.pool import NullPool  # no connection is held while a network trains

    def connect() -> RDBStorage:
        time.sleep(random.random() / 20)  # many that begin at once do not stay in step
        return RDBStorage(place.where, engine_kwargs={"poolclass": NullPool})

    try:
        return patience(connect, min(CONNECT, patience.seconds))
    except StorageGone as why:
        reason = str(why.__cause__).splitlines()[0]
        raise ConvscopeError(
            f"{place.said}: cannot be reached ({reason}); start the database, or correct --storage"
        ) from why
    except ImportError as why:
        raise _unusable(place.where, why) from None


def check_place(where: str) -> None:
    """Raise BadArgument for what is no URL of a database, and for a file that is not a search's
    own; nothing is written, and no database reached."""
    said = without_password(where)
    if "://" not in where:
        _check_file(Path(where))
        return
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        url = make_url(where)
    except (ArgumentError, ValueError):  # whose text may hold a part of the password
        url = None
    if url is None or "@" in (url.host or ""):
        remedy = "write special characters of a password as %40 for @, %3A for :, %2F for /"
        raise BadArgument("storage", said, "is no URL of a database", remedy)
    try:
        url.get_dialect()
    except (ImportError, ArgumentError, NoSuchModuleError) as why:
        raise _unusable(where, why) from None


def _unusable(where: str, why: Exception) -> BadArgument:
    rule = f"is no database that can be used here ({str(why).splitlines()[0]})"
    remedy = f"try postgresql+psycopg://user@host/database, with pip install '{EXTRA}'"
    return BadArgument("storage", without_password(where), rule, remedy)


def _check_file(path: Path) -> None:
    """Raise BadArgument for a folder, and for a file that does not begin as a journal does."""
    if path.is_dir():
        raise BadArgument("storage", path, "is a folder", "name a file, or the URL of a database")
    until = time.monotonic() + WHOLE
    while True:
        try:
            with path.open("rb") as file:
                first = file.readline(LINE)
        except FileNotFoundError:
            return
        except OSError as why:
            rule = f"cannot be read ({why.strerror})"
            raise BadArgument("storage", path, rule, "name another file") from None
        if first.endswith(b"\n") or not first or time.monotonic() > until:
            break
        time.sleep(POLL)  # another process may be about to write the rest of it
    if not first:
        return
    try:
        ours = "op_code" in json.loads(first)
    except (ValueError, TypeError):
        ours = False
    if not ours:
        raise BadArgument("storage", path, "is no journal of a search", "name a new file")


def _journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    path = path.absolute()  # a link that locks it is looked up from its own folder
    with files.explained(path):
        files.make_folder(path.parent)
        lock: Any = Lock(path)
        if files.take(lock.file):  # to try it
            lock.release()
        else:  # a file system without locks, as of some networks
            lock = JournalFileSymlinkLock(str(path))
        try:
            return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
        except (ValueError, LookupError, TypeError) as why:  # no JSON, half a line, of others
            raise RunError(
                f"{path}: is damaged ({why}); remove its last line, or search anew elsewhere"
            ) from None


class Lock:
    """The lock of a journal, as Optuna takes one. The system lets go of it when its process dies;
    Optuna's own locks are waited for for half a minute then."""

    def __init__(self, path: Path) -> None:
        self.file = FileLock(f"{path}.lock", thread_local=False, poll_interval=POLL)

    def acquire(self) -> bool:
        """Wait for it."""
        self.file.acquire()
        return True

    def release(self) -> None:
        """Let go of it."""
        self.file.release()


def study_of(
    storage: BaseStorage, place: Place, patience: Patience, make: bool = True
) -> tuple[Study, bool]:
    """The study, made if it is not there, and whether it was made just now: of all that begin at
    once, one makes it. Raises KeyError where it is not there and not to be made (``make``)."""
    import optuna

    def found() -> tuple[Study, bool]:
        if make:
            with contextlib.suppress(optuna.exceptions.DuplicatedStudyError):
                return optuna.create_study(
                    storage=storage, study_name=place.name, direction="maximize"
                ), True
        return optuna.load_study(study_name=place.name, storage=storage), False

    return patience(found)
