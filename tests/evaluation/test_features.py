"""Features: computed once, kept whole, and never another network's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convscope.evaluation import features
from convscope.events import Notice


class Counting(nn.Module):
    """The pixels, flat; it counts the images that it saw."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen = 0

    def forward(self, x):
        self.seen += len(x)
        return x.flatten(1)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (7, 1, 2, 3), dtype=np.uint8)


def test_they_are_computed_once(images, monkeypatch):
    monkeypatch.setattr(features, "BLOCK", 3)
    monkeypatch.setattr(features, "AT_ONCE", 2)
    network, told = Counting(), []
    for _ in range(2):
        found = features.features_of(network, images, "once", emit=told.append)
        assert isinstance(found, np.memmap) and found.dtype == np.float32
        np.testing.assert_allclose(found, images.reshape(7, 6) / 255, rtol=1e-6)
    assert network.seen == 7
    assert [event.done for event in told] == [2, 3, 5, 6, 7] and told[0].total == 7


@pytest.mark.parametrize("damage", [b"", b"no array", None])
def test_a_file_that_is_damaged_or_of_other_images_is_made_anew(images, cache, damage):
    network, path = Counting(), cache / "features" / "damaged.npy"
    features.features_of(network, images[:4], "damaged")
    if damage is not None:
        path.write_bytes(damage)
    assert features.features_of(network, images, "damaged").shape == (7, 6)
    assert network.seen == 11


def test_a_cache_that_takes_nothing_is_said_once_and_done_without(images, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / "file"))
    told = []
    for _ in range(2):
        found = features.features_of(Counting(), images, "nowhere", emit=told.append)
        np.testing.assert_allclose(found, images.reshape(7, 6) / 255, rtol=1e-6)
    (notice,) = (event for event in told if isinstance(event, Notice))
    assert notice.warning and "features are computed and not kept" in notice.text


def test_nothing_half_written_is_left(images, cache):
    class Failing(Counting):
        def forward(self, x):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        features.features_of(Failing(), images, "broken off")
    assert not list((cache / "features").glob("*broken off*"))


def test_a_digest_tells_weights_apart():
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    assert features.digest(one) != features.digest(two)
    two.load_state_dict(one.state_dict())
    assert features.digest(one) == features.digest(two)
