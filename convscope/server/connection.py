"""A connection of uvicorn's that bounds how long a client may take, how much of a head it may send,
and how many of its kind there are."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from convscope.server.limits import HEAD, RETRY, Limits, Refusal

LOOKS = 4  # times that a client is looked at while it may still send


class Connection(HttpToolsProtocol):
    """An HTTP/1.1 connection. A client that has not sent its request, head and body, within
    ``limits.to_send`` seconds gets a 408 and is cut off, whatever it sends meanwhile; one that
    takes longer to take its answer is cut off. Both are found out within a quarter of that.

    uvicorn bounds only how long an idle connection is kept between two requests.
    """

    def __init__(self, *given: Any, limits: Limits, **named: Any) -> None:
        super().__init__(*given, **named)
        self.limits = limits
        self.begun = self.loop.time()  # since when the client may send what is to come next
        self.unread_since: float | None = None
        self.raw = 0  # bytes of a message, those around its chunks included
        self.in_body = False
        self.looks: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless there are too many."""
        super().connection_made(transport)
        most = self.limits.connections
        if len(self.connections) > most:
            text = f"{most:,} connections are open; come again in {RETRY} s"
            self._cut(Refusal(503, "connections", text, most))
            return
        self.looks = self.loop.call_later(self.limits.to_send / LOOKS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self.looks is not None:
            self.looks.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that does not end is refused, and a body of whose bytes more than
        half say where its chunks begin is cut off."""
        self.raw += len(data)
        super().data_received(data)
        if self.raw <= HEAD or self.transport.is_closing():
            return
        if not self.in_body:
            self._cut(Refusal(431, "head", f"the head has more than {HEAD:,} bytes", HEAD))
        elif self.raw > 2 * self.limits.body + HEAD:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        """A head is there."""
        self.in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request is there, whole."""
        self.raw, self.in_body = 0, False
        self.begun = self.loop.time()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is written, and another request may come."""
        if not self.cycle.more_body:
            self.begun = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._cut(Refusal(400, "http", msg))

    @property
    def _on_client(self) -> bool:
        """Whether the next word is the client's."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def _look(self) -> None:
        """Cut off a client that has had its time."""
        now, patience = self.loop.time(), self.limits.to_send
        if not self.transport.get_write_buffer_size():
            self.unread_since = None
        elif self.unread_since is None:
            self.unread_since = now
        if self.unread_since is not None and now - self.unread_since >= patience:
            self.transport.abort()
        elif self._on_client and now - self.begun >= patience and not self.transport.is_closing():
            text = f"the request was not sent within {patience:g} s"
            self._cut(Refusal(408, "time_to_send", text, patience))
        self.looks = self.loop.call_later(patience / LOOKS, self._look)

    def _cut(self, why: Refusal) -> None:
        """Answer by this, if nothing was answered yet, and close."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            body = why.body()
            head = [STATUS_LINE[why.status], b"content-length: %d\r\n" % len(body)]
            head += [b"%b: %b\r\n" % header for header in why.headers()]
            self.transport.write(b"".join([*head, b"connection: close\r\n\r\n", body]))
        self.transport.close()
