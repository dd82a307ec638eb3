"""Serve: a socket, workers, and an end in good order."""

from __future__ import annotations

import contextlib
import copy
import errno
import functools
import os
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import uvicorn
from uvicorn.config import LOGGING_CONFIG
from uvicorn.supervisors import Multiprocess

from convscope import machine
from convscope.errors import BadArgument, Interrupted
from convscope.predicting.onnx_file import load_onnx
from convscope.server.app import Service
from convscope.server.batching import BATCH, BOUND
from convscope.server.connection import Connection
from convscope.server.limits import App, Limits
from convscope.server.metrics import SHARED

BACKLOG = 2048  # connections that wait to be accepted


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises BadArgument for a port that is in use or not ours to take, and
    a host that this machine does not have."""
    if not 0 <= port < 65_536:
        rule = "cannot be listened on: it must be from 0 to 65,535"
        raise BadArgument("port", port, rule, "try 8000, or 0 for any that is free")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        taken = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as why:
        number = why.errno or 0
        said = os.strerror(number) if number > 0 else why
        if number < 0 or number == errno.EADDRNOTAVAIL:  # below 0 are those of names
            rule = f"is no address of this machine ({said})"
            raise BadArgument("host", host, rule, "try 127.0.0.1") from None
        rule = f"cannot be listened on at {host} ({said})"
        raise BadArgument("port", port, rule, "another one, or 0 for any that is free") from None
    taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or a body waits for an ACK: 40 ms
    return taken


def address(taken: socket.socket) -> str:
    """Where a socket is reached."""
    host, port = taken.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def service_of(
    models: Mapping[str, Path],
    limits: Limits,
    *,
    hosts: Sequence[str] = (),
    batch: int = BATCH,
    bound: float = BOUND,
    threads: int | None = None,
    workers: int = 1,
    release: str = "0",
) -> Service:
    """A service of ONNX files, opened to see that all can be served. ``threads`` compute a batch,
    else as many as each of the ``workers`` has cores. Raises BadArgument."""
    if threads is None:
        threads = max(1, machine.cores() // workers)
    opener = functools.partial(load_onnx, threads=threads)
    for path in models.values():
        opener(path)
    return Service(models, opener, limits, tuple(hosts), batch, bound, page=_page, release=release)


def _page(file: Path) -> str:
    """The page of a file, which asks this server."""
    from convscope.shipping.page import page_of  # 12 MB that are not needed before

    return page_of(file, answers="server")


class Served(Protocol):
    """What can be served: its limits, and what makes its application in the process that serves."""

    @property
    def limits(self) -> Limits:
        """What a client may send."""

    def __call__(self) -> App:
        """The ASGI application."""


def config(service: Served, workers: int = 1) -> uvicorn.Config:
    """How uvicorn serves it."""
    said: dict[str, Any] = copy.deepcopy(LOGGING_CONFIG)
    said["formatters"]["default"] = {"format": "%(message)s"}
    said["loggers"] = {
        name: {"handlers": ["default"], "level": level, "propagate": False}
        for name, level in (("uvicorn", "ERROR"), ("convscope.server", "INFO"))
    }
    connection: Any = functools.partial(Connection, limits=service.limits)
    return uvicorn.Config(
        service,
        factory=True,
        http=connection,
        ws="none",
        lifespan="on",
        workers=workers,
        log_config=said,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=round(service.limits.to_send + service.limits.to_answer) + 5,
    )


def serve(service: Served, taken: socket.socket, workers: int = 1) -> None:
    """Serve on a socket until SIGINT or SIGTERM, by so many processes; what was begun by then is
    answered. Ends as the signal would have it; with several workers by Interrupted."""
    asked = config(service, workers)
    if workers == 1:
        uvicorn.Server(asked).run(sockets=[taken])
        return
    with _shared_counts():
        workplace = Multiprocess(asked, sockets=[taken])
        stopped = signal.SIGTERM

        def interrupted() -> None:
            nonlocal stopped
            stopped = signal.SIGINT
            workplace.should_exit.set()

        workplace.handle_int = interrupted  # type: ignore[method-assign]
        workplace.run()
    raise Interrupted(stopped)


@contextlib.contextmanager
def _shared_counts() -> Iterator[None]:
    """A folder in which the workers keep their counts, so that each can tell those of all."""
    with tempfile.TemporaryDirectory(prefix="convscope-metrics-") as folder:
        os.environ[SHARED] = folder
        try:
            yield
        finally:
            del os.environ[SHARED]
