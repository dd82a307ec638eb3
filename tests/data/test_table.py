"""A table of image files becomes a pack as its header says, row for row; what is wrong with it is
named with its line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from listening import notices, warnings_in
from photos import image_file, opened

from convscope.data.columns import Class, Image, Labels, Number, Numbers
from convscope.data.decode import decode
from convscope.data.sources import is_table, locate, open_data
from convscope.errors import BadArgument, DataError

pytestmark = pytest.mark.usefixtures("own_cache")
HEADER = "front:image,side:image,weight:numbers,kind:class,tags:labels,age:number,split"


def table(root: Path, count: int = 8, header: str = HEADER) -> Path:
    """A table of so many rows, whose images, numbers and targets are all different."""
    root.mkdir(exist_ok=True)
    lines = [header]
    for n in range(count):
        (root / f"f{n}.png").write_bytes(image_file(n, (12, 10)))
        (root / f"s{n}.png").write_bytes(image_file(100 + n, (6, 8), "L"))
        tags = " ".join(("wet", "old")[: n % 3])
        split = "test" if n % 4 == 3 else "train"
        lines.append(f"f{n}.png,s{n}.png,{n}.5,{'ab'[n % 2]},{tags},{n * 2},{split}")
    path = root / "things.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_each_column_is_what_its_header_says(tmp_path):
    path = table(tmp_path / "t")
    pack, events = opened(path)
    assert pack.columns == {
        "front": Image(3, (10, 12)),
        "side": Image(1, (8, 6)),
        "weight": Numbers(("weight",)),
        "kind": Class(("a", "b")),
        "tags": Labels(("old", "wet")),
        "age": Number(),
    }
    train, test = pack.splits["train"], pack.splits["test"]
    assert (len(train), len(test)) == (6, 2)
    assert train.values["age"].tolist() == [0, 2, 4, 8, 10, 12]
    assert train.values["weight"].tolist() == [[0.5], [1.5], [2.5], [4.5], [5.5], [6.5]]
    assert train.values["tags"].tolist() == [[0, 0], [0, 1], [1, 1], [0, 1], [1, 1], [0, 0]]
    assert test.values["kind"].tolist() == [1, 1] and test.files == ("f3.png", "f7.png")
    for n, row in enumerate((0, 1, 2, 4, 5, 6)):
        wanted = decode(path.parent / f"s{row}.png", channels=1, size=(8, 6), fit="pad")
        assert np.array_equal(train.values["side"][n], wanted)
    assert any("8 rows; images: front 10 x 12, side 8 x 6" in one for one in notices(events))
    with pytest.raises(DataError, match="inputs front, side, weight: this needs data with one"):
        _ = train.images


def test_it_is_packed_once_and_again_when_a_row_or_an_image_changes(tmp_path):
    path = table(tmp_path / "t")
    first, _ = opened(path)
    again, events = opened(path)
    assert again.digest == first.digest and not any("packed" in one for one in notices(events))
    (path.parent / "f2.png").write_bytes(image_file(77, (12, 10)))
    changed, _ = opened(path)
    assert changed.fingerprint != first.fingerprint
    path.write_text(path.read_text().replace("6.5,a,,12", "6.5,a,,13"))
    assert opened(path)[0].fingerprint != changed.fingerprint
    assert locate(path).kind == "disk"
    path.unlink()
    assert locate(path).kind == "pack" and len(open_data(path).splits["train"]) == 6


def test_a_simple_list_is_held_out_by_names_and_whole_groups(tmp_path):
    root = tmp_path / "list"
    root.mkdir()
    lines = ["file,label,group"]
    for n in range(60):
        (root / f"{n}.png").write_bytes(image_file(n, (4, 4)))
        lines.append(f"{n}.png,{'cat' if n % 2 else 'dog'},shoot{n // 3}")
    path = root / "labels.csv"
    path.write_text("\n".join(lines))
    pack = open_data(path)
    assert pack.classes == ("cat", "dog") and [*pack.columns] == ["file", "label"]
    sides = {
        split: {int(file.split(".")[0]) // 3 for file in pack.splits[split].files or ()}
        for split in pack.splits
    }
    assert sides["train"].isdisjoint(sides["test"]) and 3 <= len(sides["test"]) <= 9
    rows = [{"file": f"{n}.png", "label": n // 30} for n in range(60)]
    other = root / "labels.jsonl"
    other.write_text("\n".join(map(json.dumps, rows)))
    assert open_data(other).classes == ("0", "1")


def test_classes_that_are_numbers_go_by_size(tmp_path):
    path = table(tmp_path / "t", 12, HEADER)
    text = path.read_text()
    for n, name in enumerate("ab"):
        text = text.replace(f".5,{name},", f".5,{10 - n},")
    path.write_text(text)
    column = open_data(path).columns["kind"]
    assert isinstance(column, Class) and column.classes == ("9", "10")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("f1.png,", "gone.png,"), r"line 3: names gone\.png, which is not there"),
        (("1.5,", ","), "line 3: has nothing in weight; fill it in, or drop the row"),
        (("1.5,", "much,"), "line 3: has 'much' in weight, which is no finite number"),
        (("1.5,b,", "1.5,"), "line 3: has 6 cells where the header has 7"),
        (("1.5,b,", "1.5,b,x,"), "line 3: has 8 cells where the header has 7"),
        ((",2,train", ",2,tain"), "line 3: has 'tain' in split; write one of train, val, test"),
        (("age:number", "age"), "does not say what its column age is; write age:KIND in the head"),
        (("age:number", "age:nunber"), "does not say what its column age is"),
        (("age:number", "kind:number"), "has two columns of a name"),
        (("front:image,side:image", "front:skip,side:skip"), "has no column that is an image"),
        (
            ("kind:class,tags:labels,age:number", "kind:skip,tags:skip,age:skip"),
            "has no column that is a target",
        ),
        ((",train", ",test"), "has no row to train on"),
        ((",test", ",train"), "has no row to judge"),
        ((".5,b,", ".5,a,"), r"has one class only in kind \(a\)"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, message):
    path = table(tmp_path / "t")
    path.write_text(path.read_text().replace(*change))
    with pytest.raises((BadArgument, DataError), match=message) as caught:
        open_data(path)
    assert str(path) in str(caught.value)


def test_rows_whose_image_cannot_be_read_are_left_out_and_named(tmp_path):
    path = table(tmp_path / "t")
    (path.parent / "s2.png").write_bytes(b"no image")
    pack, events = opened(path)
    assert pack.splits["train"].values["age"].tolist() == [0, 2, 8, 10, 12]
    (said,) = warnings_in(events)
    assert "1 rows have an image that cannot be read and are left out: s2.png" in said


@pytest.mark.parametrize("text", ["", "file,label\n", "\n\n"])
def test_an_empty_table_is_refused(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(BadArgument, match="has no row below its header"):
        open_data(path)
    path.unlink()
    with pytest.raises(BadArgument, match="is not a table that is there"):
        open_data(path)
    assert is_table(path) and not is_table(tmp_path)
