"""Every classifier of torchvision against the figures that torchvision publishes of it."""

from __future__ import annotations

import pytest
import torch

from convscope.insight.anatomy import summarise, weightless
from convscope.models import tv

NAMED_APART = {  # parameters of auxiliary heads -> whether the published count has them
    "googlenet": (6_379_984, False),
    "inception_v3": (3_326_696, True),
}


def sizes(name: str) -> list[int]:
    """The sizes of images that a network has weights for."""
    from torchvision import models

    found = {weights.transforms.keywords["crop_size"] for weights in models.get_model_weights(name)}
    return sorted(found)


@pytest.mark.parametrize("name", tv.names())
def test_published_figures(name: str) -> None:
    from torchvision import models

    for size in sizes(name):
        arguments = {"image_size": size} if name.startswith("vit_") else {}
        if name in tv.AUXILIARY:
            arguments = {"init_weights": True, "aux_logits": True}
        with weightless():
            model = models.get_model(name, weights=None, **arguments)
        assert all(p.device == torch.device("meta") for p in model.parameters())
        found = summarise(model, (3, size, size))
        figures = tv.published(name, (3, size, size))
        assert found.failure is None and found.notes == () and found.total.note == ""
        apart, published = NAMED_APART.get(name, (0, True))
        assert found.unused == apart
        assert found.total.parameters - (0 if published else apart) == figures.parameters
        assert found.total.parameters == sum(p.numel() for p in model.parameters())
        difference = abs(found.total.multiply_adds / 1e9 - figures.giga)
        assert difference <= 0.0005  # half of the last digit that is published
        assert sum(row.parameters for row in found.folded(1).rows) == found.total.parameters
        called = [row for row in found.rows if row.output_shape is not None]
        assert called[-1].output_shape == (1000,) and called[-1].sees == "whole image"
        apart_rows = [row for row in found.rows if row.output_shape is None]
        assert all(row.note == "never called" and "aux" in row.name.lower() for row in apart_rows)
