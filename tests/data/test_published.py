"""What the published data sets are, and their files when they are damaged."""

import hashlib
import re

import numpy as np
import pytest
from archives import IDX_NAMES, cifar100_archive, idx, put, small_fashion

from convscope import files
from convscope.data.pack_writer import fingerprint
from convscope.data.published import PUBLISHED, files_in, parse, read_bytes
from convscope.data.sources import open_data
from convscope.errors import DataError


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10"])
def test_the_real_ones_have_the_published_fingerprint(name, published):
    source = PUBLISHED[name]
    paths = [path for path in files_in(source, published(source.folders[0])) if path]
    contents = {path.name.removesuffix(".gz"): read_bytes(path) for path in paths}
    splits = parse(source, contents)
    assert fingerprint(splits) == source.fingerprint
    assert {split: len(labels) for split, (_, labels) in splits.items()} == source.counts
    for file in source.downloads:
        if file.inside:
            content = contents[file.name.removesuffix(".gz")]
            assert hashlib.sha256(content).hexdigest() == file.sha256


def changed(name, content):
    return lambda contents: contents | {name: content(contents[name])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(IDX_NAMES[0], lambda b: b[:-1]), "15,679 bytes of data, its head says"),
        (changed(IDX_NAMES[0], lambda b: b + b"x"), "15,681 bytes of data"),
        (changed(IDX_NAMES[0], lambda b: b""), "does not begin as an IDX file of 3 dimensions"),
        (changed(IDX_NAMES[0], lambda b: b[:3] + b"\x01" + b[4:]), "does not begin as an IDX file"),
        (changed(IDX_NAMES[1], lambda b: b[:2] + b"\x0d" + b[3:]), "idx1-ubyte does not begin"),
        (changed(IDX_NAMES[0], lambda b: idx(np.zeros((20, 14, 56)))), r"holds \[20, 14, 56\]"),
        (
            changed(IDX_NAMES[1], lambda b: idx(np.arange(19) % 10)),
            "train: has 20 of image, 19 of label",
        ),
        (changed(IDX_NAMES[1], lambda b: idx(np.full(20, 10))), r"label 10 of image 0 is outside"),
    ],
)
def test_damaged_idx_files(bare, change, message):
    put(bare / "fashion-mnist", change(small_fashion()))
    with pytest.raises(DataError, match=message) as caught:
        open_data("fashion-mnist")
    assert str(bare / "fashion-mnist") in str(caught.value)
    assert not list(files.cache_root().rglob("*.npy"))


def test_damaged_gzip(bare):
    put(bare / "fashion-mnist", small_fashion(), gzipped=True)
    path = bare / "fashion-mnist" / f"{IDX_NAMES[0]}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"damaged .*train-images.*; copy it again, or remove it"):
        open_data("fashion-mnist")


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (cifar100_archive(train_bin=b"x" * 3073), r"train\.bin has 3,073 bytes, not a multiple"),
        (cifar100_archive(train_bin=b""), r"train\.bin has 0 bytes"),
        (cifar100_archive(test_bin=bytes([0, 100]) + bytes(3072)), r"label 100 in record 0"),
        (cifar100_archive(test_bin=bytes([20, 0]) + bytes(3072)), r"label 20 .* outside 0\.\.19"),
        (cifar100_archive(test_bin=None), r"it holds no test\.bin"),
        (cifar100_archive()[:-5000], "is damaged"),
        (b"no archive", "is damaged"),
        (b"", "is damaged"),
    ],
)
def test_damaged_cifar_archives(bare, archive, message):
    (bare / "cifar-100-binary.tar.gz").write_bytes(archive)
    with pytest.raises(DataError, match=message) as caught:
        open_data("cifar100")
    assert "cifar-100-binary.tar.gz" in str(caught.value)


def test_no_source_lacks_its_facts():
    for name, source in PUBLISHED.items():
        assert source.title and source.licence and source.home_page.startswith("http"), name
        assert len(set(source.classes)) == len(source.classes) in (10, 100)
        for file in source.downloads:
            assert re.fullmatch("[0-9a-f]{64}", file.sha256)
