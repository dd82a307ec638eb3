"""A table of image files becomes a pack as its header says, row for row; what is wrong with it is
named with its line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from listening import notices, warnings_in
from photos import image_file, opened, photos

from convscope import api
from convscope.data.columns import Class, Image, Labels, Number, Numbers
from convscope.data.decode import decode
from convscope.data.pack import Pack, read_meta
from convscope.data.sources import is_table, locate, open_data, source_of
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
    pack, events = opened(path)
    assert pack.classes == ("cat", "dog") and [*pack.columns] == ["file", "label"]
    sides = {
        split: {int(file.split(".")[0]) // 3 for file in pack.splits[split].files or ()}
        for split in pack.splits
    }
    assert sides["train"].isdisjoint(sides["test"]) and 3 <= len(sides["test"]) <= 9
    assert any("rows, a fifth by their names, are held out as test" in n for n in notices(events))
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
        (("1.5,", "1e39,"), "line 3: has '1e39' in weight, which is no finite number"),
        (("1.5,", "nan,"), "line 3: has 'nan' in weight, which is no finite number"),
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
    none, said = warnings_in(events)
    assert none == "things: test has no image of a"
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


# A table beside a folder


def listed_photos(root: Path, lines: list[str], name: str = "labels.csv") -> Path:
    """Class folders, and beside them a list whose labels are others."""
    photos(root / "photos", ("cat", "dog"), count=6, size=(8, 8))
    path = root / name
    path.write_text("\n".join(lines))
    return path


def labels_of(pack: Pack) -> dict[str, tuple[str, str]]:
    """Split and label by file."""
    return {
        file: (split, pack.classes[label])
        for split, held in pack.splits.items()
        for file, label in zip(held.files or (), held.labels, strict=True)
    }


def test_a_list_labels_the_files_of_a_folder(tmp_path):
    rows = {f"cat/00{n}.png": ("test" if n % 2 else "train", "ab"[n % 3 == 0]) for n in range(6)}
    lines = ["file,label,split", *(f"{f},{label},{s}" for f, (s, label) in rows.items())]
    path = listed_photos(tmp_path, lines)
    pack, events = opened(tmp_path / "photos", labels=path)
    assert labels_of(pack) == rows and pack.name == "photos"
    assert warnings_in(events) == [
        "photos: 6 images in no row of labels.csv left out: dog/000.png, dog/001.png, "
        "dog/002.png and 3 more"
    ]
    again, _ = opened(tmp_path / "photos", labels=str(path))
    assert again.digest == pack.digest
    folder, _ = opened(tmp_path / "photos")
    assert folder.classes == ("cat", "dog") and folder.folder != pack.folder
    path.unlink()
    assert source_of(tmp_path / "photos", labels=path).locate().kind == "pack"


def test_what_an_audit_writes_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos(Path("pets"), count=12)
    api.audit_data("pets", only=["copies", "groups"], write="labels.csv")
    before, after = open_data("./pets"), open_data("./pets", labels="labels.csv")
    assert labels_of(after) == labels_of(before) and after.classes == before.classes
    assert after.splits["train"].groups == after.splits["train"].files
    api.audit_data("pets", labels="labels.csv", only=["copies"], write="again.csv")
    assert Path("again.csv").read_text() == Path("labels.csv").read_text()
    info = api.describe_data("pets", labels="labels.csv")
    assert info["images"] == {s: len(one) for s, one in before.splits.items()}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_other_forms_say_the_same_as_csv(tmp_path, suffix):
    rows = [
        {"file": f"{'cat' if n % 2 else 'dog'}/00{n}.png", "label": n % 3, "tags:labels": tags}
        for n, tags in enumerate([["hot dog"], ["wet"], [], ["hot dog", "wet"], ["wet"], ["wet"]])
    ]
    csv = ["file,label,tags:labels"]
    csv += [f"{r['file']},{r['label']},{''.join(f'{t};' for t in r['tags:labels'])}" for r in rows]
    wanted = open_data(tmp_path / "photos", labels=listed_photos(tmp_path, csv))
    path = tmp_path / f"labels{suffix}"
    if suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    pack = open_data(tmp_path / "photos", labels=path)
    assert pack.columns == wanted.columns and pack.fingerprint == wanted.fingerprint
    assert pack.columns["tags"] == Labels(("hot dog", "wet"))


def test_parquet_needs_an_extra(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BadArgument, match=r"pip install 'convscope\[tables\]'; or save the table"):
        open_data(tmp_path / "a.parquet")


def test_rows_that_cannot_be_used_are_named_or_left_out(tmp_path):
    """Ten rows, of which two name files that were moved away."""
    lines = [f"{c}/00{n}.png,{c}" for c in ("cat", "dog") for n in range(5)]
    path = listed_photos(tmp_path, ["file,label", *lines])
    root = tmp_path / "photos"
    for gone in ("cat/003.png", "dog/001.png"):
        (root / gone).unlink()
    with pytest.raises(DataError) as caught:
        open_data(root, labels=path)
    assert str(caught.value).startswith(
        f"{path}: 2 rows cannot be used: line 5 names cat/003.png, which is not there (No such file"
        " or directory), line 8 names dog/001.png, which is not there"
    )
    assert "leave them out with skip_bad (--skip-bad)" in str(caught.value)
    pack, events = opened(root, labels=path, skip_bad=True)
    assert len(labels_of(pack)) == 8 and len(read_meta(pack.folder)["skipped"]) == 2
    said = warnings_in(events)[0]
    assert "2 rows that cannot be used left out: cat/003.png (line 5 names cat/003.png" in said
    assert api.describe_data(root, labels=path, skip_bad=True)["skipped"] == 2
    path.write_text("file,label\na.png,cat\nb.png,dog\n")
    with pytest.raises(BadArgument, match=r"labels=.*has no row that can be used \(line 2 names a"):
        open_data(root, labels=path, skip_bad=True)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,label", "cat/000.png,a", "cat/000.png,b"], "line 2 .* names otherwise, line 3"),
        (["file,label", "cat/000.png,a", "./cat/000.png,a"], "line 3: names .* line 2 names,"),
        (["file,label", "cat/000.png,a", "cat,b"], "line 3: names cat, which is no file"),
        (["file,label", "cat/000,a", "cat/twin,b"], "twin, which may be twin.jpg or twin.png"),
        (["file,label,split", "cat/000.png,a,train", "dog/000.png,b,test"], "no row of b to train"),
        (["id,label", "cat/000.png,a"], "does not say what its column id is; write id:KIND"),
        (["label,split", "a,train"], "has no column that is an image among label, split; name one"),
        (["file,file", "cat/000.png,a"], "its header has a name twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_list_is_named(tmp_path, lines, message):
    path = listed_photos(tmp_path, lines)
    for suffix in ("jpg", "png"):
        (tmp_path / "photos" / "cat" / f"twin.{suffix}").write_bytes(image_file(5, (8, 8)))
    with pytest.raises((BadArgument, DataError), match=message) as caught:
        open_data(tmp_path / "photos", labels=path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["1", '"one"'], "line 2: has text in label, where line 1 has a number; write all of them"),
        (['"a"', "true"], "line 2: has true or false in label, where line 1 has text"),
        (['"a"', '["a", "b"]'], "line 2: has a list in label; write text or a number"),
        (['"a"', "null"], "line 2: has nothing in label; fill it in"),
    ],
)
def test_labels_are_of_one_kind(tmp_path, values, message):
    lines = [f'{{"file": "cat/00{n}.png", "label": {one}}}' for n, one in enumerate(values)]
    path = listed_photos(tmp_path, lines, "labels.jsonl")
    with pytest.raises(DataError, match=message):
        open_data(tmp_path / "photos", labels=path)


def test_a_name_without_its_suffix_is_the_one_file_of_that_name(tmp_path):
    lines = ["id:image;breed:class", *(f"{c}/00{n};{c}" for c in ("cat", "dog") for n in range(6))]
    pack = open_data(tmp_path / "photos", labels=listed_photos(tmp_path, lines))
    assert {file: label for file, (_, label) in labels_of(pack).items()} == {
        f"{c}/00{n}.png": c for c in ("cat", "dog") for n in range(6)
    }


def test_test_rows_without_a_label_are_left_to_be_predicted(tmp_path):
    lines = [
        f"{c}/00{n}.png,{c},{'test' if n < 2 else 'train'}"
        for c in ("cat", "dog")
        for n in range(5)
    ]
    path = listed_photos(tmp_path, ["file,label,split", *lines, "cat/005.png,,test"])
    pack, events = opened(tmp_path / "photos", labels=path)
    assert len(labels_of(pack)) == 10 and "cat/005.png" not in labels_of(pack)
    assert any("1 test row without a target left out; convscope pred" in n for n in notices(events))


def test_labels_are_for_a_folder(tmp_path):
    path = listed_photos(tmp_path, ["file,label"])
    for data, message in (("mnist", "is for your own images, and mnist is published"),
                          (path, "is a table itself; leave one of them out")):  # fmt: skip
        with pytest.raises(BadArgument, match=f"labels={path}: .*{message}"):
            open_data(data, labels=path)
    with pytest.raises(BadArgument, match=r"is no table of image files; name a file in \.csv"):
        open_data(tmp_path / "photos", labels=tmp_path / "labels.txt")
    with pytest.raises(BadArgument, match=r"data=.*gone: is not a folder that is there"):
        open_data(tmp_path / "gone", labels=path)
    for name, value in (("group", "stem"), ("skip_bad", True)):
        with pytest.raises(BadArgument, match=f"{name}={value}: is for your own images"):
            open_data("mnist", **{name: value})


def test_a_lone_label_is_learnt_from(tmp_path):
    """Eighteen images, of one of which alone it is said that it is rare."""
    photos(tmp_path / "photos", ("cat", "dog"), count=9, size=(4, 4))
    lines = ["file,label,tags:labels"]
    for rare in range(4):
        rows = [f"{c}/00{n}.png,{c},{'rare' if (c, n) == ('cat', rare) else 'usual'}"
                for c in ("cat", "dog") for n in range(9)]  # fmt: skip
        path = tmp_path / f"{rare}.csv"
        path.write_text("\n".join([*lines, *rows]))
        pack, events = opened(tmp_path / "photos", labels=path)
        assert f"cat/00{rare}.png" in (pack.splits["train"].files or ())
        assert any("test has no image of rare" in one for one in notices(events))


def test_classes_that_are_one_number_have_one_order(tmp_path):
    names = [f"{'0' * n}7" for n in range(6)]
    rows = [f"cat/00{n}.png,{name}" for n, name in enumerate(names)]
    path = listed_photos(tmp_path, ["file,label", *rows, "dog/000.png,8", "dog/001.png,8"])
    assert open_data(tmp_path / "photos", labels=path).classes == (*sorted(names), "8")
