"""A folder of images becomes a pack once, by all cores, in little memory, whole or not at all."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from listening import notices, warnings_in
from photos import image_file, left_in_cache, opened, photos
from PIL import Image

from convscope import files, machine
from convscope.data import folder as folders
from convscope.data import resample
from convscope.data import table as tables
from convscope.data.decode import decode
from convscope.data.folder import FolderSource
from convscope.data.pack import read_meta, verify
from convscope.data.pack_writer import fingerprint
from convscope.data.sources import open_data
from convscope.errors import BadArgument, ConvscopeError, DataError
from convscope.events import Progress

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures("own_cache")


# Pixels


def test_every_image_is_what_decode_makes_of_it(tmp_path):
    root = photos(tmp_path / "photos", count=20)
    (root / "cow" / "deep").mkdir()
    (root / "cow" / "deep" / "x.jpeg").write_bytes(image_file(7, (50, 60), form="JPEG"))
    (root / "dog" / "grey.png").write_bytes(image_file(8, (9, 70), "L"))
    pack, events = opened(root, size=(20, 30), fit="crop")
    assert (pack.name, pack.classes, pack.fit) == ("photos", ("cat", "cow", "dog"), "crop")
    seen = []
    for split in pack.splits.values():
        assert len(split) == len(split.files) == len(split.images)
        assert list(split.files) == sorted(split.files)
        seen += split.files
        for image, label, file in zip(split.images, split.labels, split.files, strict=True):
            expected = decode(root / file, channels=3, size=(20, 30), fit="crop")
            assert np.array_equal(image, expected), file
            assert pack.classes[label] == file.partition("/")[0]
    there = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    assert sorted(seen) == sorted(there)
    verify(pack.folder)
    arrays = {name: (split.images, split.labels) for name, split in pack.splits.items()}
    assert pack.fingerprint == fingerprint(arrays)
    assert not warnings_in(events)
    for stage in ("look at photos", "read photos"):
        steps = [e for e in events if isinstance(e, Progress) and e.stage == stage]
        assert [(e.done, e.total, e.unit) for e in steps][-1] == (62, 62, "images")
        assert [e.done for e in steps] == sorted(e.done for e in steps)


def test_more_images_than_are_written_at_once(tmp_path, monkeypatch):
    root = photos(tmp_path / "photos", count=15, mode="L")
    whole, _ = opened(root)
    for images_at_once in (1, 7):
        monkeypatch.setattr(folders, "CHUNK", images_at_once * 16 * 24)
        monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / f"cache-{images_at_once}"))
        pieces, _ = opened(root)
        assert (pieces.digest, pieces.fingerprint) == (whole.digest, whole.fingerprint)
        assert pieces.splits["train"].files == whole.splits["train"].files


@pytest.mark.skipif(not resample.available(), reason="no kernels on this machine")
def test_the_pack_is_the_same_with_the_compiled_resize(tmp_path, monkeypatch):
    root = photos(tmp_path / "photos", size=(50, 40))
    plain, _ = opened(root, size=(16, 16))
    used: list[tuple[int, int]] = []

    def resized(image, size):
        used.append(image.size)
        return real(image, size)

    real = resample.resized
    monkeypatch.setattr(resample, "resized", resized)
    for many, expected in ((24, 24), (25, 0)):
        used.clear()
        monkeypatch.setattr(folders, "MANY", many)
        monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / f"cache-{many}"))
        assert opened(root, size=(16, 16))[0].digest == plain.digest
        assert len(used) == expected


def test_the_order_is_that_of_the_names_whoever_is_decoded_first(tmp_path, monkeypatch):
    root = photos(tmp_path / "photos")
    decoded = folders._Reader._decoded
    turn = threading.Event()

    def slow_first(job, sample):
        if sample.path == first:
            assert turn.wait(10)
        result = decoded(job, sample)
        if sample.path == fourth:
            turn.set()
        return result

    whole, _ = opened(root)
    first, _, _, fourth, *_ = whole.splits["train"].files
    monkeypatch.setattr(folders._Reader, "_decoded", slow_first)
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr(folders, "GROUP", 1)  # the fourth image is another thread's
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / "again"))
    assert opened(root)[0].digest == whole.digest


def test_no_more_is_worked_on_than_may_wait():
    begun: list[int] = []

    def work(number):
        begun.append(number)
        return number * number

    with ThreadPoolExecutor(2) as pool:
        for done, result in enumerate(folders.in_order(pool, work, range(40), 5)):
            assert result == done * done
            time.sleep(0.001)  # for whatever was asked for to begin
            assert len(begun) <= done + 5
    assert done == 39


# Size and channels


@pytest.mark.parametrize(
    ("sizes", "expected", "why"),
    [
        ([(24, 16)] * 3, (16, 24), "their own"),
        ([(24, 16), (30, 10), (20, 60)], (16, 24), "their median"),
        ([(224, 224)] * 3, (224, 224), "their own"),
        ([(500, 375)] * 3, (168, 224), "their own, 375 x 500, at most 224 a side"),
        ([(100, 400), (300, 200), (300, 300)], (224, 224), "their median, 300 x 300, at most 224"),
        ([(1000, 1)] * 3, (1, 224), "their own, 1 x 1000, at most 224"),
    ],
)
def test_the_size_is_that_of_the_images_within_a_bound(tmp_path, sizes, expected, why):
    root = tmp_path / "photos"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for n, size in enumerate(sizes):
            (root / name / f"{n}.png").write_bytes(image_file(n, size))
    pack, events = opened(root)
    assert pack.image_size == expected
    height, width = expected
    text = f"6 images of 2 classes, each brought to {height} x {width} (height, width; {why}"
    assert text in notices(events)[1]


def test_an_image_that_lies_on_its_side_counts_upright(tmp_path):
    root = photos(tmp_path / "photos", ("a", "b"), 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in (root / "a" / "1.jpg", root / "b" / "1.jpg", root / "b" / "2.jpg"):
        path.write_bytes(image_file(0, (24, 16), form="JPEG", exif=exif))
    assert opened(root)[0].image_size == (24, 16)


def test_grey_if_all_are(tmp_path):
    grey = photos(tmp_path / "grey", mode="L")
    pack, events = opened(grey)
    assert pack.channels == 1
    assert notices(events)[1].endswith("grey")
    assert opened(grey, channels=3)[0].channels == 3
    (grey / "cat" / "003.png").write_bytes(image_file())
    pack, events = opened(grey)
    assert pack.channels == 3
    assert any(text.endswith("in colour") for text in notices(events))


def test_no_more_heads_are_read_than_tell_the_channels(tmp_path, monkeypatch):
    root = photos(tmp_path / "photos", ("a", "b"), 100, mode="L", size=(4, 4))
    for path in sorted((root / "b").iterdir())[50:]:
        path.write_bytes(image_file(size=(4, 4)))
    seen: list[str] = []
    real = folders._look

    def look(root, sample):
        seen.append(sample.path)
        return real(root, sample)

    monkeypatch.setattr(folders, "_look", look)
    monkeypatch.setattr(folders, "LOOKS", 2)
    pack, events = opened(root, size=(4, 4))
    assert pack.channels == 3
    assert 0 < len(seen) < 200
    (*_, last) = [e for e in events if isinstance(e, Progress) and e.stage == "look at photos"]
    assert (last.done, last.total) == (200, 200)  # the bar is taken away
    seen.clear()
    opened(root)
    assert len(seen) == 200


def test_what_is_asked_for_has_a_pack_of_its_own(tmp_path):
    root = photos(tmp_path / "photos")
    plain, events = opened(root, size=(8, 8), channels=1)
    assert plain.image_size == (8, 8) and plain.channels == 1
    assert "8 x 8 (height, width; as asked), grey" in notices(events)[1]
    assert not [e for e in events if isinstance(e, Progress) and "look" in e.stage]  # no need to
    options = ({}, {"size": (8, 8)}, {"channels": 1}, {"fit": "crop"}, {"size": (8, 9)})
    places = [opened(root, **option)[0].folder for option in options]
    assert len({plain.folder, *places}) == 6
    assert opened(root, size=[8, 8])[0].folder == places[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (0, 8)}, r"size=\(0, 8\): must be \(height, width\)"),
        ({"size": (10**5, 10**5)}, r"size=\(100000, 100000\): would be .* 30.00 GB; at most "),
        ({"channels": 4}, "channels=4: must be 1"),
        ({"fit": "padd"}, "fit=padd: .*did you mean pad"),
    ],
)
def test_options_that_make_no_sense(tmp_path, own_cache, options, message):
    with pytest.raises(BadArgument, match=message):
        open_data(photos(tmp_path / "photos"), **options)
    assert not own_cache.exists()


# Names


def test_odd_names(tmp_path, own_cache):
    root = tmp_path / "my photos \udcff" / ".tmp-new: größe"
    photos(root, ("cat", "ein Hund", "猫"))
    (root / "cat" / 'b\udcff\nc,".png').write_bytes(image_file(99))
    (root / "cat" / "bad\udcff.png").write_bytes(b"no image")
    pack, events = opened(root)
    assert pack.name == "tmp-new_größe"
    assert pack.classes == ("cat", "ein Hund", "猫")
    kept = [*pack.splits["train"].files, *pack.splits["test"].files]
    assert 'cat/b\udcff\nc,".png' in kept
    assert all((root / file).is_file() for file in kept)
    assert "cat/bad\\udcff.png (is no image" in warnings_in(events)[-1]
    assert opened(root)[1] == []
    assert files.clear_unfinished(own_cache / "packs") is None
    assert pack.folder.is_dir()


def test_folders_of_the_same_name_have_packs_of_their_own(tmp_path):
    one, two = photos(tmp_path / "a" / "photos"), photos(tmp_path / "b" / "photos", count=9)
    first, second = opened(one)[0], opened(two)[0]
    assert first.folder != second.folder and first.name == second.name
    assert opened(one)[1] == opened(two)[1] == []


# A second start, and changes


def test_a_second_start_opens_no_image(tmp_path, monkeypatch):
    root = photos(tmp_path / "photos")
    first, _ = opened(root)
    monkeypatch.setattr(folders, "decode", lambda *_, **named: None)
    monkeypatch.setattr(folders, "look", lambda path: pytest.fail("was opened"))
    again, events = opened(root)
    assert (again.digest, events) == (first.digest, [])


def test_a_change_is_noticed(tmp_path, own_cache):
    root = photos(tmp_path / "photos")
    pack, _ = opened(root)

    def change(said: str) -> None:
        nonlocal pack
        before, (pack, events) = pack, opened(root)
        assert "photos: files have changed since they were packed; packing again" in notices(events)
        assert notices(events)[-1].endswith(f"(from {root}); the images are {said} before")
        assert (pack.fingerprint == before.fingerprint) == (said == "the same as")
        assert pack.folder == before.folder
        assert opened(root)[1] == []
        assert not left_in_cache(own_cache)

    path = root / "dog" / "005.png"
    os.utime(path, ns=(1, 1))
    change("the same as")
    path.write_bytes(image_file(555))
    change("others than")
    (root / "dog" / "900.png").write_bytes(image_file(900))
    change("others than")
    path.unlink()
    change("others than")
    (root / "dog" / "900.png").rename(root / "cat" / "900.png")
    change("others than")


def test_an_opened_pack_outlives_the_change(tmp_path):
    root = photos(tmp_path / "photos")
    old, _ = opened(root)
    before = old.splits["train"].images[:].copy()
    (root / "cat" / "000.png").write_bytes(image_file(555))
    new, _ = opened(root)
    assert np.array_equal(old.splits["train"].images, before)
    assert old.fingerprint != new.fingerprint


def test_a_change_to_no_layout_keeps_the_old_pack(tmp_path):
    root = photos(tmp_path / "photos")
    pack, _ = opened(root)
    (root / "pig").mkdir()
    (root / "cat" / "000.png").unlink()
    with pytest.raises(BadArgument, match="pig: is a class folder without an image"):
        open_data(root)
    verify(pack.folder)


def test_a_folder_that_has_gone(tmp_path):
    root = photos(tmp_path / "photos")
    first, _ = opened(root)
    root.rename(tmp_path / "elsewhere")
    again, events = opened(root)
    assert again.digest == first.digest
    assert notices(events) == [
        f"photos: {root} is not there; its pack {first.folder} is used as it is"
    ]
    with pytest.raises(BadArgument, match="photos: is not a folder that is there; check the path"):
        open_data(root, size=(9, 9))
    root.write_bytes(b"")
    with pytest.raises(BadArgument, match="photos: is no folder; name the folder that holds"):
        open_data(root, size=(9, 9))


# Images that cannot be read


def test_what_cannot_be_read_is_left_out_with_one_warning(tmp_path):
    root = photos(tmp_path / "photos", count=10)
    whole, _ = opened(root)
    good = image_file(5, (40, 40), form="JPEG")
    for name, content in {
        "cat/a.png": b"",
        "cat/b.jpg": good[: len(good) // 2],
        "cow/c.gif": b"no image",
        "dog/d.png": image_file()[:-30],
        "dog/zz.png": b"x",
    }.items():
        (root / name).write_bytes(content)
    pack, events = opened(root)
    assert (pack.fingerprint, pack.digest) == (whole.fingerprint, whole.digest)
    assert pack.splits["train"].files == whole.splits["train"].files
    verify(pack.folder)
    (text,) = warnings_in(events)
    assert text.startswith("photos: 5 of 35 images cannot be read and are left out: ")
    for part in (
        "cat/a.png (is empty; copy it again",
        "cat/b.jpg (is damaged or cut short",
        f" and 2 more; all are listed in {pack.folder / 'meta.json'}",
    ):
        assert part in text, part
    skipped = json.loads((pack.folder / "meta.json").read_text())["skipped"]
    assert sorted(file for file, _ in skipped) == [
        "cat/a.png", "cat/b.jpg", "cow/c.gif", "dog/d.png", "dog/zz.png",
    ]  # fmt: skip
    assert opened(root)[1] == []


def test_a_class_that_cannot_be_read_is_named(tmp_path, own_cache):
    root = photos(tmp_path / "photos")
    for path in (root / "cow").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        open_data(root)
    text = f"{root}: no train image of cow can be read; the first, cow/00"
    assert str(caught.value).startswith(text)
    assert "is no image, is damaged" in str(caught.value)
    assert not list((own_cache / "packs").iterdir())


def test_a_split_that_cannot_be_read_is_named(tmp_path):
    root = tmp_path / "photos"
    photos(root / "train"), photos(root / "test", count=3)
    (root / "test" / "cat" / "001.png").write_bytes(b"")
    for path in (root / "test" / "cow").iterdir():
        path.write_bytes(b"")
    pack, events = opened(root)
    assert len(pack.splits["test"]) == 5 and len(pack.splits["train"]) == 24
    assert "photos: 4 of 33 images cannot be read" in warnings_in(events)[0]
    for path in (root / "test").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(
        DataError, match="no test image of cat, cow, dog can be read; the first, te"
    ):
        open_data(root)


def test_nothing_that_can_be_read(tmp_path, own_cache):
    root = photos(tmp_path / "photos")
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of its 24 images can be read; the first, .* empty"):
        open_data(root)
    with pytest.raises(DataError, match="no train image of cat, cow, dog can be read"):
        open_data(root, size=(8, 8), channels=3)
    assert not list((own_cache / "packs").iterdir())


# Splits


def test_a_val_folder_is_a_split_of_its_own(tmp_path):
    root = tmp_path / "photos"
    for split, count in (("train", 10), ("valid", 4), ("test", 3)):
        photos(root / split, count=count)
    pack, events = opened(root)
    assert {split: len(part) for split, part in pack.splits.items()} == {
        "train": 30,
        "val": 12,
        "test": 9,
    }
    assert pack.splits["val"].files[0] == "valid/cat/000.png"
    assert not warnings_in(events)


# Memory, room, other processes


def test_ctrl_c_leaves_nothing_half_written_and_no_thread(tmp_path, own_cache):
    root = photos(tmp_path / "photos", count=30)
    threads = threading.active_count()

    def stop(event):
        if isinstance(event, Progress) and event.stage == "read photos" and event.done >= 48:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_data(root, stop)
    assert not list((own_cache / "packs").iterdir())
    assert threading.active_count() == threads
    open_data(root)


def test_a_damaged_pack_is_named_with_its_remedy(tmp_path):
    root = photos(tmp_path / "photos")
    pack, _ = opened(root)
    assert pack.folder == FolderSource(root).place
    images = pack.folder / "train-image.npy"
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(
        ConvscopeError, match=r"has .* bytes, not .* Delete the folder .* made anew"
    ):
        open_data(root)
    assert read_meta(pack.folder)["source"] == str(root)


@pytest.mark.parametrize(
    ("listed", "how"),  # a list does not name what is there more
    [*((False, how) for how in ("another", "gone", "more")), (True, "another"), (True, "gone")],
)
def test_a_folder_that_changes_while_it_is_packed_is_an_error(tmp_path, monkeypatch, listed, how):
    root = photos(tmp_path / "photos", count=4)
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    table = tmp_path / "l.csv"
    table.write_text("\n".join(["file,label", *(f"{f},{f[:3]}" for f in files)]))
    options = {"labels": table} if listed else {}

    def slowly(path, **named):
        if "002" in str(path):
            if how == "gone":
                (root / "cat" / "003.png").unlink(missing_ok=True)
            else:
                place = root / "cat" / ("000.png" if how == "another" else "new.png")
                place.write_bytes(image_file(99))
        return decode(path, **named)

    for room in (folders, tables):
        monkeypatch.setattr(room, "decode", slowly)
    with pytest.raises(DataError, match="changed while they were packed.*start again once nothing"):
        opened(root, **options)
    monkeypatch.undo()
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / "cache"))
    if listed and how == "gone":
        with pytest.raises(DataError, match=r"names cat/003\.png, which is not there"):
            opened(root, **options)
        return
    pack, _ = opened(root, **options)
    there = sum(len(split) for split in pack.splits.values())
    assert there == len(list(root.rglob("*.png")))
