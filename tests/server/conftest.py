"""Servers for tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from quick import QUICK
from servers import Running, running

import convscope as cs
from convscope.data import sources
from convscope.data.pack import Pack
from convscope.server.limits import Limits


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with the usual limits."""
    with running(tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """What starts a server with limits of one's own; ``bytes`` and seconds as for Limits."""
    with contextlib.ExitStack() as stack:

        def started(**limits: float) -> Running:
            return stack.enter_context(running(tmp_path, Limits(**limits)))  # type: ignore[arg-type]

        yield started


@pytest.fixture(scope="session")
def run(tiny: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of bars with its ONNX file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "open_data", lambda *rest, **named: tiny)
        folder = tmp_path_factory.mktemp("runs") / "bars"
        found = cs.train("mnist", **QUICK, out=folder, threads=1).path
        cs.export(found)
    return found
