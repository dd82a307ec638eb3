"""The command line as a stranger types it: exit codes, streams, JSON, errors."""

from __future__ import annotations

import re
import subprocess
import sys
import typing
from importlib import metadata
from pathlib import Path

import pytest
from quick import convscope

import convscope as cs
from convscope import cli, recipe
from convscope.cli import usage
from convscope.cli.options import FLAGS, TEN
from convscope.data import sources
from convscope.models import MODELS, arguments_of
from convscope.words import WORDS

OPEN_DATA = sources.open_data


def test_help_names_every_verb(run):
    said = run("--help")
    assert said.code == 0
    verbs = "train eval predict compare explain sweep claims summary script models recipes data lab"
    for verb in verbs.split():
        assert f"  {verb}  " in said.out


def flag_of(name):
    return FLAGS.get(name, (f"--{name.replace('_', '-')}",))[0]


def test_every_field_of_a_recipe_is_an_option_and_says_its_default(run):
    said = run("train", "--help")
    entries = re.split(r"\n(?=  -|\S|\n)", said.out)
    for name, option in recipe.options().items():
        if name != "data":
            flag = re.compile(rf"  (-\w, )?{flag_of(name)}[ ,]")
            (entry,) = (" ".join(one.split()) for one in entries if flag.match(one))
            assert option.help.removesuffix(".") in entry.replace("one- cycle", "one-cycle")
            assert "[default: " in entry and not entry.endswith("[default: ]"), name
    headings = re.findall(r"^(\w[\w -]*):$", said.out, re.M)
    assert headings == [
        *("Arguments", "Most used", "Network", "Data", "Training", "Augmentation", "This machine"),
        *("Limits", "Run", "Options", "Words of --layers"),
    ]
    most = re.search(r"Most used:\n(.*?)\n\n", said.out, re.S)[1]
    flags = [flag[2:].replace("-", "_") for flag in re.findall(r"^  .*?(--\S+\b)", most, re.M)]
    assert tuple(flags) == TEN and len(TEN) == 10


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
            flag = flag_of(name)
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


def test_an_option_before_the_verb_is_not_swallowed(run):
    assert "--json before the verb: belongs to it" in run("data", "--json", "info", "mnist").err


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


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["train"], 2, "DATA=(not given): is needed, or a recipe; try convscope train mnist"),
        (["train", "minst"], 2, "no folder that is here; did you mean mnist? Known: cifar10, "),
        (["train", "mnist", "--model", "cmn"], 2, "--model cmn: is no registered network; did you"),
        (
            ["train", "mnist", "--epochs", "0"],
            2,
            "--epochs 0: must be a whole number of at least 1",
        ),
        (["train", "mnist", "--lr", "nan"], 2, "--lr nan: must be a finite number above 0; try"),
        (
            ["train", "mnist", "--epochs", "two"],
            2,
            "error: --epochs two: must be a whole number of at least 1; try 5\n",
        ),
        (["train", "mnist", "--lr", "fast"], 2, "--lr fast: must be a finite number above 0; try"),
        (["train", "mnist", "--depth", "x"], 2, "--depth x: must be a whole number; try 2"),
        (["train", "mnist", "--epochs"], 2, "--epochs (nothing): needs a value; convscope train"),
        (
            ["train", "mnist", "--epochs", "--flip"],
            2,
            "--epochs (nothing): needs a value, and --flip came; convscope train --help",
        ),
        (
            ["train", "mnist", "--ephocs", "3"],
            2,
            "--ephocs: is no option of convscope train; did you mean --epochs? convscope train -",
        ),
        (["train", "mnist", "-lr", "1"], 2, "-lr: is no option of convscope train; did you mean -"),
        (
            ["train", "mnist", "-e", "1"],
            2,
            "-e: is no option of convscope train; did you mean --e",
        ),
        (["train", "mnist", "--batch", "1"], 2, "train; did you mean --batch-size?"),
        (["train", "mnist", "--learning-rate", "1"], 2, "train; did you mean --lr?"),
        (["train", "mnist", "--kernel", "3"], 2, "train; did you mean --kernel-size?"),
        (["train", "mnist", "--gpu"], 2, "train; did you mean --device?"),
        (["train", "mnist", "--flip", "yes"], 2, "--flip yes: takes no value; write --flip alone"),
        (["train", "mnist", "--flip=yes"], 2, "--flip yes: takes no value; write --flip alone"),
        (["train", "mnist", "cifar10"], 2, "cifar10: is more than convscope train takes; leave it"),
        (["--epochs", "3", "train"], 2, "--epochs: belongs to a command; write it after train"),
        (
            ["train", "mnist", "--model", "resnet50"],
            2,
            "--model resnet50: is no registered network; did you mean tv:resnet50? Known: cifar_c",
        ),
        (["train", "mnist", "--model", "ResNet18"], 2, "did you mean tv:resnet18?"),
        (["train", "mnist", "--model", "efficientnet-b0"], 2, "did you mean tv:efficientnet_b0?"),
        (["train", "mnist", "--model", "vgg16"], 2, "did you mean tv:vgg16?"),
        (["train", "mnist", "--model", "CNN"], 2, "did you mean cnn?"),
        (["train", "mnist", "--model", "tv:ResNet50"], 2, "did you mean tv:resnet50? torchvision."),
        (["summary", "resnet50"], 2, "MODEL=resnet50: is no registered network; did you mean tv:r"),
        (
            ["train", "mnist", "--kernel-size", "3", "--model", "mlp"],
            2,
            "--kernel-size 3: is no argument of mlp but of cnn; leave it out, or take model cnn "
            "(mlp takes hidden)\n",
        ),
        (["train", "mnist", "--optimizer", "SGD"], 2, "adam or adamw; did you mean sgd?"),
        (["train", "mnist", "--precision", "fp16"], 2, "bfloat16 or tf32; try auto"),
        (["train", "mnist", "--momentum", "0.5"], 2, "--momentum 0.5: is not used by adamw"),
        (
            ["train", "mnist", "--hidden", "3"],
            2,
            "--hidden 3: is no argument of cnn but of mlp; leave it out, or take model mlp (cnn t",
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
            "--small-stem: is no argument of cnn but of tv:NAME; leave it out, or take model tv:N",
        ),
        (["script", "gone"], 1, "gone: is no run folder (there is no such folder)"),
        (["train", "mnist", "--resume"], 2, "needs the run folder to go on with; add out=DIR"),
        (["train", "mnist", "--check"], 2, "needs a recipe with a [claim]"),
        (
            ["train", "mnist", "--no-nesterov"],
            2,
            "--no-nesterov: is not used without momentum; leave it out",
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
        (["train", "mnist", "--find-lr", "--check"], 2, "--check: is for a run, not for"),
        (["train", "mnist", "--force"], 2, "--force: is for --find-lr"),
        (["train", "mnist", "--log", "wandb"], 2, "--log wandb: must be tensorboard"),
        (
            ["train", "mnist", "--early-stopping", "3", "--val", "0"],
            2,
            "--early-stopping 3: needs a validation split",
        ),
        (["train", "--recipe", "mnist-cn"], 2, "--recipe mnist-cn: is no recipe"),
        (["train", "mnist", "--out", "full"], 2, "--out full: holds something else"),
        (["train", "minst"], 2, "DATA=minst: is not a known data set, and no folder that"),
        (["data", "pack", "mnist", "full"], 2, "full: holds other files, such as thesis"),
        (["train", "mnist", "--device", "warp"], 2, "--device warp: cannot be used here"),
        (["eval", "gone"], 1, "gone: is no run folder (there is no such folder)"),
        (["predict", "gone", "x.png"], 1, "gone: is no run folder"),
        (["compare", "gone", "gone2"], 1, "gone: is no run folder"),
        (["compare", "a", "b", "--save", "x.gif"], 2, "--save x.gif: must end in .png, .svg, .pdf"),
        (["compare", "a", "b", "--show", "0"], 2, "--show 0: must be a whole number of at least 1"),
        (["compare", "a", "b", "--force"], 2, "--force: is for --save; leave it out"),
        (["compare", "a"], 2, "RUN_B=(not given): is needed (another, judged on the same); convsc"),
        (["predict", "a", "x", "--top-k", "z"], 2, "--top-k z: must be a whole number; try 3 (the"),
        (
            ["explain", "a", "--threads", "-1"],
            2,
            "--threads -1: must be a whole number, 0 <= threads <= 1024",
        ),
        (
            ["train", "mnist", "--threads", "1025"],
            2,
            "--threads 1025: must be a whole number, 0 <=",
        ),
        (
            ["serve", "a", "--workers", "1000"],
            2,
            "--workers 1000: must be a whole number from 1 to",
        ),
        (
            ["explain", "a", "--seed", "-1"],
            2,
            "--seed -1: must be a whole number, 0 <= seed <",
        ),
        (["data", "show", "mnist", "--seed", "-1"], 2, "--seed -1: must be a whole number, 0 <= s"),
        (["data", "inof", "x"], 2, "inof: is no command of convscope data; did you mean info? K"),
        (
            ["lab", "conv", "--bias", "big"],
            2,
            "--bias big: must be a number; try 0.0 (the defa",
        ),
        (
            ["lab", "conv", "--groups", "3"],
            2,
            "--groups 3: must be a whole number of at least 1",
        ),
        (["lab", "conv", "--padding", "sam"], 2, "is no way to pad; did you mean same? Known: sa"),
        (["lab", "receptive-field", "cnn"], 2, "LAYERS=cnn: is a network, and layers are asked fo"),
        (["claims", "x"], 2, "N=x: must be a whole number; try 2"),
        (["predict", "gone", "x", "--json", "--csv", "-"], 2, "only one form can be printed"),
        (["data", "info", "minst"], 2, "DATA=minst: is not a known data set, and no folder that"),
        (["data", "show", "mnist", "--out", "x.exe"], 2, "must end in .png, .svg, .pdf"),
        (["trian"], 2, "error: trian: is no command of convscope; did you mean train? Known: cla"),
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


def test_the_version_is_said_without_torch():
    code = "import sys; sys.argv = ['convscope', '--version']\nfrom convscope.cli import main\n"
    code += "try: main()\nexcept SystemExit as why: assert not why.code\n"
    code += "assert not {'torch', 'numpy', 'rich'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    python, torch = sys.version.split()[0], metadata.version("torch")
    assert done.stdout.startswith(f"convscope {cs.__version__} (Python {python}, torch {torch}, ")


def test_a_claim_ends_as_its_command_does(run, monkeypatch):
    true = cli.app

    def missed(words: list[str] | None = None, *, standalone_mode: bool) -> object:
        return true(standalone_mode=standalone_mode) if words is None else 3

    monkeypatch.setattr(cli, "app", missed)
    said = run("claims", "1")
    assert said.code == 3 and "verdict" not in said.out


def test_a_closed_pipe_is_no_traceback(tmp_path):
    process = convscope("models")
    process.stdout.close()
    process.wait(timeout=60)
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


def test_a_word_of_a_command_is_known_by_its_place():
    """Also where it is spelt as a group of commands, or a command has an option of that name."""
    known = cli._commands()
    assert usage.place("data", ["train", "data"], known) == "DATA"
    assert usage.place("out", ["data", "pack", "mnist", "out"], known) == "OUT"
    assert usage.place("out", ["train", "mnist", "--out", "a"], known) == ""
    assert usage.place("data", ["predict", "a", "--data", "b"], known) == ""
    assert usage.place("data", [], known) == usage.place("data", ["data"], known) == ""
