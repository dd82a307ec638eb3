"""The page of a summary, and what a notebook shows."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
import torch
from torch import Tensor, nn

from convscope.insight.anatomy import summarise
from convscope.models import build


class Page(HTMLParser):
    """Ids, links, and that every tag is closed."""

    VOID = ("meta", "br", "path", "circle", "polygon")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


class Marked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.add_module("<script>", nn.Linear(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, "<script>")(x)


def test_the_page_is_one_file_that_loads_nothing() -> None:
    found = summarise(build("inception", 10, 1, (28, 28)), (1, 28, 28), name="inception")
    text = found.html()
    page = Page(text)
    assert "default-src 'none'" in text and "script" not in page.tags and "link" not in page.tags
    assert "url(" not in text and "@import" not in text
    assert set(re.findall(r"https?://[^\"'\s]+", text)) == {"http://www.w3.org/2000/svg"}
    assert len(page.ids) == len(set(page.ids)) == len(found.rows)
    assert page.links and {link[1:] for link in page.links} <= set(page.ids)
    for said in ("97,298", "6,019,200", "16 + 24 + 24 + 24 = 88", "24*12*12 * 16*5*5", "14x14"):
        assert said in text
    assert text == found.html()


def test_names_are_escaped() -> None:
    text = summarise(Marked(), (2,), name="<b>").html()
    assert "<script>" not in text and "<b>" not in text and "&lt;script&gt;" in text
    Page(text)


def test_in_a_notebook() -> None:
    one = summarise(build("cnn", 10, 1, (28, 28)), (1, 28, 28), name="cnn")._repr_html_()
    two = summarise(build("resnet", 10, 1, (28, 28)), (1, 28, 28), name="resnet")._repr_html_()
    pages = Page(one), Page(two)
    assert not set(pages[0].ids) & set(pages[1].ids)
    assert "<html" not in one and "color-scheme" not in one  # it takes the notebook's own colours
    style = re.findall(r"<style>(.*?)</style>", one, re.S)
    rules = [line for text in style for line in re.findall(r"^([^\s@}][^{\n]*){", text, re.M)]
    assert rules and all(re.match(r"\.(summary|net)\b", rule) for rule in rules)


def test_what_is_not_known_is_said() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = torch.fft.fft2(x).abs()
            return x if x.sum() > 0 else -x

    text = summarise(Odd(), (1, 4, 4)).html()
    assert "at least 0" in text and "no counting rule for _fft_c2c" in text and "unknown" in text
    assert "The path depends on the values of the input (Odd, bool)" in text
    failed = summarise(nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 1)), (2,)).html()
    assert 'role="alert">Sequential fails in 1 (Linear), in linear, where [1,3] and [1,4] met' in (
        failed
    )


@pytest.mark.parametrize("name", ["mlp", "densenet"])
def test_pages_are_well_formed(name: str) -> None:
    Page(summarise(build(name, 10, 1, (28, 28)), (1, 28, 28)).html())
