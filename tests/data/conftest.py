"""Where tests find real data, and batches."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from batches import drawn
from missing import needed

from convscope.data import published_source


def from_environment(variable: str) -> Path | None:
    """The first folder that a variable names."""
    named = os.environ.get(variable, "").split(os.pathsep)[0]
    return Path(named) if named else None


@pytest.fixture(scope="session")
def test_images() -> Path:
    """A folder that holds ``pngsuite/``, ``exif-orientation/`` and ``pillow/``."""
    return needed(from_environment("CONVSCOPE_TEST_IMAGES"), "the folder CONVSCOPE_TEST_IMAGES")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """A folder with data sets as their publishers lay them out."""
    return needed(from_environment("CONVSCOPE_DATA"), "the folder CONVSCOPE_DATA")


@pytest.fixture(scope="session")
def published(data_root: Path) -> Callable[[str], Path]:
    """The folder of one data set under ``data_root``, by its layout."""
    return lambda layout: needed(data_root / layout, f"{layout} under CONVSCOPE_DATA")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Many small steps are done sooner by one thread than by several that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def images() -> torch.Tensor:
    return drawn(50, 3, 9, 11)


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bare(tmp_path, monkeypatch) -> Path:
    """A machine without data: an empty cache, an empty root, no Debian package."""
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CONVSCOPE_DATA", str(root))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(published_source, "DEBIAN", tmp_path / "debian")
    return root
