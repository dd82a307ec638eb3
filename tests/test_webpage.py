"""Pages that lead to each other."""

from __future__ import annotations

import re
from pathlib import Path

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
