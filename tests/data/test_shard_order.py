"""The order of a pack in shards: the same for any number of ranks, mixed, and near together."""

from __future__ import annotations

import numpy as np
import pytest

from convscope.data.shard_order import lane_of_slots, order, shuffled

SHARDS, EACH, LANES = 48, 20, 8
OF = np.repeat(np.arange(SHARDS), EACH)  # the shard of each record
BATCH = 32
SIZES = [BATCH] * (len(OF) // BATCH)


def drawn(
    seed: int = 0, epoch: int = 0, window: float = 2 * EACH, lanes: int = LANES
) -> np.ndarray:
    return order(OF, SIZES, lanes, window, seed, epoch)


def of_rank(whole: np.ndarray, rank: int, ranks: int) -> list[np.ndarray]:
    """What a rank computes of each batch."""
    batches = whole.reshape(-1, BATCH)
    return list(batches[:, rank * BATCH // ranks : (rank + 1) * BATCH // ranks])


def test_every_record_once_in_an_order_of_its_own_for_each_seed_and_epoch():
    orders = [drawn(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    for one in orders:
        assert np.array_equal(np.sort(one), np.arange(len(OF)))
    assert len({one.tobytes() for one in orders}) == 4
    assert np.array_equal(drawn(1, 1), orders[3])


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_ranks_together_have_the_same_batches_and_each_reads_its_own_shards(ranks):
    whole = drawn()
    parts = [of_rank(whole, rank, ranks) for rank in range(ranks)]
    together = [np.concatenate(some) for some in zip(*parts, strict=True)]
    assert np.array_equal(np.concatenate(together), whole)
    touched = [set(OF[np.concatenate(part)]) for part in parts]
    assert all(len(some) <= SHARDS // ranks + 2 for some in touched)
    again = [set(OF[np.concatenate(of_rank(drawn(epoch=1), rank, ranks))]) for rank in range(ranks)]
    assert again == touched  # a cache that a rank has filled serves every epoch


def test_few_shards_are_in_use_at_a_time():
    whole = OF[drawn()].reshape(-1, BATCH)
    first = {shard: at for at, batch in reversed(list(enumerate(whole))) for shard in batch}
    last = {shard: at for at, batch in enumerate(whole) for shard in batch}
    at_once = [sum(first[s] <= at <= last[s] for s in first) for at in range(len(whole))]
    assert max(at_once) <= LANES * (
        2 + 1 + 2
    )  # a window, the shard itself, and what begins or ends
    assert np.mean(at_once) < SHARDS * 0.7


def test_records_of_a_shard_are_scattered_over_its_window():
    lane = drawn(lanes=1)
    places = np.argsort(lane)
    spans = np.ptp(places.reshape(SHARDS, EACH), axis=1)
    assert spans.max() < 4 * EACH and np.median(spans) > 2 * EACH
    alone = np.argsort(drawn(lanes=1, window=0)).reshape(SHARDS, EACH)
    assert (np.ptp(alone, axis=1) == EACH - 1).all()


def test_odd_sizes_and_a_batch_smaller_than_the_lanes():
    shard_of = np.repeat(np.arange(3), [7, 1, 5])
    for sizes in ([5, 5, 3], [5, 8], [1] * 13, [13]):
        found = order(shard_of, sizes, 4, 2.0, 3, 1)
        assert np.array_equal(np.sort(found), np.arange(13))
    assert lane_of_slots(3, 4).tolist() == [1, 2, 3]


def test_the_order_of_shards_is_this_one_for_ever():
    assert shuffled(8, 0).tolist() == [2, 0, 1, 4, 5, 6, 7, 3]
    assert drawn()[:6].tolist() == [390, 384, 399, 383, 362, 367]
