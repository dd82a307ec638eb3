"""The lessons: every command and every snippet runs, and prints what the page says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import documents
import notebooks
import numpy as np
import pytest
from PIL import Image

from convscope.data import pack, sources
from convscope.data.pack import Pack

LESSONS = notebooks.LESSONS
ENGLISH = [path for path in notebooks.lessons() if path.parent == LESSONS]
PAGES = sorted(LESSONS.rglob("*.md"))

# What a command is run as: a few steps on a few images; nothing is timed to choose kernels.
QUICK = " --threads 1 --precision float32 --memory-format channels_last --kernels plain"
SHORT = {
    "convscope train": " --steps 3" + QUICK,
    "convscope sweep": " --quick" + QUICK,
}


def short(command: str) -> str:
    """The command as it is run here."""
    for begin, more in SHORT.items():
        if command.startswith(begin):
            return command + more
    return command


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pack]:
    """A few images in the place of each data set: digits, and noise in colour."""
    folder = tmp_path_factory.mktemp("few")
    mnist = sources.open_data("mnist")
    digits = {
        split: (np.array(images.images[:n]), np.array(images.labels[:n]))
        for (split, images), n in zip(mnist.splits.items(), (300, 100), strict=True)
    }
    random = np.random.default_rng(0)
    noise = {
        split: (random.integers(0, 256, (n, 3, 32, 32), np.uint8), np.arange(n) % 10)
        for split, n in (("train", 300), ("test", 100))
    }
    classes = tuple("plane car bird cat deer dog frog horse ship truck".split())
    return {
        "mnist": pack.write_pack(folder / "mnist", "mnist", mnist.classes, digits, "cut"),
        "cifar10": pack.write_pack(folder / "cifar10", "cifar10", classes, noise, "noise"),
    }


@pytest.fixture
def reader(few, workplace, monkeypatch) -> Iterator[Callable[[documents.Block], str]]:
    """Runs a block where its pictures and runs may be left; data as they are where they are only
    looked at, and a few of them where a network is trained."""
    import matplotlib

    matplotlib.use("agg")
    real = sources.open_data

    def opened(name: str, *rest: object, **named: object) -> Pack:
        return few[name] if learning or name != "mnist" else real(name, *rest, **named)

    learning = False
    someone = documents.Reader()

    def read(block: documents.Block) -> str:
        nonlocal learning
        learning = any(word in block.text for word in ("convscope train", "sweep", "eval", "compare"))
        with mock.patch.object(sources, "open_data", opened):
            return someone.run(block, short)

    Image.fromarray(real("mnist").splits["test"].images[0, 0]).save("digit.png")
    yield read
    import matplotlib.pyplot as plt

    plt.close("all")


def test_there_is_a_lesson_for_each_system():
    assert [path.stem[0] for path in ENGLISH] == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.stem)
def test_every_block_runs_and_prints_what_it_says(page: Path, reader):
    text = page.read_text(encoding="utf-8")
    found = documents.blocks(text)
    assert len(found) > 10
    for block in found:
        assert block.language in ("sh", "python", "toml"), block
        printed = reader(block)
        if block.said is not None:
            assert documents.agrees(block.said, printed), f"{block.text}\n{printed}"
    for picture in re.findall(r"\(pictures/(.*?\.png)\)", text):  # each is made on its page
        assert Path(picture).is_file(), picture
