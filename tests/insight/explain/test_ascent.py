"""Ascent goes up, from noise alone, within 0 to 1, and the same each time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convscope.insight.explain import ascent
from convscope.insight.explain.overview import probabilities
from convscope.models import build
from convscope.models.parts import Classifier


def halves(channels: int = 1) -> Classifier:
    """Two classes: bright on the left, or on the right."""
    linear = nn.Linear(channels * 144, 2, bias=False)
    with torch.no_grad():
        side = torch.ones(channels, 12, 12)
        side[..., 6:] = -1
        linear.weight.copy_(torch.stack([side.flatten(), -side.flatten()]))
    network = Classifier(channels, None, nn.Sequential(nn.Flatten(), linear)).eval()
    network.normalise.set([0.3] * channels, [0.3] * channels)
    return network


@pytest.mark.parametrize("channels", [1, 3])
def test_both_find_what_the_class_is(channels: int) -> None:
    network = halves(channels)
    shape = (2, channels, 12, 12)
    loss = ascent.of_classes(network, (0, 1))
    with ascent.still(network):
        plain = ascent.raw(ascent.logits_of_classes(network, (0, 1)), shape, steps=40)
        found = ascent.regularised(network, loss, shape, steps=60)
        again = ascent.regularised(network, loss, shape, steps=60)
        other = ascent.regularised(network, loss, shape, steps=60, seed=1)
    assert (found == again).all() and (found != other).any()
    for images, least in ((plain, 30), (found, 10)):
        assert images.dtype == np.uint8 and images.shape == shape
        left, right = images[..., :6].mean((1, 2, 3)), images[..., 6:].mean((1, 2, 3))
        assert left[0] > right[0] + least and right[1] > left[1] + least
        assert probabilities(network, images)[[0, 1], [0, 1]].min() > 0.99


def test_the_regularised_image_is_smooth_and_as_bright_as_the_data(monkeypatch) -> None:
    network = halves()
    loss = ascent.of_classes(network, (0, 1))

    def made() -> np.ndarray:
        with ascent.still(network):
            return ascent.regularised(network, loss, (2, 1, 12, 12), steps=40) / 255

    def rough(images: np.ndarray) -> float:
        return float(np.abs(np.diff(images, axis=2)).mean())

    found = made()
    assert found.mean() == pytest.approx(0.3, abs=0.1)
    with monkeypatch.context() as changed:
        changed.setattr(ascent, "SMOOTH", 0.0)
        assert rough(made()) > rough(found)
    network.normalise.set([0.7], [0.3])
    assert made().mean() == pytest.approx(0.7, abs=0.1)
    network.normalise.set([0.0], [1.0])  # pixels as they are: the network does not know them
    assert made().mean() == pytest.approx(ascent.UNKNOWN, abs=0.1)


def test_the_network_stays_as_it_was() -> None:
    network = build("cnn", 3, 1, (12, 12), {"widths": [4, 4]})
    network.train()
    frozen = network.features[0].weight.requires_grad_(False)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with ascent.still(network):
        assert not network.training
        ascent.regularised(network, ascent.of_classes(network, (0, 1, 2)), (3, 1, 12, 12), steps=3)
    assert network.training and not frozen.requires_grad
    assert network.head[1].weight.requires_grad and network.head[1].weight.grad is None
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
