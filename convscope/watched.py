"""The long jobs of the public API with their progress drawn: as the command line draws it on a
terminal, one line an epoch where stderr goes elsewhere, one display that is kept up to date in a
notebook."""

from __future__ import annotations

import contextlib
import functools
import html
import importlib
import inspect
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from convscope import api, notebook
from convscope.events import Emit, EpochEnd, Event, Notice, Progress, silent
from convscope.formatting import duration
from convscope.language import told
from convscope.studies import folds
from convscope.studies import learning_curve as curves
from convscope.studies import sweep as studies
from convscope.studies import tune as tuning

P = ParamSpec("P")
R = TypeVar("R")

EVERY = 0.25  # seconds between two pictures of a notebook's display
_drawing = threading.Lock()  # held by the one job that draws


@contextlib.contextmanager
def watching(title: str) -> Iterator[Emit]:
    """What draws the progress of a job within the block; :func:`silent` where another one is drawn
    already, so that what a job calls, or another thread, does not draw over it.

    >>> with watching("Training") as outer, watching("Judging") as inner:
    ...     inner is silent, outer is silent
    (True, False)
    """
    if not _drawing.acquire(blocking=False):
        yield silent
        return
    try:
        if _in_notebook():
            page = Page(title)
            try:
                yield page
            finally:
                page.end()
        else:
            from convscope.console import Monitor

            with Monitor(results=False) as emit:
                yield emit
    finally:
        _drawing.release()


def _in_notebook() -> bool:
    """Whether this is a kernel, whose front end shows HTML."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


class Page:
    """The display of a job in a notebook: what it said, its epochs, a bar and the time left. It
    appears with the first event."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.notices: list[Notice] = []
        self.epochs: list[EpochEnd] = []
        self.at: Progress | None = None
        self.handle: Any = None
        self.drawn = -EVERY

    def __call__(self, event: Event) -> None:
        """Take one event."""
        match event:
            case Notice():
                self.notices.append(event)
            case EpochEnd():
                self.epochs.append(event)
            case Progress():
                self.at = None if event.done == event.total else event
                if time.perf_counter() - self.drawn < EVERY:
                    return
            case _:
                return
        self._show()

    def end(self) -> None:
        """Leave what was said and the epochs."""
        self.at = None
        if self.handle is not None:
            self._show()

    def _show(self) -> None:
        shown = {"text/html": self._html(), "text/plain": self.title}
        if self.handle is None:
            display = importlib.import_module("IPython.display").display
            self.handle = display(shown, raw=True, display_id=True)
        else:
            self.handle.update(shown, raw=True)
        self.drawn = time.perf_counter()

    def _html(self) -> str:
        from convscope.console import EPOCH, cells

        parts = [
            notebook.line(told(f"{'warning: ' * n.warning}{n.text}")) for n in self.notices[-20:]
        ]
        if self.epochs:
            parts.append(notebook.table([*map(told, EPOCH)], map(cells, self.epochs[-20:])))
        if self.at is not None:
            parts.append(_bar(self.at))
        return notebook.card(told(self.title), *parts)


def _bar(at: Progress) -> str:
    whole = "" if at.total is None else f" of {at.total:,}"
    left = "" if at.left is None else told(f", {duration(at.left)} left")
    share = "" if at.total is None else f' value="{at.done}" max="{at.total}"'
    text = html.escape(f"{told(at.stage)}: {told(f'{at.done:,}{whole} {at.unit}')}{left}")
    return f"<p><progress{share}></progress> {text}</p>"


DRAWN = """Progress is drawn on stderr, or in the notebook, unless ``emit`` is given: a function of
    one event, such as :func:`convscope.silent`."""


def _watched(job: Callable[P, R], title: str) -> Callable[P, R]:
    """The job, whose progress is drawn unless ``emit`` says what becomes of it."""

    @functools.wraps(job)
    def called(*given: P.args, **named: P.kwargs) -> R:
        if named.get("emit") is not None:
            return job(*given, **named)
        with watching(title) as emit:
            named["emit"] = emit
            return job(*given, **named)

    signature = inspect.signature(job)
    changed = {"emit": signature.parameters["emit"].replace(default=None)}
    parameters = {**signature.parameters, **changed}.values()
    called.__signature__ = signature.replace(parameters=list(parameters))  # type: ignore[attr-defined]
    called.__doc__ = f"{(job.__doc__ or '').rstrip()}\n\n    {DRAWN}\n    "
    return called


train = _watched(api.train, "Training")
evaluate = _watched(api.evaluate, "Judging")
explain = _watched(api.explain, "Explaining")
export = _watched(api.export, "Exporting")
predict_into = _watched(api.predict_into, "Predicting")
find_lr = _watched(api.find_lr, "Searching for a learning rate")
sweep = _watched(studies.sweep, "A sweep")
tune = _watched(tuning.tune, "A search")
cross_validate = _watched(folds.cross_validate, "Cross-validation")
learning_curve = _watched(curves.learning_curve, "A learning curve")
