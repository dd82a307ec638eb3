"""The public surface, pinned; and what importing it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import convscope


def test_the_public_names():
    assert convscope.__all__ == [
        "BadArgument",
        "Comparison",
        "ConvscopeError",
        "CrossValidation",
        "DataError",
        "EpochEnd",
        "Explained",
        "Exported",
        "ImageError",
        "Interrupted",
        "LearningCurve",
        "LearningRate",
        "Look",
        "Metrics",
        "Notice",
        "Predicted",
        "Prediction",
        "Progress",
        "Run",
        "RunError",
        "Sweep",
        "TargetMissed",
        "Trained",
        "TrainingError",
        "Tuned",
        "Verified",
        "__version__",
        "compare",
        "cross_validate",
        "cut",
        "embed",
        "evaluate",
        "explain",
        "export",
        "find_lr",
        "join",
        "learning_curve",
        "load",
        "load_onnx",
        "open_data",
        "predict",
        "predict_into",
        "script",
        "silent",
        "summary",
        "sweep",
        "train",
        "tune",
        "verify",
    ]
    for name in convscope.__all__:
        assert getattr(convscope, name) is not None
    assert dir(convscope) == convscope.__all__


def test_type_checkers_find_each_name_where_it_is():
    tree = ast.parse(Path(convscope.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    found = {alias.name: node.module for node in block.body for alias in node.names}
    assert found == convscope._HOMES


def test_importing_it_imports_nothing_heavy():
    code = "import convscope, sys; assert not {'torch', 'numpy', 'PIL', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error():
    try:
        convscope.trian  # noqa: B018
    except AttributeError as why:
        assert "trian" in str(why)
    else:
        raise AssertionError
