"""Recipes: what to train, on what and how, as frozen dataclasses and as TOML; the only home of
defaults.

A recipe's value has an origin: ``typed`` by the user, from a ``recipe`` file, ``measured`` on this
machine, or a ``default``. A run folder keeps the fully resolved recipe, so that it can be run again
to the bit.
"""

from __future__ import annotations

from convscope.recipe.resolving import resolve
from convscope.recipe.rules import checked
from convscope.recipe.sections import (
    AUGMENT_BY_DATA,
    LR_BY_OPTIMIZER,
    SECTIONS,
    Augment,
    Claim,
    Data,
    Model,
    Recipe,
    Train,
    options,
)
from convscope.recipe.toml import FIRST, dumps, load, names, of_run, parse

__all__ = [
    "AUGMENT_BY_DATA",
    "FIRST",
    "LR_BY_OPTIMIZER",
    "SECTIONS",
    "Augment",
    "Claim",
    "Data",
    "Model",
    "Recipe",
    "Train",
    "checked",
    "dumps",
    "load",
    "names",
    "of_run",
    "options",
    "parse",
    "resolve",
]
