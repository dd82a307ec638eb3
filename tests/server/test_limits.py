"""What a client may send: limits that hold before, while and after a body is read, and clients that
take their time."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import drained, form, image

HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"


def padded(size: int) -> bytes:
    """An image file of so many bytes: what follows the end of a PNG is not read."""
    return image(9) + bytes(size - len(image(9)))


def status(answer: bytes) -> int:
    return int(answer[9:12])


@pytest.mark.parametrize(("size", "expected"), [(9_999, 200), (10_000, 200), (10_001, 413)])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_counted_however_it_is_sent(served, size, expected, chunked):
    server = served(body=10_000)
    sent = iter([padded(size)]) if chunked else padded(size)  # an iterator is sent in chunks
    found = server.post("/predict", sent)
    assert found.status == expected
    if expected == 413:
        assert found.json["error"]["code"] == "body" and found.json["error"]["limit"] == 10_000


def test_a_refusal_is_read_though_the_body_is_still_being_sent(served):
    """A connection that is cut while its client writes takes the answer with it."""
    server = served(body=8_000_000)
    for body in (padded(15_000_000), iter([padded(15_000_000)])):  # the second in chunks
        found = server.post("/predict", body)
        assert (found.status, found.code) == (413, "body")


def test_what_is_sent_beyond_the_limit_is_not_kept(served):
    server = served(body=10_000)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as plug:
        plug.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        sent = 0
        with pytest.raises(OSError):
            while sent < 50_000_000:
                plug.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
                sent += 0x10000
        assert sent < 20_000_000  # what sockets hold besides


def test_chunks_of_one_byte_do_not_get_around_it(served):
    server = served(body=10_000)
    answer = server.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1;a=b\r\nx\r\n" * 9_000)
    assert answer == b"" or status(answer) == 413


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims a size, and is small."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_an_image_that_claims_too_much_is_not_decoded(served, monkeypatch):
    server = served(pixels=40_000)
    assert server.post("/predict", image(9, (200, 200))).status == 200
    monkeypatch.setattr("convscope.server.uploads.decode", None)  # it would be called in vain
    for data in (image(9, (200, 201)), bomb(12_000, 12_000)):
        found = server.post("/predict", data)
        assert (found.status, found.code) == (413, "pixels")
        assert found.json["error"]["limit"] == 40_000


def test_a_form_has_so_many_parts(served):
    server = served(images=3)
    for n, expected in ((3, 200), (4, 413)):
        body, kind = form(*[(f"{i}.png", image(i)) for i in range(n)])
        found = server.post("/predict", body, Content_Type=kind)
        assert found.status == expected
    assert found.code == "images" and found.json["error"]["limit"] == 3


def test_nothing_of_a_request_is_written_to_disk(served, monkeypatch, tmp_path):
    """A form is where servers write: Starlette's own form does, above a megabyte."""
    written = tmp_path / "temporary"
    written.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(written))
    server = served()
    before = set(os.listdir("/proc/self/fd"))
    body, kind = form(*[(f"{i}.bmp", image(i, (1500, 1000), "BMP")) for i in range(3)])
    opened: list[str] = []
    monkeypatch.setattr("tempfile.TemporaryFile", lambda *a, **k: opened.append("file"))
    assert server.post("/predict", body, Content_Type=kind).status == 200
    assert not opened and not list(written.iterdir())
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 3


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "evil.example:8000"],
)
def test_a_foreign_host_is_refused(server, host):
    found = server.post("/predict", image(), Host=host)
    assert (found.status, found.code) == (400, "host")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:80", "a.localhost"]
)
def test_ours_are_served(server, host):
    assert server.post("/predict", image(), Host=host).status == 200


def test_a_missing_or_second_host_is_refused(server):
    for lines in (b"", b"Host: localhost\r\nHost: evil.example\r\n"):
        answer = server.raw(b"GET /v2 HTTP/1.1\r\nConnection: close\r\n" + lines + b"\r\n")
        assert status(answer) == 400 and b'"host"' in answer


@pytest.mark.parametrize("path", ["/predict", "/v2/models/tags/infer"])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1"])
def test_a_page_of_another_site_may_not_ask(server, path, origin):
    found = server.post(path, image(), Host="localhost:8000", Origin=origin)
    assert found.status == 403 and found.json["error"]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_nor_may_what_a_browser_says_comes_from_elsewhere(server, site):
    found = server.post("/predict", image(), Sec_Fetch_Site=site)
    assert (found.status, found.code) == (403, "origin")
    assert server.post("/predict", image(), Sec_Fetch_Site="same-origin").status == 200


def test_our_own_page_may(server):
    for host, origin in (
        ("localhost:8", "http://localhost:8"),
        ("a.localhost", "https://a.localhost:443"),
    ):
        assert server.post("/predict", image(), Host=host, Origin=origin).status == 200
    assert server.ask("GET", "/v2", Host="localhost", Origin="http://evil.example").status == 200


def test_a_compressed_body_is_refused(server):
    found = server.post("/predict", image(), Content_Encoding="gzip")
    assert (found.status, found.code) == (415, "encoding")


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
def test_what_is_no_http_is_answered_in_json(server, sent):
    answer = server.raw(sent)
    assert 400 <= status(answer) < 500
    assert b"application/json" in answer and b'{"error"' in answer


def test_a_head_without_an_end_is_cut_off(server):
    answer = server.raw(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000)
    assert status(answer) == 431 and b'"limit": 65536' in answer
    answer = server.raw(
        b"GET /v2 HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\nA: "
        + b"a" * 70_000
        + b"\r\n\r\n"
    )
    assert status(answer) == 431


def test_slow_clients_are_cut_off_and_others_served(served):
    """Those that never begin, never end their head, or their body, and send a byte now and then."""
    server = served(to_send=0.6)
    began = time.monotonic()
    slow = [b"", b"GET /", HEAD + b"A: ", HEAD + b"Content-Length: 900\r\n\r\nab"]
    plugs = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in slow]
    for plug, sent in zip(plugs, slow, strict=True):
        plug.sendall(sent)

    def drip(plug: socket.socket) -> None:
        while time.monotonic() - began < 5:
            time.sleep(0.05)
            try:
                plug.sendall(b"a")
            except OSError:
                return

    drips = [threading.Thread(target=drip, args=(plug,)) for plug in plugs[1:]]
    for thread in drips:
        thread.start()
    assert server.post("/predict", image(9)).json["top"][0]["label"] == "9"
    answers = [drained(plug) for plug in plugs]
    assert time.monotonic() - began < 4
    for thread in drips:
        thread.join()
    for plug in plugs:
        plug.close()
    for answer in answers:  # a connection that is cut may take it along
        assert answer == b"" or (status(answer) == 408 and b'"time_to_send"' in answer)
    assert any(answers)


def test_a_client_that_does_not_take_its_answer_is_cut_off(served):
    server = served(to_send=0.6)
    with socket.socket() as plug:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plug.connect(("127.0.0.1", server.port))
        ask = b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
        plug.sendall(ask * 20)
        deadline = time.monotonic() + 10
        while not server.server.server_state.connections and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.server.server_state.connections
        while server.server.server_state.connections and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not server.server.server_state.connections


def test_there_are_so_many_connections(served):
    server = served(connections=3)
    plugs = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(3)]
    time.sleep(0.1)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plug:
        answer = drained(plug)
    assert status(answer) == 503 and b"retry-after: 1" in answer and b'"connections"' in answer
    for plug in plugs:
        plug.close()
    time.sleep(0.1)
    assert server.post("/predict", image()).status == 200


def test_bodies_have_so_much_memory_together(served):
    server = served(body=100_000, held=150_000)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plug:
        plug.sendall(HEAD + b"Content-Length: 99999\r\n\r\n" + bytes(99_000))
        time.sleep(0.2)
        found = server.post("/predict", padded(90_000))
        assert (found.status, found.code) == (503, "memory")
    time.sleep(0.2)
    assert server.post("/predict", padded(90_000)).status == 200  # it was given back


REQUEST = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(image()), image())


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.integers(0, len(REQUEST) - 1), st.binary(max_size=3)), max_size=4),
    st.integers(0, len(REQUEST)),
)
def test_a_request_that_is_damaged_harms_nobody(server, changes, cut):
    sent = bytearray(REQUEST[:cut])
    for at, data in changes:
        sent[at : at + len(data)] = data
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plug:
        plug.sendall(bytes(sent))
        plug.shutdown(socket.SHUT_WR)
        plug.settimeout(0.05)
        answer = b""
        with contextlib.suppress(TimeoutError):  # it waits for the rest, or has said all
            while more := plug.recv(65536):  # head and body may come apart
                answer += more
    assert answer == b"" or 200 <= status(answer) < 500, answer
    assert answer[9:12] in (b"", b"100", b"200") or b'{"error"' in answer
    assert server.ask("GET", "/v2/health/live").status == 200
