"""What a folder holds is read off its names: classes, splits, or an error that names the folder."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import put, several

from convscope.data.layout import arranged, held_out, not_read, unread_kinds
from convscope.data.scan import scan
from convscope.errors import BadArgument


def found_in(root):
    return arranged(root, *scan(root))


def paths(layout, split) -> list[str]:
    return [sample.path for sample in layout.splits[split]]


# Classes


def test_a_folder_a_class(tmp_path):
    put(tmp_path, *several("dog", "cat/tabby", "cat", count=20))
    layout = found_in(tmp_path)
    assert layout.classes == ("cat", "dog")
    assert list(layout.splits) == ["train", "test"]
    train, test = paths(layout, "train"), paths(layout, "test")
    assert sorted(train + test) == sorted(several("dog", "cat/tabby", "cat", count=20))
    assert train == sorted(train) and test == sorted(test)
    assert any(path.startswith("cat/tabby/") for path in train)
    for samples in layout.splits.values():
        assert all(layout.classes[label] == path.partition("/")[0] for path, label in samples)
    assert [(remark.text, remark.warning) for remark in layout.remarks] == [
        (f"no test folder: {len(test)} images, a fifth by their names, are held out as test", False)
    ]


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Validation"])
@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "Testing")])
def test_a_folder_a_split(tmp_path, train, val, test):
    folders = [f"{folder}/{name}" for folder in (test, val, train) for name in "ab"]
    layout = found_in(put(tmp_path, *several(*folders)))
    assert layout.classes == ("a", "b")
    assert list(layout.splits) == ["train", "val", "test"]
    for split, folder in (("train", train), ("val", val), ("test", test)):
        assert paths(layout, split) == several(f"{folder}/a", f"{folder}/b")
        assert [label for _, label in layout.splits[split]] == [0, 0, 0, 1, 1, 1]
    assert not layout.remarks


def test_without_a_test_folder_it_comes_out_of_train(tmp_path):
    plain = found_in(put(tmp_path / "plain", *several("a", "b", count=30)))
    alone = found_in(put(tmp_path / "alone", *several("train/a", "train/b", count=30)))
    both = put(tmp_path / "both", *several("train/a", "train/b", count=30), *several("val/a"))
    both = found_in(put(both, *several("val/b")))
    for layout in (alone, both):
        for split in ("train", "test"):
            assert paths(layout, split) == [f"train/{path}" for path in paths(plain, split)]
    assert paths(both, "val") == several("val/a", "val/b")


@pytest.mark.parametrize("name", ["train", "Training"])
def test_train_may_be_the_name_of_a_class(tmp_path, name):
    layout = found_in(put(tmp_path, *several(name, f"{name}/steam", "bus", "plane")))
    assert sorted(layout.classes) == sorted(["bus", "plane", name])
    assert f"{name} is taken for a class, as it holds images and no class folders" in [
        remark.text for remark in layout.remarks
    ]


@pytest.mark.parametrize(("test", "val"), [("test", "val"), ("TEST", "Valid")])
def test_images_of_a_split_without_class_folders_have_no_labels(tmp_path, test, val):
    """root/{train/0, train/1, test/*.png}: what is to be predicted is neither class nor split."""
    layout = found_in(put(tmp_path, *several("train/0", "train/1", test, val, count=30)))
    assert layout.classes == ("0", "1") and list(layout.splits) == ["train", "test"]
    assert all(
        path.startswith("train/") for split in layout.splits for path in paths(layout, split)
    )
    assert [(remark.text, remark.warning) for remark in layout.remarks][:2] == [
        (
            f"images in {tmp_path / place} have no class folders, and so no labels: they are left "
            "out (30); convscope predict tells what they are",
            True,
        )
        for place in sorted([test, val])
    ]


def test_a_linked_split_is_a_split(tmp_path):
    put(tmp_path / "elsewhere", *several("a", "b"))
    root = put(tmp_path / "root", *several("Train/a", "Train/b"))
    try:
        (root / "Test").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    layout = found_in(root)
    assert paths(layout, "test") == several("Test/a", "Test/b")


def test_files_that_are_not_read_are_counted_by_their_suffix(tmp_path):
    put(tmp_path, *several("train/cat", "train/dog", "test/cat", "test/dog", "extra"))
    put(
        tmp_path, "train/cat/a.heic", "train/cat/b.HEIC", "test/dog/deep/c.mov", "test/dog/list.txt"
    )
    put(tmp_path, "labels.csv", "train/readme.md", "extra/x.psd", "train/cat/Thumbs.db")
    counts = unread_kinds(tmp_path, *scan(tmp_path))
    assert counts == {".heic": 2, ".mov": 1, ".txt": 1}
    notice = not_read(counts)
    assert notice.warning and notice.text == (
        "4 files were not read: 2 .heic, 1 .mov, 1 .txt; save what is a picture among them as JPEG "
        "or PNG"
    )
    flat = put(tmp_path / "flat", *several("cat", "dog"), "cat/1.txt", "labels.csv")
    notice = not_read(unread_kinds(flat, *scan(flat)))
    assert (notice.text, notice.warning) == ("1 file was not read: 1 .txt", False)
    assert not_read({}) is None


def test_what_is_passed_over_is_said(tmp_path):
    put(tmp_path, *several("train/a", "train/b", "test/a"), "test/loose.png", "train/1.png")
    put(tmp_path, "extra/deep/x.png", "extra/y.png", "cover.png", "labels/list.txt", "train/2.png")
    assert [(remark.text, remark.warning) for remark in found_in(tmp_path).remarks] == [
        (f"images in {tmp_path} outside of class folders are passed over (1)", True),
        (f"images in {tmp_path / 'extra'} outside of class folders are passed over (2)", True),
        (f"images in {tmp_path / 'test'} outside of class folders are passed over (1)", True),
        (f"images in {tmp_path / 'train'} outside of class folders are passed over (2)", True),
        ("test has no image of b", True),
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "{root}: holds no image; known are files named .apng"),
        (["a/notes.txt"], "{root}: holds no image"),
        (["1.png", "2.png"], "{root}: has no class folders; put the images of each class"),
        (several("cat"), "{root}: has one class only (cat), .*; add a folder, or name {root}/cat"),
        ([*several("cat", "dog"), "cow/"], "{root}/cow: is a class folder without an image; put"),
        (several("test/a", "val/a"), "{root}: has test but no train folder"),
        (several("train/a", "train/b", "val/a", "valid/a"), "{root}: has val and valid; keep one"),
        (several("train", "test"), "{root}: has images in test, train, .*, and no class folders; "),
        (several("Train"), "{root}: has images in Train, .*if these are the classes, rename them"),
        ([*several("train", "test/a", "test/b")], "{root}/train: has no class folders"),
        (
            several("train/a", "train/b", "extra"),
            "{root}/train: holds folders of images, as a split does, beside extra, so that it may "
            "be a split or a class; if it is a split, move extra elsewhere; if it is a class, "
            "rename it",
        ),
        (several("train/a", "train/b", "extra/a", "extra/b"), "{root}/train: holds folders of"),
        (several("a", "b", "test/a", "test/b"), "{root}/test: holds folders of images, as a split"),
        (
            several("cat", "dog", "test"),
            "{root}/test: holds images and no class folders, beside cat, dog, so that it may be a "
            "class, or images without labels; rename it if it is a class, such as test_class",
        ),
        (several("cat", "dog", "train", "Valid"), "{root}/Valid: holds images and no class"),
        (several("a", "test/a", "val/a"), "{root}: has test but no train folder"),
        (["a/1.heic", "b/2.heic", "c.txt"], "holds no image, but files that are not read (2 .heic"),
        (
            [*several("cat", "dog"), "cow/1.heic", "cow/2.mov"],
            "{root}/cow: is a class folder without an image, but files that are not read (1 .heic, "
            "1 .mov); put",
        ),
        ([*several("train/a", "train/b"), "test/"], "{root}/test: holds no image in a"),
        (
            several("train/a", "train/b", "test/a", "test/c"),
            "{root}/test/c: is none of the classes in {root}/train; the classes are a, b",
        ),
        ([*several("train/a", "test/a", "test/b"), "train/b/"], "{root}/train/b: is a class"),
        (["a/1.png", "b/1.png"], "{root}: has one image a class, and none to hold out as test"),
        (several("a", "b\udcff"), "is no UTF-8; rename the folder"),
    ],
)  # fmt: skip
def test_no_layout_is_an_error_that_names_the_folder(tmp_path, files, message):
    put(tmp_path, *files)
    with pytest.raises(BadArgument) as caught:
        found_in(tmp_path)
    text = str(caught.value)
    begin, _, end = message.replace("{root}", str(tmp_path)).partition(".*")
    assert begin in text and end in text
    assert text.startswith("data=")


# Held out


names = st.lists(st.text("abc123 ä\udcff", min_size=1), min_size=2, max_size=40, unique=True)


@settings(max_examples=60, deadline=None)
@given(names, st.data())
def test_an_image_stays_on_its_side_when_others_are_added(files, data):
    whole = held_out(files)
    assert 0 < len(whole) < len(files)
    some = data.draw(st.lists(st.sampled_from(files), min_size=2, unique=True))
    part = held_out(some)
    moved = part ^ (whole & set(some))
    assert len(moved) <= 1  # only to have the class on both sides
    if part & whole and set(some) - part - whole:
        assert not moved


def test_a_fifth_is_held_out_whatever_the_folder_above_is_called():
    files = [f"cat/{n}.png" for n in range(5000)]
    chosen = held_out(files)
    assert 0.18 < len(chosen) / len(files) < 0.22
    assert held_out([f"train/{path}" for path in files], "train") == {
        f"train/{path}" for path in chosen
    }
    assert held_out(["cat/1.png"]) == set()
