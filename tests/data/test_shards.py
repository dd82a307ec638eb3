"""Packs in shards: written piece by piece, fetched as they are read, checked, shared."""

from __future__ import annotations

import json
import shutil
import threading

import fsspec
import numpy as np
import pytest
import torch
from faulty import served
from listening import warnings_in
from moto.server import ThreadedMotoServer

from convscope import files
from convscope.api.showing import describe_data
from convscope.data import pack_writer, shard_writer, sharded_source, sources, stores
from convscope.data.columns import IMAGE, LABEL, image_and_label
from convscope.data.loader import Loader, tensor_of
from convscope.data.pack import verify
from convscope.data.split import statistics
from convscope.data.stores import Store
from convscope.errors import BadArgument, DataError
from convscope.events import silent
from convscope.recipe import Augment

SIZE = 3 * 8 * 8 * 10  # ten images a shard


@pytest.fixture
def pack(tmp_path, own_cache):
    """Four classes of 200 training and 40 test images, each its number in two of its pixels, and
    the names of their files."""

    def drawn(count: int, begin: int) -> pack_writer.Chunk:
        images = np.random.default_rng(begin).integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
        numbers = np.arange(begin, begin + count)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = numbers % 256, numbers // 256
        values = {IMAGE: images, LABEL: numbers % 4}
        return pack_writer.Chunk(values, [f"{n}.png" for n in numbers])

    columns = image_and_label((3, 8, 8), "abcd")
    splits = {"train": [drawn(200, 0)], "test": [drawn(40, 200)]}
    counts, about = {"train": 200, "test": 40}, {"source": "drawn", "own_test": True}
    return pack_writer.write_stream(tmp_path / "whole", "tags", columns, splits, counts, about)


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(stores, "PAUSES", (0.01, 0.02))


def written(pack, out, val=(), **more) -> Store:
    store = Store(out)
    plan = shard_writer.planned(pack, np.array(val, np.int64), SIZE, **more)
    shard_writer.write(plan, store, silent)
    return store


def numbers_of(images: np.ndarray) -> list[int]:
    return (images[:, 0, 0, 0] + 256 * images[:, 0, 0, 1].astype(int)).tolist()


def present(split) -> list[int]:
    return np.flatnonzero(split.shards.present).tolist()


def loader(pack, batch: int = 16, **more) -> Loader:
    train = pack.splits["train"]
    every, labels = torch.arange(len(train)), torch.from_numpy(train.labels)
    inputs = {IMAGE: tensor_of(train.images, whole=False)}
    rest = every, batch, 0, Augment()
    return Loader(pack.columns, inputs, {LABEL: labels}, *rest, shards=train.shards, **more)


def test_records_are_the_same_and_keep_together(pack, tmp_path):
    store = written(pack, tmp_path / "out")
    found = sources.open_data(store.url)
    assert found.fingerprint == pack.fingerprint and found.name == "tags"
    for split in ("train", "test"):
        before, after = pack.splits[split], found.splits[split]
        numbers = numbers_of(np.asarray(after.images))
        names = [f"{n}.png" for n in numbers]
        assert sorted(numbers) == sorted(numbers_of(before.images)) and list(after.files) == names
        assert np.array_equal(after.labels, np.array(numbers) % 4)
        assert np.array_equal(np.sort(after.hashes), np.sort(before.hashes))
    assert numbers_of(np.asarray(found.splits["test"].images)) == list(range(200, 240))
    mixed = numbers_of(found.splits["train"].images[:20])
    assert len({n // 20 for n in mixed}) > 4  # a shard is like the others
    verify(found.folder)


def test_images_come_as_they_are_read(pack, tmp_path):
    written(pack, tmp_path / "out")
    with served(tmp_path / "out") as store:
        train = sources.open_data(store.url).splits["train"]
        assert present(train) == [] and train.images.shape == (200, 3, 8, 8)
        whole = np.load(tmp_path / "whole" / "train-image.npy")
        numbers = [int(name[:-4]) for name in train.files]
        assert np.array_equal(train.images[57], whole[numbers[57]])
        assert present(train) == [5]
        assert np.array_equal(train.images[np.array([199, 3])], whole[[numbers[199], numbers[3]]])
        assert present(train) == [0, 5, 19]
        assert np.array_equal(train.images[[True] + [False] * 199], whole[numbers[:1]])
        assert np.array_equal(np.asarray(train.images), whole[numbers])
        asked = [name for name in store.asked if "train-image" in name]
        assert len(asked) == 20 and all(store.asked[name] == 1 for name in asked)
        with served(tmp_path / "nothing") as _:
            again = sources.open_data(store.url).splits["train"]
            assert present(again) == list(range(20))


def test_a_bucket_is_a_store(pack, tmp_path, monkeypatch):
    """One that speaks as S3 does, on a real socket."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "any")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        with pytest.raises(DataError, match=r"s3://pets/tags/train-.*cannot be written \(.*bucket"):
            written(pack, "s3://pets/tags")
        fsspec.filesystem("s3").mkdir("pets")
        written(pack, "s3://pets/tags")
        train = sources.open_data("s3://pets/tags").splits["train"]
        names = [f"{n}.png" for n in numbers_of(np.asarray(train.images))]
        assert list(train.files) == names and len(set(names)) == 200
        with pytest.raises(BadArgument, match="s3://pets/dogs/meta.json: is not there"):
            sources.open_data("s3://pets/dogs")
    finally:
        server.stop()


def test_training_draws_a_batch_once_its_shards_are_here(pack, tmp_path, monkeypatch):
    store = written(pack, tmp_path / "out", val=range(0, 200, 10), lanes=4)
    monkeypatch.setattr("convscope.data.shards.AHEAD", 1)
    found = sources.open_data(store.url)
    assert len(found.splits["val"]) == 20 and len(found.splits["train"]) == 180
    batches = loader(found).epoch(0)
    first = next(batches)
    here = present(found.splits["train"])
    assert 4 <= len(here) < 18
    drawn = [first, *batches]
    assert present(found.splits["train"]) == list(range(18))
    pixels = torch.cat([(batch.inputs[IMAGE] * 255).round().int() for batch in drawn]).numpy()
    numbers = numbers_of(pixels)
    assert sorted(numbers) == [n for n in range(200) if n % 10]
    labels = torch.cat([batch.targets[LABEL] for batch in drawn])
    assert labels.tolist() == [n % 4 for n in numbers]
    later = [batch.targets[LABEL].tolist() for batch in loader(found).epoch(0, 3)]
    assert later == [batch.targets[LABEL].tolist() for batch in drawn[3:]]


def test_statistics_are_those_of_what_is_learnt_from(pack, tmp_path):
    store = written(pack, tmp_path / "out", val=range(50))
    train = sources.open_data(store.url).splits["train"]
    mean, std = statistics(torch.from_numpy(pack.splits["train"].images), torch.arange(50, 200))
    kept = train.shards.statistics[IMAGE]
    assert kept[0] == pytest.approx(mean, abs=1e-6) and kept[1] == pytest.approx(std, abs=1e-6)
    assert present(train) == []


def test_what_is_not_here_yet_is_no_damage(pack, tmp_path):
    written(pack, tmp_path / "out")
    with served(tmp_path / "out") as store:
        found = describe_data(store.url)
        assert found["counts"]["test"] == dict.fromkeys("abcd", 10)
        assert not [name for name in store.asked if name.endswith(".bin")]
    mean, std = statistics(torch.from_numpy(pack.splits["train"].images), torch.arange(200))
    assert found["mean"] == pytest.approx(mean, abs=1e-6)
    assert found["std"] == pytest.approx(std, abs=1e-6)
    here = sources.open_data(tmp_path / "out")
    verify(here.folder)
    with (here.folder / "train-label.npy").open("r+b") as file:
        file.seek(-8, 2)
        file.write(bytes([here.splits["train"].labels[-1] ^ 1]))
    with pytest.raises(DataError, match=r"train-label\.npy: was changed after it was written"):
        verify(here.folder)


def test_a_lying_store_leaves_nothing_and_its_shard_can_be_fetched_later(pack, tmp_path):
    written(pack, tmp_path / "out")
    (name,) = [path.name for path in (tmp_path / "out").glob("train-image-00003-*")]
    with served(tmp_path / "out") as store:
        store.fault[name] = [lambda content: content[::-1]] * 3
        found = sources.open_data(store.url)
        with pytest.raises(DataError, match=rf"{name}: has the SHA-256 .*nothing of it was kept"):
            list(loader(found).epoch(0))
        train = found.splits["train"]
        assert 3 not in present(train) and not train.images.mapped[30:40].any()
        assert len(list(loader(found).epoch(0))) == 13
        assert present(train) == list(range(20))


def test_what_a_disk_has_lost_is_fetched_again(pack, tmp_path):
    written(pack, tmp_path / "out")
    with served(tmp_path / "out") as store:
        found = sources.open_data(store.url)
        whole = np.asarray(found.splits["train"].images)
        with (found.folder / "train-image.npy").open("r+b") as file:
            file.seek(-1, 2)
            file.write(bytes([whole[-1, -1, -1, -1] ^ 1]))
        again = sources.open_data(store.url).splits["train"]
        assert np.array_equal(np.asarray(again.images), whole)
        twice = [name for name, count in store.asked.items() if count == 2 and "image" in name]
        assert [name[:17] for name in twice] == ["train-image-00019"]


def test_those_who_share_a_cache_fetch_a_shard_once(pack, tmp_path):
    written(pack, tmp_path / "out")
    with served(tmp_path / "out") as store:
        splits = [sources.open_data(store.url).splits["train"] for _ in range(3)]
        together = threading.Barrier(3)

        def read(split) -> None:
            together.wait()
            np.asarray(split.images)

        threads = [threading.Thread(target=read, args=[split]) for split in splits]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        asked = {name: count for name, count in store.asked.items() if "train-image" in name}
        assert len(asked) == 20 and set(asked.values()) == {1}


def test_what_was_interrupted_goes_on_and_says_last_that_it_is_whole(pack, tmp_path, monkeypatch):
    out, sent = tmp_path / "out", []
    write = Store.write

    def breaking(self, name, content) -> None:
        if len(sent) == 7:
            raise KeyboardInterrupt
        sent.append(name)
        write(self, name, content)

    monkeypatch.setattr(Store, "write", breaking)
    with pytest.raises(KeyboardInterrupt):
        written(pack, out)
    assert not (out / "meta.json").exists() and not sharded_source.is_sharded(out)
    cut = sorted(out.glob("train-image*"))[0]
    cut.write_bytes(cut.read_bytes()[:-1])  # as a store that is not whole or nothing leaves it
    rest: list[str] = []
    monkeypatch.setattr(Store, "write", lambda *given: rest.append(given[1]) or write(*given))
    written(pack, out)
    assert rest[-1] == "meta.json" and set(rest) & set(sent) == {cut.name}
    rest.clear()
    written(pack, out)
    assert rest == []
    with pytest.raises(BadArgument, match="out=.*holds another pack already; name another folder"):
        written(pack, out, val=[1, 2])
    assert rest == []


def test_a_pack_that_was_written_anew_is_fetched_anew(pack, tmp_path, events):
    seen, emit = events
    out = tmp_path / "out"
    written(pack, out)
    np.asarray(sources.open_data(out).splits["train"].images)
    shutil.rmtree(out)
    written(pack, out, val=[3, 4])
    found = sources.open_data(out)
    assert len(found.splits["val"]) == 2 and present(found.splits["train"]) == []
    np.asarray(found.splits["train"].images)
    shutil.rmtree(out)
    (out / "x").mkdir(parents=True)
    assert len(sharded_source.opened(out, emit).splits["val"]) == 2
    assert any("what the cache has of the pack is used" in text for text in warnings_in(seen))


def test_a_pack_that_is_removed_while_it_is_in_use_says_so(pack, tmp_path):
    written(pack, tmp_path / "out")
    found = sources.open_data(tmp_path / "out")
    whole = np.asarray(found.splits["test"].images)
    shutil.rmtree(found.folder)
    assert np.array_equal(np.asarray(found.splits["test"].images), whole)
    with pytest.raises(DataError, match="was removed while it was in use"):
        np.asarray(found.splits["train"].images)


def test_what_is_no_pack_in_shards_is_refused(pack, tmp_path, monkeypatch):
    out = tmp_path / "out"
    written(pack, out)
    with pytest.raises(BadArgument, match=r"has no meta.json that can be read .* is not there"):
        sources.open_data(f"file://{tmp_path}/none")
    with pytest.raises(
        BadArgument, match="labels=x.csv: is for images as files, and .* is packed; leave"
    ):
        sources.open_data(out, labels="x.csv")
    with pytest.raises(BadArgument, match=r"size=\(9, 9\): is for images as files.* at 8x8"):
        sources.open_data(out, size=(9, 9))
    meta = json.loads((out / "meta.json").read_text())
    for change in ({"splits": {"../x": {}}}, {"shards": {}}, {"format_version": 1}):
        files.write_json(out / "meta.json", meta | change)
        with pytest.raises(DataError, match="does not describe a pack in shards"):
            sources.open_data(out)
    part = {"shape": [9], "dtype": "uint8", "bytes": 9, "sha256": "0"}
    train = meta["splits"]["train"]
    for change, said in (
        ({"splits": meta["splits"] | {"train": train | {"x/../../evil": part}}}, "train lists"),
        ({"splits": meta["splits"] | {"train": train | {"hashes": part | {"bytes": -1}}}}, "bytes"),
        ({"splits": meta["splits"] | {"train": train | {"image": train["image"] | {"bytes": 9}}}},
         "train image has 9 bytes"),
        ({"shards": meta["shards"] | {"lanes": 0}}, "its lanes are 0"),
    ):  # fmt: skip
        files.write_json(out / "meta.json", meta | change)
        with pytest.raises(DataError, match=said):
            sources.open_data(out)
    files.write_json(out / "meta.json", meta | {"name": "../../elsewhere"})
    assert sources.open_data(out).name == "elsewhere"
    meta["shards"]["records"]["train"][0] -= 1
    files.write_json(out / "meta.json", meta)
    with pytest.raises(DataError, match="its shards of train image are not 200 records"):
        sources.open_data(out)


def test_a_cache_with_too_little_room_says_so_before_it_begins(pack, tmp_path, monkeypatch):
    written(pack, tmp_path / "out")
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("convscope.data.cache.shutil.disk_usage", lambda _: usage)
    with pytest.raises(DataError, match="tags: its pack of 240 records needs 0 MB, and .* free"):
        sources.open_data(tmp_path / "out")


def test_a_rank_fetches_the_shards_of_its_lanes_alone(pack, tmp_path, monkeypatch):
    written(pack, tmp_path / "out", lanes=4)
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / "of-one"))
    train = sources.open_data(str(tmp_path / "out"))
    whole = [batch.targets[LABEL].tolist() for batch in loader(train).epoch(0)]
    parts = []
    for rank in range(2):
        monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / f"of-{rank}"))
        found = sources.open_data(str(tmp_path / "out"))
        drawn = loader(found, rank=rank, ranks=2).epoch(0)
        parts.append([batch.targets[LABEL].tolist() for batch in drawn])
        assert len(present(found.splits["train"])) <= 20 // 2 + 2
    assert [one + other for one, other in zip(*parts, strict=True)] == whole
