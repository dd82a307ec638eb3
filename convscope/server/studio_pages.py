"""The studio's own pages: that of its tabs, and the one that waits for a network's."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from convscope import webpage

TABS = ("teach", "runs", "lab")  # from left to right
STYLES = ("page", "curves", "runs", "teach", "lab")
BACK = tuple((f"/#{tab}", f"tab.{tab}") for tab in ("teach", "runs"))  # links from other pages
ALLOWED = (  # to ask the server that the page is from, to show its images and those of the camera
    "connect-src 'self'",
    "img-src 'self' data: blob:",
    "worker-src blob:",
)


def page_of_tabs(release: str) -> str:
    """The page at ``/``: all tabs in one file, which asks for nothing but ``/api`` and images."""
    sections = "".join(f'  <section id="tab-{tab}" hidden></section>\n' for tab in TABS)
    body = _part("studio.html").replace("@sections@", sections)
    body = body.replace("@before@", webpage.links([(f"#{tab}", f"tab.{tab}") for tab in TABS]))
    return _page("convscope studio", body, "studio", STYLES, {}, release)


def waiting_page(run: Mapping[str, Any], release: str) -> str:
    """The page at ``/run/NAME/`` until that of its network is there: it has the network exported,
    tells how that goes, and why it cannot be; ``run`` is its row."""
    body = _part("waiting.html").replace("@name@", html.escape(str(run["name"])))
    body = body.replace("@before@", webpage.links(BACK))
    return _page(f"{run['name']} · convscope", body, "waiting", ("page",), {"run": run}, release)


def _part(name: str) -> str:
    return webpage.part("convscope", f"web/{name}")


def _page(
    title: str,
    body: str,
    script: str,
    styles: tuple[str, ...],
    about: Mapping[str, Any],
    release: str,
) -> str:
    """A page by the names of its parts in ``convscope/web``."""
    body += webpage.data("about", {"version": release, "words": webpage.words(), **about})
    body += f"<script>\n{webpage.script('convscope', f'web/{script}.js')}</script>\n"
    style = webpage.theme() + "".join(_part(f"{name}.css") for name in styles)
    return webpage.whole(title, style, body, scripts=True, allowed=ALLOWED)
