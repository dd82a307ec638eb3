"""Tar files as WebDataset writes them -> a pack: a sample is the members of one key, which are an
image, ``key.jpg``, and its class, ``key.cls``, ``key.txt`` or ``key.json``."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from convscope.data import cache
from convscope.data.ahead import workers
from convscope.data.cells import in_order_of
from convscope.data.decode import SUFFIXES
from convscope.data.folder import FolderSource, absolute, plain_name
from convscope.data.layout import FOLDERS
from convscope.data.scan import Found, Scan
from convscope.data.source import Place
from convscope.errors import BadArgument, DataError
from convscope.events import Emit, Notice
from convscope.formatting import listed

RULES = 1  # part of a pack's key: raise it when the same files come to give another pack
TOLD = ("cls", "txt", "json")  # members that may say the class, the first that is there
KEYS = ("label", "class", "cls")  # under which a JSON object has it
_BRACES = re.compile(r"\{([^{}]*)\}")
_BLOCK = 512


class Member(NamedTuple):
    """Where the bytes of a file lie in a tar file."""

    tar: str
    offset: int
    size: int

    def read(self) -> bytes:
        """These bytes."""
        with open(self.tar, "rb") as file:  # noqa: PTH123
            file.seek(self.offset)
            return file.read(self.size)


def are_tars(name: str | Path) -> bool:
    """Whether a name is that of a tar file, of several by braces, or of a folder of them.

    >>> are_tars("pets-{000..009}.tar"), are_tars("photos/pets")
    (True, False)
    """
    if str(name).endswith(".tar"):
        return True
    folder = Path(name)
    if not folder.is_dir() or next(folder.glob("*.tar"), None) is None:
        return False
    return not any(one.is_dir() for one in folder.iterdir() if not one.name.startswith("."))


def spelt_out(name: str) -> list[str]:
    """The names that braces stand for, a range of numbers or alternatives.

    >>> spelt_out("{train,val}-{08..10}.tar")[:4]
    ['train-08.tar', 'train-09.tar', 'train-10.tar', 'val-08.tar']
    """
    found = _BRACES.search(name)
    if found is None:
        return [name]
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", found[1])
    parts = found[1].split(",")
    if numbers:
        first, last = numbers.groups()
        parts = [f"{n:0{len(first)}}" for n in range(int(first), int(last) + 1)]
    before, after = name[: found.start()], name[found.end() :]
    return [full for part in parts for full in spelt_out(f"{before}{part}{after}")]


class TarSource(FolderSource):
    """Tar files, laid out as a folder of images is: where all their names begin with train, val or
    test they are splits, else a fifth of each class is held out. Images that cannot be read are
    left out, and listed. Raises DataError, naming the tar file and the member, for a tar file that
    is cut short and a sample that is not an image and its class."""

    def __init__(
        self,
        name: str | Path,
        size: tuple[int, int] | None = None,
        channels: int | None = None,
        fit: str = "pad",
        group: str = "auto",
    ) -> None:
        root = absolute(Path(name))
        super().__init__(root.parent if root.suffix == ".tar" else root, size, channels, fit, group)
        self.given = root
        self.name = plain_name(Path(_BRACES.sub("", root.stem).rstrip("-_.") or root.parent.name))
        key = f"{RULES} {self.place.name} {self.given}"
        self.place = cache.pack_folder(
            f"{self.name}-{hashlib.sha256(os.fsencode(key)).hexdigest()[:10]}"
        )

    @cached_property
    def _tars(self) -> list[Path]:
        """The tar files. Raises BadArgument where one is not there."""
        if self.given.suffix == ".tar":
            found = [Path(one) for one in dict.fromkeys(spelt_out(str(self.given)))]
        else:
            found = sorted(self.given.glob("*.tar"))
        missing = [one.name for one in found if not one.is_file()]
        if missing or not found:
            rule = f"names tar files that are not there: {listed(missing)}" if missing else "is not"
            raise BadArgument("data", self.given, rule, "check the path, and the range in braces")
        return found

    def locate(self) -> Place:
        """See :class:`~convscope.data.source.Source`."""
        try:
            return Place("disk", f"{len(self._tars):,} tar files, {self.given}")
        except BadArgument:
            if self.place.is_dir():
                return Place("pack", f"{self.place} (its source files are gone)")
            raise

    @property
    def has_test(self) -> bool:
        """Whether some of them are for testing."""
        return self.locate().kind == "disk" and "test" in self._splits

    def stamp(self, emit: Emit) -> Any:
        """One digest over the names, sizes and times of change of the tar files."""
        if self.locate().kind == "pack":
            emit(Notice(f"{self.name}: {self.locate()}; it is used as it is"))
            return None
        return self._stamp_now()

    def unread(self) -> dict[str, int]:
        """None: what is no image and no class belongs to other uses of the sample."""
        return {}

    def _stamp_now(self) -> dict[str, Any]:
        stats = [(one.name, one.stat().st_size, one.stat().st_mtime_ns) for one in self._tars]
        digest = hashlib.sha256(repr(stats).encode(errors="surrogateescape")).hexdigest()
        return {"files": len(stats), "digest": digest}

    def _workers(self) -> AbstractContextManager[Executor]:
        return workers()

    @property
    def _at(self) -> Callable[[str], bytes]:
        return functools.partial(_read, self._samples[0])

    @cached_property
    def _splits(self) -> list[str]:
        """The split of each tar file by its name; none where one has none."""
        words = (re.match(r"[a-z]*", one.name.lower()) for one in self._tars)
        splits = [FOLDERS.get(word[0] if word else "", "") for word in words]
        return splits if all(splits) and "train" in splits else []

    @cached_property
    def _samples(self) -> tuple[dict[str, Member], list[str]]:
        """The image of each sample by its path in the layout, and the classes."""
        found: dict[str, Member] = {}
        classes: set[str] = set()
        for at, tar in enumerate(self._tars):
            split = f"{self._splits[at]}/" if self._splits else ""
            for key, sample in _grouped(tar):
                told, image = sample.told()
                classes.add(told)
                path = f"{split}{told}/{tar.stem}/{key}.{sample.kind}"
                if path in found:
                    text = f"{tar}: {key}: is in {found[path].tar}, of the same name, too"
                    raise DataError(f"{text}; rename one of the tar files")
                found[path] = image
        return found, sorted(classes, key=in_order_of)

    @cached_property
    def _scan(self) -> Scan:
        found, classes = self._samples
        tops = sorted(set(self._splits))
        folders = [*tops, *(f"{top}/{name}" for top in tops for name in classes)] or classes
        return Scan([Found(path, one.size, 0) for path, one in sorted(found.items())], folders, [])


def _read(members: dict[str, Member], path: str) -> bytes:
    return members[path].read()


@dataclass
class _Sample:
    """The members of a key as they are found."""

    where: str
    kind: str = ""
    image: Member | None = None
    labels: dict[str, Member] | None = None

    def told(self) -> tuple[str, Member]:
        """Its class and its image. Raises DataError."""
        if self.image is None or not self.labels:
            missing = "image" if self.image is None else "label (.cls, .txt or .json)"
            raise self.refused(f"has no {missing}", "add it, or leave the sample out")
        kind = min(self.labels, key=TOLD.index)
        text = self.labels[kind].read().decode(errors="replace").strip()
        if kind == "json":
            try:
                told = json.loads(text)
            except ValueError as why:
                raise self.refused(f"is no JSON ({why})", "write it again", ".json") from None
            if isinstance(told, dict):
                told = next((told[key] for key in KEYS if key in told), None)
            text = str(told) if isinstance(told, str | int) else ""
        if not text or "/" in text or text.startswith(".") or not text.isprintable():
            rule = f"does not say a class in a line ({text[:40]!r})"
            raise self.refused(rule, f"write its name, in JSON as {KEYS[0]!r}", f".{kind}")
        return text, self.image

    def refused(self, rule: str, remedy: str, ending: str = "") -> DataError:
        return DataError(f"{self.where}{ending}: {rule}; {remedy}")


def _grouped(tar: Path) -> Iterator[tuple[str, _Sample]]:
    """The samples of a tar file by their keys. Raises DataError."""
    found: dict[str, _Sample] = {}
    for name, member in _members(tar):
        folder, _, last = name.rpartition("/")
        key, _, kind = last.partition(".")
        kind = kind.lower()
        if not key or last.startswith("."):
            continue
        key = f"{folder}/{key}" if folder else key
        sample = found.setdefault(key, _Sample(f"{tar}: {key}"))
        if f".{kind.rpartition('.')[2]}" in SUFFIXES:
            if sample.kind:
                raise sample.refused(f"has two images, .{sample.kind} and .{kind}", "keep one")
            sample.kind, sample.image = kind, member
        elif kind in TOLD:
            sample.labels = {**(sample.labels or {}), kind: member}
    yield from found.items()


def _members(tar: Path) -> Sequence[tuple[str, Member]]:
    """The files in a tar file; links are passed over. Raises DataError where it is cut short."""
    found: list[tuple[str, Member]] = []
    last, size = "its beginning", tar.stat().st_size
    try:
        with tarfile.open(tar, "r:") as opened:
            for one in opened:
                if one.offset_data + one.size > size:
                    raise tarfile.ReadError(f"{one.name} is cut short")
                last = one.name
                if one.isreg() and not one.issparse():
                    found.append((one.name, Member(str(tar), one.offset_data, one.size)))
            if Member(str(tar), opened.offset, _BLOCK).read() != bytes(_BLOCK):
                raise tarfile.ReadError("the mark of its end is missing")
    except (tarfile.TarError, OSError, EOFError) as why:
        text = f"{tar}: is damaged or cut short after {last} ({why}); copy it again"
        raise DataError(text) from None
    return found
