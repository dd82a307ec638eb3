"""`convscope serve` as a process of its own: what it says, how it ends, and that its answers are
those of `convscope predict`."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from missing import needed
from PIL import Image
from quick import convscope, python
from servers import Tags, image, running

from convscope.cli import serving as serving_cli
from convscope.errors import BadArgument, ImageError
from convscope.predicting.onnx_file import load_onnx
from convscope.server import serving
from convscope.server.batching import BATCH, BOUND
from convscope.server.limits import Limits
from convscope.server.named import models_of


class Process:
    """A server, once it has said where it is."""

    def __init__(self, *words: str) -> None:
        self.process = convscope("serve", *words, "--port", "0", "--json")
        lines = []
        while (line := self.process.stdout.readline()) and line != "}\n":
            lines.append(line)
        self.said = json.loads("".join([*lines, "}"])) if lines else {}
        self.port = int(self.said["url"].rpartition(":")[2]) if lines else 0

    def ask(self, path: str, body: bytes | None = None) -> Any:
        deadline = time.monotonic() + 30
        while True:  # several workers listen before they answer
            try:
                with urlopened(f"http://127.0.0.1:{self.port}{path}", body) as found:
                    return json.loads(found.read())
            except ConnectionError:
                if time.monotonic() > deadline:
                    raise

    def end(self, signum: int) -> tuple[int, str]:
        self.process.send_signal(signum)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


def urlopened(url: str, body: bytes | None) -> Any:
    import urllib.request

    return urllib.request.urlopen(urllib.request.Request(url, body), timeout=30)


@contextlib.contextmanager
def serving_process(*words: str) -> Iterator[Process]:
    found = Process(*words)
    try:
        yield found
    finally:
        if found.process.poll() is None:
            found.process.kill()
        found.process.communicate()


def picture(seed: int = 0) -> bytes:
    import io

    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12), np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def test_a_run_is_served_and_ends_in_good_order(run):
    with serving_process(str(run)) as server:
        assert server.said["models"] == ["bars"]
        found = server.ask("/predict?top=3", picture())
        [one] = load_onnx(run / "model.onnx").predict([picture()], top_k=3)
        assert [top["label"] for top in found["top"]] == [label for label, _ in one.top]
        assert [top["p"] for top in found["top"]] == pytest.approx([p for _, p in one.top])
        assert (found["unsure"], found["ood"]) == (one.unsure, one.ood)
        with urlopened(f"{server.said['url']}/", None) as page:
            assert b"<!doctype html>" in page.read()[:20]
        code, errors = server.end(signal.SIGTERM)
    assert code == 143 and errors == ""


def test_several_workers_count_together(run):
    with serving_process(str(run / "model.onnx"), "--workers", "2") as server:
        for _ in range(6):
            server.ask("/predict", picture())
        with urlopened(f"{server.said['url']}/metrics", None) as found:
            text = found.read().decode()
        assert 'convscope_requests_total{route="/predict",status="200"} 6.0' in text
        code, errors = server.end(signal.SIGINT)
    assert code == 130 and errors == ""


NO_TORCH = """
import sys, threading, time, urllib.request
from convscope.cli import main
from convscope.server import serving

def asked(service, taken, workers):
    import uvicorn
    server = uvicorn.Server(serving.config(service))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    picture = open(PICTURE, "rb").read()
    ask = urllib.request.Request(serving.address(taken) + "/predict", picture)
    assert b'"label"' in urllib.request.urlopen(ask).read()
    assert b"<html" in urllib.request.urlopen(serving.address(taken) + "/").read()
    server.should_exit = True
    thread.join()
    heavy = {"torch", "matplotlib", "numba", "onnxscript"} & set(sys.modules)
    print("loaded:", sorted(heavy))

serving.serve = asked
sys.argv = ["convscope", "serve", sys.argv[1], "--port", "0"]
main()
"""


def test_the_server_needs_no_torch(run, tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    code = NO_TORCH.replace("PICTURE", repr(str(tmp_path / "a.png")))
    said, errors = python(code, run).communicate(timeout=60)
    assert "loaded: []" in said, errors


def test_what_was_begun_is_answered_before_the_end(tmp_path):
    answers: list[Any] = []
    with running(tmp_path) as server:
        server.network.free.clear()
        asking = [
            threading.Thread(target=lambda n=n: answers.append(server.post("/predict", image(n))))
            for n in range(50)
        ]
        for thread in asking:
            thread.start()
        deadline = time.monotonic() + 20
        while "convscope_waiting 50.0" not in server.ask("GET", "/metrics").body.decode():
            assert time.monotonic() < deadline
        server.server.should_exit = True
        time.sleep(0.3)
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), timeout=1)
        server.network.free.set()
        for thread in asking:
            thread.join()
    assert sorted(int(one.json["top"][0]["label"]) for one in answers) == list(range(50))


def test_the_command_line_has_the_defaults_of_the_service():
    """Which it cannot read there: they need what only the server needs."""
    given = {
        name: one.default for name, one in inspect.signature(serving_cli.serve).parameters.items()
    }
    assert (given["batch"], given["batch_ms"] / 1000) == (BATCH, BOUND)
    limits = Limits(
        body=int(given["max_mb"] * 1e6),
        pixels=int(given["max_mp"] * 1e6),
        queue=given["queue"],
        connections=given["connections"],
        to_send=given["send_seconds"],
        to_answer=given["answer_seconds"],
    )
    assert limits == Limits()


def test_a_port_in_use_is_said_plainly(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = convscope("serve", str(run), "--port", port)
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and said == ""
    rule = "cannot be listened on at 127.0.0.1 (Address already in use)"
    assert errors == f"error: --port {port}: {rule}; another one, or 0 for any that is free\n"


@pytest.mark.parametrize(
    ("host", "port"), [("127.0.0.1", 70_000), ("203.0.113.9", 0), ("no.such.", 0)]
)
def test_an_address_that_is_none_is_named(host, port):
    with pytest.raises(
        BadArgument, match="port=70000: cannot be|host=.*is no address of this mach"
    ):
        serving.listening(host, port)


def has_ipv6() -> bool:
    """Whether this machine has the address itself, whatever the server makes of it."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6_is_listened_on():
    with serving.listening("::1", 0) as taken:
        assert re.fullmatch(r"http://\[::1\]:\d+", serving.address(taken))


# What is named on the command line


def test_models_go_by_the_names_of_their_folders_and_files(run, tmp_path):
    shutil.copy(run / "model.onnx", tmp_path / "other.onnx")
    words = [str(run), str(tmp_path / "other.onnx"), f"third={run / 'model.onnx'}"]
    found = models_of(words, None, print)
    assert list(found) == ["bars", "other", "third"]
    assert list(models_of([str(run / "model.onnx")], None, print)) == ["bars"]
    for wrong, rule in (
        ([str(run), str(run)], "is a second model by the name bars; name it otherwise: NAME="),
        ([f"a b={run}"], "makes no name of a model"),
        ([f"..={run}"], "makes no name of a model"),
        ([str(tmp_path / "gone")], "is not there"),
    ):
        with pytest.raises(BadArgument, match=re.escape(rule)):
            models_of(wrong, None, print)


def test_a_run_is_exported_where_its_file_is_not_that_of_the_run(run, tmp_path, monkeypatch):
    place = tmp_path / "bars"
    shutil.copytree(run, place)
    calls: list[list[str]] = []

    def exported(command, **more):
        calls.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", exported)
    said: list[str] = []
    models_of([str(place)], None, said.append)
    assert calls == said == []
    info = json.loads((place / "model.json").read_text())
    (place / "model.json").write_text(json.dumps(info | {"temperature": 1.25}))
    models_of([str(place)], "own.py:Net", said.append)
    assert calls[0][1:] == [
        *("-m", "convscope", "export", str(place), "--force", "--model", "own.py:Net")
    ]
    (place / "model.onnx").unlink()
    models_of([str(place)], None, said.append)
    assert "--force" not in calls[1] and said[1] == f"{place}: is exported to model.onnx first"


@pytest.mark.slow
def test_a_run_without_a_file_is_exported_first(run, tmp_path):
    shutil.copytree(run, tmp_path / "bars")
    (tmp_path / "bars" / "model.onnx").unlink()
    with serving_process(str(tmp_path / "bars")) as server:
        assert server.ask("/predict", picture())["model"] == "bars"
        assert "is exported to model.onnx first" in server.end(signal.SIGTERM)[1]


# The same verdict as the command line


@pytest.fixture(scope="session")
def real_images() -> list[Path]:
    named = os.environ.get("CONVSCOPE_TEST_IMAGES")
    root = needed(Path(named) if named else None, "the folder CONVSCOPE_TEST_IMAGES")
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_every_real_file_has_the_verdict_of_predict(tmp_path, real_images):
    with running(tmp_path) as server:
        for path in real_images:
            found = server.post("/predict", path.read_bytes())
            [one] = server_predictions(server.network, path)
            if one.error:
                assert found.status == 422, path
                assert found.json["error"]["message"].endswith(one.error), path
            else:
                assert found.status == 200, path
                assert [top["label"] for top in found.json["top"]] == [
                    label for label, _ in one.top
                ]
                assert [top["p"] for top in found.json["top"]] == pytest.approx(
                    [p for _, p in one.top]
                )


def server_predictions(network: Tags, path: Path) -> list[Any]:
    from servers import predictor_of

    return predictor_of(network).predict([path.read_bytes()])


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_file_that_is_cut_short_has_the_verdict_of_predict(server, cut):
    data = image(9, (40, 30), "JPEG")[: -cut or None]
    try:
        expected = open_verdict(data)
    except ImageError:
        expected = None
    found = server.post("/predict", data)
    assert (found.status == 200) == (expected is not None)


def open_verdict(data: bytes) -> Any:
    from convscope.data.decode import decode

    return decode(data, channels=1, size=(6, 6))
