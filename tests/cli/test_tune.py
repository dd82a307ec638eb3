"""`convscope tune` as a stranger types it, and the commands of docs/tune.md."""

from __future__ import annotations

import json
from pathlib import Path

import documents
import pytest

pytest.importorskip("optuna")
PAGE = Path(__file__).parents[2] / "docs" / "tune.md"
BLOCKS = documents.blocks(PAGE.read_text(encoding="utf-8"))
QUICK = " --kernels plain --precision float32 --threads 1"
FEW = {
    **{"trials 200": "trials 2", "trials 40": "trials 2", "trials 60": "trials 3"},
    **{"workers 2": "workers 1", "--epochs 9": "--epochs 2 --trials 2"},
}
SMALL = ["--model", "mlp", "--vary", "hidden=4..16", "--epochs", "2", *QUICK.split()]


def test_a_search_from_the_command_line(bars, run):
    said = run("tune", "mnist", *SMALL, "--trials", "3", "--out", "s")
    assert said.code == 0, said.err
    assert "3 of 3: " in said.err and "hidden" in said.out
    for line in (
        f"page          {Path('s/tune.html')}",
        f"convscope sweep --recipe {Path('s/best.toml')}",
    ):
        assert line in said.out
    again = run("tune", "mnist", *SMALL, "--trials", "3", "--out", "s")
    assert again.code == 2 and "--out s: holds a search already" in again.err
    found = json.loads(run("tune", "--out", "s", "--resume", "--json").out)
    assert len(found["rows"]) == found["trials"] == 3
    assert set(found) == {"tune", "trials", "space", "best", "front", "importance", "rows"}


def test_a_preview_writes_nothing(bars, run):
    said = run("tune", "mnist", *SMALL, "--preview")
    assert said.code == 0 and "4..16" in said.out and "up to 2 epochs a trial" in said.out
    found = json.loads(run("tune", "mnist", *SMALL, "--preview", "--json").out)
    assert found["space"]["hidden"]["high"] == 16 and found["epochs"] == 2
    assert not list(Path().iterdir())


def test_a_wrong_search_says_what_is_wrong(bars, run):
    for words, says in (
        (["mnist", "--vary", "lr"], "--vary lr: must be a field and what it is searched over"),
        (["mnist", "--vary", "hiden=1..2"], "--vary hiden=1..2: is no argument of cnn, nor"),
        (["mnist", "--trials", "0"], "--trials 0: must be a whole number of at least 1"),
        (["mnist", "--time-limit", "soon"], "--time-limit soon: must be a time"),
        (["mnist", "--grace", "0"], "--grace 0.0: must be seconds, more than 0"),
        (["--resume"], "--resume: needs the folder of the search"),
        ([], "DATA=(not given): is needed, or a recipe"),
        (["mnist", "--storage", "x://y"], "--storage x://y: is no database that can be used here"),
    ):
        said = run("tune", *words)
        assert said.code == 2 and says in said.err, said.err
    assert not list(Path().iterdir())


def test_what_is_not_installed_is_named(bars, run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    said = run("tune", "mnist", *SMALL)
    assert said.code == 2 and "pip install 'convscope[tune]'" in said.err


def test_every_command_of_the_page_runs(bars, workplace, postgres, monkeypatch):
    """With few trials, in this process; the machine of the database is a test's own."""
    commands = [command for block in BLOCKS for command in block.commands]
    assert len(commands) == 7
    for command in commands:
        quick = command.replace("me@host/trials", postgres.url.partition("//")[2])
        for many, few in FEW.items():
            quick = quick.replace(many, few)
        if "tune" in quick and "--resume" not in quick:
            quick += QUICK
        if "sweep" in quick or "train" in quick:
            quick += QUICK + " --memory-format contiguous"
        documents.command(quick + " --seeds 1" * ("sweep" in quick))
    assert Path("runs/search/tune.html").is_file() and Path("runs/here/best.toml").is_file()


def test_the_snippet_of_the_page_runs(bars, workplace):
    (block,) = (block for block in BLOCKS if block.language == "python")
    assert 'name = "mlp"' in documents.Reader().run(block)
