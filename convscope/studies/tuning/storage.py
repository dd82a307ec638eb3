"""Where the trials of a search are kept: Optuna's journal in a file, or a database that several
machines reach. What it cannot do for a moment is tried again."""

from __future__ import annotations

import contextlib
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
    from optuna.storages import RDBStorage
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    from sqlalchemy.pool import NullPool  # no connection is held while a network trains

    try:
        fits = "@" not in (make_url(place.where).host or "")
    except (ArgumentError, ValueError):  # whose text may hold a part of the password
        fits = False
    if not fits:
        remedy = "write special characters of a password as %40 for @, %3A for :, %2F for /"
        raise BadArgument("storage", place.said, "is no URL of a database", remedy)

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
    except (ImportError, ArgumentError, NoSuchModuleError) as why:
        rule = f"is no database that can be used here ({str(why).splitlines()[0]})"
        remedy = f"try postgresql+psycopg://user@host/database, with pip install '{EXTRA}'"
        raise BadArgument("storage", place.said, rule, remedy) from None


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
        except ValueError as why:  # a line that is no JSON, or half a line
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
