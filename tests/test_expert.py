"""The benchmarks' second peer, an expert's twenty lines: the same networks and the same work as
convscope's, by the way that is fastest; and whether convscope's own choice is the best one."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import shutil
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

from convscope import models
from convscope.data import pack_writer

EXPERTS = ("a", "b-inception", "b-resnet", "c", "e", "resnet18", "record")


def settings(couple) -> dict[str, str]:
    """What convscope's side of a couple is set to."""
    return dict(word[6:].split("=", 1) for word in couple.ours if word.startswith("--set="))


@pytest.mark.parametrize("name", EXPERTS)
def test_an_expert_trains_convscopes_network_with_the_same_optimiser(benchmarks, name):
    import expert
    import rows

    couple = rows.COUPLES[f"{name}-expert"]
    task = expert.TASKS[couple.options[1]]
    _, data, model, batch, *rest = couple.ours
    assert batch == f"--batch-size={task.batch}" and "--no-augment" in rest
    size, channels = ((28, 28), 1) if data == "mnist" else ((32, 32), 3)
    ours = models.build(model, 10, channels, size, {})
    theirs = task.network(torch.rand(20, channels, *size))

    def trained(network: nn.Module) -> int:
        return sum(p.numel() for p in network.parameters() if p.requires_grad)

    assert trained(theirs) == trained(ours)
    ours_set = settings(couple)
    assert ours_set["optimizer"] == task.optimizer.__name__.lower()
    assert ours_set["schedule"] == "constant"
    assert float(ours_set.get("label_smoothing", 0)) == task.smoothing
    rates = {"momentum": 0.0, "weight_decay": 0.0, "nesterov": False} | task.rates
    for key, value in rates.items():
        if key in ours_set:
            assert float(json.loads(ours_set[key])) == pytest.approx(float(value)), key
    tutorial = next(row for row in rows.ROWS if row.name == name)
    assert tutorial.what == next(row for row in rows.ROWS if row.name == f"{name}-expert").what


@pytest.mark.parametrize(
    ("model", "precision"),
    [
        *((name, "float32") for name in ("cnn", "inception", "resnet", "keras_cnn", "cifar_cnn")),
        *((name, "bfloat16") for name in ("cnn", "keras_cnn")),
    ],
)
def test_an_experts_loss_falls(benchmarks, model, precision):
    import expert

    random = np.random.default_rng(0)
    task = expert.TASKS[model]
    size, channels = (28, 1) if task.data == "mnist" else (32, 3)
    labels = torch.arange(40) % 2
    noise = torch.from_numpy(random.standard_normal((40, size, size, channels), np.float32))
    images = noise + 2.0 * labels.reshape(-1, 1, 1, 1)
    task = dataclasses.replace(
        task, batch=16, rates=task.rates | {"lr": max(task.rates["lr"], 0.003)}
    )
    way = expert.Way(task, images, labels, precision, seed=1)
    assert way.images.dtype is expert.DTYPES[precision]
    losses = []
    for _ in range(60):
        count, loss = next(way.endless)
        losses.append(loss.item())
        assert count == 16  # the eight that are left of an epoch are not a batch
    assert np.mean(losses[-6:]) < 0.8 * np.mean(losses[:3])


class Paced:
    """A way whose rounds have the given speeds."""

    def __init__(self, name: str, *speeds: float) -> None:
        self.name, self.speeds, self.asked = name, list(speeds), []

    def speed(self, seconds: float) -> float:
        self.asked.append(seconds)
        return self.speeds.pop(0)

    def __str__(self) -> str:
        return self.name


def test_the_way_with_the_fastest_round_is_taken_and_the_first_round_is_no_round(benchmarks):
    import expert

    disturbed = Paced("bfloat16 eager", 900, 10, 10, 300, 10)
    steady = Paced("float32 eager", 1, 200, 200, 200, 200)
    best, tried = expert.fastest([steady, disturbed], 8.0)
    assert best is disturbed and tried == {"float32 eager": 200, "bfloat16 eager": 300}
    assert steady.asked == [1.0] * 5


def asked(**changed) -> argparse.Namespace:
    found = {"formats": ["float32", "bfloat16"], "compile": True, "compile_seconds": 60, "seed": 0}
    return argparse.Namespace(**found | changed)


@pytest.fixture
def small(benchmarks):
    """A task of one linear layer, and its data."""
    import expert

    def network():
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 10))

    task = expert.Task("mnist", 4, expert.plain(network), torch.optim.SGD, {"lr": 0.1})
    return task, torch.rand(8, 4, 4, 1), torch.arange(8)


def test_what_cannot_be_compiled_is_left_out_in_words(benchmarks, small, monkeypatch, tmp_path):
    import expert

    both = ["float32 eager", "bfloat16 eager"]
    found, left_out = expert.ways(asked(compile=False), *small)
    assert [str(way) for way in found] == both
    assert left_out["float32 compiled"] == "--no-compile"
    monkeypatch.setenv("CXX", str(tmp_path / "g++"))
    found, left_out = expert.ways(asked(), *small)
    assert [str(way) for way in found] == both
    assert re.match(
        r"torch.compile needs a C\+\+ compiler; no .*g\+\+ here", left_out["float32 compiled"]
    )
    monkeypatch.setenv("CXX", sys.executable)
    monkeypatch.setattr(expert.Way, "compile", lambda way: time.sleep(60))
    found, left_out = expert.ways(asked(compile_seconds=0.2, formats=["float32"]), *small)
    assert left_out == {"float32 compiled": "takes over 0.2 s to compile"}

    def broken(way):
        raise RuntimeError("no such header\nand more")

    monkeypatch.setattr(expert.Way, "compile", broken)
    _, left_out = expert.ways(asked(formats=["float32"]), *small)
    assert left_out == {"float32 compiled": "RuntimeError: no such header"}


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # torch.compile's own
def test_a_compiled_way_trains_as_the_eager_one(benchmarks, small, monkeypatch, tmp_path):
    import expert

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    found, left_out = expert.ways(asked(formats=["float32"], compile_seconds=300), *small)
    assert left_out == {} and [str(way) for way in found] == ["float32 eager", "float32 compiled"]
    eager, compiled = found  # each has taken a step
    for one, other in zip(eager.model.parameters(), compiled.model.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_an_expert_serves_turns_and_says_what_it_took(benchmarks, tmp_path, monkeypatch):
    import copies
    import pairs

    random = np.random.default_rng(0)
    labels = np.arange(400) % 10
    images = random.integers(0, 40, (400, 1, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, 2 * label : 2 * label + 4] = 250
    splits = {"train": (images, labels), "test": (images[:10], labels[:10])}
    names = tuple("0123456789")
    bars = pack_writer.write_pack(tmp_path / "pack", "mnist", names, splits, "drawn by the tests")
    monkeypatch.setattr(copies.sources, "open_data", lambda name: bars)
    copies.mnist_idx(tmp_path)
    command = [sys.executable, str(benchmarks / "peers" / "expert.py"), str(tmp_path), "--turns"]
    side = pairs.Side("expert", [*command, "--model", "cnn", "--no-compile", "--try-seconds=0.1"])
    assert side.about["parameters"] == 29034 and side.about["compiled"] is False
    tried = side.about["tried"]
    assert f"{side.about['precision']} eager" == max(tried, key=tried.get)
    assert side.about["left_out"] == dict.fromkeys(
        ["float32 compiled", "bfloat16 compiled"], "--no-compile"
    )
    first = side.ask("steps", 1)
    later = side.ask("steps", 40)
    assert later["images"] == 4000 and later["loss"] < first["loss"] / 2
    side.stop()


def test_the_table_has_both_peers_and_what_the_expert_took(benchmarks):
    import run
    import tables

    rows = [row for row in run.ROWS if row.name in ("a", "a-expert")]
    answer = [{"ours": {"images": 300, "seconds": 1}, "peer": {"images": 100, "seconds": 1}}]
    about = {"ours": {"precision": "bfloat16"}, "peer": {"parameters": 1}}
    found = []
    for row in rows:
        steps = {"ours": 3, "peer": 1}
        found.append(run.line(row, "ours", "peer", {"steps": answer}, {}, steps, about))
        about["peer"] = {"precision": "float32", "compiled": True}
    _, _, script, expert = tables.table(found).splitlines()
    assert "| its script, PyTorch fp32 | 3x |" in script
    assert "| twenty lines of PyTorch, its best (float32, compiled) | 2x | **3.00x** |" in expert


def test_in_a_quick_run_an_expert_compiles_nothing_and_has_no_row_in_float32(
    benchmarks, tmp_path, monkeypatch
):
    import run

    started = []

    class Side:
        def __init__(self, name, command):
            started.append(command[1:])
            self.name, self.command, self.about = name, command, {"precision": "bfloat16"}

        def close(self):
            pass

    monkeypatch.setattr(run, "Side", Side)
    monkeypatch.setattr(run, "measured", lambda rows, plan, deadline, sides: list(sides))
    data = run.Data(tmp_path, 0)
    data.written = {"mnist_idx"}
    rows = [row for row in run.ROWS if row.name == "a-expert"]
    for plan, quick in ((run.QUICK, True), (run.FULL, False)):
        started.clear()
        assert run.measure(rows, plan, 0.0, data, lambda: "") == ["peer", "ours"]
        assert ("--no-compile" in started[0]) is quick
        assert started[0][0].endswith("expert.py") and "cnn" in started[0]
        assert "--no-augment" in started[1]


def test_choices_are_judged_against_the_best_way_there_is(benchmarks, monkeypatch):
    import choice

    speeds = {"a": 100.0, "b": 95.0, "c": 60.0, "best": 110.0}
    monkeypatch.setattr(
        choice,
        "against",
        lambda network, one, ways, pairs, seconds: {
            way: [speeds[way] / speeds[one]] * pairs for way in ways if way != one
        },
    )
    probes = [
        {"candidate": way, "origin": {"precision": "measured"}} for way in ("a", "a", "b", "c")
    ]
    row = choice.judged("cnn", probes, ["best", "a"])
    assert row["best"] == "best" and row["count"] == 4 and row["distinct"] == 3
    assert row["near"] == 2  # 100 of 110, twice; 95 and 60 are not within 10 %
    assert row["worst"] == pytest.approx(60 / 110)
    shown = choice.table([row, row]).splitlines()
    assert shown[2] == "| cnn | 4 | 3 | 4 measured | 2 | 0.55 |"
    assert shown[-1] == "4 of 8 within 10 % of the best"
    alone = choice.judged("cnn", [{"candidate": "best", "origin": {"precision": "prior"}}], ["a"])
    assert alone["near"] == 1 and alone["worst"] == 1.0 and alone["origins"] == {"prior": 1}


def test_a_probe_anew_knows_data_and_kernels_and_no_measurement(benchmarks, tmp_path, monkeypatch):
    import choice

    for part in ("kernels", "packs", "precision"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "file").touch()

    def chosen(network, cache):
        (cache / "kernels" / "new").touch()
        return sorted(str(path.relative_to(cache)) for path in cache.glob("*/*"))

    monkeypatch.setattr(choice, "chosen", chosen)
    assert choice.anew("cnn", tmp_path) == ["kernels/file", "kernels/new", "packs/file"]
    assert not (tmp_path / "kernels" / "new").exists()


def test_a_probe_says_what_training_would_take(benchmarks, bars, capsys):
    import choice

    choice.probe("cnn", "float32")
    found = json.loads(capsys.readouterr().out)
    assert found["candidate"].startswith("float32 ") and len(found["candidate"].split()) >= 3
    assert found["origin"]["precision"] == "typed"
    assert found["origin"]["kernels"] == "measured"
    command = choice.worker("cnn", found["candidate"])
    assert f"--set=kernels={found['candidate'].split(maxsplit=2)[2]}" in command
