"""A folder is looked through, and left as it is."""

import csv
import sys
from pathlib import Path

import pytest
from listening import notices
from photos import image_file, photos, scene
from torch import nn

from convscope import api
from convscope.data import sources
from convscope.data.audit.findings import KINDS
from convscope.errors import BadArgument, DataError
from convscope.models import pretrained
from convscope.models.pretrained import NotInstalled


@pytest.fixture
def messy(workplace: Path) -> Path:
    """Two classes in two splits with one of everything that can be found without a classifier."""
    root = workplace / "pets"
    for split, count in (("train", 24), ("test", 6)):
        for at, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for n in range(count):
                picture = scene(1000 * at + n + 500 * (split == "test"))
                picture.save(root / split / name / f"{split}{name}-{n}.png")
    train, test = root / "train", root / "test"
    scene(3).save(train / "dog" / "x.png")  # train/cat/traincat-3.png
    scene(1004).save(test / "dog" / "y.jpg", quality=70)  # train/dog/traindog-4.png
    scene(5).save(train / "cat" / "z.png")  # train/cat/traincat-5.png
    scene(70).save(test / "cat" / "traincat-6_flip.png")
    scene(71).save(train / "cat" / "augmented_1.png")
    scene(72, (300, 200)).save(train / "cat" / "large.png")
    scene(73).convert("L").save(train / "dog" / "grey.png")
    (train / "dog" / "empty.png").write_bytes(b"")
    for n in range(3):
        (train / "ant").mkdir(exist_ok=True)
        scene(2000 + n).save(train / "ant" / f"a{n}.png")
    return root


def state(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def files_of(found, kind) -> list[list[str]]:
    return [sorted(entry.file for entry in one.entries) for one in found.findings[kind]]


def test_each_kind_is_found_and_no_file_is_changed(messy):
    before = state(messy)
    checks = ["files", "copies", "groups", "balance", "sizes"]
    found = api.audit_data("pets", only=checks)
    assert state(messy) == before
    assert list(found.findings) == [kind for kind in KINDS if kind != "labels"]
    assert files_of(found, "unreadable") == [["train/dog/empty.png"]]
    assert files_of(found, "two_labels") == [["train/cat/traincat-3.png", "train/dog/x.png"]]
    assert found.findings["two_labels"][0].figures == {"identical": 1, "difference": 0.0}
    assert files_of(found, "two_splits") == [["test/dog/y.jpg", "train/dog/traindog-4.png"]]
    figures = found.findings["two_splits"][0].figures
    assert figures["identical"] == 0 and 0 < figures["difference"] < 12
    assert files_of(found, "copies") == [["train/cat/traincat-5.png", "train/cat/z.png"]]
    assert files_of(found, "groups") == [
        ["test/cat/traincat-6_flip.png", "train/cat/traincat-6.png"],
        ["train/cat/augmented_1.png"],
    ]
    assert [one.figures for one in found.findings["balance"]] == [{"class": "ant", "images": 3}]
    assert files_of(found, "sizes") == [["train/cat/large.png"]]
    assert files_of(found, "modes") == [["train/dog/grey.png"]]
    assert found.counts["train"] == {"ant": 3, "cat": 27, "dog": 26}
    assert found.suspects == 12 and found.left_out == {}


def test_the_list_has_each_image_and_what_is_suspected(messy):
    api.audit_data("pets", only=["copies", "groups"], write="labels.csv")
    with open("labels.csv", newline="", encoding="utf-8") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert len(rows) == 70 and all((messy / path).is_file() for path in rows)
    assert {row["label"] for row in rows.values()} == {"ant", "cat", "dog"}
    for path, row in rows.items():
        assert path.startswith(f"{row['split']}/{row['label']}/")
    x = rows["train/dog/x.png"]
    assert (
        x["group"] == "train/cat/traincat-3.png" and "one image under two labels" in x["suspected"]
    )
    assert "(train/cat/traincat-3.png)" in x["suspected"]
    assert rows["train/cat/traincat-3.png"]["group"] == "train/cat/traincat-3.png"
    flip = rows["test/cat/traincat-6_flip.png"]
    assert flip["group"] == "train/cat/traincat-6.png"
    plain = rows["train/cat/traincat-0.png"]
    assert plain["group"] == "train/cat/traincat-0.png" and plain["suspected"] == ""


def test_a_list_that_lies_in_the_folder_is_data(messy):
    api.audit_data("pets", only=["copies"], write="pets/labels.csv")
    pack, whole = sources.open_data("pets/labels.csv"), sources.open_data("pets")
    assert pack.classes == whole.classes
    for split, part in whole.splits.items():
        labels = dict(zip(part.files, part.labels.tolist(), strict=True))
        listed = pack.splits[split]
        assert dict(zip(listed.files, listed.labels.tolist(), strict=True)) == labels


TINTS = {"blue": (60, 60, 200), "red": (200, 60, 60)}


def tinted(root: Path, count: int = 12, size: tuple[int, int] = (40, 30)) -> None:
    for at, (name, tint) in enumerate(TINTS.items()):
        (root / name).mkdir(parents=True)
        for n in range(count):
            scene(100 * at + n, size, tint).save(root / name / f"{n}.png")


def test_likely_wrong_labels(workplace, monkeypatch):
    tinted(workplace / "pets", 40, (24, 24))
    scene(999, (24, 24), TINTS["red"]).save(workplace / "pets" / "blue" / "wrong.png")
    found = api.audit_data("pets", only=["labels"])
    first = found.findings["labels"][0]
    assert [tuple(entry[:2]) for entry in first.entries] == [("blue/wrong.png", "blue")]
    assert first.figures["suggested"] == "red" and first.figures["p_suggested"] > 0.5
    assert found.figures["out_of_fold_accuracy"] > 0.9
    seen = []

    def embed(images):
        seen.append(images.shape[1:])
        return images.mean(axis=(2, 3)).astype("float32")

    mine = api.audit_data("pets", only=["labels"], embed=embed)
    assert mine.findings["labels"][0].entries[0].file == "blue/wrong.png"
    assert set(seen) == {(3, 24, 24)}


def test_the_labels_of_colour_images_are_judged_by_a_network_of_photos(workplace, monkeypatch):
    """A network that sees the mean colour, of images of any size."""
    tinted(workplace / "pets")
    seen = []

    class Colour(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, x):
            seen.append((self.name, tuple(x.shape[1:])))
            return x.mean((2, 3))

    monkeypatch.setattr(pretrained, "Features", Colour)
    api.audit_data("pets", only=["labels"], folds=2)
    assert set(seen) == {("efficientnet_lite0", (3, 30, 40))}


def test_without_that_network_labels_are_judged_by_gradients(workplace, monkeypatch, events):
    tinted(workplace / "pets")

    def missing(name):
        raise NotInstalled("start", "imagenet", "needs a package", "install it: photos")

    monkeypatch.setattr(pretrained, "Features", missing)
    seen, emit = events
    api.audit_data("pets", only=["labels"], folds=2, emit=emit)
    assert any("gradients and colours alone" in t and "install it" in t for t in notices(seen))


def test_without_the_extra_labels_are_left_out_or_refused(messy, monkeypatch, events):
    seen, emit = events
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(BadArgument, match=r"pip install 'convscope\[audit\]'"):
        api.audit_data("pets", only=["labels"], emit=emit)
    assert not notices(seen)  # before anything is read
    found = api.audit_data("pets")
    assert "convscope[audit]" in found.left_out["labels"] and "labels" not in found.findings
    assert found.findings["two_labels"]


def test_where_no_image_of_a_class_can_be_read_the_files_are_named(workplace):
    root = photos(workplace / "pets", ("cat", "dog"), count=3)
    for n in range(3):
        (root / "dog" / f"{n:03}.png").write_bytes(image_file(n)[: 60 * n])
    found = api.audit_data("pets", page="audit.html", write="labels.csv")
    assert files_of(found, "unreadable") == [[f"dog/{n:03}.png"] for n in range(3)]
    assert set(found.left_out) == {"copies", "groups", "labels", "balance", "sizes"}
    assert Path("audit.html").exists() and not Path("labels.csv").exists()


def test_a_published_data_set_has_no_files(bars, monkeypatch):
    found = api.audit_data("mnist", only=["files", "copies", "balance"])
    assert found.images == 300 and found.findings["unreadable"] == []
    with pytest.raises(DataError, match="have no files"):
        api.audit_data("mnist", only=["sizes"])
    with pytest.raises(BadArgument, match="published data set"):
        api.audit_data("mnist", write="labels.csv")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"page": "taken.html"}, "page=taken.html: is there already; name another file"),
        ({"write": "taken.html"}, "write=taken.html: is there already"),
        ({"page": "."}, "page=.: is a folder"),
        ({"page": "a", "write": "a"}, "write=a: is where the page goes, too"),
        ({"only": ["label"]}, "only=label: is no check; did you mean labels"),
        ({"folds": 1}, "folds=1: must be a whole number of at least 2"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_read(
    workplace, monkeypatch, options, said
):
    Path("taken.html").write_text("mine")
    monkeypatch.setattr(sources, "open_data", lambda *rest: pytest.fail("read"))
    with pytest.raises(BadArgument) as why:
        api.audit_data("pets", **options)
    assert said in str(why.value)
    assert Path("taken.html").read_text() == "mine"


def test_a_page_that_is_there_is_replaced_where_that_is_asked_for(messy):
    Path("audit.html").write_text("old")
    api.audit_data("pets", only=["balance"], page="audit.html", force=True)
    assert "ant: 3 images to learn from" in Path("audit.html").read_text()


@pytest.mark.parametrize(
    ("classes", "said"), [((), "holds no image"), (("cat",), "has one class only (cat)")]
)
def test_a_folder_that_is_no_data_set(workplace, classes, said):
    (workplace / "pets").mkdir()
    photos(workplace / "pets", classes)
    with pytest.raises(BadArgument, match="pets") as why:
        api.audit_data("pets")
    assert said in str(why.value)
