"""Tables of files are predicted a row at a time, whatever else is in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convscope.errors import BadArgument, DataError, ImageError
from convscope.predicting import tables
from convscope.predicting.inputs import stream

pytestmark = pytest.mark.usefixtures("workplace")


@pytest.fixture
def photos(workplace: Path) -> Path:
    for name, value in (("one.png", 10), ("in/two.jpg", 20), ("3.png", 30)):
        (workplace / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2), value).save(workplace / "photos" / name)
    return workplace / "photos"


def names_in(path: Path) -> list[str]:
    return [
        f"{name}: {found.problem}" if isinstance(found, ImageError)
        else f"{name} -> {found.relative_to(path.parent)}"
        for name, found in tables.images_in(path)
    ]  # fmt: skip


def test_every_form_names_the_same_files(photos):
    rows = [("one.png", "cat"), ("in/two", "dog"), ("gone.png", ""), (3, "cow"), (None, "cow")]
    wanted = ["one.png -> one.png", "in/two -> in/two.jpg", "gone.png: is not there (No such file"]
    text = "".join(f"{file or ''},{label}\n" for file, label in rows)
    (photos / "list.csv").write_text("id:image,label\n" + text)
    lines = [json.dumps({"id:image": file, "label": label}) for file, label in rows]
    (photos / "list.jsonl").write_text("\n".join(lines))
    for form, place in (("csv", "line 6"), ("jsonl", "line 5")):
        found = names_in(photos / f"list.{form}")
        assert [one[: len(two)] for one, two in zip(found, wanted, strict=False)] == wanted
        assert found[3:] == ["3 -> 3.png", f"{place}: has nothing in id"]
        assert tables.count(photos / f"list.{form}") == 5


def test_a_parquet_table_is_read_in_parts(photos):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    names = pyarrow.array(["one.png", None])
    parquet.write_table(pyarrow.table({"file": names, "n": [1, 2]}), photos / "list.parquet")
    assert names_in(photos / "list.parquet") == [
        "one.png -> one.png", "row 2: has nothing in file"
    ]  # fmt: skip
    table = pyarrow.table({"file": [3.0, float("nan")]})  # as pandas has whole numbers with a gap
    parquet.write_table(table, photos / "list.parquet")
    assert names_in(photos / "list.parquet") == ["3 -> 3.png", "row 2: has nothing in file"]


def test_rows_are_inputs_among_others(photos):
    (photos / "list.csv").write_text("file\none.png\n3.png,x\n")  # a cell too many
    read = stream([photos / "list.csv", photos / "in"], 1, (2, 2), "pad")
    found = [one for some in read for one in some]
    assert [one.name for one in found] == ["one.png", "3.png", str(photos / "in" / "two.jpg")]
    assert np.unique(found[0].pixels).tolist() == [10]
    assert found[1].error == "has 2 cells where the header has 1; write as many, in quotes where " \
        "one holds a comma"  # fmt: skip


def test_what_is_no_table_of_images_is_refused(photos):
    for header, said in (
        ("id,label", "has no columns of images among id, label; write NAME:image for the one"),
        ("file,left:image", "has 2 columns of images among file, left:image; write"),
    ):
        (photos / "list.csv").write_text(f"{header}\none.png,x\n")
        with pytest.raises(BadArgument, match=f"list.csv: {said}"):
            list(tables.images_in(photos / "list.csv"))
    (photos / "list.csv").write_text("file\n")
    with pytest.raises(BadArgument, match="has no row below its header"):
        list(tables.images_in(photos / "list.csv"))
    (photos / "list.jsonl").write_text('{"file": "one.png"}\n{"file"')
    with pytest.raises(DataError, match="list.jsonl: is no table"):
        tables.count(photos / "list.jsonl")
    assert not tables.is_table("gone.csv") and not tables.is_table(photos / "one.png")
