"""What the tests of searches share: trials that train nothing."""

from __future__ import annotations

import pytest
from searches import EPOCHS, accuracy, end

from convscope.job.validate import Validated
from convscope.studies.tuning import work


@pytest.fixture
def curves(monkeypatch):
    """The learning rates of the trials, each of which is a curve and no training."""
    tried: list[float] = []

    def validated(asked, pack, place, emit):
        tried.append(asked.train.lr)
        for epoch in range(1, EPOCHS + 1):
            emit(end(epoch, accuracy(asked.train.lr, epoch)))
        return Validated(accuracy(asked.train.lr, EPOCHS), 0.01 * len(tried), EPOCHS, 10)

    monkeypatch.setattr(work, "validated", validated)
    return tried
