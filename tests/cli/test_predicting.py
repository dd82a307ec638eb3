"""`convscope predict` as a stranger types it."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from exported import copied, exported
from PIL import Image
from quick import QUICK, SMALL
from written import digit, photographed, put, sheet

import convscope as cs
from convscope.data import sources
from convscope.data.pack_writer import write_pack
from convscope.predicting import manifest, shards
from convscope.trained import TorchProvider


def test_predict_in_every_form(bars, run):
    run("train", "mnist", *SMALL, "--out", "a")
    images = bars.splits["test"].images
    Path("pictures").mkdir()
    for i in range(3):
        Image.fromarray(images[i, 0]).save(f"pictures/{i}.png")
    Path("pictures/bad.png").write_bytes(b"")
    said = run("predict", "a", "pictures", "--json", "--top-k", "2")
    assert said.code == 1  # one could not be read
    results = json.loads(said.out)["results"]
    assert [Path(r["file"]).name for r in results] == ["0.png", "1.png", "2.png", "bad.png"]
    assert all(
        set(r) == {"file", "top", "unsure", "ood", "prediction_set", "error"} for r in results
    )
    assert [len(r["top"]) for r in results] == [2, 2, 2, 0]
    assert "is empty" in results[3]["error"] and "bad.png: is empty" in said.err
    rows = list(csv.DictReader(io.StringIO(run("predict", "a", "pictures", "--csv", "-").out)))
    assert len(rows) == 4 and rows[0]["label_1"] == results[0]["top"][0]["label"]
    assert float(rows[0]["p_1"]) == pytest.approx(results[0]["top"][0]["p"], abs=1e-6)
    said = run("predict", "a", "pictures/0.png")
    assert said.code == 0 and said.out.startswith("pictures/0.png: ")


@pytest.fixture
def pictures(bars, run):
    """A run in ``a``, and 30 images of its test split in ``pictures``."""
    run("train", "mnist", *SMALL, "--out", "a")
    Path("pictures").mkdir()
    for i in range(30):
        Image.fromarray(bars.splits["test"].images[i, 0]).save(f"pictures/{i:02}.png")
    return Path("pictures")


def test_answers_are_written_as_they_come_whole_or_not_at_all(run, pictures, monkeypatch):
    monkeypatch.setattr("convscope.predicting.predictor.BATCH", 7)
    printed = run("predict", "a", "pictures", "--csv", "-")
    said = run("predict", "a", "pictures", "--csv", "out.csv")
    assert (said.code, printed.code) == (0, 0) and Path("out.csv").read_text() == printed.out
    rows = list(csv.DictReader(io.StringIO(printed.out)))
    assert [row["file"] for row in rows] == [f"pictures/{i:02}.png" for i in range(30)]
    assert [row["label_1"] for row in rows] == [
        one["top"][0]["label"]
        for one in json.loads(run("predict", "a", "pictures", "--json").out)["results"]
    ]
    again = run("predict", "a", "pictures", "--csv", "out.csv", "--top-k", "1")
    assert again.code == 2 and "--csv out.csv: is there already; name another" in again.err
    for force in ([], ["--force"]):
        wrong = run("predict", "a", "pictures", "--csv", "pictures", *force)
        assert wrong.code == 2 and "--csv pictures: is a folder; name a file" in wrong.err
    assert Path("out.csv").read_text() == printed.out
    words = ["predict", "a", "pictures", "--csv", "out.csv", "--force"]
    both = run(*words, "--top-k", "1", "--json")
    assert len(json.loads(both.out)["results"]) == 30
    first = Path("out.csv").read_text()
    assert "label_1" in first and "label_2" not in first and len(first.splitlines()) == 31

    calls, provide = [], TorchProvider.__call__

    def fails(self, images, emit=cs.silent):
        calls.append(len(images))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return provide(self, images, emit)

    monkeypatch.setattr(TorchProvider, "__call__", fails)
    before = sorted(Path().iterdir())
    assert run(*words).code == 130
    assert run("predict", "a", "pictures", "--csv", "new.csv").code == 0 and calls[:3] == [7] * 3
    Path("new.csv").unlink()
    assert sorted(Path().iterdir()) == before and Path("out.csv").read_text() == first
    assert run("predict", "a", "pictures", "--force").code == 2
    assert "only one form" in run("predict", "a", "x", "--json", "--csv", "-").err


def test_long_lists_are_counted(run, pictures):
    for i in range(25):
        (pictures / f"bad{i}.png").write_bytes(b"")
    said = run("predict", "a", "pictures", "--show", "4")
    results = json.loads(run("predict", "a", "pictures", "--json").out)["results"]
    lines = said.out.splitlines()
    assert [line.partition(":")[0] for line in lines[:4]] == [
        f"pictures/{i:02}.png" for i in range(4)
    ]
    assert lines[4] == "55 answers, of which 4 are shown (--show N, --csv FILE)"
    labels = Counter(one["top"][0]["label"] for one in results if one["top"])
    assert {line.split()[0]: line.split()[1] for line in lines[6:-1]} == {
        label: str(n) for label, n in labels.items()
    }
    assert lines[-1].split() == ["not", "read", "25", "0"] and said.code == 1
    errors = said.err.splitlines()[-21:]
    assert all(": is empty" in line for line in errors[:20])
    assert errors[20] == "error: and 5 more that could not be read"
    written = run("predict", "a", "pictures", "--csv", "out.csv")
    assert written.out.startswith("55 answers\n") and "pictures" not in written.out


def test_names_or_an_image_come_from_standard_input(run, pictures, monkeypatch):
    def piped(content: bytes, *words: str):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        return run("predict", "a", *words, "--csv", "-")

    wanted = run("predict", "a", "pictures/01.png", "pictures/02.png", "--csv", "-").out
    assert piped(b"pictures/01.png\npictures/02.png\n", "-").out == wanted
    assert piped(b"pictures/02.png\n", "pictures/01.png", "-").out == wanted
    one = piped((pictures / "01.png").read_bytes(), "-").out.splitlines()[1]
    assert one.split(",")[1:] == wanted.splitlines()[1].split(",")[1:] and one[:2] == "-,"
    said = piped(b"gone.png\n", "-")
    assert said.code == 1 and "error: gone.png: is not there" in said.err
    said = piped(b"", "-")
    assert said.code == 2 and "FILES=-: standard input is empty; pipe names" in said.err


def test_names_are_shown_without_their_control_characters(run, pictures):
    (pictures / "\x1b[2J\n.png").write_bytes(b"")
    (pictures / "00.png").rename(pictures / "\x1b[31m.png")
    said = run("predict", "a", "pictures")
    assert said.code == 1 and "error: pictures/\\x1b[2J\\n.png: is empty" in said.err
    assert "\x1b" not in said.out + said.err and "pictures/\\x1b[31m.png: " in said.out


def test_a_table_names_what_is_predicted(run, pictures):
    Path("pictures/list.csv").write_text("id:image,label\n03,spot\n01.png,flat\n09,\n")

    def rows(name: str) -> list[dict[str, str]]:
        said = run("predict", "a", name, "--csv", "-")
        return list(csv.DictReader(io.StringIO(said.out)))

    found, whole = rows("pictures/list.csv"), {one["file"]: one for one in rows("pictures")}
    assert [one.pop("file") for one in found] == ["03", "01.png", "09"]
    for name, one in zip(("03", "01", "09"), found, strict=True):
        assert one == {k: v for k, v in whole[f"pictures/{name}.png"].items() if k != "file"}


def test_what_is_to_be_said_against_an_answer(bars, run):
    words = ["--model", "cnn", "--widths", "4,8", "--epochs", "3", "-b", "40", "--lr", "0.01"]
    words += [*SMALL[-6:], "--val", "0.5", "--abstain", "0.1"]  # the network answers well
    trained = run("train", "mnist", *words, "--out", "a")
    assert "are unsure\n" in trained.out and "; bound 10%)" in trained.out
    random = np.random.default_rng(0)
    for i in range(9):
        noise = random.integers(0, 256, (12, 12), np.uint8)
        Image.fromarray(noise if i % 2 else bars.splits["test"].images[i, 0]).save(f"{i}.png")
    names = [f"{i}.png" for i in range(9)]
    found = json.loads(run("predict", "a", *names, "--set", "0.9", "--json").out)["results"]
    assert any(one["ood"] for one in found) and not all(one["unsure"] for one in found)
    rows = csv.DictReader(
        io.StringIO(run("predict", "a", *names, "--set", "0.9", "--csv", "-").out)
    )
    lines = run("predict", "a", *names, "--set", "0.9").out.splitlines()
    for one, row, line in zip(found, rows, lines, strict=True):
        assert one["top"][0]["label"] == one["prediction_set"][0]
        assert row["prediction_set"] == "|".join(one["prediction_set"])
        assert (row["unsure"], row["ood"]) == tuple(str(one[k]).lower() for k in ("unsure", "ood"))
        assert "{" + ", ".join(one["prediction_set"]) + "}" in line
        assert line.endswith("(unsure: looks like nothing it was trained on)") == one["ood"]
        assert ("(unsure" in line) == one["unsure"]
    strict = run("predict", "a", *names, "--abstain", "0.03", "--json")
    loose = [one["unsure"] for one in found]
    assert sum(one["unsure"] for one in json.loads(strict.out)["results"]) > sum(loose)
    said = run("predict", "a", *names, "--abstain", "0.001")
    assert said.code == 2 and "--abstain 0.001: an error of at most 0.1% takes 2,995" in said.err
    said = run("eval", "a", "--split", "val", "--abstain", "0.2")
    assert "; bound 20%)" in said.out


def test_invert_only_when_asked(bars, run):
    run("train", "mnist", *SMALL, "--out", "a")
    image = bars.splits["test"].images[0, 0]
    Image.fromarray(image).save("dark.png")
    Image.fromarray(255 - image).save("paper.png")
    dark, paper = json.loads(run("predict", "a", "dark.png", "paper.png", "--json").out)["results"]
    assert dark["top"] != paper["top"]
    inverted = json.loads(run("predict", "a", "paper.png", "--invert", "--json").out)["results"][0]
    assert [guess["label"] for guess in inverted["top"]] == [
        guess["label"] for guess in dark["top"]
    ]
    assert inverted["top"][0]["p"] == pytest.approx(dark["top"][0]["p"], rel=1e-5)


def test_photographed_digits_are_read(workplace, run, monkeypatch):
    whole = sources.open_data("mnist")
    few = {
        name: (np.array(whole.splits[name].images[:n]), np.array(whole.splits[name].labels[:n]))
        for name, n in (("train", 3000), ("test", 200))
    }
    packed = write_pack(workplace / "few", "mnist", whole.classes, few, "a part of MNIST")
    ink = put(put(put(sheet(200, 400), digit(4), 30, 10), digit(7), 20, 130), digit(1), 40, 250)
    Image.fromarray(photographed(ink)).save("paper.jpg")
    Image.fromarray(photographed(sheet())).save("empty.jpg")
    Image.fromarray(digit(3)).save("3.png")
    monkeypatch.setattr(sources, "open_data", lambda *given, **named: packed)
    cs.train("mnist", **{**QUICK, "epochs": 4}, out="a", emit=cs.silent)
    said = run("predict", "a", "paper.jpg", "3.png", "--json")
    found = json.loads(said.out)["results"]
    assert [one["top"][0]["label"] for one in found[:3]] == ["4", "7", "1"]
    assert [Path(one["file"]).name for one in found] == ["paper.jpg"] * 3 + ["3.png"]
    assert all(len(one["box"]) == 4 for one in found[:3]) and "box" not in found[3]
    assert "1 of 2 images: taken for dark writing on paper" in said.err
    said = run("predict", "a", "paper.jpg", "--digits", "--top-k", "1")
    first, *_, last = said.out.splitlines()
    at = "[{},{} to {},{}]".format(*found[0]["box"])
    assert first.startswith(f"paper.jpg {at}: 4 ") and said.err == ""
    written = ["?" if one["unsure"] else one["top"][0]["label"] for one in found[:3]]
    assert last == f"paper.jpg: {''.join(written)}"
    rows = list(csv.DictReader(io.StringIO(run("predict", "a", "paper.jpg", "--csv", "-").out)))
    assert [row["box"] for row in rows] == [" ".join(map(str, one["box"])) for one in found[:3]]
    said = run("predict", "a", "paper.jpg", "--no-digits")
    assert said.out.count("paper.jpg") == 1 and "[" not in said.out and said.err == ""
    said = run("predict", "a", "empty.jpg", "--digits")
    assert said.code == 1 and "error: empty.jpg: shows no digit: there is no ink on it" in said.err
    said = run("predict", "a", "paper.jpg", "--digits", "--invert")
    assert said.code == 2 and "--invert: does not go with digits" in said.err


def test_a_name_that_is_no_text_stops_nothing(bars, run):
    run("train", "mnist", *SMALL, "--out", "a")
    name = os.fsdecode(b"caf\xe9.png")
    Image.fromarray(bars.splits["test"].images[0, 0]).save(name)
    code = "import sys; from convscope.cli import main; sys.argv = sys.argv[1:]; main()"
    for form in (["--csv", "-"], ["--json"]):
        words = ["convscope", "predict", "a", name, *form]
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert b"\\udce9" in done.stdout and b"\r" not in done.stdout


def test_many_images_go_into_a_folder(bars, workplace, run, monkeypatch):
    file = exported(bars, workplace / "b")
    Path("pictures").mkdir()
    for i in range(30):
        Image.fromarray(bars.splits["test"].images[i, 0]).save(f"pictures/{i:02}.png")
    Path("pictures/bad.png").touch()
    words = ["predict", str(file), "pictures", "--into", "out", "--shard", "7"]
    said = run(*words, "--preview")
    assert said.code == 0 and said.out.startswith("31 images (") and not Path("out").exists()
    assert said.out.endswith("); 5 of 5 shards to do; nothing was written\n")
    said = run(*words, "--workers", "2", "--json")
    found = json.loads(said.out)
    assert (said.code, found["images"], found["answers"], found["unreadable"]) == (1, 31, 30, 1)
    assert said.err.splitlines()[-1].startswith("error: pictures/bad.png: is empty; copy it again")
    single = run("predict", str(file), "pictures", "--csv", "-").out.splitlines()
    parts = [one.read_text().splitlines() for one in sorted(Path("out/predictions").iterdir())]
    assert len(parts) == 5 and [row for one in parts for row in one[1:]] == single[1:]
    again = run("predict", str(file), "--into", "out")
    assert again.code == 1 and f"{Path('out/predictions').absolute()}: 31 images in 5 files" in (
        again.out
    )
    assert again.out.startswith("31 answers\n") and ": 1 that could not be read" in again.out
    assert run(*words, "--preview").out == "31 images; 0 of 5 shards to do; nothing was written\n"
    said = run(*words, "--top-k", "1")
    assert said.code == 2 and "error: --top-k 1: differs from what " in said.err
    for wrong, text in (
        (["--into", "x", "--csv", "y.csv"], "--csv y.csv: does not go with --into"),
        (["--into", "x", "--show", "3"], "--show 3: does not go with --into"),
        (["--shard", "3"], "--shard 3: is for --into DIR"),
        (["--preview"], "--preview: is for --into DIR"),
        (["--into", "x", "--workers", "0"], "--workers 0: must be a whole number from 1 to"),
        (["--into", "x", "--format", "xml"], "--format xml: must be one of csv, parquet"),
        (["--into", "x", "--data", "mnist"], "--data mnist: is in the place of files"),
    ):
        said = run("predict", str(file), "pictures", *wrong)
        assert said.code == 2 and text in said.err, said.err
    said = run("predict", str(file))
    assert said.code == 2 and "error: FILES=(not given): is needed (images," in said.err
    said = run("predict", str(file), "--into", "new")
    assert said.code == 2 and "FILES=(not given): is needed" in said.err
    monkeypatch.setattr(manifest.Inventory, "written", _interrupted)
    said = run("predict", str(file), "pictures", "--into", "new")
    assert said.code == 130 and "stopped; the same command goes on" in said.err


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
def test_a_process_that_is_killed_ends_all_and_nothing_is_lost(bars, workplace, monkeypatch):
    """The one that began the others predicts, too, and hears of it at once."""
    file = exported(bars, workplace / "b")
    killed = list[int]()

    def at_work(*given: object) -> str:  # until it is killed, however late that is
        time.sleep(600)
        return "was not killed"

    def emit(event: object) -> None:
        if not isinstance(event, cs.Progress) or event.stage != "predict":
            return
        if killed:  # its end is heard of in a moment, before this one has done all by itself
            time.sleep(0.5)
            return
        until = time.monotonic() + 60
        while not killed and time.monotonic() < until:
            killed.extend(_workers())
            time.sleep(0.01)
        for one in killed:
            os.kill(one, signal.SIGKILL)

    given = {"data": str(bars.folder), "shard": 2, "workers": 2}  # what another process finds, too
    with (
        monkeypatch.context() as patch,
        pytest.raises(cs.ConvscopeError, match="was killed, as systems do where memory ends"),
    ):
        patch.setattr(shards, "_worker", at_work)
        cs.predict_into(file, [], "out", **given, emit=emit)
    assert len(killed) == 1 and any(Path("out/shards").iterdir())
    done = cs.predict_into(file, [], "out", **given, emit=cs.silent)
    rows = [row for part in done.parts for row in csv.DictReader(part.read_text().splitlines())]
    assert [row["file"] for row in rows] == [str(i) for i in range(60)]


def _workers() -> list[int]:
    """The processes that predict for this one."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            words = (entry / "cmdline").read_bytes()
            if parent == os.getpid() and b"LokyProcess" in words:
                found.append(int(entry.name))
    return found


def _interrupted(*given: object) -> None:
    raise KeyboardInterrupt


def test_the_same_of_a_run_and_of_a_data_set(bars, workplace, run):
    place = copied(bars, workplace / "a")
    said = run("predict", str(place), "--data", "mnist", "--into", "out", "--json")
    assert said.code == 0 and json.loads(said.out)["answers"] == 60
    one = {"shard": 30, "workers": 1, "emit": cs.silent}  # process, that of the small data
    done = cs.predict_into(place, [], "again", data="mnist", **one)
    assert done.tally.classes == json.loads(said.out)["classes"] and len(done.parts) == 2
    rows = [row for part in done.parts for row in csv.DictReader(part.read_text().splitlines())]
    assert [row["file"] for row in rows] == [str(i) for i in range(60)]
    images = bars.splits["test"].images
    assert [row["label_1"] for row in rows] == [
        one.label for one in cs.load(place).predict(images, top_k=1)
    ]
