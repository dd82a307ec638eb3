"""The command line, run in this process."""

from __future__ import annotations

import signal
import sys

import pytest

from convscope import cli


class Said:
    """What a command left behind."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys, monkeypatch):
    """Run the command line in this process: one import of torch for all."""

    def call(*args: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["convscope", *map(str, args)])
        before = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as left:
                cli.main()
        finally:
            signal.signal(signal.SIGTERM, before)
        out, err = capsys.readouterr()
        return Said(left.value.code or 0, out, err)

    return call
