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

if TYPE_CHECKING:
    from convscope.api import (
        Explained,
        LearningRate,
        Metrics,
        Run,
        compare,
        predict,
        script,
        summary,
    )
    from convscope.data.sources import open_data
    from convscope.errors import (
        BadArgument,
        ConvscopeError,
        DataError,
        ImageError,
        Interrupted,
        RunError,
        TargetMissed,
        TrainingError,
    )
    from convscope.evaluation.compare import Comparison
    from convscope.events import EpochEnd, Look, Notice, Progress, silent
    from convscope.predicting.prediction import Prediction
    from convscope.studies.sweep import Sweep
    from convscope.trained import Trained, load
    from convscope.watched import evaluate, explain, find_lr, sweep, train

_HOME = {
    "train": "watched",
    "evaluate": "watched",
    "compare": "api",
    "explain": "watched",
    "Explained": "api",
    "predict": "api",
    "find_lr": "watched",
    "script": "api",
    "summary": "api",
    "Run": "api",
    "Metrics": "api",
    "LearningRate": "api",
    "sweep": "watched",
    "Sweep": "studies.sweep",
    "Comparison": "evaluation.compare",
    "load": "trained",
    "Trained": "trained",
    "Prediction": "predicting.prediction",
    "open_data": "data.sources",
    "EpochEnd": "events",
    "Look": "events",
    "Notice": "events",
    "Progress": "events",
    "silent": "events",
    "ConvscopeError": "errors",
    "BadArgument": "errors",
    "DataError": "errors",
    "ImageError": "errors",
    "RunError": "errors",
    "TrainingError": "errors",
    "TargetMissed": "errors",
    "Interrupted": "errors",
}

__all__ = [
    "BadArgument",
    "Comparison",
    "ConvscopeError",
    "DataError",
    "EpochEnd",
    "Explained",
    "ImageError",
    "Interrupted",
    "LearningRate",
    "Look",
    "Metrics",
    "Notice",
    "Prediction",
    "Progress",
    "Run",
    "RunError",
    "Sweep",
    "TargetMissed",
    "Trained",
    "TrainingError",
    "__version__",
    "compare",
    "evaluate",
    "explain",
    "find_lr",
    "load",
    "open_data",
    "predict",
    "script",
    "silent",
    "summary",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'convscope' has no attribute {name!r}")
    return getattr(importlib.import_module(f"convscope.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
