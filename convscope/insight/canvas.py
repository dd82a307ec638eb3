"""The paper that figures are drawn on: matplotlib's, without pyplot and its state."""

from __future__ import annotations

import contextlib
import functools
import html
import importlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any

from convscope import webpage

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@functools.cache
def matplotlib() -> Any:
    """matplotlib, imported: the one place where it is, whatever ``MPLBACKEND`` says.

    A backend is for windows and notebooks, which no figure here needs; one that matplotlib does not
    know, such as a notebook's in a process that it started, would fail the import. It is then left
    out; one that matplotlib knows stays, for the notebook's own figures.

    >>> matplotlib().ticker.PercentFormatter(1).format_pct(0.5, 1)
    '50%'
    """
    if "matplotlib" not in sys.modules:
        backend = os.environ.pop("MPLBACKEND", None)
        try:
            made = importlib.import_module("matplotlib")
        finally:
            if backend is not None:
                os.environ["MPLBACKEND"] = backend
        if backend:
            with contextlib.suppress(ValueError):  # it is not known here
                made.rcParams["backend"] = backend
    for name in ("backends.backend_agg", "figure", "patches", "ticker"):
        importlib.import_module(f"matplotlib.{name}")
    return importlib.import_module("matplotlib")


def blank(**given: Any) -> Figure:
    """An empty matplotlib figure, which shows itself in a notebook where pyplot was never imported;
    what is given is what ``matplotlib.figure.Figure`` takes.

    >>> blank(figsize=(2, 1))._repr_html_()[:32]
    '<img src="data:image/png;base64,'
    """
    return _kind()(**given)


@functools.cache
def _kind() -> type[Figure]:
    kind: Any = matplotlib().figure.Figure

    class Shown(kind):  # type: ignore[misc]
        def _repr_html_(self) -> str:
            file = io.BytesIO()
            self.savefig(file, format="png")
            wide = round(self.get_figwidth() * 100)
            return (
                f'<img src="{webpage.png(file.getvalue())}" style="width: {wide}px; '
                f'max-width: 100%" alt="{html.escape(_words(self))}">'
            )

    return Shown


def _words(figure: Figure) -> str:
    """What is written in a figure, as its text for those who do not see it."""
    found = [figure.get_suptitle(), *(text.get_text() for text in figure.texts)]
    for axes in figure.axes:
        label = " by ".join(filter(None, (axes.get_ylabel(), axes.get_xlabel())))
        found += [axes.get_title(loc="left"), axes.get_title(), label]
    return "; ".join(dict.fromkeys(filter(None, found))) or "figure"
