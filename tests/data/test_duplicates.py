"""Images that are there more than once are found, whatever their label, and no others are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.data import duplicates, pack
from convscope.data.columns import image_and_label
from convscope.data.duplicates import firsts, found_in, image_hashes
from convscope.data.pack import open_pack
from convscope.data.pack_writer import Chunk, write_pack, write_stream

CLASSES = ("cat", "dog")


def images(count: int, seed: int = 0, shape=(3, 5, 7)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([(1, 1, 1), (3, 5, 7), (1, 28, 28), (3, 40, 41)]))
def test_one_bit_makes_another_hash_wherever_it_is(seed, shape):
    random = np.random.default_rng(seed)
    same = np.repeat(images(1, seed, shape), 40, 0)
    flat = same.reshape(40, -1)
    places = random.permutation(8 * flat.shape[1])[:39]  # image 0 stays as it is
    flat[np.arange(1, len(places) + 1), places // 8] ^= (1 << places % 8).astype(np.uint8)
    hashes = image_hashes(same[: len(places) + 1])
    assert len(np.unique(hashes)) == len(hashes)
    assert image_hashes(same[:1]) == hashes[0]


def test_a_hash_is_of_the_pixels_alone_and_whatever_stands_beside_them(monkeypatch):
    many = images(300)
    whole = image_hashes(many)
    monkeypatch.setattr(duplicates, "_PIECE", 1000)
    assert np.array_equal(image_hashes(many), whole)
    assert np.array_equal(image_hashes(many[::-1]), whole[::-1])
    assert len(image_hashes(many[:0])) == 0
    low, high = whole & 0xFFFFFFFF, whole >> 32
    assert len(np.unique(low)) == len(np.unique(high)) == 300  # either half alone tells most


def test_the_first_of_each_kind():
    assert firsts(np.array([5, 9, 5, 5, 9, 1], np.uint64)).tolist() == [0, 1, 0, 0, 1, 5]
    assert firsts(np.array([5, 9, 1], np.uint64)).tolist() == [0, 1, 2]


def packed(folder, *, val: bool = True):
    """20 training images, 6 of validation and 10 test images, some of them others' copies."""
    train, held, test = images(20), images(6, 1), images(10, 2)
    labels = {"train": np.arange(20) % 2, "val": np.arange(6) % 2, "test": np.arange(10) % 2}
    held[3] = train[5]
    test[0], test[7], test[8] = train[4], train[4], held[0]  # 7 under another label
    test[9] = test[2]  # twice, under another label
    train[11] = train[10]  # alone in its split, under another label
    splits = {"train": (train, labels["train"]), "test": (test, labels["test"])}
    if val:
        splits["val"] = (held, labels["val"])
    return write_pack(folder, "pets", CLASSES, splits, "a test")


def test_each_kind_is_counted(tmp_path):
    found = found_in(packed(tmp_path / "pets"))
    assert (found.test_in_train, found.val_in_train, found.test_repeated) == (3, 1, 1)
    assert found.two_labels == 3 + 2 + 2  # train 4 and its copies, test 2 and 9, train 10 and 11
    assert found.leaked.nonzero()[0].tolist() == [0, 7, 8]
    assert found.examples["test_in_train"] == [
        ("test image 0", "train image 4"),
        ("test image 7", "train image 4"),
        ("test image 8", "val image 0"),
    ]
    without = found_in(packed(tmp_path / "two", val=False))
    assert (without.test_in_train, without.val_in_train) == (2, 0)


def test_accuracy_without_them(tmp_path):
    found = found_in(packed(tmp_path / "pets"))
    right = np.array([1, 1, 0, 1, 1, 1, 1, 1, 1, 0], bool)
    told = found.as_json(right)
    assert (told["n_without"], told["accuracy_without"]) == (7, pytest.approx(5 / 7))
    assert (
        told["test_in_train"] == 3
        and ["val image 3", "train image 5"] in (told["examples"]["val_in_train"])
    )
    train = images(4), np.arange(4) % 2
    every = found_in(write_pack(tmp_path / "e", "e", CLASSES, {"train": train, "test": train}, "x"))
    assert every.as_json(np.ones(4, bool))["accuracy_without"] is None


def test_one_notice_says_how_many_and_names_some(tmp_path):
    notice = found_in(packed(tmp_path / "pets")).notice("pets")
    assert notice.warning
    assert notice.text == (
        "pets: identical pixel for pixel at 5 x 7: test images that are training images, too: 3 of "
        "10 (30 %), such as test image 0 = train image 4, test image 7 = train image 4, test image "
        "8 = val image 0; validation images that are training images, too: 1, such as val image 3 "
        "= train image 5; test images that repeat another one: 1 of 10 (10 %), such as test image "
        "9 = test image 2; images under two labels, of which one at most is right: 7, such as "
        "train image 11 = train image 10, test image 7 = train image 4, test image 9 = test image "
        "2; the accuracy without them is given beside the other: delete one of each pair"
    )


def test_one_in_a_thousand_is_said_without_alarm(tmp_path):
    train, test = (images(n, n, (1, 4, 4)) for n in (50, 2000))
    labels = np.zeros(2000, int)
    test[:2] = train[:2]
    splits = {"train": (train, labels[:50]), "test": (test, labels)}
    few = found_in(write_pack(tmp_path / "few", "few", CLASSES, splits, "x")).notice("few")
    assert not few.warning and ": 2 of 2,000 (0.1 %)," in few.text
    test[2] = train[2]
    more = found_in(write_pack(tmp_path / "more", "more", CLASSES, splits, "x")).notice("more")
    assert more.warning and ": 3 of 2,000 (0.15 %)," in more.text
    test[:3] = images(3, 7, (1, 4, 4))
    assert found_in(write_pack(tmp_path / "no", "no", CLASSES, splits, "x")).notice("no") is None


def test_hashes_are_kept_and_pixels_not_read_again(tmp_path, monkeypatch):
    made = packed(tmp_path / "pets")
    assert all(np.array_equal(s.hashes, image_hashes(s.images)) for s in made.splits.values())
    monkeypatch.setattr(pack, "input_hashes", None)  # would fail if it were asked for
    again = open_pack(made.folder)
    assert again.digest == made.digest and found_in(again).test_in_train == 3

    def chunks():
        values = {"image": images(4), "label": np.arange(4) % 2}
        yield Chunk(values, (), (), np.arange(4, dtype=np.uint64))

    about = {"source": "x"}
    columns = image_and_label((3, 5, 7), CLASSES)
    given = write_stream(tmp_path / "s", "s", columns, {"train": chunks()}, {"train": 4}, about)
    assert given.splits["train"].hashes.tolist() == [0, 1, 2, 3]


def test_a_pack_from_before_they_were_kept_has_them_computed(tmp_path):
    made = packed(tmp_path / "pets")
    meta = pack.read_meta(made.folder)
    for described in meta["splits"].values():
        del described["hashes"]
    pack.files.write_json(made.folder / "meta.json", meta)
    old = open_pack(made.folder)
    assert old.digest == made.digest and found_in(old).test_in_train == 3
