"""README as a stranger reads it: every command and every snippet runs as it is written."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace

import documents
import pytest
from PIL import Image

from convscope.engine import choice
from convscope.words import WORDS

ROOT = Path(__file__).parent.parent
README, CHINESE = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md")
)
BLOCKS = documents.blocks(README)
COMMANDS = [command for block in BLOCKS for command in block.commands]
SNIPPETS = [block for block in BLOCKS if block.language == "python"]

TABLE = "front:image,side:image,weight:numbers,kind:class,flaws:labels,price:number,split"
NET = """
from torch import nn
class Net(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Flatten(), nn.LazyLinear(num_classes))
"""


@pytest.fixture
def prepared(bars, workplace: Path, monkeypatch) -> Path:
    """What the commands name: pictures and a file with a class; small data in the place of each,
    and little time to measure what is fastest for them."""
    monkeypatch.setattr(choice, "PATIENCE", 0.4)
    Path("mine.py").write_text(NET)
    Path("photos").mkdir()
    Path("flowers").mkdir()
    picture = Image.fromarray(bars.splits["test"].images[0, 0])
    for name in ("digit.png", "paper.jpg", "photos/one.png", "cat.png"):
        picture.save(name)
    rows = [
        f"{n}.png,{n}.png,{n},{'ab'[n % 2]},wet,{n},{'test' if n > 20 else 'train'}"
        for n in range(24)
    ]
    Path("fruit.csv").write_text("\n".join([TABLE, *rows]))
    for n in range(24):
        Image.fromarray(bars.splits["train"].images[n, 0]).save(f"{n}.png")
    return workplace


@pytest.fixture
def asked(monkeypatch) -> list[int]:
    """The statuses of what is asked of a server, which is then stopped; what it exports first is
    exported by this process, whose data are small."""
    statuses: list[int] = []

    def serve(service, taken, workers=1) -> None:
        from servers import started

        with started(service, taken) as server:
            if hasattr(service, "models"):
                found = server.post("/predict", Path("digit.png").read_bytes())
            else:  # a studio
                found = server.ask("GET", "/api/runs")
            statuses.append(found.status)

    def run(command, **more) -> subprocess.CompletedProcess:
        documents.command(shlex.join(["convscope", *command[3:]]))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("convscope.server.serving.serve", serve)
    own = SimpleNamespace(run=run, DEVNULL=subprocess.DEVNULL)
    monkeypatch.setattr("convscope.server.named.subprocess", own)
    return statuses


def test_every_command_runs(prepared, asked):
    assert len(COMMANDS) > 12
    for command in COMMANDS:
        quick = command.replace("--time-budget 10m", "--time-budget 8s")
        quick = quick.replace("--max-memory 2GB", "--max-memory 4GB")  # all tests in one process
        for served in ("convscope serve", "convscope studio"):
            quick = quick.replace(served, f"{served} --port 0")
        documents.command(quick.replace("--abstain 0.01", "--abstain 0.2"))  # of 24 images
    assert asked == [200, 200]
    assert Path("runs/a/report.html").is_file() and Path("digits.png").is_file()


@pytest.mark.parametrize("block", SNIPPETS)
def test_every_snippet_runs(prepared, block):
    assert "report.html" in documents.Reader().run(block)


def test_the_words_of_a_network_in_one_line_are_those_that_are_read():
    rows = [f"| `{'`, `'.join(word.split(', '))}` | {says} |\n" for word, says in WORDS.items()]
    assert "|---|---|\n" + "".join(rows) + "\n" in README


def test_the_header_of_a_table_is_one():
    assert TABLE in README


def test_nothing_is_left_to_fill_in():
    for text in (README, CHINESE):
        assert "@@" not in text and "TODO" not in text


def test_the_chinese_readme_has_the_same_code():
    """So that what runs there runs here. What commands print there is in Chinese."""
    fenced = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
    one, two = ([block.groups() for block in fenced.finditer(text)] for text in (README, CHINESE))
    assert [kind for kind, _ in one] == [kind for kind, _ in two]
    assert [each for each in one if each[0] != "text"] == [
        each for each in two if each[0] != "text"
    ]
    prose = [fenced.sub("", text) for text in (README, CHINESE)]
    numbers, told = (set(re.findall(r"\d[\d,.]*\d", text)) for text in prose)
    assert told <= numbers  # no figure that is not there


def test_each_readme_leads_to_the_other_and_to_what_is_there():
    for text, other in ((README, "README.zh.md"), (CHINESE, "README.md")):
        found = re.findall(r"(?<!!)\[[^]]+\]\((?!http)(.*?)\)", text)
        assert other in found
        for target in found:
            path, _, heading = target.partition("#")
            assert (ROOT / path).exists(), target
            assert not heading or f"\n## {heading}\n".lower() in text.lower() + README.lower()


def test_every_recipe_says_what_it_reaches():
    from convscope import recipe

    for name in recipe.names():
        assert recipe.load(name).claim is not None, name
