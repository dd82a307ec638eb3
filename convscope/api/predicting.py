"""Predict what a run's network says of images and records."""

from __future__ import annotations

import csv as comma
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

from convscope import files, run
from convscope.api.arguments import fresh
from convscope.events import Emit, Notice, silent
from convscope.predicting import listing
from convscope.predicting.prediction import Prediction
from convscope.predicting.predictor import Predictor
from convscope.predicting.records import RecordPredictor
from convscope.trained import open_predictor

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
    :func:`convscope.load` for arguments and errors."""
    found = open_predictor(path, model=model, device=device, abstain=abstain, coverage=coverage)
    bound = found.calibration.selective
    if bound is None:
        held = run.find(Path(path)).read_model()["data"].get("val", 0)
        remedy = f"; find it with: convscope eval {path} --abstain 0.05"
        remedy = remedy if held else ", which has no validation images"
        emit(Notice(f"which answers are unsure is not known of this run{remedy}"))
    elif bound.notice is not None:
        emit(bound.notice)
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


def write_csv(
    path: str | Path,
    predictor: AnyPredictor,
    predictions: Iterable[Prediction],
    *,
    top_k: int,
    digits: bool | None = None,
    force: bool = False,
) -> Path:
    """Write predictions as :func:`~convscope.predicting.listing.rows` has them, as they come; the
    file is there whole or not at all. Raises BadArgument where one is there, but for ``force``."""
    out = fresh(Path(path), force, "csv")
    with files.whole_file(out) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        comma.writer(text, lineterminator="\n").writerows(
            listing.rows(predictor, predictions, top_k, digits)
        )
        text.detach()  # flushed, and left open for whole_file to sync
    return out
