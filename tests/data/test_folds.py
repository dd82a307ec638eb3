"""The folds of a data set hold each record once, with its own values and name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from photos import image_file, opened, photos, put

from convscope.data.folds import fold_of
from convscope.data.sources import has_test
from convscope.errors import BadArgument

pytestmark = pytest.mark.usefixtures("own_cache")


def test_each_record_is_in_one_fold_with_what_is_its_own(tmp_path):
    root = photos(tmp_path / "p", ("cat", "dog"), count=15, size=(5, 4))
    for at in range(4):
        (root / "dog" / f"a{at}.png").write_bytes(image_file(900 + at, (5, 4)))
    pack, _ = opened(root)
    whole = {
        file: (label, image.tobytes())
        for split in pack.splits.values()
        for file, label, image in zip(split.files, split.labels, split.images, strict=True)
    }
    seen: list[str] = []
    fingerprints = set()
    for number in range(1, 5):
        made = fold_of(pack, f"{number}/4", own_test=False)
        fingerprints.add(made.fingerprint)
        test, train = made.splits["test"], made.splits["train"]
        assert {*test.files, *train.files} == set(whole) and len(test) + len(train) == len(whole)
        for split in (test, train):
            for file, label, image in zip(split.files, split.labels, split.images, strict=True):
                assert whole[file] == (label, image.tobytes())
            fresh = replace(split, kept=None)
            assert np.array_equal(fresh.hashes, split.hashes)
        assert np.bincount(test.labels).min() >= 3
        seen += test.files
    assert sorted(seen) == sorted(whole) and len(fingerprints) == 4


def test_a_test_split_of_the_datas_own_is_left_alone(tmp_path):
    files = [f"{s}/{k}/{n}.png" for s in ("train", "val", "test") for k in "ab" for n in range(4)]
    put(tmp_path / "p", *files)
    for at, file in enumerate(files):
        (tmp_path / "p" / file).write_bytes(image_file(at, (4, 4)))
    pack, _ = opened(tmp_path / "p")
    assert has_test(pack, tmp_path / "p")
    made = fold_of(pack, "1/2", own_test=True)
    used = [*made.splits["train"].files, *made.splits["test"].files]
    assert sorted(used) == sorted(f for f in files if not f.startswith("test/"))
    plain, _ = opened(photos(tmp_path / "q", count=4))
    assert not has_test(plain, tmp_path / "q")


def test_groups_and_published_data_have_folds(tiny, tmp_path):
    sizes = [len(fold_of(tiny, f"{n}/3").splits["test"]) for n in (1, 2, 3)]
    assert sum(sizes) == 240 and min(sizes) >= 78
    one, other = (fold_of(tiny, "1/3", seed).splits["test"].labels for seed in (0, 1))
    assert len(one) == len(other)
    with pytest.raises(BadArgument, match="fold=1/999: makes more folds than mnist has images"):
        fold_of(tiny, "1/999")
    root = photos(tmp_path / "p", ("bare", "mask"), count=12)
    for path in sorted((root / "mask").iterdir()):
        path.rename(path.with_stem(f"{path.stem}-mask"))
    pack, _ = opened(root, group="stem")
    test = fold_of(pack, "2/3", own_test=False).splits["test"].files
    assert {f[5:8] for f in test if f[0] == "b"} == {f[5:8] for f in test if f[0] == "m"} != set()
