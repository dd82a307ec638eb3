"""Servers of small networks, made of a few lines of NumPy, on real sockets."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import uvicorn
from PIL import Image

from convscope.errors import RunError
from convscope.evaluation.calibration import Calibration
from convscope.predicting.predictor import Predictor
from convscope.server import serving
from convscope.server.app import Service
from convscope.server.limits import Limits

SIDE = 6
CLASSES = tuple(map(str, range(256)))


class Tags:
    """A network whose answer is the value of the first pixel: a class of that number. ``sharp`` is
    how sure it is; it can be slow, and stand still while ``held``."""

    def __init__(self, sharp: float = 20.0, seconds: float = 0.0) -> None:
        self.sharp, self.seconds = sharp, seconds
        self.free = threading.Event()
        self.free.set()
        self.batches: list[int] = []
        self.thread = ""

    def __call__(self, images: np.ndarray, emit: object = None) -> np.ndarray:
        self.free.wait(20)
        time.sleep(self.seconds)
        self.batches.append(len(images))
        self.thread = threading.current_thread().name
        logits = np.zeros((len(images), len(CLASSES)), np.float32)
        logits[np.arange(len(images)), images[:, 0, 0, 0]] = self.sharp
        return logits + images.mean(axis=(1, 2, 3), dtype=np.float32)[:, None] / 1000


def predictor_of(network: Any) -> Predictor:
    return Predictor(network, CLASSES, 1, (SIDE, SIDE), "pad", Calibration())


def opened(path: Path) -> Predictor:
    """The network that a file of JSON describes; a file of something else is refused."""
    try:
        return predictor_of(Tags(**json.loads(path.read_text())))
    except (ValueError, TypeError) as why:
        raise RunError(f"{path}: is no network ({why})") from None


def image(tag: int = 7, size: tuple[int, int] = (SIDE, SIDE), form: str = "PNG") -> bytes:
    """An image file whose pixels have one value."""
    out = io.BytesIO()
    Image.new("L", size, tag).save(out, form)
    return out.getvalue()


def form(*parts: tuple[str, bytes], boundary: str = "cut") -> tuple[bytes, str]:
    """A multipart form of files by their names, and its Content-Type."""
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: image/png\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, data in parts
    )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["error"]["code"]


@dataclasses.dataclass
class Running:
    """A server in a thread of this process."""

    port: int
    server: uvicorn.Server
    network: Tags

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request on a connection of its own."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body, named)
            found = connection.getresponse()
            low = {name.lower(): value for name, value in found.getheaders()}
            return Answer(found.status, low, found.read())

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return self.ask("POST", path, body, **headers)

    def raw(self, sent: bytes, patience: float = 20) -> bytes:
        """What comes until the server closes, once these bytes are sent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=patience) as plug:
            with contextlib.suppress(OSError):
                plug.sendall(sent)
            return drained(plug)


def drained(plug: socket.socket) -> bytes:
    """What comes on a socket until it is closed."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while came := plug.recv(65536):
            found += came
    return found


@contextlib.contextmanager
def running(folder: Path, limits: Limits | None = None, **more: Any) -> Iterator[Running]:
    """A server of the model ``tags``, and of others by the names of JSON files in a folder."""
    network = Tags()
    (folder / "tags.json").write_text("{}")
    models = {"tags": folder / "tags.json"}
    models |= {path.stem: path for path in sorted(folder.glob("*.json"))}

    def opener(path: Path) -> Predictor:
        return predictor_of(network) if path.read_text() == "{}" else opened(path)

    service = Service(models, opener, limits or Limits(), **more)
    with serving.listening("127.0.0.1", 0) as taken, started(service, taken, network) as found:
        network.batches.clear()
        yield found
        network.free.set()


@contextlib.contextmanager
def started(
    service: Service, taken: socket.socket, network: Tags | None = None
) -> Iterator[Running]:
    """A server of a service, in a thread; it is ended in good order."""
    server = uvicorn.Server(serving.config(service))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        yield Running(taken.getsockname()[1], server, network or Tags())
    finally:
        if network is not None:
            network.free.set()
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
