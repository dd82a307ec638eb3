"""What is drawn for a batch, and which part of it a rank has: the same whatever the number of
ranks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from batches import SPECS

from convscope.data.draws import slots
from convscope.data.loader import Loader
from convscope.recipe import Augment, Train
from convscope.training.losses import losses_of


def loader(spec: Augment, sampler: str = "shuffle") -> Loader:
    numbers = torch.Generator().manual_seed(0)
    images = torch.randint(256, (47, 3, 16, 16), generator=numbers, dtype=torch.uint8)
    labels = (torch.arange(47) % 10 == 0).long()  # 90 : 10, nearly
    found = Loader.of_images(images, labels, torch.arange(47), 20, 0, spec, classes=2)
    return replace(found, sampler=sampler)


def ranked(whole: Loader, ranks: int) -> list[Loader]:
    return [replace(whole, rank=rank, ranks=ranks) for rank in range(ranks)]


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_parts_of_a_batch_are_those_of_one_process(spec):
    """Three ranks, an epoch of 20, 20 and 7 images; to the bit, but where a mean of the images
    that go through an operation together is rounded."""
    whole = loader(spec)
    parts = [list(one.epoch(1)) for one in ranked(whole, 3)]
    for step, batch in enumerate(whole.epoch(1)):
        mine = [part[step] for part in parts]
        assert [one.records for one in mine] == [len(batch)] * 3 == [batch.records] * 3
        for kind in ("inputs", "targets"):
            (expected,) = getattr(batch, kind).values()
            found = torch.cat([next(iter(getattr(one, kind).values())) for one in mine])
            assert torch.equal(found, expected), step


@pytest.mark.parametrize("ranks", [2, 4, 5])
def test_a_batch_of_fewer_than_two_for_each_is_every_rank_s(ranks):
    whole = loader(Augment(flip=True))  # the last has 7
    last = [list(one.epoch(0))[-1] for one in ranked(whole, ranks)]
    alone = list(whole.epoch(0))[-1]
    if ranks == 2:
        assert [len(one) for one in last] == [3, 4] and last[0].copies == 1
        return
    for one in last:
        assert one.copies == ranks and torch.equal(one.targets["label"], alone.targets["label"])
        assert torch.equal(one.inputs["image"], alone.inputs["image"])
    assert all(size > 1 for one in ranked(whole, ranks) for size in one.passes())


@pytest.mark.parametrize(("whole", "ranks"), [(10, 3), (100, 7), (4, 2), (3, 2), (1, 4)])
def test_slots_are_each_record_once(whole, ranks):
    parts = [slots(whole, rank, ranks) for rank in range(ranks)]
    if whole < 2 * ranks:
        assert parts == [range(whole)] * ranks
    else:
        assert [at for part in parts for at in part] == list(range(whole))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_rare_classes_are_made_up_for_as_by_one_process():
    """Balanced batches and class weights over two ranks, 90 : 10."""
    whole = loader(Augment(), "balanced")
    parts = [[b.targets["label"] for b in one.epoch(0)] for one in ranked(whole, 2)]
    together = [torch.cat(both) for both in zip(*parts, strict=True)]
    alone = [batch.targets["label"] for batch in whole.epoch(0)]
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))
    assert torch.bincount(torch.cat(together)).tolist() in ([23, 24], [24, 23])
    train = Train(class_weights="auto", logit_adjustment=0.0)
    expected = losses_of(whole, train)["label"].weights
    assert all(
        torch.equal(losses_of(one, train)["label"].weights, expected) for one in ranked(whole, 2)
    )
