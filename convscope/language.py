"""What the command line prints, in the reader's language: a phrase book from English.

English is what is computed, kept in files and printed as JSON; it is translated on the way to a
person, line by line. `language.zh.json` holds every phrase of Chinese. Its keys are the English of
the code, with slots where that has values: `{n}`, one letter, is a number; `{name}` is taken over
as it is; `{NAME}` is a phrase again, or a list of phrases; `{CLAUSES}` is
always a list.
"""

from __future__ import annotations

import functools
import json
import os
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

from convscope.errors import BadArgument

LANGUAGES = ("en", "zh")
SLOT = re.compile(r"\{(\w+)(?::[^}]*)?\}")
NUMBER = r" *(?:[-+<>≥]?\d[\d,.]*(?:e[-+]?\d+)?(?: ?%)?|nan|inf|-)"
TEXT = "(?:(?![;:] ).)+?"
HAN, MARK = "[\u4e00-\u9fff]", "[，。：；、（）]"
KEPT = "\0"  # a blank of a name
NO_SPACE = re.compile(f"(?<={HAN}) (?={HAN})|(?<={MARK}) (?! )|(?<! ) (?={MARK})")


class Phrase(NamedTuple):
    """A phrase with slots: its longest text between them, which is looked for first, the whole as a
    pattern, and what it becomes."""

    text: str
    pattern: re.Pattern[str]
    said: str


def chosen() -> str:
    """The language of results: ``CONVSCOPE_LANG``, or else the locale's, where that is known here;
    English otherwise. Raises BadArgument."""
    if asked := os.environ.get("CONVSCOPE_LANG"):
        if asked not in LANGUAGES:
            rule = f"must be {' or '.join(LANGUAGES)}"
            raise BadArgument("CONVSCOPE_LANG", asked, rule, "set one of these, or unset it")
        return asked
    names = ("LC_ALL", "LC_MESSAGES", "LANG")  # the first that is set counts, as POSIX has it
    locale = next((value for name in names if (value := os.environ.get(name))), "")
    return "zh" if locale.startswith("zh") else "en"


def told(text: str, language: str | None = None) -> str:
    """A text as its reader is told it, line by line; what the phrase book has not stays English.

    >>> told("about 20 s to go (12 ms a step)", "zh"), told("figure   net.svg", "en")
    ('大约还要 20 秒（每步 12 毫秒）', 'figure   net.svg')
    """
    if (language or chosen()) == "en":
        return text
    return "\n".join(_line(line) for line in text.split("\n"))


def columns(text: str) -> int:
    """How many columns of a terminal a text takes: Chinese characters take two.

    >>> columns("conv"), columns("卷积")
    (4, 4)
    """
    return sum(1 + (unicodedata.east_asian_width(one) in "WF") for one in text)


def _line(line: str) -> str:
    bare = line.lstrip()
    found = _phrase(bare)
    return line if found is None else line[: len(line) - len(bare)] + found.replace(KEPT, " ")


def _phrase(text: str) -> str | None:
    """A phrase in Chinese; None where the book has it not."""
    exact, slotted = _book()
    if text in exact:
        return exact[text]
    for phrase in slotted:
        if phrase.text in text and (found := phrase.pattern.fullmatch(text)):
            values = {
                name: _part(value, name) if name.isupper() else value.replace(" ", KEPT)
                for name, value in found.groupdict().items()
            }
            return NO_SPACE.sub("", phrase.said.format(**values))
    return None


def _part(text: str, slot: str) -> str:
    """A part of a phrase: a phrase itself, or a list, or what has no translation."""
    clauses = slot == "CLAUSES"
    mark, between = (", | and ", "，" if clauses else "、")
    if "; " in text:
        mark, between = "; (?:and )?", "；"
    found: list[str] = []
    known, rest = False, text
    while rest:  # the longest beginning that is a phrase; of clauses, which hold others, the first
        ends = [m.span() for m in re.finditer(mark, rest)] + [(len(rest), len(rest))]
        for span in ends if clauses else reversed(ends):
            if (said := _phrase(rest[: span[0]])) is not None:
                known = True
                break
        else:
            span = ends[0]
            said = rest[: span[0]].replace(" ", KEPT)
        found, rest = [*found, said], rest[span[1] :]
    return between.join(found) if known else text.replace(" ", KEPT)


@functools.cache
def _book() -> tuple[dict[str, str], list[Phrase]]:
    """The phrases without slots, and those with, of which the one with most text comes first."""
    kept = json.loads(Path(__file__).with_name("language.zh.json").read_text(encoding="utf-8"))
    exact = {key: said for key, said in kept.items() if not SLOT.search(key)}
    slotted = sorted(kept.keys() - exact.keys(), key=lambda key: len(SLOT.sub("", key)))
    return exact, [Phrase(*_pattern(key), kept[key]) for key in reversed(slotted)]


def _pattern(key: str) -> tuple[str, re.Pattern[str]]:
    """
    >>> text, pattern = _pattern("{n} images of {name}")
    >>> text, pattern.fullmatch("3,000 images of cats").groupdict()
    (' images of ', {'n': '3,000', 'name': 'cats'})
    """
    texts = SLOT.split(key)
    parts = [re.escape(text) for text in texts[::2]]
    for at, name in enumerate(texts[1::2]):
        value = NUMBER if re.fullmatch("[a-z]", name) else ".+?" if name.isupper() else TEXT
        parts[at] += f"(?P<{name}>{value})"
    return max(texts[::2], key=len), re.compile("".join(parts))
