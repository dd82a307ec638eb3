"""What a folder holds is read off its names: classes, splits, or an error that names the folder."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.data.layout import arranged, find_images, held_out, listed, scan, stamp
from convscope.errors import BadArgument, DataError, ImageError


def put(root: Path, *paths: str) -> Path:
    """Files of one byte; a path that ends in "/" is an empty folder."""
    for path in paths:
        if path.endswith("/"):
            (root / path).mkdir(parents=True)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(b"x")
    return root


def several(*folders: str, count=3) -> list[str]:
    return [f"{folder}/{n}.png" for folder in folders for n in range(count)]


def found_in(root: Path):
    return arranged(root, *scan(root))


def paths(layout, split) -> list[str]:
    return [sample.path for sample in layout.splits[split]]


# Scan


def test_images_count_by_their_suffix_and_however_deep_they_are(tmp_path):
    put(tmp_path, "b/2.JPG", "b/deep/er/1.jpeg", "a/x.webp", "a/notes.txt", "a/png", "a/empty/")
    put(tmp_path, ".git/h.png", "a/.h.png", "a/.cache/h.png")
    found, folders = scan(tmp_path)
    assert [path for path, _, _ in found] == ["a/x.webp", "b/2.JPG", "b/deep/er/1.jpeg"]
    assert folders == ["a", "a/empty", "b", "b/deep", "b/deep/er"]
    assert found[0].size == 1
    assert found[0].changed == (tmp_path / "a" / "x.webp").stat().st_mtime_ns


def test_links_are_followed_but_not_in_circles(tmp_path):
    root = put(tmp_path / "root", "cat/1.png")
    put(tmp_path / "elsewhere", "2.png", "3.png")
    try:
        (root / "dog").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    (root / "cow").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "cat" / "loop").symlink_to(root, target_is_directory=True)
    (root / "cat" / "gone.png").symlink_to(tmp_path / "gone")
    found, _ = scan(root)
    assert [path for path, _, _ in found] == [
        "cat/1.png", "cat/gone.png", "cow/2.png", "cow/3.png", "dog/2.png", "dog/3.png",
    ]  # fmt: skip
    assert found[0].size == 1 and found[1].size == 0


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    put(tmp_path, *several("cat", "dog"))
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"dog: cannot be read \(Permission denied\); check its"):
        scan(tmp_path)


def test_the_stamp_sees_names_sizes_and_times(tmp_path):
    put(tmp_path, *several("cat", "dog"))
    stamps = [stamp(scan(tmp_path)[0])]

    def changed() -> bool:
        stamps.append(stamp(scan(tmp_path)[0]))
        return stamps[-1] != stamps[-2]

    assert not changed()
    (tmp_path / "cat" / "note.txt").write_text("no image")
    assert not changed()
    os.utime(tmp_path / "cat" / "1.png", ns=(5, 5))
    assert changed()
    (tmp_path / "cat" / "1.png").write_bytes(b"xx")
    os.utime(tmp_path / "cat" / "1.png", ns=(5, 5))
    assert changed()
    (tmp_path / "cat" / "2.png").rename(tmp_path / "cat" / "9.png")  # the last one still
    assert changed()
    (tmp_path / "cat" / "9.png").unlink()
    assert changed()
    assert stamps[-1]["files"] == 5
    put(tmp_path, "cat/\udcff.png")  # a name that is no UTF-8
    assert changed()


# Classes


def test_a_folder_a_class(tmp_path):
    put(tmp_path, *several("dog", "cat/tabby", "cat", count=20))
    layout = found_in(tmp_path)
    assert layout.classes == ("cat", "dog")
    assert list(layout.splits) == ["train", "test"]
    train, test = paths(layout, "train"), paths(layout, "test")
    assert sorted(train + test) == sorted(several("dog", "cat/tabby", "cat", count=20))
    assert train == sorted(train) and test == sorted(test)
    assert any(path.startswith("cat/tabby/") for path in train)
    for samples in layout.splits.values():
        assert all(layout.classes[label] == path.partition("/")[0] for path, label in samples)
    assert [(remark.text, remark.warning) for remark in layout.remarks] == [
        (f"no test folder: {len(test)} images, a fifth by their names, are held out as test", False)
    ]


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Validation"])
@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "Testing")])
def test_a_folder_a_split(tmp_path, train, val, test):
    folders = [f"{folder}/{name}" for folder in (test, val, train) for name in "ab"]
    layout = found_in(put(tmp_path, *several(*folders)))
    assert layout.classes == ("a", "b")
    assert list(layout.splits) == ["train", "val", "test"]
    for split, folder in (("train", train), ("val", val), ("test", test)):
        assert paths(layout, split) == several(f"{folder}/a", f"{folder}/b")
        assert [label for _, label in layout.splits[split]] == [0, 0, 0, 1, 1, 1]
    assert not layout.remarks


def test_without_a_test_folder_it_comes_out_of_train(tmp_path):
    plain = found_in(put(tmp_path / "plain", *several("a", "b", count=30)))
    alone = found_in(put(tmp_path / "alone", *several("train/a", "train/b", count=30)))
    both = put(tmp_path / "both", *several("train/a", "train/b", count=30), *several("val/a"))
    both = found_in(put(both, *several("val/b")))
    for layout in (alone, both):
        for split in ("train", "test"):
            assert paths(layout, split) == [f"train/{path}" for path in paths(plain, split)]
    assert paths(both, "val") == several("val/a", "val/b")


def test_train_may_be_the_name_of_a_class(tmp_path):
    layout = found_in(put(tmp_path, *several("train", "bus", "plane")))
    assert layout.classes == ("bus", "plane", "train")


def test_what_is_passed_over_is_said(tmp_path):
    put(tmp_path, *several("train/a", "train/b", "test/a"), "test/loose.png", "train/1.png")
    put(tmp_path, "extra/deep/x.png", "extra/y.png", "cover.png", "labels/list.txt", "train/2.png")
    assert [(remark.text, remark.warning) for remark in found_in(tmp_path).remarks] == [
        (f"images in {tmp_path} outside of class folders are passed over (1)", True),
        (f"images in {tmp_path / 'extra'} outside of class folders are passed over (2)", True),
        (f"images in {tmp_path / 'test'} outside of class folders are passed over (1)", True),
        (f"images in {tmp_path / 'train'} outside of class folders are passed over (2)", True),
        ("test has no image of b", True),
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "{root}: holds no image; known are files named .apng"),
        (["a/notes.txt"], "{root}: holds no image"),
        (["1.png", "2.png"], "{root}: has no class folders; put the images of each class"),
        (several("cat"), "{root}: has one class only (cat), .*; add a folder, or name {root}/cat"),
        ([*several("cat", "dog"), "cow/"], "{root}/cow: is a class folder without an image; put"),
        (several("test/a", "val/a"), "{root}: has test but no train folder"),
        (several("train/a", "train/b", "val/a", "valid/a"), "{root}: has val and valid; keep one"),
        ([*several("train", "test")], "{root}/train: has no class folders"),
        (["test/1.png", *several("train/a", "train/b")], "{root}/test: holds no image in a class"),
        ([*several("train/a", "train/b"), "test/"], "{root}/test: holds no image in a"),
        (
            several("train/a", "train/b", "test/a", "test/c"),
            "{root}/test/c: is none of the classes in {root}/train; the classes are a, b",
        ),
        ([*several("train/a", "test/a", "test/b"), "train/b/"], "{root}/train/b: is a class"),
        (["a/1.png", "b/1.png"], "{root}: has one image a class, and none to hold out as test"),
        (several("a", "b\udcff"), "is no UTF-8; rename the folder"),
    ],
)  # fmt: skip
def test_no_layout_is_an_error_that_names_the_folder(tmp_path, files, message):
    put(tmp_path, *files)
    with pytest.raises(BadArgument) as caught:
        found_in(tmp_path)
    text = str(caught.value)
    begin, _, end = message.replace("{root}", str(tmp_path)).partition(".*")
    assert begin in text and end in text
    assert text.startswith("data=")


# Held out


names = st.lists(st.text("abc123 ä\udcff", min_size=1), min_size=2, max_size=40, unique=True)


@settings(max_examples=60, deadline=None)
@given(names, st.data())
def test_an_image_stays_on_its_side_when_others_are_added(files, data):
    whole = held_out(files)
    assert 0 < len(whole) < len(files)
    some = data.draw(st.lists(st.sampled_from(files), min_size=2, unique=True))
    part = held_out(some)
    moved = part ^ (whole & set(some))
    assert len(moved) <= 1  # only to have the class on both sides
    if part & whole and set(some) - part - whole:
        assert not moved


def test_a_fifth_is_held_out_whatever_the_folder_above_is_called():
    files = [f"cat/{n}.png" for n in range(5000)]
    chosen = held_out(files)
    assert 0.18 < len(chosen) / len(files) < 0.22
    assert held_out([f"train/{path}" for path in files], "train") == {
        f"train/{path}" for path in chosen
    }
    assert held_out(["cat/1.png"]) == set()


def test_a_long_list_is_cut():
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(n) for n in range(1006)]) == "0, 1, 2, 3, 4 and 1,001 more"


def test_find_images_in_order(tmp_path):
    for name in ("b/2.JPG", "b/1.png", "a/x.webp", "a/notes.txt", ".hidden/h.png", "a/.h.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "odd.bin").write_bytes(b"")
    found = find_images([tmp_path / "odd.bin", tmp_path, tmp_path / "b" / "1.png"])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "odd.bin", "a/x.webp", "b/1.png", "b/2.JPG", "b/1.png",
    ]  # fmt: skip


def test_find_images_follows_links_once(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_bytes(b"")
    try:
        (tmp_path / "real" / "loop").symlink_to(tmp_path, target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    assert len(find_images([tmp_path])) == 1
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "in").symlink_to(tmp_path / "real", target_is_directory=True)
    assert find_images([tmp_path / "linked"])


def test_find_images_says_what_is_missing(tmp_path):
    with pytest.raises(ImageError, match=r"gone: is not there; check the path"):
        find_images([tmp_path / "gone"])
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ImageError, match=r"holds no image; known are files named \.apng"):
        find_images([tmp_path])
