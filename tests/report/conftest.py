"""Run folders made by hand, as a report reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convscope.data.columns import Class
from convscope.evaluation import metrics
from convscope.evaluation.predictions_file import write_predictions

RECIPE = """
[data]
name = "digits"
val = 0.1
[model]
name = "cnn"
widths = [16, 32]
[train]
lr = 0.004
label_smoothing = 0.0
[augment]
shift = 2
flip = false
[origin]
"train.lr" = "measured"
"data.val" = "default"
"""


@pytest.fixture
def recipe() -> str:
    """The recipe of those runs."""
    return RECIPE


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., tuple[Path, np.ndarray]]:
    """Make a run folder and its test images."""

    def make(
        classes: list[str] | None = None,
        *,
        n: int = 2500,
        epochs: int = 3,
        val: bool = True,
        skill: float = 4.0,
        recipe: str = RECIPE,
        size: int = 12,
        channels: int = 1,
        names: list[str] | None = None,
        duplicates: dict[str, Any] | None = None,
        **changes: Any,
    ) -> tuple[Path, np.ndarray]:
        classes = classes or [str(i) for i in range(10)]
        k, random = len(classes), np.random.default_rng(0)
        labels = random.integers(0, k, n)
        logits = random.normal(size=(n, k)).astype(np.float32)
        logits[np.arange(n), labels] += skill
        folder = tmp_path / "digits-cnn-1"
        folder.mkdir()
        (folder / "recipe.toml").write_text(recipe, encoding="utf-8")
        model = {
            "format_version": 1,
            "architecture": {
                "name": "cnn",
                "arguments": {},
                "num_classes": k,
                "in_channels": channels,
                "image_size": [size, size],
            },
            "classes": classes,
            "preprocessing": {"channels": channels, "size": [size, size], "fit": "pad"},
            "temperature": 1.25,
            "parameters": 16_106,
            "weights_sha256": "ab" * 32,
            "versions": {"convscope": "0.1.0", "torch": "2.14.1"},
            "machine": {"processor": "Tidy 9000", "cores": 2},
            "data": {"name": "digits", "fingerprint": "cd" * 32, "train": 54_000, "test": n}
            | ({"val": 6_000} if val else {}),
            "created": "2026-11-22T23:10:05+00:00",
            "command": "convscope train digits --seed 1",
        }
        (folder / "model.json").write_text(json.dumps(model | changes), encoding="utf-8")
        lines = [
            {
                "epoch": i + 1,
                "epochs": epochs,
                "train_loss": 1 / (i + 1),
                "train_accuracy": 0.95 + 0.04 * i / epochs,
                "val_loss": 0.8 / (i + 1) if val else None,
                "val_accuracy": 0.96 + 0.03 * i / epochs if val else None,
                "lr": 0.004,
                "seconds": 4.5,
                "images_per_second": 12_000.0,
            }
            for i in range(epochs)
        ]
        history = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "history.jsonl").write_text(history, encoding="utf-8")
        measured = {
            "split": "test",
            **metrics.measure(logits, labels, classes, 1.25),
            "test_looks": 3,
            "train_seconds": 75.0,
            "eval_seconds": 0.5,
            "images_per_second": 12_345.6,
        }
        measured |= {} if duplicates is None else {"duplicates": duplicates}
        (folder / "metrics.json").write_text(json.dumps(measured), encoding="utf-8")
        write_predictions(
            folder / "predictions.csv",
            {"label": logits},
            {"label": labels},
            {"label": Class(tuple(classes))},
            {"label": 1.25},
            names=names,
        )
        return folder, random.integers(0, 256, (n, channels, size, size), np.uint8)

    return make
