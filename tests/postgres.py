"""A PostgreSQL server of a test's own, from Debian's package `postgresql`; a skip where that is not
installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from missing import missing


class Postgres:
    """A server on a socket in a folder of its own, which may be stopped and started again."""

    def __init__(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        beside = shutil.which("initdb")
        self.bin = found[-1].parent if found else Path(beside).parent if beside else None
        if self.bin is None:
            missing("PostgreSQL, which `apt install postgresql` brings")
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self.user = "postgres" if os.getuid() == 0 else None  # it refuses to be root
        if self.user:
            shutil.chown(self.folder, self.user)
        data = ("-D", str(self.folder / "data"))
        self._run("initdb", *data, "-U", "postgres", "-A", "trust", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        """As Optuna, through SQLAlchemy and psycopg, takes it."""
        return f"postgresql+psycopg://postgres@/postgres?host={self.folder}"

    def start(self) -> None:
        """Start it, or start it again, and wait until it answers."""
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off"
        self._run("pg_ctl", "-w", "-D", self.folder / "data", "-o", options, "-l",
                  self.folder / "log", "start")  # fmt: skip

    def stop(self) -> None:
        """End it at once, with all connections."""
        self._run("pg_ctl", "-w", "-D", self.folder / "data", "-m", "immediate", "stop")

    def close(self) -> None:
        """End it for good."""
        self.stop()
        shutil.rmtree(self.folder)

    def _run(self, name: str, *words: str | Path) -> None:
        assert self.bin is not None
        subprocess.run([self.bin / name, *words], user=self.user, cwd=self.folder, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
