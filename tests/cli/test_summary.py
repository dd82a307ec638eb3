"""`convscope summary` as a stranger types it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

OWN = """
from torch import nn

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.vector = nn.Conv2d(3, 4, 3), nn.Linear(10, 4)
    def forward(self, x, y):
        print("called")
        return self.conv(x).mean((2, 3)) + self.vector(y)

class Bad(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(99, num_classes)
    def forward(self, x):
        return self.head(self.body(x))
"""


@pytest.fixture
def summary(run, workplace):
    Path("mine.py").write_text(OWN)
    return lambda *args: run("summary", *args)


def test_in_words(summary) -> None:
    said = summary("cnn")
    assert (said.code, said.err) == (0, "")
    assert "16 kernels; floor((28 + 2*2 - 5)/1) + 1 = 28\n" in said.out
    assert said.out.endswith(
        "29,034 parameters; 2,838,080 multiply-adds and 168.5 KiB of activations for an input of "
        "1 x 28 x 28.\n"
    )


def test_json(summary) -> None:
    found = json.loads(summary("tv:resnet50", "--input", "3x224x224", "--json").out)
    assert found["total"]["parameters"] == 25_557_032
    assert found["total"]["multiply_adds"] == 4_089_184_256
    assert found["rows"][0]["name"] == "conv1" and found["rows"][-1]["output_shape"] == [1000]
    assert found["failure"] is None and found["figure"] is None
    assert "publishes 25,557,032 parameters and 4.089 G" in found["notes"][0]


def test_arguments_of_networks(summary) -> None:
    typed = "cnn --input 3x32x32 --num-classes 7 --kernel-size 5x3 --widths 8,16 --json"
    found = json.loads(summary(*typed.split()).out)
    assert found["rows"][1]["parameters"] == 8 * 3 * 15 + 8
    assert found["total"]["output_shape"] == [7]
    line = json.loads(summary("--layers", "c3-4 relu mp2 flatten fc", "--json").out)
    assert line["total"]["parameters"] == 40 + 4 * 14 * 14 * 10 + 10
    small = "tv:resnet18 --input 3x32x32 --small-stem --num-classes 10 --level 1 --json"
    found = json.loads(summary(*small.split()).out)
    assert found["total"]["parameters"] == 11_173_962
    assert [row["name"] for row in found["rows"]][:5] == [
        "conv1",
        "bn1",
        "relu",
        "maxpool",
        "layer1",
    ]


def test_other_forms(summary) -> None:
    page = summary("resnet", "--html").out
    assert page.startswith("<!doctype html>") and page.endswith("</html>\n\n")
    assert summary("resnet", "--markdown").out.startswith("| name | kind |")
    for form, start in ((".svg", "<svg "), (".html", "<!doctype"), (".md", "| name |")):
        path = Path(f"net{form}")
        said = summary("resnet", "--save", path)
        assert said.code == 0 and said.out.endswith(f"\nfigure   {path}\n")
        kept = path.read_text(encoding="utf-8")
        assert kept.startswith(start)
        again = summary("inception", "--save", path)
        assert (again.code, again.out) == (2, "") and path.read_text(encoding="utf-8") == kept
        assert again.err == (
            f"error: --save {path}: is there already; name another file, or add --force\n"
        )
        found = json.loads(summary("inception", "--save", path, "--force", "--json").out)
        assert found["figure"] == str(path)
    ET.parse("net.svg")


def test_a_module_of_several_inputs(summary) -> None:
    said = summary("mine.py:Two")
    assert said.code == 2 and said.err == (
        "error: --input 1x28x28: Two takes 2 inputs (x, y), and 1 was given; give a shape for "
        "each: --input 3x32x32 --input 10, or from Python a tuple of shapes or tensors\n"
    )
    said = summary("mine.py:Two", "--input", "3x8x8", "--input", "10", "--json")
    assert json.loads(said.out)["inputs"] == [[3, 8, 8], [10]]  # what the class prints goes aside
    assert "called" in said.err


def test_a_network_that_fails(summary) -> None:
    said = summary("mine.py:Bad", "--save", "net.svg")
    assert said.code == 1
    assert "body.0  Conv2d   4 x 26 x 26" in said.out and "fails here" in said.out
    assert said.err == (
        "error: mine.py:Bad fails in head (Linear), in linear, where [1,2704] and [10,99] met: "
        "mat1 and mat2 shapes cannot be multiplied (1x2704 and 99x10)\n"
    )
    said = summary("mine.py:Bad", "--json")
    found = json.loads(said.out)
    assert said.code == 1 and found["failure"]["module"] == "head"
    assert [row["name"] for row in found["rows"]] == ["body.0", "body.1", "body.2", "head"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", "MODEL=(not given): is needed; try convscope summary cnn"),
        ("cn", "MODEL=cn: is no registered network; did you mean cnn?"),
        ("runs/a", "runs/a: is no run folder (there is no such folder)"),
        ("cnn --hidden 3", "--hidden 3: is no argument of cnn but of mlp; leave it out, or take"),
        ("cnn --layers fc", "--layers fc: is a network of its own, and so is cnn; leave one of"),
        ("cnn --input x", "--input x: must be whole numbers; write 3x224x224"),
        ("cnn --input 1x1x1", "--input 1x1: is too small for the 2 stages of cnn"),
        ("cnn --input 1x0x28", "--input 1x0x28: must be a shape without the batch"),
        ("cnn --num-classes 0", "--num-classes 0: must be at least 1; try 10"),
        ("cnn --level 0", "--level 0: must be a whole number of at least 1; try 2"),
        ("cnn --widths a", "--widths a: must be whole numbers"),
        ("cnn --json --html", "--html with another form: only one form can be printed"),
        ("cnn --json --markdown", "--markdown with another form: only one form can be printed"),
        ("cnn --save net.png", "--save net.png: must end in .svg, .html, .md; try net.svg"),
        ("cnn --force", "--force: is for --save; leave it out"),
        ("cnn --model mine.py:Two", "--model mine.py:Two: is for a run of a class of your own"),
        ("mine.py:None", "MODEL=mine.py:None: mine.py has no nn.Module None"),
    ],
)  # fmt: skip
def test_refusals(summary, typed: str, message: str) -> None:
    said = summary(*typed.split())
    assert said.err.startswith(f"error: {message}"), said.err
    assert said.err.count("\n") == 1 and said.out == ""
    assert said.code == (1 if typed == "runs/a" else 2)


def test_help(summary) -> None:
    said = summary("--help")
    assert said.code == 0
    for word in ("--input", "--num-classes", "--save", "--markdown", "--layers", "c5-16"):
        assert word in said.out
