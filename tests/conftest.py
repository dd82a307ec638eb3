"""What every test may use: a cache of its own for the session, and small packs and runs that train
in a moment."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from missing import chromium, missing
from postgres import Postgres

if "PYTEST_XDIST_WORKER" in os.environ:
    from workers import own_cores

    own_cores()
os.environ.setdefault("CONVSCOPE_KERNELS", "strict")  # an error in a kernel is no missing compiler
os.environ["CONVSCOPE_LANG"] = "en"  # whatever the locale

from convscope.data import pack_writer, sources
from convscope.data.pack import Pack

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(autouse=True)
def small_images_are_no_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of folders train small networks, not what few images in colour begin from."""
    monkeypatch.setattr("convscope.job.preflight.SMALL", 0)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder that no test shares with the user; subprocesses find it too. Processes that
    share the tests have one each, in which compiled kernels alone are those of all."""
    folder = tmp_path_factory.mktemp("cache")
    if "PYTEST_XDIST_WORKER" in os.environ and os.name == "posix":
        kernels = tmp_path_factory.getbasetemp().parent / "kernels"
        kernels.mkdir(exist_ok=True)
        (folder / "kernels").symlink_to(kernels)
    before = os.environ.get("CONVSCOPE_CACHE")
    os.environ["CONVSCOPE_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["CONVSCOPE_CACHE"]
    else:
        os.environ["CONVSCOPE_CACHE"] = before


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Three classes of 12 x 12 bars, learnt in a moment: 240 training and 60 test images."""
    random = np.random.default_rng(0)

    def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(n, dtype=np.int64) % 3
        images = random.integers(0, 60, (n, 1, 12, 12), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            at = random.integers(3, 8)
            if label == 0:
                image[0, at : at + 2] = 220
            elif label == 1:
                image[0, :, at : at + 2] = 220
            else:
                image[0, at : at + 3, at : at + 3] = 220
        return images, labels

    folder = tmp_path_factory.mktemp("packs") / "bars"
    splits = {"train": drawn(240), "test": drawn(60)}
    return pack_writer.write_pack(
        folder, "mnist", ("flat", "upright", "spot"), splits, "drawn by the tests"
    )


@pytest.fixture(scope="session")
def trained(tiny: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs of bars, ``a`` and ``more/b``, to be looked at or copied."""
    from studios import two_runs

    return two_runs(tmp_path_factory.mktemp("trained") / "runs", tiny)


@pytest.fixture
def bars(tiny: Pack, monkeypatch: pytest.MonkeyPatch, workplace: Path) -> Pack:
    """The tiny pack in the place of every data set, in an empty working folder."""

    def opened(name: str, *rest: object, **named: object) -> Pack:
        return tiny

    monkeypatch.setattr(sources, "open_data", opened)
    return tiny


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, started once for a file of tests; without it a skip, with CI=true a failure."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright, which the extra `test` brings")
    place = chromium()
    with sync_playwright() as playwright:
        # a container has no user namespaces for chromium's own sandbox
        started = playwright.chromium.launch(executable_path=place, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, started once; without it a skip, with CI=true a failure."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """benchmarks/, as Python sees it when one of its scripts is run."""
    folder = Path(__file__).resolve().parent.parent / "benchmarks"
    for path in (folder, folder / "peers"):  # a peer first: both have a system_a
        monkeypatch.syspath_prepend(str(path))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def events() -> tuple[list[object], Callable[[object], None]]:
    """A list, and the function that fills it with events."""
    seen: list[object] = []
    return seen, seen.append


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of a device written in Python come first: PyTorch's way back makes a queue for
    each device that there is when it is first used in a process, and none later."""
    items.sort(key=lambda item: item.path.name != "test_accelerator.py")
