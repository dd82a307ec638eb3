"""`convscope data` as a stranger types it."""

from __future__ import annotations

import json
import re

import pytest
from photos import image_file, photos
from PIL import Image
from quick import SMALL
from written import digit, photographed, put, sheet


def test_data_is_listed_and_described(bars, run):
    said = run("data", "--json")
    assert json.loads(said.out)["mnist"] == "inside the package"
    assert set(json.loads(said.out)) == {
        "mnist",
        "mnist-pairs",
        "fashion-mnist",
        "cifar10",
        "cifar100",
    }
    info = json.loads(run("data", "info", "mnist", "--json").out)
    assert info["counts"]["train"] == {"flat": 80, "upright": 80, "spot": 80}
    assert info["shape"] == [1, 12, 12]
    pixels = bars.splits["train"].images / 255
    assert info["mean"][0] == pytest.approx(pixels.mean())
    assert info["std"][0] == pytest.approx(pixels.std())
    assert info["unread"] == {} and info["duplicates"]["test_in_train"] == 0
    said = run("data", "info", "mnist").out
    assert "80" in said and "not read" not in said
    assert "identical images: none\n" in said


def test_copies_and_files_that_are_not_read_are_counted(workplace, run):
    root = photos(workplace / "pets", count=6)
    for name in ("x.heic", "y.mov", "z.heic"):
        (root / "cat" / name).write_bytes(b"x")
    (root / "dog" / "copy.png").write_bytes((root / "cat" / "000.png").read_bytes())
    said = run("data", "info", "pets")
    assert "under two labels, of which one at most is right: 2, such as" in said.err
    assert "pets: 3 files were not read: 2 .heic, 1 .mov; save what is a picture" in said.err
    assert "2 under two labels\nnot read: 2 .heic, 1 .mov\n" in said.out
    found = json.loads(run("data", "info", "pets", "--json").out)
    assert found["unread"] == {".heic": 2, ".mov": 1} and found["duplicates"]["two_labels"] == 2


def test_a_batch_is_drawn(bars, run):
    said = run("data", "show", "mnist", "--count", "8")
    assert said.out.strip() == "mnist.png"
    with Image.open("mnist.png") as picture:
        assert picture.size[0] > 300
    said = run("data", "show", "mnist")
    assert said.code == 2 and "--out mnist.png: is there already" in said.err


def test_what_is_cut_out_of_a_photograph_is_drawn(workplace, run):
    ink = put(put(sheet(), digit(4), 30, 10), digit(7), 40, 160)
    Image.fromarray(photographed(ink)).convert("RGB").save("paper.jpg")
    said = run("data", "show", "paper.jpg", "--digits")
    assert (said.code, said.out.strip()) == (0, "paper-digits.png")
    with Image.open("paper-digits.png") as picture:
        assert picture.size[1] > picture.size[0] * 240 / 320  # the photograph, and more below
    said = run("data", "show", "paper.jpg", "--digits")
    assert said.code == 2 and "--out paper-digits.png: is there already" in said.err
    Image.fromarray(photographed(sheet())).save("empty.jpg")
    said = run("data", "show", "empty.jpg", "--digits")
    assert said.code == 1 and "empty.jpg: shows no digit: there is no ink on it" in said.err


def test_train_and_eval_tell_the_accuracy_without_copies(workplace, run):
    for split in ("train", "test"):
        photos(workplace / "pets" / split, ("cat", "dog"), count=8, mode="L", size=(12, 12))
    for n in range(6):  # of 8 of each class in test; the others are copies
        for at, name in enumerate(("cat", "dog")):
            new = image_file(1000 * (at + 1) + n, (12, 12), "L")
            (workplace / "pets" / "test" / name / f"{n:03}.png").write_bytes(new)
    said = run("train", "pets", *SMALL, "--out", "a")
    text = "on the 12 test images that are not training images, too\n"
    assert said.code == 0 and re.search(rf"new images    \d+\.\d\d% {text}", said.out)
    assert "4 of 16 (25 %)" in said.err and text in run("eval", "a").out


def test_a_folder_is_looked_through(workplace, run):
    root = photos(workplace / "pets", ("cat", "dog"), count=6)
    (root / "dog" / "copy.png").write_bytes((root / "cat" / "000.png").read_bytes())
    (root / "dog" / "bad.png").write_bytes(b"x")
    said = run("data", "audit", "pets", "--only", "files,copies,balance", "--json")
    found = json.loads(said.out)
    assert found["images"] == 13 and found["suspects"] == 3
    [pair] = found["findings"]["two_labels"]
    assert pair["files"][1] == {"file": "dog/copy.png", "label": "dog", "split": "train"}
    words = ("--only", "files,copies", "--page", "a.html", "--write", "a.csv", "--show", "1")
    said = run("data", "audit", "pets", *words)
    assert said.code == 0
    assert re.search(r"One image under two labels +1 +keep the file", said.out)
    assert re.search(r"1 +cat/000.png +cat +train +identical +\n +and 1 more", said.out)
    assert "dog/bad.png" in said.out and "page     a.html" in said.out
    said = run("data", "audit", "pets", "--page", "a.html")
    assert said.code == 2 and "--page a.html: is there already" in said.err
    said = run("data", "audit", "pets", "--only", "labls")
    assert said.code == 2 and "--only labls: is no check; did you mean labels" in said.err


def test_a_list_of_labels_is_described_drawn_and_looked_through(workplace, run):
    photos(workplace / "pets", ("cat", "dog"), count=5)
    lines = [f"{kind}/{n:03}.png,{'ab'[n % 2]}" for kind in ("cat", "dog") for n in range(5)]
    (workplace / "l.csv").write_text("\n".join(["file,label", *lines, "gone.png,a"]))
    info = json.loads(run("data", "info", "pets", "--labels", "l.csv", "--skip-bad", "--json").out)
    assert info["classes"] == ["a", "b"] and info["skipped"] == 1
    assert "left out: 1" in run("data", "info", "pets", "--labels", "l.csv", "--skip-bad").out
    words = ["data", "show", "pets", "--labels", "l.csv", "--out", "a.png"]
    said = run(*words)
    assert said.code == 1 and "line 12: names gone.png" in said.err
    assert run(*words, "--skip-bad").out.strip() == "a.png"
    words = ["pets", "--labels", "l.csv", "--skip-bad", "--only", "copies", "--json"]
    found = json.loads(run("data", "audit", *words).out)
    assert found["images"] == 10
