"""Logits for everyone, and the predictions file."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convscope.data.columns import Class
from convscope.errors import BadArgument, ConvscopeError, RunError
from convscope.evaluation import metrics
from convscope.evaluation.predictions import (
    PredictionRow,
    logits_of,
    read_predictions,
    write_predictions,
)
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


def written(path: Path, names: list[str] | None = None) -> Path:
    logits = np.array([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 40.0]], np.float32)
    found, truth = {"label": logits}, {"label": np.array([0, 2, 2])}
    columns = {"label": Class(('a,"b', "<b>", "ü"))}
    write_predictions(path, found, truth, columns, {"label": 2.0}, names=names)
    return path


def test_writes_a_row_an_image_after_temperature(tmp_path: Path) -> None:
    path = written(tmp_path / "predictions.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    p = metrics.softmax(np.array([[2.0, 0, 0], [0, 3.0, 0]]), 2.0)
    assert rows[0] == ["file_or_index", "label", "predicted", "p_predicted", "p_label"]
    assert rows[1] == ["0", 'a,"b', 'a,"b', f"{p[0, 0]:.6g}", f"{p[0, 0]:.6g}"]
    assert rows[2] == ["1", "ü", "<b>", f"{p[1, 1]:.6g}", f"{p[1, 2]:.6g}"]
    assert len(rows) == 4


def test_reads_what_it_wrote(tmp_path: Path) -> None:
    names = [
        "a b.png",
        "new\nline.png",
        "bad-\udcff.png",
    ]  # the last as Linux gives a name that is not UTF-8
    rows = read_predictions(written(tmp_path / "p.csv", names))
    assert [row.file_or_index for row in rows] == names
    assert rows[2] == PredictionRow(names[2], "ü", "ü", 1.0, 1.0)
    assert rows[1].p_predicted == pytest.approx(0.691421, abs=1e-4)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-2], r"cut short.*convscope eval"),
        (lambda text: text.replace("p_label", "p"), "header is not file_or_index,label"),
        (lambda text: text.replace("\n1,", "\n1,,"), r"row 2: it has 6 cells, its header 5"),
        (lambda text: text.replace("1,1\n", "1\n"), r"row 3: it has 4 cells, its header 5"),
        (lambda text: text.replace("1,1\n", "1,high\n"), r"row 3: could not convert"),
        (lambda text: text.replace("1,1\n", "1,1.5\n"), r"row 3: 1.5 is no probability"),
        (lambda text: text.replace("1,1\n", "nan,1\n"), r"row 3: nan is no probability"),
        (lambda text: "", "cut short"),
        (lambda text: "\n", "header"),
    ],
)
def test_a_damaged_file_says_where(tmp_path: Path, damage: object, message: str) -> None:
    path = written(tmp_path / "p.csv")
    assert callable(damage)
    path.write_bytes(damage(path.read_text("utf-8")).encode())
    with pytest.raises(RunError, match=message) as caught:
        read_predictions(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"p\.csv: cannot be read .*convscope eval"):
        read_predictions(tmp_path / "p.csv")
