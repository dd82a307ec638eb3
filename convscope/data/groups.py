"""Files that belong together as far as their names tell: a photo and what was made of it.

Such names have one stem: ``192.jpg`` and ``192-with-mask.jpg``, ``cat7.png`` and ``cat7_flip.png``,
``IMG_4.jpg`` and ``aug_IMG_4 (2).jpg``. Names tell less than pixels: what is found is suspected.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from convscope.data.duplicates import Positions
from convscope.events import Notice
from convscope.formatting import plural

if TYPE_CHECKING:
    from convscope.data.pack import Pack

LARGEST = 20  # files of one group; more share a date or a class in their names, not a photo
NUMBERS = 6  # numbers that a stem has at most: a date and a time
AUGMENTED = frozenset({"aug", "augment", "augmented", "augmentation"})
_COPY = re.compile(r"^copy of |([ _-]+copy)?([ _-]*\(\d+\))?$")
_SEPARATOR = re.compile(r"[\W_]+")
_NUMBER = re.compile(r"[^\W\d_]*\d+")  # 192, glass115; not the 3f2a of a hash


def stem(path: str, numbers: int = 1) -> str:
    """The words of a file's name up to its first so many numbers, in small letters, without marks
    of a copy and words such as "augmented"; all of them, where there are fewer numbers.

    >>> stem("mask/192-with-mask.jpg"), stem("aug_IMG_4 (2).JPG"), stem("2024-05-01 cat.png", 3)
    ('192', 'img-4', '2024-05-01')
    """
    name = _name(path)
    words = [word for word in _SEPARATOR.split(_COPY.sub("", name)) if word]
    words = [word for word in words if word not in AUGMENTED] or [name]
    ends = [at for at, word in enumerate(words, 1) if _NUMBER.fullmatch(word)]
    return "-".join(words[: ends[numbers - 1]] if len(ends) >= numbers else words)


def groups(paths: Sequence[str]) -> Positions:
    """For each file the position of the first one of its group: its own, if it is alone.

    A group has one stem and at least two names: files that are all called alike, as where every
    folder counts from 1, are none. Files of one folder go before those of several. Where more than
    ``LARGEST`` files share a stem, it goes on to their next number.

    >>> groups(["cat/1.jpg", "dog/1.jpg", "dog/2.jpg", "dog/1-flipped.jpg"]).tolist()
    [0, 1, 2, 1]
    """
    found = np.arange(len(paths))
    for _, group in _groups(paths):
        found[group] = group[0]
    return found


def group_names(paths: Sequence[str]) -> list[str]:
    """For each file the name of its group, which other files do not change: its own path, if it is
    alone.

    >>> group_names(["cat/1.jpg", "dog/1.jpg", "dog/1-flipped.jpg", "7.jpg", "fox/7-mask.jpg"])
    ['cat/1.jpg', 'dog/1*', 'dog/1*', '7*', '7*']
    """
    names = list(paths)
    for name, group in _groups(paths):
        folders = {paths[at].rpartition("/")[0] for at in group}
        folder = f"{folders.pop()}/" if len(folders) == 1 else ""
        for at in group:
            names[at] = f"{folder}{name}*"
    return names


def torn(pack: Pack, held: Positions, group: str = "auto") -> Notice | None:
    """A warning of groups of which some files are learnt from and others judge: those that the data
    says, else those that names suggest, with what keeps them together. ``held`` are the training
    images that are held out for validation; with ``group`` "none" there are no groups."""
    splits = list(pack.splits.values())
    if group == "none" or any(split.files is None for split in splits):
        return None
    names = [name for split in splits for name in split.files or ()]
    sides = np.repeat(np.arange(len(splits)), [len(split) for split in splits])
    sides[held + np.flatnonzero(sides == [*pack.splits].index("train"))[0]] = -1
    said = [name for split in splits for name in split.groups or ()]
    by_stem = group == "stem" or not said
    sets = [some for _, some in _groups(names)] if by_stem else _same(said)
    apart = [some for some in sets if len(set(sides[some].tolist())) > 1]
    if not apart:
        return None
    one = apart[0]
    other = next(at for at in one if sides[at] != sides[one[0]])
    text = (
        f"{len(apart):,} of {plural(len(sets), 'group')} of images are torn between training and "
        f"judging, such as {names[one[0]]} and {names[other]}, which makes figures too good: "
    )
    if not by_stem:
        text += "write one split for all rows of a group"
    elif group == "stem":
        text += "they have one stem, and are in two split folders; move them into one"
    else:
        text += "they have one stem; --group stem keeps such together, --group none if they are not"
    return Notice(f"{pack.name}: {text}", warning=True)


def _same(groups: Sequence[str]) -> list[list[int]]:
    """The positions of each group of several."""
    found: dict[str, list[int]] = defaultdict(list)
    for at, name in enumerate(groups):
        found[name].append(at)
    return [some for some in found.values() if len(some) > 1]


def _groups(paths: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """The stem and the files of each group."""
    waiting = [(1, list(range(len(paths))))]
    while waiting:
        numbers, members = waiting.pop()
        by_stem: dict[str, list[int]] = defaultdict(list)
        for at in members:
            by_stem[stem(paths[at], numbers)].append(at)
        for name, same in by_stem.items():
            if len(same) <= LARGEST:
                for group in _together(paths, same):
                    yield name, group
            elif numbers < NUMBERS:
                waiting.append((numbers + 1, same))


def _together(paths: Sequence[str], same: Sequence[int]) -> Iterator[list[int]]:
    """The groups among files of one stem: those of a folder, then what is left of all folders."""
    folders: dict[str, list[int]] = defaultdict(list)
    for at in same:
        folders[paths[at].rpartition("/")[0].rpartition("/")[2]].append(at)
    left: list[int] = []
    for members in folders.values():
        if _several(paths, members):
            yield members
        else:
            left += members
    if _several(paths, left):
        yield sorted(left)


def augmented(path: str) -> str:
    """What stands before the number in the name of a file that says that it was made of another
    image; nothing for others.

    >>> augmented("mask/augmented_image_12.jpg"), augmented("mask/12.jpg")
    ('augmented_image_', '')
    """
    name = _name(path)
    if AUGMENTED.isdisjoint(_SEPARATOR.split(name)):
        return ""
    return re.split(r"\d", name, maxsplit=1)[0]


def _several(paths: Sequence[str], members: Sequence[int]) -> bool:
    return len({_name(paths[at]) for at in members}) > 1


def _name(path: str) -> str:
    """A file's name in small letters, without its suffix."""
    return path.rpartition("/")[2].rpartition(".")[0].lower()
