"""A summary as plain text and as Markdown."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from convscope.insight.anatomy import summarise
from convscope.models import build


def test_text() -> None:
    found = summarise(build("resnet", 10, 1, (28, 28)), (1, 28, 28))
    lines = found.text().splitlines()
    assert len(lines) == 1 + len(found.rows) + 2
    assert re.fullmatch(
        r"features\.0 +Conv2d +16 x 24 x 24 +416 +230,400 +36\.0 KiB +5x5 +1 +2 +16 kernels; "
        r"floor\(\(28 - 5\)/1\) \+ 1 = 24",
        lines[2],
    )
    (add, _) = (line for line in lines if ".add " in line)
    assert add.endswith("residual: conv2 + features.2")
    assert lines[-1] == (
        "41,514 parameters; 2,013,184 multiply-adds and 91.1 KiB of activations for an input of "
        "1 x 28 x 28."
    )


def test_text_that_fits_a_terminal() -> None:
    found = summarise(build("inception", 10, 1, (28, 28)), (1, 28, 28))
    wide, narrow = found.text(), found.text(110)
    assert max(map(len, wide.splitlines())) > 110
    rows = [line for line in narrow.splitlines() if not line.startswith("  = ")]
    assert max(map(len, rows[:-2])) <= 110
    assert "  = 24 kernels; floor((12 + 2*2 - 5)/1) + 1 = 12\n" in narrow
    assert found.text(1000) == wide
    assert found.text(110).split("\n")[0].split()[-1] == "apart"
    assert found.text(60).split("\n")[0].split()[-2:] == ["multiply-adds", "sees"]


def test_branches_say_where_they_come_from() -> None:
    text = summarise(build("inception", 10, 1, (28, 28)), (1, 28, 28)).text()
    assert len(re.findall(r"; from features\.2$", text, re.M)) == 3
    assert "branches concatenated: 16 + 24 + 24 + 24 = 88 of branch1x1, branch5x5.1, " in text


class Marked(nn.Module):
    """Names that Markdown and HTML would take for something else."""

    def __init__(self) -> None:
        super().__init__()
        self.a_b = nn.Linear(2, 2)
        self.add_module("<i>|*", nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, "<i>|*")(self.a_b(x))


def test_markdown() -> None:
    lines = summarise(Marked(), (2,), name="<b>").markdown().splitlines()
    assert lines[1].count("|") == lines[0].count("|") == 11
    assert lines[2].startswith(r"| a\_b | Linear | 2 | 6 | 4 | 8 B |")
    assert lines[3].startswith(r"| \<i>\|\* | ReLU |")
    assert lines[4].startswith("| **total** |") and "**6**" in lines[4]
    assert lines[6].startswith("6 parameters; 4 multiply-adds")
    failed = summarise(nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 1)), (2,)).markdown()
    assert failed.endswith("shapes cannot be multiplied (1x3 and 4x1)**")


def test_directions_that_differ() -> None:
    text = summarise(nn.Conv2d(1, 1, (3, 5), (2, 1)), (1, 9, 9)).text()
    assert re.search(r" 3x5 +2x1 +1x2 +1 kernels; height floor", text)


def test_one_parameter() -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.p = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.p

    assert "\n1 parameter; 0 multiply-adds" in summarise(One(), (2,)).text()
