"""Claims that are often read about convolutional networks: why one might believe each, the command
that tests it, what that shows, the verdict."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.errors import BadArgument

FILE = Path(__file__).with_name("claims.toml")


@dataclass(frozen=True)
class Claim:
    """A claim; ``shows`` stands word for word in what ``command`` prints."""

    number: int
    says: str
    why: str
    command: str
    shows: tuple[str, ...]
    finding: str
    verdict: str

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


def page() -> str:
    """All claims as ``docs/claims.md``."""
    text = [
        "# Claims, and what is so",
        "",
        "Sentences that are often read about convolutional networks. Each has one command that",
        "tests it; `convscope claims N` runs it. What a card says the command shows, it shows: the",
        "tests run them all.",
        "",
    ]
    for claim in load():
        text += [
            f"## {claim.number}. “{claim.says}”",
            "",
            f"**Verdict: {claim.verdict}.** {claim.finding}",
            "",
            f"Why one might believe it: {claim.why}",
            "",
            "```sh",
            claim.command,
            "```",
            "",
            "```text",
            *claim.shows,
            "```",
            "",
        ]
    return "\n".join(text)
