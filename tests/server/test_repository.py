"""Models whose files are replaced while they are served."""

from __future__ import annotations

import os
import threading
import time

import pytest
from servers import image, opened, running

from convscope.errors import RunError
from convscope.server.limits import Refusal
from convscope.server.repository import Repository


def replaced(path, text: str) -> None:
    """A file that is there whole or not at all, and whose time differs."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.utime(new, (0, replaced.count))
    replaced.count += 1
    new.rename(path)


replaced.count = 1000


@pytest.fixture
def one(tmp_path):
    path = tmp_path / "net.json"
    path.write_text('{"sharp": 5}')
    return path, Repository({"net": path}, opened)


def looked(repository) -> None:
    """Twice: a file that has just changed may still be written."""
    repository.refresh()
    repository.refresh()


def test_a_replaced_file_is_served(one):
    path, repository = one
    before = repository.find()
    repository.refresh()
    assert repository.find() is before
    replaced(path, '{"sharp": 50}')
    repository.refresh()
    assert repository.find() is before
    repository.refresh()
    after = repository.find("net")
    assert after.predictor.logits.sharp == 50 and before.predictor.logits.sharp == 5
    assert after.version != before.version
    with pytest.raises(Refusal, match=f"in version {after.version}, not in '{before.version}'"):
        repository.find("net", before.version)


def test_a_broken_file_is_said_once_and_the_old_one_goes_on(one, caplog):
    path, repository = one
    before = repository.find()
    replaced(path, "broken")
    for _ in range(5):
        repository.refresh()
    assert repository.find() is before
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and "net: the new file is not served: " in said[0]
    replaced(path, '{"sharp": 9}')
    looked(repository)
    assert repository.find().predictor.logits.sharp == 9


def test_a_file_that_is_gone_goes_on_to_be_served(one):
    path, repository = one
    path.unlink()
    looked(repository)
    assert repository.find().name == "net"
    path.write_text('{"sharp": 6}')
    looked(repository)
    assert repository.find().predictor.logits.sharp == 6


def test_what_cannot_be_opened_is_no_server(tmp_path):
    (tmp_path / "net.json").write_text("broken")
    with pytest.raises(RunError, match="is no network"):
        Repository({"net": tmp_path / "net.json"}, opened)


def test_an_unknown_model_is_named_with_those_that_are_there(one):
    with pytest.raises(Refusal, match="no model 'x' is served here; there is net") as why:
        one[1].find("x")
    assert (why.value.status, why.value.code) == (404, "model")


def test_no_request_is_dropped_while_a_model_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr("convscope.server.app.LOOK", 0.05)
    (tmp_path / "net.json").write_text('{"sharp": 5}')
    stop, found = threading.Event(), []
    with running(tmp_path) as server:

        def asking() -> None:
            while not stop.is_set():
                found.append(server.post("/predict?model=net", image(3)))

        threads = [threading.Thread(target=asking) for _ in range(4)]
        for thread in threads:
            thread.start()
        while not found:
            time.sleep(0.01)
        for sharp in (6, 7, 8):
            before = len(found)
            replaced(tmp_path / "net.json", f'{{"sharp": {sharp}}}')
            deadline = time.monotonic() + 10
            seen = {one.json["version"] for one in found[:before]}
            while time.monotonic() < deadline and found[-1].json["version"] in seen:
                time.sleep(0.01)
        stop.set()
        for thread in threads:
            thread.join()
    assert {one.status for one in found} == {200}
    assert {one.json["top"][0]["label"] for one in found} == {"3"}
    assert len({one.json["version"] for one in found}) == 4
