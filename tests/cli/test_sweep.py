"""`convscope sweep` and `convscope learning-curve` as a stranger types them."""

from __future__ import annotations

import json
from pathlib import Path

from convscope.studies import grid

SMALL = ["--model", "mlp", "--steps", "2", "--val", "0.02", "--precision", "float32"]
SMALL += ["--memory-format", "contiguous", "--kernels", "plain", "--threads", "1"]


def test_the_studies_are_listed(run):
    said = run("sweep", "--list")
    assert said.code == 0
    for name in grid.names():
        assert name in said.out
    found = json.loads(run("sweep", "--list", "--json").out)
    assert found["kernel-size"]["runs"] == 12 and found["kernel-size"]["question"].endswith("?")


def test_a_preview_trains_nothing(run, workplace):
    said = run("sweep", "mnist", "--vary", "hidden=4,8", "--seeds", "2", "--preview", *SMALL)
    assert said.code == 0 and "hidden 4" in said.out and not Path("runs").exists()
    words = ["sweep", "mnist", "--vary", "hidden=4,8", "--preview", "--json", *SMALL]
    rows = json.loads(run(*words).out)["settings"]
    assert [(row["values"], row["runs"]) for row in rows] == [
        *(({"hidden": "4"}, 3), ({"hidden": "8"}, 3)),
    ]


def test_a_sweep_from_the_command_line(run, workplace):
    words = ["sweep", "mnist", "--vary", "hidden=4,8", "--seeds", "1,7", *SMALL, "--out", "s"]
    said = run(*words)
    assert said.code == 0, said.err
    assert "run 1 of 4: hidden 4, seed 1" in said.err and "Chosen on validation: " in said.out
    assert f"page          {Path('s/README.md')}" in said.out
    assert run(*words).code == 2
    found = json.loads(run(*words, "--resume", "--json").out)
    assert [row["seed"] for row in found["rows"]] == [1, 1, 7, 7]
    assert set(found) == {"sweep", "title", "rows", "parts"}


def test_a_wrong_sweep_says_what_is_wrong(run, workplace):
    for words, says in (
        (["mnist", "--vary", "lr"], "--vary lr: must be a field and its values"),
        (["mnist", "--seeds", "two"], "--seeds two: must be whole numbers; try 3, or 1,2,5"),
        (["mnist", "--vary", "kernel=3,5"], "an option; did you mean kernel_size? cnn takes"),
        (["--vary", "lr=1,2"], "DATA=(not given): is needed, or a recipe, or a study"),
        (["--study", "kernels"], "--study kernels: is no study that is ready"),
    ):
        said = run("sweep", *words)
        assert said.code == 2 and says in said.err, said.err
    assert not Path("runs").exists()


def test_a_learning_curve_says_what_more_images_promise(bars, run):
    words = ["learning-curve", "mnist", *SMALL, "--out", "curve"]
    said = run(*words)
    assert said.code == 0 and "234" in said.out
    assert said.out.endswith("page          curve/README.md\n")
    found = json.loads(run(*words, "--resume", "--json").out)
    assert found["learning_curve"] == "curve" and found["whole"]["images"] == [30, 60, 117, 234]
    assert [one["name"] for one in found["classes"]] == ["flat", "upright", "spot"]
    assert all(f"- {sentence}\n" in said.out for sentence in found["sentences"])
