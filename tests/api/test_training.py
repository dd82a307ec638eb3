"""A run from Python: what it leaves behind, and how it goes on."""

from __future__ import annotations

import errno
import json
import random
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from listening import warnings_in
from PIL import Image
from quick import QUICK, same_weights

import convscope as cs
from convscope import files, kernels, report
from convscope import recipe as recipes
from convscope.api.training import _checked
from convscope.data import sources
from convscope.errors import (
    BadArgument,
    ConvscopeError,
    DataError,
    Interrupted,
    RunError,
    TargetMissed,
)
from convscope.events import EpochEnd, Notice, Progress
from convscope.models import store
from convscope.recipe import Claim, Recipe, resolve
from convscope.run import RunFolder
from convscope.training import loop


def test_a_run_leaves_everything_behind(bars, workplace):
    run = cs.train("mnist", **QUICK)
    assert run.path == Path("runs/mnist-cnn-1")
    assert sorted(p.name for p in run.path.iterdir()) == [
        ".lock",
        "README.md",
        "checkpoint",
        "history.jsonl",
        "metrics.json",
        "model.json",
        "model.safetensors",
        "predictions.csv",
        "recipe.toml",
        "report.html",
        "split.json",
        "summary.html",
        "validation.safetensors",
    ]
    assert run.metrics.accuracy > 0.8
    low, high = run.metrics.accuracy_ci95
    assert low < run.metrics.accuracy <= high
    assert run.metrics.test_looks == 1
    assert np.trace(run.metrics.confusion) == run.metrics.accuracy * run.metrics.n
    assert run.report.stat().st_size > 10_000
    assert cs.train("mnist", **QUICK).path == Path("runs/mnist-cnn-2")
    assert same_weights(Path("runs/mnist-cnn-1"), Path("runs/mnist-cnn-2"))


def test_the_split_says_which_image_went_where(bars):
    run = cs.train("mnist", **QUICK, val=0.2)
    split = json.loads((run.path / "split.json").read_text())
    labels = bars.splits["train"].labels[split["val"]]
    assert np.bincount(labels).tolist() == [16, 16, 16] and split["train"] == 192
    assert split["fingerprint"] == bars.fingerprint


def test_normalisation_is_that_of_the_training_pixels(bars):
    run = cs.train("mnist", **QUICK)
    split = json.loads((run.path / "split.json").read_text())
    pixels = np.delete(bars.splits["train"].images, split["val"], axis=0) / 255
    network = store.load(RunFolder(run.path))
    assert float(network.normalise.mean) == pytest.approx(pixels.mean(), rel=1e-5)
    assert float(network.normalise.std) == pytest.approx(pixels.std(), rel=1e-5)


def test_pixels_are_left_as_they_are_where_the_recipe_says_so(bars):
    run = cs.train("mnist", **QUICK, normalise=False)
    network = store.load(RunFolder(run.path))
    assert float(network.normalise.mean) == 0 and float(network.normalise.std) == 1
    assert RunFolder(run.path).read_recipe().data.normalise is False


@pytest.mark.parametrize("look", [True, False])
def test_the_report_looks_into_the_network_unless_it_is_asked_not_to(bars, look):
    page = cs.train("mnist", **QUICK, look=look).report.read_text(encoding="utf-8")
    assert ("Left out, as it was asked for" in page) is not look
    assert ("What it looks for" in page) is look


def test_events_come_up_as_they_happen(bars, events):
    seen, emit = events
    cs.train("mnist", **QUICK, emit=emit)
    assert [e.epoch for e in seen if isinstance(e, EpochEnd)] == [1, 2, 3]
    stages = {e.stage for e in seen if isinstance(e, Progress)}
    assert {"epoch 1/3", "validate", "judge"} <= stages


def test_the_test_split_is_read_once(bars, monkeypatch):
    """Whoever reads the test images before the end would be caught here."""
    test, reads = bars.splits["test"].images, []
    from convscope.evaluation import predictions

    outputs = predictions.outputs

    def counted(model, inputs, targets, **named):
        if any(np.shares_memory(one, test) for one in inputs.values()):
            reads.append(named["stage"])
        return outputs(model, inputs, targets, **named)

    monkeypatch.setattr(predictions, "outputs", counted)
    cs.train("mnist", **QUICK)
    assert reads == ["judge"]


def test_the_recipe_of_a_run_makes_it_again(bars, monkeypatch):
    """By the command that model.json and the report name."""
    import shlex
    import sys

    from convscope import cli

    run = cs.train("mnist", **QUICK, seed=3, shift=2, out="a")
    command = shlex.split(RunFolder(run.path).read_model()["command"])
    monkeypatch.setattr(sys, "argv", [*command, "--out", "b"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert not left.value.code
    assert same_weights(Path("a"), Path("b"))


def test_seeds_differ_and_repeat(bars):
    runs = [cs.train("mnist", **QUICK, seed=seed).path for seed in (1, 2, 1)]
    assert same_weights(runs[0], runs[2])
    assert not same_weights(runs[0], runs[1])


@pytest.mark.parametrize("stage", ["epoch 2/3", "validate", "judge"])
def test_stopped_at_any_stage_a_run_is_completed(bars, stage):
    """Also between training and judging, where no signal is waited for."""
    whole = cs.train("mnist", **QUICK).path

    class Power(Exception):
        pass

    def cut(event: object) -> None:
        if isinstance(event, Progress) and event.stage == stage:
            raise Power

    out = Path("a")
    with pytest.raises(Power):
        cs.train("mnist", **QUICK, out=out, emit=cut)
    run = cs.train("mnist", **QUICK, out=out, resume=True)
    assert same_weights(run.path, whole)
    assert run.metrics.test_looks == 1
    assert run.metrics.accuracy == cs.Run(whole).metrics.accuracy
    assert run.report.is_file() and (out / "README.md").is_file()


def test_resume_alone_is_enough_and_a_finished_run_stays(bars, events):
    seen, emit = events
    first = cs.train("mnist", **QUICK, out="a")
    before = {p: p.stat().st_mtime_ns for p in first.path.rglob("*") if p.is_file()}
    assert cs.train(out="a", resume=True, emit=emit).metrics == first.metrics
    assert "finished; nothing to do" in seen[-1].text
    assert before == {p: p.stat().st_mtime_ns for p in first.path.rglob("*") if p.is_file()}


def test_resume_begins_what_never_began_and_says_so(bars, events):
    seen, emit = events
    assert cs.train("mnist", **QUICK, out="new", resume=True, emit=emit).metrics.n == 60
    assert Notice("new: nothing to go on with; begins anew") in seen


def test_ctrl_c_while_it_judges_says_how_the_run_goes_on(bars):
    def emit(event: object) -> None:
        if isinstance(event, Progress) and event.stage == "judge":
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="stopped by SIGINT; go on with --out a --resume"):
        cs.train("mnist", **QUICK, out="a", emit=emit)
    assert cs.train(out="a", resume=True).metrics.n == 60


def test_a_report_that_is_missing_is_made_anew_without_another_look(bars):
    run = cs.train("mnist", **QUICK, out="a")
    run.report.unlink()
    again = cs.train(out="a", resume=True)
    assert again.report.is_file() and again.metrics.test_looks == 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"epochs": 5}, "epochs=5: is not what this run was begun with .3.; leave it out"),
        ({"model": "mlp"}, "model=mlp: is not what this run was begun with .cnn."),
        ({"widths": [4]}, r"widths=\(4,\): is not what this run was begun with .*4, 8"),
        ({"data": "cifar10"}, "data=cifar10: is not what this run was begun with"),
        ({"threads": 7}, "threads=7: is not what this run was begun with"),
    ],
)
def test_the_recipe_of_a_run_is_binding(bars, options, text):
    cs.train("mnist", **QUICK, out="a")
    with pytest.raises(BadArgument, match=text):
        cs.train(**{"data": "mnist", **QUICK, **options}, out="a", resume=True)


def test_nothing_is_overwritten(bars):
    cs.train("mnist", **QUICK, out="a")
    with pytest.raises(BadArgument, match="holds a run already; add --resume"):
        cs.train("mnist", **QUICK, out="a")


def test_a_taken_place_is_refused_before_anything_is_opened_or_measured(bars, monkeypatch, events):
    monkeypatch.setattr(sources, "open_data", None)  # would fail if it were called
    Path("a").mkdir()
    Path("a/thesis.tex").write_text("years")
    for out in ("a", "a/thesis.tex"):
        with pytest.raises(BadArgument, match=f"out={out}: .*; name a folder that is new or empty"):
            cs.train("mnist", **QUICK, out=out, emit=events[1])
    assert not events[0]


@pytest.mark.parametrize(
    "name",
    ["recipe.toml", "split.json", "step-", "history.jsonl", "validation.safetensors",
     "model.safetensors", "model.json", "predictions.csv", "metrics.json", "README.md",
     "summary.html", "report.html"],
)  # fmt: skip
def test_a_disk_that_is_full_is_named_and_nothing_is_half_written(bars, monkeypatch, events, name):
    seen, emit = events
    last_step = files._open_to_umask  # before a file or folder gets its name

    def full(path):
        if path.name.startswith(f".tmp-{name}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        last_step(path)

    monkeypatch.setattr(files, "_open_to_umask", full)
    words = r"no room left on the disk; .* another folder .--out"
    pages = ("README.md", "report.html", "summary.html")
    if name in pages:  # the run is judged by then, and is finished
        cs.train("mnist", **QUICK, out="a", emit=emit)
        assert re.search(words, warnings_in(seen)[-1])
    else:
        with pytest.raises(ConvscopeError, match=words):
            cs.train("mnist", **QUICK, out="a", emit=emit)
    assert not list(Path().rglob(f"{name}*")) and not list(Path().rglob(".tmp-*"))
    assert Path("a").exists() == (name != "recipe.toml")
    monkeypatch.setattr(files, "_open_to_umask", last_step)
    run = cs.train("mnist", **QUICK, out="a", resume=True)
    assert run.metrics.n == 60 and run.report.is_file() and Path("a/README.md").is_file()


def test_a_run_of_other_data_does_not_go_on(bars, monkeypatch):
    cs.train("mnist", **QUICK, out="a")
    monkeypatch.setattr(sources, "open_data", lambda *rest, **more: replaced(bars, "0" * 64))
    with pytest.raises(
        DataError, match="mnist: has fingerprint 000000000000, and the run was made"
    ):
        cs.evaluate("a")
    (Path("a") / "metrics.json").unlink()
    with pytest.raises(DataError, match="mnist: has fingerprint 000000000000"):
        cs.train(out="a", resume=True)


def replaced(pack, fingerprint):
    from dataclasses import replace

    return replace(pack, fingerprint=fingerprint)


def test_no_validation_is_said(bars, events):
    seen, emit = events
    run = cs.train("mnist", **QUICK, val=0, emit=emit)
    assert any(isinstance(e, Notice) and "not calibrated" in e.text for e in seen)
    assert RunFolder(run.path).read_model()["temperature"] == 1.0
    with pytest.raises(BadArgument, match="split=val: is empty: the run was trained with val=0"):
        cs.evaluate(run.path, "val")


def test_two_processes_do_not_train_into_one_folder(bars):
    from filelock import FileLock

    cs.train("mnist", **QUICK, out="a").report.unlink()
    with FileLock("a/.lock"), pytest.raises(RunError, match="another process is training into it"):
        cs.train(out="a", resume=True)


def test_data_in_another_order_has_another_validation_split(bars, monkeypatch):
    from dataclasses import replace

    run = cs.train("mnist", **QUICK, out="a")
    shuffled = replace(bars, digest="0" * 64)
    monkeypatch.setattr(sources, "open_data", lambda *rest, **more: shuffled)
    with pytest.raises(DataError, match="are in another order .* val split cannot be told"):
        cs.evaluate(run.path, "val")
    assert cs.evaluate(run.path, "test")["accuracy"] == run.metrics.accuracy


def test_a_claim_is_held_against_the_run(bars):
    claim = Claim(0.5, 0.01, 5, 1.0, "here", "2026-11-22", "convscope train")
    base = resolve({"data": "mnist", "epochs": 4, "batch_size": 40, "lr": 0.01}, {"widths": (4, 8)})
    fair = Recipe(base.data, base.model, base.train, base.augment, claim, base.origin)
    assert cs.train(recipe=fair, check=True, seed=3).metrics.accuracy > 0.5
    proud = Claim(1.1, 0.01, 5, 1.0, "here", "2026-11-22", "convscope train")
    missed = Recipe(base.data, base.model, base.train, base.augment, proud, base.origin)
    with pytest.raises(
        TargetMissed, match=r"misses the recipe's claim of 110.00% .sd 1.00%, 5 seeds"
    ):
        cs.train(recipe=missed, check=True)
    with pytest.raises(BadArgument, match="check=.*needs a recipe with a"):
        cs.train(recipe=missed, check=True, epochs=1)
    cs.train("mnist", **QUICK, out="unclaimed")
    with pytest.raises(BadArgument, match="check=.*needs a recipe with a"):
        cs.train(out="unclaimed", resume=True, check=True)


@pytest.mark.parametrize(("below", "reached"), [(2.5, True), (2.95, True), (3.1, False)])
def test_a_claim_allows_three_standard_deviations(bars, below, reached):
    run = cs.train("mnist", **QUICK, out="run", look=False)
    claim = Claim(run.metrics.accuracy + below * 0.02, 0.02, 5, 1.0, "here", "2026-11-22", "x")
    place = RunFolder(run.path)
    place.recipe.write_text(recipes.dumps(replace(place.read_recipe(), claim=claim)))
    if reached:
        assert _checked(cs.Run(run.path), True).path == run.path
    else:
        with pytest.raises(TargetMissed, match="by more than 3 sd"):
            _checked(cs.Run(run.path), True)
    assert _checked(cs.Run(run.path), False).path == run.path


def test_images_a_second_are_those_of_the_training_steps(bars):
    """Its seconds are those of the steps, of which there are as many images as were learnt from."""
    ends: list[EpochEnd] = []

    def told(event: object) -> None:
        if isinstance(event, EpochEnd):
            ends.append(event)

    began = time.perf_counter()
    run = cs.train("mnist", **QUICK, val=0.2, out="run", look=False, emit=told)
    gone = time.perf_counter() - began
    assert len(ends) == 3
    for end in ends:
        assert end.images_per_second * end.seconds == pytest.approx(192)  # 240 less a fifth
    seconds = sum(end.seconds for end in ends)
    assert run.metrics.images_per_second == pytest.approx(3 * 192 / seconds)
    assert 0 < seconds <= run.metrics.train_seconds < gone


def test_the_clock_of_images_a_second_is_that_of_the_wall(bars, monkeypatch):
    """Half a second is added to each epoch: the figure is at most what that leaves."""
    update = loop.update
    done: list[int] = []

    def slowly(*given: object) -> None:
        update(*given)
        if not len(done) % 6:
            time.sleep(0.5)
        done.append(1)

    monkeypatch.setattr(loop, "update", slowly)
    run = cs.train("mnist", **QUICK, out="run", look=False)
    assert len(done) == 18  # 216 images in batches of 40, three times
    assert run.metrics.images_per_second < 216 / 0.5
    assert run.metrics.images_per_second > 216 / 20


def test_pytorchs_generator_is_put_back_and_nobody_elses_is_touched(bars):
    np.random.seed(5)
    random.seed(5)
    torch.manual_seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    cs.train("mnist", **QUICK, out="run")
    cs.find_lr("mnist", **QUICK, out="rates.png")
    with pytest.raises(KeyError):
        cs.train("mnist", **QUICK, out="stopped", emit=_broken)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


def _broken(event: object) -> None:
    if isinstance(event, EpochEnd):
        raise KeyError


def test_a_run_says_why_there_are_no_kernels_where_there_should_be(bars, monkeypatch, events):
    seen, emit = events
    for why in ("numba.njit is not there", ""):
        monkeypatch.setattr(kernels, "odd", lambda why=why: why)
        cs.train("mnist", **QUICK, out=f"run{len(seen)}", look=False, emit=emit)
        said = [e.text for e in seen if isinstance(e, Notice) and "compiled kernels" in e.text]
        assert [text.partition(": ")[2] for text in said] == ["numba.njit is not there"]


def test_ctrl_c_in_python_saves_first(bars):
    import signal

    def stop(event: object) -> None:
        if isinstance(event, Progress) and event.stage == "epoch 2/3":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="saved in"):
        cs.train("mnist", **QUICK, out="a", emit=stop)
    assert issubclass(Interrupted, KeyboardInterrupt)
    assert cs.train(out="a", resume=True).metrics.n == 60


def test_the_report_is_there_even_without_test_images(bars):
    run = cs.train("mnist", **QUICK)
    path = report.write_report(
        run.path, test_images=None, anatomy=cs.summary(cs.load(run.path).network, (1, 12, 12))
    )
    assert path == run.report


def test_the_process_is_left_as_it_was(bars):
    """Threads and denormals are the caller's own again after a job, in a notebook or a server."""
    torch.set_num_threads(2)
    counts = []
    run = cs.train(
        "mnist", **QUICK, threads=1, emit=lambda e: counts.append(torch.get_num_threads())
    )
    assert set(counts) == {1} and torch.get_num_threads() == 2
    assert run.recipe.train.threads == 1
    assert float(torch.tensor(1e-39) * 1) > 0


def test_steps_alone_say_how_long(bars):
    options = {k: v for k, v in QUICK.items() if k != "epochs"}
    run = cs.train("mnist", **options, steps=13)
    assert (run.recipe.train.epochs, run.recipe.origin["train.epochs"]) == (3, "measured")
    assert len((run.path / "history.jsonl").read_text().splitlines()) == 3
    assert cs.train("mnist", **QUICK, steps=4).recipe.train.epochs == 3  # typed: the most


def test_a_batch_may_be_one_image(bars):
    run = cs.train("mnist", model="mlp", batch_size=1, steps=3, threads=1, kernels="plain")
    assert run.recipe.train.batch_size == 1 and run.metrics.n == 60


def test_a_learning_rate_is_searched_for(bars, workplace):
    found = cs.find_lr("mnist", **{**QUICK, "batch_size": 20})
    assert found.suggestion is not None and 1e-5 < found.suggestion < 1
    assert found.figure == Path("mnist-cnn-lr.png")
    assert [p.name for p in workplace.iterdir()] == ["mnist-cnn-lr.png"]
    with Image.open(found.figure) as picture:
        assert picture.size[0] > 500
    assert json.loads(json.dumps(found.as_json()))["rates"] == list(found.rates)
    with pytest.raises(BadArgument, match="out=mnist-cnn-lr.png: is there already"):
        cs.find_lr("mnist", **QUICK)
    Path("figures").mkdir()
    again = cs.find_lr("mnist", **{**QUICK, "batch_size": 20}, out="figures")
    assert again.figure == Path("figures/mnist-cnn-lr.png") and again.rates == found.rates
    assert cs.find_lr("mnist", **QUICK, out=found.figure, force=True).figure == found.figure
    with pytest.raises(BadArgument, match="out=x.exe: must end in .png"):
        cs.find_lr("mnist", **QUICK, out="x.exe")


def test_a_run_that_is_ended_early_is_judged(bars, workplace):
    place = RunFolder(Path("a"))

    def emit(event):
        if isinstance(event, Progress) and event.unit == "steps" and event.done == 7:
            place.stop.touch()

    run = cs.train("mnist", **QUICK, out="a", emit=emit)
    assert run.metrics.ended_at_step == 7 and not place.stop.exists()
    assert len(place.history.read_text().splitlines()) == 2  # of six steps each
    assert "ended on request, after step 7" in place.report.read_text()
    assert cs.train(out="a", resume=True).metrics == run.metrics
    cs.evaluate("a")
    kept = json.loads(place.metrics.read_text())
    assert (kept["test_looks"], kept["ended_at_step"]) == (2, 7)
