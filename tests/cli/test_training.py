"""`convscope train` as a stranger types it; stopped, killed and resumed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from photos import photos
from quick import SMALL, convscope

from convscope import recipe
from convscope.api import Metrics, training


def test_a_learning_rate_is_found_and_drawn(bars, run):
    words = ["train", "mnist", *SMALL, "--find-lr"]
    said = run(*words)
    assert said.out.startswith("suggested lr  ") and "figure        mnist-mlp-lr.png" in said.out
    assert run(*words).code == 2
    found = json.loads(run(*words, "--json", "--force").out)
    assert set(found) == {"suggestion", "rates", "losses", "smoothed", "figure"}
    assert found["figure"] == "mnist-mlp-lr.png" and not Path("runs").exists()


def test_augmentation_by_name(bars, run):
    names = {"a": ["--aug", "light"], "b": ["--no-augment"], "c": ["--augment", "none"], "d": []}
    shifts = {}
    for out, words in names.items():
        assert run("train", "mnist", *SMALL, "--out", out, *words).code == 0
        found = recipe.of_run(Path(out))
        shifts[out] = found.augment.shift, found.origin["augment.shift"]
    assert shifts == {"a": (1, "typed"), "b": (0, "typed"), "c": (0, "typed"), "d": (1, "default")}
    said = run("train", "mnist", *SMALL, "--aug", "light", "--no-augment")
    assert said.code == 2 and "--augment light: cannot be given together with --no-" in said.err


def test_train_says_accuracy_seconds_and_report(bars, run, workplace):
    said = run("train", "mnist", *SMALL)
    assert said.code == 0
    first, second, third = said.out.splitlines()
    assert first.startswith("test accuracy") and "95% interval" in first and "60 images" in first
    assert second.startswith("seconds")
    assert third.split() == ["report", str(Path("runs/mnist-mlp-1/report.html"))]
    assert Path("runs/mnist-mlp-1/report.html").is_file()
    assert said.err.count("epoch 1/1") == 1  # one plain line an epoch, away from a terminal


def test_a_run_that_is_finished_says_its_own_seconds(bars, run):
    run("train", "mnist", *SMALL, "--out", "a")
    metrics = Path("a/metrics.json")
    found = json.loads(metrics.read_text())
    metrics.write_text(json.dumps(found | {"train_seconds": 4321.0}))
    said = run("train", "--out", "a", "--resume").out.splitlines()
    assert said[1] == "seconds       4321.0 (training and validation, all of this run)"


def test_ctrl_c_before_the_first_step_says_what_there_is(bars, run, monkeypatch):
    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    run("train", "mnist", *SMALL, "--out", "a")
    Path("a/metrics.json").unlink()
    monkeypatch.setattr(training, "probe", interrupted)
    said = run("train", "mnist", *SMALL, "--out", "b")
    assert said.code == 130 and not Path("b").exists()
    assert said.err.endswith(
        "stopped by SIGINT; nothing was saved, and the same command begins anew\n"
    )
    said = run("train", "--out", "a", "--resume")
    assert said.code == 130 and said.err.endswith("stopped by SIGINT; --resume goes on with it\n")


def test_train_json_is_one_object_and_nothing_else(bars, run):
    said = run("train", "mnist", *SMALL, "--out", "a", "--json")
    found = json.loads(said.out)
    keys = set(Metrics.__annotations__) - {"targets", "all_right"}  # which several have
    keys -= {"forgetting", "start_kept"}  # which those have that go on from a run
    keys -= {"ended_at_step"}  # which those have that were ended
    assert {"n", "accuracy_ci95", "ece_raw", "per_class", "confusion", "test_looks"} <= keys
    assert set(found) == keys | {"run"}
    assert found["run"] == "a" and found["test_looks"] == 1 and found["n"] == 60


def test_a_run_goes_on(bars, run):
    run("train", "mnist", *SMALL, "--out", "a")
    said = run("train", "--from", "a", "--continue", "2", "--no-look", "--out", "b")
    assert said.code == 0 and "epoch 2/2" in said.err and "test accuracy" in said.out
    said = run("train", "--continue", "2")
    assert (
        said.code == 2 and "--continue 2: needs the run that goes on; name it: --from" in said.err
    )
    said = run("train", "mnist", "--from", "none", "--last-layer", "kept")
    assert said.code == 2 and "--last-layer kept: is not used where training starts" in said.err


def test_a_missed_claim_is_told_after_the_figures(bars, run):
    text = "[train]\nepochs = 1\nbatch_size = 60\n[claim]\naccuracy = 2.0\nsd = 0.01\nseeds = 5\n"
    text += "seconds = 1.0\nmachine = 'm'\ndate = 'd'\ncommand = 'c'\n"
    Path("proud.toml").write_text(text)
    said = run("train", "--recipe", "proud.toml", "--check", "--json", "--out", "a")
    assert said.code == 3
    assert json.loads(said.out)["run"] == "a"
    assert "misses the recipe's claim of 200.00%" in said.err


def test_what_a_users_class_prints_stays_out_of_the_json(bars, run):
    code = "from torch import nn\nclass Net(nn.Sequential):\n    def __init__(self, num_classes):\n"
    code += "        print('hello')\n"
    code += "        super().__init__(nn.Flatten(), nn.LazyLinear(num_classes))"
    Path("mine.py").write_text(code)
    said = run("train", "mnist", "--model", "mine.py:Net", "--epochs", "1", "--json")
    assert json.loads(said.out)["n"] == 60 and "hello" in said.err


LONG = ["train", "mnist", "--model", "mlp", "--hidden", "16", "--epochs", "500", "-b", "600"]
LONG += ["--precision", "float32", "--memory-format", "contiguous", "--checkpoint-seconds", "0.05"]
LONG += ["--kernels", "plain"]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_process_saves_and_says_so(tmp_path, signum, code):
    process = convscope(*LONG, "--out", str(tmp_path / "a"))
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("a/checkpoint/step-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    sent = time.monotonic()
    process.send_signal(signum)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - sent < 5
    assert process.returncode == code, err
    assert "--resume" in err and "Traceback" not in err
    assert out == ""
    assert not list(tmp_path.rglob(".tmp-*"))


def test_stopped_while_starting_up(tmp_path):
    for wait in (0.05, 0.5, 1.5):
        process = convscope(*LONG, "--out", str(tmp_path / f"a{wait}"))
        time.sleep(wait)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (143, -signal.SIGTERM), (
            err
        )  # before Python is up, the signal kills
        assert "Traceback" not in err


def test_a_killed_process_goes_on_to_the_bit(tmp_path):
    """A short form of benchmarks/kill.py: one kill, inside a save."""
    bench = Path(__file__).parents[2] / "benchmarks" / "kill.py"
    done = subprocess.run(
        [sys.executable, str(bench), "--kills", "1", "--short", "--no-record"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search("1 of 1 bit-identical; 1 kills struck inside a save", done.stdout)


def test_numbers_of_a_run_are_plain_json(bars, run):
    """No NaN, no NumPy type: what is printed is what any JSON reader takes."""
    run("train", "mnist", *SMALL, "--out", "a", "--val", "0")
    for line in Path("a/history.jsonl").read_text().splitlines():
        row = json.loads(line, parse_constant=pytest.fail)
        assert row["val_loss"] is None
    assert isinstance(json.loads(Path("a/metrics.json").read_text())["accuracy"], float)
    assert np.isfinite(json.loads(Path("a/model.json").read_text())["temperature"])


def test_folds_of_a_list_are_judged_one_after_another(workplace, run):
    photos(workplace / "pets", ("cat", "dog"), count=6, size=(6, 6))
    lines = [f"{kind}/{n:03}.png,{kind}" for kind in ("cat", "dog") for n in range(6)]
    Path("l.csv").write_text("\n".join(["file,label", *lines, "gone.png,cat"]))
    words = ["train", "./pets", "--labels", "l.csv", "--k-fold", "2", *SMALL, "--out", "cv"]
    said = run(*words)
    assert said.code == 1 and "line 14: names gone.png, which is not there" in said.err
    said = run(*words, "--skip-bad", "--json")
    found = json.loads(said.out)
    assert found["n"] == 12 and [one["n"] for one in found["folds"]] == [6, 6]
    assert found["cross_validation"] == "cv" and len(found["accuracy_ci95"]) == 2
    said = run(*words, "--skip-bad", "--resume")
    assert "page          cv/README.md" in said.out and "of 12 images (95% interval" in said.out
    said = run(*words, "--time-budget", "9s")
    assert said.code == 2 and "--time-budget 9s: is for one run, not for --k-fold" in said.err


def test_its_events_are_lines_of_a_file(bars, run, workplace):
    """Another process may watch it by them, and end it early: it is judged all the same."""
    path, place = Path("events.jsonl"), Path("a")
    assert run("train", "mnist", *SMALL, "--out", "a", "--events", path).code == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kinds = [line["event"] for line in lines]
    assert (kinds[0], kinds[-1]) == ("begin", "end") and {"progress", "epoch"} <= set(kinds)
    assert lines[0]["pid"] == os.getpid() and lines[-1]["error"] is None
    assert run("train", "mnist", *SMALL, "--out", "a", "--events", path).code == 2
    last = json.loads(path.read_text().splitlines()[-1])
    assert last["event"] == "end" and "holds a run already" in last["error"]
    assert "ended_at_step" not in json.loads((place / "metrics.json").read_text())
    assert run("train", "mnist", *SMALL, "--k-fold", "2", "--events", path).code == 2
