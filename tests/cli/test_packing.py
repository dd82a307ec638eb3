"""`convscope data pack`, and training from what it wrote, as a stranger types it."""

from __future__ import annotations

import json
from pathlib import Path

from faulty import served
from photos import photos
from quick import SMALL

from convscope import machine
from convscope.data import stores


def test_a_folder_in_shards_over_http_is_data_like_any_other(workplace, run, monkeypatch):
    monkeypatch.setattr(stores, "PAUSES", (0.01,))
    photos(workplace / "pets", count=60)
    given = ["data", "pack", "pets", "out", "--shard-size", "2KB", "--image-size", "8"]
    said = run(*given, "--preview")
    assert said.code == 0 and "nothing is written" in said.out and not Path("out").exists()
    found = json.loads(run(*given, "--json").out)
    records = found["records"]
    assert found["sent"] > found["bytes"] == 8 * 8 * 3 * sum(records.values())
    assert json.loads(run(*given, "--json").out) == found | {"sent": 0}
    with served(workplace / "out") as store:
        said = run("train", store.url, *SMALL, "--out", "run", "--json")
        assert said.code == 0, said.err
        figures = json.loads(said.out)
        assert figures["n"] == records["test"]
        assert "fetched as they are needed" in said.err and "augmented for training" in said.err
        learnt = json.loads(Path("run/model.json").read_text())["data"]
        assert learnt["train"] == records["train"]
        again = json.loads(run("eval", "run", "--json").out)
        assert again["accuracy"] == figures["accuracy"]
        info = json.loads(run("data", "info", store.url, "--json").out)
        assert sum(info["counts"]["val"].values()) == records["val"] and not info["unread"]
        assert max(store.asked.values()) < 6  # meta.json; every shard but once
        assert {n for name, n in store.asked.items() if name.endswith(".bin")} == {1}
        said = run("train", store.url, *SMALL, "--val", "0.2")
        assert said.code == 2 and "has a validation split of its own" in said.err
        said = run("train", store.url, *SMALL, "--image-size", "16")
        assert said.code == 2 and "is for images as files" in said.err


def test_what_cannot_be_packed_says_why(workplace, run):
    photos(workplace / "pets", count=10)
    said = run("data", "pack", "pets", "out", "--shard-size", "10", "--image-size", "8")
    assert said.code == 2 and "shard-size 10: is less than the 192 bytes" in said.err
    said = run("data", "pack", "pets", "out", "--shard-size", "much")
    assert said.code == 2 and "must be a size; write 16MB" in said.err
    said = run("data", "pack", "pets", "out", "--lanes", "0")
    assert said.code == 2 and "lanes 0: must be a whole number of at least 1" in said.err
    said = run("data", "pack", "pets", "nope://out")
    assert said.code == 2 and "is no URL of a known kind" in said.err
    said = run("data", "pack", "pets", "")
    assert said.code == 2 and "'': is empty; name a folder or a URL" in said.err
    for place, rule in (("pets", "holds other files, such as "), ("a.txt", "is a file")):
        Path("a.txt").write_text("")
        for more in ([], ["--preview"]):
            said = run("data", "pack", "pets", place, "--image-size", "8", *more)
            assert said.code == 2 and f"{place}: {rule}" in said.err
            assert "name a new folder" in said.err
    said = run("data", "pack", "nothing/here", "out")
    assert said.code == 2 and not Path("out").exists()


def test_memory_is_what_a_control_group_leaves(tmp_path):
    total = machine.memory()
    assert total is None or total >= 10**8
