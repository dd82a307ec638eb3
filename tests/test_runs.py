"""Run folders as rows: finished, in training, interrupted, damaged."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from studios import UNFINISHED, copied, unfinished

from convscope import runs as listing
from convscope.errors import BadArgument
from convscope.runs import ListedRun, Listing


@pytest.fixture
def root(trained, tmp_path) -> Path:
    return copied(trained, tmp_path / "runs")


def row_of(root: Path, name: str = "a") -> ListedRun:
    [row] = [row for row in Listing(root).rows() if row.name == name]
    return row


def test_a_finished_run_is_what_its_files_say(root):
    row, said = row_of(root), json.loads((root / "a/metrics.json").read_text())
    model = json.loads((root / "a/model.json").read_text())
    assert (row.state, row.problem, row.data, row.network) == ("finished", "", "mnist", "cnn")
    assert (row.accuracy, list(row.ci95), row.n) == (said["accuracy"], said["accuracy_ci95"], 60)
    assert (row.seconds, row.parameters) == (said["train_seconds"], model["parameters"])
    assert (row.epoch, row.epochs, row.date) == (3, 3, model["created"])
    assert row.pages == ("report.html", "summary.html", "README.md")
    assert row.measure == "accuracy"
    (root / "a/metrics.json").write_text(json.dumps(
        said | {"skewed": True, "balanced_accuracy": 0.5, "balanced_accuracy_ci95": [0.4, 0.6]}
    ))  # fmt: skip
    row = row_of(root)
    assert (row.measure, row.accuracy, row.ci95) == ("balanced_accuracy", 0.5, (0.4, 0.6))
    assert json.loads(json.dumps(row.as_json()))["ci95"] == [0.4, 0.6]


@pytest.mark.parametrize(
    ("file", "spoilt", "said"),
    [
        ("recipe.toml", lambda text: text[:-9], "recipe.toml: was edited or damaged"),
        ("recipe.toml", lambda text: b"[data]\nname = 'a'\n", "it lacks 'model'"),
        ("recipe.toml", None, "recipe.toml: is not there"),
        ("history.jsonl", lambda text: text[:-9], "history.jsonl: is damaged"),
        ("history.jsonl", lambda text: text.replace(b'"lr"', b'"rl"'), "lr is not there"),
        ("model.json", lambda text: text[:90], "model.json: is damaged"),
        ("model.json", lambda text: text.replace(b'"created": "2', b'"created": "x'), "isoformat"),
        ("model.safetensors", lambda data: data[:-1], "model.safetensors: is damaged (cut short"),
        ("model.safetensors", lambda data: b"", "model.safetensors: is damaged (cut short"),
        ("metrics.json", lambda text: text.replace(b'"n": 60', b'"n": "x"'), "n is 'x'"),
        ("predictions.csv", lambda text: text[:-1], "predictions.csv: is damaged (cut short)"),
        ("predictions.csv", None, "predictions.csv: is not there"),
    ],
)
def test_what_is_damaged_is_named_and_the_rest_is_told(root, file, spoilt, said):
    path = root / "a" / file
    path.unlink() if spoilt is None else path.write_bytes(spoilt(path.read_bytes()))
    row = row_of(root)
    assert (row.state, row.file) == ("damaged", file) and said in row.problem
    assert row.accuracy is not None or file == "metrics.json"
    assert row_of(root, "more/b").state == "finished"


def test_a_file_that_is_a_folder_is_damage_too(root):
    (root / "a/model.json").unlink()
    (root / "a/model.json").mkdir()
    assert (row_of(root).state, row_of(root).file) == ("damaged", "model.json")


def test_a_run_goes_from_interrupted_to_training_and_back(root, monkeypatch):
    unfinished(root / "a", 2)
    kept = Listing(root)
    [row] = [row for row in kept.rows() if row.name == "a"]
    assert (row.state, row.epoch, row.epochs) == ("interrupted", 2, 3)
    assert row.val_accuracy is not None and row.accuracy is None
    assert row.command == f"convscope train --out {root / 'a'} --resume"
    assert row.problem.endswith(f"stopped after epoch 2 of 3; go on with: {row.command}")
    monkeypatch.setattr(listing, "AGAIN", 0)
    for told in (True, False):
        if not told:
            monkeypatch.setattr(listing, "LOCKS", Path("nowhere"))
        with FileLock(root / "a/.lock"):
            row = kept.row("a")
            assert (row.state, row.problem, row.command) == ("training", "", "")
            assert row.pid == (os.getpid() if told and Path("/proc/locks").exists() else None)
        assert kept.row("a").state == "interrupted"


def test_a_free_lock_is_not_tried_at_every_look(root, monkeypatch):
    """To try it is to hold it for a moment, in which nobody could begin to train."""
    unfinished(root / "a", 1)
    with FileLock(root / "a/.lock"):
        pass
    monkeypatch.setattr(listing, "LOCKS", Path("nowhere"))
    tried = []
    real = listing.RunFolder.at_work
    monkeypatch.setattr(listing.RunFolder, "at_work", lambda place: tried.append(1) or real(place))
    kept = Listing(root)
    for _ in range(3):
        assert kept.row("a").state == "interrupted"
    assert len(tried) == 1
    unfinished(root / "a", 0)  # something was written
    kept.row("a")
    assert len(tried) == 2


def test_what_was_trained_and_not_judged_or_not_written_up_says_how_it_goes_on(root):
    for name in UNFINISHED[:2]:
        (root / "a" / name).unlink()
    assert "after its last epoch, before it was judged; go on with" in row_of(root).problem
    (root / "more/b/report.html").unlink()
    row = row_of(root, "more/b")
    assert row.state == "finished" and f"has no report; write it with: {row.command}" in row.problem


def test_rows_are_sorted_and_what_has_no_value_comes_last(root):
    unfinished(root / "a", 1)
    shutil.copytree(root / "more/b", root / "more/b10")
    shutil.copytree(root / "more/b", root / "more/b9")
    said = json.loads((root / "more/b9/metrics.json").read_text())
    (root / "more/b9/metrics.json").write_text(json.dumps(said | {"accuracy": 0.999}))
    named = {
        sort: [row.name.rpartition("/")[2] for row in Listing(root).rows(sort)]
        for sort in ("name", "accuracy", "parameters", "date")
    }
    assert named["name"] == ["a", "b", "b9", "b10"]
    assert (named["accuracy"][0], named["accuracy"][-1]) == ("b9", "a")
    assert named["parameters"][-1] == "a" and named["date"][0] == "a"  # it was changed just now
    with pytest.raises(BadArgument, match="sort=acuracy: is nothing to sort by; did you mean accu"):
        Listing(root).rows("acuracy")


def test_what_is_hidden_linked_too_deep_or_not_a_run_is_passed_over(root, tmp_path):
    shutil.copytree(root / "a", tmp_path / "outside/a")
    (root / "linked").symlink_to(tmp_path / "outside", target_is_directory=True)
    for name in (".hidden/a", "sets/a", "1/2/3/4/5", ".tmp-a"):
        shutil.copytree(root / "a", root / name)
    (root / "figures").mkdir()
    (root / "figures/metrics.json").write_text("{}")  # whose ever that is
    kept = Listing(root)
    assert [row.name for row in kept.rows("name")] == ["a", "more/b"]
    for name in ("linked/a", ".hidden/a", "../outside/a", "", ".", "more/../a", "a/", "a\0"):
        assert kept.find(name) is None, name
    assert kept.find("more/b") == root / "more/b"
    for place, text in ((root / "a", "is itself a run folder"), (root / "nix", "is no folder")):
        with pytest.raises(BadArgument, match=text):
            Listing(place)


def test_only_what_has_changed_is_read_again(root, monkeypatch):
    kept, read = Listing(root), []
    real = listing._read
    monkeypatch.setattr(
        listing, "_read", lambda place, name: read.append(name) or real(place, name)
    )
    kept.rows()
    assert sorted(read) == ["a", "more/b"]
    kept.rows()
    assert len(read) == 2
    unfinished(root / "a", 1)
    assert kept.rows()[0].state == "interrupted" and read[2:] == ["a"]
    shutil.rmtree(root / "a")
    assert [row.name for row in kept.rows()] == ["more/b"] and len(kept.kept) == 1
