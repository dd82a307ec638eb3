"""Which images are judged, read where they lie; and statistics of those that are learnt from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from convscope.data import split
from convscope.data.columns import image_and_label
from convscope.data.pack import Split
from convscope.errors import BadArgument
from convscope.recipe import resolve


def test_statistics_are_numpys_whatever_the_piece(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (57, 3, 9, 7), dtype=np.uint8)
    indices = np.arange(3, 50)
    for piece in (1, 400, 1 << 22):
        monkeypatch.setattr(split, "PIECE", piece)
        count = iter(range(100))
        mean, std = split.statistics(
            torch.from_numpy(images), torch.from_numpy(indices), count.__next__
        )
        pixels = images[indices] / 255
        assert np.allclose(mean, pixels.mean((0, 2, 3)), rtol=1e-6)
        assert np.allclose(std, pixels.std((0, 2, 3)), rtol=1e-6)
        assert next(count) == {1: 47, 400: 24, 1 << 22: 1}[piece]


def test_a_constant_channel_has_no_spread():
    images = torch.full((5, 1, 300, 300), 255, dtype=torch.uint8)
    mean, std = split.statistics(images, torch.arange(5))
    assert mean == [1.0] and std == [0.0]


def test_a_part_is_read_a_slice_at_a_time():
    class Counted(np.ndarray):
        read = 0

        def __getitem__(self, chosen):
            Counted.read += len(chosen)
            return super().__getitem__(chosen)

    images = np.arange(40, dtype=np.uint8).reshape(10, 1, 2, 2)
    indices = np.array([7, 1, 4])
    columns = image_and_label((1, 2, 2), "0123456789")
    whole = Split(columns, {"image": images.view(Counted), "label": np.arange(10)})
    found = split.part(whole, indices)
    part = found.images
    assert found.labels.tolist() == [7, 1, 4] and len(found) == 3
    assert (len(part), part.shape, part.ndim, part.dtype) == (3, (3, 1, 2, 2), 4, np.uint8)
    assert np.array_equal(part[1:3], images[[1, 4]]) and Counted.read == 2


def test_data_with_a_validation_split_keeps_it(tiny):
    test = tiny.splits["test"]
    own = replace(
        tiny,
        splits={
            **tiny.splits,
            "val": Split(test.columns, {n: v[:9] for n, v in test.values.items()}),
        },
    )
    for asked in (resolve({}), resolve({}, {}, resolve({"val": 0.2}))):
        assert split.held_out(asked, own).size == 0
    judged = split.validation(own, np.empty(0, np.int64))
    assert np.array_equal(judged.images, test.images[:9]) and len(judged) == 9
    assert split.held_out(resolve({"val": 0.2}), tiny).size == 48
    with pytest.raises(BadArgument, match="val=0.2: is not used: mnist has a validation split of"):
        split.held_out(resolve({"val": 0.2}), own)
    with pytest.raises(BadArgument, match="split_seed=3: is not used"):
        split.held_out(resolve({"split_seed": 3}), own)


def test_copies_are_held_out_together_unless_a_run_was_begun_otherwise(tiny):
    train = tiny.splits["train"]
    images = train.images.copy()
    images[120:] = images[:120]  # each image of 120 twice
    pack = replace(
        tiny,
        splits={**tiny.splits, "train": Split(train.columns, train.values | {"image": images})},
    )
    asked = resolve({"val": 0.2})
    held = split.held_out(asked, pack)
    assert sorted(held % 120) == sorted(np.repeat(np.unique(held % 120), 2)) and len(held) == 48
    apart = split.held_out(asked, tiny)  # as copies were once drawn
    assert not np.array_equal(held, apart)
    assert np.array_equal(split.held_out(asked, pack, apart.tolist()), apart)
    assert np.array_equal(split.held_out(asked, pack, held.tolist()), held)
    assert np.array_equal(split.held_out(asked, pack, [1, 2, 3]), held)  # which the job refuses


def test_what_has_files_is_drawn_by_their_names_and_groups(tiny):
    """As a published data set was drawn before, by its order, a run that was begun so goes on."""
    train = tiny.splits["train"]
    names = tuple(f"{n}.png" for n in range(len(train)))

    def pack(order, **more):
        values = {name: one[order] for name, one in train.values.items()}
        listing = tuple(names[n] for n in order)
        return replace(tiny, splits={"train": Split(train.columns, values, listing, **more)})

    asked = resolve({"val": 0.2})
    plain = pack(np.arange(240))
    held = split.held_out(asked, plain)
    order = np.random.default_rng(0).permutation(240)
    assert {order[n] for n in split.held_out(asked, pack(order))} == set(held)
    formerly = split.held_out(asked, tiny)
    assert not np.array_equal(held, formerly)
    assert np.array_equal(split.held_out(asked, plain, formerly.tolist()), formerly)
    groups = tuple(str(n // 4) for n in range(240))
    grouped = split.held_out(asked, pack(np.arange(240), grouping=groups))
    assert set(np.bincount(grouped // 4, minlength=60)) == {0, 4}
