"""What a test needs and is not there: a failure where CI=true, elsewhere a skip that says so; of
data a skip where CONVSCOPE_TEST_DATA=none, too."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """End the test, and say what is not there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"there is no {what}")
    pytest.skip(f"there is no {what}")


def needed(path: Path | None, what: str) -> Path:
    """A folder of data, if it is there. CI says so where it has none."""
    if os.environ.get("CONVSCOPE_TEST_DATA") == "none":
        pytest.skip(f"there is no {what}")
    return path if path and path.is_dir() else missing(what)


def chromium() -> str:
    """The browser that pages are opened in."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    return found or missing("chromium, which `apt install chromium` brings, to open pages in")
