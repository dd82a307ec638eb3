"""A run of digits that was trained for a moment, as a file and as a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import screens
from photos import held
from quick import QUICK

import convscope as cs
from convscope import webpage
from convscope.api.shipping import FORMATS
from convscope.data import sources
from convscope.data.pack import Pack
from convscope.predicting.onnx_file import OnnxFile
from convscope.run import find
from convscope.shipping.page import ENGINE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESK = {"width": 1280, "height": 900}


class Shipped(NamedTuple):
    """A run, the ONNX file and the page of it, and the data that it was judged by."""

    run: Path
    file: Path
    page: Path
    pack: Pack


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    """A small network of digits, of some of MNIST's."""
    folder, mnist = tmp_path_factory.mktemp("shipped"), sources.open_data("mnist")
    splits = {
        name: (
            np.array(mnist.splits[name].main_images[:n]),
            np.array(mnist.splits[name].targets["label"][:n]),
        )
        for name, n in (("train", 6000), ("test", 500))
    }
    pack = held("mnist", mnist.classes, splits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "open_data", lambda *rest, **named: pack)
        options = {**QUICK, "widths": [8, 16], "epochs": 2, "lr": 0.004, "batch_size": 50}
        run = cs.train("mnist", **options, out=folder / "run", threads=1)
        file = cs.export(run.path, out=folder / "model.onnx").path
        page = folder / "digits.html"
        FORMATS["page"].write(find(run.path), OnnxFile.open(file), None, page)  # as export does
    return Shipped(run.path, file, page, pack)


@pytest.fixture
def opened(
    browser: Browser, shipped: Shipped, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Page]]:
    """Open a page from its file; whatever leaves it, or is complained of, fails the test."""
    contexts, asked, complaints = [], set(), []

    def opened(path: Path = shipped.page, before: str = "", **more: Any) -> Page:
        context = browser.new_context(**{"viewport": DESK, "locale": "en-GB", **more})
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.add(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.add_init_script(before)
        page.goto(path.as_uri())
        asked.discard(path.as_uri())
        return page

    yield opened
    screens.keep(contexts, request.node.name)
    assert {url.partition(":")[0] for url in asked} <= {"blob"}  # its own worker
    assert complaints == []


@pytest.fixture
def engine(browser: Browser) -> Iterator[Page]:
    """An empty page with the functions of the engine and of the answers."""
    page = browser.new_page()
    for name in (ENGINE, "web/answers.js"):
        page.add_script_tag(content=webpage.script("convscope", name))
    yield page
    page.close()
