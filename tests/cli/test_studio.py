"""`convscope runs`, and what `convscope studio` refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from quick import SMALL


def test_runs_are_listed_a_line_each(bars, run):
    run("train", "mnist", *SMALL, "--out", "runs/good")
    shutil.copytree("runs/good", "runs/spoilt")
    Path("runs/spoilt/metrics.json").write_text("{")
    found = json.loads(run("runs", "--json").out)
    assert found["root"] == "runs" and len(found["runs"]) == 2
    said = {row["name"]: row for row in found["runs"]}
    metrics = json.loads(Path("runs/good/metrics.json").read_text())
    assert said["good"]["accuracy"] == metrics["accuracy"]
    shown = run("runs", "--sort", "name")
    head, good, spoilt = shown.out.splitlines()
    assert shown.code == 0 and head.split()[:3] == ["run", "data", "network"]
    low, high = metrics["accuracy_ci95"]
    assert f"{metrics['accuracy']:.2%}" in good and f"{100 * low:.2f} to {100 * high:.2f}" in good
    assert good.rstrip().endswith("finished") and "damaged: metrics.json" in spoilt
    assert shown.err == said["spoilt"]["problem"] + "\n"


def test_where_there_are_none(run, workplace):
    assert "ROOT=runs: is no folder; name one that has run folders" in run("runs").err
    Path("runs").mkdir()
    empty = run("runs")
    assert (empty.code, empty.out) == (0, "")
    assert empty.err == "runs: has no run folders; make one with: convscope train\n"
    assert run("runs", "--sort", "size").code == 2


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--port", "99999"], "--port 99999: cannot be listened on"),
        (["--host", "999.1.1.1"], "--host 999.1.1.1: is no address of this machine"),
        (["file"], "ROOT=file: is no folder; name one"),
    ],
)
def test_a_studio_that_cannot_be_is_refused(run, workplace, words, text):
    Path("file").write_text("")
    said = run("studio", *words)
    assert said.code != 0 and text in said.err and said.out == ""
