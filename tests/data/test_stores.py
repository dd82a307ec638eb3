"""Stores that fail, slow down and lie; errors that say which file, what is wrong, what helps."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import threading
import time

import fsspec
import pytest
from faulty import served

from convscope.data import stores
from convscope.data.stores import Store
from convscope.errors import BadArgument, DataError

CONTENT = bytes(range(256)) * 8
ABOUT = {"bytes": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(stores, "PAUSES", (0.01, 0.02, 0.03))


@pytest.fixture
def served_here(tmp_path):
    (tmp_path / "a.bin").write_bytes(CONTENT)
    with served(tmp_path) as found:
        yield found


def test_two_failures_and_a_lie_are_tried_again(served_here):
    served_here.fault["a.bin"] = [lambda _: 500, lambda _: 503, lambda c: c[::-1]]
    assert Store(served_here.url).read("a.bin", ABOUT) == CONTENT
    assert served_here.asked == {"a.bin": 4}


@pytest.mark.parametrize(
    "fault, said",
    [
        (lambda _: 500, "cannot be read"),
        (lambda c: c[:-1] + b"\0", "has the SHA-256"),
        (lambda c: c + b"\0", "has more bytes, where meta.json says 2,048"),
        (lambda c: c[:100], "cannot be read (ClientPayloadError"),
    ],
)
def test_what_stays_wrong_is_refused_by_name(served_here, fault, said):
    served_here.fault["a.bin"] = [fault] * 9
    with pytest.raises(DataError) as why:
        Store(served_here.url).read("a.bin", ABOUT)
    text = str(why.value)
    assert text.startswith(f"{served_here.url}/a.bin: {said}"), text
    assert "tried 4 times; nothing of it was kept. Check the store, then run again" in text
    assert served_here.asked == {"a.bin": 4}


def test_a_file_that_does_not_end_is_not_read_on(monkeypatch):
    """Of each try the server sends what buffers hold of it, not all of a gigabyte."""
    sent = []

    class Endless(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            sent.append(0)
            with contextlib.suppress(OSError):
                for _ in range(1024):
                    sent[-1] += self.wfile.write(bytes(1 << 20))

        def log_message(self, *rest: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    store = Store(f"http://127.0.0.1:{server.server_port}")
    try:
        with pytest.raises(DataError, match=r"a.bin: has more bytes, where meta.json says 2,048"):
            store.read("a.bin", ABOUT)
        monkeypatch.setattr(stores, "LARGEST", 1000)
        with pytest.raises(DataError, match=r"meta.json: has more than 1,000 bytes, tried 4 times"):
            store.read("meta.json")
    finally:
        server.shutdown()
        server.server_close()
    assert len(sent) == 8 and max(sent) < 100 << 20, sent


def test_a_store_that_slows_is_given_up(served_here, monkeypatch):
    monkeypatch.setattr(stores, "PATIENCE", 0.05)
    served_here.fault["a.bin"] = [lambda _: 5.0] * 4
    began = time.monotonic()
    with pytest.raises(DataError, match="a.bin: was not here within 0 seconds, tried 4 times"):
        Store(served_here.url).read("a.bin", ABOUT)
    assert time.monotonic() - began < 4


def test_what_is_not_there_is_not_tried_again(served_here):
    with pytest.raises(DataError, match="b.bin: is not there; check the address"):
        Store(served_here.url).read("b.bin", ABOUT)
    assert served_here.asked == {"b.bin": 1}


def test_a_store_in_memory_is_written_and_read():
    store = Store("memory://pets/one")
    assert not store.has("a.bin")
    store.write("a.bin", CONTENT + CONTENT)
    with pytest.raises(DataError, match=r"a.bin: has more bytes, where meta.json says 2,048"):
        store.read("a.bin", ABOUT)
    store.write("a.bin", CONTENT)
    assert store.has("a.bin", len(CONTENT)) and not store.has("a.bin", 1)
    assert Store("memory://pets/one").read("a.bin", ABOUT) == CONTENT and store.folder is None
    fsspec.filesystem("memory").rm("/pets", recursive=True)


def test_what_cannot_be_written_says_so(served_here, tmp_path):
    with pytest.raises(DataError, match=r"x.bin: cannot be written \(.*what is there already"):
        Store(served_here.url).write("x.bin", b"1")
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="file"):
        Store(tmp_path / "file").write("x.bin", b"1")


def test_urls_of_other_kinds_are_refused_by_name():
    with pytest.raises(BadArgument, match=r"data=nope://x: is no URL of a known kind .*; write s3"):
        Store("nope://x")
    with pytest.raises(BadArgument, match=r"out=gs://b/x: needs a package .*convscope\[remote\]"):
        Store("gs://b/x", "out")


@pytest.mark.parametrize(
    "url, shown",
    [
        ("sftp://me:secret@host/pets", r"sftp://me:\*\*\*@host/pets"),
        ("https://:secret@host", r"https://:\*\*\*@host"),
        (
            "https://host/pets?user=me&password=secret",
            r"https://host/pets\?user=me&password=\*\*\*",
        ),
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(url, shown):
    with pytest.raises(BadArgument, match=f"^data={shown}: has a password in it") as why:
        Store(url)
    assert "secret" not in str(why.value) and "'Passwords'" in str(why.value)


def test_a_colon_or_an_at_sign_further_on_is_no_password():
    store = Store("memory://host/a:b@c")
    assert store.url == "memory://host/a:b@c"
