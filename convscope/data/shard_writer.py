"""A pack -> shards in a store: the training records in a random order, so that each shard is like
the others; piece by piece, and ``meta.json`` last."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convscope.data import columns as typed
from convscope.data.columns import Array
from convscope.data.pack import FORMAT_VERSION, SPLITS, Pack, Split, file_name, read_meta
from convscope.data.pack_writer import combined, head, record_hashes
from convscope.data.shard_order import Ints, shuffled
from convscope.data.shards import shard_name
from convscope.data.stores import Store
from convscope.errors import BadArgument, DataError
from convscope.events import Emit, Progress
from convscope.files import TEMPORARY

LANES = 8  # so that 1, 2, 4 or 8 ranks have the same order
WINDOW = 2.0  # shards over which a lane mixes its records
SIZE = 16_000_000  # bytes of a shard
_OWN = re.compile(rf"({'|'.join(SPLITS)})-.+\.(bin|npy|json)$|{re.escape(TEMPORARY)}")


@dataclass(frozen=True)
class Plan:
    """What is written of a pack: which records of which of its splits become each split, in their
    order, and how many of them are in a shard."""

    pack: Pack
    splits: Mapping[str, tuple[str, Ints]]
    per_shard: int
    lanes: int

    def __post_init__(self) -> None:
        if "train" not in self.splits:
            raise DataError(f"{self.pack.name}: has no training split")

    @property
    def records(self) -> dict[str, int]:
        """How many records each split has."""
        return {split: len(chosen) for split, (_, chosen) in self.splits.items()}

    @property
    def shards(self) -> int:
        """How many shards there are, of all columns of images."""
        return len(typed.images(self.pack.columns)) * sum(
            math.ceil(n / self.per_shard) for n in self.records.values()
        )

    @property
    def bytes_each(self) -> int:
        """Bytes of the images of a record."""
        return _bytes_each(self.pack)

    @property
    def bytes(self) -> int:
        """Bytes of all images."""
        return self.bytes_each * sum(self.records.values())

    @property
    def working_set(self) -> int:
        """Bytes of images that training has in use at a time, and so should have memory for."""
        window = (WINDOW + 1) * self.lanes * self.per_shard
        return int(self.bytes_each * min(window, self.records["train"]))


def _bytes_each(pack: Pack) -> int:
    return sum(math.prod(one.shape) for one in typed.images(pack.columns).values())


def planned(pack: Pack, val: Ints, size: int = SIZE, lanes: int = LANES, seed: int = 0) -> Plan:
    """What is to be written of a pack in shards of about ``size`` bytes; ``val`` are the training
    records that become a validation split. Raises BadArgument."""
    each = _bytes_each(pack)
    if size < each:
        rule = f"is less than the {each:,} bytes of the images of one record"
        raise BadArgument("shard_size", size, rule, "try 16MB")
    per = size // each
    train = np.setdiff1d(np.arange(len(pack.splits["train"])), val)
    mixed = np.array_split(train[shuffled(len(train), seed)], range(per, len(train), per))
    splits = {"train": ("train", np.concatenate([np.sort(shard) for shard in mixed]))}
    if len(val):
        splits["val"] = "train", np.sort(val)
    for split in SPLITS[1:]:
        if split in pack.splits:
            splits[split] = split, np.arange(len(pack.splits[split]))
    return Plan(pack, splits, per, lanes)


def check_free(store: Store) -> None:
    """Raise BadArgument for a folder on this machine that holds other files than those of a pack
    that is not whole, of which shards are written first."""
    folder, remedy = store.folder, "name a new folder"
    if folder is None or not folder.exists() or (folder / "meta.json").exists():
        return
    if not folder.is_dir():
        raise BadArgument("out", store.url, "is a file", remedy)
    others = [one.name for one in folder.iterdir() if not _OWN.match(one.name)]
    if others:
        rule = f"holds other files, such as {min(others)}"
        raise BadArgument("out", store.url, rule, remedy)


def write(plan: Plan, store: Store, emit: Emit) -> int:
    """Write the shards of a plan, then what is beside them, and ``meta.json`` last; how many bytes
    were sent. What is there already from before is not sent again. Raises DataError where the store
    fails, and BadArgument where another pack is in it."""
    sent, done, whole = 0, 0, store.has("meta.json")
    described: dict[str, dict[str, Any]] = {}
    files: dict[str, dict[str, list[dict[str, Any]]]] = {}
    hashes, statistics = {}, {}
    small: dict[str, bytes] = {}
    for split, (source, chosen) in plan.splits.items():
        one = _Split(plan.pack.splits[source], chosen)
        files[split] = {name: [] for name in one.heads}
        for number, chunk in enumerate(one.chunks(plan.per_shard)):
            for name, pixels in chunk.items():
                content = pixels.tobytes()
                sha256 = hashlib.sha256(content).hexdigest()
                files[split][name].append({"bytes": len(content), "sha256": sha256})
                file = shard_name(split, name, number, sha256)
                if not store.has(file, len(content)):
                    if whole:
                        raise _other(store)
                    store.write(file, content)
                    sent += len(content)
                done += 1
                emit(Progress("write shards", done, plan.shards, "shards"))
        described[split], beside = one.described()
        small |= {file_name(split, part): content for part, content in beside.items()}
        hashes[split] = plan.pack.columns, one.hashes
        if split == "train":
            statistics = one.statistics()
    meta = {
        "format_version": FORMAT_VERSION,
        "name": plan.pack.name,
        "columns": typed.as_json(plan.pack.columns),
        "fingerprint": combined(hashes),
        **_about(plan.pack),
        "splits": described,
        "shards": {
            "lanes": plan.lanes,
            "window": WINDOW,
            "records": {
                split: [
                    min(plan.per_shard, n - at) for at in range(0, n, plan.per_shard)
                ] for split, n in plan.records.items()
            },
            "files": files,
            "statistics": statistics,
        },
    }  # fmt: skip
    content = (json.dumps(meta, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    if whole:
        if store.read("meta.json") != content:
            raise _other(store)
        return 0
    for file, one_small in small.items():
        store.write(file, one_small)
    store.write("meta.json", content)
    return sent + sum(map(len, small.values())) + len(content)


def _other(store: Store) -> BadArgument:
    rule = "holds another pack already"
    return BadArgument("out", store.url, rule, "name another folder or address")


def _about(pack: Pack) -> dict[str, Any]:
    """What else the pack's own ``meta.json`` says."""
    if pack.folder is None:
        return {"source": "memory", "own_test": True}
    meta = {"own_test": True} | read_meta(pack.folder)  # that of a published data set is its own
    return {name: meta[name] for name in ("source", "own_test", "skipped") if name in meta}


class _Split:
    """A split as it is written: what is known of it once its chunks have gone by."""

    def __init__(self, split: Split, chosen: Ints) -> None:
        self.split, self.chosen = split, chosen
        images = typed.images(split.columns)
        self.heads = {n: head((len(chosen), *one.shape), one.dtype) for n, one in images.items()}
        self.sums = {name: hashlib.sha256(content) for name, content in self.heads.items()}
        self.counts = {n: np.zeros((one.channels, 256), np.int64) for n, one in images.items()}
        self.hashes: list[bytes] = []

    def chunks(self, size: int) -> Iterator[dict[str, Array]]:
        """The images of so many records at a time, by column."""
        for begin in range(0, len(self.chosen), size):
            some = self.chosen[begin : begin + size]
            values = {name: np.asarray(one[some]) for name, one in self.split.values.items()}
            self.hashes += record_hashes(self.split.columns, values)
            images = {name: np.ascontiguousarray(values[name]) for name in self.heads}
            for name, pixels in images.items():
                self.sums[name].update(pixels.data)
                for channel in range(pixels.shape[1]):
                    found = np.bincount(pixels[:, channel].ravel(), minlength=256)
                    self.counts[name][channel] += found
            yield images

    def statistics(self) -> dict[str, list[list[float]]]:
        """Mean and standard deviation of the pixels, 0..1, by channel, of each column."""
        found, values = {}, np.arange(256) / 255
        for name, counts in self.counts.items():
            share = counts / counts.sum(axis=1, keepdims=True)  # [C,256]
            mean = share @ values
            std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1))
            found[name] = [mean.tolist(), std.tolist()]
        return found

    def described(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """What ``meta.json`` says of the files of the split as they will be, and the content of
        those that are no shards."""
        columns, chosen = self.split.columns, self.chosen
        said: dict[str, Any] = {}
        beside: dict[str, bytes] = {}
        for name, one in columns.items():
            if name not in self.heads:
                values = np.ascontiguousarray(self.split.values[name][chosen], one.dtype)
                beside[name] = head(values.shape, values.dtype) + values.tobytes()
                said[name] = _described(beside[name], values.shape, one.dtype)
                continue
            shape = (len(chosen), *one.shape)
            size = len(self.heads[name]) + math.prod(shape)
            sha256 = self.sums[name].hexdigest()
            said[name] = {"shape": list(shape), "dtype": one.dtype, "bytes": size, "sha256": sha256}
        same = self.split.hashes[chosen]
        beside["hashes"] = head(same.shape, same.dtype) + same.tobytes()
        said["hashes"] = _described(beside["hashes"], same.shape, str(same.dtype))
        for part, names in (("files", self.split.files), ("groups", self.split.groups)):
            if names is not None:
                text = json.dumps([names[at] for at in chosen], indent=0)
                beside[part] = text.encode("ascii")
                said[part] = _described(beside[part], chosen.shape, "str")
        return said, beside


def _described(content: bytes, shape: Sequence[int], dtype: str) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    return {"shape": list(shape), "dtype": dtype, "bytes": len(content), "sha256": sha256}
