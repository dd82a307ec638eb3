"""`convscope serve`."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator
from typing import Annotated

import typer

from convscope import __version__, machine
from convscope.cli import completing
from convscope.cli.shared import Debug, Json, OwnModel, print_json, under
from convscope.errors import BadArgument, RunError

LIMITS = "What a client may do"


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|FILE...",
            help="Run folders, and ONNX files of `export`; or NAME=PATH.",
            autocompletion=completing.runs,
        ),
    ],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 is any that is free.")] = 8000,
    workers: Annotated[int, typer.Option(help="Processes, each with its own copy.")] = 1,
    threads: Annotated[
        int | None, typer.Option(help="Threads that compute a batch; else the cores of each.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Images computed at once at most.")] = 64,
    batch_ms: Annotated[
        float, typer.Option("--batch-ms", help="Milliseconds that a batch may take.")
    ] = 200,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name by which clients know this server; repeatable."),
    ] = None,
    max_mb: Annotated[float, under(LIMITS, "--max-mb", help="Megabytes of a request.")] = 20,
    max_mp: Annotated[float, under(LIMITS, "--max-mp", help="Megapixels of an image.")] = 25,
    queue: Annotated[int, under(LIMITS, help="Requests that wait; beyond it 503.")] = 128,
    connections: Annotated[int, under(LIMITS, help="Open at once.")] = 500,
    send_seconds: Annotated[
        float, under(LIMITS, help="To send a request, or take its answer.")
    ] = 10,
    answer_seconds: Annotated[float, under(LIMITS, help="To wait for an answer.")] = 10,
    model: OwnModel = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Answer over HTTP what networks say of images, until Ctrl-C; /docs says how to ask."""
    with installed("serve"):
        from convscope.server import serving
        from convscope.server.limits import Limits
        from convscope.server.named import models_of
    machine.check_workers(workers)
    whole = {"batch": batch, "queue": queue, "connections": connections}
    whole |= {} if threads is None else {"threads": threads}
    for name, n in whole.items():
        if n < 1:
            raise BadArgument(name, n, "must be a whole number of at least 1", "leave it out")
    shares = {"batch_ms": batch_ms, "max_mb": max_mb, "max_mp": max_mp}
    shares |= {"send_seconds": send_seconds, "answer_seconds": answer_seconds}
    for name, value in shares.items():
        if not 0 < value < 1e6:
            raise BadArgument(name, value, "must be a number above 0", "leave it out")

    def say(text: str) -> None:
        typer.echo(text, err=True)

    limits = Limits(
        body=int(max_mb * 1e6),
        json_body=min(int(max_mb * 1e6), Limits.json_body),
        pixels=int(max_mp * 1e6),
        queue=queue,
        connections=connections,
        held=max(Limits.held, 2 * int(max_mb * 1e6)),
        to_send=send_seconds,
        to_answer=answer_seconds,
    )
    with serving.listening(host, port) as taken:  # a port in use is said before a long export
        service = serving.service_of(
            models_of(models, model, say),
            limits,
            hosts=(*own_names(host), *(allow_host or ())),
            batch=batch,
            bound=batch_ms / 1000,
            threads=threads,
            workers=workers,
            release=__version__,
        )
        where = serving.address(taken)
        if not is_loopback(host):
            say(f"warning: whoever reaches {host} can ask this server; it knows no passwords")
        if as_json:
            print_json({"url": where, "models": list(service.models)})
        else:
            typer.echo(f"{', '.join(service.models)} at {where}")
        with until_stopped():
            serving.serve(service, taken, workers)


@contextlib.contextmanager
def installed(verb: str) -> Iterator[None]:
    """Raise RunError, with the remedy, where what a verb imports meanwhile is not installed."""
    try:
        yield
    except ModuleNotFoundError as why:
        remedy = "install it: pip install 'convscope[serve]'"
        raise RunError(f"{verb} needs {why.name}, which is not installed; {remedy}") from None


@contextlib.contextmanager
def until_stopped() -> Iterator[None]:
    """End the program by the code of the signal that stopped what is served meanwhile."""
    try:
        yield
    except KeyboardInterrupt as why:
        raise typer.Exit(getattr(why, "exit_code", 130)) from None


def own_names(host: str) -> tuple[str, ...]:
    """The name of this machine, where others can reach it by it."""
    import socket

    return () if is_loopback(host) else (host, socket.gethostname(), socket.getfqdn())


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
