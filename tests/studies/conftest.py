"""What the tests of studies share."""

from __future__ import annotations

import pytest

from convscope import api


@pytest.fixture
def counted(monkeypatch):
    """The runs that are trained, by the names of their folders."""
    trained: list[str] = []
    train = api.train

    def counting(**options):
        trained.append(options["out"].name)
        return train(**options)

    monkeypatch.setattr(api, "train", counting)
    return trained
