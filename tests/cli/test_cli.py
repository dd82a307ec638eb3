"""The command line as a stranger types it: exit codes, streams, JSON, errors."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import typing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convscope as cs
from convscope import recipe
from convscope.api import Metrics
from convscope.cli.options import FIELDS, WORDS
from convscope.data import sources
from convscope.models import MODELS, arguments_of

OPEN_DATA = sources.open_data

SMALL = ["--epochs", "1", "--hidden", "16", "--model", "mlp", "-b", "60", "--precision", "float32"]
SMALL += ["--memory-format", "contiguous", "--kernels", "plain"]


def test_help_names_every_verb(run):
    said = run("--help")
    assert said.code == 0
    verbs = "train eval predict compare explain sweep claims summary script models recipes data lab"
    for verb in verbs.split():
        assert f"  {verb}  " in said.out


def test_every_field_of_a_recipe_is_an_option(run):
    """And every option of the table is a field: neither is forgotten when the other grows."""
    listed = [name for group in FIELDS.values() for name in group]
    assert sorted(listed) == sorted(set(recipe.options()) - {"data", "model"})
    said = run("train", "--help")
    for name in listed:
        assert f" --{name.replace('_', '-')}" in said.out, name
    headings = re.findall(r"^(\w[\w -]*):$", said.out, re.M)
    assert headings == [
        *("Arguments", "Network", "Data", "Training", "Augmentation", "This machine"),
        *("Limits", "Run", "Options", "Words of --layers"),
    ]


TYPED = {"str": "auto", "int": "1", "float": "0.5"}


def test_every_option_reaches_the_job_in_its_type(run, monkeypatch):
    got: dict[str, object] = {}

    def train(data: str, **options: object) -> None:
        got.update(options)
        raise cs.RunError("enough")

    monkeypatch.setattr("convscope.api.train", train)
    words, expected = ["train", "mnist"], {}
    for kind in recipe.SECTIONS.values():
        for name, hint in typing.get_type_hints(kind).items():
            if name in ("name", "arguments"):
                continue
            flag = f"--{name.replace('_', '-')}"
            typ = hint if isinstance(hint, type) else typing.get_args(hint)[0]
            if typ is bool:
                words, expected[name] = [*words, flag.replace("--", "--no-", 1)], False
            else:
                words += [flag, TYPED[typ.__name__]]
                expected[name] = typ(TYPED[typ.__name__])
    said = run(*words, "--time-budget", "9m", "--max-memory", "2GB", "--log", "tensorboard")
    assert said.err == "error: enough\n"
    assert {name: got[name] for name in expected} == expected and len(expected) > 40
    assert all(type(got[name]) is type(value) for name, value in expected.items())
    assert (got["time_budget"], got["max_memory"], got["log"]) == ("9m", "2GB", "tensorboard")
    got.clear()
    run("train", "mnist")
    assert {got[name] for name in expected} == {None}  # not typed is not the default


def test_a_learning_rate_is_found_and_drawn(bars, run):
    words = ["train", "mnist", *SMALL, "--find-lr"]
    said = run(*words)
    assert said.out.startswith("suggested lr  ") and "figure        mnist-mlp-lr.png" in said.out
    assert run(*words).code == 2
    found = json.loads(run(*words, "--json", "--force").out)
    assert set(found) == {"suggestion", "rates", "losses", "smoothed", "figure"}
    assert found["figure"] == "mnist-mlp-lr.png" and not Path("runs").exists()


@pytest.mark.parametrize(
    "verb",
    [["data"], ["models"], ["recipes"], ["data", "info", "mnist"], ["data", "show", "mnist"]],
)
def test_every_verb_knows_debug(bars, run, verb):
    assert run(*verb, "--debug").code == 0


def test_help_does_not_import_torch():
    code = (
        "import sys; sys.argv = ['convscope', 'train', '--help']\nfrom convscope.cli import main\n"
    )
    code += "try: main()\n"
    code += (
        "except SystemExit: pass\nassert not {'torch', 'numpy', 'rich', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_train_says_accuracy_seconds_and_report(bars, run, workplace):
    said = run("train", "mnist", *SMALL)
    assert said.code == 0
    first, second, third = said.out.splitlines()
    assert first.startswith("test accuracy") and "95% interval" in first and "60 images" in first
    assert second.startswith("seconds")
    assert third.split() == ["report", str(Path("runs/mnist-mlp-1/report.html"))]
    assert Path("runs/mnist-mlp-1/report.html").is_file()
    assert said.err.count("epoch 1/1") == 1  # one plain line an epoch, away from a terminal


def test_train_json_is_one_object_and_nothing_else(bars, run):
    said = run("train", "mnist", *SMALL, "--out", "a", "--json")
    found = json.loads(said.out)
    keys = set(Metrics.__annotations__)
    assert {"n", "accuracy_ci95", "ece_raw", "per_class", "confusion", "test_looks"} <= keys
    assert set(found) == keys | {"run"}
    assert found["run"] == "a" and found["test_looks"] == 1 and found["n"] == 60


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


def test_predict_in_every_form(bars, run):
    run("train", "mnist", *SMALL, "--out", "a")
    images = bars.splits["test"].images
    Path("pictures").mkdir()
    for i in range(3):
        Image.fromarray(images[i, 0]).save(f"pictures/{i}.png")
    Path("pictures/bad.png").write_bytes(b"")
    said = run("predict", "a", "pictures", "--json", "--top-k", "2")
    assert said.code == 1  # one could not be read
    results = json.loads(said.out)["results"]
    assert [Path(r["file"]).name for r in results] == ["0.png", "1.png", "2.png", "bad.png"]
    assert all(set(r) == {"file", "top", "unsure", "error"} for r in results)
    assert [len(r["top"]) for r in results] == [2, 2, 2, 0]
    assert "is empty" in results[3]["error"] and "bad.png: is empty" in said.err
    rows = list(csv.DictReader(io.StringIO(run("predict", "a", "pictures", "--csv").out)))
    assert len(rows) == 4 and rows[0]["label_1"] == results[0]["top"][0]["label"]
    assert float(rows[0]["p_1"]) == pytest.approx(results[0]["top"][0]["p"], abs=1e-6)
    said = run("predict", "a", "pictures/0.png")
    assert said.code == 0 and said.out.startswith("pictures/0.png: ")


def test_invert_only_when_asked(bars, run):
    run("train", "mnist", *SMALL, "--out", "a")
    image = bars.splits["test"].images[0, 0]
    Image.fromarray(image).save("dark.png")
    Image.fromarray(255 - image).save("paper.png")
    dark, paper = json.loads(run("predict", "a", "dark.png", "paper.png", "--json").out)["results"]
    assert dark["top"] != paper["top"]
    inverted = json.loads(run("predict", "a", "paper.png", "--invert", "--json").out)["results"][0]
    assert [guess["label"] for guess in inverted["top"]] == [
        guess["label"] for guess in dark["top"]
    ]
    assert inverted["top"][0]["p"] == pytest.approx(dark["top"][0]["p"], rel=1e-5)


def test_data_is_listed_described_and_drawn(bars, run):
    said = run("data", "--json")
    assert json.loads(said.out)["mnist"] == "inside the package"
    assert set(json.loads(said.out)) == {"mnist", "fashion-mnist", "cifar10", "cifar100"}
    info = json.loads(run("data", "info", "mnist", "--json").out)
    assert info["counts"]["train"] == {"flat": 80, "upright": 80, "spot": 80}
    assert info["shape"] == [1, 12, 12]
    pixels = bars.splits["train"].images / 255
    assert info["mean"][0] == pytest.approx(pixels.mean())
    assert info["std"][0] == pytest.approx(pixels.std())
    assert "80" in run("data", "info", "mnist").out
    said = run("data", "show", "mnist", "--count", "8")
    assert said.out.strip() == "mnist.png"
    with Image.open("mnist.png") as picture:
        assert picture.size[0] > 300
    said = run("data", "show", "mnist")
    assert said.code == 2 and "--out mnist.png: is there already" in said.err


def test_a_missed_claim_is_told_after_the_figures(bars, run):
    text = "[train]\nepochs = 1\nbatch_size = 60\n[claim]\naccuracy = 2.0\nsd = 0.01\nseeds = 5\n"
    text += "seconds = 1.0\nmachine = 'm'\ndate = 'd'\ncommand = 'c'\n"
    Path("proud.toml").write_text(text)
    said = run("train", "--recipe", "proud.toml", "--check", "--json", "--out", "a")
    assert said.code == 3
    assert json.loads(said.out)["run"] == "a"
    assert "misses the recipe's claim of 200.00%" in said.err


def test_what_a_users_class_prints_stays_out_of_the_json(bars, run):
    code = "from torch import nn\nclass Net(nn.Sequential):\n    def __init__(self, num_classes):\n"
    code += "        print('hello')\n"
    code += "        super().__init__(nn.Flatten(), nn.LazyLinear(num_classes))"
    Path("mine.py").write_text(code)
    said = run("train", "mnist", "--model", "mine.py:Net", "--epochs", "1", "--json")
    assert json.loads(said.out)["n"] == 60 and "hello" in said.err


def test_a_name_that_is_no_text_stops_nothing(bars, run):
    run("train", "mnist", *SMALL, "--out", "a")
    name = os.fsdecode(b"caf\xe9.png")
    Image.fromarray(bars.splits["test"].images[0, 0]).save(name)
    code = "import sys; from convscope.cli import main; sys.argv = sys.argv[1:]; main()"
    for form in ("--csv", "--json"):
        words = ["convscope", "predict", "a", name, form]
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert b"\\udce9" in done.stdout and b"\r" not in done.stdout


def test_an_option_before_the_verb_is_not_swallowed(run):
    assert "--json before the verb: belongs to it" in run("data", "--json", "info", "mnist").err


def test_models_and_recipes_are_listed(run):
    found = json.loads(run("models", "--json").out)
    assert found["cnn"]["arguments"] == {"kernel_size": 5, "widths": [16, 32]}
    assert found["cnn"]["parameters"] == {"mnist": 29_034, "cifar10": 34_634}
    assert set(found) == {*MODELS, "tv:NAME"} and all(one["about"] for one in found.values())
    assert found["tv:NAME"]["parameters"] == {"mnist": None, "cifar10": None}
    assert re.search("preact_resnet +depth=110, width=16 +1,727,674 +1,727,962", run("models").out)
    assert "mnist-cnn" in json.loads(run("recipes", "--json").out)
    assert "kernel_size=5" in run("models").out
    wanted = r"mnist-resnet +10 .*99.53% \+/- 0.03% *\n +loss 0.0344, 90 s +loss 0.0152, 134 s"
    assert re.search(wanted, run("recipes").out)


def test_a_recipe_stands_beside_what_it_is_better_than(run, monkeypatch):
    claim = {"seeds": 5, "seconds": 9.0, "machine": "", "date": "", "command": "", "sd": 0.001}
    known = {
        "d-net": recipe.Recipe(claim=recipe.Claim(accuracy=0.99, **claim)),
        "d-net-published": recipe.Recipe(
            claim=recipe.Claim(accuracy=0.98, published=0.97, **claim)
        ),
        "d-old-published": recipe.Recipe(claim=recipe.Claim(accuracy=0.5, loss=1.5, **claim)),
    }
    monkeypatch.setattr(recipe, "names", lambda: list(known))
    monkeypatch.setattr(recipe, "load", known.__getitem__)
    lines = run("recipes").out.splitlines()
    assert re.fullmatch(r"d-net +5 +97.00% +98.00% \+/- 0.10% +99.00% \+/- 0.10% *", lines[1])
    assert re.fullmatch(r" +9 s +9 s *", lines[2])
    assert re.fullmatch(r"d-old-published +5 +- +50.00% \+/- 0.10% +- *", lines[3])
    assert re.fullmatch(r" +loss 1.5000, 9 s *", lines[4]) and len(lines) == 5


def test_every_argument_of_a_network_is_an_option(run):
    said = run("train", "--help").out
    for name in [*MODELS, "tv:resnet18"]:
        for key in arguments_of(name):
            assert f" --{key.replace('_', '-')}" in said, (name, key)
    for word in WORDS:
        assert f"  {word}  " in said


def test_arguments_of_networks_reach_the_job(run, monkeypatch):
    got: dict[str, object] = {}

    def train(data: str, **options: object) -> None:
        got.update(options)
        raise cs.RunError("enough")

    monkeypatch.setattr("convscope.api.train", train)
    run(
        "train", "mnist", "--no-bottleneck", "--depth", "40", "--compression", "1", "--layers", "fc"
    )
    assert {key: got[key] for key in ("bottleneck", "depth", "compression", "layers")} == {
        **{"bottleneck": False, "depth": 40, "compression": 1.0, "layers": "fc"},
    }
    assert {got[key] for key in ("width", "growth", "small_stem", "hidden", "widths")} == {None}


def test_a_line_of_layers_is_trained_and_written_as_code(bars, run):
    words = ["train", "mnist", "--layers", "c3-4 relu mp2 flatten fc3", "--epochs", "1"]
    assert run(*words, "--out", "a", "--kernels", "plain", "--precision", "float32").code == 0
    said = run("script", "a")
    assert said.code == 0 and "nn.Conv2d(1, 4, 3, padding=1),  # [B,4,12,12]" in said.out
    assert said.out.endswith("\n") and not said.out.endswith("\n\n")
    assert run("script", "a", "-o", "net.py").out == "net.py\n"
    assert "class Net(nn.Module):" in Path("net.py").read_text().splitlines()
    said = run("script", "a", "-o", "net.py")
    assert said.code == 2 and "--out net.py: is there already" in said.err
    assert run("script", "a", "-o", "net.py", "--force").code == 0
    assert run("script", "a", "-o", "code/net.py").code == 0
    assert 'Path(__file__).parent / "../a/model.safetensors"' in Path("code/net.py").read_text()


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["train"], 2, "DATA=(not given): is needed, or a recipe; try convscope train mnist"),
        (["train", "minst"], 2, "minst: is not a known data set; did you mean mnist?"),
        (["train", "mnist", "--model", "cmn"], 2, "--model cmn: is no registered network; did you"),
        (
            ["train", "mnist", "--epochs", "0"],
            2,
            "--epochs 0: must be a whole number of at least 1",
        ),
        (["train", "mnist", "--lr", "nan"], 2, "--lr nan: must be a finite number above 0; try"),
        (["train", "mnist", "--epochs", "many"], 2, "Invalid value for '--epochs'"),
        (["train", "mnist", "--ephocs", "3"], 2, "No such option"),
        (["train", "mnist", "--momentum", "0.5"], 2, "--momentum 0.5: is not used by adamw"),
        (
            ["train", "mnist", "--hidden", "3"],
            2,
            "--hidden 3: is neither an option nor an argument",
        ),
        (
            ["train", "mnist", "--widths", "a,b"],
            2,
            "--widths a,b: must be whole numbers; write them",
        ),
        (
            ["train", "mnist", "--shift", "12"],
            2,
            "--shift 12: must be smaller than the image, 12x12",
        ),
        (
            ["train", "mnist", "--layers", "c3-8 relo"],
            2,
            "--layers relo: is no layer, and [B,8,12,12] arrived there; did you mean relu?",
        ),
        (
            ["train", "mnist", "--layers", "c3-8 mp2 fc3"],
            2,
            "takes a vector, and [B,8,6,6] arrived; write flatten before it\n"
            "  c3-8 mp2 fc3\n           ^^^\n",
        ),
        (
            ["train", "mnist", "--layers", "flatten fc", "--model", "mlp"],
            2,
            "--layers flatten fc: is a network of its own, and so is model=mlp",
        ),
        (["train", "mnist", "--model", "tv:resnet19"], 2, "--model tv:resnet19: is no classifier"),
        (
            ["train", "mnist", "--model", "tv:alexnet"],
            2,
            "--model tv:alexnet: cannot take images of 12x12 pixels",
        ),
        (
            ["train", "mnist", "--model", "preact_resnet", "--depth", "21"],
            2,
            "--depth 21: must be 6n + 2, n from 1; try 20, 32, 56 or 110",
        ),
        (
            ["train", "mnist", "--small-stem"],
            2,
            "--small-stem True: is neither an option nor an argument of cnn",
        ),
        (["script", "gone"], 1, "gone: is no run folder (there is no such folder)"),
        (["train", "mnist", "--resume"], 2, "needs the run folder to go on with; add out=DIR"),
        (["train", "mnist", "--check"], 2, "needs a recipe with a [claim]"),
        (
            ["train", "mnist", "--no-nesterov"],
            2,
            "--nesterov False: is not used without momentum; leave it out",
        ),
        (["train", "mnist", "--magnitude", "5"], 2, "--magnitude 5: is not used without randaug"),
        (
            ["train", "mnist", "--no-augment", "--padding", "edge"],
            2,
            "--padding edge: is not used where nothing is moved",
        ),
        (["train", "mnist", "--flip", "--alternating-flip"], 2, "takes the place of flip"),
        (["train", "mnist", "--erase", "1.5"], 2, "--erase 1.5: must be a probability, 0 <= erase"),
        (["train", "mnist", "--time-budget", "soon"], 2, "--time-budget soon: must be a time"),
        (
            ["train", "mnist", "--time-budget", "9s", "--epochs", "2"],
            2,
            "--epochs 2: cannot be kept to together with time_budget, which decides it",
        ),
        (["train", "mnist", "--max-memory", "1MB"], 2, "--max-memory 1 MB: is too little: the"),
        (["train", "mnist", "--find-lr", "--check"], 2, "--check True: is for a run, not for"),
        (["train", "mnist", "--force"], 2, "--force True: is for --find-lr"),
        (["train", "mnist", "--log", "wandb"], 2, "--log wandb: must be tensorboard"),
        (
            ["train", "mnist", "--early-stopping", "3", "--val", "0"],
            2,
            "--early-stopping 3: needs a validation split",
        ),
        (["train", "--recipe", "mnist-cn"], 2, "--recipe mnist-cn: is no recipe"),
        (["train", "mnist", "--out", "full"], 1, "holds something else"),
        (["train", "mnist", "--device", "warp"], 2, "--device warp: cannot be used here"),
        (["eval", "gone"], 1, "gone: is no run folder (there is no such folder)"),
        (["predict", "gone", "x.png"], 1, "gone: is no run folder"),
        (["compare", "gone", "gone2"], 1, "gone: is no run folder"),
        (["compare", "a", "b", "--save", "x.gif"], 2, "--save x.gif: must end in .png, .svg, .pdf"),
        (["compare", "a", "b", "--show", "0"], 2, "--show 0: must be a whole number of at least 1"),
        (["compare", "a", "b", "--force"], 2, "--force True: is for --save; leave it out"),
        (["compare", "a"], 2, "Missing argument 'RUN'"),
        (["predict", "gone", "x.png", "--json", "--csv"], 2, "only one form can be printed"),
        (["data", "info", "minst"], 2, "minst: is not a known data set; did you mean mnist?"),
        (["data", "show", "mnist", "--out", "x.exe"], 2, "must end in .png, .svg, .pdf"),
        (["trian"], 2, "No such command"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    run, bars, workplace, monkeypatch, args, code, text
):
    if "minst" in args:  # the true sources know which names there are
        monkeypatch.setattr(sources, "open_data", OPEN_DATA)
    Path("full").mkdir()
    Path("full/thesis.tex").write_text("years")
    said = run(*args)
    assert said.code == code, said.err
    assert text in said.err and "Traceback" not in said.err and said.out == ""
    assert sorted(str(p) for p in workplace.rglob("*")) == [
        str(workplace / "full"),
        str(workplace / "full" / "thesis.tex"),
    ]


def convscope(*args: str, **more: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "convscope", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


LONG = ["train", "mnist", "--model", "mlp", "--hidden", "16", "--epochs", "500", "-b", "600"]
LONG += ["--precision", "float32", "--memory-format", "contiguous", "--checkpoint-seconds", "0.05"]
LONG += ["--kernels", "plain"]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_process_saves_and_says_so(tmp_path, signum, code):
    process = convscope(*LONG, "--out", str(tmp_path / "a"))
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("a/checkpoint/step-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    sent = time.monotonic()
    process.send_signal(signum)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - sent < 5
    assert process.returncode == code, err
    assert "--resume" in err and "Traceback" not in err
    assert out == ""
    assert not list(tmp_path.rglob(".tmp-*"))


def test_stopped_while_starting_up(tmp_path):
    for wait in (0.05, 0.5, 1.5):
        process = convscope(*LONG, "--out", str(tmp_path / f"a{wait}"))
        time.sleep(wait)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (143, -signal.SIGTERM), (
            err
        )  # before Python is up, the signal kills
        assert "Traceback" not in err


def test_a_killed_process_goes_on_to_the_bit(tmp_path):
    """A short form of benchmarks/kill.py: two kills, one of them inside a save."""
    bench = Path(__file__).parents[2] / "benchmarks" / "kill.py"
    done = subprocess.run(
        [sys.executable, str(bench), "--kills", "2", "--no-record"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search("2 of 2 bit-identical; [12] kills struck inside a save", done.stdout)


def test_a_closed_pipe_is_no_traceback(tmp_path):
    process = convscope("models")
    process.stdout.close()
    process.wait(timeout=60)
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


def test_numbers_of_a_run_are_plain_json(bars, run):
    """No NaN, no NumPy type: what is printed is what any JSON reader takes."""
    run("train", "mnist", *SMALL, "--out", "a", "--val", "0")
    for line in Path("a/history.jsonl").read_text().splitlines():
        row = json.loads(line, parse_constant=pytest.fail)
        assert row["val_loss"] is None
    assert isinstance(json.loads(Path("a/metrics.json").read_text())["accuracy"], float)
    assert np.isfinite(json.loads(Path("a/model.json").read_text())["temperature"])
