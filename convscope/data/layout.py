"""What a folder of images holds, by the names in it alone: classes and splits.

Two layouts are known: ``root/<class>/...`` and ``root/{train,val,test}/<class>/...``, where val may
be called valid or validation. A folder of such a name is a split where it holds class folders with
images, and a class, beside others, where it holds images itself; what may be either is refused.
What is below a class folder belongs to the class, however deep.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convscope.data.decode import SUFFIXES
from convscope.data.division import Units
from convscope.data.pack import SPLITS
from convscope.data.scan import Found, kinds
from convscope.errors import BadArgument
from convscope.events import Notice
from convscope.formatting import listed, plural

FOLDERS = {
    **{"train": "train", "training": "train", "test": "test", "testing": "test"},
    **{"val": "val", "valid": "val", "validation": "val"},
}
ByClass = dict[str, list[str]]  # paths
TEST = 0.2  # share that is held out for testing where files do not say
BESIDE = {".txt", ".json", ".xml", ".csv", ".yaml", ".yml", ".md", ".html", ".pdf", ".log", ".npy"}


class Sample(NamedTuple):
    """An image file and the number of its class."""

    path: str
    label: int


@dataclass(frozen=True)
class Layout:
    """The classes of a folder, the samples of each split, what its user should know, and whether
    the test split is the folder's own."""

    classes: tuple[str, ...]
    splits: dict[str, list[Sample]]
    remarks: list[Notice]
    own_test: bool


def has_test(root: Path, found: Sequence[Found], folders: Sequence[str]) -> bool:
    """Whether a folder has a test folder with class folders of its own. Raises BadArgument where
    that is not clear."""
    tops = _split_folders(root, found, folders)
    return any(
        path.count("/") > 1 for path, _, _ in found if path.startswith(f"{tops.get('test')}/")
    )


def unread_kinds(
    root: Path, found: Sequence[Found], folders: Sequence[str], others: Sequence[str]
) -> dict[str, int]:
    """How many files in class folders are of a kind that is not read, by their suffix, the
    commonest first. Raises BadArgument where it is not clear which folders are classes.

    >>> found, others = [Found("cat/1.png", 99, 0)], ["cat/2.HEIC", "notes.txt"]
    >>> unread_kinds(Path("pets"), found, ["cat"], others)
    {'.heic': 1}
    """
    depth = 2 if _split_folders(root, found, folders) else 1
    return kinds(path for path in others if path.count("/") >= depth)


def not_read(counts: dict[str, int]) -> Notice | None:
    """What there is to say of files that are not read: a warning where pictures or films may be
    among them.

    >>> not_read({".heic": 10, ".mov": 2}).text
    '12 files were not read: 10 .heic, 2 .mov; save what is a picture among them as JPEG or PNG'
    """
    if not counts:
        return None
    total = sum(counts.values())
    named = listed([f"{count:,} {suffix}" for suffix, count in counts.items()])
    which = plural(total, "file was", "files were")
    remedy = "save what is a picture among them as JPEG or PNG"
    pictures = counts.keys() - BESIDE
    return Notice(f"{which} not read: {named}" + f"; {remedy}" * bool(pictures), bool(pictures))


def arranged(
    root: Path,
    found: Sequence[Found],
    folders: Sequence[str],
    others: Sequence[str] = (),
    groups: Mapping[str, str] | None = None,
) -> Layout:
    """The classes and splits of what :func:`scan` found; ``groups`` are those of files that are on
    one side, by path. Raises BadArgument, naming the folder, where it is in no known layout or a
    class has no image.

    >>> found = [Found(f"{name}/{n}.png", 99, 0) for name in ("cat", "dog") for n in (1, 2, 3)]
    >>> layout = arranged(Path("pets"), found, ["cat", "dog"])
    >>> layout.classes, layout.splits["test"]
    (('cat', 'dog'), [Sample(path='cat/2.png', label=0), Sample(path='dog/1.png', label=1)])
    """
    if not found:
        known = f"known are files named {' '.join(sorted(SUFFIXES))}"
        raise refused(root, f"holds no image{_but(others)}", known)
    tops = _split_folders(root, found, folders)
    top = tops.get("train", "")
    classes = [
        path.removeprefix(f"{top}/")
        for path in folders
        if (path.startswith(f"{top}/") and path.count("/") == 1 if tops else "/" not in path)
    ]
    files, aside = _by_class(found, tops)
    _check_classes(root, tops or {"train": ""}, classes, files, others)
    remarks = [_passed_over(root, place, count, tops) for place, count in aside.items()]
    remarks += [
        Notice(f"{name} is taken for a class, as it holds images and no class folders")
        for name in (classes if not tops else ())
        if name.lower() in FOLDERS
    ]
    own_test = "test" in files
    if not own_test:
        halves = (
            _halves(files["train"], top) if groups is None else _grouped(files["train"], groups)
        )
        files["train"], files["test"] = halves
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
    return Layout(tuple(classes), splits, remarks, own_test)


def _passed_over(root: Path, place: str, count: int, tops: dict[str, str]) -> Notice:
    """What is said of images that are in no class folder."""
    if place.lower() in FOLDERS and place not in tops.values():
        text = f"images in {root / place} have no class folders, and so no labels: they are left "
        return Notice(f"{text}out ({count:,}); convscope predict tells what they are", True)
    text = f"images in {root / place} outside of class folders are passed over ({count:,})"
    return Notice(text, True)


def _but(others: Sequence[str]) -> str:
    """What is there instead of images."""
    named = listed([f"{count:,} {suffix}" for suffix, count in kinds(others).items()])
    return f", but files that are not read ({named})" if named else ""


def _split_folders(root: Path, found: Sequence[Found], folders: Sequence[str]) -> dict[str, str]:
    """The folder of each split, if these are the splits and not the classes.

    Raises BadArgument where a folder that is called like a split may be either.
    """
    tops = [path for path in folders if "/" not in path]
    named = {top: FOLDERS[top.lower()] for top in tops if top.lower() in FOLDERS}
    direct: Counter[str] = Counter()  # images in it, not in folders of it
    deep: Counter[str] = Counter()
    for path, _, _ in found if named else ():
        top, _, rest = path.partition("/")
        if rest:
            (deep if "/" in rest else direct)[top] += 1
    others = sorted((direct.keys() | deep.keys()) - named.keys())
    if others:
        held = {top: split for top, split in named.items() if deep[top] > direct[top]}
        if not held:
            return _all_classes(root, named, direct, others)
        if len(held) == 1:
            [top] = held
            raise refused(
                root / top,
                f"holds folders of images, as a split does, beside {listed(others)}, so that it "
                "may be a split or a class",
                f"if it is a split, move {listed(others)} elsewhere; if it is a class, rename it",
            )
    else:
        held = {top: split for top, split in named.items() if deep[top] or not direct[top]}
        if named and found and not deep:
            raise refused(
                root,
                f"has images in {listed(sorted(direct)) or 'no folder'}, which are called like "
                "splits, and no class folders",
                "put the images of each class into a folder of its own in each split; if these are "
                "the classes, rename them",
            )
    if not held:
        return {}
    if "train" not in held.values() and "train" not in named.values():
        raise refused(
            root, f"has {next(iter(held))} but no train folder", "add it, or name another"
        )
    held |= {top: split for top, split in named.items() if split == "train"}
    for split in SPLITS:
        if len(both := [top for top, meant in held.items() if meant == split]) > 1:
            raise refused(root, f"has {' and '.join(both)}", "keep one folder for each split")
    return {split: top for top, split in held.items()}


def _all_classes(
    root: Path, named: dict[str, str], direct: Counter[str], others: Sequence[str]
) -> dict[str, str]:
    """No splits, where folders that are called like splits hold images beside ``others``. Raises
    BadArgument for a test or validation folder: its images may be without labels."""
    for top, split in named.items():
        if split != "train" and direct[top]:
            raise refused(
                root / top,
                f"holds images and no class folders, beside {listed(others)}, so that it may be a "
                "class, or images without labels",
                f"rename it if it is a class, such as {top}_class, or move it elsewhere",
            )
    return {}


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
    root: Path,
    tops: dict[str, str],
    classes: list[str],
    files: dict[str, ByClass],
    others: Sequence[str],
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
            above = "/".join(filter(None, (tops["train"], name, "")))
            rule = "is a class folder without an image"
            rule += _but([path for path in others if path.startswith(above)])
            raise refused(train / name, rule, remedy)
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


def _grouped(train: ByClass, groups: Mapping[str, str]) -> tuple[ByClass, ByClass]:
    """The same, where the files of a group are on one side."""
    paths = [path for some in train.values() for path in some]
    labels = np.repeat(np.arange(len(train)), [len(some) for some in train.values()])
    test = {paths[at] for at in Units.of([groups[p] for p in paths], [labels]).held_out(TEST)}
    left = {name: [path for path in some if path not in test] for name, some in train.items()}
    held = {name: [path for path in some if path in test] for name, some in train.items()}
    return left, {name: some for name, some in held.items() if some}


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
