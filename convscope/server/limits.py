"""What a client may send: limits, refusals as JSON, and the ASGI middleware that holds a request to
them while it is read."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEAD = 65_536  # bytes of a request's line and headers
KEPT = 65_536  # bytes of an unread body for the sake of which no connection is closed
LINGER = 2.0  # seconds for which the rest of a refused body is read and dropped
RETRY = 1  # seconds after which a refused client may come again
PROTOCOL = "/v2"  # paths of the Open Inference Protocol, whose errors have a form of their own
log = logging.getLogger("convscope.server")
ELSEWHERE = (b"cross-site", b"same-site")  # what browsers say of what a page of another site asks
READING = frozenset({"GET", "HEAD", "OPTIONS"})  # methods that change and compute nothing


@dataclass(frozen=True)
class Limits:
    """What is refused beyond: ``body`` bytes, ``json_body`` bytes where they are JSON, ``pixels``
    an image, ``images`` a request (parts, or N of a tensor), ``queue`` requests that wait for their
    answer, ``connections``, ``held`` bytes of all bodies together; seconds ``to_send`` a request,
    or to take its answer, and seconds ``to_answer`` it."""

    body: int = 20_000_000
    json_body: int = 4_000_000
    pixels: int = 25_000_000
    images: int = 256
    queue: int = 128
    connections: int = 500
    held: int = 256_000_000
    to_send: float = 10.0
    to_answer: float = 10.0


class Refusal(Exception):
    """A request that is not served: the status, a code for programs, a message for people, and the
    limit that was broken, if it was one."""

    def __init__(self, status: int, code: str, message: str, limit: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.limit = status, code, message, limit

    def body(self, path: str = "") -> bytes:
        """The refusal as JSON; below ``/v2`` as the Open Inference Protocol has it, whose
        ``error`` is a text.

        >>> Refusal(413, "body", "is too large", 20).body()
        b'{"error": {"code": "body", "message": "is too large", "limit": 20}}'
        >>> Refusal(404, "model", "is not here").body("/v2/models/a")
        b'{"error": "is not here", "code": "model"}'
        """
        limit = {} if self.limit is None else {"limit": self.limit}
        said: dict[str, Any] = {"code": self.code, "message": self.message, **limit}
        if path.startswith(PROTOCOL):
            said = {"error": said.pop("message"), **said}
            return json.dumps(said).encode()
        return json.dumps({"error": said}).encode()

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Those of its response, but for its length."""
        found = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        return found + [(b"retry-after", b"%d" % RETRY)] * (self.status == 503)


class Guard:
    """ASGI middleware that refuses a Host that is not ours (a page of another site whose name was
    made to point here), a POST that a page of another site makes, a body beyond the limits, and,
    while the queue is ``full``, whatever would have to wait, before its body is read.

    A Host is ours where it is an IP address, which nobody can make a name to be; ``localhost`` or
    below it; or one of ``hosts``.
    """

    def __init__(
        self,
        app: App,
        limits: Limits,
        hosts: Iterable[str],
        full: Callable[[], bool],
        count: Callable[[str, int, float], None],
    ) -> None:
        self.app, self.limits, self.full, self.count = app, limits, full, count
        self.hosts = frozenset(host.lower() for host in hosts) | {"localhost"}
        self.ours: set[bytes] = set()  # Host headers that were looked at before
        self.held = 0  # bytes of bodies that are being read or answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, its body counted, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, path = time.perf_counter(), scope["path"]
        one = _Exchange(self, receive, send)
        try:
            one.expected = _length(scope["headers"])
            self._check(scope, one.expected)
            await self.app(scope, one.receive, one.send)
        except ClientDisconnect:  # nobody is there to be answered
            pass
        except Exception as why:
            if one.status:
                raise
            if not isinstance(why, Refusal):
                log.exception("%s: the server failed", path)
                why = Refusal(500, "internal", "the server failed; its log says why")
            await one.refuse(why, path)
        finally:
            self.held -= one.came
            route = getattr(scope.get("route"), "path", "other")
            self.count(route, one.status, time.perf_counter() - began)

    def _check(self, scope: Scope, expected: int) -> None:
        """Raise Refusal for what the head of a request says."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not (hosts[0] in self.ours or self._is_ours(hosts[0])):
            text = "the Host header names no host that is served here (--allow-host adds one)"
            raise Refusal(400, "host", text)
        if sum(len(name) + len(value) for name, value in headers) > HEAD:
            raise Refusal(431, "head", f"the headers have more than {HEAD:,} bytes", HEAD)
        if scope["method"] in READING:
            return
        for name, value in headers:
            other = name == b"origin" and _place(value.partition(b"://")[2]) != _place(hosts[0])
            if other or (name == b"sec-fetch-site" and value in ELSEWHERE):
                raise other_site()
            if name == b"content-encoding" and value.lower() != b"identity":
                text = "a compressed body is not read; send it as it is"
                raise Refusal(415, "encoding", text)
        if self.limits.body < expected < 1 << 62:
            raise _too_large(self.limits)
        if self.full():
            raise busy(self.limits)

    def _is_ours(self, header: bytes) -> bool:
        name = header.decode("latin-1").lower()
        name = name[1:].partition("]")[0] if name[:1] == "[" else name.partition(":")[0]
        found = name in self.hosts or name.endswith(".localhost")
        if not found:
            with contextlib.suppress(ValueError):
                found = bool(ipaddress.ip_address(name))
        if found and len(self.ours) < 1000:
            self.ours.add(header)
        return found


class _Exchange:
    """A request and its answer. Where much of a body is still to come after the answer, the
    connection is closed."""

    def __init__(self, guard: Guard, receive: Receive, send: Send) -> None:
        self.guard, self.received, self.sent = guard, receive, send
        self.expected = self.came = 0  # bytes of the body: as far as is known, and those here
        self.status, self.closing = 0, False

    async def receive(self) -> Message:
        """What comes next, counted. Raises Refusal."""
        message = await self.received()
        if message["type"] == "http.request":
            size, limits = len(message["body"]), self.guard.limits
            self.came += size
            self.guard.held += size
            if not message["more_body"]:
                self.expected = self.came
            if self.came > limits.body:
                raise _too_large(limits)
            if self.guard.held > limits.held:
                raise Refusal(503, "memory", "too much is being sent at once", limits.held)
        return message

    async def send(self, message: Message) -> None:
        """Hand on what is answered."""
        if message["type"] == "http.response.start":
            self.status, self.closing = message["status"], self.expected - self.came > KEPT
            if self.closing:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
        elif self.closing and not message.get("more_body"):
            await self.sent({**message, "more_body": True})
            await _drop(self.received, 2 * self.guard.limits.body - self.came)
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self.sent(message)

    async def refuse(self, why: Refusal, path: str) -> None:
        """Answer by a refusal."""
        body = why.body(path)
        headers = [*why.headers(), (b"content-length", b"%d" % len(body))]
        start = {"type": "http.response.start", "status": why.status, "headers": headers}
        await self.send(start)
        await self.send({"type": "http.response.body", "body": body, "more_body": False})


def other_site() -> Refusal:
    """What a page of another site is answered with."""
    return Refusal(403, "origin", "a page of another site may not ask this server")


def busy(limits: Limits) -> Refusal:
    """What a full queue is answered with."""
    text = f"{limits.queue:,} requests wait for their answer; come again in {RETRY} s"
    return Refusal(503, "queue", text, limits.queue)


def _too_large(limits: Limits) -> Refusal:
    text = f"the body has more than {limits.body:,} bytes; send a smaller image"
    return Refusal(413, "body", text, limits.body)


def _length(headers: list[tuple[bytes, bytes]]) -> int:
    """How many bytes of body are to come; where only its end will say so, more than anybody
    sends."""
    for name, value in headers:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
        if name == b"transfer-encoding":
            return 1 << 62
    return 0


def _place(netloc: bytes) -> bytes:
    """Host and port, the port of HTTP or HTTPS left out."""
    return netloc.lower().removesuffix(b":80").removesuffix(b":443")


async def _drop(receive: Receive, most: int) -> None:
    """Read on for a moment and keep nothing: a connection that is cut while its client sends takes
    the answer with it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER):
            more = True
            while more and most > 0:
                message = await receive()
                most -= len(message.get("body", b""))
                more = message.get("more_body", False)
