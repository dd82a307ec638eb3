"""Screenshots of what tests of pages see last, for people to look at."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext


def keep(contexts: Iterable[BrowserContext], test: str) -> None:
    """Write the pages of a test into the folder CONVSCOPE_SCREENSHOTS, if one is named, and close
    them."""
    folder, name = os.environ.get("CONVSCOPE_SCREENSHOTS"), re.sub(r"[^\w.-]+", "-", test)
    for n, context in enumerate(contexts):
        for page in context.pages if folder else ():
            page.screenshot(path=Path(folder or "") / f"{name}-{n}.png", full_page=True)
        context.close()
