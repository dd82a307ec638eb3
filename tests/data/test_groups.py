"""Files that belong together are told by their names, and numbering accuses nobody."""

import numpy as np
import pytest
from photos import image_file

from convscope.data import split
from convscope.data.groups import LARGEST, augmented, groups, stem, torn
from convscope.data.sources import open_data
from convscope.recipe import resolve


def together(*paths: str) -> list[list[str]]:
    """The groups of more than one."""
    first = groups(paths)
    sets = [[path for path, of in zip(paths, first, strict=True) if of == at] for at in set(first)]
    return sorted(group for group in sets if len(group) > 1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bare/192.jpg", "mask/192-with-mask.jpg"),
        ("train/a/cat7.png", "test/a/cat7_flip.png"),
        ("a/IMG_4.jpg", "a/IMG_4 (2).jpg"),
        ("a/IMG_4.jpg", "a/aug_IMG_4.jpg"),
        ("a/lily.jpg", "a/lily copy.jpg"),
        ("a/lily.jpg", "a/Copy of Lily.JPG"),
        ("a/image_12.jpg", "b/augmented_image_12.jpg"),
    ],
)
def test_a_photo_and_what_was_made_of_it(one, other):
    assert together(one, other, "a/500.jpg", "b/cat8.png") == [[one, other]]


@pytest.mark.parametrize(
    "paths",
    [
        ("cat/1.jpg", "dog/1.jpg", "train/cat/1.jpg"),  # every folder counts from 1
        ("a/IMG_1118.jpg", "a/IMG_1119.jpg", "b/IMG_1120.jpg"),
        ("a/glass1.jpg", "a/glass11.jpg", "a/glass2.jpg"),
        ("a/3f2a9c.png", "a/3f2b11.png", "a/3f77aa.png"),  # hashes
        ("a/red.png", "a/red-car.png"),
    ],
)
def test_numbers_are_no_group(paths):
    assert together(*paths) == []


def test_a_folder_goes_before_others():
    paths = ["cat/1.jpg", "cat/1-flip.jpg", "dog/1.jpg", "dog/2.jpg"]
    assert together(*paths) == [["cat/1.jpg", "cat/1-flip.jpg"]]


def test_what_too_many_share_is_no_photo():
    """A date or a class before the number of the photo."""
    day = [f"a/2024-05-{d:02}_{n}{end}.jpg" for d in (1, 2) for n in range(50) for end in ("", "b")]
    assert len(day) > LARGEST
    assert together(*day) == []  # 50b is no number
    made = [*day, "a/2024-05-01_7_flip.jpg"]
    assert together(*made) == [["a/2024-05-01_7.jpg", "a/2024-05-01_7_flip.jpg"]]


def test_stems_and_marks():
    assert stem("x/.jpg") == "" and stem("x/___.png") == "___"
    assert augmented("x/Aug-3.png") == "aug-" and augmented("x/august-3.png") == ""


def test_torn_groups_are_named_with_the_flag_that_keeps_them_together(tmp_path):
    for name in ("mask", "bare"):
        (tmp_path / "p" / name).mkdir(parents=True)
        for n in range(12):
            file = f"{n}{'-with-mask' * (name == 'mask')}.png"
            (tmp_path / "p" / name / file).write_bytes(
                image_file(n + 50 * (name == "mask"), (6, 6))
            )
    pack = open_data(tmp_path / "p")
    held = split.held_out(resolve({"val": 0.2}), pack)
    notice = torn(pack, held)
    sides = {f: s for s, one in pack.splits.items() for f in one.files}
    sides |= {pack.splits["train"].files[at]: "val" for at in held}
    apart = sum(sides[f"bare/{n}.png"] != sides[f"mask/{n}-with-mask.png"] for n in range(12))
    assert notice.warning and f"{apart} of 12 groups of images are torn between" in notice.text
    assert "one stem; --group stem keeps such together" in notice.text and 0 < apart < 12
    assert torn(pack, held, "none") is None

    whole = open_data(tmp_path / "p", group="stem")
    held = split.held_out(resolve({"val": 0.2}), whole)
    assert torn(whole, held) is None and torn(whole, held, "stem") is None
    sides = {f: s for s, one in whole.splits.items() for f in one.files}
    sides |= {whole.splits["train"].files[at]: "val" for at in held}
    for n in range(12):
        assert sides[f"bare/{n}.png"] == sides[f"mask/{n}-with-mask.png"]
    assert set(sides.values()) == {"train", "val", "test"}


def test_groups_of_a_list_that_are_in_two_splits_are_named(tmp_path):
    lines = ["file,label,split,group"]
    for n in range(6):
        (tmp_path / f"{n}.png").write_bytes(image_file(n, (6, 6)))
        lines.append(f"{n}.png,{'ab'[n % 2]},{'test' if n > 3 else 'train'},{'xyyyzz'[n]}")
    (tmp_path / "l.csv").write_text("\n".join(lines))
    pack, nothing = open_data(tmp_path / "l.csv"), np.empty(0, np.int64)
    assert torn(pack, nothing) is None
    (tmp_path / "l.csv").write_text("\n".join(lines).replace("3.png,b,train", "3.png,b,test"))
    notice = torn(open_data(tmp_path / "l.csv"), nothing)
    assert "1 of 2 groups of images are torn" in notice.text and "1.png and 3.png" in notice.text
    assert notice.text.endswith("write one split for all rows of a group") and notice.warning
