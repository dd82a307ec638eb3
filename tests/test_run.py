"""The run folder: made anew, never over something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from filelock import FileLock

from convscope import recipe, run
from convscope.errors import BadArgument, RunError
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
    with pytest.raises(BadArgument, match="holds something else; name a folder that is new"):
        run.create("mnist", "cnn", tmp_path, tmp_path)
    with pytest.raises(BadArgument, match="is a file; name a folder"):
        run.create("mnist", "cnn", tmp_path / "thesis.tex", tmp_path)
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(BadArgument, match="holds a run already; add --resume"):
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


def test_what_a_stopped_run_says(tmp_path):
    place = RunFolder(tmp_path / "my run")
    place.path.mkdir()
    assert place.unfinished() == ""  # no run at all
    place.recipe.write_text(recipe.dumps(recipe.resolve({"data": "mnist", "epochs": 7})))
    command = f"go on with: convscope train --out '{place.path}' --resume"
    text = f"{place.path}: training was stopped in the first epoch of 7; {command}"
    assert place.unfinished() == text
    with pytest.raises(RunError) as caught:
        place.read_model()
    assert str(caught.value) == text
    place.write_history([{"epoch": 1}, {"epoch": 2}])
    assert f"stopped after epoch 2 of 7; {command}" in place.unfinished()
    with FileLock(place.lock):
        text = "my run: another process is training into it; wait for its report"
        assert place.unfinished().endswith(text)
    place.model.write_text("{}")
    assert f"after its last epoch, before it was judged; {command}" in place.unfinished()
    place.metrics.write_text("{}")
    assert place.unfinished() == ""
    place.model.unlink()
    with pytest.raises(RunError, match=r"model.json: is not there; restore it"):
        place.read_model()  # it was finished, and then damaged


def test_a_run_of_ones_own_class_is_gone_on_with_by_its_name(tmp_path):
    place = RunFolder(tmp_path)
    asked = recipe.dumps(recipe.resolve({"data": "mnist"}))
    place.recipe.write_text(asked.replace('name = "cnn"', 'name = "nets/own.py:Net"'))
    assert place.unfinished().endswith("--resume --model nets/own.py:Net")


def test_a_place_that_takes_no_folder_is_refused(tmp_path):
    if not Path("/proc/self").exists():
        pytest.skip("needs Linux, where /proc takes no folder")
    with pytest.raises(BadArgument, match=r"out=/proc/a: cannot be made, /proc takes no folder"):
        run.check_free(Path("/proc/a"), tmp_path)
    with pytest.raises(BadArgument, match=r"out=/proc/runs: cannot be made, .*own .--out."):
        run.check_free(None, Path("/proc/runs"))
    run.check_free(tmp_path / "deep" / "er", tmp_path)
    run.check_free(None, tmp_path)
    assert not list(tmp_path.iterdir())
