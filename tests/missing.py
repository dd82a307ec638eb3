"""What a test needs and is not there: a failure where CI=true, elsewhere a skip that says so."""

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
    """A folder, if it is there."""
    return path if path and path.is_dir() else missing(what)


def chromium() -> str:
    """The browser that pages are opened in."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    return found or missing("chromium, which `apt install chromium` brings, to open pages in")
