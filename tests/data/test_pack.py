"""A pack gives back what was written, and says where it was damaged."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope import files
from convscope.data import pack_writer
from convscope.data.columns import image_and_label
from convscope.data.pack import Pack, open_pack, read_meta, verify
from convscope.data.pack_writer import (
    Chunk,
    fingerprint,
    record_hashes,
    write_pack,
    write_stream,
)
from convscope.errors import ConvscopeError, DataError

CLASSES = ("cat", "dog", "cow")
COLUMNS = image_and_label((3, 5, 7), CLASSES)


def some_splits(seed=0):
    random = np.random.default_rng(seed)
    return {
        split: (
            random.integers(0, 256, (count, 3, 5, 7), np.uint8),
            random.integers(0, 3, count, np.uint8),
        )
        for split, count in (("train", 11), ("test", 4))
    }


@pytest.fixture
def pack(tmp_path) -> Pack:
    return write_pack(tmp_path / "pets", "pets", CLASSES, some_splits(), "a test")


def test_gives_back_what_was_written(pack):
    opened = open_pack(pack.folder)
    assert (opened.name, opened.classes) == ("pets", CLASSES)
    assert (opened.channels, opened.image_size) == (3, (5, 7))
    for split, (images, labels) in some_splits().items():
        assert np.array_equal(opened.splits[split].images, images)
        assert np.array_equal(opened.splits[split].labels, labels)
        assert opened.splits[split].images.dtype == np.uint8
        assert opened.splits[split].labels.dtype == np.int64
        assert len(opened.splits[split]) == len(labels)


def test_is_memory_mapped_and_writing_never_reaches_the_disk(pack):
    images = pack.splits["train"].images
    assert isinstance(images, np.memmap)
    before = images[0].copy()
    images[0] = 255 - before
    assert np.array_equal(open_pack(pack.folder).splits["train"].images[0], before)


def test_meta_says_what_is_in_it(pack):
    meta = json.loads((pack.folder / "meta.json").read_text())
    assert meta["source"] == "a test"
    assert meta["fingerprint"] == pack.fingerprint == fingerprint(some_splits())
    assert meta["splits"]["test"]["image"]["shape"] == [4, 3, 5, 7]
    assert meta["splits"]["train"]["label"]["sha256"] == files.sha256(
        pack.folder / "train-label.npy"
    )


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(11)))
def test_fingerprint_does_not_see_the_order(order):
    splits = some_splits()
    images, labels = splits["train"]
    shuffled = {**splits, "train": (images[order], labels[order])}
    assert fingerprint(shuffled) == fingerprint(splits)


def test_fingerprint_sees_everything_else():
    splits = some_splits()
    images, labels = splits["train"]
    one_pixel, one_label = images.copy(), labels.copy()
    one_pixel[3, 1, 2, 4] ^= 1
    one_label[3] = (one_label[3] + 1) % 3
    others = [
        {**splits, "train": (one_pixel, labels)},
        {**splits, "train": (images, one_label)},
        {**splits, "train": (images[:-1], labels[:-1])},
        {**splits, "train": (images.reshape(11, 3, 7, 5), labels)},
        {"train": splits["test"], "test": splits["train"]},
        {"val": splits["train"], "test": splits["test"]},
        {"train": splits["train"]},
    ]
    assert len({fingerprint(splits), *map(fingerprint, others)}) == 8


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 3, 4, 4), np.float32), [0, 1], r"images are float32 \[2, 3, 4, 4\], must be"),
        (np.zeros((2, 4, 4), np.uint8), [0, 1], r"images are uint8 \[2, 4, 4\], must be"),
        (np.zeros((0, 1, 4, 4), np.uint8), [], "none of them 0"),
        (np.zeros((2, 1, 4, 4), np.uint8), [0], "has 2 of image, 1 of label, must have as many"),
        (np.zeros((2, 1, 4, 4), np.uint8), [0.0, 1.0], "labels are float64"),
        (np.zeros((2, 1, 4, 4), np.uint8), [0, 3], r"label 3 of image 1 is outside 0\.\.2"),
        (np.zeros((2, 1, 4, 4), np.uint8), [-1, 0], r"label -1 of image 0 is outside 0\.\.2"),
    ],
)
def test_refuses_arrays_that_are_no_data_set(tmp_path, images, labels, message):
    with pytest.raises(DataError, match=message) as caught:
        write_pack(tmp_path / "p", "pets", CLASSES, {"train": (images, np.array(labels))}, "here")
    assert str(caught.value).startswith("pets (here): train: ")
    assert not list(tmp_path.iterdir())


def test_refuses_splits_of_different_shapes_and_unknown_names(tmp_path):
    small, large = np.zeros((1, 1, 2, 2), np.uint8), np.zeros((1, 1, 3, 3), np.uint8)
    label = np.array([0])
    with pytest.raises(DataError, match="must be .*: records of one shape in all splits"):
        write_pack(tmp_path, "p", CLASSES, {"train": (small, label), "test": (large, label)}, "")
    with pytest.raises(DataError, match=r"\.\./up: must be one of train, val, test"):
        write_pack(tmp_path, "p", CLASSES, {"../up": (small, label)}, "")


def chunks(images, labels, length, names=()):
    """A split in pieces; each one is overwritten once it was taken."""
    for start in range(0, len(labels), length):
        part = slice(start, start + length)
        piece = images[part].copy()
        yield Chunk({"image": piece, "label": labels[part]}, names[part])
        piece[:] = 7


def streamed(folder: Path, expected: int, length: int, name="") -> Pack:
    """The same pack in pieces, of which ``expected`` images were expected to train on."""
    streams, counts = {}, {}
    for split, (images, labels) in some_splits().items():
        names = [f"{split}/{n}{name}.png" for n in range(len(labels))] if name else ()
        streams[split] = chunks(images, labels, length, names)
        counts[split] = len(labels)
    counts["train"] = expected
    about = {"source": "a test", "read_from": {}}
    return write_stream(folder, "pets", COLUMNS, streams, counts, about)


@pytest.mark.parametrize("length", [1, 4, 11, 50])
@pytest.mark.parametrize("expected", [11, 12, 100_000])
def test_written_piece_by_piece_it_is_the_same_to_the_byte(pack, tmp_path, expected, length):
    other = streamed(tmp_path / "other", expected, length)
    assert (other.fingerprint, other.digest) == (pack.fingerprint, pack.digest)
    files_of = {path.name: path.read_bytes() for path in pack.folder.iterdir()}
    assert files_of == {path.name: path.read_bytes() for path in other.folder.iterdir()}
    verify(other.folder)


def test_what_is_said_about_a_pack_is_looked_at_last(tmp_path):
    left_out: list[str] = []

    def pieces():
        yield Chunk({"image": np.zeros((1, 1, 2, 2), np.uint8), "label": np.array([0])})
        left_out.append("a.png")

    columns, counts = image_and_label((1, 2, 2), CLASSES, "crop"), {"train": 2}
    about, stream = {"skipped": left_out}, {"train": pieces()}
    made = write_stream(tmp_path / "p", "pets", columns, stream, counts, about)
    assert read_meta(made.folder)["skipped"] == ["a.png"]
    assert made.fit == "crop"
    assert len(made.splits["train"]) == 1


def test_hashes_that_come_with_a_chunk_are_not_made_again(tmp_path, monkeypatch):
    images, labels = some_splits()["train"]
    hashes = list(record_hashes(COLUMNS, {"image": images, "label": labels}))
    monkeypatch.setattr(pack_writer, "record_hashes", lambda *_: pytest.fail("made again"))
    some = ({"image": images[part], "label": labels[part]} for part in (slice(4), slice(4, None)))
    stream = {"train": [Chunk(next(some), (), hashes[:4]), Chunk(next(some), (), hashes[4:])]}
    made = write_stream(tmp_path / "p", "pets", COLUMNS, stream, {"train": 11}, {})
    monkeypatch.undo()
    assert made.fingerprint == fingerprint({"train": (images, labels)})


def test_a_source_that_breaks_off_leaves_nothing(tmp_path):
    def pieces():
        yield Chunk({"image": np.zeros((1, 1, 2, 2), np.uint8), "label": np.array([0])})
        raise DataError("cut")

    columns = image_and_label((1, 2, 2), CLASSES)
    with pytest.raises(DataError, match="cut"):
        write_stream(tmp_path / "p", "p", columns, {"train": pieces()}, {"train": 2}, {})
    assert not list(tmp_path.iterdir())


def test_each_image_keeps_the_name_of_its_file(pack, tmp_path):
    odd = "/ä \n\udcff,\"'"  # a line break, and a byte that is no UTF-8
    named = streamed(tmp_path / "named", 11, 3, odd)
    assert named.splits["test"].files == tuple(f"test/{n}{odd}.png" for n in range(4))
    assert len(named.splits["train"].files) == 11
    assert pack.splits["train"].files is None
    assert (named.fingerprint, named.digest) == (pack.fingerprint, pack.digest)
    verify(named.folder)
    path = named.folder / "test-files.json"
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    with pytest.raises(DataError, match=r"test-files\.json: was changed after it was written"):
        verify(named.folder)
    path.write_bytes(b"[]" + b" " * (path.stat().st_size - 2))
    with pytest.raises(DataError, match=r"test-files\.json: does not name 4 files\. Delete the"):
        _ = open_pack(named.folder).splits["test"].files
    cut(path)
    with pytest.raises(DataError, match=r"test-files\.json: has .* bytes, not"):
        open_pack(named.folder)
    path.unlink()
    with pytest.raises(DataError, match=r"test-files\.json: cannot be read"):
        open_pack(named.folder)


def test_a_pack_larger_than_memory_opens(tmp_path):
    """The system refuses to promise copies of so many pages; the images can be read all the same.

    The file has holes and takes no room on the disk."""
    memory = Path("/proc/meminfo")
    if not memory.exists():
        pytest.skip("needs Linux, which says how much memory there is")
    sizes = dict(line.split(":") for line in memory.read_text().splitlines())
    total = sum(int(sizes[name].split()[0]) * 1024 for name in ("MemTotal", "SwapTotal"))
    small = np.zeros((1, 1, 1000, 1000), np.uint8)
    large = write_pack(tmp_path / "large", "p", CLASSES, {"train": (small, np.array([1]))}, "here")
    count = total // 1_000_000 + 1000
    images, labels = (large.folder / f"train-{part}.npy" for part in ("image", "label"))
    with images.open("rb+") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (count, 1, 1000, 1000)}
        )
        file.truncate(128 + count * 1_000_000)
        file.seek(-1, 2)
        file.write(b"\x09")
    np.save(labels, np.ones(count, np.int64))
    meta = json.loads((large.folder / "meta.json").read_text())
    for path, part in ((images, "image"), (labels, "label")):
        meta["splits"]["train"][part]["shape"][0] = count
        meta["splits"]["train"][part]["bytes"] = path.stat().st_size
    (large.folder / "meta.json").write_text(json.dumps(meta))
    split = open_pack(large.folder).splits["train"]
    assert split.images.nbytes > total
    assert split.images[-1, 0, -1, -1] == 9 and split.images[count // 2].max() == 0


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def rewrite(path: Path, array) -> None:
    np.save(path, array)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("train-image.npy", cut, "has 1,282 bytes, not 1,283"),
        ("train-image.npy", Path.unlink, "cannot be read"),
        ("test-label.npy", cut, "has 159 bytes, not 160"),
        (
            "test-image.npy",
            lambda path: rewrite(path, np.zeros((4, 3, 7, 5), np.uint8)),
            r"holds uint8 \[4, 3, 7, 5\], not uint8 \[4, 3, 5, 7\]",
        ),
        (
            "test-image.npy",
            lambda path: path.write_bytes(b"x" * path.stat().st_size),
            "cannot be read",
        ),
        (
            "test-label.npy",
            lambda path: rewrite(path, np.array([0, 1, 2, 3])),
            r"test: label 3 of image 3 is outside 0\.\.2",
        ),
        ("meta.json", lambda path: path.write_text("{"), "meta.json: is damaged"),
        ("meta.json", Path.unlink, "meta.json: is not there"),
        ("meta.json", lambda path: path.write_text("[]"), "is no pack of format 2"),
        ("meta.json", lambda path: path.write_text('{"format_version": 9}'), "no pack of format 2"),
        ("meta.json", lambda path: path.write_text('{"format_version": 2}'), "is damaged"),
        (
            "meta.json",
            lambda path: path.write_text('{"format_version": 2, "columns": {}, "splits": {}}'),
            "must have a column of images",
        ),
    ],
)
def test_damage_is_named_with_its_remedy(pack, file, damage, message):
    damage(pack.folder / file)
    with pytest.raises(DataError, match=message) as caught:
        open_pack(pack.folder)
    assert str(pack.folder) in str(caught.value)
    assert f"Delete the folder {pack.folder}; it is made anew" in str(caught.value)


def test_verify_finds_a_changed_pixel(pack):
    verify(pack.folder)
    path = pack.folder / "train-image.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    open_pack(pack.folder)
    with pytest.raises(DataError, match=r"train-image\.npy: was changed after it was written"):
        verify(pack.folder)


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "sync_file", full)
    with pytest.raises(ConvscopeError, match="no room left on the disk"):
        write_pack(tmp_path / "pets", "pets", CLASSES, some_splits(), "a test")
    assert not list(tmp_path.iterdir())


def test_a_pack_that_is_there_stays(pack):
    again = write_pack(pack.folder, "pets", CLASSES, some_splits(1), "another")
    assert again.fingerprint == pack.fingerprint
