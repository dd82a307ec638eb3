"""docs/sklearn.md as a reader runs it."""

from __future__ import annotations

from pathlib import Path

import documents


def test_every_block_runs_and_prints_what_it_says():
    page = Path(__file__).parents[2] / "docs" / "sklearn.md"
    reader = documents.Reader()
    found = [block for block in documents.blocks(page.read_text()) if block.language == "python"]
    assert len(found) == 4
    for block in found:
        printed = reader.run(block)
        assert documents.agrees(block.said, printed), printed
