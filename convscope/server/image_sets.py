"""The sets of images that a studio teaches: class folders below ``sets/``, which ``train`` takes as
they are, and what changes them.

What a set is beside its images lies in its hidden folder ``.studio``, which training does not
read: ``state.json`` (the revision, the order of the classes, the moves that can be undone),
``out/`` (what was taken out, by the class that it was in) and ``thumbnails/``. Nothing is deleted:
what is removed is moved, and every change is a list of moves, undone by the same list backwards.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from convscope import files
from convscope.data.decode import SUFFIXES, decode, whole
from convscope.data.scan import scan
from convscope.errors import ConvscopeError, ImageError
from convscope.server.limits import Refusal
from convscope.server.names import file_name, named

SETS, HIDDEN = "sets", ".studio"
STATE, OUT, THUMBNAILS = f"{HIDDEN}/state.json", f"{HIDDEN}/out", f"{HIDDEN}/thumbnails"
MOST_UNDONE = 100  # changes that are remembered
SIDE, LARGE = (
    112,
    1024,
)  # pixels of a thumbnail, and of the longer side of an image that is looked at

Move = tuple[str, str]  # from, to: paths below the set


@dataclass(frozen=True)
class Seen:
    """A set as it is: its ``revision``, its classes in their order, each with its image files, as
    paths below the class; files that were taken ``out``, by the class that they were in; ``keys``
    by path below the set, which change with the files."""

    revision: int
    classes: dict[str, list[str]]
    out: dict[str, list[str]]
    keys: dict[str, str]
    undo: str  # what undo would take back: the name of the last change

    def as_json(self) -> dict[str, Any]:
        """All of it; images as their file and key."""

        def listed(folders: dict[str, list[str]], below: str) -> list[dict[str, Any]]:
            return [
                {
                    "name": name,
                    "images": [{"file": f, "key": self.keys[f"{below}{name}/{f}"]} for f in some],
                }
                for name, some in folders.items()
            ]

        return {
            "revision": self.revision,
            "classes": listed(self.classes, ""),
            "out": listed(self.out, f"{OUT}/"),
            "undo": self.undo,
        }


@dataclass
class Added:
    """What became of files that were given: image files ``added``, those ``refused`` and why, those
    that are the ``same`` as one that was there (file, class, name)."""

    added: list[str] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)
    same: list[dict[str, str]] = field(default_factory=list)


class ImageSet:
    """A set of images, a folder of class folders. Each change is made under a lock that other
    processes respect; it raises Refusal for what cannot be done, and then does nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def seen(self) -> Seen:
        """The set as it is now."""
        with self._locked():
            return self._look()

    def add_class(self, name: str) -> None:
        """Make an empty class."""
        with self._locked():
            seen = self._look()
            name = named(name, "class", [*seen.classes])
            with files.explained(self.path):
                files.make_folder(self.path / name)
            self._record("add_class", [(self._unused(f"{OUT}/{name}"), name)])

    def rename_class(self, old: str, new: str, revision: int) -> None:
        """Give a class another name, and keep its place among them."""
        with self._changing(revision) as seen:
            _known(old, seen)
            new = named(new, "class", [name for name in seen.classes if name != old])
            if new == old:
                return
            order = [new if name == old else name for name in seen.classes]
            self._move("rename_class", [(old, new)], order)

    def remove_class(self, name: str, revision: int) -> None:
        """Take a class out, with all its images."""
        with self._changing(revision) as seen:
            _known(name, seen)
            self._move("remove_class", [(name, self._unused(f"{OUT}/{name}"))])

    def move(self, moved: Sequence[tuple[str, str]], to: str | None) -> None:
        """Move images, each a class and a file, to another class, or out where there is none. What
        was taken out has the class "" and its path below that."""
        with self._locked():
            seen, moves = self._look(), list[Move]()
            if to is not None:
                _known(to, seen)
            taken: set[str] = set()
            for of, file in moved:
                path = f"{of}/{file}" if of else f"{OUT}/{file}"
                if path not in seen.keys or of == to:
                    text = f"{file} is not in {of or 'what was taken out'} any more"
                    raise Refusal(409, "image", text)
                name = Path(file).name
                place = f"{to}/{name}" if to is not None else f"{OUT}/{of}/{name}"
                moves.append((path, self._unused(place, taken)))
                taken.add(moves[-1][1])
            self._move("move", moves)

    def undo(self, revision: int) -> None:
        """Take the last change back."""
        with self._changing(revision):
            state = self._state()
            if not state["done"]:
                raise Refusal(409, "undo", "there is nothing to undo")
            last = state["done"].pop()
            moves = [(new, old) for old, new in reversed(last["moves"])]
            for old, new in moves:
                if not (self.path / old).exists() or (self.path / new).exists():
                    text = f"{last['what']} cannot be undone: {old} or {new} was changed since"
                    raise Refusal(409, "undo", text)
            self._rename(moves)
            order = last.get("order") or state["classes"]
            files.write_json(self.path / STATE, {**state, "classes": order})
            self._look(changed=True)

    def add(self, name: str, given: Sequence[tuple[str, bytes]]) -> Added:
        """Add image files, by their names, to a class; each is decoded as training does it."""
        found, images = Added(), list[tuple[str, bytes, bytes]]()
        for file, data in given:
            try:
                images.append((file, data, _thumbnail(data, file)))
            except ImageError as why:
                found.refused.append({"file": file, "why": f"{why.problem}; {why.remedy}"})
        with self._locked():
            seen, moves, taken = self._look(), list[Move](), set[str]()
            _known(name, seen)
            sizes = {
                path: (self.path / path).stat().st_size
                for path in seen.keys
                if not path.startswith(HIDDEN)
            }
            for file, data, small in images:
                twin = next(
                    (
                        path
                        for path, size in sizes.items()
                        if size == len(data) and (self.path / path).read_bytes() == data
                    ),
                    None,
                )
                if twin is not None:
                    of, _, its = twin.partition("/")
                    found.same.append({"file": file, "class": of, "as": its})
                    if of == name:
                        continue
                place = self._unused(f"{name}/{file_name(file, data)}", taken)
                files.write_whole(self.path / place, data)
                taken.add(place)
                sizes[place] = len(data)
                files.write_whole(self._kept(_key(self.path / place)), small)
                found.added.append(place.partition("/")[2])
                moves.append((self._unused(f"{OUT}/{place}"), place))
            if moves:
                self._record("add", moves)
        return found

    def thumbnail(self, key: str, name: str, file: str) -> bytes:
        """A small JPEG of an image, by its key; of one that was taken out the class is ""."""
        if len(key) == 20 and key.isalnum() and (kept := self._kept(key)).is_file():
            return kept.read_bytes()
        path = self.file(name, file)
        found = _thumbnail(path.read_bytes(), file)
        with contextlib.suppress(ConvscopeError):  # a cache, which can be done without
            files.write_whole(self._kept(_key(path)), found)
        return found

    def large(self, name: str, file: str) -> bytes:
        """An image to be looked at, as a JPEG of at most 1,024 pixels a side."""
        path = self.file(name, file)
        pixels, _ = whole(path, channels=3, longest=LARGE, name=file)
        return _jpeg(pixels)

    def file(self, name: str, file: str) -> Path:
        """The path of an image of the set. Raises Refusal for what is none, and for a way out."""
        path = self.path / (name or OUT) / file.replace("\0", "/")  # which no name holds
        inside = path.resolve().is_relative_to(self.path.resolve())
        if not inside or path.suffix.lower() not in SUFFIXES or not path.is_file():
            raise Refusal(404, "image", f"{file!r:.200} is no image of {name!r:.100}")
        return path

    def _kept(self, key: str) -> Path:
        return self.path / THUMBNAILS / f"{key}.jpg"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if not self.path.is_dir():
            text = f"there is no set {self.path.name!r} any more; it was renamed or taken away"
            raise Refusal(404, "set", text)
        with files.explained(self.path):
            files.make_folder(self.path / HIDDEN)
            with FileLock(self.path / HIDDEN / "lock"):
                yield

    @contextlib.contextmanager
    def _changing(self, revision: int) -> Iterator[Seen]:
        """The set, if it is the one that was looked at."""
        with self._locked():
            seen = self._look()
            if seen.revision != revision:
                raise changed_meanwhile()
            yield seen

    def _state(self) -> dict[str, Any]:
        """What is kept beside the images; where it is missing or damaged, that of a new set."""
        try:
            found = files.read_json(self.path / STATE, ConvscopeError)
            return {
                "revision": int(found["revision"]),
                "stamp": str(found["stamp"]),
                "classes": [str(name) for name in found["classes"]],
                "done": [dict(one) for one in found["done"]],
            }
        except (ConvscopeError, KeyError, TypeError, ValueError):
            return {"revision": 0, "stamp": "", "classes": [], "done": []}

    def _look(self, changed: bool = False) -> Seen:
        """The set as its files are; its revision is a new one where they ``changed``, through this
        class or not."""
        found, state = scan(self.path), self._state()
        out = scan(self.path / OUT) if (self.path / OUT).is_dir() else None
        there = {path for path in found.folders if "/" not in path}
        order = [name for name in state["classes"] if name in there]
        order += sorted(there - set(order))
        keys = {path: _key_of(path, size, at) for path, size, at in found.found}
        if out is not None:
            keys |= {f"{OUT}/{path}": _key_of(path, size, at) for path, size, at in out.found}
        stamp = hashlib.sha256("\0".join([*order, *keys, *keys.values()]).encode()).hexdigest()
        if changed or stamp != state["stamp"]:
            state |= {"revision": state["revision"] + 1, "stamp": stamp, "classes": order}
            files.write_json(self.path / STATE, state)
        return Seen(
            state["revision"],
            _by_folder(order, (one.path for one in found.found)),
            _by_folder((), (one.path for one in out.found) if out else ()),
            keys,
            state["done"][-1]["what"] if state["done"] else "",
        )

    def _move(self, what: str, moves: list[Move], order: list[str] | None = None) -> None:
        """Make moves, all or none, and remember them."""
        self._rename(moves)
        self._record(what, moves, order)

    def _rename(self, moves: list[Move]) -> None:
        done: list[Move] = []
        with files.explained(self.path):
            try:
                for old, new in moves:
                    files.make_folder((self.path / new).parent)
                    (self.path / old).rename(self.path / new)
                    done.append((old, new))
            except OSError:
                for old, new in reversed(done):
                    (self.path / new).rename(self.path / old)
                raise
            for folder in {(self.path / path).parent for move in moves for path in move}:
                if folder.is_dir():
                    files.sync_folder(folder)

    def _record(self, what: str, moves: list[Move], order: list[str] | None = None) -> None:
        state = self._state()
        change = {"what": what, "moves": moves, "order": state["classes"]}
        state["done"] = [*state["done"], change][-MOST_UNDONE:]
        if order is not None:
            state["classes"] = order
        files.write_json(self.path / STATE, state)
        self._look(changed=True)

    def _unused(self, place: str, taken: set[str] = frozenset()) -> str:  # type: ignore[assignment]
        """The path, or where something is there already, one whose name begins with a letter more:
        a number would make it look like a copy."""
        folder, _, name = place.rpartition("/")
        for letters in itertools.chain([""], _letters()):
            path = f"{folder}/{letters}{name}" if folder else f"{letters}{name}"
            if path not in taken and not (self.path / path).exists():
                return path
        raise AssertionError("there are always more letters")


def changed_meanwhile() -> Refusal:
    """What a change is answered with that was based on an older revision."""
    text = (
        "the set was changed meanwhile, in another tab or by another program; nothing was done. "
        "Look at it as it is now, and do it again"
    )
    return Refusal(409, "revision", text)


def _known(name: str, seen: Seen) -> None:
    if name not in seen.classes:
        text = f"there is no class {name!r} any more; it was renamed or taken out"
        raise Refusal(409, "class", text)


def _letters() -> Iterator[str]:
    for count in itertools.count(1):
        for some in itertools.product(string.ascii_lowercase, repeat=count):
            yield f"{''.join(some)}-"


def _by_folder(order: Sequence[str], paths: Iterator[str] | tuple[()]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in order}
    for path in paths:
        top, slash, rest = path.partition("/")
        if slash:
            found.setdefault(top, []).append(rest)
    return found


def _key_of(path: str, size: int, changed: int) -> str:
    text = f"{path.rpartition('/')[2]}\0{size}\0{changed}"
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:20]


def _key(path: Path) -> str:
    stat = path.stat()
    return _key_of(path.name, stat.st_size, stat.st_mtime_ns)


def _thumbnail(data: bytes, name: str) -> bytes:
    """A small square JPEG of a file's bytes. Raises ImageError for what training could not read."""
    return _jpeg(decode(data, channels=3, size=(SIDE, SIDE), fit="crop", name=name))


def _jpeg(pixels: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(out, "JPEG", quality=85)
    return out.getvalue()
