"""The studio in a real browser: runs listed, watched, laid over each other, compared, opened."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import screens
from filelock import FileLock
from studios import copied, studio, unfinished

from convscope.evaluation import compare as comparing
from convscope.run import RunFolder

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Opened = Callable[..., "Page"]
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
GONE = "net::ERR_CONNECTION_REFUSED"  # what a browser says of a server that is away


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    return copied(trained, tmp_path / "runs")


@pytest.fixture
def opened(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Page]]:
    """Open a page of a studio; whatever is complained of, or asked of another, fails the test."""
    contexts, complaints, asked = [], [], set()

    def opened(port: int, path: str = "/#runs", **more: Any) -> Page:
        context = browser.new_context(**{"viewport": DESK, "locale": "en-GB", **more})
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.add(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}{path}")
        return page

    yield opened
    screens.keep(contexts, request.node.name)
    assert [said for said in complaints if GONE not in said] == []
    assert not [url for url in asked if not url.startswith(("http://127.0.0.1:", "blob:"))]


STROKES = (
    "[...document.querySelectorAll('.charts polyline')].map((one) => getComputedStyle(one).stroke)"
)


def names(page: Page) -> list[str]:
    page.wait_for_selector(".listing tbody tr")
    return page.locator(".listing .name > :first-child").all_inner_texts()


def line(page: Page, name: str) -> Any:
    return page.locator(".listing tbody tr").filter(has_text=re.compile(rf"^\W*\w?\W*{name}"))


def told(page: Page) -> list[list[str]]:
    """What is told of the curves, a row a run."""
    rows = page.locator(".told tbody tr").all()
    return [row.locator("th, td").all_inner_texts() for row in rows]


def told_of(rows: list[dict[str, Any]], epoch: int) -> list[str]:
    row = rows[epoch - 1]
    shares = [f"{100 * row[f'{split}_accuracy']:.2f}%" for split in ("train", "val")]
    return [str(epoch), *shares, *(f"{row[f'{split}_loss']:.4f}" for split in ("train", "val"))]


def choose(page: Page, name: str) -> None:
    page.get_by_label(f"Show the curves of {name}", exact=True).click()


def test_runs_are_listed_sorted_and_filtered(root: Path, opened: Opened) -> None:
    (root / "a/metrics.json").write_text("{")
    said = json.loads((root / "more/b/metrics.json").read_text())
    low, high = said["accuracy_ci95"]
    with studio(root) as served:
        page = opened(served.port)
        assert set(names(page)) == {"a", "more/b"}
        good = line(page, "more/b").inner_text()
        assert f"{100 * said['accuracy']:.1f}%" in good and "finished" in good
        assert f"{100 * low:.1f} – {100 * high:.1f}" in good
        page.get_by_role("button", name="Run", exact=True).click()
        assert names(page) == ["a", "more/b"]
        page.get_by_role("button", name="Run", exact=True).click()
        assert names(page) == ["more/b", "a"]
        page.get_by_role("button", name="Test accuracy").click()
        assert names(page) == ["more/b", "a"]  # what has none comes last
        head = page.locator(".listing th[data-key=accuracy]")
        assert head.get_attribute("aria-sort") == "descending"
        spoilt = line(page, "a")
        assert "damaged" in spoilt.inner_text() and "metrics.json" in spoilt.inner_text()
        spoilt.locator("summary").click()
        assert "metrics.json: is damaged" in spoilt.inner_text()
        recipe = (root / "a/recipe.toml").read_text()
        (root / "a/recipe.toml").write_text(recipe.replace('name = "mnist"', 'name = "x/pets"'))
        page.wait_for_selector(".filter")
        page.get_by_label("Data", exact=True).select_option("pets")
        assert names(page) == ["a"] and page.locator("h2", has_text="1 run in").count()


def test_values_are_told_under_pointer_and_keys(root: Path, opened: Opened) -> None:
    rows = {name: RunFolder(root / name).read_history() for name in ("a", "more/b")}
    with studio(root) as served:
        page = opened(served.port, "/#runs?run=a")
        page.wait_for_selector(".curves polyline")
        assert told(page) == [["a", *told_of(rows["a"], 3)]]  # the last epoch
        chart = page.get_by_role("slider", name="Accuracy")
        box = chart.bounding_box()
        page.mouse.move(box["x"] + 60, box["y"] + 60)
        assert told(page) == [["a", *told_of(rows["a"], 1)]]
        assert page.locator(".curves .mark").count() == 2  # in both charts
        page.mouse.move(0, 0)
        assert told(page) == [["a", *told_of(rows["a"], 3)]]
        chart.focus()
        page.keyboard.press("ArrowLeft")
        assert told(page) == [["a", *told_of(rows["a"], 2)]]
        assert "a, epoch 2: training" in chart.get_attribute("aria-valuetext")
        colours = page.evaluate(STROKES)
        assert len(set(colours)) == 2  # training is orange and validation blue
        choose(page, "more/b")
        page.wait_for_function("() => document.querySelectorAll('.told tbody tr').length === 2")
        page.wait_for_function("() => document.querySelectorAll('.charts polyline').length === 8")
        several = page.evaluate(STROKES)
        assert several[0] == several[1] != several[2] == several[3]  # a hue a run
        assert several[:4] == several[4:] and not set(several) & set(colours)
        badges = page.evaluate(
            "[...document.querySelectorAll('.listing tr.on .badge')]"
            ".map((one) => getComputedStyle(one).backgroundColor)"
        )
        assert set(badges) == set(several)  # the same hue there
        along = page.get_by_role("button", name="Time", exact=True)
        along.click()
        ticks = page.locator(".charts .tick").all_text_contents()
        assert any(tick.endswith(" s") for tick in ticks)
        page.reload()
        page.wait_for_function("() => document.querySelectorAll('.told tbody tr').length === 2")
        assert (
            page.get_by_role("button", name="Time", exact=True).get_attribute("aria-pressed")
            == "true"
        )


def test_two_are_compared_in_words(root: Path, opened: Opened) -> None:
    found = comparing.compare(*(comparing.read(RunFolder(root / name)) for name in ("a", "more/b")))
    with studio(root) as served:
        page = opened(served.port, "/#runs?run=a")
        page.wait_for_selector(".compared >> text=Choose a second run")
        choose(page, "more/b")
        page.wait_for_selector(".verdict")
        low, high = (f"{100 * abs(end):.2f}" for end in found.difference_ci95)
        verdict = page.locator(".verdict").inner_text()
        assert low in verdict and high in verdict and "95 % interval" in verdict
        start = {"a": "A is right more", "b": "B is right more", "none": "No difference is"}
        assert verdict.startswith(start[found.finding])
        cells = page.locator(".sides td").all_inner_texts()[1:]
        assert cells == [str(found.counts[i]) for i in (0, 1, 2, 3)]
        assert "another seed of a recipe" in page.locator(".compared").inner_text()
        page.click("#language")
        assert "置信区间" in page.locator(".verdict").inner_text()
        (root / "a/predictions.csv").write_text("")
        page.reload()
        page.wait_for_selector("text=已损坏")
        assert "两次训练都完成后才能比较" in page.locator(".compared").inner_text()


def test_a_run_that_another_trains_goes_on_under_ones_eyes(root: Path, opened: Opened) -> None:
    rows = RunFolder(root / "a").read_history()
    place = RunFolder(unfinished(root / "a", 1))
    with studio(root) as served, FileLock(place.lock):
        page = opened(served.port)
        page.wait_for_selector("text=epoch 1 of 3")  # chosen by itself
        assert told(page) == [["a", *told_of(rows, 1)]]
        place.write_history(rows[:2])
        page.wait_for_selector("text=epoch 2 of 3")
        page.wait_for_function("() => document.querySelector('.told td').textContent === '2'")
        assert told(page) == [["a", *told_of(rows, 2)]]


def test_a_server_that_goes_away_is_said_and_is_gone_on_with(root: Path, opened: Opened) -> None:
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(studio(root))
        port = served.port
        page = opened(port)
        page.wait_for_selector(".listing tbody tr")
        stack.close()
        page.wait_for_selector(".warning >> text=The studio's server does not answer")
        assert set(names(page)) == {"a", "more/b"} and "goes on by itself" in page.content()
        (root / "a/metrics.json").write_text("{")
        stack.enter_context(studio(root, port))
        page.wait_for_selector(".listing >> text=damaged")
        assert not page.locator(".warning").is_visible()


def test_the_page_of_a_network_is_exported_and_leads_back(trained: Path, opened: Opened) -> None:
    """By `convscope export` itself, in a process of its own."""
    with studio(trained) as served:
        page = opened(served.port)
        page.get_by_role("link", name="a", exact=True).click()
        page.wait_for_selector("#bar")
        page.wait_for_selector("#bars", timeout=120_000)
        assert page.url.endswith("/run/a/")
        links = page.locator("#tabs a").all_inner_texts()
        assert links[:2] == ["Teach", "Runs"] and links[-2:] == ["Report", "Layers"]
        page.get_by_role("link", name="Report").click()
        page.wait_for_url("**/run/a/report.html")
        page.go_back()
        page.get_by_role("link", name="Runs").click()
        assert page.url.endswith("/#runs") and set(names(page)) == {"a", "more/b"}


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_on_a_phone_runs_are_cards(root: Path, opened: Opened, locale: str) -> None:
    (root / "a/model.json").write_text("{")
    with studio(root) as served:
        page = opened(served.port, "/#runs?run=a&run=more/b", viewport=PHONE, locale=locale)
        page.wait_for_selector(".listing tbody tr")
        page.wait_for_selector(".told tbody tr")
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert not page.locator(".listing thead button").first.is_visible() or (
            page.locator(".listing thead").bounding_box()["width"] <= 1
        )
        page.locator(".order select").select_option("name")
        assert names(page) == ["a", "more/b"]
        if locale == "zh-CN":
            page.set_viewport_size(DESK)  # where nothing is left out
            text = page.evaluate("document.body.innerText")
            known = {"a", "b", "c", "A", "B", "more", "mnist", "cnn", "convscope", "CONVSCOPE"}
            known |= {"English", "model", "json", "v"}
            root_words = set(re.findall("[A-Za-z]+", str(root)))
            assert set(re.findall("[A-Za-z]+", text)) <= known | root_words
