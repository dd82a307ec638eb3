"""Images in two dimensions."""

from __future__ import annotations

import numpy as np
import torch

from convscope.insight.explain import embedding
from convscope.models import build


def test_principal_components_are_those_of_the_singular_values() -> None:
    random = np.random.default_rng(0)
    for shape in ((30, 7), (7, 30)):
        features = random.normal(size=shape) * np.linspace(3, 0.1, shape[1])
        points, share = embedding.principal(features, 3)
        left, sizes, _ = np.linalg.svd(features - features.mean(0), full_matrices=False)
        np.testing.assert_allclose(np.abs(points), np.abs(left[:, :3] * sizes[:3]), atol=1e-8)
        np.testing.assert_allclose(share, (sizes**2 / (sizes**2).sum())[:3])


def test_discriminants_find_what_principal_components_miss() -> None:
    """Classes that differ along quiet axes, under a loud one that says nothing of them."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 400)
    features = random.normal(size=(400, 5)) * [20, 20, 0.3, 0.3, 0.3]
    features[:, 2] += labels % 2
    features[:, 3] += labels // 2
    found = embedding.plane(features, labels)
    assert "discriminants" in found.method and found.shares is None and found.among > 0.8
    assert found.points.shape == (400, 2)
    loud = embedding.plane(features[:, :2], labels)
    assert "principal" in loud.method and loud.among < 0.5


def test_features_are_what_the_last_layer_takes() -> None:
    network = build("cnn", 3, 1, (12, 12), {"widths": [4, 4]}).eval()
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 12, 12), np.uint8)
    features = embedding.features_of(network, images)
    with torch.no_grad():
        maps = network.feature_maps(torch.from_numpy(images) / 255)
        np.testing.assert_allclose(features, maps.flatten(1), atol=1e-5)
