"""A web page that is one file and asks the network for nothing, on light and dark."""

from __future__ import annotations

import base64
import html
import posixpath
import re
from collections.abc import Sequence
from importlib import resources


def png(data: bytes) -> str:
    """The address of a PNG that is inside the page."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def part(package: str, name: str) -> str:
    """A style or a script that lies in a package."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


_IMPORT = re.compile(r'^import(?: \{[^}]*\} from)? "\./([\w.-]+)";\n+', re.MULTILINE)
_BARE = re.compile(r"(?ms)^[ \t]*/\*\*.*?\*/[ \t]*\n|^[ \t]*//[^\n]*\n|^[ \t]+")


def script(package: str, name: str) -> str:
    """The text of an ES module that lies in a package and of all that it imports, each once and
    after what it imports itself, in one scope: a page that is one file has no address that a module
    could be imported from. So no two of them may give a name to different things at their top.
    Comments that have lines of their own, and indentation, stay behind.

    >>> text = script("convscope", "web/digit.js")
    >>> text.index("function cropped") < text.index("function digitOf"), "import {" in text
    (True, False)
    """
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
    whole = "".join(found.values())
    return '"use strict";\n' + _BARE.sub("", whole)


Links = Sequence[tuple[str, str]]  # addresses, and the keys of what they are called


def links(named: Links) -> str:
    """The links of a nav, whose words its page finds by their keys.

    >>> links([("/#runs", "tab.runs")])
    '  <a href="/#runs" data-say="tab.runs"></a>\\n'
    """
    return "".join(f'  <a href="{html.escape(to)}" data-say="{key}"></a>\n' for to, key in named)


def theme() -> str:
    """The colours of pages on light and dark, by names that styles go by."""
    return part("convscope", "theme.css")


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
