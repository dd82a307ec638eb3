"""Writes that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock
from power import Disk

from convscope import files
from convscope.errors import ConvscopeError, RunError


def save_twice(root: Path, disk: Disk, cut: Path) -> None:
    """Write a file, then write it anew; at every moment one of the two is on the disk, whole."""
    allowed = {None}

    def check() -> None:
        for entries_survive in (False, True):
            left = disk.after_power_cut(cut, entries_survive) / "deep" / "kept.json"
            found = left.read_text() if left.exists() else None
            assert found in allowed, f"lost: {found!r} is none of {allowed}"

    disk.at_every_call = check
    for text in ("first", "second"):
        allowed.add(text)
        files.write_whole(root / "deep" / "kept.json", text)
        allowed.clear()
        allowed.add(text)
        check()


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "root").mkdir()
    return tmp_path / "root", tmp_path / "cut"


def test_a_power_cut_loses_no_file_that_was_written(places, monkeypatch):
    root, cut = places
    disk = Disk(root)
    monkeypatch.setattr(os, "fsync", disk.fsync)
    save_twice(root, disk, cut)
    assert disk.calls == 5  # the folder's entry; then file and folder, twice


@pytest.mark.parametrize("dropped", range(5))
def test_every_fsync_of_a_file_is_needed(places, monkeypatch, dropped):
    root, cut = places
    disk = Disk(root, drop=dropped)
    monkeypatch.setattr(os, "fsync", disk.fsync)
    with pytest.raises(AssertionError, match="lost"):
        save_twice(root, disk, cut)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "kept.txt"
    files.write_whole(path, "old")
    with pytest.raises(ValueError), files.whole_file(path) as file:
        file.write(b"half")
        raise ValueError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


def test_a_full_disk_is_named_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "kept.txt"
    files.write_whole(path, "old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        ConvscopeError, match=r"kept.txt: no room left on the disk; nothing was over"
    ):
        files.write_whole(path, "new")
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_really_full_disk(tmp_path):
    """/dev/full refuses every write, as a full disk does."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(ConvscopeError, match="no room left"), files.explained(tmp_path / "x"):
        Path("/dev/full").write_bytes(b"x" * 10)


def test_a_file_that_may_not_grow_is_named_and_leaves_the_old_one(tmp_path):
    resource = pytest.importorskip("resource", reason="this system has no such limits")
    path = tmp_path / "kept.txt"
    files.write_whole(path, "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(
            ConvscopeError, match=r"kept.txt: larger than a file may be here .ulimi"
        ):
            files.write_whole(path, "x" * 101)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_place_without_room_for_folders_is_named():
    if not Path("/proc/self").exists():
        pytest.skip("needs Linux, where /proc takes no folder")
    with pytest.raises(ConvscopeError, match=r"/proc/a/b: cannot be written .*choose a folder of"):
        files.write_whole(Path("/proc/a/b"), "x")


def test_what_cannot_be_kept_is_said_once_a_cache(tmp_path, monkeypatch):
    said = []
    for name in ("one", "one", "two"):
        (tmp_path / name).write_text("no folder")
        monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / name))
        said.append(files.keep(files.cache_root() / "kept.json", 3))
    assert "cannot be written" in said[0] and said[1] == "" and "two" in said[2]
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / "three"))
    assert files.keep(files.cache_root() / "kept.json", 3) == ""
    assert (tmp_path / "three" / "kept.json").read_text() == "3\n"


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.whole_folder(tmp_path / "new") as folder:
        (folder / "a").write_text("half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with files.whole_folder(tmp_path / "new") as folder:
        (folder / "a").write_text("whole")
        assert not (tmp_path / "new").exists()
    assert (tmp_path / "new" / "a").read_text() == "whole"


def test_a_folder_that_another_process_made_meanwhile_stays(tmp_path):
    with files.whole_folder(tmp_path / "new") as folder:
        (folder / "a").write_text("ours")
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "a").write_text("theirs")
    assert (tmp_path / "new" / "a").read_text() == "theirs"
    assert [p.name for p in tmp_path.iterdir()] == ["new"]


def test_new_files_have_the_permissions_of_new_files(tmp_path):
    files.write_whole(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_a_killed_process_left_is_cleared(tmp_path):
    (tmp_path / ".tmp-a").write_text("half")
    (tmp_path / ".tmp-folder").mkdir()
    (tmp_path / "kept").write_text("whole")
    files.clear_unfinished(tmp_path, older_than=60)
    assert len(list(tmp_path.iterdir())) == 3  # another process may be at work on them
    files.clear_unfinished(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


def test_json_says_what_is_wrong_with_it(tmp_path):
    with pytest.raises(RunError, match="gone.json: is not there"):
        files.read_json(tmp_path / "gone.json", RunError)
    (tmp_path / "cut.json").write_text('{"a": ')
    with pytest.raises(RunError, match=r"cut.json: is damaged .* restore it"):
        files.read_json(tmp_path / "cut.json", RunError)
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "nan.json", float("nan"))


@pytest.mark.parametrize("why", [NotImplementedError(), OSError(errno.ENOLCK, "none")])
def test_a_drive_without_locks_holds_none(tmp_path, monkeypatch, why):
    def refused(*_: object, **__: object) -> None:
        raise why

    monkeypatch.setattr(FileLock, "acquire", refused)
    with files.locked(tmp_path / "new" / "a.lock") as held:
        assert not held


def test_who_waits_for_a_lock_is_told_once(tmp_path):
    told: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        with files.locked(tmp_path / "lock") as held:
            assert held
            waiting = pool.submit(_taken, tmp_path / "lock", told)
            while not told:
                time.sleep(0.01)
            assert not waiting.done()
        assert waiting.result(timeout=20) is True and told == [1]


def _taken(path: Path, told: list[int]) -> bool:
    with files.locked(path, lambda: told.append(1)) as held:
        return held


def test_a_lock_that_cannot_be_written_says_so(tmp_path, monkeypatch):
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "not allowed")

    monkeypatch.setattr(FileLock, "acquire", refused)
    with pytest.raises(ConvscopeError, match="a.lock"), files.locked(tmp_path / "a.lock"):
        raise AssertionError
