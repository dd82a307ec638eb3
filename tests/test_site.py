"""The documentation as a site: built strictly, in both languages, and without anything loaded from
elsewhere."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from missing import missing

import convscope as cs

ROOT = Path(__file__).parent.parent
LOADED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href|srcset)=\"?([^\"\s>]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it."""
    if any(importlib.util.find_spec(name) is None for name in ("material", "mkdocstrings")):
        missing("mkdocs-material and mkdocstrings, which the extra `docs` brings")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_nothing_is_loaded_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        for target in LOADED.findall(page.read_text(encoding="utf-8")):
            assert not re.match(r"\w*:?//", target), f"{page.name}: {target}"
            path = target.partition("#")[0].partition("?")[0]
            if path and not path.startswith(("data:", "/")):  # 404.html knows no place of its own
                assert (page.parent / path).exists(), f"{page.name}: {target}"


def test_each_page_is_in_its_language_and_leads_to_the_other(site):
    for name, language, other in (
        ("index.html", "en", "zh/index.html"),
        ("claims.html", "en", "claims.zh.html"),
        ("numbers.html", "en", "zh/index.html"),  # of which there is none in Chinese
        ("zh/train.html", "zh", "../train.html"),
        ("lessons/zh/a-first-cnn.html", "zh", "../a-first-cnn.html"),
    ):
        text = (site / name).read_text(encoding="utf-8")
        assert f'<html lang="{language}"' in text
        links = re.findall(r'<a href="([^"]+)" hreflang="(\w+)"', text)
        assert (other, "zh" if language == "en" else "en") in links, name
        shown = "中文" in re.findall(r'<nav class="md-nav md-nav--primary.*?</nav>', text, re.S)[0]
        assert not shown  # the navigation of one language alone


def test_every_public_name_is_described(site):
    pages = "".join(page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html"))
    for name in cs.__all__:
        if name != "__version__":
            assert re.search(rf'<h2 id="convscope\.[\w.]+\.{name}"', pages), name
    assert "&gt;&gt;&gt;" not in re.sub(r"<pre>.*?</pre>", "", pages, flags=re.S)
    assert ":class:`" not in pages and "<code>`" not in pages


def test_the_examples_of_its_script(site):
    website = importlib.import_module("website")
    failed, tried = doctest.testmod(website)
    assert tried > 1 and not failed
