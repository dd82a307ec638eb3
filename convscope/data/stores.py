"""A store of files at a URL or in a folder, through fsspec: read with patience, written whole.

What a store gives is held against the bytes and the SHA-256 that it should have. A read that fails,
takes too long or gives something else is tried again, a little later each time.
"""

from __future__ import annotations

import hashlib
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from convscope import files
from convscope.errors import BadArgument, DataError, text_of

Result = TypeVar("Result")
PAUSES = (0.5, 2.0, 6.0)  # seconds before each further try
PATIENCE = 30.0  # seconds that a try may take, and as many more as its bytes take at
SLOWEST = 200_000  # bytes a second
LARGEST = 256 << 20  # bytes of what describes others
SECRET = re.compile(r"(?i)([?&](?:(?:ssl)?pass(?:word|wd)?|pwd|odbc_connect)=)[^&]*")  # of a query


def is_url(name: str | Path) -> bool:
    """Whether a name is a URL.

    >>> is_url("s3://bucket/pets"), is_url("https://host/pets"), is_url("photos/pets")
    (True, True, False)
    """
    return not isinstance(name, Path) and "://" in name


def without_password(where: str) -> str:
    """A file, or a URL without its password.

    >>> without_password("postgresql://me:secret@host/trials"), without_password("a/journal.log")
    ('postgresql://me:***@host/trials', 'a/journal.log')
    >>> without_password("postgresql://host/trials?user=me&password=secret")
    'postgresql://host/trials?user=me&password=***'
    """
    if "://" not in where:
        return where
    scheme, _, rest = where.partition("://")
    rest = SECRET.sub(r"\1***", rest)
    user, at, host = rest.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}{':***' if ':' in user else ''}{at}{host}"


class Store:
    """The files at a URL of any kind that fsspec knows, or in a folder.

    Raises BadArgument, under the name of the ``argument``, for a URL of a kind that is unknown or
    whose package is not installed, and for one with a password, which all that keeps the URL would
    keep.
    """

    def __init__(self, url: str | Path, argument: str = "data") -> None:
        import fsspec

        if is_url(url):
            _no_password(str(url), argument)
        self.url = str(url).rstrip("/") if is_url(url) else str(Path(url).expanduser().absolute())
        try:
            self.system, self.root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except ImportError as why:
            remedy = "install it: pip install 'convscope[remote]', and s3fs for s3:// or gcsfs for "
            rule = f"needs a package that is not installed ({text_of(why)})"
            raise BadArgument(argument, url, rule, f"{remedy}gs://") from None
        except ValueError as why:
            rule = f"is no URL of a known kind ({text_of(why)})"
            raise BadArgument(argument, url, rule, "write s3://, https:// or a folder") from None

    @property
    def folder(self) -> Path | None:
        """The folder that it is on this machine; None for others."""
        protocol = self.system.protocol
        local = "file" in ([protocol] if isinstance(protocol, str) else protocol)
        return Path(self.root) if local else None

    def read(self, name: str, described: Mapping[str, Any] | None = None) -> bytes:
        """A file, which has the ``bytes`` and the ``sha256`` that are ``described``, else at most
        ``LARGEST`` bytes; no more of it is held. Raises DataError, naming it, where it is not
        there, or fails at every try."""
        where, size = f"{self.url}/{name}", described["bytes"] if described else 0
        most = size if described else LARGEST
        patience, problem = PATIENCE + size / SLOWEST, ""
        for pause in (0.0, *PAUSES):
            time.sleep(pause)
            try:
                content = _within(patience, lambda: self._content(name, most + 1))
            except FileNotFoundError:
                raise DataError(f"{where}: is not there; check the address") from None
            except TimeoutError:
                problem = f"was not here within {patience:.0f} seconds"
            except Exception as why:  # each kind of store has errors of its own
                problem = f"cannot be read ({text_of(why)})"
            else:
                problem = _differs(content, most, described)
                if not problem:
                    return content
        raise DataError(
            f"{where}: {problem}, tried {1 + len(PAUSES)} times; nothing of it was kept. Check the "
            "store, then run again: what is here already is not fetched again"
        )

    def has(self, name: str, size: int | None = None) -> bool:
        """Whether a file, of so many bytes, is there. Raises DataError."""
        try:
            found = self.system.info(f"{self.root}/{name}")["size"]
            return size is None or bool(size == found)
        except FileNotFoundError:
            return False
        except Exception as why:
            raise self._unwritten(name, why) from None

    def write(self, name: str, content: bytes) -> None:
        """Write a file, on this machine whole or not at all. Raises DataError."""
        if self.folder is not None:
            files.write_whole(self.folder / name, content)
            return
        problem: Exception | None = None
        for pause in (0.0, *PAUSES):
            time.sleep(pause)
            try:
                patience = PATIENCE + len(content) / SLOWEST
                _within(patience, lambda: self._put(name, content))
                return
            except NotImplementedError as why:
                problem = why
                break
            except Exception as why:
                problem = why
        assert problem is not None
        raise self._unwritten(name, problem)

    def _content(self, name: str, most: int) -> bytes:
        """So many bytes of a file, or all that it has."""
        path, protocol = f"{self.root}/{name}", self.system.protocol
        if "http" not in ([protocol] if isinstance(protocol, str) else protocol):
            found: bytes = self.system.cat_file(path, end=most)
            return found
        parts: list[bytes] = []  # a server may send more than it was asked for, without end
        with self.system.open(path, block_size=0, size=most) as file:
            while most and (part := file.read(most)):
                parts.append(part)
                most -= len(part)
        return b"".join(parts)

    def _put(self, name: str, content: bytes) -> None:
        self.system.pipe_file(f"{self.root}/{name}", content)

    def _unwritten(self, name: str, why: Exception) -> DataError:
        return DataError(
            f"{self.url}/{name}: cannot be written ({text_of(why)}); check that the address can be "
            "written to, then run again: what is there already is not sent again"
        )


def _no_password(url: str, argument: str) -> None:
    """Raise BadArgument where a password is in a URL."""
    rest = url.partition("://")[2]
    user, _, _ = rest.partition("/")[0].rpartition("@")
    if ":" in user or SECRET.search(rest):
        rule = "has a password in it, which whatever keeps the address would keep"
        remedy = "leave it out; where it is given instead says docs/data-at-scale.md, 'Passwords'"
        raise BadArgument(argument, without_password(url), rule, remedy)


def _within(seconds: float, work: Callable[[], Result]) -> Result:
    """What ``work`` gives, done by a thread that nobody waits for longer. Raises TimeoutError, and
    what ``work`` raises."""
    box: queue.SimpleQueue[tuple[Result | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            box.put((work(), None))
        except BaseException as why:
            box.put((None, why))

    threading.Thread(target=run, daemon=True).start()
    try:
        found, error = box.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return found  # type: ignore[return-value]


def _differs(content: bytes, most: int, described: Mapping[str, Any] | None) -> str:
    """In what a file is not as it was described, or is too large; nothing where it is."""
    says = "" if described is None else f", where meta.json says {most:,}"
    if len(content) > most:
        return f"has more than {most:,} bytes" if described is None else f"has more bytes{says}"
    if described is None:
        return ""
    if len(content) < most:
        return f"has {len(content):,} bytes{says}"
    found = hashlib.sha256(content).hexdigest()
    if found != described["sha256"]:
        return f"has the SHA-256 {found}, where meta.json says {described['sha256']}"
    return ""
