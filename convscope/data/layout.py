"""What a folder of images holds, by the names in it alone: classes, splits, what was changed.

Two layouts are known: ``root/<class>/...`` and ``root/{train,val,test}/<class>/...``, where val may
be called valid or validation. What is below a class folder belongs to the class, however deep; only
names with a suffix of ``decode.SUFFIXES`` count, and what begins with a dot is skipped.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from convscope.data.decode import SUFFIXES
from convscope.data.pack import SPLITS
from convscope.errors import BadArgument, DataError, ImageError
from convscope.events import Notice

FOLDERS = {
    **{"train": "train", "training": "train", "test": "test", "testing": "test"},
    **{"val": "val", "valid": "val", "validation": "val"},
}
ByClass = dict[str, list[str]]  # paths


class Found(NamedTuple):
    """An image file: its path from the root with "/", its bytes, when it was changed (ns)."""

    path: str
    size: int
    changed: int


class Sample(NamedTuple):
    """An image file and the number of its class."""

    path: str
    label: int


@dataclass(frozen=True)
class Layout:
    """The classes of a folder, the samples of each split, and what its user should know."""

    classes: tuple[str, ...]
    splits: dict[str, list[Sample]]
    remarks: list[Notice]


def scan(root: Path) -> tuple[list[Found], list[str]]:
    """Every image file and every folder under ``root``, sorted; no file is opened.

    Links are followed, but not back to a folder that holds them. Raises DataError for a folder that
    cannot be read.
    """
    found: list[Found] = []
    folders: list[str] = []
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
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                waiting.append((path, (*above, identity)))
            elif dot and f".{suffix}".lower() in SUFFIXES:
                try:
                    stat = entry.stat()
                    found.append(Found(path, stat.st_size, stat.st_mtime_ns))
                except OSError:  # a link that leads nowhere
                    found.append(Found(path, 0, 0))
    return sorted(found), sorted(folders)[1:]  # without the root, ""


def stamp(found: Sequence[Found]) -> dict[str, Any]:
    """What tells that a folder was changed: one digest over names, sizes and times of change.

    >>> stamp([Found("cat/1.png", 99, 5)]) == stamp([Found("cat/1.png", 99, 6)])
    False
    """
    lines = "".join(f"{path}\0{size}\0{changed}\n" for path, size, changed in found)
    digest = hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()
    return {"files": len(found), "digest": digest}


def arranged(root: Path, found: Sequence[Found], folders: Sequence[str]) -> Layout:
    """The classes and splits of what :func:`scan` found. Raises BadArgument, naming the folder,
    where it is in no known layout or a class has no image.

    >>> found = [Found(f"{name}/{n}.png", 99, 0) for name in ("cat", "dog") for n in (1, 2, 3)]
    >>> layout = arranged(Path("pets"), found, ["cat", "dog"])
    >>> layout.classes, layout.splits["test"]
    (('cat', 'dog'), [Sample(path='cat/2.png', label=0), Sample(path='dog/1.png', label=1)])
    """
    if not found:
        known = f"known are files named {' '.join(sorted(SUFFIXES))}"
        raise refused(root, "holds no image", known)
    tops = _split_folders(root, folders)
    top = tops.get("train", "")
    classes = [
        path.removeprefix(f"{top}/")
        for path in folders
        if (path.startswith(f"{top}/") and path.count("/") == 1 if tops else "/" not in path)
    ]
    files, aside = _by_class(found, tops)
    _check_classes(root, tops or {"train": ""}, classes, files)
    remarks = [
        Notice(
            f"images in {root / place} outside of class folders are passed over ({count:,})", True
        )
        for place, count in aside.items()
    ]
    if "test" not in files:
        files["train"], files["test"] = _halves(files["train"], top)
        if not files["test"]:
            remedy = "add images, or a test folder"
            raise refused(root, "has one image a class, and none to hold out as test", remedy)
        count = sum(map(len, files["test"].values()))
        text = f"no test folder: {count:,} images, a fifth by their names, are held out as test"
        remarks.append(Notice(text))
    remarks += [
        Notice(f"{split} has no image of {listed(missing)}", True)
        for split, by_class in files.items()
        if (missing := [name for name in classes if name not in by_class])
    ]
    splits = {
        split: [
            Sample(path, label)
            for label, name in enumerate(classes)
            for path in files[split].get(name, ())
        ]
        for split in SPLITS
        if split in files
    }
    return Layout(tuple(classes), splits, remarks)


def _split_folders(root: Path, folders: Sequence[str]) -> dict[str, str]:
    """The folder of each split, if these are the splits and not the classes."""
    tops = [path for path in folders if "/" not in path]
    named = {top: FOLDERS[top.lower()] for top in tops if top.lower() in FOLDERS}
    if "train" not in named.values():
        if named and len(named) == len(tops):
            raise refused(root, f"has {tops[0]} but no train folder", "add it, or name another")
        return {}
    if len(named) == 1 and len(tops) > 1:  # a class of this name
        return {}
    for split in SPLITS:
        if len(both := [top for top, meant in named.items() if meant == split]) > 1:
            raise refused(root, f"has {' and '.join(both)}", "keep one folder for each split")
    return {split: top for top, split in named.items()}


def _by_class(
    found: Sequence[Found], tops: dict[str, str]
) -> tuple[dict[str, ByClass], Counter[str]]:
    """The paths of each class of each split, and how many images are in which other folder."""
    files: dict[str, ByClass] = {split: {} for split in tops or ("train",)}
    split_of = {top: split for split, top in tops.items()} or {"": "train"}
    aside: Counter[str] = Counter()
    for path, _, _ in found:
        top, _, rest = path.partition("/") if tops else ("", "", path)
        name, inside, _ = rest.partition("/")
        if inside and top in split_of:
            files[split_of[top]].setdefault(name, []).append(path)
        else:
            aside[top if rest else ""] += 1
    return files, aside


def _check_classes(
    root: Path, tops: dict[str, str], classes: list[str], files: dict[str, ByClass]
) -> None:
    """Raise BadArgument unless there are two classes with images, and no others in val and test."""
    train = root / tops["train"]
    if not classes:
        remedy = "put the images of each class into a folder of its own"
        raise refused(train, "has no class folders", remedy)
    if len(classes) == 1:
        rule = f"has one class only ({classes[0]}), and a classifier tells two or more apart"
        remedy = f"add a folder, or name {train / classes[0]} if that holds the class folders"
        raise refused(train, rule, remedy)
    for name in classes:
        if name not in files["train"]:
            remedy = "put images into it, or remove it"
            raise refused(train / name, "is a class folder without an image", remedy)
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            raise refused(train / name, "has a name that is no UTF-8", "rename the folder")
    for split, by_class in files.items():
        place = root / tops[split]
        if not by_class:
            remedy = "put class folders with images into it, or remove it"
            raise refused(place, "holds no image in a class folder", remedy)
        for name in by_class:
            if name not in classes:
                remedy = f"the classes are {listed(classes)}"
                raise refused(place / name, f"is none of the classes in {train}", remedy)


def _halves(train: ByClass, top: str) -> tuple[ByClass, ByClass]:
    """What is left to train on of each class, and what is held out."""
    chosen = {name: held_out(paths, top) for name, paths in train.items()}
    left = {
        name: [path for path in paths if path not in chosen[name]] for name, paths in train.items()
    }
    return left, {name: sorted(paths) for name, paths in chosen.items() if paths}


def held_out(paths: Sequence[str], below: str = "") -> set[str]:
    """About a fifth of the images of a class, for testing: a function of their names alone.

    Chosen is a path (from ``below`` on) whose SHA-256, as a number, is a multiple of five. So an
    image stays on its side whatever is in it and whatever is added. A class of two or more is
    always on both sides: where the rule gives none, the image with the lowest hash is taken.

    >>> len(held_out([f"cat/{number}.jpg" for number in range(1000)]))
    203
    """
    if len(paths) < 2:
        return set()
    hashes = {
        path: int(hashlib.sha256(os.fsencode(path.removeprefix(f"{below}/"))).hexdigest(), 16)
        for path in paths
    }
    chosen = {path for path in paths if hashes[path] % 5 == 0}
    if len(chosen) == len(paths):
        chosen.remove(max(chosen, key=hashes.__getitem__))
    return chosen or {min(paths, key=hashes.__getitem__)}


def refused(path: Path, rule: str, remedy: str) -> BadArgument:
    """The error for a folder that is not as it must be."""
    return BadArgument("data", path, rule, remedy)


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few names, and how many more there are.

    >>> listed(["cat", "dog", "cow"], most=2)
    'cat, dog and 1 more'
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def find_images(paths: Iterable[Path]) -> list[Path]:
    """The image files among ``paths``: files as given, folders searched through in sorted order.

    In folders only names with a suffix of ``decode.SUFFIXES`` count, and what begins with a dot is
    skipped. Raises ImageError for a path that is not there and for a folder without any image.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(_search(path))
            if not inside:
                known = " ".join(sorted(SUFFIXES))
                raise ImageError(str(path), "holds no image", f"known are files named {known}")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise ImageError(str(path), "is not there", "check the path")
    return found


def _search(root: Path) -> Iterator[Path]:
    """Every image file under ``root``; linked folders are followed, each once."""
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        here = Path(folder).resolve()
        if here in seen:
            folders.clear()
            continue
        seen.add(here)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in (Path(folder, name) for name in files if not name.startswith(".")):
            if file.suffix.lower() in SUFFIXES:
                yield file
