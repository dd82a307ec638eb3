"""A pack is made once, by one process, in little memory, where there is room."""

import io
import threading
from pathlib import Path

import pytest
from listening import notices
from photos import image_file, left_in_cache, opened, photos
from quick import python

from convscope import files
from convscope.data import folder as folders
from convscope.data.pack import verify
from convscope.data.sources import open_data
from convscope.errors import DataError
from convscope.events import Progress

pytestmark = pytest.mark.usefixtures("own_cache")

LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from convscope.data import folder, pack, resample, sources

resample.available()  # what a compiler takes does not grow with the images

def held():
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmData"].split()[0]) * 1024

limit = held() + 60_000_000
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
images = sources.open_data(Path(sys.argv[1])).splits["train"].images
order = np.random.default_rng(0).permutation(len(images))
total = sum(int(images[np.sort(batch)].sum()) for batch in np.array_split(order, 20))
try:
    np.array(images)
except MemoryError:
    print(len(images), images.nbytes, total)
"""


def test_packed_and_read_in_less_memory_than_it_has(tmp_path):
    """RLIMIT_DATA bounds what a process writes into memory of its own; the pack is mapped."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs Linux, where the limit is kept and the use can be read")
    root = photos(tmp_path / "photos", ("a", "b"), 0)
    contents = [image_file(n, (224, 224), form="JPEG") for n in range(4)]
    for n in range(1200):
        (root / "ab"[n % 2] / f"{n}.jpg").write_bytes(contents[n % 4])
    out, errors = python(LIMITED, root).communicate(timeout=120)
    assert errors == ""
    count, size, total = map(int, out.split())
    assert size == count * 3 * 224 * 224 > 130_000_000
    images = open_data(root).splits["train"].images
    assert total == sum(int(image.sum()) for image in images)


def test_a_full_disk_is_refused_before_it_is_filled(tmp_path, own_cache, monkeypatch):
    root = photos(tmp_path / "photos")
    room = 0

    def usage(path):
        assert path == own_cache / "packs"
        return (10**9, 10**9 - room, room)

    monkeypatch.setattr(folders.cache.shutil, "disk_usage", lambda path: Usage(*usage(path)))
    room = 5_000_000
    with pytest.raises(DataError) as caught:
        open_data(root, size=(1000, 1000))
    assert str(caught.value) == (
        f"photos: its pack of 24 images needs 72 MB, and {own_cache / 'packs'} has 5 MB free; "
        "set CONVSCOPE_CACHE to a folder with more room, or take smaller images (--image-size)"
    )
    assert not list((own_cache / "packs").iterdir())
    room = 73_000_000
    pack, _ = opened(root, size=(1000, 1000))
    room = 5_000_000  # the old pack makes way
    (root / "cat" / "000.png").write_bytes(image_file(555))
    assert opened(root, size=(1000, 1000))[0].fingerprint != pack.fingerprint


def test_so_is_one_that_a_table_would_fill(tmp_path, own_cache, monkeypatch):
    photos(tmp_path / "photos", ("a",), 3)
    lines = ["file,label", *(f"photos/a/00{n}.png,{'ab'[n % 2]}" for n in range(3))]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    monkeypatch.setattr(folders.cache.shutil, "disk_usage", lambda path: Usage(9, 9, 5_000_000))
    with pytest.raises(DataError, match=r"list: its pack of 3 rows needs 9 MB, and .* has 5 MB"):
        open_data(tmp_path / "list.csv", size=(1000, 1000))
    assert not list((own_cache / "packs").iterdir())


class Usage:
    """What ``shutil.disk_usage`` gives."""

    def __init__(self, total, used, free):
        self.total, self.used, self.free = total, used, free


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(tmp_path, own_cache, monkeypatch):
    root = photos(tmp_path / "photos")
    real, threads = Path.open, threading.active_count()

    class Full(io.FileIO):
        def write(self, content):
            if self.tell() + memoryview(content).nbytes > 10_000:
                raise OSError(28, "No space left on device")
            return super().write(content)

    def full(path, mode="r", *rest, **named):
        if path.name == "train-image.npy" and "w" in mode:
            return Full(path, "w")
        return real(path, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(DataError) as caught:
        open_data(root)
    assert f"the cache {own_cache} cannot take the data" in str(caught.value)
    assert "no room left on the disk" in str(caught.value)
    assert "set CONVSCOPE_CACHE to a folder that can" in str(caught.value)
    assert not list((own_cache / "packs").iterdir())
    assert threading.active_count() == threads


def test_two_at_once_one_packs_and_the_other_waits(tmp_path):
    root = photos(tmp_path / "photos", count=30)
    begun, waiting = threading.Event(), threading.Event()
    said: dict[str, list] = {"first": [], "second": []}
    packs = {}

    def first(event):
        said["first"].append(event)
        if isinstance(event, Progress) and event.stage == "read photos":
            begun.set()
            assert waiting.wait(20)

    def second(event):
        said["second"].append(event)
        waiting.set()

    def work(name, emit):
        packs[name] = open_data(root, emit)

    one = threading.Thread(target=work, args=("first", first))
    one.start()
    assert begun.wait(20)
    two = threading.Thread(target=work, args=("second", second))
    two.start()
    one.join(20)
    two.join(20)
    assert notices(said["second"]) == [
        "photos: another process is packing it; waiting for that one"
    ]
    assert "photos: packed into" in notices(said["first"])[-1]
    assert packs["first"].digest == packs["second"].digest


SLOW = """
import sys, time
from pathlib import Path
from convscope.data.sources import open_data
from convscope.events import Progress

def emit(event):
    if isinstance(event, Progress) and event.stage.startswith("read"):
        print("reading", flush=True)
        time.sleep(600)

open_data(Path(sys.argv[1]), emit)
"""


def test_another_process_that_dies_is_not_waited_for_and_cleared_up_after(tmp_path, own_cache):
    root = photos(tmp_path / "photos", count=30)
    other = python(SLOW, root)
    assert other.stdout.readline() == "reading\n"
    events: list = []

    def emit(event):
        events.append(event)
        if len(events) == 1:
            assert len(left_in_cache(own_cache)) == 1  # what the other one is writing
            other.kill()

    pack = open_data(root, emit)
    other.communicate()
    assert notices(events)[0] == "photos: another process is packing it; waiting for that one"
    assert "packed into" in notices(events)[-1]
    assert not left_in_cache(own_cache)
    verify(pack.folder)


def test_a_drive_without_locks_is_used_all_the_same(tmp_path, own_cache, monkeypatch):
    def none(lock, **named):
        raise NotImplementedError("no locks here")

    monkeypatch.setattr(files.FileLock, "acquire", none)
    theirs = own_cache / "packs" / ".tmp-another-abcdefgh"
    theirs.mkdir(parents=True)
    pack, _ = opened(photos(tmp_path / "photos"))
    verify(pack.folder)
    assert theirs.is_dir()


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    root = photos(tmp_path / "photos")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"the cache .*file cannot take .* set CONVSCOPE_CACHE to"):
        open_data(root)
