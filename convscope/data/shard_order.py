"""The order in which a pack in shards is learnt from: shuffled, and yet near together on disk.

A few lanes share the shards of the training split, and each supplies the same slots of every batch.
A lane goes through its shards in an order of its own in every epoch, and mixes their records over a
window of some shards. That is Composer Streaming's promise (canonical nodes): the order is a
function of seed and epoch, and the same for any number of ranks that divides the number of lanes,
of which each reads the shards of its own lanes alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def shuffled(count: int, *seed: int) -> Ints:
    """The numbers below ``count`` in an order that is a function of the seed alone.

    >>> shuffled(5, 0, 1).tolist() == shuffled(5, 0, 1).tolist(), sorted(shuffled(5, 3).tolist())
    (True, [0, 1, 2, 3, 4])
    """
    return np.argsort(_draws(count, *seed), kind="stable")


def lane_of_slots(size: int, lanes: int) -> Ints:
    """The lane of each slot of a batch: lane l has the slots from l*B//K on, below (l+1)*B//K.

    >>> lane_of_slots(5, 2).tolist()
    [0, 0, 1, 1, 1]
    """
    return np.searchsorted(np.arange(1, lanes + 1) * size // lanes, np.arange(size), side="right")


def order(
    shard_of: Ints, sizes: Sequence[int], lanes: int, window: float, seed: int, epoch: int
) -> Ints:
    """The places in ``shard_of`` [N], the shard of each record, in the order of an epoch whose
    batches have these ``sizes``.

    Which records are whose lane's is a function of the seed; their order of seed and epoch. A
    record comes at most ``window`` records later than it would if each shard was shuffled alone.

    >>> order(np.array([0, 0, 1, 1]), [2, 2], 2, 0, seed=0, epoch=0).tolist()
    [1, 3, 0, 2]
    """
    slots = {size: lane_of_slots(size, lanes) for size in set(sizes)}
    lane_of = np.concatenate([slots[size] for size in sizes])  # [N]
    position = np.argsort(shuffled(int(shard_of.max()) + 1, seed))
    along = np.argsort(position[shard_of], kind="stable")  # shard after shard
    found, begin = np.empty(len(along), np.int64), 0
    for lane, count in enumerate(np.bincount(lane_of, minlength=lanes).tolist()):
        mine = along[begin : begin + count]
        begin += count
        found[lane_of == lane] = mine[_mixed(shard_of[mine], window, seed, epoch, lane)]
    return found


def _mixed(shard_of: Ints, window: float, *seed: int) -> Ints:
    """The places of a lane's records in the order of an epoch: its shards, which come one after
    another, in a random order, and each record somewhere in its shard or the window after it."""
    if not len(shard_of):
        return np.empty(0, np.int64)
    begins = np.flatnonzero(np.diff(shard_of, prepend=shard_of[0] - 1))
    lengths = np.diff(np.append(begins, len(shard_of)))
    places = shuffled(len(begins), *seed, 0)  # of the shards, in their new order
    starts = np.empty(len(begins), np.int64)
    starts[places] = np.cumsum(lengths[places]) - lengths[places]
    share = _draws(len(shard_of), *seed, 1) / 2.0**64
    keys = np.repeat(starts, lengths) + share * (np.repeat(lengths, lengths) + window)
    return np.argsort(keys, kind="stable")


def _draws(count: int, *seed: int) -> npt.NDArray[np.uint64]:
    """So many random numbers of 64 bits: the bits of a bit generator, which NumPy promises to keep
    as they are."""
    found: npt.NDArray[np.uint64] = np.random.Philox(
        np.random.SeedSequence([len(seed), *seed])
    ).random_raw(count)
    return found
