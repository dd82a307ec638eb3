"""What lies under a folder is read off its names."""

import os
from pathlib import Path

import pytest
from photos import put, several

from convscope.data.scan import find_images, scan, stamp
from convscope.errors import DataError


def test_images_count_by_their_suffix_and_however_deep_they_are(tmp_path):
    put(tmp_path, "b/2.JPG", "b/deep/er/1.jpeg", "a/x.webp", "a/notes.txt", "a/png", "a/empty/")
    put(tmp_path, ".git/h.png", "a/.h.png", "a/.cache/h.png", "__MACOSX/a/x.png", "a/@eaDir/x.png")
    put(tmp_path, "a/Thumbs.db", "desktop.ini", "a/.DS_Store")
    found, folders, others = scan(tmp_path)
    assert [path for path, _, _ in found] == ["a/x.webp", "b/2.JPG", "b/deep/er/1.jpeg"]
    assert folders == ["a", "a/empty", "b", "b/deep", "b/deep/er"]
    assert others == ["a/notes.txt", "a/png"]
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
    found = scan(root).found
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


def test_find_images_in_order(tmp_path):
    for name in ("b/2.JPG", "b/1.png", "a/x.webp", "a/notes.txt", ".hidden/h.png", "a/.h.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "odd.bin").write_bytes(b"")
    found = [one for path in ("odd.bin", "", "b/1.png") for one in find_images(tmp_path / path)]
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
    assert len(list(find_images(tmp_path))) == 1
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "in").symlink_to(tmp_path / "real", target_is_directory=True)
    assert list(find_images(tmp_path / "linked"))


def test_find_images_goes_by_names_whether_files_or_folders(tmp_path):
    put(tmp_path, "b.png", "b/1.png", "a/2.png", "c/x/3.png", "c/4.png", "c.x/5.png")
    assert list(find_images(tmp_path)) == sorted(tmp_path.rglob("*.png"))


def test_find_images_says_what_is_missing(tmp_path, monkeypatch):
    [gone] = find_images(tmp_path / "gone")
    assert str(gone).endswith("gone: is not there; check the path")
    (tmp_path / "a.txt").write_text("")
    [empty] = find_images(tmp_path)
    assert "holds no image; known are files named .apng" in str(empty)
    put(tmp_path, "cat/1.png", "dog/1.png")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "cat":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    locked, one = find_images(tmp_path)
    assert "cat: cannot be read (Permission denied); check its perm" in str(locked)
    assert one == tmp_path / "dog" / "1.png"
