"""A store of files over HTTP on a real socket that can fail, cut off, slow down and lie."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

Fault = Callable[[bytes], bytes | int | float]  # other bytes, a status, or seconds to wait


@dataclass
class Served:
    """The store: its ``url``, how often each file was asked for, and ``fault``, by name, of which
    the first that is left is what the next request gets."""

    url: str
    asked: dict[str, int] = field(default_factory=dict)
    fault: dict[str, list[Fault]] = field(default_factory=dict)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Served]:
    """A folder as such a store."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            store.asked[name] = store.asked.get(name, 0) + 1
            path = folder / name
            content = path.read_bytes() if path.is_file() else None
            found: bytes | int | float = 404 if content is None else content
            if content is not None and store.fault.get(name):
                found = store.fault[name].pop(0)(content)
            if isinstance(found, float):
                time.sleep(found)
                found = content or b""
            if isinstance(found, int):
                self.send_error(found)
                return
            self.send_response(200)
            cut = content is not None and found == content[: len(found)]
            self.send_header("Content-Length", str(len(content if cut and content else found)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(found)
            self.close_connection = True

        def log_message(self, *rest: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    store = Served(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
