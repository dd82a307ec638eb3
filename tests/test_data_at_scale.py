"""docs/data-at-scale.md as a stranger reads it: every command runs, on small data."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import documents
import pytest
from photos import image_file, photos
from quick import SMALL

from convscope.data import shard_writer, stores

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "data-at-scale.md").read_text(encoding="utf-8")


@pytest.fixture
def prepared(workplace: Path) -> Path:
    photos(workplace / "mnist", count=20)
    for at in range(2):
        with tarfile.open(f"train-{at:03}.tar", "w") as out:
            for n in range(20 * at, 20 * at + 20):
                for name, content in (
                    (f"{n}.png", image_file(n)),
                    (f"{n}.cls", b"ab"[n % 2 : n % 2 + 1]),
                ):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    out.addfile(info, io.BytesIO(content))
    return workplace


def test_every_command_runs(prepared):
    commands = [one for block in documents.blocks(PAGE) for one in block.commands]
    assert len(commands) == 5
    for command in commands:
        quick = command.replace("pack mnist", "pack ./mnist --image-size 8")
        documents.command(quick.replace("--model mlp", " ".join(SMALL[2:])))
    assert Path("runs/digits/report.html").is_file() and Path("tars/meta.json").is_file()


def test_its_numbers_are_those_of_the_code():
    size, lanes, window = shard_writer.SIZE, shard_writer.LANES, shard_writer.WINDOW
    assert f"`lanes x {window + 1:.0f} x shard size`, {3 * lanes * size // 10**6} MB" in PAGE
    assert f"(`--lanes`, {lanes})" in PAGE
    assert f"{size // 3072:,} images of 32 x 32, and {size // 150528}\n  of 224 x 224" in PAGE
    pauses = ", ".join(f"{pause:g}" for pause in stores.PAUSES)
    said = pauses.replace(", 6", " and 6")
    assert f"{1 + len(stores.PAUSES)} tries".replace("4", "four") in PAGE and said in PAGE
    assert (
        f"{stores.PATIENCE:.0f} seconds and a second for every {stores.SLOWEST // 1000} kB" in PAGE
    )
