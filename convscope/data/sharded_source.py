"""A pack in shards, by its URL or folder -> a pack in the cache that fetches its images as they are
read."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from convscope import files
from convscope.data import cache, shards
from convscope.data import columns as typed
from convscope.data.columns import Columns, Image
from convscope.data.folder import plain_name
from convscope.data.pack import FORMAT_VERSION, SPLITS, Pack, file_name, open_pack
from convscope.data.pack_writer import head
from convscope.data.stores import Store, is_url
from convscope.errors import BadArgument, DataError
from convscope.events import Emit, Notice
from convscope.formatting import decimal_size, plural

MOST_LANES = 4096
RULES = 1  # part of a pack's key: raise it when the same shards come to give another pack


def is_sharded(name: str | Path) -> bool:
    """Whether a name is that of a pack in shards: a URL, or a folder with its ``meta.json``."""
    parts = ("meta.json", file_name("train", "hashes"))
    return is_url(name) or all((Path(name) / part).is_file() for part in parts)


def opened(name: str | Path, emit: Emit) -> Pack:
    """The pack in shards at a URL or in a folder. What is beside its images is fetched and checked
    now, and its images as they are read.

    Where the store cannot be reached, what the cache has of it is used. Raises BadArgument where no
    such pack is there, and DataError where it is damaged or the cache has too little room.
    """
    store = Store(name)
    digest = hashlib.sha256(f"{FORMAT_VERSION} {RULES} {store.url}".encode()).hexdigest()
    pattern = f"shards-{digest[:16]}-"  # what has another meta.json never takes the place of one
    try:
        content = store.read("meta.json")
    except DataError as why:
        if not (kept := _kept(pattern)):
            rule = f"has no meta.json that can be read ({why})"
            remedy = "name the folder or URL that convscope data pack wrote"
            raise BadArgument("data", name, rule, remedy) from None
        emit(Notice(f"{why}; what the cache has of the pack is used", warning=True))
        return open_pack(kept[-1])
    place = cache.pack_folder(pattern + hashlib.sha256(content).hexdigest()[:16])
    if not place.is_dir():
        meta = _checked(store, content)
        with cache.alone(place, meta["name"], emit):
            if not place.is_dir():
                for old in _kept(pattern):
                    cache.remove(old)
                _make(store, place, meta, emit)
    return open_pack(place)


def _kept(pattern: str) -> list[Path]:
    """The packs of a store that are in the cache, the newest last."""
    place = cache.pack_folder("")
    return sorted(place.glob(f"{pattern}*"), key=lambda one: one.stat().st_mtime)


def _checked(store: Store, content: bytes) -> dict[str, Any]:
    """What ``meta.json`` says, once it can be the description of a pack. Raises DataError."""
    where = f"{store.url}/meta.json"
    try:
        meta = json.loads(content)
        if meta["format_version"] != FORMAT_VERSION or "shards" not in meta:
            raise ValueError(f"it is no pack in shards of format {FORMAT_VERSION}")
        columns = typed.from_json(meta["columns"])
        typed.check_names(columns, where)
        if not meta["splits"] or not set(meta["splits"]) <= set(SPLITS):
            raise ValueError(f"its splits are {list(meta['splits'])}")
        for split, described in meta["splits"].items():
            about = meta["shards"]
            counts, listed = about["records"][split], about["files"][split]
            if not set(described) <= {*columns, "hashes", "files", "groups"}:
                raise ValueError(f"{split} lists {list(described)}")
            if not all(type(count) is int for count in counts):
                raise ValueError(f"the records of {split} are no whole numbers")
            for name in columns:
                records = described[name]["shape"][0]
                shards.check(columns, split, counts, listed, records)
            for part, one in described.items():
                size, column = one["bytes"], columns.get(part)
                if type(size) is not int or size < 0:
                    raise ValueError(f"{split} {part} has {size!r} bytes")
                if isinstance(column, Image):
                    shape = sum(counts), *column.shape
                    if size != len(head(shape, column.dtype)) + math.prod(shape):
                        raise ValueError(f"{split} {part} has {size:,} bytes")
        lanes, window = meta["shards"]["lanes"], meta["shards"]["window"]
        if type(lanes) is not int or not 1 <= lanes <= MOST_LANES or not 0 <= window < 1e6:
            raise ValueError(f"its lanes are {lanes!r}, their window {window!r}")
        meta["name"] = plain_name(Path(str(meta["name"])))  # it becomes part of a path
        return dict(meta)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, DataError) as why:
        text = f"{where}: does not describe a pack in shards ({why!r})"
        raise DataError(f"{text}; write it again with convscope data pack") from None


def _make(store: Store, place: Path, meta: Mapping[str, Any], emit: Emit) -> None:
    """The pack in the cache: all but its images, for which there is room in files with holes."""
    columns = typed.from_json(meta["columns"])
    needed = sum(
        about["bytes"] for described in meta["splits"].values() for about in described.values()
    )
    count = sum(sum(counts) for counts in meta["shards"]["records"].values())
    what = f"{meta['name']}: its pack of {plural(count, 'record')}"
    cache.need_room(place, needed, what, "pack smaller images (--image-size)")
    with cache.taking_data(), files.whole_folder(place) as unfinished:
        for split, described in meta["splits"].items():
            fill = functools.partial(_write_part, store, unfinished, split, columns)
            for part, about in described.items():
                fill(part, about)
            present = np.zeros(len(meta["shards"]["records"][split]), np.uint8)
            (unfinished / shards.present_name(split)).write_bytes(present.tobytes())
        about = {**meta["shards"], "url": store.url}
        files.write_json(unfinished / "meta.json", {**meta, "shards": about})
    size = decimal_size(needed)
    text = f"{plural(count, 'record')} in shards at {store.url}, fetched as they are needed"
    emit(Notice(f"{meta['name']}: {text}, up to {size} into {place}"))


def _write_part(
    store: Store, folder: Path, split: str, columns: Columns, part: str, about: Mapping[str, Any]
) -> None:
    """A file of the pack: fetched, or of images a head and a hole."""
    path, one = folder / file_name(split, part), columns.get(part)
    if not isinstance(one, Image):
        path.write_bytes(store.read(file_name(split, part), about))
        return
    with path.open("wb") as file:
        file.write(head((about["shape"][0], *one.shape), one.dtype))
        file.truncate(about["bytes"])
