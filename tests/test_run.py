"""The run folder: made anew, never over something else."""

from __future__ import annotations

import json

import pytest

from convscope import run
from convscope.errors import RunError
from convscope.run import RunFolder


def test_the_first_free_number(tmp_path):
    names = [run.create("mnist", "cnn", None, tmp_path / "runs").path.name for _ in range(3)]
    assert names == ["mnist-cnn-1", "mnist-cnn-2", "mnist-cnn-3"]


def test_a_folder_of_ones_own(tmp_path):
    assert run.create("mnist", "cnn", tmp_path / "deep" / "a", tmp_path).path.is_dir()
    assert run.create("mnist", "cnn", tmp_path / "deep" / "a", tmp_path)  # still empty


def test_what_a_killed_start_left_is_no_obstacle(tmp_path):
    (tmp_path / ".tmp-recipe.toml-x").write_text("half")
    run.create("mnist", "cnn", tmp_path, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(RunError, match="holds something else; name a folder that is new or empty"):
        run.create("mnist", "cnn", tmp_path, tmp_path)
    with pytest.raises(RunError, match="is a file; name a folder"):
        run.create("mnist", "cnn", tmp_path / "thesis.tex", tmp_path)
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(RunError, match="holds a run already; add --resume"):
        run.create("mnist", "cnn", tmp_path, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years"


def test_a_run_that_is_none(tmp_path):
    with pytest.raises(RunError, match="is no run folder .there is no such folder"):
        run.find(tmp_path / "gone")
    with pytest.raises(RunError, match=r"it holds no recipe.toml.; name one that"):
        run.find(tmp_path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{"accuracy": ', "metrics.json: is damaged"),
        ("[]", r"metrics.json: is damaged .no table of names and values.; restore it"),
        ('{"split": "test"}', r"metrics.json: was edited or damaged .n is not there.; restore it"),
        (
            '{"split": "test", "n": "1"}',
            r"was edited or damaged .n is '1'.; restore it",
        ),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, text):
    folder = RunFolder(tmp_path)
    with pytest.raises(RunError, match="metrics.json: is not there"):
        folder.read_metrics()
    folder.metrics.write_text(content)
    with pytest.raises(RunError, match=text):
        folder.read_metrics()


def test_the_history_is_a_line_an_epoch(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_history([{"epoch": 1}, {"epoch": 2}])
    assert [json.loads(line) for line in folder.history.read_text().splitlines()] == [
        {"epoch": 1},
        {"epoch": 2},
    ]


def test_a_file_of_a_later_format_is_named(tmp_path):
    folder = RunFolder(tmp_path)
    later = {"fingerprint": "", "digest": "", "recipe_sha256": "", "source_sha256": None, "val": []}
    folder.split.write_text(json.dumps(later | {"format_version": 9}))
    with pytest.raises(RunError, match="has format_version 9, and this convscope reads 1"):
        folder.read_split()


def test_what_is_inside_a_table_is_checked_too(tmp_path):
    with pytest.raises(RunError, match=r"was edited or damaged .name is 3."):
        run.checked(tmp_path / "model.json", {"data": {"name": 3}}, {"data": {"name": str}})
    with pytest.raises(RunError, match=r"is damaged .data is no table"):
        run.checked(tmp_path / "model.json", {"data": 3}, {"data": {"name": str}})
