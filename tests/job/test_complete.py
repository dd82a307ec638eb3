"""The end of a job: what fails once a run is judged is said, and fails nothing."""

from __future__ import annotations

from listening import warnings_in
from quick import QUICK

import convscope as cs
from convscope import report


def test_a_page_that_fails_is_a_notice(bars, monkeypatch, events):
    def failing(*rest, **named):
        raise MemoryError

    monkeypatch.setattr(report, "write_card", failing)
    seen, emit = events
    run = cs.train("mnist", **QUICK, out="a", look=False, emit=emit)
    assert warnings_in(seen) == ["a: the model card could not be made: MemoryError"]
    assert run.metrics.n == 60 and run.report.exists()
