"""The learning-rate range test: on curves whose answer is known, and on a network."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from convscope.data.loader import Loader
from convscope.errors import TrainingError
from convscope.events import silent
from convscope.recipe import Augment, Train
from convscope.training import finder

TRAIN = Train(
    optimizer="sgd", batch_size=40, lr=0.01, warmup=0.25, momentum=0.9, precision="float32"
)


@pytest.fixture
def loader(tiny) -> Loader:
    train = tiny.splits["train"]
    pixels, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    return Loader.of_images(pixels, labels, torch.arange(240), 40, 0, Augment())


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(800, 3))


def test_rates_rise_evenly_on_a_logarithmic_scale():
    rates = np.array([finder.rate_at(step) for step in range(finder.STEPS)])
    assert rates[0] == pytest.approx(1e-6) and rates[-1] == pytest.approx(10)
    assert np.allclose(np.diff(np.log(rates)), np.log(1e7) / 99)


def test_smoothing_leaves_lines_and_takes_noise_away():
    line = np.linspace(3, 1, 50)
    assert np.allclose(finder.smooth(line), line)
    noise = np.random.default_rng(0).normal(size=500)
    assert finder.smooth(noise)[10:-10].std() < 0.4


def test_the_steepest_descent_of_a_known_curve():
    """A logistic fall about 1e-3, and a rise from 1 on, with noise: the answer is 1e-3."""
    rates = [finder.rate_at(step) for step in range(finder.STEPS)]
    at = np.log10(rates)
    losses = 2.3 - 2 / (1 + np.exp(-3 * (at + 3))) + np.where(at > 0, 5 * at, 0)
    losses += np.random.default_rng(1).normal(scale=0.03, size=len(at))
    found = finder.steepest(rates, finder.smooth(losses))
    assert found is not None and 3e-4 < found < 3e-3
    rising = np.linspace(1, 2, len(rates))
    assert finder.steepest(rates, rising) is None


def test_a_network_is_searched(loader, events):
    seen, emit = events
    found = finder.search(network(), loader, TRAIN, emit)
    assert found.suggestion is not None and 1e-5 < found.suggestion < 1
    assert len(found.rates) == len(found.losses) == len(found.smoothed) == len(seen)
    assert len(seen) < finder.STEPS  # it broke away before the end
    assert found.losses[-1] > 4 * min(found.smoothed)
    assert found == finder.search(network(), loader, TRAIN, silent)


def test_a_loss_that_is_no_number_ends_it(loader):
    class Breaks(nn.Module):
        def __init__(self, good: int) -> None:
            super().__init__()
            self.net, self.good = network(), good

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.good -= 1
            return self.net(x) * (1 if self.good >= 0 else math.nan)

    assert len(finder.search(Breaks(5), loader, TRAIN, silent).rates) == 5
    with pytest.raises(TrainingError, match="the loss of the first step is no number"):
        finder.search(Breaks(0), loader, TRAIN, silent)
