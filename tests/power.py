"""A disk that forgets: what would be left after a power cut, from the fsync calls alone."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path


class Disk:
    """Watches ``os.fsync`` under ``root`` and rebuilds what is certain to survive a power cut.

    A file's content is certain as of its last fsync, a folder's entries as of its last fsync;
    inodes tell which is which through renames. ``drop`` is the number of one fsync call (from 0)
    that is left out. ``at_every_call`` runs before and after each fsync: the moments at which the
    certain state can change.
    """

    def __init__(self, root: Path, drop: int | None = None) -> None:
        self.root, self.drop = root, drop
        self.calls = 0
        self.contents: dict[int, bytes] = {}
        self.entries: dict[int, dict[str, int]] = {}
        self.at_every_call: Callable[[], None] = lambda: None
        self._fsync = os.fsync
        self._learn(os.stat(root), root)

    def fsync(self, handle: int) -> None:
        """Stands in for ``os.fsync``."""
        number, self.calls = self.calls, self.calls + 1
        self.at_every_call()
        if number == self.drop:
            return
        self._fsync(handle)
        self._learn(os.fstat(handle), Path(f"/proc/self/fd/{handle}"))
        self.at_every_call()

    def _learn(self, info: os.stat_result, path: Path) -> None:
        if stat.S_ISDIR(info.st_mode):
            self.entries[info.st_ino] = {e.name: e.inode() for e in os.scandir(path)}
        else:
            self.contents[info.st_ino] = path.read_bytes()

    def after_power_cut(self, target: Path, entries_survive: bool) -> Path:
        """Rebuild the surviving tree in ``target``: unsynced file contents are lost, and unsynced
        folder entries too, or, with ``entries_survive``, those only (a rename that reached the disk
        before its data did)."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        if entries_survive:
            self._copy_now(self.root, target)
        else:
            self._copy_synced(os.stat(self.root).st_ino, target)
        return target

    def _copy_synced(self, folder: int, target: Path) -> None:
        for name, inode in self.entries.get(folder, {}).items():
            if inode in self.contents:
                (target / name).write_bytes(self.contents[inode])
            elif inode in self.entries:
                (target / name).mkdir()
                self._copy_synced(inode, target / name)
            else:  # the entry survived, what it names never reached the disk
                (target / name).write_bytes(b"")

    def _copy_now(self, folder: Path, target: Path) -> None:
        for entry in os.scandir(folder):
            if entry.is_dir():
                (target / entry.name).mkdir()
                self._copy_now(Path(entry.path), target / entry.name)
            else:
                (target / entry.name).write_bytes(self.contents.get(entry.inode(), b""))
