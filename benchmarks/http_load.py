"""Load for an HTTP server, cheap enough to share two cores with it: raw HTTP/1.1 over asyncio.

A request is bytes that are made beforehand; of an answer only the status and the length are read.
`closed` keeps so many clients busy, each with its next request once it has its answer; `opened`
sends so many requests a second, whether the server keeps up or not.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Check = Callable[[int, bytes, int, bytes], None]  # number of a request, it, status, body


def request(
    path: str, body: bytes = b"", method: str = "POST", host: str = "localhost", **headers: str
) -> bytes:
    """The bytes of a request; `content_type="image/png"` is a header Content-Type."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Load:
    """What came of a load: seconds each answer took, by status; 0 is a connection that was
    lost."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    lasted: float = 0.0

    def add(self, status: int, seconds: float) -> None:
        self.seconds.setdefault(status, []).append(seconds)

    def rate(self, status: int = 200) -> float:
        """Answers of a status a second."""
        return len(self.seconds.get(status, ())) / self.lasted

    def percentile(self, share: float, status: int = 200) -> float:
        """Seconds within which such a share of the answers of a status came."""
        found = sorted(self.seconds.get(status, ()))
        return found[min(len(found) - 1, int(share * len(found)))] if found else float("nan")

    @property
    def counts(self) -> Counter[int]:
        return Counter({status: len(found) for status, found in self.seconds.items()})

    def as_json(self) -> dict[str, Any]:
        """Counts, rate and percentiles."""
        return {
            "answers": {str(status): n for status, n in sorted(self.counts.items())},
            "per_second": round(self.rate(), 1),
            "milliseconds": {
                str(status): {
                    name: round(1000 * self.percentile(share, status), 2)
                    for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
                }
                for status in sorted(self.seconds)
            },
        }


class Client(asyncio.Protocol):
    """A connection that sends one request after the other."""

    def __init__(self, done: Callable[[Client, int, bytes], None]) -> None:
        self.done = done
        self.transport: Any = None
        self.buffer = b""
        self.waits = False
        self.number, self.asked, self.began = 0, b"", 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.waits:
            self.waits = False
            self.done(self, 0, b"")

    def send(self, number: int, asked: bytes) -> None:
        self.number, self.asked, self.began, self.waits = number, asked, time.perf_counter(), True
        self.transport.write(asked)

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer = self.buffer + data if self.buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        at = buffer.find(b"content-length: ", 0, end)
        length = int(buffer[at + 16 : buffer.find(b"\r", at)]) if at >= 0 else 0
        if len(buffer) < end + 4 + length:
            return
        self.buffer, self.waits = b"", False
        if buffer.find(b"connection: close", 0, end) >= 0:
            self.transport.close()
        self.done(self, int(buffer[9:12]), buffer[end + 4 : end + 4 + length])


async def closed(
    port: int,
    made: Callable[[int], bytes],
    clients: int,
    *,
    count: int | None = None,
    seconds: float | None = None,
    check: Check | None = None,
) -> Load:
    """So many clients, until `count` requests were answered or `seconds` are over; request number
    n is `made(n)`."""
    loop, load = asyncio.get_running_loop(), Load()
    sent = answered = 0
    over = loop.create_future()
    began = time.perf_counter()
    end = None if seconds is None else began + seconds
    lost: list[Client] = []
    again = asyncio.Event()

    def next_of(client: Client) -> None:
        nonlocal sent
        if (count is not None and sent >= count) or (end and time.perf_counter() >= end):
            if answered == sent and not over.done():
                over.set_result(None)
            return
        if client.transport is None or client.transport.is_closing():
            lost.append(client)
            again.set()
            return
        client.send(sent, made(sent))
        sent += 1

    def done(client: Client, status: int, body: bytes) -> None:
        nonlocal answered
        answered += 1
        load.add(status, time.perf_counter() - client.began)
        if check is not None:
            check(client.number, client.asked, status, body)
        next_of(client)

    async def connect() -> Client:
        return (await loop.create_connection(lambda: Client(done), "127.0.0.1", port))[1]

    async def reconnect() -> None:
        while True:
            await again.wait()
            again.clear()
            while lost:
                lost.pop()
                next_of(await connect())

    everyone = [await connect() for _ in range(clients)]
    began = time.perf_counter()
    end = None if seconds is None else began + seconds
    back = asyncio.create_task(reconnect())
    for client in everyone:
        next_of(client)
    await over
    load.lasted = time.perf_counter() - began
    back.cancel()
    for client in everyone:
        if client.transport is not None:
            client.transport.abort()
    return load


async def opened(
    port: int, made: Callable[[int], bytes], rate: float, seconds: float, most: int = 400
) -> Load:
    """So many requests a second, evenly, on at most `most` connections; what finds none that is
    free is not sent, and counted as the status -1."""
    loop, load = asyncio.get_running_loop(), Load()
    free: list[Client] = []
    waiting = 0

    def done(client: Client, status: int, body: bytes) -> None:
        nonlocal waiting
        waiting -= 1
        load.add(status, time.perf_counter() - client.began)
        if client.transport is not None and not client.transport.is_closing():
            free.append(client)
        else:
            loop.create_task(more())

    async def more() -> None:
        free.append((await loop.create_connection(lambda: Client(done), "127.0.0.1", port))[1])

    for _ in range(most):
        await more()
    began, sent = time.perf_counter(), 0
    while (now := time.perf_counter() - began) < seconds:
        while sent < now * rate:
            client = free.pop() if free else None
            if client is None or client.transport is None:
                load.add(-1, 0.0)
            else:
                waiting += 1
                client.send(sent, made(sent))
            sent += 1
        await asyncio.sleep(0.001)
    load.lasted = time.perf_counter() - began
    for _ in range(100):
        if not waiting:
            break
        await asyncio.sleep(0.1)
    for client in free:
        if client.transport is not None:
            client.transport.abort()
    return load
