"""convscope: train, understand and ship convolutional image classifiers, fast, on the machine you
have.

>>> import convscope as cs
>>> run = cs.train("mnist", model="cnn", epochs=5)  # doctest: +SKIP
>>> run.metrics.accuracy  # doctest: +SKIP
0.9931
>>> cs.load(run.path).predict(["seven.png"])[0].label  # doctest: +SKIP
'7'

The names below are the public API; each is imported when it is first used, so that ``import
convscope`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # what type checkers read
    from convscope.api import Explained as Explained
    from convscope.api import Exported as Exported
    from convscope.api import LearningRate as LearningRate
    from convscope.api import Metrics as Metrics
    from convscope.api import Run as Run
    from convscope.api import compare as compare
    from convscope.api import predict as predict
    from convscope.api import script as script
    from convscope.api import summary as summary
    from convscope.data.sources import open_data as open_data
    from convscope.errors import BadArgument as BadArgument
    from convscope.errors import ConvscopeError as ConvscopeError
    from convscope.errors import DataError as DataError
    from convscope.errors import ImageError as ImageError
    from convscope.errors import Interrupted as Interrupted
    from convscope.errors import RunError as RunError
    from convscope.errors import TargetMissed as TargetMissed
    from convscope.errors import TrainingError as TrainingError
    from convscope.evaluation.compare import Comparison as Comparison
    from convscope.events import EpochEnd as EpochEnd
    from convscope.events import Look as Look
    from convscope.events import Notice as Notice
    from convscope.events import Progress as Progress
    from convscope.events import silent as silent
    from convscope.models.surgery import cut as cut
    from convscope.models.surgery import join as join
    from convscope.predicting.onnx_file import load_onnx as load_onnx
    from convscope.predicting.prediction import Prediction as Prediction
    from convscope.predicting.shards import Predicted as Predicted
    from convscope.shipping.verify import Verified as Verified
    from convscope.shipping.verify import verify as verify
    from convscope.studies.folds import CrossValidation as CrossValidation
    from convscope.studies.learning_curve import LearningCurve as LearningCurve
    from convscope.studies.sweep import Sweep as Sweep
    from convscope.studies.tuning.outcome import Tuned as Tuned
    from convscope.trained import Trained as Trained
    from convscope.trained import embed as embed
    from convscope.trained import load as load
    from convscope.watched import cross_validate as cross_validate
    from convscope.watched import evaluate as evaluate
    from convscope.watched import explain as explain
    from convscope.watched import export as export
    from convscope.watched import find_lr as find_lr
    from convscope.watched import learning_curve as learning_curve
    from convscope.watched import predict_into as predict_into
    from convscope.watched import sweep as sweep
    from convscope.watched import train as train
    from convscope.watched import tune as tune

_NAMES = {  # what the interpreter reads; a test holds the two to each other
    "convscope.api": "Explained Exported LearningRate Metrics Run compare predict script summary",
    "convscope.data.sources": "open_data",
    "convscope.errors": "BadArgument ConvscopeError DataError ImageError Interrupted RunError "
    "TargetMissed TrainingError",
    "convscope.evaluation.compare": "Comparison",
    "convscope.events": "EpochEnd Look Notice Progress silent",
    "convscope.models.surgery": "cut join",
    "convscope.predicting.onnx_file": "load_onnx",
    "convscope.predicting.prediction": "Prediction",
    "convscope.predicting.shards": "Predicted",
    "convscope.shipping.verify": "Verified verify",
    "convscope.studies.folds": "CrossValidation",
    "convscope.studies.learning_curve": "LearningCurve",
    "convscope.studies.sweep": "Sweep",
    "convscope.studies.tuning.outcome": "Tuned",
    "convscope.trained": "Trained embed load",
    "convscope.watched": "cross_validate evaluate explain export find_lr learning_curve "
    "predict_into sweep train tune",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return __dir__()
    if name not in _HOMES:
        raise AttributeError(f"module 'convscope' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])
