"""The code blocks of a Markdown document, run in order as a reader runs them: README, lessons.

A block is what stands between two fences. `sh` blocks are convscope's commands, `python` blocks
share one namespace a document, and a `text` block right after either is what it prints, where
`...` stands for anything, as in a doctest.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
import signal
import sys
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

FENCED = re.compile(r"^```(\w+)\n(.*?)^```\n?", re.S | re.M)
SAID = re.compile(r"\s*^```text\n(.*?)^```\n?", re.S | re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and text, where it begins and ends in the document, and the text
    block right after it, if there is one."""

    language: str
    text: str
    start: int
    end: int
    said: str | None = None

    @property
    def commands(self) -> list[str]:
        """The lines of an `sh` block that call convscope."""
        lines = self.text.splitlines() if self.language == "sh" else ()
        return [line for line in lines if line.startswith("convscope ")]


def blocks(document: str) -> list[Block]:
    """Every block of a document but those that say what the block before them prints.

    >>> one, two = blocks("```sh\\nconvscope data\\n```\\n```text\\nmnist\\n```\\n```toml\\n```\\n")
    >>> one.commands, one.said, two.language
    (['convscope data'], 'mnist\\n', 'toml')
    """
    found = []
    at = 0
    while match := FENCED.search(document, at):
        at = match.end()
        said = SAID.match(document, at) if match[1] in ("sh", "python") else None
        if said:
            at = said.end()
        found.append(Block(match[1], match[2], match.start(), at, said[1] if said else None))
    return found


@dataclass
class Reader:
    """One who works through a document: what each block prints, and what its code has defined."""

    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})

    def run(self, block: Block, short: Any = str) -> str:
        """What a block prints; ``short`` makes the command that is run of the one that is written.

        Raises AssertionError for a command that fails, and whatever the code raises.
        """
        if block.language == "sh":
            return "".join(command(short(line)) for line in block.commands)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            if block.language == "python":
                exec(compile(block.text, "<document>", "exec"), self.names)
        return said.getvalue()


def command(line: str) -> str:
    """What a convscope command prints to stdout. Raises AssertionError with its error where it
    fails."""
    from convscope import cli

    before = signal.getsignal(signal.SIGTERM)
    said, log = io.StringIO(), io.StringIO()
    code: Any = None
    try:
        with (
            mock.patch.object(sys, "argv", shlex.split(line, comments=True)),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(log),
        ):
            cli.main()
    except SystemExit as left:
        code = left.code
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not code, f"{line}\n{log.getvalue()}"
    return said.getvalue()


def agrees(wanted: str, printed: str) -> bool:
    """Whether what was printed is what a document says, blanks at the ends of lines apart.

    >>> agrees("loss ...\\nend\\n", "loss 0.3 \\nmore\\nend"), agrees("1\\n", "11\\n")
    (True, False)
    """
    one, other = (
        "\n".join(line.rstrip() for line in text.strip("\n").splitlines()) + "\n"
        for text in (wanted, printed)
    )
    return doctest.OutputChecker().check_output(one, other, doctest.ELLIPSIS)
