"""Logits for everyone, and the predictions file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convscope.errors import BadArgument, ConvscopeError
from convscope.evaluation.predictions import logits_of
from convscope.events import Event, Progress


def network() -> nn.Sequential:
    """A small one whose training mode differs from its evaluation mode twice over."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(4 * 36, 3),
    )


def images(n: int = 23, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, channels, 8, 8), np.uint8)


def test_is_the_models_own_answer() -> None:
    model, pixels = network(), images()
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(pixels).float() / 255).numpy()
    found = logits_of(model.train(), pixels)
    assert found.dtype == np.float32
    assert found.shape == (23, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 22, 23, 100])
def test_batch_size_changes_nothing_and_every_image_counts_once(batch_size: int) -> None:
    model, pixels = network(), images()
    seen: list[Event] = []
    found = logits_of(model, pixels, batch_size=batch_size, emit=seen.append, stage="look")
    np.testing.assert_allclose(found, logits_of(model, pixels, batch_size=7), atol=1e-5)
    done = [event.done for event in seen if isinstance(event, Progress)]
    assert done == [*range(batch_size, 23, batch_size), 23]
    assert seen[-1] == Progress("look", 23, 23, "images")


def test_leaves_the_modes_as_they_were() -> None:
    model = network().train()
    model[1].eval()  # a frozen batch norm must stay frozen
    mean = model[1].running_mean.clone()
    logits_of(model, images())
    assert [module.training for module in model] == [True, False, True, True, True, True]
    assert torch.equal(model[1].running_mean, mean)

    class Fails(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no")

    broken = Fails().train()
    with pytest.raises(RuntimeError, match="no"):
        logits_of(broken, images())
    assert broken.training


def test_takes_tensors_and_read_only_memory_maps(tmp_path: Path) -> None:
    model, pixels = network(), images()
    expected = logits_of(model, pixels)
    np.save(tmp_path / "images.npy", pixels)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    np.testing.assert_array_equal(logits_of(model, mapped, batch_size=100), expected)
    tensor = torch.from_numpy(pixels)
    np.testing.assert_array_equal(logits_of(model, tensor), expected)
    assert torch.equal(tensor, torch.from_numpy(images())), "the caller's tensor was changed"


def test_is_float32_inside_autocast() -> None:
    model, pixels = network(), images()
    with torch.autocast("cpu", torch.bfloat16):
        found = logits_of(model, pixels)
    np.testing.assert_array_equal(found, logits_of(model, pixels))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (images().astype(np.float32), r"images=float32 of shape \[23, 1, 8, 8\]: must be uint8"),
        (images()[0], r"shape \[1, 8, 8\]"),
        (images(0), "at least one image"),
    ],
)
def test_refuses_other_images(wrong: np.ndarray, message: str) -> None:
    with pytest.raises(BadArgument, match=message):
        logits_of(network(), wrong)


def test_refuses_other_models_and_batches() -> None:
    with pytest.raises(BadArgument, match="batch_size=0"):
        logits_of(network(), images(), batch_size=0)
    with pytest.raises(ConvscopeError, match=r"gave \[23, 4, 6, 6\] for 23 images"):
        logits_of(network()[:1], images())
