"""Many requests at once: each gets its own answer, from batches; a full queue and a slow network
are said."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from servers import Tags, image, predictor_of, running

from convscope.server.batching import Batcher, Lane
from convscope.server.limits import Limits, Refusal
from convscope.server.uploads import Upload


class Numbers:
    """A job of a few images of one value, whose answer is what the network says of them."""

    size, top = 10, 1

    def __init__(self, value: int, count: int = 1, side: int = 6) -> None:
        self.shape, self.value = (count, 1, side, side), value

    def read(self):
        if self.value < 0:
            raise Refusal(422, "image", "is none")
        return np.full(self.shape, self.value, np.uint8)

    def answer(self, computed, rows):
        return computed.logits[rows].argmax(axis=1).tolist()


def answered(jobs, network, **more):
    """What a batcher answers to jobs that come at once."""
    batcher = Batcher(Limits(), **more)
    lane = Lane(predictor_of(network))

    async def all_of_them():
        asked = (batcher.answer(lane, job) for job in jobs)
        return await asyncio.gather(*asked, return_exceptions=True)

    try:
        found = asyncio.run(all_of_them())
        assert batcher.waiting == 0
        return found
    finally:
        batcher.close()


def test_each_job_gets_its_own_answer():
    random = np.random.default_rng(0)
    jobs = [
        Numbers(int(random.integers(256)), int(random.integers(1, 6)), int(random.integers(2, 5)))
        for _ in range(100)
    ]
    network = Tags()
    found = answered(jobs, network, batch=8)
    assert found == [[job.value] * job.shape[0] for job in jobs]
    assert len(network.batches) < 100 and max(network.batches) > 1


def test_a_batch_has_so_many_images_and_takes_so_long():
    network = Tags(seconds=0.005)
    answered([Numbers(n) for n in range(64)], network, batch=8)
    assert max(network.batches) == 8
    network = Tags(seconds=0.005)
    answered([Numbers(n) for n in range(64)], network, batch=1)
    assert network.batches == [1] * 64
    lane = Lane(predictor_of(network), seconds=0.01)  # an image
    lane.ready.extend(_waiting(Numbers(n)) for n in range(20))
    assert len(lane.take(64, 0.05)) == 5 and len(lane.take(64, 0.001)) == 1


def _waiting(job):
    class Waiting:
        images = job.read()

    return Waiting()


def test_a_job_that_fails_harms_no_other():
    found = answered([Numbers(n) for n in (1, -1, 2)], Tags())
    assert found[0] == [1] and found[2] == [2]
    assert isinstance(found[1], Refusal) and found[1].status == 422


def test_requests_at_once_get_what_one_alone_gets(tmp_path):
    """200 tagged requests of 16 clients: none is swapped, and no digit is another than alone."""
    with running(tmp_path) as server, ThreadPoolExecutor(16) as pool:
        alone = [server.post("/predict", image(tag)).json for tag in range(0, 256, 8)]
        server.network.batches.clear()
        tags = [int(tag) for tag in np.random.default_rng(1).integers(0, 32, 200)]
        found = list(pool.map(lambda tag: server.post("/predict", image(8 * tag)).json, tags))
        assert max(server.network.batches) > 1
    for tag, one in zip(tags, found, strict=True):
        assert one["top"][0]["label"] == str(8 * tag)
        expected = [top["p"] for top in alone[tag]["top"]]
        assert [top["p"] for top in one["top"]] == pytest.approx(expected, abs=1e-5)


def test_a_full_queue_says_so_at_once(served):
    server = served(queue=4)
    server.network.free.clear()
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(server.post, "/predict", image(n)) for n in range(4)]
        deadline = time.monotonic() + 10
        while "convscope_waiting 4.0" not in server.ask("GET", "/metrics").body.decode():
            assert time.monotonic() < deadline
        found = server.post("/predict", image())
        assert (found.status, found.code) == (503, "queue")
        assert found.headers["retry-after"] == "1" and found.json["error"]["limit"] == 4
        v2 = server.post("/v2/models/tags/infer", b"{}")
        assert v2.status == 503 and v2.json["code"] == "queue"
        assert server.ask("GET", "/v2/health/live").status == 200
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as plug:
            plug.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n"
            )
            assert plug.recv(12) == b"HTTP/1.1 503"  # before a body is there
        server.network.free.set()
        assert [one.result().json["top"][0]["label"] for one in waiting] == ["0", "1", "2", "3"]
    assert server.post("/predict", image()).status == 200


def test_an_answer_that_takes_too_long_is_given_up(served):
    server = served(to_answer=0.3)
    server.network.free.clear()
    with ThreadPoolExecutor(5) as pool:
        found = list(pool.map(lambda n: server.post("/predict", image(n)), range(5)))
    assert {(one.status, one.code) for one in found} == {(503, "time_to_answer")}
    server.network.batches.clear()
    server.network.free.set()
    assert server.post("/predict", image(9)).json["top"][0]["label"] == "9"


def test_what_nobody_waits_for_any_more_is_not_computed():
    network, batcher = Tags(), Batcher(Limits(to_answer=0.2), threads=1, batch=1)
    network.free.clear()
    lane = Lane(predictor_of(network))

    async def given_up():
        asked = (batcher.answer(lane, Numbers(n)) for n in range(6))
        found = await asyncio.gather(*asked, return_exceptions=True)
        network.free.set()
        while batcher.waiting:
            await asyncio.sleep(0.01)
        return found

    found = asyncio.run(given_up())
    batcher.close()
    assert all(isinstance(one, Refusal) for one in found)
    assert network.batches == [1]  # the one that was begun


def test_decoding_and_computing_do_not_hold_the_event_loop(tmp_path, monkeypatch):
    with running(tmp_path) as server:
        threads: list[str] = []
        read = Upload.read

        def noted(self):
            threads.append(threading.current_thread().name)
            return read(self)

        monkeypatch.setattr(Upload, "read", noted)
        server.post("/predict", image())
    threads.append(server.network.thread)
    assert len(threads) == 2 and all(name.startswith("batcher") for name in threads)
