"""Claims that are often read about convolutional networks: why one might believe each, the command
that tests it, what that shows, the verdict."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.errors import BadArgument
from convscope.language import told
from convscope.studies import measured

FILE = Path(__file__).with_name("claims.toml")


@dataclass(frozen=True)
class Claim:
    """A claim; ``shows`` stands word for word in what ``command`` prints, or, where that is a
    ``study``, in what it printed when it was measured."""

    number: int
    says: str
    why: str
    command: str
    shows: tuple[str, ...]
    finding: str
    verdict: str

    @property
    def study(self) -> str | None:
        """The study that tests it, where one does."""
        words = self.command.split()
        return words[words.index("--study") + 1] if "--study" in words else None

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {**vars(self), "shows": list(self.shows)}


def load() -> list[Claim]:
    """All claims, in order.

    >>> load()[1].verdict
    'false'
    """
    table = tomllib.loads(FILE.read_text(encoding="utf-8"))["claim"]
    return [
        Claim(number, **{**one, "shows": tuple(one["shows"])})
        for number, one in enumerate(table, 1)
    ]


def find(number: int) -> Claim:
    """A claim by its number, from 1. Raises BadArgument."""
    known = load()
    if not 1 <= number <= len(known):
        rule = f"must be the number of a claim, 1 to {len(known)}"
        raise BadArgument("N", number, rule, "`convscope claims` lists them")
    return known[number - 1]


TITLE = "Claims, and what is so"
INTRODUCTION = (
    "Sentences that are often read about convolutional networks.",
    "Each has one command that tests it; `convscope claims N` runs it.",
    "The last box of a card is part of what the command prints, which the test suite checks.",
    "A study takes minutes: its box is what it showed when it was measured, and the tests hold it "
    "against the rows that are kept.",
    "[The lessons](lessons/README.md) say more.",
    "Chinese: [claims.zh.md](claims.zh.md).",
)


def page(language: str) -> str:
    """All claims as ``docs/claims.md``, or in Chinese as ``docs/claims.zh.md``."""

    def said(text: str) -> str:
        return told(text, language)

    text = [f"# {said(TITLE)}", "", *map(said, INTRODUCTION), ""]
    for claim in load():
        text += [
            f"## {claim.number}. “{said(claim.says)}”",
            "",
            f"{said(f'**Verdict: {claim.verdict}.**')} {said(claim.finding)}",
            "",
            said(f"Why one might believe it: {claim.why}"),
            "",
            "```sh",
            claim.command,
            "```",
            "",
            "```text",
            *map(said, claim.shows),
            "```",
            "",
        ]
        if claim.study is not None:
            found = measured.load(claim.study)
            minutes = f"{found.seconds / 60:.0f} minutes of training"
            text += [said(f"Measured on {found.date}: {minutes}, {found.machine}."), ""]
    return "\n".join(text)
