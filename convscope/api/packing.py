"""A data set written in shards, to be trained from where it does not fit or is shared."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from convscope.api.arguments import given, resolved
from convscope.data import shard_writer
from convscope.data.sources import of_recipe
from convscope.data.split import held_out
from convscope.data.stores import Store
from convscope.errors import BadArgument
from convscope.events import Emit, silent
from convscope.training.memory import bytes_of


@dataclass(frozen=True)
class Packed:
    """A pack in shards: where it is, how many ``records`` each split has, how many ``shards`` of
    how many ``bytes`` of images in all, the ``working_set`` of images that training has in use at a
    time, and how many bytes were ``sent``; None where it was only planned."""

    out: str
    name: str
    records: dict[str, int]
    shards: int
    bytes: int
    working_set: int
    lanes: int
    sent: int | None

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def pack_data(
    name: str | Path,
    out: str | Path,
    *,
    shard_size: int | str = shard_writer.SIZE,
    lanes: int = shard_writer.LANES,
    preview: bool = False,
    emit: Emit = silent,
    **options: Any,
) -> Packed:
    """Write a data set in shards to ``out``, a folder or a URL that fsspec can write to, whose
    ``meta.json`` is written last; that is data for :func:`train` and all that takes a data set.

    Validation is held out here, and training records are shuffled once, so that ``shard_size``
    bytes of them (``"16MB"``) are like any others. ``lanes`` is the largest number of ranks that
    share the shards, and a multiple of any other. ``options`` are those of the data for
    :func:`train`, such as ``val``, ``image_size`` and ``labels``. Shards that are there from an
    interrupted call are not sent again. With ``preview`` nothing is written.

    Raises BadArgument where another pack or other files are in ``out``, and DataError where the
    data cannot be read or the store fails.
    """
    size = bytes_of(shard_size, "shard_size", "16MB")
    if not str(out).strip():
        raise BadArgument("out", repr(out), "is empty", "name a folder or a URL")
    if lanes < 1:
        raise BadArgument("lanes", lanes, "must be a whole number of at least 1", "try 8")
    store = Store(out, "out")
    shard_writer.check_free(store)
    asked = resolved(*given(name, None, options), None, True)
    pack = of_recipe(replace(asked, data=replace(asked.data, fold="none")), emit)
    plan = shard_writer.planned(pack, held_out(asked, pack), size, lanes, asked.data.split_seed)
    sent = None if preview else shard_writer.write(plan, store, emit)
    return Packed(
        store.url, pack.name, plan.records, plan.shards, plan.bytes, plan.working_set, lanes, sent
    )
