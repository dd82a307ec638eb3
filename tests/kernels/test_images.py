"""Images copied, augmented and turned into numbers by kernels: to the bit as PyTorch does it."""

from __future__ import annotations

import pytest
import torch

from convscope import kernels
from convscope.data import augment, loader
from convscope.recipe import Augment

pytestmark = pytest.mark.skipif(not kernels.available(), reason="no kernels on this machine")
SHAPES = [(9, 3, 12, 12), (7, 1, 28, 28), (5, 2, 9, 14)]


def source(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("padding", ["black", "edge", "reflect"])
@pytest.mark.parametrize(
    "more",
    [
        {"shift": 4},
        {"shift": 1, "flip": True},
        {"shift": 3, "flip": True, "cutout": 5},
        {"flip": True},
        {"cutout": 8},
        {"alternating_flip": True, "shift": 2, "cutout": 1},
    ],
)
def test_a_batch_is_drawn_as_without_kernels(shape, padding, more, monkeypatch):
    images, spec = source(shape), Augment(padding=padding, **more)
    chosen = torch.randint(len(images), (40,), generator=torch.Generator().manual_seed(1))

    def drawn() -> torch.Tensor:
        return augment.draw(images, chosen, spec, torch.Generator().manual_seed(2), epoch=1)

    mine = drawn()
    monkeypatch.setattr(kernels, "available", lambda: False)
    assert torch.equal(mine, drawn())
    assert not torch.equal(mine, images[chosen])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_pixels_become_the_same_numbers(shape, layout):
    images = source(shape)
    found = loader.to_input(images, "cpu", layout)
    assert torch.equal(found, torch.mul(images, 1 / 255))
    assert found.is_contiguous(memory_format=layout)


def test_no_image_and_images_that_are_not_there():
    images, spec = source(SHAPES[0]), Augment(shift=2)
    generator = torch.Generator().manual_seed(0)
    assert augment.draw(images, torch.empty(0, dtype=torch.int64), spec, generator).shape[0] == 0
    for wrong in (-1, 9):
        with pytest.raises(IndexError):
            augment.draw(images, torch.tensor([0, wrong]), spec, generator)
