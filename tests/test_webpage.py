"""Pages that lead to each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from convscope import webpage


def links(page: Path) -> list[tuple[str, bool]]:
    """Where the links of a page lead, and which is its own."""
    [nav] = re.findall(r'<nav class="pages".*?</nav>', page.read_text())
    found = re.findall(r'<a href="(.*?)"( aria-current="page")?>', nav)
    assert ("hidden" in nav) == (not found)
    return [(where, bool(own)) for where, own in found]


def test_pages_lead_to_those_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pages = [(tmp_path / name, name) for name in ("a.html", "in/b & c.html", "gone.html")]
    first, second = pages[0][0], pages[1][0]
    first.write_text(webpage.whole("a", "", f"{webpage.nav()}<p>&lt;nav class=pages&gt;</p>"))
    webpage.link(pages)
    assert links(first) == []  # it is alone
    second.write_text(webpage.whole("b", "", webpage.nav()))
    webpage.link(pages)
    assert links(first) == [("a.html", True), ("in/b &amp; c.html", False)]
    assert links(second) == [("../a.html", False), ("b &amp; c.html", True)]
    second.unlink()
    webpage.link(pages)
    assert links(first) == [] and "&lt;nav class=pages&gt;" in first.read_text()


def test_a_page_from_before_there_were_links_stays_as_it_is(tmp_path: Path) -> None:
    old, new = tmp_path / "old.html", tmp_path / "new.html"
    old.write_text("<nav>mine</nav>")
    new.write_text(webpage.nav())
    webpage.link([(old, "Old"), (new, "New")])
    assert old.read_text() == "<nav>mine</nav>" and len(links(new)) == 2


def test_both_themes_have_every_colour() -> None:
    light, dark = webpage.theme().split("@media")
    names = set(re.findall(r"--[\w-]+", light))
    assert {"--training", "--validation"} <= names == set(re.findall(r"--[\w-]+", dark))
    used = re.findall(r"var\((--[\w-]+)\)", webpage.base())
    assert set(used) - names <= {"--p", "--shade", "--least", "--most"}


WEB = Path(webpage.__file__).parent / "web"
ENTRIES = ("page", "studio", "waiting", "lab_page", "worker")
TOP = re.compile(
    r"^(?:export )?(?:(?:async )?function\*?|class|const|let) (?:(\w+)|[\[{](.*?)[\]}] =)", re.M
)


def modules(name: str, found: dict[str, str] | None = None) -> dict[str, str]:
    """A module of the web's and all that it imports, by their names."""
    found = {} if found is None else found
    if name not in found:
        found[name] = (WEB / f"{name}.js").read_text()
        for needed in re.findall(r'from "\./([\w.-]+)\.js"', found[name]):
            modules(needed, found)
    return found


@pytest.mark.parametrize("entry", ENTRIES)
def test_no_two_modules_of_a_page_give_one_name(entry: str) -> None:
    """They are put into one scope, where a function would silently take another's place."""
    owners: dict[str, list[str]] = {}
    for module, text in modules(entry).items():
        for one, several in TOP.findall(text):
            for name in (one and [one]) or several.split(","):
                owners.setdefault(name.strip(), []).append(module)
    assert len(owners) > 5
    assert {name: some for name, some in owners.items() if len(some) > 1} == {}


def test_no_template_stands_inside_another() -> None:
    """The minifier would take blanks out of its text."""
    used = {name for entry in ENTRIES for name in modules(entry)}
    assert used == {path.stem for path in WEB.glob("*.js")}
    for name in sorted(used):
        text = re.sub(r"/\*.*?\*/|^\s*//[^\n]*", "", modules(name)[name], flags=re.S | re.M)
        assert re.findall(r"`[^`]*\$\{[^{}`]*`[^`\n]*", text) == [], name
