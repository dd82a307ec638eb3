"""A grid of runs: made once, resumed, refused before anything is written."""

from __future__ import annotations

import json

import pytest

import convscope as cs
from convscope import api, machine
from convscope import recipe as recipes
from convscope.errors import BadArgument
from convscope.studies import grid, sweep

FAST = {
    **{"model": "mlp", "hidden": 8, "steps": 3, "val": 0.02, "kernels": "plain", "threads": 1},
    **{"precision": "float32", "memory_format": "contiguous"},
}


def test_every_combination_over_every_seed(tmp_path, counted):
    out = tmp_path / "sweep"
    done = sweep.sweep("mnist", vary={"lr": [0.001, 0.01]}, seeds=2, out=out, **FAST)
    assert counted == ["1-lr-0.001-seed1", "1-lr-0.01-seed1", "1-lr-0.001-seed2", "1-lr-0.01-seed2"]
    assert [(row["values"]["lr"], row["seed"]) for row in done.rows] == [
        *(("0.001", 1), ("0.01", 1), ("0.001", 2), ("0.01", 2)),
    ]
    for row in done.rows:
        metrics = json.loads((out / row["run"] / "metrics.json").read_text())
        assert row["accuracy"] == metrics["accuracy"] and row["seconds"] == metrics["train_seconds"]
        recipe = (out / row["run"] / "recipe.toml").read_text()
        assert f"lr = {row['values']['lr']}" in recipe and f"seed = {row['seed']}" in recipe
        assert row["parameters"] == 784 * 8 + 8 + 8 * 10 + 10
        assert row["multiply_adds"] == 784 * 8 + 8 * 10
    kept = json.loads((out / "results.json").read_text())
    assert kept["rows"] == done.rows and kept["parts"][0]["chosen"] in ("lr 0.001", "lr 0.01")
    assert (out / "figure.png").exists() and (out / "figure.svg").exists()
    page = done.page.read_text()
    assert "lr 0.001" in page and all(s in page for s in done.parts[0].sentences)
    assert done.as_json()["rows"] == done.rows


def test_a_sweep_that_was_stopped_goes_on_and_repeats_nothing(tmp_path, counted, monkeypatch):
    out = tmp_path / "sweep"
    wanted = {"vary": {"lr": [0.001, 0.01]}, "seeds": 2, "out": out, **FAST}
    going = api.train

    def stopping(**options):
        if len(counted) == 2:
            raise KeyboardInterrupt
        return going(**options)

    with monkeypatch.context() as patch:
        patch.setattr(api, "train", stopping)
        with pytest.raises(KeyboardInterrupt):
            sweep.sweep("mnist", **wanted)
    assert len(json.loads((out / "results.json").read_text())["rows"]) == 2
    weights = (out / "runs/1-lr-0.001-seed1/model.safetensors").stat().st_mtime_ns
    with pytest.raises(BadArgument, match="out=.*holds a sweep already; add resume"):
        sweep.sweep("mnist", **wanted)
    done = sweep.sweep("mnist", resume=True, **wanted)
    assert len(counted) == len(set(counted)) == 4 and len(done.rows) == 4
    assert (out / "runs/1-lr-0.001-seed1/model.safetensors").stat().st_mtime_ns == weights
    more = sweep.sweep("mnist", resume=True, **{**wanted, "seeds": 3})
    assert len(counted) == 6 and len(more.rows) == 6


def test_another_sweep_is_not_gone_on_with(tmp_path):
    out = tmp_path / "sweep"
    sweep.sweep("mnist", seeds=1, out=out, **FAST)
    with pytest.raises(BadArgument, match="was begun otherwise"):
        sweep.sweep("mnist", seeds=1, out=out, resume=True, **{**FAST, "hidden": 9})


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"vary": {"learning": [1, 2]}}, "learning=1: is no argument of mlp, nor an option"),
        ({"vary": {"lr": [0.1, -1.0]}}, "lr=-1.0: must be a finite number above 0"),
        ({"vary": {"hidden": [8, 0]}, "hidden": None}, "hidden=0: must be a whole number"),
        ({"vary": {"lr": [0.1]}, "lr": 0.2}, "lr=0.2: is varied, and given as well"),
        ({"seeds": 0}, "seeds=0: must be how many seeds"),
        ({"seeds": [1, 1]}, "must be how many seeds, at least 1, or which, each once"),
        ({"seed": 3}, "seed=3: is for one run; use seeds"),
        ({"resume": True, "out": None}, "resume=True: needs the folder of the sweep"),
        ({"study": "pooling", "vary": {"lr": [1]}}, "cannot be given with study=pooling"),
        ({"study": "poling"}, "study=poling: is no study that is ready; .*pooling"),
        ({"vary": {"layers": {"a": "mp2 mp2 mp2 mp2 mp2 mp2 flatten fc"}}, "model": None,
          "hidden": None}, "layers"),
    ],
)  # fmt: skip
def test_what_cannot_be_swept_is_refused_before_anything_is_written(tmp_path, asked, says):
    out = tmp_path / "sweep"
    wanted = {"seeds": 1, "out": out, **FAST, **asked}
    with pytest.raises(BadArgument, match=says):
        sweep.sweep("mnist", **wanted)
    assert not out.exists()


def test_a_sweep_needs_data_a_recipe_or_a_study():
    with pytest.raises(
        BadArgument, match="is needed, or a recipe, or a study; studies: batch-norm"
    ):
        sweep.sweep(vary={"lr": [1]})


@pytest.mark.parametrize("name", grid.names())
def test_every_ready_study_can_be_trained(name):
    """Its recipes are right and its networks fit; nothing is trained."""
    rows = sweep.preview(study=name)
    study = grid.load(name)
    assert len(rows) == sum(len(part.settings) for part in study.parts)
    assert all(row["parameters"] > 0 and row["multiply_adds"] > 0 for row in rows)


def test_a_ready_study_from_end_to_end(tmp_path, monkeypatch):
    out = tmp_path / "study"
    told: list[cs.Notice] = []
    short = {
        "threads": 1,
        "kernels": "plain",
        "precision": "float32",
        "memory_format": "contiguous",
    }
    done = sweep.sweep(study="pooling", quick=True, out=out, emit=told.append, **short)
    assert [line.name for line in done.parts[0].lines] == [
        *("max", "average", "global max", "global average"),
    ]
    assert len({line.parameters for line in done.parts[0].lines}) == 2
    assert "nothing follows from them" in done.page.read_text()
    notices = [event.text for event in told if isinstance(event, cs.Notice)]
    assert any("4 runs, 1 seed a setting" in text for text in notices)
    assert any(text.startswith("run 4 of 4: global average, seed 1; about") for text in notices)


def test_a_recipes_seeds_leave_the_claim_that_it_may_bear(tmp_path):
    lines = [
        *('[data]\nname = "mnist"\nval = 0.02', '[model]\nname = "mlp"\nhidden = 8'),
        '[train]\nsteps = 3\nkernels = "plain"\nprecision = "float32"',
        'memory_format = "contiguous"\nthreads = 1',
    ]
    recipe = tmp_path / "mine.toml"
    recipe.write_text("\n".join(lines))
    done = sweep.sweep(recipe=recipe, seeds=2, out=tmp_path / "sweep")
    text = (tmp_path / "sweep/claim.toml").read_text()
    claim = recipes.parse(text, "claim").claim
    values = [row["accuracy"] for row in done.rows]
    assert claim.accuracy == pytest.approx(sum(values) / 2, abs=1e-5) and claim.seeds == 2
    assert claim.command == f"convscope sweep --recipe {recipe} --seeds 2"
    assert claim.machine.startswith("1 thread of ") and claim.machine.endswith("float32")
    claimed = recipes.parse(recipe.read_text() + "\n" + text, "mine")
    assert claimed.claim == claim and claimed.train.steps == 3


def test_a_setting_that_fails_ends_its_row_and_not_the_sweep(tmp_path, counted, monkeypatch):
    out = tmp_path / "sweep"
    wanted = {**FAST, "model": None, "hidden": None, "layers": "c3-8s2 relu gap bn flatten fc"}
    wanted |= {"vary": {"batch_size": [1, 20]}, "seeds": 2, "out": out}
    told: list[cs.Notice] = []
    done = sweep.sweep("mnist", emit=told.append, **wanted)
    assert [row["values"]["batch_size"] for row in done.rows] == ["1", "20"] * 2
    failed, right = done.rows[::2], done.rows[1::2]
    assert all(row["failure"].startswith("batch_size=1: leaves 1 image for a") for row in failed)
    assert all("failure" not in row and row["accuracy"] >= 0 for row in right)
    assert not (out / "runs/1-batch-size-1-seed1").exists()
    assert [line.name for line in done.parts[0].lines] == ["batch_size 20"]
    sentence = done.parts[0].sentences[0]
    assert sentence.startswith("batch_size 1 failed (every run): batch_size=1: leaves 1 image")
    kept = json.loads((out / "results.json").read_text())
    assert kept["rows"] == done.rows and sentence in kept["parts"][0]["sentences"]
    assert sentence in done.page.read_text()
    warned = [e.text for e in told if isinstance(e, cs.Notice) and e.warning]
    assert sum(text.startswith("batch_size 1, seed") for text in warned) == 2
    counted.clear()
    sweep.sweep("mnist", resume=True, **wanted)  # what failed is tried again, and nothing else
    assert counted == ["1-batch-size-1-seed1", "1-batch-size-1-seed2"]


def test_a_sweep_of_which_every_run_fails_says_why(tmp_path, monkeypatch):
    def failing(**options):
        raise MemoryError

    monkeypatch.setattr(api, "train", failing)
    done = sweep.sweep("mnist", seeds=2, out=tmp_path / "sweep", **FAST)
    assert [row["failure"] for row in done.rows] == ["MemoryError"] * 2
    assert done.parts[0].lines == () and done.parts[0].chosen is None
    assert done.parts[0].sentences == ("as given failed (every run): MemoryError.",)


@pytest.mark.parametrize("what", ["sweep", "learning curve", "cross-validation", "search"])
def test_runs_of_one_question_are_not_for_torchrun(monkeypatch, what):
    monkeypatch.setattr(machine, "place", lambda: machine.Place(ranks=2))
    with pytest.raises(BadArgument, match=f"torchrun=2: .* a {what} is done by one; leave"):
        sweep.begun(None, False, what=what)
