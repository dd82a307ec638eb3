"""Tar files as WebDataset writes them: samples, splits, and what is wrong with them by name."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from photos import image_file

from convscope.data.decode import decode
from convscope.data.sources import open_data
from convscope.errors import BadArgument, DataError

pytestmark = pytest.mark.usefixtures("own_cache")


def tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as out:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return path


def samples(numbers, told=lambda n: {"cls": str(n % 3)}) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for n in numbers:
        found[f"{n:04}.png"] = image_file(n)
        found |= {f"{n:04}.{kind}": str(text).encode() for kind, text in told(n).items()}
    return found


def test_shards_of_samples_become_a_pack(tmp_path):
    for at in range(3):
        tar(tmp_path / f"train-{at:03}.tar", samples(range(12 * at, 12 * at + 12)))
    tar(tmp_path / "test-000.tar", samples(range(36, 42)))
    pack = open_data(tmp_path, size=(16, 24), channels=3)
    train, test = pack.splits["train"], pack.splits["test"]
    assert pack.classes == ("0", "1", "2") and (len(train), len(test)) == (36, 6)
    for split in (train, test):
        for file, image, label in zip(split.files, split.images, split.labels, strict=True):
            number = int(Path(file).stem)
            assert label == number % 3
            wanted = decode(image_file(number), channels=3, size=(16, 24))
            assert np.array_equal(image, wanted)
    same = open_data(f"{tmp_path}/{{train-{{000..002}},test-000}}.tar", size=(16, 24), channels=3)
    assert same.fingerprint == pack.fingerprint
    few = open_data(f"{tmp_path}/train-{{000..001}}.tar", size=(16, 24), channels=3)
    assert sum(len(split) for split in few.splits.values()) == 24 and len(few.splits["test"]) > 2


def test_tar_files_of_one_name_never_hide_each_other(tmp_path):
    for folder in ("a", "b"):
        tar(tmp_path / folder / "0.tar", samples(range(12)))
    with pytest.raises(DataError, match=r"b.0.tar: 0000: is in .*a.0.tar, of the same name, too"):
        open_data(f"{tmp_path}/{{a,b}}/0.tar", size=(4, 4))


def test_classes_by_text_and_json_and_numbers_in_their_order(tmp_path):
    ten = tar(tmp_path / "a.tar", samples(range(40), lambda n: {"json": json.dumps(n % 11)}))
    assert open_data(ten, size=(4, 4)).classes == tuple(map(str, range(11)))
    text = samples(range(12), lambda n: {"txt": f"{'cat' if n % 2 else 'dog'}\n", "xyz": "1"})
    assert open_data(tar(tmp_path / "b.tar", text), size=(4, 4)).classes == ("cat", "dog")
    named = samples(range(12), lambda n: {"json": json.dumps({"label": "ab"[n % 2], "x": 1})})
    assert open_data(tar(tmp_path / "c.tar", named), size=(4, 4)).classes == ("a", "b")


@pytest.mark.parametrize(
    "change, said",
    [
        ({"0003.cls": None}, "a.tar: 0003: has no label (.cls, .txt or .json); add it"),
        ({"0003.png": None}, "a.tar: 0003: has no image; add it"),
        ({"0003.jpg": b"x"}, "a.tar: 0003: has two images, .png and .jpg; keep one"),
        ({"0003.cls": b" "}, "a.tar: 0003.cls: does not say a class in a line"),
        ({"0003.cls": b"../../x"}, "a.tar: 0003.cls: does not say a class in a line ('../../x')"),
        ({"0003.cls": None, "0003.json": b"{"}, "a.tar: 0003.json: is no JSON"),
        ({"0003.cls": None, "0003.json": b"[]"}, "a.tar: 0003.json: does not say a class"),
    ],
)
def test_what_is_wrong_with_a_sample_is_said_by_its_name(tmp_path, change, said):
    members = samples(range(9)) | change
    path = tar(tmp_path / "a.tar", {name: one for name, one in members.items() if one is not None})
    with pytest.raises(DataError) as why:
        open_data(path)
    assert said in str(why.value)


def test_an_image_that_cannot_be_read_is_left_out_and_named(tmp_path):
    members = samples(range(30)) | {"0004.png": b"no image", "0007.png": image_file(7)[:40]}
    events: list = []
    pack = open_data(tar(tmp_path / "a.tar", members), events.append, size=(4, 4))
    assert sum(len(split) for split in pack.splits.values()) == 28
    said = next(e.text for e in events if "cannot be read" in getattr(e, "text", ""))
    assert "1/a/0004.png (is no image" in said and "1/a/0007.png (" in said


@pytest.mark.parametrize("left", [5000, -1024, -2048, 700])
def test_a_tar_file_that_is_cut_short_is_refused(tmp_path, left):
    path = tar(tmp_path / "a.tar", samples(range(9)))
    content = path.read_bytes().rstrip(b"\0")
    whole = content + bytes(-len(content) % 512 + 1024)
    path.write_bytes(whole)
    open_data(path, size=(4, 4))
    path.write_bytes(whole[:left])
    with pytest.raises(DataError, match=r"a\.tar: is damaged or cut short after .*; copy it again"):
        open_data(path, size=(4, 4))


def test_tar_files_that_are_not_there(tmp_path):
    tar(tmp_path / "a-0.tar", samples(range(9)))
    with pytest.raises(BadArgument, match=r"tar files that are not there: a-1.tar, a-2.tar; check"):
        open_data(f"{tmp_path}/a-{{0..2}}.tar")
    with pytest.raises(BadArgument, match="labels=x.csv: is for images as files"):
        open_data(f"{tmp_path}/a-0.tar", labels="x.csv")
