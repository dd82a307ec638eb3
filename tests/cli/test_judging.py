"""`convscope eval`, `predict` and `compare` as a stranger types them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from quick import QUICK, SMALL

import convscope as cs
from convscope.events import Progress


def test_eval_counts_its_looks(bars, run):
    trained = json.loads(run("train", "mnist", *SMALL, "--out", "a", "--json").out)
    val = json.loads(run("eval", "a", "--split", "val", "--json").out)
    assert (val["split"], val["n"], val["test_looks"]) == ("val", 24, 1)
    first = json.loads(run("eval", "a", "--json").out)
    second = json.loads(run("eval", "a", "--json").out)
    assert (first["test_looks"], second["test_looks"]) == (2, 3)
    assert set(first) == set(trained)
    for key in ("accuracy", "loss", "ece"):
        assert first[key] == pytest.approx(trained[key])
    assert first["confusion"] == trained["confusion"]
    assert json.loads(Path("a/metrics.json").read_text())["test_looks"] == 3
    assert "3 times" in Path("a/README.md").read_text()
    table = run("eval", "a").out
    assert "test split looked at 4 times" in table and "upright" in table


def test_two_runs_are_compared(bars, run, workplace):
    for seed in "12":
        run("train", "mnist", *SMALL, "--hidden", "4", "--seed", seed, "--out", f"[r{seed}]")
    found = json.loads(run("compare", "[r1]", "[r2]", "--json", "--show", "1").out)
    assert found["n"] == 60 and found["figure"] is None and found["a"]["run"] == "[r1]"
    assert found["difference"] == pytest.approx(found["b"]["accuracy"] - found["a"]["accuracy"])
    assert len(found["a_right"]) == found["counts"]["only_a"] > 2  # all of them
    said = run("compare", "[r1]", "[r2]", "--show", "2", "--save", "changed.png")
    assert said.code == 0 and said.out.endswith("figure   changed.png\n")
    low, high = found["difference_ci95"]
    assert f"(95% interval {100 * low:+.2f} to {100 * high:+.2f}; McNemar's exact te" in said.out
    assert found["verdict"] in said.out and "another seed" in said.out
    assert re.search(r"A +\[r1\] +\d", said.out)  # a name in brackets is no style
    counts = [found["counts"][key] for key in ("both", "only_a", "only_b", "neither")]
    assert re.search(r"A right +{} +{}\s+A wrong +{} +{}\s".format(*counts), said.out)
    title = f"Only A is right: {counts[1]}; 2 shown, the surest mistakes of B (--show N, or --json)"
    after = said.out.partition(title)[2].splitlines()
    for line, row in zip(after[2:4], found["a_right"], strict=False):
        shown = [row[key] for key in ("file_or_index", "label", "a", "b")]
        assert line.split() == [*shown, f"{row['p_wrong']:.1%}"]
    assert after[4] == "" and "Classes in which an image changed" in said.out
    same = run("compare", "[r1]", "[r1]")
    assert same.code == 2 and "RUN=[r1]: is the same run twice; name two runs" in same.err


@pytest.mark.parametrize(
    "words",
    ["eval a", "predict a a", "explain a", "script a", "compare a a/../a2", "summary a/"],
)
def test_a_run_that_was_stopped_says_so_and_how_it_goes_on(bars, run, words):
    def cut(event):
        if isinstance(event, Progress) and event.stage == "epoch 2/2":
            raise RuntimeError("power")

    with pytest.raises(RuntimeError, match="power"):
        cs.train("mnist", **{**QUICK, "epochs": 2}, out="a", emit=cut)
    said = run(*words.split())
    assert said.code == 1 and said.out == "" and not Path("report.html").exists()
    assert said.err.endswith(
        "a: training was stopped after epoch 1 of 2; go on with: convscope train --out a --resume\n"
    )
    command = said.err.strip().partition("go on with: convscope ")[2].split()
    assert run(*command).code == 0 and run("eval", "a").code == 0
