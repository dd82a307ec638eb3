"""Predict what a run's network says of images and records."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

from convscope import run
from convscope.events import Emit, silent
from convscope.predicting import onnx_file
from convscope.predicting.prediction import Prediction
from convscope.predicting.predictor import Predictor
from convscope.predicting.records import RecordPredictor
from convscope.trained import load

AnyPredictor: TypeAlias = Predictor | RecordPredictor


def predictor_of(
    path: str | Path,
    *,
    model: str | None = None,
    device: str = "auto",
    abstain: float | None = None,
    coverage: float | None = None,
    emit: Emit = silent,
) -> AnyPredictor:
    """What predicts for a run, and a Notice of what is not known of its answers; see
    :func:`convscope.load` for arguments and errors. The path may also be that of an ONNX file that
    ``convscope export`` wrote, see :func:`~convscope.predicting.onnx_file.predictor_of`."""
    if onnx_file.is_file(path):
        return onnx_file.predictor_of(
            path, model=model, device=device, abstain=abstain, coverage=coverage, emit=emit
        )
    found = load(path, model=model, device=device, abstain=abstain, coverage=coverage)
    held = run.find(Path(path)).read_model()["data"].get("val", 0)
    remedy = f"; find it with: convscope eval {path} --abstain 0.05"
    unknown = f"this run{remedy if held else ', which has no validation images'}"
    if (notice := found.calibration.notice(unknown)) is not None:
        emit(notice)
    return found


def predict(
    path: str | Path,
    images: Iterable[Any],
    *,
    top_k: int = 5,
    invert: bool = False,
    abstain: float | None = None,
    coverage: float | None = None,
    model: str | None = None,
    device: str = "auto",
    digits: bool | None = None,
    emit: Emit = silent,
) -> list[Prediction]:
    """Predictions of a run's network for image files, folders and tables of files; see
    :meth:`Trained.predict`, for a network of several inputs or targets
    :meth:`~convscope.predicting.records.RecordPredictor.stream`, and :func:`convscope.load` for
    ``abstain`` and ``coverage``. Of more images than memory holds ``load(path).stream(images)``
    gives one prediction after the other."""
    predictor = predictor_of(
        path, model=model, device=device, abstain=abstain, coverage=coverage, emit=emit
    )
    return predictor.predict(images, top_k, invert, emit, digits)
