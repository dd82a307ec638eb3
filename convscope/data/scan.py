"""What lies under a folder, by names alone: images, folders, other files, whether it was changed.

Only names with a suffix of ``decode.SUFFIXES`` are images; what begins with a dot is skipped, and
so is what systems leave everywhere.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from convscope.data.decode import SUFFIXES
from convscope.errors import DataError, ImageError

HARMLESS = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"}  # of systems


class Found(NamedTuple):
    """An image file: its path from the root with "/", its bytes, when it was changed (ns)."""

    path: str
    size: int
    changed: int


class Scan(NamedTuple):
    """What is under a folder: its image files, the folders in it, and the paths of other files."""

    found: list[Found]
    folders: list[str]
    others: list[str]


def scan(root: Path) -> Scan:
    """Every file and every folder under ``root``, sorted, but for hidden ones and those that
    systems leave everywhere (``HARMLESS``); no file is opened.

    Links are followed, but not back to a folder that holds them. Raises DataError for a folder that
    cannot be read.
    """
    found: list[Found] = []
    folders: list[str] = []
    others: list[str] = []
    waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", ())]
    while waiting:
        here, above = waiting.pop()
        try:
            info = (root / here).stat()
            identity = info.st_dev, info.st_ino
            if identity in above:
                continue
            entries = list(os.scandir(root / here))
        except OSError as why:
            text = f"{root / here}: cannot be read ({why.strerror}); check its permissions"
            raise DataError(text) from None
        folders.append(here)
        for entry in entries:
            path = f"{here}/{entry.name}" if here else entry.name
            _, dot, suffix = entry.name.rpartition(".")
            if entry.name.startswith(".") or entry.name.lower() in HARMLESS:
                continue
            if entry.is_dir():
                waiting.append((path, (*above, identity)))
            elif dot and f".{suffix}".lower() in SUFFIXES:
                try:
                    stat = entry.stat()
                    found.append(Found(path, stat.st_size, stat.st_mtime_ns))
                except OSError:  # a link that leads nowhere
                    found.append(Found(path, 0, 0))
            else:
                others.append(path)
    return Scan(sorted(found), sorted(folders)[1:], sorted(others))  # without the root, ""


def stamp(found: Sequence[Found]) -> dict[str, Any]:
    """What tells that a folder was changed: one digest over names, sizes and times of change.

    >>> stamp([Found("cat/1.png", 99, 5)]) == stamp([Found("cat/1.png", 99, 6)])
    False
    """
    lines = "".join(f"{path}\0{size}\0{changed}\n" for path, size, changed in found)
    digest = hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()
    return {"files": len(found), "digest": digest}


def kinds(paths: Iterable[str]) -> dict[str, int]:
    """How many of these files have each suffix, in small letters, the commonest first.

    >>> kinds(["a/1.mov", "a/2.HEIC", "a/3.heic", "a/Makefile"])
    {'.heic': 2, '.mov': 1, 'no suffix': 1}
    """
    found = Counter(os.path.splitext(path)[1].lower() or "no suffix" for path in paths)  # noqa: PTH122
    return dict(sorted(found.items(), key=lambda kind: (-kind[1], kind[0])))


def find_images(path: Path) -> Iterator[Path | ImageError]:
    """The image at a path or, of a folder, those under it in sorted order, one after the other as
    they are found.

    In folders only names with a suffix of ``decode.SUFFIXES`` count, and what begins with a dot is
    skipped; linked folders are followed, each once. A path that is not there, a folder that cannot
    be read and one without any image come as the error that they are.
    """
    if not path.is_dir():
        yield path if path.exists() else ImageError(str(path), "is not there", "check the path")
        return
    empty = True
    for found in _search(path, set()):
        empty = False
        yield found
    if empty:
        known = " ".join(sorted(SUFFIXES))
        yield ImageError(str(path), "holds no image", f"known are files named {known}")


def _search(folder: Path, seen: set[Path]) -> Iterator[Path | ImageError]:
    """Every image file under a folder, those and folders together by their names."""
    here = folder.resolve()
    if here in seen:
        return
    seen.add(here)
    try:
        with os.scandir(folder) as inside:
            entries = sorted((entry.name, entry.is_dir()) for entry in inside)
    except OSError as why:
        yield ImageError(str(folder), f"cannot be read ({why.strerror})", "check its permissions")
        return
    for name, is_folder in entries:
        if name.startswith("."):
            continue
        if is_folder:
            yield from _search(folder / name, seen)
        elif os.path.splitext(name)[1].lower() in SUFFIXES:  # noqa: PTH122
            yield folder / name
