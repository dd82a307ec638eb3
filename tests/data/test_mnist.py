"""MNIST inside the package: exact, small, whole or refused."""

import hashlib
import runpy
import zlib
from pathlib import Path

import numpy as np
import pytest
from archives import IDX_NAMES, idx, opened, put, small_fashion
from hypothesis import given, settings
from hypothesis import strategies as st
from listening import warnings_in
from quick import ROOT

from convscope.data import mnist, published_source
from convscope.data.pack import verify
from convscope.data.published import PUBLISHED, read_bytes
from convscope.data.sources import locate, open_data
from convscope.errors import DataError


def test_mnist_is_inside_the_package_and_exact():
    pack, events = opened("mnist", download=False)
    assert not warnings_in(events)
    hashes = {
        (split, part): hashlib.sha256(array.tobytes()).hexdigest()
        for split, data in pack.splits.items()
        for part, array in (("images", data.images), ("labels", data.labels.astype(np.uint8)))
    }
    assert hashes == {
        ("train", "images"): "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        ("train", "labels"): "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
        ("test", "images"): "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        ("test", "labels"): "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    }
    assert pack.splits["train"].images.shape == (60_000, 1, 28, 28)
    assert pack.splits["test"].images.shape == (10_000, 1, 28, 28)
    assert pack.classes == tuple("0123456789")
    assert locate("mnist").where == "inside the package"
    verify(pack.folder)
    _, events = opened("mnist")
    assert events == []  # unpacked once


def test_mnist_is_the_official_files_byte_for_byte(published):
    official, pack = published("MNIST/raw"), open_data("mnist")
    for split, names in PUBLISHED["mnist"].files.items():
        images, labels = (read_bytes(official / name) for name in names)
        assert pack.splits[split].images.tobytes() == images[16:]
        assert pack.splits[split].labels.astype(np.uint8).tobytes() == labels[8:]


def test_the_packed_file_is_small_and_the_script_makes_one_from_idx_files(tmp_path, capsys):
    assert Path(mnist.__file__).with_suffix(".zlib").stat().st_size <= 12_000_000
    script = runpy.run_path(str(ROOT / "scripts" / "pack_mnist.py"))
    put(tmp_path, small_fashion(), gzipped=True)
    script["main"](tmp_path, tmp_path / "made")
    assert "30 images in" in capsys.readouterr().out
    images, labels = mnist.expand((tmp_path / "made").read_bytes(), 30)
    assert idx(images[:20]) == small_fashion()["train-images-idx3-ubyte"]
    assert idx(labels[20:]) == small_fashion()["t10k-labels-idx1-ubyte"]
    (tmp_path / f"{IDX_NAMES[0]}.gz").unlink()
    with pytest.raises(SystemExit, match="holds 3 of the four IDX files"):
        script["main"](tmp_path, tmp_path / "made")


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 20), seed=st.integers(0, 99), ink=st.floats(0, 1))
def test_squeezed_images_come_back_whole(count, seed, ink):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, 28, 28), np.uint8)
    images *= random.random(images.shape) < ink
    labels = random.integers(0, 10, count, np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist, "BLOCK", 7)
        packed = mnist.squeeze(images, labels)
        again = mnist.expand(packed, count)
        with pytest.raises(ValueError):
            mnist.expand(packed[:-9], count)
        with pytest.raises(ValueError):
            mnist.expand(packed, count + 1)
        with pytest.raises(ValueError, match="bytes, not"):
            mnist.expand(zlib.compress(zlib.decompress(packed) + b"x"), count)
    assert np.array_equal(again[0], images)
    assert np.array_equal(again[1], labels)


def test_a_damaged_mnist_file_says_so(bare, tmp_path, monkeypatch):
    (tmp_path / "mnist.zlib").write_bytes(b"\x78\x9c" + bytes(100))
    monkeypatch.setattr(published_source, "__file__", str(tmp_path / "published_source.py"))
    with pytest.raises(DataError, match=r"mnist\.zlib: is missing or damaged .* install convscope"):
        open_data("mnist")
