"""What a report takes: plain arrays, whole or None, and never an error for what is missing."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from convscope.insight.explain import overview
from convscope.models import build

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 1, 12, 12), np.uint8)


def test_everything_of_a_convolutional_network() -> None:
    network = build("cnn", 3, 1, (12, 12), {"widths": [4, 8]})
    found = overview(network, IMAGES, [0, 1, 2, 0], num_classes=3)
    assert found.filters.shape == (4, 1, 5, 5) and found.filters_layer == "features.0"
    assert found.class_images.shape == (3, 1, 12, 12) and found.class_images.dtype == np.uint8
    assert found.classes == (0, 1, 2) and found.class_p.shape == (3,)
    assert found.heat.shape == (4, 12, 12) and 0 <= found.heat.min() <= found.heat.max() <= 1
    assert (found.heat_layer, found.heat_resolution) == ("features.5", (6, 6))
    assert found.notes == () and network.training
    again = overview(network, IMAGES, [0, 1, 2, 0], num_classes=3)
    assert (found.class_images == again.class_images).all() and (found.heat == again.heat).all()


def test_what_a_network_without_maps_allows() -> None:
    found = overview(build("mlp", 12, 1, (12, 12)), IMAGES, np.zeros(4), num_classes=12)
    assert found.filters is None and found.heat is None and found.heat_resolution is None
    assert len(found.class_images) == 10 and len(found.notes) == 2


def test_all_of_it_without_captum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    network = build("cnn", 3, 1, (12, 12), {"widths": [4, 8]})
    found = overview(network, IMAGES, [0, 1, 2, 0], num_classes=3)
    assert found.heat.shape == (4, 12, 12) and found.heat.max() == 1 and found.notes == ()


def test_a_network_that_is_too_large_makes_no_class_images(monkeypatch) -> None:
    monkeypatch.setattr(sys.modules["convscope.insight.explain.overview"], "WORK", 1e6)
    network = build("cnn", 3, 1, (12, 12), {"widths": [4, 8]})
    found = overview(network, IMAGES, [0, 1, 2, 0], num_classes=3)
    assert found.class_images is None and "minutes" in found.notes[0] and found.heat is not None
