"""A web page that is one file and asks the network for nothing, on light and dark."""

from __future__ import annotations

import base64
import html
import json
import os
import posixpath
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from convscope import files
from convscope.language import LANGUAGES

_NAV = re.compile(r'<nav class="pages".*?</nav>\n')


def png(data: bytes) -> str:
    """The address of a PNG that is inside the page."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def part(package: str, name: str) -> str:
    """A style or a script that lies in a package."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


_UNREAD = re.compile(r"(?ms)^\s+|/\*.*?\*/\s*")  # indentation and comments of a style
_IMPORT = re.compile(r'^import(?: \{[^}]*\} from)? "\./([\w.-]+)";\n+', re.MULTILINE)


def script(package: str, name: str) -> str:
    """The text of an ES module that lies in a package and of all that it imports, each once and
    after what it imports itself, in one scope: a page that is one file has no address that a module
    could be imported from. So no two of them may give a name to different things at their top.
    Comments and blanks stay behind.

    >>> text = script("convscope", "web/digit.js")
    >>> text.index("function cropped") < text.index("function digitOf"), "import {" in text
    (True, False)
    """
    import rjsmin

    found: dict[str, str] = {}

    def add(path: str) -> None:
        if path in found:
            return
        found[path] = ""  # on its way, should two import each other
        text = part(package, path)
        for needed in _IMPORT.findall(text):
            add(posixpath.join(posixpath.dirname(path), needed))
        del found[path]
        found[path] = re.sub(r"^export (?=\w)", "", _IMPORT.sub("", text), flags=re.MULTILINE)

    add(name)
    whole: str = rjsmin.jsmin("".join(found.values()))
    return f'"use strict";\n{whole}\n'


Links = Sequence[tuple[str, str]]  # addresses, and the keys of what they are called


def links(named: Links) -> str:
    """The links of a nav, whose words its page finds by their keys.

    >>> links([("/#runs", "tab.runs")])
    '  <a href="/#runs" data-say="tab.runs"></a>\\n'
    """
    return "".join(f'  <a href="{html.escape(to)}" data-say="{key}"></a>\n' for to, key in named)


def words(*kept: str, but: tuple[str, ...] = ()) -> dict[str, dict[str, str]]:
    """What pages say, by language and key: all, or what begins with one of ``kept``, ``but`` for
    what begins with those.

    >>> sorted(words("tab.t", but=("tab.tr",))["en"])
    ['tab.teach']
    """
    found: dict[str, dict[str, str]] = {}
    for language in LANGUAGES:
        every = json.loads(part("convscope", f"web/words.{language}.json"))
        shown = (key for key in every if key.startswith(kept or "") and not key.startswith(but))
        found[language] = {key: every[key] for key in shown}
    return found


def data(key: str, value: Any) -> str:
    """A text, or what else can be JSON, in a page under a key, where its scripts find it; no
    browser runs it, and nothing in JSON ends it."""
    kind = "text/plain"
    if not isinstance(value, str):
        kind = "application/json"
        value = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        value = value.replace("<", "\\u003c")
    return f'<script id="{key}" type="{kind}">{value}</script>\n'


def theme() -> str:
    """The colours of pages on light and dark, by names that styles go by."""
    return part("convscope", "theme.css")


def base() -> str:
    """The colours, and what the styles of all pages have in common: text, headings, links from page
    to page, boxes that scroll, tables, charts."""
    return theme() + part("convscope", "base.css")


def colour(name: str) -> str:
    """A colour of the light theme, such as ``training``, for a figure that is no page.

    >>> colour("validation")
    '#0072b2'
    """
    found = re.search(rf"--{name}: (#\w+);", theme())
    assert found, name
    return found[1]


def nav(links: Iterable[tuple[str, str]] = (), current: str = "") -> str:
    """Links from page to page, each an address and a name; ``current`` is the name of the page that
    they stand on. Hidden where they lead nowhere else, until :func:`linked` fills them.

    >>> nav([("a.html", "A"), ("b.html", "B")], "B")[38:]
    '<a href="a.html">A</a><a href="b.html" aria-current="page">B</a></nav>\\n'
    """
    here = ' aria-current="page"'
    said = [
        f'<a href="{html.escape(address)}"{here * (name == current)}>{html.escape(name)}</a>'
        for address, name in links
    ]
    if len(said) < 2:
        return '<nav class="pages" aria-label="Pages" hidden></nav>\n'
    return f'<nav class="pages" aria-label="Pages">{"".join(said)}</nav>\n'


def linked(page: str, links: Iterable[tuple[str, str]], current: str = "") -> str:
    """A page with other links from page to page than it was written with.

    >>> linked(f"<body>{nav()}</body>", [("a.html", "A"), ("b.html", "B")]).count("<a ")
    2
    """
    return _NAV.sub(lambda _: nav(links, current), page, count=1)


def link(pages: Sequence[tuple[Path, str]]) -> None:
    """Lead from each of some files, which are pages under these names, to the others that are
    there. A page without such links, written before there were any, stays as it is."""
    there = [(path, name) for path, name in pages if path.is_file()]
    for path, name in there:
        links = [(Path(os.path.relpath(to, path.parent)).as_posix(), said) for to, said in there]
        before = path.read_text(encoding="utf-8")
        after = linked(before, links, name)
        if after != before:
            files.write_whole(path, after)


def whole(
    title: str,
    style: str,
    body: str,
    *,
    pictures: bool = False,
    scripts: bool = False,
    allowed: Sequence[str] = (),
) -> str:
    """The page of a body, which is HTML, under a title, which is not; its own policy lets a browser
    load nothing, and take pictures and scripts only where the page has some inside. What else is
    ``allowed`` are directives of such a policy.

    >>> whole("a < b", "p { margin: 0; }", "<p>Nothing</p>").count("&lt;")
    1
    """
    style = _UNREAD.sub("", style)
    policy = ["default-src 'none'", *["img-src data:"] * pictures, "style-src 'unsafe-inline'"]
    policy += ["script-src 'unsafe-inline'"] * scripts
    policy += allowed
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"{body}</body>\n</html>\n"
    )
