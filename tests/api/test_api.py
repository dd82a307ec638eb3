"""The whole jobs from Python: what a run leaves behind, resuming, the user's own network,
judging."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import convscope as cs
from convscope import recipe, report
from convscope.data import sources
from convscope.errors import BadArgument, DataError, Interrupted, RunError, TargetMissed
from convscope.events import EpochEnd, Notice, Progress
from convscope.models import store
from convscope.recipe import Claim, Recipe, resolve
from convscope.run import RunFolder

QUICK = {"model": "cnn", "widths": [4, 8], "epochs": 3, "batch_size": 40, "lr": 0.01}
QUICK |= {"precision": "float32", "memory_format": "contiguous", "kernels": "plain"}


LATER = "|".join(recipe.LATER)


def same_weights(one: Path, two: Path) -> bool:
    return (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()


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

    logits_of = predictions.logits_of

    def counted(model, images, **named):
        if np.shares_memory(images, test):
            reads.append(named["stage"])
        return logits_of(model, images, **named)

    monkeypatch.setattr(predictions, "logits_of", counted)
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


def test_resume_begins_what_never_began(bars):
    assert cs.train("mnist", **QUICK, out="new", resume=True).metrics.n == 60


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
    with pytest.raises(RunError, match="holds a run already; add --resume"):
        cs.train("mnist", **QUICK, out="a")


def test_a_run_of_other_data_does_not_go_on(bars, monkeypatch):
    cs.train("mnist", **QUICK, out="a")
    monkeypatch.setattr(sources, "open_data", lambda *rest: replaced(bars, "0" * 64))
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


def test_evaluating_another_split(bars):
    run = cs.train("mnist", **QUICK)
    train = cs.evaluate(run.path, "train")
    val = cs.evaluate(run.path, "val")
    assert (train["n"], val["n"]) == (216, 24)
    history = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    assert val["accuracy"] == history[-1]["val_accuracy"]
    with pytest.raises(BadArgument, match="split=tset: must be train, val or test"):
        cs.evaluate(run.path, "tset")


def test_predicting(bars, workplace):
    trained = cs.load(cs.train("mnist", **{**QUICK, "epochs": 6}).path)
    images, labels = bars.splits["test"].images, bars.splits["test"].labels
    guesses = trained.predict(images)
    right = np.mean([g.label == bars.classes[y] for g, y in zip(guesses, labels, strict=True)])
    assert right > 0.9
    assert all(abs(sum(p for _, p in g.top) - 1) < 1e-6 for g in guesses)
    assert [g.label for g in trained.predict(images[:, 0])] == [g.label for g in guesses]
    Image.fromarray(images[0, 0]).save("one.png")
    for form in (
        "one.png",
        Path("one.png"),
        Path("one.png").read_bytes(),
        Image.fromarray(images[0, 0]),
    ):
        assert trained.predict([form], top_k=1)[0].top[0][0] == guesses[0].label
    with pytest.raises(BadArgument, match=r"images=float64 .*: must be uint8 \[N,1,12,12\]"):
        trained.predict(np.zeros((1, 1, 12, 12)))
    with pytest.raises(BadArgument, match="top_k=0: must be a whole number of at least 1"):
        trained.predict(images, top_k=0)


def test_probabilities_are_those_of_the_predictions_file(bars):
    """One preprocessing and one temperature: what was judged is what is predicted."""
    run = cs.train("mnist", **QUICK)
    rows = (run.path / "predictions.csv").read_text().splitlines()[1:]
    guesses = cs.load(run.path).predict(bars.splits["test"].images)
    for row, guess in zip(rows, guesses, strict=True):
        _, _, predicted, p, _ = row.split(",")
        assert predicted == guess.label and float(p) == pytest.approx(guess.p, abs=1e-5)


OWN = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, num_classes, width=8):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.Dropout(0.1),
                                 nn.Linear(width, num_classes))
    def forward(self, x):
        return self.net(x)
class Wrong(Net):
    def forward(self, x):
        return super().forward(x)[:, :2]
class Breaks(Net):
    def forward(self, x):
        return self.net(x.reshape(7, -1))
"""


def test_the_users_own_network(bars, workplace):
    Path("mine.py").write_text(OWN)
    own = {"model": "mine.py:Net", "epochs": 2, "batch_size": 40}
    run = cs.train("mnist", **own, width=6)
    assert run.path == Path("runs/mnist-Net-1")
    with pytest.raises(
        BadArgument, match="no code is loaded that you do not name; add --model mine.py"
    ):
        cs.load(run.path)
    assert cs.load(run.path, model="mine.py:Net").predict(bars.splits["test"].images)
    assert cs.evaluate(run.path, model="mine.py:Net")["n"] == 60
    with pytest.raises(BadArgument, match="is not the class this run was made with; name .*:Net"):
        cs.load(run.path, model="mine.py:Wrong")
    assert cs.train(**own, width=6, out=run.path, resume=True).metrics == run.metrics
    with pytest.raises(BadArgument, match="no code is loaded that you do not name; add --model"):
        cs.train(out=run.path, resume=True)
    Path("mine.py").write_text(OWN + "# another version")
    with pytest.raises(RunError, match="mine.py: was edited since this run was made with it"):
        cs.load(run.path, model="mine.py:Net")


def test_a_recipe_from_a_stranger_runs_no_code(bars, workplace):
    Path("evil.py").write_text("raise SystemExit('imported')")
    Path("gift.toml").write_text("[model]\nname = 'evil.py:Net'\n")
    with pytest.raises(BadArgument, match="the recipe names the class evil.py:Net, and no code is"):
        cs.train("mnist", recipe="gift.toml")
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda: edit("a/recipe.toml", "seed = 0", "seed = 1"), "recipe.toml was edited since"),
        (lambda: edit("mine.py", "0.1", "0.2"), "mine.py:Net was edited since"),
        (lambda: edit("a/split.json", '"digest": "', '"digest": "0'), "are in another order since"),
        (lambda: edit("a/split.json", '"val": [', '"val": [9999,'), "validation split is another"),
    ],
)
def test_a_run_goes_on_only_as_it_was_begun(bars, workplace, change, text):
    class Power(Exception):
        pass

    def cut(event: object) -> None:
        if isinstance(event, EpochEnd):
            raise Power

    Path("mine.py").write_text(OWN)
    own = {"model": "mine.py:Net", "epochs": 2, "batch_size": 40, "out": "a"}
    with pytest.raises(Power):
        cs.train("mnist", **own, emit=cut)
    change()
    with pytest.raises(RunError, match=text):
        cs.train(model="mine.py:Net", out="a", resume=True)


def edit(path: str, old: str, new: str) -> None:
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new))


def test_two_processes_do_not_train_into_one_folder(bars):
    from filelock import FileLock

    cs.train("mnist", **QUICK, out="a").report.unlink()
    with FileLock("a/.lock"), pytest.raises(RunError, match="another process is training into it"):
        cs.train(out="a", resume=True)


def test_data_in_another_order_has_another_validation_split(bars, monkeypatch):
    from dataclasses import replace

    run = cs.train("mnist", **QUICK, out="a")
    shuffled = replace(bars, digest="0" * 64)
    monkeypatch.setattr(sources, "open_data", lambda *rest: shuffled)
    with pytest.raises(DataError, match="are in another order .* val split cannot be told"):
        cs.evaluate(run.path, "val")
    assert cs.evaluate(run.path, "test")["accuracy"] == run.metrics.accuracy


def test_evaluating_writes_every_page_anew(bars):
    run = cs.train("mnist", **QUICK)
    (run.path / "predictions.csv").write_text("damaged")
    cs.evaluate(run.path)
    assert len((run.path / "predictions.csv").read_text().splitlines()) == 61
    assert "2 times" in (run.path / "README.md").read_text()
    assert "<dd>2</dd>" in run.report.read_text()


def test_what_cannot_be_read_stops_nothing(bars):
    trained = cs.load(cs.train("mnist", **QUICK).path)
    Path("empty").mkdir()
    Image.fromarray(bars.splits["test"].images[0, 0]).save("one.png")
    guesses = trained.predict(["gone.png", "one.png", "empty", b"no image"])
    assert [bool(guess.error) for guess in guesses] == [True, False, True, True]
    assert (guesses[0].label, guesses[0].p, guesses[0].unsure) == ("", 0.0, False)
    assert "is not there" in guesses[0].error and "holds no image" in guesses[2].error
    assert trained.predict("one.png")[0].label == guesses[1].label


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("this is no Python", "mine.py cannot be imported: SyntaxError"),
        ("import gone_module", "mine.py cannot be imported: ModuleNotFoundError"),
        (OWN + "\n    def __init__(self): 1 / 0\nNet = Breaks", "Breaks cannot be made"),
        (
            OWN.replace("return self.net(x)", "return x.nothing"),
            "fails .*AttributeError",
        ),
        (OWN.replace("nn.ReLU()", "nn.BatchNorm1d(width)"), "fails .*ValueError"),
    ],
)
def test_a_users_file_that_fails_is_named(bars, workplace, code, text):
    Path("mine.py").write_text(code.replace("Net = Breaks", ""))
    name = "Breaks" if "Net = Breaks" in code else "Net"
    with pytest.raises(BadArgument, match=text):
        cs.train("mnist", model=f"mine.py:{name}", batch_size=1, epochs=1)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Wrong", r"gives \[2, 2\] for a batch of 2 images of 3 classes; make it give \[B,3\]"),
        ("Breaks", r"fails on a batch \[100, 1, 12, 12\]: .*; mend the class; it gets float"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_before_anything_is_written(bars, name, text):
    Path("mine.py").write_text(OWN)
    with pytest.raises(BadArgument, match=text):
        cs.train("mnist", model=f"mine.py:{name}")
    assert not Path("runs").exists()


def test_no_name_in_a_file_is_imported(bars, workplace):
    """A run folder from a stranger: model.json may name any file, and none is touched."""
    run = cs.train("mnist", **QUICK)
    Path("evil.py").write_text("raise SystemExit('imported')")
    info = json.loads((run.path / "model.json").read_text())
    info["architecture"]["name"] = str(Path("evil.py").absolute()) + ":Net"
    (run.path / "model.json").write_text(json.dumps(info))
    with pytest.raises(BadArgument, match="no code is loaded that you do not name"):
        cs.load(run.path)
    info["architecture"]["name"] = "os.system"
    (run.path / "model.json").write_text(json.dumps(info))
    with pytest.raises(RunError, match=r"model.json: was edited or damaged: model=os.system"):
        cs.load(run.path)


@pytest.mark.parametrize(
    ("file", "content", "text"),
    [
        ("model.safetensors", b"", "was cut short or edited: its SHA-256 is not the one in model"),
        ("model.json", b"{", "model.json: is damaged"),
        ("model.json", b"{}", r"model.json: was edited or damaged .name is not there."),
        ("recipe.toml", b"[train]\nlr = 'x'", "recipe.toml: was edited or damaged"),
        ("metrics.json", b'{"accuracy": 1', "metrics.json: is damaged"),
    ],
)
def test_a_damaged_file_is_named(bars, file, content, text):
    run = cs.train("mnist", **QUICK)
    (run.path / file).write_bytes(content)
    with pytest.raises(RunError, match=text):
        cs.evaluate(run.path)


def test_weights_that_do_not_fit_are_named(bars):
    run = cs.train("mnist", **QUICK)
    info = json.loads((run.path / "model.json").read_text())
    info["architecture"]["arguments"]["widths"] = [4, 9]
    (run.path / "model.json").write_text(json.dumps(info))
    with pytest.raises(
        RunError, match=r"does not fit the network: features.4.weight should be .9, 4"
    ):
        cs.load(run.path)


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
    path = report.write_report(run.path, test_images=None, anatomy=[])
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


class Power(Exception):
    """A run is cut off."""


def test_a_time_budget_is_fitted_once(bars, events):
    """What was fitted stands in the recipe, so that the run is made again, and goes on, to the
    bit."""
    seen, emit = events
    options = {**QUICK, "batch_size": 8}
    del options["epochs"]
    cs.train("mnist", **options, steps=1)  # what is imported and compiled once
    began = time.perf_counter()
    run = cs.train("mnist", **options, time_budget="4s", out="a", emit=emit)
    assert time.perf_counter() - began < 12  # 4 on a quiet machine
    train, origin = run.recipe.train, run.recipe.origin
    assert train.steps > 0 and train.epochs == -(-train.steps // 27)
    assert origin["train.steps"] == origin["train.epochs"] == "measured"
    history = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    assert len(history) == train.epochs
    assert history[-1]["lr"] < 0.2 * QUICK["lr"]  # the schedule ends with the budget
    said = [e.text for e in seen if isinstance(e, Notice) and "time budget" in e.text]
    assert len(said) == 1
    assert re.fullmatch(
        rf"time budget 4 s: {train.steps:,} steps, [\d.]+ epochs \(\d+ ms a step, measured\)",
        said[0],
    )
    steps = [e.done for e in seen if isinstance(e, Progress) and e.unit == "steps"]
    assert steps[-1] == train.steps

    def cut(event: object) -> None:
        if isinstance(event, EpochEnd):
            raise Power

    with pytest.raises(Power):
        cs.train(recipe=run.path / "recipe.toml", out="b", emit=cut)
    again = cs.train(recipe=run.path / "recipe.toml", out="b", resume=True)
    assert same_weights(run.path, again.path)


def test_a_time_budget_replaces_a_recipes_epochs_also_when_it_goes_on(bars):
    Path("mine.toml").write_text("[train]\nepochs = 9000\n")
    options = {k: v for k, v in QUICK.items() if k != "epochs"}
    cs.train("mnist", **options, steps=1)  # what is imported and compiled once

    def cut(event: object) -> None:
        if isinstance(event, EpochEnd):
            raise Power

    with pytest.raises(Power):
        cs.train("mnist", recipe="mine.toml", **options, time_budget=4, out="a", emit=cut)
    run = cs.train("mnist", recipe="mine.toml", **options, out="a", resume=True)
    assert run.recipe.train.epochs < 9000


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"time_budget": 60, "epochs": 3}, "epochs=3: cannot be kept to together with time_budget"),
        ({"time_budget": 60, "steps": 3}, "steps=3: cannot be kept to together with time_budget"),
        ({"time_budget": "soon"}, "time_budget=soon: must be a time; write 90s, 10m or 1h30m"),
        (
            {"time_budget": 0.01},
            "time_budget=0.01 s: is too short: .* before training, and one step, .* try [0-9.]+ s",
        ),
        (
            {"max_memory": "2GB", "micro_batch": 8},
            "micro_batch=8: cannot be kept to together with max_memory, which decides it",
        ),
        ({"max_memory": "much"}, "max_memory=much: must be a size; write 800MB or 2GB"),
        ({"max_memory": "1MB"}, "max_memory=1 MB: is too little: the process has .* try"),
        (
            {"early_stopping": 2, "val": 0},
            "early_stopping=2: needs a validation split, and there is none with val=0",
        ),
        ({"time_budget": 60, "profile": True}, "profile=True: takes time and memory of its own"),
        ({"log": "paper"}, "log=paper: must be tensorboard"),
        ({"image_size": "0"}, "image_size=0: must be auto, N or HxW in pixels; try 64"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused_before_anything_is_written(bars, options, text):
    with pytest.raises(BadArgument, match=text):
        cs.train("mnist", model="mlp", hidden=8, **options)
    assert not Path("runs").exists()


def test_a_time_budget_is_not_for_a_run_that_was_begun(bars):
    cs.train("mnist", **QUICK, out="a")
    with pytest.raises(
        BadArgument, match="time_budget=60: was fitted, or not asked for, when this"
    ):
        cs.train("mnist", **QUICK, out="a", resume=True, time_budget=60)


def test_a_claim_does_not_hold_for_a_budget(bars):
    with pytest.raises(BadArgument, match="check=True: needs a recipe with a .claim."):
        cs.train("mnist", recipe="mnist-mlp", hidden=500, time_budget=8, check=True)


def test_a_memory_bound_decides_the_passes(bars, monkeypatch, events):
    from convscope.training import memory

    seen, emit = events
    bounds: list[int] = []

    def fit(bound: int, rehearsal: object, reserved: int = 0) -> tuple[int, int]:
        bounds.append(bound)
        return 10, 30

    monkeypatch.setattr(memory, "fit", fit)
    monkeypatch.setattr(memory, "check", lambda bound, rehearsal: bounds.append(-bound))
    run = cs.train("mnist", **QUICK, max_memory="2GB", out="a", emit=emit)
    train, origin = run.recipe.train, run.recipe.origin
    assert (train.micro_batch, train.eval_batch) == (10, 30) and set(bounds) == {2_000_000_000}
    assert origin["train.micro_batch"] == origin["train.eval_batch"] == "measured"
    assert any(
        isinstance(e, Notice) and "memory bound 2.00 GB: 10 images a pass" in e.text for e in seen
    )
    (run.path / "metrics.json").unlink()
    bounds.clear()
    assert cs.train(out="a", resume=True, max_memory="1GB").metrics.n == 60
    assert bounds == [-1_000_000_000]  # what it was begun with stands, and is held against it
    plain = cs.train("mnist", **QUICK, micro_batch=10, eval_batch=30)
    assert same_weights(run.path, plain.path)


def test_early_stopping_keeps_the_best(bars):
    run = cs.train("mnist", **{**QUICK, "epochs": 60, "lr": 0.1}, early_stopping=2)
    history = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    losses = [row["val_loss"] for row in history]
    assert len(losses) < 60 and losses.index(min(losses)) == len(losses) - 3
    assert cs.evaluate(run.path, "val")["accuracy"] == history[-3]["val_accuracy"]


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


@pytest.fixture
def photos(workplace) -> Path:
    """A folder of class folders with a validation split of its own, and one without."""
    random = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 6), ("test", 6)):
        for label in ("dark", "light"):
            folder = workplace / "my photos" / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                low = 0 if label == "dark" else 150
                pixels = random.integers(low, low + 100, (14, 10, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{label}-{i}.png")
    return workplace / "my photos"


OF_FOLDERS = {**QUICK, "batch_size": 12, "epochs": 2, "seed": 1}


def test_a_folder_is_data_like_any_other(photos):
    run = cs.train("my photos", **OF_FOLDERS, out="a")
    data, origin = run.recipe.data, run.recipe.origin
    assert data.name == str(photos) and run.metrics.n == 12
    assert (data.image_size, origin["data.image_size"]) == ("14x10", "measured")
    assert run.metrics.accuracy > 0.9
    rows = (run.path / "predictions.csv").read_text().splitlines()
    assert rows[1].startswith("test/dark/dark-0.png,dark,")
    split = json.loads((run.path / "split.json").read_text())
    assert (split["val"], split["train"]) == ([], 48)
    assert RunFolder(run.path).read_model()["data"]["val"] == 12
    assert cs.evaluate("a", "val")["n"] == 12 and cs.evaluate("a", "train")["n"] == 48
    (run.path / "metrics.json").unlink()
    assert cs.train(photos, **OF_FOLDERS, out="a", resume=True).metrics.n == 12
    Path("mine.toml").write_text("[data]\nname = 'my photos'\n")
    assert cs.train(recipe="mine.toml", out="a", resume=True).metrics.n == 12
    assert cs.load("a").predict([photos / "test" / "light"])[0].label == "light"
    assert cs.train(photos, **OF_FOLDERS).path == Path("runs/my_photos-cnn-1")
    with pytest.raises(BadArgument, match="val=0.3: is not used: my_photos has a validation split"):
        cs.train(photos, **OF_FOLDERS, val=0.3)


@pytest.mark.parametrize(("typed", "stored"), [("8", "8x8"), ("8x12", "8x12")])
def test_a_folders_images_are_brought_to_the_size_that_is_typed(photos, typed, stored):
    run = cs.train("my photos", **OF_FOLDERS, image_size=typed, out="a")
    data = run.recipe.data
    assert (data.image_size, run.recipe.origin["data.image_size"]) == (stored, "typed")
    assert cs.load("a").size == tuple(map(int, stored.split("x")))
    (run.path / "metrics.json").unlink()
    cs.train("my photos", **OF_FOLDERS, image_size=typed, out="a", resume=True)
    with pytest.raises(BadArgument, match="image_size=9x9: is not what this run was begun with"):
        cs.train(out="a", resume=True, image_size="9")


def test_the_size_of_a_published_set_is_its_own(workplace):
    with pytest.raises(BadArgument, match="image_size=64x64: is for folders; .*mnist"):
        cs.train("mnist", model="mlp", image_size="64", epochs=1)


def test_a_run_of_an_older_version_is_judged(bars):
    run = cs.train("mnist", **QUICK, out="a")
    lines = (run.path / "recipe.toml").read_text().splitlines()
    kept = [
        line for line in lines if not re.match(rf'"?(train\.|data\.|augment\.)?({LATER})"? =', line)
    ]
    assert len(lines) - len(kept) > 30
    (run.path / "recipe.toml").write_text("\n".join(kept))
    assert cs.evaluate("a", "val")["n"] == 24
