"""Make the notebook of every lesson from its Markdown: docs/lessons/**/*.md -> *.ipynb.

    python scripts/notebooks.py            write those that are not what their lesson says
    python scripts/notebooks.py --check    write nothing; exit 1 where one is stale

`python` and `sh` blocks become code cells (a command gets the `!` that notebooks run commands by),
and what a lesson says that they print becomes their output. All else is Markdown, the folded
answers too, whose code stays inside the fold. A notebook of a lesson in another language first asks
for results in that language.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from documents import Block, blocks

LESSONS = Path(__file__).parent.parent / "docs" / "lessons"
FOLDED = re.compile(r"^<details>.*?^</details>", re.S | re.M)


def lessons() -> list[Path]:
    """The Markdown of every lesson, in each language."""
    return sorted(path for path in LESSONS.rglob("*.md") if path.name != "README.md")


def language(lesson: Path) -> str:
    """The language of a lesson, by its folder."""
    return "zh" if lesson.parent.name == "zh" else "en"


def notebook(lesson: str, spoken: str = "en") -> str:
    """A lesson in a language as a notebook, nbformat 4.5.

    >>> made = json.loads(notebook("# One\\n\\n```python\\nprint(1)\\n```\\n```text\\n1\\n```\\n"))
    >>> [cell["cell_type"] for cell in made["cells"]], made["cells"][1]["outputs"][0]["text"]
    (['markdown', 'code'], ['1\\n'])
    """
    found = [*_cells(lesson)]
    if spoken != "en":
        setting = f"```python\n%env CONVSCOPE_LANG={spoken}\n```\n"
        found.insert(1, _code(blocks(setting)[0]))
    cells = [{"id": f"cell-{n}", **cell} for n, cell in enumerate(found, 1)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _cells(lesson: str) -> Iterator[dict[str, Any]]:
    folds = [match.span() for match in FOLDED.finditer(lesson)]
    at = 0
    for block in blocks(lesson):
        folded = any(start < block.start < end for start, end in folds)
        if folded or block.language not in ("python", "sh"):
            continue
        yield from _prose(lesson[at : block.start])
        yield _code(block)
        at = block.end
    yield from _prose(lesson[at:])


def _prose(text: str) -> Iterator[dict[str, Any]]:
    if text.strip():
        yield {"cell_type": "markdown", "metadata": {}, "source": _lines(text.strip())}


def _code(block: Block) -> dict[str, Any]:
    source = block.text.rstrip()
    if block.language == "sh":
        source = "\n".join(f"!{line}" if line else "" for line in source.splitlines())
    said: dict[str, Any] = {"name": "stdout", "output_type": "stream"}
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [{**said, "text": _lines(block.said)}] if block.said else [],
        "source": _lines(source),
    }


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main(check: bool) -> None:
    """Write what is stale, or say so and exit with 1."""
    stale = []
    for lesson in lessons():
        path = lesson.with_suffix(".ipynb")
        made = notebook(lesson.read_text(encoding="utf-8"), language(lesson))
        if not path.is_file() or path.read_text(encoding="utf-8") != made:
            stale.append(path)
            if not check:
                path.write_text(made, encoding="utf-8", newline="\n")
    for path in stale:
        print(f"{path.relative_to(LESSONS)}: {'is stale' if check else 'written'}")
    if check and stale:
        sys.exit("run python scripts/notebooks.py")


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    main("--check" in sys.argv)
