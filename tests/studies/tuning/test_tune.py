"""A search from what is typed to what it leaves: gone on with, held to what it was begun as."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image
from searches import EPOCHS, QUICK, accuracy, end

import convscope as cs
from convscope import recipe as recipes
from convscope.api import arguments
from convscope.errors import BadArgument, RunError, TrainingError
from convscope.events import silent
from convscope.job import preflight, ranked
from convscope.job.defaults import suited
from convscope.job.validate import Validated
from convscope.run import RunFolder
from convscope.studies import tune as search
from convscope.studies.tune import tune
from convscope.studies.tuning import processes, work

pytest.importorskip("optuna")


def trials_of(folder):
    """All trials of a search, by their state."""
    place = search._kept(folder, None)
    worker = work.Worker(place, str(folder), "looks", 1, 1.0)
    return work.joined(worker, work.Patience(1.0, ""))[0].all()


def test_a_search_leaves_a_recipe_a_page_and_what_it_was(bars, curves):
    done = tune("mnist", trials=24, out="found", **QUICK)
    assert len(done.rows) == 24 == len(curves) and done.left == 0
    assert {row["state"] for row in done.rows} == {"complete", "pruned"}
    assert all(row["epochs"] == EPOCHS // 2 + 1 for row in done.rows if row["state"] == "pruned")
    best = max(row["val_accuracy"] for row in done.rows)
    assert done.best["val_accuracy"] == best > 0.9
    first = done.rows[0]["values"]["lr"]
    assert first == recipes.resolve({"model": "mlp"}).train.lr  # what is given is tried, too
    kept = recipes.load(done.recipe)
    assert kept.train.lr == done.best["values"]["lr"] and kept.claim is None
    assert (kept.data.name, kept.model.name, kept.train.epochs) == ("mnist", "mlp", EPOCHS)
    assert "threads" not in done.recipe.read_text()
    assert json.loads((done.path / "results.json").read_text()) == done.as_json()
    assert done.importance == {"lr": 1.0}
    seconds = [row["seconds"] for row in done.front]
    shares = [row["val_accuracy"] for row in done.front]
    assert seconds == sorted(seconds) and shares == sorted(set(shares)) and shares[-1] == best
    page = done.page.read_text()
    for sentence in done.sentences:
        assert sentence.split(",")[0] in page and sentence in (done.path / "README.md").read_text()
    assert f"convscope sweep --recipe {done.recipe}" in page and "<script" not in page
    assert "Search" in done._repr_html_()


@pytest.mark.parametrize(
    ("data", "given"),
    [
        ("cifar10", {"augment": "none"}),
        ("cifar10", {"flip": False, "shift": 0}),
        ("mine/", {"keep": "last", "val": 0.4}),
        ("mine/", {"val": 0.4}),
    ],
)
def test_the_recipe_that_is_left_is_that_of_the_trial(bars, curves, data, given):
    done = tune(data, trials=2, out="found", **QUICK | given)
    typed, more = arguments.given(None, None, {"precision": "float32"})
    asked = arguments.resolved(typed, more, recipes.load(done.recipe), True)
    found = suited(preflight.settle(asked, silent), bars, silent)  # as `train` does
    tried = done.spec.recipe(done.best["values"], {})
    for section in ("data", "model", "augment", "train"):
        assert getattr(found, section) == getattr(tried, section)


@pytest.mark.parametrize("data", ["mnist", "cifar10"])
def test_augmentation_that_is_given_is_not_searched(bars, data):
    def searched(**given):
        return set(search.preview(data, model="mlp", **given).spec.space.fields)

    moved = {name for name, one in recipes.options().items() if one.section == "augment"}
    assert searched() & moved
    for name in ("none", "light", False):
        assert searched(augment=name) == searched() - moved


def test_a_trial_is_trained_as_far_as_validation(bars, monkeypatch):
    looked: list[int] = []
    outputs = ranked.outputs

    def watched(job, model, split, stage):
        looked.append(len(split))
        return outputs(job, model, split, stage)

    monkeypatch.setattr(ranked, "outputs", watched)
    plain = {"kernels": "plain", "memory_format": "contiguous", "threads": 1, "hidden": 8}
    asked = QUICK | plain | {"epochs": 3}
    done = tune("mnist", trials=3, out="found", **asked)
    judged = len(bars.splits["train"].labels) // 10
    assert set(looked) == {judged}  # and never the test split's 60
    best = recipes.load(done.recipe)
    run = cs.train(recipe=best, out="run", look=False, **plain | {"hidden": None})
    history = [json.loads(line) for line in RunFolder(run.path).history.read_text().splitlines()]
    assert history[-1]["val_accuracy"] == done.best["val_accuracy"]
    assert not list(done.path.glob(".tmp-*")) and done.best["parameters"] == 144 * 8 + 8 + 8 * 3 + 3


def test_a_search_that_was_stopped_goes_on_and_gets_more(bars, curves, monkeypatch):
    validated = work.validated

    def stopping(asked, pack, place, emit):
        if len(curves) == 3:
            monkeypatch.setattr(work, "validated", validated)
            raise cs.Interrupted(signal.SIGINT)
        return validated(asked, pack, place, emit)

    monkeypatch.setattr(work, "validated", stopping)
    with pytest.raises(KeyboardInterrupt):
        tune("mnist", trials=6, out="found", **QUICK)
    assert len(json.loads((Path("found/results.json")).read_text())["rows"]) == 3
    with pytest.raises(BadArgument, match="holds a search already; add resume"):
        tune("mnist", trials=6, out="found", **QUICK)
    done = tune(out="found", resume=True)
    assert len(done.rows) == 6
    states = [one.state.name for one in trials_of(done.path)]
    assert states.count("FAIL") == 1 and len(states) == 7  # the one that was given back
    assert len(tune(out="found", resume=True).rows) == 6
    assert len(tune(out="found", resume=True, trials=8).rows) == 8
    with pytest.raises(BadArgument, match=r"trials=4: is fewer than this search is for \(8\)"):
        tune(out="found", resume=True, trials=4)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"vary": ["lr=1e-4..0.5 log"]}, "lr was searched over 0.0001..1 log, and is 0.0001..0.5"),
        ({"hidden": 9}, "hidden was given as nothing, and is 9"),
        ({"augment": "none"}, "augment was given as nothing, and is none"),
    ],
)
def test_a_study_of_another_search_is_not_gone_on_with(bars, curves, other, says):
    tune("mnist", trials=1, out="found", **QUICK)
    with pytest.raises(BadArgument, match=f"holds mnist-mlp, which is another search: {says}"):
        tune("mnist", out="found", resume=True, **QUICK | other)
    assert len(curves) == 1


def test_other_data_and_another_version_are_named(bars, curves):
    spec = search.preview("mnist", **QUICK).spec
    (other,) = spec.differences(spec.__class__(**vars(spec) | {"fingerprint": "f"}))
    assert other == "its data are others (mnist there, mnist here)"
    (other,) = spec.differences(spec.__class__(**vars(spec) | {"version": "0.0.1"}))
    assert other.startswith("convscope was ") and other.endswith("and is 0.0.1")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"vary": ["lr=1..10", "lr=2..3"]}, "is given twice"),
        ({"lr": 0.1}, "lr=0.1: is searched, and given as well"),
        ({"vary": ["lr=0..0.1"]}, "lr=0.0: must be a finite number above 0"),
        (
            {"vary": ["hiden=8..16"]},
            "vary=hiden=8..16: is no argument of mlp, nor an option; did you mean",
        ),
        ({"vary": ["widths=8,16;16,32"]}, "is no argument of mlp but of"),
        ({"vary": ["shift=0..20"]}, "shift=20: must"),
        ({"vary": ["hidden=0..16"]}, "hidden=0: must be"),
        ({"val": 0.0}, "val=0.0: holds nothing out"),
        ({"steps": 3}, "steps=3: cannot be given: Hyperband counts epochs"),
        ({"trials": 0}, "trials=0: must be a whole number of at least 1"),
        ({"workers": 1.5}, "workers=1.5: must be a whole number"),
        ({"workers": 10_000}, r"workers=10000: must be a whole number from 1 to "),
        ({"resume": True, "out": None}, "resume=True: needs the folder of the search"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_written(bars, asked, says):
    with pytest.raises(BadArgument, match=says):
        tune("mnist", **{**QUICK, "out": "found", **asked})
    assert not Path("found").exists()


def test_without_data_there_is_nothing_to_search(bars):
    with pytest.raises(BadArgument, match="DATA=.*is needed, or a recipe"):
        tune()
    with pytest.raises(BadArgument, match="out=nothing: holds no search to go on with"):
        tune(out="nothing", resume=True, lr=0.1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"my only note\n", "is no journal of a search; name a new file"),
        (b"my only note", "is no journal of a search"),
        (b'{"a":1}\n', "is no journal of a search"),
        (b"17\n", "is no journal of a search"),
        (None, "is a folder; name a file, or the URL of a database"),
    ],
)
def test_a_file_of_others_is_left_alone(bars, content, says):
    place = Path("notes.txt")
    place.mkdir() if content is None else place.write_bytes(content)
    for ask in (lambda **more: tune("mnist", **QUICK, out="found", **more), search.preview):
        given = {} if ask is not search.preview else {"data": "mnist", **QUICK}
        with pytest.raises(BadArgument, match=f"storage=.*notes.txt: {says}"):
            ask(storage=place, **given)
    assert [one.name for one in Path().glob("notes*")] == ["notes.txt"]
    assert content is None or place.read_bytes() == content
    assert not Path("found").exists()


def test_a_search_without_fruit_says_what_helps(bars, curves, monkeypatch):
    monkeypatch.setattr(search, "_written", lambda *_: None)
    with pytest.raises(RunError, match="found: none of its 2 trials was trained to its end; give"):
        tune("mnist", trials=2, out="found", **QUICK)
    with pytest.raises(RunError, match="late: no trial was finished in time; go on with --resume"):
        tune("mnist", trials=2, out="late", time_limit=0.001, **QUICK)


def test_a_preview_holds_to_account_what_a_search_would(bars):
    for asked, says in (
        ({"trials": 0}, "trials=0: must be a whole number"),
        ({"workers": 0}, "workers=0: must be a whole number"),
        ({"grace": -1.0}, "grace=-1.0: must be seconds, more than 0"),
        ({"time_limit": "abc"}, "time_limit=abc: must be a time"),
        ({"storage": "foo://x"}, "storage=foo://x: is no database that can be used here"),
        ({"storage": "postgresql://me:a@b@c/d"}, "is no URL of a database"),
    ):
        with pytest.raises(BadArgument, match=says):
            search.preview("mnist", **QUICK, **asked)


def test_a_setting_that_cannot_be_trained_is_one_trial(bars, curves, monkeypatch):
    validated = work.validated

    def breaking(asked, pack, place, emit):
        if asked.train.lr > 0.1:
            raise TrainingError("training broke down")
        return validated(asked, pack, place, emit)

    monkeypatch.setattr(work, "validated", breaking)
    done = tune("mnist", trials=16, out="found", **QUICK)
    failed = [row for row in done.rows if row["state"] == "failed"]
    assert len(done.rows) == 16 and all(row["values"]["lr"] > 0.1 for row in failed)
    assert failed and failed[0]["failure"] == "training broke down"
    assert "could not be trained" in done.page.read_text() and "broke down" in done.page.read_text()

    def never(asked, pack, place, emit):
        raise TrainingError("training broke down")

    monkeypatch.setattr(work, "validated", never)
    with pytest.raises(RunError, match="the first 5 trials could not be trained, one of them: tra"):
        tune("mnist", trials=16, out="other", **QUICK)


def test_what_others_took_for_dead_counts_once(bars, monkeypatch):
    """A process that was held up longer than the grace: its trial is another's by then."""
    seen: list[float] = []

    def validated(asked, pack, place, emit):
        seen.append(asked.train.lr)
        if len(seen) == 1:
            kept = search._kept(Path("found"), None)
            worker = work.Worker(kept, "found", "other", 1, 1.0)
            work.joined(worker, work.Patience(1.0, ""))[0].bury("0")
        emit(end(1, 0.5))
        return Validated(accuracy(asked.train.lr, EPOCHS), 0.1, EPOCHS, 10)

    monkeypatch.setattr(work, "validated", validated)
    done = tune("mnist", trials=3, out="found", **QUICK)
    assert len(done.rows) == 3 and len(seen) == 4 and seen[0] == seen[1]


def test_no_trial_begins_after_the_time(bars, curves):
    with pytest.raises(RunError, match="no trial was finished in time; go on with --resume"):
        tune("mnist", trials=4, out="found", time_limit=0.001, **QUICK)
    assert len(tune(out="found", resume=True).rows) == 4


def test_a_database_is_joined_by_the_same_call(bars, curves, postgres):
    url = postgres.url
    one = tune("mnist", trials=2, out="a", storage=url, name="ours", **QUICK)
    two = tune("mnist", trials=4, out="b", storage=url, name="ours", **QUICK)
    assert len(one.rows) == 2 and len(two.rows) == 4 and two.rows[:2] == one.rows
    assert len(tune(out="a", resume=True).rows) == 4  # no password, so it is known where it is
    with pytest.raises(BadArgument, match="which is another search: hidden was given as nothing"):
        tune("mnist", out="c", storage=url, name="ours", hidden=9, **QUICK)
    assert not Path("c").exists()


def test_a_journal_elsewhere_is_found_from_everywhere(bars, curves, monkeypatch):
    tune("mnist", trials=1, out="a", storage="ours.log", **QUICK)
    place, journal = Path("a").absolute(), Path("ours.log").absolute()
    Path("below").mkdir()
    monkeypatch.chdir("below")
    assert len(tune(out=place, resume=True, trials=2).rows) == 2
    assert len(tune(out=place, resume=True, storage=journal).rows) == 2
    with pytest.raises(BadArgument, match="is not where this search keeps its trials"):
        tune(out=place, resume=True, storage="ours.log")
    journal.unlink()
    with pytest.raises(RunError, match=r"ours.log: holds no search mnist-mlp; give DATA"):
        tune(out=place, resume=True)
    assert not journal.exists() and not list(Path().iterdir())


def test_a_folder_that_is_in_use_is_refused_before_a_study_is_made(bars, curves):
    Path("used").mkdir()
    Path("used/notes.txt").touch()
    with pytest.raises(BadArgument, match="out=used: holds something else"):
        tune("mnist", out="used", storage="ours.log", **QUICK)
    assert not Path("ours.log").exists()


def test_who_shares_a_journal_has_a_name_of_its_own(bars, curves):
    tune("mnist", trials=1, out="a", **QUICK)
    tune(out="a", resume=True, trials=2)
    tune("mnist", trials=1, out="b", storage="ours.log", **QUICK)
    names = [[t.user_attrs["worker"] for t in trials_of(Path(one))] for one in "ab"]
    own = f"{platform.node()}-{os.getpid()}"
    assert names == [["0", own], [own]]


def test_a_password_of_a_query_is_not_kept(workplace):
    url = "postgresql://host/trials?user=me&password=secret"
    place = search.Place(url, "ours")
    search._keep(Path(), place, place.said)
    assert "secret" not in Path("tune.json").read_text()
    with pytest.raises(BadArgument, match="is needed again, as its password is not kept"):
        search._kept(Path(), None)
    assert search._kept(Path(), url) == place


@pytest.fixture
def folder(tiny, tmp_path):
    """Bars as a folder of images, which processes can read."""
    train = tiny.splits["train"]
    for n, (image, label) in enumerate(zip(train.images[:120], train.labels, strict=False)):
        place = tmp_path / "bars" / tiny.main_classes[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(place / f"{n}.png")
    return tmp_path / "bars"


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(
    folder, workplace, events, monkeypatch
):
    """Two processes of their own, one of them killed at its first trial."""
    started, start = [], processes._started

    def watched(*given):
        started.append(start(*given))
        return started[-1]

    monkeypatch.setattr(processes, "_started", watched)
    seen, emit = events

    def kill() -> None:
        while not any("epoch" in one.log.read_text() for one in started[:1]):
            if ends.wait(0.02):
                return
        started[0].process.kill()

    ends = threading.Event()
    killer = threading.Thread(target=kill)
    killer.start()
    quick = QUICK | {"epochs": 40, "kernels": "plain", "hidden": 8, "memory_format": "contiguous"}
    try:
        done = tune(folder, trials=4, workers=2, out="found", emit=emit, **quick)
    finally:
        ends.set()
        killer.join()
    assert [one.process.returncode for one in started] == [-signal.SIGKILL, 0, 0]
    states = [one.state.name for one in trials_of(done.path)]
    assert len(done.rows) == 4 and states.count("FAIL") == 1
    assert any("was killed (SIGKILL); another begins" in getattr(e, "text", "") for e in seen)


def test_workers_that_all_die_at_once_are_not_replaced_for_ever(bars, curves, events, monkeypatch):
    code = "import os; print('no such luck', flush=True); os.kill(os.getpid(), 9)"

    def start(worker, log):
        with log.open("wb") as file:
            words = [sys.executable, "-c", code]
            process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=file)
        return processes._Process(worker, log, process)

    monkeypatch.setattr(processes, "_started", start)
    monkeypatch.setattr(processes, "LOOKS", 0.05)
    says = r"^6 workers in a row were killed and no trial ended.*SIGKILL; it said: no such luck"
    with pytest.raises(RunError, match=says):
        tune("mnist", trials=4, workers=2, out="found", **QUICK)
    assert len(list(Path("found/workers").iterdir())) == 7


@pytest.mark.slow
def test_eight_processes_begin_one_study_and_one_of_them_is_killed(folder, workplace, postgres):
    """Each types the same command, all at once, with no tables in the database.

    Passed: python -m pytest tests/studies/tuning -m slow, 97 s on two busy cores of an AMD EPYC
    (family 25, model 17), 2026-11-30.
    """
    url = postgres.url.replace("/postgres?", "/eight?")
    subprocess.run([postgres.bin / "createdb", "-h", postgres.folder, "-U", "postgres", "eight"],
                   check=True)  # fmt: skip
    words = [sys.executable, "-m", "convscope", "tune", folder, "--model", "mlp", "--hidden", "8"]
    words += ["--vary", "lr=1e-4..1 log", "--epochs", "9", "--kernels", "plain", "--storage", url]
    words += ["--precision", "float32", "--name", "eight", "--trials", "24", "--grace", "6"]
    own = [[*words, "--threads", "1", "--out", f"out{n}"] for n in range(8)]
    begun = [subprocess.Popen(one, stderr=subprocess.DEVNULL) for one in own]

    def trials():
        worker = work.Worker(work.Place(url, "eight"), "", "looks", 1, 1.0)
        return work.joined(worker, work.Patience(1.0, ""))[0].all()

    victim = None
    while victim is None:
        time.sleep(0.3)
        with contextlib.suppress(cs.ConvscopeError):
            for one in trials():
                owner = one.user_attrs.get("worker", "-")
                if one.state.name == "RUNNING" and one.params:
                    victim = int(owner.rpartition("-")[2])
    (killed,) = (one for one in begun if one.pid == victim)
    killed.kill()
    assert sorted(one.wait() for one in begun) == [-signal.SIGKILL, *[0] * 7]
    found = trials()
    ended = [one for one in found if one.state.name in ("COMPLETE", "PRUNED")]
    failed = [one for one in found if one.state.name == "FAIL"]
    assert len(ended) == 24 and {one.state.name for one in found} <= {"COMPLETE", "PRUNED", "FAIL"}
    died = [one for one in failed if one.user_attrs["ended"] == "its process died"]
    assert all(one.user_attrs["ended"] in ("its process died", "surplus") for one in failed)
    assert all(str(victim) in one.user_attrs["worker"] for one in died)
    for one in died:
        assert [t.params for t in ended if t.user_attrs.get("again") == one.number] == [one.params]
    rows = [json.loads(Path(f"out{n}/results.json").read_text())["rows"]
            for n, one in enumerate(begun) if one is not killed]  # fmt: skip
    assert all(len(one) == 24 and one == rows[0] for one in rows)
