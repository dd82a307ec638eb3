"""convscope: train, understand and ship convolutional image classifiers, fast, on the machine you
have.

>>> import convscope as cs
>>> run = cs.train("mnist", model="cnn", epochs=5)  # doctest: +SKIP
>>> run.metrics.accuracy  # doctest: +SKIP
0.9931
>>> cs.load(run.path).predict(["seven.png"])[0].label  # doctest: +SKIP
'7'

The names imported below are the public API; each is imported when it is first used, so that
``import convscope`` is quick.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # which is where these names stand, once: `_homes` reads them here
    from convscope.api import Explained as Explained
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
    from convscope.predicting.prediction import Prediction as Prediction
    from convscope.studies.sweep import Sweep as Sweep
    from convscope.trained import Trained as Trained
    from convscope.trained import load as load
    from convscope.watched import evaluate as evaluate
    from convscope.watched import explain as explain
    from convscope.watched import find_lr as find_lr
    from convscope.watched import sweep as sweep
    from convscope.watched import train as train


@functools.cache
def _homes() -> dict[str, str]:
    """Public name -> the module that it is imported from, read off the text above."""
    import ast
    import inspect
    import sys

    tree = ast.parse(inspect.getsource(sys.modules[__name__]))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return __dir__()
    if name.startswith("_") or name not in _homes():
        raise AttributeError(f"module 'convscope' has no attribute {name!r}")
    return getattr(importlib.import_module(_homes()[name]), name)


def __dir__() -> list[str]:
    return sorted([*_homes(), "__version__"])
