"""README as a stranger reads it: every command and every snippet runs as it is written."""

from __future__ import annotations

import re
import shlex
import signal
import sys
from pathlib import Path

import pytest
from PIL import Image

from convscope import cli

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.S)
    for line in block.splitlines()
    if line.startswith("convscope ")
]
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.S)

NET = """
from torch import nn
class Net(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Flatten(), nn.LazyLinear(num_classes))
"""


@pytest.fixture
def prepared(bars, workplace: Path) -> Path:
    """What the commands name: pictures and a file with a class; small data in the place of each."""
    Path("mine.py").write_text(NET)
    Path("photos").mkdir()
    Path("flowers").mkdir()
    picture = Image.fromarray(bars.splits["test"].images[0, 0])
    for name in ("digit.png", "paper.jpg", "photos/one.png", "cat.png"):
        picture.save(name)
    return workplace


def test_every_command_runs(prepared, monkeypatch, capsys):
    assert len(COMMANDS) > 12
    for written in COMMANDS:
        command = written.replace("--time-budget 10m", "--time-budget 8s")
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as left:
            cli.main()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        assert not left.value.code, f"{command}\n{capsys.readouterr().err}"
    assert Path("runs/a/report.html").is_file() and Path("digits.png").is_file()


@pytest.mark.parametrize("code", SNIPPETS)
def test_every_snippet_runs(prepared, code, capsys):
    exec(compile(code, "README.md", "exec"), {})
    assert "report.html" in capsys.readouterr().out


def test_nothing_is_left_to_fill_in():
    assert "@@" not in README and "TODO" not in README


def test_every_recipe_says_what_it_reaches():
    from convscope import recipe

    for name in recipe.names():
        assert recipe.load(name).claim is not None, name
