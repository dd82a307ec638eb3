"""Results in Chinese: what the reader asked for, of phrases that the code still says, and all of
it; numbers, names and files stay as they are."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import convscope
from convscope import cli, console, language
from convscope.predicting.listing import Tally
from convscope.predicting.prediction import Prediction

PACKAGE = Path(convscope.__file__).parent
BOOK = json.loads((PACKAGE / "language.zh.json").read_text(encoding="utf-8"))
HAN = re.compile("[\u4e00-\u9fff]")
WORD = r"[\w'.-]*[A-Za-z][\w'-]*"


@pytest.fixture
def run(capsys, monkeypatch):
    """A command in Chinese: its code, what it prints, and its log."""

    def call(command: str, spoken: str = "zh") -> tuple[int, str, str]:
        monkeypatch.setenv("CONVSCOPE_LANG", spoken)
        monkeypatch.setattr(sys, "argv", ["convscope", *command.split()])
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr()
        return left.value.code or 0, said.out, said.err

    return call


@pytest.mark.parametrize(
    "asked, wanted",
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "CONVSCOPE_LANG": "en"}, "en"),
        ({"LANG": "de_DE", "CONVSCOPE_LANG": "zh"}, "zh"),
    ],
)
def test_the_language_is_what_is_asked_for_or_else_the_locales(asked, wanted, monkeypatch):
    for name in ("CONVSCOPE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    assert language.chosen() == wanted


def test_a_language_that_is_not_here_is_refused(run):
    code, _, said = run("--version", "fr")
    assert (
        code == 2 and "CONVSCOPE_LANG=fr: must be en or zh; set one of these, or unset it" in said
    )


def test_parts_of_a_phrase_are_told_too():
    assert language.told("from conv1 and add", "zh") == "来自 conv1 和 add"
    text = "3 seeds do not tell max, the best, from no pool, stride 2 and no pool and average."
    assert language.told(text, "zh") == (
        "3 个种子分不出最好的最大池化与没有池化、步幅 2 不池化、平均池化的高下。"
    )
    assert language.told("figure   我的 图（ 一）.png", "zh") == "图       我的 图（ 一）.png"
    assert language.told("  ... 1,234 steps more ...\nx", "zh") == "  …… 还有 1,234 步 ……\nx"


def test_names_that_are_phrases_stay(monkeypatch, capsys):
    monkeypatch.setenv("CONVSCOPE_LANG", "zh")
    console.table(("class", "images"), [("loss", 3), ("all", 4)])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["类别", "图像"],
        ["loss", "3"],
        ["all", "4"],
    ]


def test_classes_that_read_like_phrases_stay(monkeypatch, capsys):
    monkeypatch.setenv("CONVSCOPE_LANG", "zh")
    found = [Prediction((("has hat", 0.991), ("new: thing", 0.005)), "a.png", unsure=True)]
    console.predictions(Tally(), found)
    assert capsys.readouterr().out.startswith("a.png: has hat 99.1%   new: thing 0.5%   （")


def test_each_phrase_has_the_slots_of_its_english():
    for key, said in BOOK.items():
        assert sorted(language.SLOT.findall(key)) == sorted(language.SLOT.findall(said)), key
        assert said != key or key in ("NAME", "N", "F1", "- {TEXT}")


def _texts(tree: object) -> Iterator[str]:
    """Every text of a module or a table."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, ast.AST):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
    elif isinstance(tree, dict | list):
        for one in (*tree, *tree.values()) if isinstance(tree, dict) else tree:
            yield from _texts(one)


def _parts(words: list[str], said: str) -> int:
    """Of how many parts that are said somewhere words are made, the longest first."""
    count = 0
    while words:
        count += 1
        for end in range(len(words), 0, -1):
            some = " ".join(words[:end])
            if f" {some} " in said or f" {some.removesuffix('s')} " in said:  # one, or several
                break
        else:
            return 99
        words = words[end:]
    return count


def test_each_phrase_is_still_said_by_the_code():
    """Each text between its slots stands in a module or in a table of the package, whole or as
    two parts, where the code makes it of such; heads of columns stand by themselves."""
    code = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")]
    tables = [tomllib.loads(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.toml")]
    texts = (text for tree in (*code, *tables) for text in _texts(tree))
    said = " | ".join(" ".join(re.findall(WORD, text)) for text in texts)
    said = f" {said} "
    for key in BOOK:
        for part in re.split(" {2,}|\n", language.SLOT.sub("\n", key)):
            assert _parts(re.findall(WORD, part), said) <= 2, (key, part)


NAMES = """MNIST CIFAR Fashion PyTorch Python GFLOP ReLU SGD McNemar NAME KiB MiB Keras Inception
Holm Intel Xeon Processor family model Linux torch Normalise Flatten Linear normalise cat add relu
bn hidden image runs flat upright spot cnn mlp mnist logits float floor max head branches depth
pooling shift stride lr lab pool convscope"""
FLAG = r"--[\w-]+(?: (?:none|last|light|strong|[A-Z]+)(?![A-Za-z]))?"
SOME = "[!-~]"  # of ASCII
ASIDE = "|".join(  # what is not told: code, addresses, flags, dotted names, numbers, licences
    (
        *("`[^`]*`", f"https?://{SOME}+", FLAG, rf"{SOME}*[/._\\]{SOME}+", f"{SOME}*[0-9]{SOME}*"),
        *("[A-Za-z]+-[A-Za-z-]+", r"\$ .*", "(?:许可证|命令) .*"),
    )
)


def _english(said: str) -> list[str]:
    """The words of English that are left in what was printed."""
    words = re.findall("[A-Za-z]{2,}", re.sub(ASIDE, " ", said))
    return [word for word in words if word not in NAMES.split()]


COMMANDS = """
data
data info mnist
train mnist --model cnn --epochs 1 --profile --out runs/a
train mnist --model mlp --hidden 8 --epochs 1 --augment none --abstain 0.3 --out runs/b
train --from runs/a --continue 1 --out runs/c
train --from runs/a mnist --freeze features --out runs/d
train mnist --model mlp --k-fold 2 --epochs 1 --out runs/k
eval runs/a --abstain 0.2
compare runs/a runs/b --show 2 --save changed.png
predict runs/a digit.png --set 0.9 --no-digits
explain runs/a --only filters,maps,heat --method gradcam
export runs/a
verify runs/a/model.onnx runs/a
sweep mnist --model mlp --vary hidden=4,8 --seeds 2 --epochs 1 --out runs/hidden
sweep --list
sweep --study pooling --preview
sweep --study shift --measured
sweep --study branches --measured
sweep --study batch-norm --measured
learning-curve mnist --model mlp --epochs 1 --out runs/curve
summary inception
summary resnet
lab conv --input 6x6 --kernel 3x3 --padding 1 --reads --steps 2 --save conv.png
lab pool --kind average
lab one-by-one
lab edges
lab receptive-field --model resnet
recipes
claims
claims 6
""".strip().splitlines()


def test_nothing_is_left_in_english(run, bars):
    """Of what the lessons' commands print, and log; and what they write is English still."""
    Image.fromarray(bars.splits["test"].images[0, 0]).save("digit.png")
    for command in COMMANDS:
        quick = ""
        if re.match("train|learning|sweep mnist", command):
            quick = " --kernels plain --precision float32 --threads 1"
            quick += " --no-look" * command.startswith("train")
        code, said, log = run(command + quick)
        assert not code, f"{command}\n{log}"
        for line in (*said.splitlines(), *log.splitlines()):
            assert not _english(line), f"{command}\n{line}"
        assert HAN.search(said) or command.split()[0] in ("predict", "export"), command
    written = [
        path for path in Path("runs").rglob("*.*") if path.suffix in (".json", ".html", ".md")
    ]
    assert len(written) > 30
    for path in written:
        assert not HAN.search(path.read_text(encoding="utf-8")), path
    assert not HAN.search(run("eval runs/a --json")[1])
