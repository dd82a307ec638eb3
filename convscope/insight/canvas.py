"""The paper that figures are drawn on: matplotlib's, without pyplot and its state."""

from __future__ import annotations

import base64
import functools
import html
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def blank(**given: Any) -> Figure:
    """An empty matplotlib figure, which shows itself in a notebook where pyplot was never imported;
    what is given is what ``matplotlib.figure.Figure`` takes.

    >>> blank(figsize=(2, 1))._repr_html_()[:32]
    '<img src="data:image/png;base64,'
    """
    return _kind()(**given)


@functools.cache
def _kind() -> type[Figure]:
    from matplotlib.figure import Figure

    class Shown(Figure):
        def _repr_html_(self) -> str:
            file = io.BytesIO()
            self.savefig(file, format="png")
            data = base64.b64encode(file.getvalue()).decode()
            wide = round(self.get_figwidth() * 100)
            return (
                f'<img src="data:image/png;base64,{data}" style="width: {wide}px; max-width: 100%" '
                f'alt="{html.escape(_words(self))}">'
            )

    return Shown


def _words(figure: Figure) -> str:
    """What is written in a figure, as its text for those who do not see it."""
    found = [figure.get_suptitle(), *(text.get_text() for text in figure.texts)]
    for axes in figure.axes:
        label = " by ".join(filter(None, (axes.get_ylabel(), axes.get_xlabel())))
        found += [axes.get_title(loc="left"), axes.get_title(), label]
    return "; ".join(dict.fromkeys(filter(None, found))) or "figure"
