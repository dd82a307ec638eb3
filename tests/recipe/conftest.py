"""A recipe with a claim."""

from __future__ import annotations

import pytest

from convscope import recipe

CLAIMED = """
[data]
name = "mnist"
[model]
name = "cnn"
kernel_size = 3
[train]
epochs = 2
lr = 1
[claim]
accuracy = 0.99
sd = 0.001
seeds = 5
seconds = 60.0
machine = "a machine"
date = "2026-11-22"
command = "convscope train"
"""


@pytest.fixture
def claimed() -> recipe.Recipe:
    """As it is read from its file."""
    return recipe.parse(CLAIMED, "x.toml")
