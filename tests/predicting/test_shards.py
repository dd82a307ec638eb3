"""Many images predicted into a folder: each exactly once, whoever is killed, and whoever else is
at work; and what is refused."""

from __future__ import annotations

import csv
import errno
import gc
import json
import os
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from written import digit, photographed, put, sheet

from convscope import machine
from convscope.data import shard_writer
from convscope.data.columns import Class, Number, as_json
from convscope.data.columns import Image as ImageColumn
from convscope.data.stores import Store
from convscope.errors import BadArgument, ConvscopeError, DataError, RunError
from convscope.evaluation.calibration import Calibration
from convscope.events import Notice, Progress, silent
from convscope.predicting import inputs, listing, manifest, shards
from convscope.predicting.manifest import Asked
from convscope.predicting.predictor import Predictor
from convscope.predicting.records import RecordPredictor
from convscope.predicting.shards import preview

OPTIONS = {"top_k": 2, "invert": False, "digits": None, "abstain": None, "set": None}
FORKS = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def bright(images, emit=silent):
    """Logits that say how light an image is; what was asked for is counted in a file."""
    if Path("asked").exists():
        with open("asked", "a") as file:  # appended at once, whoever else does
            file.write(f"{len(images)}\n")
    mean = images.mean(axis=(1, 2, 3), dtype=np.float32)
    return np.stack([mean, 255 - mean], axis=1) / 64


NETWORK = Predictor(bright, ("light", "dark"), 1, (4, 4), "pad", Calibration())


@pytest.fixture(autouse=True)
def nothing_is_synced(monkeypatch):
    """A process that dies takes nothing with it that a file has; a power cut is for other tests."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def into(folder, network, what, workers=1, emit=silent):
    return shards.predict_into(folder, network, what, workers, emit)


@pytest.fixture
def photos(workplace: Path) -> Path:
    """23 images, 20 of them in a folder and 3 named by a table; of another the file is empty."""
    Path("photos").mkdir()
    Path("more").mkdir()
    for n in range(23):
        pixels = np.full((4, 4), 10 * n, np.uint8)
        Image.fromarray(pixels).save(f"photos/{n:02}.png" if n < 20 else f"more/{n}.png")
    Path("photos/bad.png").touch()
    Path("more/list.csv").write_text("id:image,label\n20,a\n21.png,b\n22,a\n99,a\nx,y,z\n")
    Path("net.onnx").write_bytes(b"weights")
    return workplace


def asked(*given: object, **more: object) -> Asked:
    options = OPTIONS | {name: more.pop(name) for name in list(more) if name in OPTIONS}
    return Asked(Path("net.onnx"), given or ("photos", "more/list.csv"), options=options, **more)


def forked(work: Callable[[], object]) -> int:
    """A process of its own that does some work; it ends with 0, or with 1 where that failed.

    It frees nothing that was garbage before: a thread pool of another test's, which waits for
    threads that are not in this process, would never end.
    """
    gc.freeze()
    if child := os.fork():
        gc.unfreeze()
        return child
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def rows(folder: str) -> list[list[str]]:
    """The rows of all parts in their order, each of which has the same header."""
    found = []
    for part in sorted(Path(folder, "predictions").iterdir()):
        with part.open(newline="", errors="surrogateescape") as file:
            head, *some = csv.reader(file)
        assert head == ["file", "label_1", "p_1", "label_2", "p_2", "unsure", "ood", "error"]
        found += some
    return found


def contents(folder: str) -> dict[str, bytes]:
    """Every file below a folder."""
    found = {str(one.relative_to(folder)): one for one in Path(folder).rglob("*") if one.is_file()}
    skipped = ("summary.json", "manifest.json")  # which name it
    return {name: one.read_bytes() for name, one in found.items() if name not in skipped}


def test_each_image_is_in_one_part_and_is_what_a_stream_says(photos, events):
    seen, emit = events
    done = into("out", NETWORK, asked(shard=10), emit=emit)
    whole = listing.rows(NETWORK, NETWORK.stream(["photos", "more/list.csv"], 2), 2)
    assert [row[:-1] for row in rows("out")] == [row[:-1] for row in whole][1:]
    assert len(rows("out")) == done.images == 26
    assert [one.name for one in done.parts] == [f"part-0000{n}.csv" for n in range(3)]
    with done.unreadable.open() as file:
        head, *bad = csv.reader(file)
    assert head == ["file", "reason"] and [name for name, _ in bad] == ["photos/bad.png", "99", "x"]
    assert "is empty" in bad[0][1] and "is not there" in bad[1][1] and "3 cells" in bad[2][1]
    assert (done.tally.failures, [one.file for one in done.tally.failed]) == (
        3,
        [b[0] for b in bad],
    )
    said = json.loads(Path("out/summary.json").read_text())
    assert said == done.as_json()
    assert (said["images"], said["answers"], said["unreadable"], said["parts"]) == (26, 23, 3, 3)
    assert sum(said["classes"].values()) == 23 and said["unsure"] == {"light": 0, "dark": 0}
    assert {one.name for one in Path("out").iterdir()} == {
        *("manifest.json", "inputs.jsonl", "predictions", "shards"),
        *("unreadable.csv", "summary.json", ".lock"),
    }
    at = [one.done for one in seen if isinstance(one, Progress) and one.stage == "predict"]
    assert at == sorted(at) and at[-1] == 26


@FORKS
def test_killed_at_any_moment_it_goes_on(photos):
    """A process of its own dies at one file operation after the other; what the next one ends with
    is what one that nobody killed has."""

    def mortal(at: int) -> None:
        _die_at(at)
        into("out", NETWORK, asked(shard=10))

    into("whole", NETWORK, asked(shard=10))
    for at in range(1, 1000):
        left = os.waitpid(forked(lambda at=at: mortal(at)), 0)[1]
        into("out", NETWORK, asked(shard=10))
        assert contents("out") == contents("whole")
        shutil.rmtree("out")
        if left == 0:
            break
        assert left == signal.SIGKILL
    assert 30 < at < 100  # three shards have so many operations


def _die_at(at: int) -> None:
    """Let this process kill itself before its so many-th operation on files."""
    count = 0

    def deadly(function):
        def call(*given, **named):
            nonlocal count
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*given, **named)

        return call

    for name in ("fsync", "replace", "unlink", "mkdir", "chmod", "rmdir"):
        setattr(os, name, deadly(getattr(os, name)))


@FORKS
def test_several_processes_share_the_work(photos, monkeypatch):
    """Each shard is predicted once, and each process ends when all is done."""
    monkeypatch.setattr(shards, "PAUSE", 0.01)
    Path("asked").touch()

    def work() -> None:
        done = into("out", NETWORK, asked(shard=2))
        assert (done.images, done.tally.failures) == (26, 3)

    children = [forked(work) for _ in range(3)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert sum(map(int, Path("asked").read_text().split())) == 23
    assert [row[0] for row in rows("out")][:2] == ["photos/00.png", "photos/01.png"]
    assert len(rows("out")) == 26 and not Path("out/locks").exists()


@FORKS
def test_what_a_process_that_died_was_at_is_taken_over(photos, monkeypatch, events):
    monkeypatch.setattr(shards, "PAUSE", 0.01)
    seen, tell = events
    found = manifest.begun(Path("out").absolute(), asked(shard=10), NETWORK, silent)
    ready, told = os.pipe()

    def work() -> None:
        with shards._Shards(found, NETWORK, silent)._held(1):
            os.write(told, b"1")
            time.sleep(60)

    child = forked(work)
    os.read(ready, 1)

    def emit(event):
        tell(event)
        if isinstance(event, Notice):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    done = into("out", NETWORK, asked(shard=10), emit=emit)
    notices = [one.text for one in seen if isinstance(one, Notice)]
    assert notices == ["waiting for 1 shard that other processes are at"]
    assert done.images == len(rows("out")) == 26


def test_it_goes_on_by_what_was_listed(photos, monkeypatch):
    """What is gone since is a failure, what came since is for another folder; the working folder
    and the files need not be named again."""
    into("whole", NETWORK, asked(shard=10))
    with pytest.raises(KeyboardInterrupt):
        into("out", NETWORK, asked(shard=10), emit=_stop_at(20))
    kept = Path("out/predictions/part-00000.csv").stat().st_mtime_ns
    Path("photos/19.png").unlink()
    shutil.copy("photos/00.png", "photos/new.png")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    again = Asked(Path("../net.onnx"), options=OPTIONS)
    done = into("../out", NETWORK, again)
    monkeypatch.chdir("..")
    assert Path("out/predictions/part-00000.csv").stat().st_mtime_ns == kept
    assert [row[0] for row in rows("out")] == [row[0] for row in rows("whole")]
    changed = [two for one, two in zip(rows("whole"), rows("out"), strict=True) if one != two]
    assert [row[0] for row in changed] == ["photos/19.png"] and "is not there" in changed[0][-1]
    assert done.tally.failures == 4


def _stop_at(count: int):
    def emit(event):
        if isinstance(event, Progress) and event.stage == "predict" and event.done >= count:
            raise KeyboardInterrupt

    return emit


def test_others_are_begun_where_there_is_work_for_them(photos, monkeypatch):
    """The first shard tells whether there is; it is not predicted again."""
    begun = []
    monkeypatch.setattr(machine, "cores", lambda: 4)
    monkeypatch.setattr(shards, "_together", lambda at_work, count: begun.append(count))
    into("little", NETWORK, asked(shard=10), workers=None)
    assert begun == [] and len(rows("little")) == 26
    monkeypatch.setattr(shards, "WORTH", 0.0)
    Path("asked").touch()
    into("much", NETWORK, asked(shard=10), workers=None)
    assert begun == [2]  # one for each shard that is left
    assert sum(map(int, Path("asked").read_text().split())) == 23
    into("told", NETWORK, asked(shard=10), workers=2)
    assert begun == [2, 2]
    into("one shard", NETWORK, asked(), workers=None)
    assert begun == [2, 2]


def test_each_core_has_several_shards(monkeypatch, photos):
    monkeypatch.setattr(machine, "cores", lambda: 2)
    counts = [1, 8000, 8001, 32_000, 320_000, 10**9]
    assert [manifest.shard_of(n) for n in counts] == [250, 250, 251, 1000, 10_000, 10_000]
    monkeypatch.setattr(manifest, "SHARD", (3, 10_000))
    assert len(into("out", NETWORK, asked()).parts) == 9
    assert preview(Path("new"), NETWORK, asked())["shards"] == 9
    assert len(rows("out")) == 26


def test_another_question_is_refused(photos):
    into("out", NETWORK, asked(shard=10))
    before = contents("out")

    def refused(given: Asked, text: str, kind: type[ConvscopeError] = BadArgument) -> None:
        with pytest.raises(kind) as why:
            into("out", NETWORK, given)
        assert text in str(why.value), why.value
        assert contents("out") == before

    refused(asked(top_k=1), "top_k=1: differs from what ")
    refused(asked(invert=True), "out was begun with; type what was typed first")
    refused(asked(abstain=0.5), "abstain=0.5: is not what ")
    refused(asked(form="parquet"), "format=parquet: differs from what ")
    refused(asked(shard=11), "shard=11: differs from what ")
    refused(asked("photos"), "photos: are others than those which ")
    refused(Asked(Path("net.onnx"), data="mnist", options=OPTIONS), "data=mnist: is another source")
    Path("net.onnx").write_bytes(b"other weights")
    refused(asked(), "RUN=net.onnx: is another network than that which ")
    with pytest.raises(BadArgument, match=r"workers=0: must be a whole number"):
        into("new", NETWORK, asked(), workers=0)
    with pytest.raises(BadArgument, match=r"workers=10000: must .* from 1 to \d+, 4 for each of"):
        into("new", NETWORK, asked(), workers=10_000)
    with pytest.raises(BadArgument, match=r"shard=0: must be a whole number of at least 1"):
        asked(shard=0)
    with pytest.raises(BadArgument, match=r"format=xml: must be one of csv, parquet"):
        asked(form="xml")
    with pytest.raises(BadArgument, match=r"data=mnist: is in the place of files"):
        asked(data="mnist")
    with pytest.raises(BadArgument, match=r"into=.*photos: holds other files, and no manifest"):
        into("photos", NETWORK, asked())
    for begin in (into, preview):
        with pytest.raises(BadArgument, match=r"into=.*net\.onnx: is a file; name a folder"):
            begin(Path("net.onnx"), NETWORK, asked())
    Path("empty.csv").write_text("file\n")
    with pytest.raises(BadArgument, match="has no row below its header"):
        into("new", NETWORK, asked("empty.csv"))
    with pytest.raises(BadArgument, match="FILES=.*hold nothing"):
        into("new", NETWORK, asked(iter([])))
    with pytest.raises(BadArgument, match="top_k=0: must be a whole number of at least 1"):
        into("new", NETWORK, asked(top_k=0))
    with pytest.raises(BadArgument, match="digits=True: is for photographs of paper"):
        into(
            "new",
            NETWORK,
            Asked(Path("net.onnx"), data="mnist", options=OPTIONS | {"digits": True}),
        )
    assert not Path("new").exists() and not Path("photos/.lock").exists()


def test_what_was_changed_is_found(photos):
    def made() -> None:
        shutil.rmtree("out", ignore_errors=True)
        into("out", NETWORK, asked(shard=10))

    def again(kind: type[ConvscopeError], text: str) -> None:
        with pytest.raises(kind) as why:
            into("out", NETWORK, asked(shard=10))
        assert text in str(why.value), why.value

    made()
    path = Path("out/manifest.json")
    path.write_text(path.read_text().replace('"images": 26', '"images": 20'))
    again(RunError, "manifest.json: was changed after it was written; restore it")
    path.write_text("{}")
    again(RunError, "manifest.json: is no manifest of format 1")
    path.write_text("{")
    again(RunError, "manifest.json: is damaged")
    made()
    Path("out/predictions/part-00001.csv").write_text("file\n")
    again(RunError, "part-00001.csv: was changed after it was written; delete ")
    Path("out/shards/00001.json").unlink()
    assert into("out", NETWORK, asked()).images == len(rows("out")) == 26
    Path("out/predictions/part-00001.csv").unlink()
    again(RunError, "part-00001.csv: is gone; delete ")
    Path("out/shards/00001.json").unlink()
    names = Path("out/inputs.jsonl")
    names.write_text(names.read_text().replace("photos/12", "photos/02"))
    again(DataError, "inputs.jsonl: was changed after it was written")


def test_a_full_disk_costs_what_was_not_written(photos, monkeypatch):
    count = 0

    def full(handle: int) -> None:
        nonlocal count
        count += 1
        if count == 13:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConvscopeError, match="part-0000.*: no room left on the disk"):
        into("out", NETWORK, asked(shard=10))
    assert len(list(Path("out/shards").iterdir())) in (1, 2)
    assert into("out", NETWORK, asked(shard=10)).images == len(rows("out")) == 26


def test_names_come_from_standard_input(photos):
    def piped(*names: str):
        import io

        return inputs.piped(io.BytesIO("".join(f"{name}\n" for name in names).encode()))

    given = ("photos/03.png", "more/list.csv")
    done = into("out", NETWORK, asked(piped(*given), "photos/04.png"))
    assert [row[0] for row in rows("out")] == [
        *("photos/03.png", "20", "21.png", "22", "99", "x", "photos/04.png")
    ]
    assert into("out", NETWORK, asked(piped(*given), "photos/04.png")).images == done.images
    with pytest.raises(BadArgument, match="are others than those"):
        into("out", NETWORK, asked(piped("photos/03.png"), "photos/04.png"))
    with pytest.raises(BadArgument, match="FILES=-: is an image, not names"):
        into("new", NETWORK, asked([inputs.Named("-", b"")]))


def test_a_name_that_is_no_text_keeps_its_bytes(photos):
    name = os.fsdecode(b"caf\xe9.png")
    shutil.copy("photos/00.png", name)
    into("out", NETWORK, asked(name, "photos/00.png"))
    assert [row[0] for row in rows("out")] == [name, "photos/00.png"]
    into("escaped", NETWORK, asked(name, form="parquet"))
    from pyarrow import parquet

    assert parquet.read_table("escaped/predictions")["file"].to_pylist() == ["caf\\udce9.png"]


def test_parquet_holds_the_same(photos):
    from pyarrow import parquet

    into("out", NETWORK, asked(shard=10))
    done = into("typed", NETWORK, asked(shard=10, form="parquet"))
    assert [one.suffix for one in done.parts] == [".parquet"] * 3
    found = parquet.read_table("typed/predictions").to_pylist()
    for row, cells in zip(found, rows("out"), strict=True):
        assert (row["file"], row["label_1"] or "", row["error"] or "") == (
            *cells[:2],
            cells[-1],
        )
        assert row["p_1"] == (float(cells[2]) if cells[2] else None) and row["unsure"] is None


def test_a_pack_needs_no_files(tiny, workplace, monkeypatch):
    Path("net.onnx").write_bytes(b"weights")
    network = Predictor(bright, ("light", "dark"), 1, (12, 12), "pad", Calibration())
    given = {"run": Path("net.onnx"), "data": str(tiny.folder), "options": OPTIONS, "shard": 25}
    done = into("out", network, Asked(**given))
    answers = network.predict(tiny.splits["test"].images, 2)
    assert done.images == 60 and rows("out") == list(listing.rows(network, answers, 2))[1:]
    assert preview(Path("new"), network, Asked(**given)) == {
        **{"images": 60, "shards": 3, "missing": 3, "bytes": 60 * 144},
    }
    inverted = OPTIONS | {"invert": True}
    into("light", network, Asked(**given | {"options": inverted, "split": "train"}))
    images = ~np.array(tiny.splits["train"].images)
    assert rows("light") == list(listing.rows(network, network.predict(images, 2), 2))[1:]
    with pytest.raises(BadArgument, match=r"data=.* has images of 1 x 12 x 12, .* takes 1 x 4 x 4"):
        into("new", NETWORK, Asked(**given))
    with pytest.raises(BadArgument, match=r"split=val: is not in .*, which has train, test"):
        into("new", network, Asked(**given, split="val"))
    monkeypatch.setattr(manifest, "open_pack", lambda folder: _other(tiny))
    Path("out/shards/00001.json").unlink()
    with pytest.raises(BadArgument, match="is not as it was when"):
        into("out", network, Asked(**given))


def test_so_does_a_pack_in_shards(tiny, workplace):
    Path("net.onnx").write_bytes(b"weights")
    network = Predictor(bright, ("light", "dark"), 1, (12, 12), "pad", Calibration())
    plan = shard_writer.planned(tiny, np.array([], np.int64), 144 * 10)
    shard_writer.write(plan, Store("pieces"), silent)
    given = {"run": Path("net.onnx"), "data": "pieces", "options": OPTIONS, "shard": 25}
    assert preview(Path("new"), network, Asked(**given))["bytes"] == 60 * 144
    done = into("out", network, Asked(**given))
    answers = network.predict(tiny.splits["test"].images, 2)
    said = [row[1:] for row in listing.rows(network, answers, 2)][1:]
    assert done.images == 60 and [row[1:] for row in rows("out")] == said


def _other(pack):
    from dataclasses import replace

    return replace(pack, digest="another")


def test_records_of_several_inputs(photos):
    columns = {"left": ImageColumn(1, (4, 4)), "right": ImageColumn(1, (4, 4))}
    columns |= {"larger": Class(("left", "right")), "sum": Number()}
    info = {"architecture": {"columns": as_json(columns)}, "temperatures": {}, "temperature": 1.0}

    def outputs(given):
        light = {name: images.mean(axis=(1, 2, 3)) for name, images in given.items()}
        logits = np.stack([light["left"], light["right"]], axis=1).astype(np.float32)
        return {"larger": logits, "sum": logits.sum(axis=1, keepdims=True)}

    network = RecordPredictor.of(info, outputs)
    Path("photos/pairs.csv").write_text("left,right\n00,13.png\n12,03\nbad,04\ngone,05\n")
    done = into("out", network, asked("photos/pairs.csv", shard=3))
    found = [part.read_text().splitlines() for part in done.parts]
    assert found[0][:3] == [
        "left,right,larger,larger_p,sum,unsure,ood,error",
        "00,13.png,right,1.000000,130,,,",
        "12,03,left,1.000000,150,,,",
    ]
    assert found[0][3].startswith('bad,04,,,,,,"bad: is empty') and "gone: is not" in found[1][1]
    into("typed", network, asked("photos/pairs.csv", form="parquet"))
    from pyarrow import parquet

    assert parquet.read_table("typed/predictions")["sum"].to_pylist() == [130, 150, None, None]
    with pytest.raises(BadArgument, match="data=mnist: is for networks of one image"):
        preview(Path("new"), network, Asked(Path("net.onnx"), data="mnist", options=OPTIONS))


def test_digits_that_were_cut_out_are_said_once(workplace, events):
    seen, emit = events
    Path("net.onnx").write_bytes(b"weights")
    ink = put(put(sheet(200, 400), digit(4), 30, 10), digit(7), 20, 130)
    Image.fromarray(photographed(ink)).save("paper.png")
    Image.fromarray(digit(3)).save("3.png")
    ten = tuple("0123456789")
    network = Predictor(
        lambda images: np.eye(10, dtype=np.float32)[[0] * len(images)],
        *(ten, 1, (28, 28), "pad", Calibration()),
    )
    done = into("out", network, asked("3.png", "paper.png", shard=1), emit=emit)
    assert (done.images, done.as_json()["answers"], done.tally.cut) == (2, 3, 2)
    said = [one.text for one in seen if isinstance(one, Notice)]
    assert len(said) == 1 and said[0].startswith("2 answers are of digits that were cut out of")


def test_one_of_several_has_its_share_for_a_while():
    import torch

    before = machine.cores(), torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt), machine.share(1):
        assert (machine.cores(), torch.get_num_threads()) == (1, 1)
        raise KeyboardInterrupt
    assert (machine.cores(), torch.get_num_threads()) == before


def test_a_preview_writes_nothing(photos):
    size = sum(one.stat().st_size for one in Path("photos").iterdir())
    assert preview(Path("out"), NETWORK, asked(shard=10)) == {
        **{"images": 26, "shards": 3, "missing": 3, "bytes": size},
    }
    assert not Path("out").exists()
    with pytest.raises(KeyboardInterrupt):
        into("out", NETWORK, asked(shard=10), emit=_stop_at(20))
    counts = preview(Path("out"), NETWORK, asked())
    assert counts == {"images": 26, "shards": 3, "missing": counts["missing"]}
    assert counts["missing"] in (1, 2)
