"""Trainings as a studio keeps them: what it starts, how each stands, by files alone."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from quick import python

from convscope import files
from convscope.errors import Interrupted
from convscope.events import Notice, silent
from convscope.journal import Journal
from convscope.server import jobs as module
from convscope.server.image_sets import Seen
from convscope.server.jobs import Jobs, Options
from convscope.server.limits import Refusal


def seen(**classes: list[str]) -> Seen:
    return Seen(1, classes, {}, {f"{c}/{f}": "k" for c, some in classes.items() for f in some}, "")


PETS = seen(cat=["1.png", "2.png"], dog=["1.png"])


class Process:
    """What stands for a process that was started."""

    pid = 4_000_000

    def __init__(self, command: list[str], **more: Any) -> None:
        self.command, self.code = command, None

    def poll(self) -> int | None:
        return self.code


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """Trainings whose processes do nothing."""
    monkeypatch.setattr(module.subprocess, "Popen", Process)
    return Jobs(tmp_path / "root")


def process(jobs: Jobs, run: str) -> Any:
    return jobs.started[run]


def judge(jobs: Jobs, run: str) -> None:
    """The figures of a run that got 5 of 6 right."""
    place = jobs.runs / run
    values: dict[str, Any] = dict.fromkeys(
        ("accuracy", "loss", "ece", "ece_raw", "train_seconds", "eval_seconds"), 5 / 6
    )
    values |= {"split": "test", "n": 6, "accuracy_ci95": [0.4, 0.9], "per_class": []}
    values |= {"confusion": [[3, 1], [0, 2]], "test_looks": 1, "images_per_second": 9.0}
    files.write_json(place / "metrics.json", values)
    rows = ["cat/1.png,cat,dog,0.7,0.3", "cat/2.png,cat,cat,0.8,0.8", "dog/1.png,dog,cat,0.9,0.1"]
    head = "file_or_index,label,predicted,p_predicted,p_label"
    (place / "predictions.csv").write_text("\n".join([head, *rows]) + "\n")


def test_it_is_what_the_command_line_would_be(jobs: Jobs) -> None:
    said = jobs.start("my pets", PETS, Options(5, scratch=True, mirrored=False))
    sets, out = jobs.root / "sets" / "my pets", jobs.root / "runs" / "my pets-1"
    words = ["train", str(sets), "--out", str(out)]
    words += ["--time-budget", "300s", "--from", "none", "--no-flip"]
    command = process(jobs, "my pets-1").command
    assert command[:3] == [sys.executable, "-m", "convscope"]
    assert command[3:-2] == words and command[-2] == "--events"
    assert said["command"].startswith("convscope train '") and said["command"].endswith("--no-flip")
    assert said["state"] == "running" and not said["begun"]
    assert (said["images"], said["classes"], said["page"]) == (3, 2, "/run/runs/my%20pets-1/")


def test_bursts_of_the_camera_stay_together(jobs: Jobs) -> None:
    film = seen(a=["1.png"], b=[f"camera-17000-{n}.jpg" for n in range(3)])
    assert jobs.start("film", film, Options())["command"].endswith("--group stem")


@pytest.mark.parametrize(
    ("given", "code"),
    [(seen(), "classes"), (seen(cat=["1.png"]), "classes"), (seen(a=["1.png"], b=[]), "empty")],
)
def test_what_cannot_be_learnt_is_refused(jobs: Jobs, given: Seen, code: str) -> None:
    with pytest.raises(Refusal) as why:
        jobs.start("pets", given, Options())
    assert why.value.code == code and not jobs.started


def test_one_at_a_time(jobs: Jobs) -> None:
    jobs.start("pets", PETS, Options())
    with pytest.raises(Refusal, match="pets-1 is being trained"):
        jobs.start("others", PETS, Options())
    process(jobs, "pets-1").code = 1
    assert jobs.start("others", PETS, Options())["run"] == "others-1"


def test_another_server_finds_it_by_its_journal(jobs: Jobs, monkeypatch: Any) -> None:
    jobs.start("pets", PETS, Options())
    other = Jobs(jobs.root)
    assert other.running()["run"] == "pets-1"  # type: ignore[index]  # it may be starting
    with Journal(jobs.kept / "pets-1.jsonl", silent) as emit:
        emit(Notice("at work"))
        record = {**other.record("pets-1"), "spawned": time.time() - 100}
        other._write(record)
        assert other.of("pets")[0]["state"] == "running"
        with pytest.raises(Refusal, match="is being trained"):
            other.start("pets", PETS, Options())
        judge(jobs, "pets-1")
        found = other.events("pets-1", 0)
    assert [one["event"] for one in found["events"]] == ["begin", "notice"]
    assert found["training"]["right"] == 5 and found["training"]["state"] == "running"
    after = other.events("pets-1", found["next"])
    assert [one["event"] for one in after["events"]] == ["end"]
    assert after["training"]["state"] == "done" and other.running() is None


def test_a_killed_training_is_found_dead_and_goes_on(jobs: Jobs) -> None:
    jobs.start("pets", PETS, Options(5))
    begun = {"event": "begin", "time": time.time(), "pid": Process.pid}
    (jobs.kept / "pets-1.jsonl").write_text(json.dumps(begun) + "\n")
    process(jobs, "pets-1").code = -9
    assert jobs.of("pets")[0]["state"] == "stopped"
    (jobs.runs / "pets-1").mkdir(parents=True)
    (jobs.runs / "pets-1" / "recipe.toml").write_text("")
    (jobs.runs / "pets-1" / "stop").write_text("")  # it was killed before it heard of that
    with Journal(jobs.kept / "pets-1.jsonl", silent):  # gone on with by another meanwhile
        assert jobs.of("pets")[0]["state"] == "running"
    assert jobs.resume("pets-1")["state"] == "running"
    assert not (jobs.runs / "pets-1" / "stop").exists()
    words = process(jobs, "pets-1").command
    assert "--resume" in words and "--time-budget" not in words
    process(jobs, "pets-1").code = 0
    judge(jobs, "pets-1")
    with pytest.raises(Refusal, match="finished"):
        jobs.resume("pets-1")


def test_why_it_failed_is_told(jobs: Jobs) -> None:
    for run, why, state in (
        ("pets-1", ValueError("no good"), "failed"),
        ("pets-2", Interrupted(signal.SIGTERM, "saved"), "stopped"),
    ):
        jobs.start("pets", PETS, Options())
        with pytest.raises(type(why)), Journal(jobs.kept / f"{run}.jsonl", silent):
            raise why
        process(jobs, run).code = 1
        assert jobs.of("pets")[0]["state"] == state
        assert str(why) in jobs.of("pets")[0]["error"]


def test_what_never_began_has_said_why(jobs: Jobs) -> None:
    jobs.start("pets", PETS, Options())
    (jobs.kept / "pets-1.log").write_text("Traceback\nerror: no such option\n")
    process(jobs, "pets-1").code = 2
    found = jobs.of("pets")[0]
    assert (found["state"], found["error"]) == ("failed", "error: no such option")


def test_stop_keeps_what_there_is(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *what: ended.append(what))
    jobs.start("pets", PETS, Options())
    jobs.stop("pets-1")  # before there is anything to keep
    assert ended == [(Process.pid, signal.SIGTERM)]
    place = jobs.runs / "pets-1"
    place.mkdir(parents=True)
    (place / "recipe.toml").write_text("")
    jobs.stop("pets-1")
    assert (place / "stop").exists() and len(ended) == 1
    process(jobs, "pets-1").code = 0
    with pytest.raises(Refusal, match="is not being trained"):
        jobs.stop("pets-1")


def test_mistakes_are_the_surest_first(jobs: Jobs) -> None:
    jobs.start("pets", PETS, Options())
    judge(jobs, "pets-1")
    found = jobs.mistakes("pets-1", seen(dog=["1.png"], cat=["2.png"]))
    assert [(one["class"], one["file"], one["predicted"]) for one in found] == [
        *(("dog", "1.png", "cat"), ("cat", "1.png", "dog"))
    ]
    assert [one["key"] for one in found] == ["k", None]  # it was moved since


def test_records_that_are_damaged_are_passed_over(jobs: Jobs) -> None:
    jobs.start("pets", PETS, Options())
    (jobs.kept / "other.json").write_text("{")
    (jobs.kept / "list.json").write_text("[]")
    assert [one["run"] for one in jobs.of("pets")] == ["pets-1"]
    (jobs.runs / "pets-1").mkdir(parents=True)
    (jobs.runs / "pets-1" / "metrics.json").write_text("{}")
    process(jobs, "pets-1").code = 0
    assert "metrics.json: was edited or damaged" in jobs.of("pets")[0]["error"]
    assert json.loads((jobs.kept / "pets-1.json").read_text())["set"] == "pets"


def test_a_journal_lives_as_long_as_its_process(tmp_path: Path) -> None:
    from convscope import journal

    path = tmp_path / "a.jsonl"
    code = "import sys, time; from pathlib import Path; from convscope.journal import Journal\n"
    code += "with Journal(Path(sys.argv[1]), print) as emit: time.sleep(60)"
    with python(code, path) as child:
        deadline = time.monotonic() + 30
        while not journal.last(path) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert journal.is_written(path) and journal.last(path)["pid"] == child.pid
        child.kill()
        child.wait()
    assert not journal.is_written(path)
    with path.open("a") as file:
        file.write('{"event": "cut sho')
    assert [one["event"] for one in journal.read(path)[0]] == ["begin"]
