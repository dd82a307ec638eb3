"""Folders and lists as people have them: every file gets its own label, or an error says why none
does."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from listening import notices
from photos import image_file, opened

from convscope.data.decode import decode
from convscope.errors import BadArgument, DataError

pytestmark = pytest.mark.usefixtures("own_cache")
CATS, DOGS = ([f"{kind}/{n}.png" for n in range(4)] for kind in ("cat", "dog"))
BOTH = [*CATS, *DOGS]
PETS = {"cat": CATS, "dog": DOGS}
FLAT = [f"{n}.png" for n in (1, 2, 3, 10)]
LISTED = {"a": ["1.png", "10.png"], "b": ["2.png", "3.png"]}  # what most of the lists say
LINES = ["1.png,a", "2.png,b", "3.png,b", "10.png,a"]


def split(*names: str, count: int = 2) -> list[str]:
    return [f"{name}/{n}.png" for name in names for n in range(count)]


# name: files, what is to come of them (label -> files, or what an error says); for lists the lines
# under "file,label", or all of the file; and what else is to be heard. A file that ends in "/" is
# an empty folder, "a -> b" a link, "a!" a file that is no image, "a.png = b.png" a copy.
FOLDERS: dict[str, tuple] = {
    "a folder a class": (BOTH, PETS),
    "nested below a class": (
        ["cat/tabby/0.png", "cat/tabby/deep/1.png", "cat/2.png", *DOGS],
        {"cat": ["cat/tabby/0.png", "cat/tabby/deep/1.png", "cat/2.png"], "dog": DOGS},
    ),
    "numbers as classes": (
        split(*map(str, range(12))),
        {str(n): split(str(n)) for n in range(12)},
    ),
    "numbers with noughts": (split("007", "7", "07"), {n: split(n) for n in ("007", "7", "07")}),
    "letters of all kinds": (split("käse", "猫", "Ж"), {n: split(n) for n in ("käse", "猫", "Ж")}),
    "one letter written two ways": (
        split("e\u0301", "\u00e9"),
        {n: split(n) for n in ("e\u0301", "\u00e9")},
    ),
    "spaces, commas and quotes": (
        ["a cat, 'x'/my cat.png", "a cat, 'x'/b,c.png", *DOGS],
        {"a cat, 'x'": ["a cat, 'x'/my cat.png", "a cat, 'x'/b,c.png"], "dog": DOGS},
    ),
    "dots in names": (
        ["v1.0/a.b.png", "v1.0/c.png", *split("v1.1")],
        {"v1.0": ["v1.0/a.b.png", "v1.0/c.png"], "v1.1": split("v1.1")},
    ),
    "a line break in a name": (
        ["cat/a\nb.png", "cat/c.png", *DOGS],
        {"cat": ["cat/a\nb.png", "cat/c.png"], "dog": DOGS},
    ),
    "bytes that are no text": (
        ["cat/\udcff.png", "cat/c.png", *DOGS],
        {"cat": ["cat/\udcff.png", "cat/c.png"], "dog": DOGS},
    ),
    "capitals in suffixes": (
        ["cat/0.PNG", "cat/1.Png", *DOGS],
        {"cat": ["cat/0.PNG", "cat/1.Png"], "dog": DOGS},
    ),
    "capitals tell classes apart": (split("A", "a"), {"A": split("A"), "a": split("a")}),
    "hidden files": ([*BOTH, "cat/.9.png", "cat/._0.png", ".9.png"], PETS),
    "hidden folders": ([*BOTH, ".git/0.png", "cat/.thumbs/0.png", ".cow/0.png"], PETS),
    "what systems leave": (
        [*BOTH, "cat/Thumbs.db!", "dog/desktop.ini!", "__MACOSX/cat/0.png", "cat/@eaDir/0.png"],
        PETS,
    ),
    "other files beside images": (
        [*BOTH, "cat/notes.txt!", "dog/0.xml!", "labels.csv!", "README!"],
        PETS,
        "2 files were not read: 1 .txt, 1 .xml",
    ),
    "films beside images": ([*BOTH, "cat/film.mov!"], PETS, "1 file was not read: 1 .mov"),
    "loose images": ([*BOTH, "cover.png"], PETS, "outside of class folders are passed over (1)"),
    "one name in two folders": (
        [*CATS, "dog/0.png", "dog/b/0.png", "dog/c/0.png"],
        {"cat": CATS, "dog": ["dog/0.png", "dog/b/0.png", "dog/c/0.png"]},
    ),
    "one image under two labels": (
        [*BOTH, "dog/9.png = cat/0.png"],
        {**PETS, "dog": [*DOGS, "dog/9.png"]},
    ),
    "one image of a class": (
        [*CATS, "dog/0.png"],
        {"cat": CATS, "dog": ["dog/0.png@train"]},
        "test has no image of dog",
    ),
    "thirty classes": (
        split(*(f"c{n}" for n in range(30))),
        {f"c{n}": split(f"c{n}") for n in range(30)},
    ),
    "splits": (
        split("train/a", "train/b", "test/a", "test/b"),
        {x: [f"{s}/{x}/{n}.png@{s}" for s in ("train", "test") for n in range(2)] for x in "ab"},
    ),
    "three splits": (
        split(*(f"{s}/{x}" for s in ("train", "val", "test") for x in "ab")),
        {
            x: [f"{s}/{x}/{n}.png@{s}" for s in ("train", "val", "test") for n in range(2)]
            for x in "ab"
        },
    ),
    "splits by other names": (
        split("Training/a", "Training/b", "validation/a", "validation/b", "TESTING/a", "TESTING/b"),
        {
            x: [
                f"{f}/{x}/{n}.png@{s}"
                for f, s in (("Training", "train"), ("validation", "val"), ("TESTING", "test"))
                for n in range(2)
            ]
            for x in "ab"
        },
    ),
    "train alone": (split("train/a", "train/b"), {x: split(f"train/{x}") for x in "ab"}),
    "an empty class in val": (
        [
            *split("train/a", "train/b", "train/c", "val/a", "val/c", "test/a", "test/b", "test/c"),
            "val/b/",
        ],
        {
            x: [
                f"{s}/{x}/{n}.png@{s}"
                for s in ("train", "val", "test")
                if (s, x) != ("val", "b")
                for n in range(2)
            ]
            for x in "abc"
        },
        "val has no image of b",
    ),
    "a class that val lacks": (
        split("train/a", "train/b", "train/c", "val/c", "test/a", "test/b", "test/c"),
        {
            x: [
                f"{s}/{x}/{n}.png@{s}"
                for s in ("train", "val", "test")
                if s != "val" or x == "c"
                for n in range(2)
            ]
            for x in "abc"
        },
        "val has no image of a, b",
    ),
    "a test folder without labels": (
        [*split("train/0", "train/1", count=4), "test/a.png", "test/b.png"],
        {x: split(f"train/{x}", count=4) for x in "01"},
        "have no class folders, and so no labels: they are left out (2); convscope predict",
    ),
    "a class called train": ([*split("train", "bus")], {x: split(x) for x in ("train", "bus")}),
    "a linked class": (
        ["far/cat/0.png", "far/cat/1.png", "in/dog/0.png", "in/dog/1.png", "in/cat -> far/cat"],
        {"cat": split("cat"), "dog": split("dog")},
    ),
    "a linked file": ([*BOTH, "cat/9.png -> dog/0.png"], {**PETS, "cat": [*CATS, "cat/9.png"]}),
    "a link that leads nowhere": ([*BOTH, "cat/9.png -> gone.png"], PETS, "cat/9.png ("),
    "a link to a folder above": ([*BOTH, "cat/loop -> ."], PETS),
    "files that are no images": (
        [*BOTH, "cat/8.png!", "dog/9.jpg!"],
        PETS,
        "2 of 10 images cannot",
    ),
    "formats of all kinds": (
        ["cat/a.gif", "cat/b.bmp", "cat/c.webp", "dog/d.tif", "dog/e.jpg", "dog/f.ppm"],
        {
            "cat": ["cat/a.gif", "cat/b.bmp", "cat/c.webp"],
            "dog": ["dog/d.tif", "dog/e.jpg", "dog/f.ppm"],
        },
    ),
    "nothing": ([], "holds no image; known are files named"),
    "nothing but hidden files": (["cat/.0.png", ".dog/0.png"], "holds no image; known"),
    "no class folders": (FLAT, "has no class folders; put the images of each class into a folder"),
    "one class": (CATS, "has one class only (cat), and a classifier tells two or more apart; add"),
    "one class in train": (split("train/a", "test/a"), "has one class only (a)"),
    "one image a class": (["a/0.png", "b/0.png"], "has one image a class, and none to hold out"),
    "an empty class": ([*BOTH, "cow/"], "cow: is a class folder without an image; put images"),
    "an empty class in train": (
        [*split("train/a", "test/a", "test/b"), "train/b/"],
        "train/b: is a class folder",
    ),
    "a class that is in test alone": (
        split("train/a", "train/b", "test/c"),
        "test/c: is none of the classes in",
    ),
    "no train folder": (split("test/a", "test/b"), "has test but no train folder; add it"),
    "a class called test": (
        [*BOTH, *split("test")],
        "so that it may be a class, or images without",
    ),
    "a folder beside the splits": (
        [*split("train/a", "train/b"), "more/0.png"],
        "may be a split or a class",
    ),
    "a class of no images": (
        [*CATS, "dog/0.png!", "dog/1.png!"],
        "no train image of dog can be read",
    ),
    "a class that is no text": ([*CATS, "\udcff/0.png"], "has a name that is no UTF-8; rename the"),
}
LISTS: dict[str, tuple] = {
    "rows in order": (FLAT, LISTED, LINES),
    "rows the other way round": (FLAT, LISTED, LINES[::-1]),
    "rows in any order": (FLAT, LISTED, [LINES[n] for n in (1, 3, 0, 2)]),
    "in capitals": (FLAT, LISTED, ["File,LABEL", *LINES]),
    "labels that are numbers": (
        FLAT,
        {"9": ["1.png", "10.png"], "10": ["2.png", "3.png"]},
        ["1.png,9", "2.png,10", "3.png,10", "10.png,9"],
    ),
    "numbers with noughts": (
        FLAT,
        {"7": ["1.png", "10.png"], "07": ["2.png", "3.png"]},
        ["1.png,7", "2.png,07", "3.png,07", "10.png,7"],
    ),
    "letters of all kinds": (
        ["ä.png", "猫.png", "ø/x.png", "d.png"],
        {"käse": ["ä.png", "d.png"], "猫": ["猫.png", "ø/x.png"]},
        ["ä.png,käse", "猫.png,猫", "ø/x.png,猫", "d.png,käse"],
    ),
    "in quotes": (
        ["a,b.png", 'say "x".png', "c.png", "d.png"],
        {"one, two": ["a,b.png", "d.png"], "b": ['say "x".png', "c.png"]},
        ['"a,b.png","one, two"', '"say ""x"".png",b', "c.png,b", 'd.png,"one, two"'],
    ),
    "semicolons between": (
        FLAT,
        LISTED,
        ["file;label", *(line.replace(",", ";") for line in LINES)],
    ),
    "tabs between": (FLAT, LISTED, ["file\tlabel", *(line.replace(",", "\t") for line in LINES)]),
    "a byte-order mark": (FLAT, LISTED, ["\ufefffile,label", *LINES]),
    "line ends of Windows": (FLAT, LISTED, [line + "\r" for line in ("file,label", *LINES)]),
    "blank lines and spaces": (
        FLAT,
        LISTED,
        ["", " 1.png , a", "", "2.png,b ", "3.png, b", "10.png,a", ""],
    ),
    "nested and plain at once": (
        ["x/y/1.png", "1.png", "x/1.png", "2.png"],
        {"a": ["x/y/1.png", "2.png"], "b": ["1.png", "x/1.png"]},
        ["x/y/1.png,a", "./1.png,b", "x//1.png,b", "x/../2.png,a"],
    ),
    "labels that folders do not have": (
        BOTH,
        {"a": [*CATS[:2], *DOGS[:2]], "b": [*CATS[2:], *DOGS[2:]]},
        [f"{p},{'a' if p[4] in '01' else 'b'}" for p in BOTH],
    ),
    "hidden files by name": (
        [*FLAT, ".h.png"],
        {"a": [*LISTED["a"], ".h.png"], "b": LISTED["b"]},
        [*LINES, ".h.png,a"],
    ),
    "linked files": (
        [*FLAT, "l.png -> 2.png"],
        {**LISTED, "b": [*LISTED["b"], "l.png"]},
        [*LINES, "l.png,b"],
    ),
    "files that it does not name": (
        [*FLAT, "9.png", "x/8.png"],
        LISTED,
        LINES,
        "2 images in no row of",
    ),
    "names without suffix": (FLAT, LISTED, [line.replace(".png", "") for line in LINES]),
    "splits": (
        FLAT,
        {"a": ["1.png@train", "10.png@test"], "b": ["2.png@train", "3.png@val"]},
        ["file,label,split", "1.png,a,train", "2.png,b,train", "3.png,b,val", "10.png,a,test"],
        "val has no image of a",
    ),
    "test rows without labels": (
        FLAT,
        {"a": ["1.png@train", "10.png@test"], "b": ["2.png@train"]},
        ["file,label,split", "1.png,a,train", "2.png,b,train", "3.png,,test", "10.png,a,test"],
        "1 test row without a target left out",
    ),
    "test rows without labels alone": (
        [*FLAT, "4.png"],
        {"a": ["1.png", "10.png"], "b": ["2.png", "4.png"]},
        [
            "file,label,split",
            "1.png,a,train",
            "2.png,b,train",
            "3.png,,test",
            "4.png,b,train",
            "10.png,a,train",
        ],
        "1 test row without a target left out",
    ),
    "groups": (
        FLAT,
        LISTED,
        ["file,label,group", "1.png,a,x", "2.png,b,y", "3.png,b,", "10.png,a,"],
    ),
    "objects of any order": (
        FLAT,
        LISTED,
        [
            '{"label": "a", "file": "1.png"}',
            '{"file": "2.png", "label": "b"}',
            "",
            '{"label": "b", "file": "3.png"}',
            '{"file": "10.png", "label": "a"}',
        ],
    ),
    "an image that cannot be read": (
        [*FLAT, "9.png!"],
        LISTED,
        [*LINES, "9.png,b"],
        "1 rows have an image",
    ),
    "a label of one image": (
        [*FLAT, "9.png"],
        {**LISTED, "c": ["9.png@train"]},
        [*LINES, "9.png,c"],
        "test has no image of c",
    ),
    "a file that is not there": (
        FLAT,
        "line 6: names gone.png, which is not there",
        [*LINES, "gone.png,a"],
    ),
    "a name of two files": (
        [*FLAT, "9.jpg", "9.png"],
        "line 6: names 9, which may be 9.jpg or 9.png",
        [*LINES, "9,a"],
    ),
    "a file in two rows": (
        FLAT,
        "line 6: names 1.png, which line 2 names, too; keep one row",
        [*LINES, "1.png,a"],
    ),
    "a file under two labels": (
        FLAT,
        "line 2 names 1.png, which line 6 names otherwise",
        [*LINES, "1.png,b"],
    ),
    "no label in a row": (
        FLAT,
        "line 3: has nothing in label; fill it in",
        ["1.png,a", "2.png,", *LINES[2:]],
    ),
    "a row too long": (
        FLAT,
        "line 3: has 3 cells where the header has 2",
        ["1.png,a", "2.png,b,c", *LINES[2:]],
    ),
    "a row too short": (
        FLAT,
        "line 3: has 1 cells where the header has 2",
        ["1.png,a", "2.png", *LINES[2:]],
    ),
    "no column of labels": (
        FLAT,
        "has no column that is a target among file; name one label",
        ["file", *FLAT],
    ),
    "no column of files": (
        FLAT,
        "has no column that is an image among label; name one file",
        ["label", "a"],
    ),
    "a column of its own": (
        FLAT,
        "does not say what its column by is; write by:KIND",
        ["file,label,by", "1.png,a,x"],
    ),
    "nothing below the header": (FLAT, "has no row below its header; write a row an image", []),
    "one class": (FLAT, "has one class only in label (a)", ["1.png,a", "2.png,a"]),
    "a split that is none": (
        FLAT,
        "line 2: has 'tarin' in split; write one of train, val, test",
        ["file,label,split", "1.png,a,tarin", "2.png,b,test"],
    ),
    "a class that is in test alone": (
        FLAT,
        "has no row of b to train on; write train into split of some",
        ["file,label,split", "1.png,a,train", "2.png,b,test", "3.png,b,test"],
    ),
    "labels that are no text": (
        FLAT,
        "has bytes in label that are no UTF-8",
        ["1.png,\udce9", *LINES[1:]],
    ),
    "labels of two kinds": (
        FLAT,
        "has a number in label, where line 1 has text; write all",
        ['{"label": "a", "file": "1.png"}', '{"file": "2.png", "label": 1}'],
    ),
}


def laid_out(root: Path, files: list[str]) -> None:
    """The files of a case, each image its own; see ``FOLDERS``."""
    links = []
    for seed, entry in enumerate(files):
        name, _, target = entry.partition(" -> ")
        name, _, source = name.partition(" = ")
        path = root / name.removesuffix("!")
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if target:
            links.append((path, root / target))
        elif source:
            path.write_bytes((root / source).read_bytes())
        elif name.endswith("!"):
            path.write_bytes(b"no image")
        elif not name.endswith("/"):
            form = {".jpg": "JPEG", ".tif": "TIFF", ".ppm": "PPM"}.get(path.suffix)
            path.write_bytes(image_file(seed, (4, 4), form=form or path.suffix[1:].upper()))
    for path, target in links:
        path.symlink_to(target, target_is_directory=target.is_dir())


def came_of(root: Path, data: Path, **options) -> tuple[dict[str, tuple[str, str]] | str, list]:
    """Label and split by file below ``root``, or the error; and what was said. Every pixel is held
    against its file."""
    try:
        pack, events = opened(data, size=(4, 4), channels=3, **options)
    except (BadArgument, DataError) as why:
        return str(why), []
    found = {}
    for split, held in pack.splits.items():
        for file, label, image in zip(held.files, held.labels, held.images, strict=True):
            assert np.array_equal(image, decode(root / file, channels=3, size=(4, 4))), file
            assert file not in found
            found[file] = pack.classes[label], split
    return found, notices(events)


def check(found, said, expected, heard) -> None:
    if isinstance(expected, str):
        assert isinstance(found, str) and expected in found
        return
    assert not isinstance(found, str), found
    wanted = {}
    for label, files in expected.items():
        for file in files:
            name, _, split = file.partition("@")
            wanted[name] = label, split or found.get(name, ("", ""))[1]
    assert found == wanted
    assert not heard or any(heard in one for one in said), said


CASES = [(kind, name) for kind in (FOLDERS, LISTS) for name in kind]


@pytest.mark.parametrize(("kind", "case"), CASES, ids=[name for _, name in CASES])
def test_every_file_has_its_label(tmp_path, kind, case):
    files, expected, *rest = kind[case]
    root = tmp_path / "in" if any(file.startswith("in/") for file in files) else tmp_path
    try:
        laid_out(tmp_path, files)
    except (OSError, ValueError) as why:
        if sys.platform == "linux":  # whose files may have any of them
            raise
        pytest.skip(f"this system has no such names ({why})")
    if kind is FOLDERS:
        check(*came_of(root, root), expected, "".join(rest))
        return
    lines, heard = rest[0], "".join(rest[1:])
    whole = any("label" in line.lower() or line == "file" for line in lines[:1])
    name = "labels.jsonl" if whole and lines[0].startswith("{") else "labels.csv"
    text = "\n".join(lines if whole else ["file,label", *lines])
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    check(*came_of(root, root, labels=tmp_path / name), expected, heard)
    check(*came_of(root, tmp_path / name), expected, "" if "in no row" in heard else heard)


def test_there_are_more_than_sixty_cases():
    assert len(CASES) >= 62
