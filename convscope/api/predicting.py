"""Predict what a run's network says of images and records."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

from convscope import run
from convscope.events import Emit, silent
from convscope.predicting import onnx_file
from convscope.predicting.manifest import Asked
from convscope.predicting.prediction import Prediction
from convscope.predicting.predictor import Predictor
from convscope.predicting.records import RecordPredictor
from convscope.predicting.shards import Predicted
from convscope.predicting.shards import predict_into as into
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


def predict_into(
    path: str | Path,
    images: Iterable[Any],
    folder: str | Path,
    *,
    data: str | None = None,
    split: str = "test",
    top_k: int = 3,
    invert: bool = False,
    digits: bool | None = None,
    abstain: float | None = None,
    coverage: float | None = None,
    form: str = "csv",
    shard: int | None = None,
    workers: int | None = None,
    model: str | None = None,
    device: str = "auto",
    emit: Emit = silent,
) -> Predicted:
    """Predictions for any number of image files, folders and tables of files, or for a ``split`` of
    ``data``, written into a ``folder`` in shards of so many images by so many processes, each image
    exactly once: a call that was stopped goes on when it is made again, and several processes may
    make it at once; see :mod:`convscope.predicting.manifest` for the files, and :func:`predict` for
    the other arguments. ``form`` is "csv" or "parquet".

    Raises BadArgument where the folder was begun with something else, DataError or RunError where
    it was changed since, and what :func:`convscope.load` raises.

    >>> predict_into("runs/a", ["photos"], "answers").tally.classes  # doctest: +SKIP
    Counter({'cat': 612344, 'dog': 387656})
    """
    predictor = predictor_of(
        path, model=model, device=device, abstain=abstain, coverage=coverage, emit=emit
    )
    given = [images] if isinstance(images, str | Path) else list(images)
    options: dict[str, Any] = {"top_k": top_k, "invert": invert, "digits": digits}
    options |= {"abstain": abstain, "set": coverage}
    asked = Asked(Path(path), given, data, split, options, form, shard)
    return into(folder, predictor, asked, workers, emit)
